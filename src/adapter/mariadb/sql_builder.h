/** Text of SQL statements, built in memory that grows up to a bound and is kept from one statement
 *  to the next, so that a lane which has seen its largest batch allocates nothing any more.
 *
 *  Values go in as literals. They were validated before, and are escaped all the same: by the
 *  rules of a server without NO_BACKSLASH_ESCAPES, in a character set (utf8mb4) in which no byte
 *  of a longer character is below 0x80. Every connection sets both.
 *
 *  What does not fit is dropped and `overflowed` is set: whoever sends the statement looks at it
 *  once. One thread at a time. */
#ifndef ORDERD_ADAPTER_MARIADB_SQL_BUILDER_H
#define ORDERD_ADAPTER_MARIADB_SQL_BUILDER_H

#include "base/bytes.h"

struct sql_builder {
    char *data; /* owned; NULL until something is written */
    size_t size;
    size_t capacity;
    size_t capacity_max;
    bool overflowed;
};

/** Allocates nothing yet. @param capacity_max the longest statement, bytes. */
void sql_builder_init(struct sql_builder *sql, size_t capacity_max);
void sql_builder_deinit(struct sql_builder *sql);

/** Begins the next statement in the same memory. */
static inline void sql_builder_reset(struct sql_builder *sql) {
    sql->size = 0;
    sql->overflowed = false;
}

static inline struct slice sql_builder_slice(const struct sql_builder *sql) {
    return (struct slice){sql->data, sql->size};
}

/** Appends SQL as it stands. */
void sql_append(struct sql_builder *sql, const void *data, size_t size);

#define sql_append_literal(sql, literal) sql_append((sql), (literal), sizeof(literal) - 1)

void sql_append_char(struct sql_builder *sql, char character);
void sql_append_u64(struct sql_builder *sql, uint64_t value);

/** Appends a text in quotes, escaped. */
void sql_append_text(struct sql_builder *sql, struct slice text);

/** As sql_append_text; NULL for an empty one. */
void sql_append_text_or_null(struct sql_builder *sql, struct slice text);

/** Appends a DATETIME(6) in UTC, in quotes. @param time_us microseconds since 1970. */
void sql_append_time(struct sql_builder *sql, int64_t time_us);

/** As sql_append_time; NULL for 0, which stands for "has not happened". */
void sql_append_time_or_null(struct sql_builder *sql, int64_t time_us);

/** Reads a number in decimal, as the server writes it. False where the text is none, or is past
 *  64 bits. */
MUST_CHECK bool sql_parse_u64(struct slice text, uint64_t *value);

/** Reads a DATETIME as the server writes it: `2026-01-01 00:00:00`, with up to six digits of a
 *  second behind it. False where the text is none, or is before 1970. */
MUST_CHECK bool sql_parse_time(struct slice text, int64_t *time_us);

#endif
