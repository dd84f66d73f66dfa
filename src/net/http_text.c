#include "net/http_text.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define T HTTP_CHARACTER_TOKEN
#define P HTTP_CHARACTER_TARGET
#define H HTTP_CHARACTER_HOST
#define X HTTP_CHARACTER_HEX

const uint8_t http_character_classes[256] = {
    ['0' ... '9'] = T | P | H | X,
    ['A' ... 'F'] = T | P | H | X,
    ['G' ... 'Z'] = T | P | H,
    ['a' ... 'f'] = T | P | H | X,
    ['g' ... 'z'] = T | P | H,
    /* unreserved */
    ['-'] = T | P | H,
    ['.'] = T | P | H,
    ['_'] = T | P | H,
    ['~'] = T | P | H,
    /* sub-delims */
    ['!'] = T | P | H,
    ['$'] = T | P | H,
    ['&'] = T | P | H,
    ['\''] = T | P | H,
    ['('] = P | H,
    [')'] = P | H,
    ['*'] = T | P | H,
    ['+'] = T | P | H,
    [','] = P | H,
    [';'] = P | H,
    ['='] = P | H,
    /* the rest of a path and a query */
    [':'] = P,
    ['@'] = P,
    ['/'] = P,
    ['?'] = P,
    /* the rest of a token */
    ['#'] = T,
    ['%'] = T,
    ['^'] = T,
    ['`'] = T,
    ['|'] = T,
};

#undef T
#undef P
#undef H
#undef X

bool http_equal_ignoring_case(struct slice text, struct slice lower) {
    if (text.size != lower.size) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char character = text.data[i];
        if (character >= 'A' && character <= 'Z') {
            character = (char)(character + ('a' - 'A'));
        }
        if (character != lower.data[i]) {
            return false;
        }
    }
    return true;
}

bool http_list_next(struct slice *list, struct slice *item) {
    while (list->size > 0) {
        const char *comma = memchr(list->data, ',', list->size);
        size_t size = comma == NULL ? list->size : (size_t)(comma - list->data);
        *item = http_trim((struct slice){list->data, size});
        size_t taken = comma == NULL ? size : size + 1;
        list->data += taken;
        list->size -= taken;
        if (item->size > 0) {
            return true;
        }
    }
    return false;
}

bool http_is_encoded_text(struct slice text, enum http_character class) {
    for (size_t i = 0; i < text.size; i++) {
        if (LIKELY(http_character_is(text.data[i], class))) {
            continue;
        }
        if (text.data[i] != '%' || text.size - i < 3 ||
            !http_character_is(text.data[i + 1], HTTP_CHARACTER_HEX) ||
            !http_character_is(text.data[i + 2], HTTP_CHARACTER_HEX)) {
            return false;
        }
        i += 2;
    }
    return true;
}

static inline bool is_control(unsigned char byte) {
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

size_t http_find_control(const char *data, size_t at, size_t size) {
#ifdef __SSE2__
    const __m128i last_control = _mm_set1_epi8(0x1f);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i delete = _mm_set1_epi8(0x7f);
    while (size - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(data + at));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
        __m128i control = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), low),
                                       _mm_cmpeq_epi8(bytes, delete));
        unsigned mask = (unsigned)_mm_movemask_epi8(control);
        if (mask != 0) {
            return at + (unsigned)__builtin_ctz(mask);
        }
        at += 16;
    }
#endif
    while (at < size && !is_control((unsigned char)data[at])) {
        at++;
    }
    return at;
}
