/** A strict JSON reader (RFC 8259) over text in memory: it walks the members of one object and
 *  validates everything on the way, without allocating and without recursion.
 *
 *  Stricter than the RFC where it leaves room: no byte order mark, valid UTF-8 only, no lone
 *  surrogate, no escaped NUL, no key twice in an object at any depth, nesting of at most
 *  JSON_DEPTH_MAX, nothing after the document.
 *
 *      struct json_reader reader;
 *      json_reader_init(&reader, body, &keys);
 *      while (json_reader_next(&reader, &member)) { ... }
 *      switch (json_reader_status(&reader)) { ... }
 *
 *  One thread a reader. */
#ifndef ORDERD_ORDER_JSON_READER_H
#define ORDERD_ORDER_JSON_READER_H

#include "base/bytes.h"

#define JSON_DEPTH_MAX 32

/** The largest document that the reader takes: bounds the set of keys below. */
#define JSON_DOCUMENT_BYTES_MAX (16 * 1024)

#define JSON_KEY_SLOTS 8192

enum json_status {
    JSON_STATUS_OK,
    JSON_STATUS_NO_OBJECT, /* valid JSON, but no object */
    JSON_STATUS_MALFORMED  /* `reason` and `at` say what and where */
};

enum json_kind {
    JSON_KIND_NULL,
    JSON_KIND_BOOLEAN,
    JSON_KIND_NUMBER,
    JSON_KIND_STRING,
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY
};

struct json_value {
    enum json_kind kind;
    bool escaped;     /* a string with a backslash in it: decode with json_string_decode */
    struct slice raw; /* a string without its quotes, anything else as it stands */
};

struct json_member {
    struct slice key; /* without the quotes */
    bool key_escaped;
    struct json_value value;
};

/** Scratch for finding a key that stands twice: hashes of (object, key). The caller provides it,
 *  as it is too large to be on every stack; a short document uses and clears a small part. */
struct json_keys {
    uint64_t slots[JSON_KEY_SLOTS];
};

struct json_reader {
    struct slice document;
    size_t at;
    const char *reason; /* NULL while all is well */
    enum json_status status;
    bool started;
    bool finished;
    uint32_t objects; /* numbered, for the set of keys */
    struct json_keys *keys;
    size_t key_slots; /* in use: a power of two, at least twice the keys that can be there */
};

void json_reader_init(struct json_reader *reader, struct slice document, struct json_keys *keys);

/** The next member of the outermost object. False at its end or at the first fault: then ask
 *  json_reader_status. Every key is noted; one that stands twice is a fault. */
MUST_CHECK bool json_reader_next(struct json_reader *reader, struct json_member *member);

static inline enum json_status json_reader_status(const struct json_reader *reader) {
    return reader->status;
}

/** Decodes a string that the reader has validated into `out`. False when it does not fit. */
MUST_CHECK bool json_string_decode(struct slice raw, bool escaped, char *out, size_t capacity,
                                   size_t *size);

#endif
