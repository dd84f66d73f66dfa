/** Reads the parts of a binlog event off its front. Past the end nothing is read, zeros are given
 *  and `failed` is set, so that a reader checks once, at the end. One thread at a time. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_CURSOR_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_CURSOR_H

#include "base/bytes.h"

struct binlog_cursor {
    const uint8_t *data;
    size_t left;
    bool failed;
};

static inline struct binlog_cursor binlog_cursor_over(struct slice bytes) {
    return (struct binlog_cursor){(const uint8_t *)bytes.data, bytes.size, false};
}

/** The next `size` bytes; NULL where there are fewer. */
static inline const uint8_t *binlog_take(struct binlog_cursor *cursor, size_t size) {
    if (UNLIKELY(cursor->failed || size > cursor->left)) {
        cursor->failed = true;
        return NULL;
    }
    const uint8_t *taken = cursor->data;
    cursor->data += size;
    cursor->left -= size;
    return taken;
}

/** A little-endian number of up to 8 bytes. */
static inline uint64_t binlog_take_number(struct binlog_cursor *cursor, size_t size) {
    uint64_t value = 0;
    const uint8_t *bytes = binlog_take(cursor, size);
    if (LIKELY(bytes != NULL)) {
        memcpy(&value, bytes, size);
    }
    return value;
}

/** A big-endian number of up to 8 bytes. */
static inline uint64_t binlog_take_big_endian(struct binlog_cursor *cursor, size_t size) {
    uint64_t value = 0;
    const uint8_t *bytes = binlog_take(cursor, size);
    for (size_t i = 0; bytes != NULL && i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/** A number in MySQL's length encoding: one byte up to 250, else 2, 3 or 8 bytes after a mark. */
static inline uint64_t binlog_take_length(struct binlog_cursor *cursor) {
    uint64_t first = binlog_take_number(cursor, 1);
    if (first < 251) {
        return first;
    }
    if (first == 251 || first == 255) { /* NULL and an error, which are no lengths */
        cursor->failed = true;
        return 0;
    }
    return binlog_take_number(cursor, first == 252 ? 2 : first == 253 ? 3 : 8);
}

static inline struct slice binlog_take_slice(struct binlog_cursor *cursor, uint64_t size) {
    const uint8_t *bytes = size > cursor->left ? NULL : binlog_take(cursor, (size_t)size);
    if (bytes == NULL) {
        cursor->failed = true;
        return (struct slice){"", 0};
    }
    return (struct slice){(const char *)bytes, (size_t)size};
}

#endif
