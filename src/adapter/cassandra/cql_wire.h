/** The building blocks of CQL's binary protocol (native protocol, version 4, section 3): big-endian
 *  numbers, strings, bytes and bound values.
 *
 *  Writing goes into a struct text, which drops what does not fit and says so once. Reading goes
 *  through a cql_reader, which does the same: past the end, or after a length that cannot be, it
 *  has failed, stays so, and hands out zeros and empty slices. So both are checked once, at the
 *  end. Pure, any thread. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CQL_WIRE_H
#define ORDERD_ADAPTER_CASSANDRA_CQL_WIRE_H

#include "base/text.h"

/* --- Writing. --- */

static inline void cql_write_u8(struct text *out, uint8_t value) {
    text_append(out, &value, sizeof(value));
}

static inline void cql_write_u16(struct text *out, uint16_t value) {
    value = __builtin_bswap16(value);
    text_append(out, &value, sizeof(value));
}

static inline void cql_write_u32(struct text *out, uint32_t value) {
    value = __builtin_bswap32(value);
    text_append(out, &value, sizeof(value));
}

static inline void cql_write_u64(struct text *out, uint64_t value) {
    value = __builtin_bswap64(value);
    text_append(out, &value, sizeof(value));
}

/** [string]: a text of less than 64 KiB. */
static inline void cql_write_string(struct text *out, struct slice value) {
    cql_write_u16(out, (uint16_t)value.size);
    text_append_slice(out, value);
}

/** [long string], and [bytes], which look the same. */
static inline void cql_write_long_string(struct text *out, struct slice value) {
    cql_write_u32(out, (uint32_t)value.size);
    text_append_slice(out, value);
}

/** A bound value of type ascii or text. */
static inline void cql_write_value_text(struct text *out, struct slice value) {
    cql_write_long_string(out, value);
}

/** A bound value of type int. */
static inline void cql_write_value_u32(struct text *out, uint32_t value) {
    cql_write_u32(out, sizeof(value));
    cql_write_u32(out, value);
}

/** A bound value of type bigint. */
static inline void cql_write_value_u64(struct text *out, uint64_t value) {
    cql_write_u32(out, sizeof(value));
    cql_write_u64(out, value);
}

/** A bound value that is null: what is there is deleted, which leaves a tombstone. */
static inline void cql_write_value_null(struct text *out) {
    cql_write_u32(out, (uint32_t)-1);
}

/** A bound value that is not set: what is there stays, and nothing is written. */
static inline void cql_write_value_unset(struct text *out) {
    cql_write_u32(out, (uint32_t)-2);
}

/* --- Reading. --- */

struct cql_reader {
    const char *at;
    size_t left;
    bool failed;
};

static inline struct cql_reader cql_reader_over(struct slice bytes) {
    return (struct cql_reader){bytes.data, bytes.size, false};
}

/** The next `size` bytes, or nothing. */
static inline struct slice cql_read_raw(struct cql_reader *reader, size_t size) {
    if (UNLIKELY(reader->failed || size > reader->left)) {
        reader->failed = true;
        return (struct slice){"", 0};
    }
    struct slice bytes = {reader->at, size};
    reader->at += size;
    reader->left -= size;
    return bytes;
}

static inline uint8_t cql_read_u8(struct cql_reader *reader) {
    struct slice bytes = cql_read_raw(reader, 1);
    return bytes.size == 1 ? (uint8_t)bytes.data[0] : 0;
}

static inline uint16_t cql_read_u16(struct cql_reader *reader) {
    uint16_t value = 0;
    struct slice bytes = cql_read_raw(reader, sizeof(value));
    memcpy(&value, bytes.data, bytes.size);
    return __builtin_bswap16(value);
}

static inline uint32_t cql_read_u32(struct cql_reader *reader) {
    uint32_t value = 0;
    struct slice bytes = cql_read_raw(reader, sizeof(value));
    memcpy(&value, bytes.data, bytes.size);
    return __builtin_bswap32(value);
}

/** [string], and [short bytes], which look the same. */
static inline struct slice cql_read_string(struct cql_reader *reader) {
    return cql_read_raw(reader, cql_read_u16(reader));
}

/** [bytes]. A length of -1 says that it is null; any other negative one is none. */
static inline struct slice cql_read_bytes(struct cql_reader *reader, bool *is_null) {
    uint32_t size = cql_read_u32(reader);
    *is_null = size == UINT32_MAX;
    return *is_null ? (struct slice){"", 0} : cql_read_raw(reader, size);
}

#endif
