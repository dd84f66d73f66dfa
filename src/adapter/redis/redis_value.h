/** Answers of a Redis node: bytes in, values out. hiredis reads the protocol (RESP2); the values
 *  are ours, in memory that is bounded whatever the node sends.
 *
 *  A value and what it points to stay until the next call on the same reader.
 *  @thread the owner's. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_VALUE_H
#define ORDERD_ADAPTER_REDIS_REDIS_VALUE_H

#include "base/bytes.h"

/** Most bytes that one answer may take, and that may wait for its end. */
#define REDIS_ANSWER_BYTES_MAX (4u << 20)
/** Bytes that are handed to hiredis at once: it moves what is left over after each answer. */
#define REDIS_FEED_BYTES 8192

enum redis_kind { REDIS_NIL, REDIS_INTEGER, REDIS_STATUS, REDIS_ERROR, REDIS_TEXT, REDIS_ARRAY };

struct redis_value {
    enum redis_kind kind;
    int64_t integer;
    struct slice text; /* STATUS, ERROR, TEXT; a zero byte follows it */
    struct redis_value *items;
    size_t count; /* ARRAY */
};

struct redis_block;

struct redis_reader {
    void *reader;              /* hiredis's redisReader; owned */
    struct redis_block *first; /* owned list */
    struct redis_block *block; /* where the next bytes come from */
    size_t bytes;              /* of all blocks */
    bool taken;                /* the value of the last answer is still out */
};

enum redis_read { REDIS_READ_NONE, REDIS_READ_VALUE, REDIS_READ_BROKEN };

/** False where memory is short. */
MUST_CHECK bool redis_reader_init(struct redis_reader *reader);
void redis_reader_deinit(struct redis_reader *reader);

/** Takes up to REDIS_FEED_BYTES more. False where it is too much: the connection is to be closed.
 */
MUST_CHECK bool redis_reader_feed(struct redis_reader *reader, const char *data, size_t size);

/** The next whole answer. BROKEN: what came is no answer, or one too large. */
MUST_CHECK enum redis_read redis_reader_next(struct redis_reader *reader,
                                             const struct redis_value **value);

/** True where an ERROR begins with `word` and a blank or its end follows. */
MUST_CHECK bool redis_value_is_error(const struct redis_value *value, const char *word);

#endif
