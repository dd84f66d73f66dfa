/** A text builder over memory that the caller owns. It never writes past the end: what does not
 *  fit is dropped and `truncated` is set, so a caller checks once, at the end.
 *  One thread at a time. */
#ifndef ORDERD_BASE_TEXT_H
#define ORDERD_BASE_TEXT_H

#include "base/bytes.h"

struct text {
    char *data;
    size_t size;
    size_t capacity;
    bool truncated;
};

static inline struct text text_over(char *memory, size_t capacity) {
    return (struct text){memory, 0, capacity, false};
}

static inline struct slice text_slice(const struct text *text) {
    return (struct slice){text->data, text->size};
}

static inline void text_append(struct text *text, const void *data, size_t size) {
    if (UNLIKELY(size > text->capacity - text->size)) {
        text->truncated = true;
        return;
    }
    if (size > 0) {
        memcpy(text->data + text->size, data, size);
        text->size += size;
    }
}

#define text_append_literal(text, literal) text_append((text), (literal), sizeof(literal) - 1)

static inline void text_append_char(struct text *text, char character) {
    text_append(text, &character, 1);
}

static inline void text_append_slice(struct text *text, struct slice slice) {
    text_append(text, slice.data, slice.size);
}

/** Appends `value` in decimal. */
void text_append_u64(struct text *text, uint64_t value);

/** printf into the builder. A result that does not fit whole is dropped whole. */
void text_append_format(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Appends the bytes as the inside of a JSON string: quotes, backslashes and control characters
 *  are escaped, bytes that are no UTF-8 become U+FFFD. */
void text_append_json_escaped(struct text *text, struct slice raw);

#endif
