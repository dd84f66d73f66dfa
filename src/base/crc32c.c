#include "base/crc32c.h"

#include "base/bytes.h"

#if defined(__SSE4_2__)
#include <nmmintrin.h>

static uint32_t crc32c_update(uint32_t state, const unsigned char *data, size_t size) {
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
