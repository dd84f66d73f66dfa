/** What the bytes of 64 are, as bits: texts that lie side by side are judged by a few operations on
 *  three numbers instead of a walk over each.
 *  Pure, any thread. */
#ifndef ORDERD_BASE_TEXT_MASKS_H
#define ORDERD_BASE_TEXT_MASKS_H

#include "base/bytes.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TEXT_MASKS_BYTES 64

/** Bit i says something of byte i. */
struct text_masks {
    uint64_t code; /* a letter, a digit, '-' or '_' */
    uint64_t dot;
    uint64_t zero;
};

#if defined(__SSE2__)

/** All ones in each byte that is at most `limit` above `first`. */
static inline __m128i text_bytes_within(__m128i bytes, char first, char limit) {
    __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8(limit)), above);
}

static inline uint64_t text_bits(__m128i bytes) {
    return (uint32_t)_mm_movemask_epi8(bytes);
}

static inline struct text_masks text_masks_of(const char *text) {
    struct text_masks masks = {0, 0, 0};
    for (unsigned at = 0; at < TEXT_MASKS_BYTES; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(text + at));
        /* The two cases of a letter differ in this bit, and nothing else becomes a letter by it. */
        __m128i small = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
        __m128i letter = text_bytes_within(small, 'a', 25);
        __m128i digit = text_bytes_within(bytes, '0', 9);
        __m128i line = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')),
                                    _mm_cmpeq_epi8(bytes, _mm_set1_epi8('_')));
        __m128i code = _mm_or_si128(_mm_or_si128(letter, digit), line);
        masks.code |= text_bits(code) << at;
        masks.dot |= text_bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('.'))) << at;
        masks.zero |= text_bits(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())) << at;
    }
    return masks;
}

#else

static inline struct text_masks text_masks_of(const char *text) {
    struct text_masks masks = {0, 0, 0};
    for (unsigned at = 0; at < TEXT_MASKS_BYTES; at++) {
        char byte = text[at];
        char small = (char)(byte | 0x20);
        bool code = (small >= 'a' && small <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
                    byte == '_';
        masks.code |= (uint64_t)code << at;
        masks.dot |= (uint64_t)(byte == '.') << at;
        masks.zero |= (uint64_t)(byte == 0) << at;
    }
    return masks;
}

#endif

/** True where the `width` bytes from `from` on are none but those of `text`, then none but zeroes;
 *  also where they are all zero. `width` is below 64. */
static inline bool text_is_padded(uint64_t text, uint64_t zero, unsigned from, unsigned width) {
    uint64_t all = (UINT64_C(1) << width) - 1;
    uint64_t used = text >> from & all;
    return (used & (used + 1)) == 0 && (used | (zero >> from & all)) == all;
}

#endif
