/** Hashes: XXH3-64 for text that comes from outside, an integer mixer for ids.
 *  Pure, any thread. */
#ifndef ORDERD_BASE_HASH_H
#define ORDERD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/** XXH3-64, seed 0, of `size` bytes. */
uint64_t hash_bytes(const void *data, size_t size);

/** A bijective mixer: every input bit reaches every output bit, so the high bits of the result
 *  spread consecutive ids over a table. Two rounds of multiply and xor-shift. */
static inline uint64_t hash_mix(uint64_t value) {
    value ^= value >> 32;
    value *= UINT64_C(0xd6e8feb86659fd93);
    value ^= value >> 32;
    value *= UINT64_C(0xd6e8feb86659fd93);
    value ^= value >> 32;
    return value;
}

/** Maps a well mixed hash to [0, range) without a division (Lemire, "Fast random integer
 *  generation in an interval", 2019), so a table need not be a power of two. */
static inline uint64_t hash_to_range(uint64_t hash, uint64_t range) {
    return (uint64_t)(((unsigned __int128)hash * range) >> 64);
}

#endif
