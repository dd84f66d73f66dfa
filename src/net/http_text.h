/** The character classes of HTTP and small helpers over slices, shared by the parsers.
 *  Grammar: RFC 9110 section 5.6 (token, list, OWS), RFC 3986 appendix A (host, path, query).
 *  Pure functions, any thread. */
#ifndef ORDERD_NET_HTTP_TEXT_H
#define ORDERD_NET_HTTP_TEXT_H

#include "base/bytes.h"

enum http_character {
    HTTP_CHARACTER_TOKEN = 1,  /* of a method or a field name */
    HTTP_CHARACTER_TARGET = 2, /* of a path or query, but for "%" */
    HTTP_CHARACTER_HOST = 4,   /* of a registered name, but for "%" */
    HTTP_CHARACTER_HEX = 8,
};

extern const uint8_t http_character_classes[256];

static inline bool http_character_is(char character, enum http_character class) {
    return (http_character_classes[(unsigned char)character] & class) != 0;
}

static inline bool http_is_blank(char character) {
    return character == ' ' || character == '\t';
}

static inline bool http_is_digit(char character) {
    return character >= '0' && character <= '9';
}

/** Takes blanks off both ends. */
static inline struct slice http_trim(struct slice text) {
    while (text.size > 0 && http_is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    while (text.size > 0 && http_is_blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    return text;
}

/** Compares without regard to the case of letters. @param lower in small letters. */
bool http_equal_ignoring_case(struct slice text, struct slice lower);

/** Takes the next item off a comma-separated list, trimmed; empty items are skipped. False at the
 *  end. */
bool http_list_next(struct slice *list, struct slice *item);

/** True where every byte is in `class` or part of a "%" and two hexadecimal digits. */
bool http_is_encoded_text(struct slice text, enum http_character class);

/** Where the first byte from `at` on lies that no line of text may hold (a control character other
 *  than HTAB), or `size`. Looks at 16 bytes at a time. */
size_t http_find_control(const char *data, size_t at, size_t size);

#endif
