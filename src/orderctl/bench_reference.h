/** New references, cheaply: `b-<8 random>-<16 hex>`, the random part the same for a whole run, the
 *  number written in place for each order. Pure. */
#ifndef ORDERD_ORDERCTL_BENCH_REFERENCE_H
#define ORDERD_ORDERCTL_BENCH_REFERENCE_H

#include "base/bytes.h"
#include "base/hash.h"

#define BENCH_REFERENCE_PREFIX_CHARACTERS 8
#define BENCH_REFERENCE_NUMBER_OFFSET 11
#define BENCH_REFERENCE_CHARACTERS 27

/** @param reference at least BENCH_REFERENCE_CHARACTERS long. */
static inline void bench_reference_write_prefix(char *reference, const char *prefix) {
    memcpy(reference, "b-", 2);
    memcpy(reference + 2, prefix, BENCH_REFERENCE_PREFIX_CHARACTERS);
    reference[10] = '-';
}

/** Eight hexadecimal digits, the first one lowest in memory, without a loop: the nibbles are spread
 *  over the bytes, then each becomes its character at once. */
static inline uint64_t bench_hex_from_u32(uint32_t number) {
    uint64_t spread = __builtin_bswap32(number);
    spread = (spread | spread << 16) & UINT64_C(0x0000ffff0000ffff);
    spread = (spread | spread << 8) & UINT64_C(0x00ff00ff00ff00ff);
    /* Within a byte the high nibble comes first. */
    spread = (spread >> 4 | spread << 8) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    uint64_t letters =
        ((spread + UINT64_C(0x0606060606060606)) >> 4) & UINT64_C(0x0101010101010101);
    return spread + UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
}

static inline void bench_reference_write_number(char *reference, uint64_t number) {
    bytes_store_u64(reference + BENCH_REFERENCE_NUMBER_OFFSET,
                    bench_hex_from_u32((uint32_t)(number >> 32)));
    bytes_store_u64(reference + BENCH_REFERENCE_NUMBER_OFFSET + 8,
                    bench_hex_from_u32((uint32_t)number));
}

/** The prefix of all runs whose references are scattered, so that they lie among each other. */
#define BENCH_REFERENCE_SCATTERED "scatters"

/** Maps each number to one that is far from its neighbours'; no two to the same. */
static inline uint64_t bench_reference_scatter(uint64_t number) {
    return hash_mix(number);
}

#endif
