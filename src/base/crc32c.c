#include "base/crc32c.h"

#include "base/bytes.h"

#if defined(__SSE4_2__)
#include <nmmintrin.h>

/* The instruction takes three cycles and could begin anew in each: so long data is taken as three
 * lanes side by side. What the state of a lane becomes by the bytes of the lanes behind it follows
 * from CRC arithmetic: `n` bytes of zeroes multiply the state by x to the 8n, modulo the
 * polynomial, and the sum (exclusive or) of the lanes is the state of the whole. */
#define LANE_BYTES 2048
#define POLYNOMIAL UINT32_C(0x82f63b78) /* reflected: the highest bit is that of x to the 0 */
#define X_TO_BITS_OF_LANE UINT32_C(0x0d65762a) /* x to the 8 * LANE_BYTES */
#define X_TO_BITS_OF_TWO UINT32_C(0x35d73a62)

/** The product of two polynomials, modulo the CRC's. */
static uint32_t multiply(uint32_t left, uint32_t right) {
    uint32_t product = 0;
    for (int bit = 31; bit >= 0; bit--) {
        product ^= right & (0 - (left >> bit & 1));
        right = right >> 1 ^ (POLYNOMIAL & (0 - (right & 1)));
    }
    return product;
}

/** Takes 3 * LANE_BYTES. */
static uint32_t update_by_lanes(uint32_t state, const unsigned char *data) {
    uint64_t first = state;
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t at = 0; at < LANE_BYTES; at += 8) {
        first = _mm_crc32_u64(first, bytes_load_u64(data + at));
        second = _mm_crc32_u64(second, bytes_load_u64(data + LANE_BYTES + at));
        third = _mm_crc32_u64(third, bytes_load_u64(data + (size_t)2 * LANE_BYTES + at));
    }
    return multiply((uint32_t)first, X_TO_BITS_OF_TWO) ^
           multiply((uint32_t)second, X_TO_BITS_OF_LANE) ^ (uint32_t)third;
}

static uint32_t crc32c_update(uint32_t state, const unsigned char *data, size_t size) {
    for (; size >= (size_t)3 * LANE_BYTES; data += 3 * LANE_BYTES, size -= 3 * LANE_BYTES) {
        state = update_by_lanes(state, data);
    }
    uint64_t wide = state;
    for (; size >= 8; data += 8, size -= 8) {
        wide = _mm_crc32_u64(wide, bytes_load_u64(data));
    }
    state = (uint32_t)wide;
    if (size >= 4) {
        state = _mm_crc32_u32(state, bytes_load_u32(data));
        data += 4;
        size -= 4;
    }
    for (; size > 0; data++, size--) {
        state = _mm_crc32_u8(state, *data);
    }
    return state;
}

#else

/* Four bits at a time: sixteen constants that can be checked by eye against the polynomial. */
static const uint32_t crc32c_nibbles[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t crc32c_update(uint32_t state, const unsigned char *data, size_t size) {
    for (; size > 0; data++, size--) {
        state ^= *data;
        state = (state >> 4) ^ crc32c_nibbles[state & 15];
        state = (state >> 4) ^ crc32c_nibbles[state & 15];
    }
    return state;
}

#endif

uint32_t crc32c_extend(uint32_t crc, const void *data, size_t size) {
    return ~crc32c_update(~crc, data, size);
}

uint32_t crc32c(const void *data, size_t size) {
    return crc32c_extend(0, data, size);
}
