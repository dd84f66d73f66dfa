#include "adapter/mariadb/sql_builder.h"

#include "base/rfc3339.h"
#include "base/text.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN 1024

/* `2026-01-01 00:00:00.000000`: as RFC 3339 has it, with a blank for the T and without the Z. */
#define DATETIME_BYTES (RFC3339_TEXT_BYTES - 1)
#define DATETIME_SECONDS_BYTES 19
#define DATETIME_SEPARATOR_AT 10

void sql_builder_init(struct sql_builder *sql, size_t capacity_max) {
    *sql = (struct sql_builder){.capacity_max = capacity_max};
}

void sql_builder_deinit(struct sql_builder *sql) {
    free(sql->data);
    *sql = (struct sql_builder){.capacity_max = sql->capacity_max};
}

/** Makes room for `size` more bytes. False, and `overflowed` is set, where there is none. */
static bool reserve(struct sql_builder *sql, size_t size) {
    if (LIKELY(size <= sql->capacity - sql->size)) {
        return true;
    }
    if (size > sql->capacity_max || sql->size > sql->capacity_max - size) {
        sql->overflowed = true;
        return false;
    }
    size_t capacity = sql->capacity < CAPACITY_MIN ? CAPACITY_MIN : sql->capacity;
    while (capacity < sql->size + size) {
        capacity *= 2;
    }
    capacity = bytes_min_size(capacity, sql->capacity_max);
    char *data = realloc(sql->data, capacity);
    if (data == NULL) {
        sql->overflowed = true;
        return false;
    }
    sql->data = data;
    sql->capacity = capacity;
    return true;
}

void sql_append(struct sql_builder *sql, const void *data, size_t size) {
    if (size > 0 && reserve(sql, size)) {
        memcpy(sql->data + sql->size, data, size);
        sql->size += size;
    }
}

void sql_append_char(struct sql_builder *sql, char character) {
    sql_append(sql, &character, 1);
}

void sql_append_u64(struct sql_builder *sql, uint64_t value) {
    char digits[20];
    struct text text = text_over(digits, sizeof(digits));
    text_append_u64(&text, value);
    sql_append(sql, text.data, text.size);
}

/** What follows the backslash where `character` must be escaped (MariaDB, "String Literals"), else
 *  0. */
static char escape_of(char character) {
    switch (character) {
    case 0:
        return '0';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case 0x1a:
        return 'Z';
    case '\'':
    case '"':
    case '\\':
        return character;
    default:
        return 0;
    }
}

void sql_append_text(struct sql_builder *sql, struct slice text) {
    if (text.size > SIZE_MAX / 2 - 1 || !reserve(sql, 2 * text.size + 2)) {
        sql->overflowed = true;
        return;
    }
    char *at = sql->data + sql->size;
    *at++ = '\'';
    for (size_t i = 0; i < text.size; i++) {
        char escape = escape_of(text.data[i]);
        if (UNLIKELY(escape != 0)) {
            *at++ = '\\';
            *at++ = escape;
        } else {
            *at++ = text.data[i];
        }
    }
    *at++ = '\'';
    sql->size = (size_t)(at - sql->data);
}

void sql_append_text_or_null(struct sql_builder *sql, struct slice text) {
    if (text.size == 0) {
        sql_append_literal(sql, "NULL");
    } else {
        sql_append_text(sql, text);
    }
}

void sql_append_time(struct sql_builder *sql, int64_t time_us) {
    char text[1 + RFC3339_TEXT_BYTES];
    size_t size = rfc3339_format(time_us, text + 1);
    assert(size == RFC3339_TEXT_BYTES);
    text[0] = '\'';
    text[1 + DATETIME_SEPARATOR_AT] = ' ';
    text[1 + DATETIME_BYTES] = '\'';
    sql_append(sql, text, sizeof(text));
}

void sql_append_time_or_null(struct sql_builder *sql, int64_t time_us) {
    if (time_us == 0) {
        sql_append_literal(sql, "NULL");
    } else {
        sql_append_time(sql, time_us);
    }
}

bool sql_parse_u64(struct slice text, uint64_t *value) {
    uint64_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)digit, &number)) {
            return false;
        }
    }
    *value = number;
    return text.size > 0;
}

bool sql_parse_time(struct slice text, int64_t *time_us) {
    char rfc3339[RFC3339_TEXT_BYTES];
    if (text.size < DATETIME_SECONDS_BYTES || text.size > DATETIME_BYTES ||
        text.data[DATETIME_SEPARATOR_AT] != ' ') {
        return false;
    }
    memcpy(rfc3339, text.data, text.size);
    rfc3339[DATETIME_SEPARATOR_AT] = 'T';
    rfc3339[text.size] = 'Z';
    return rfc3339_parse((struct slice){rfc3339, text.size + 1}, time_us);
}
