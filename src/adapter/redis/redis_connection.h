/** A non-blocking connection to one node: bytes out of a bounded buffer, answers in.
 *  @thread the owner's; nothing here waits. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_CONNECTION_H
#define ORDERD_ADAPTER_REDIS_REDIS_CONNECTION_H

#include "adapter/redis/redis_options.h"
#include "adapter/redis/redis_value.h"
#include "base/text.h"

/** Room for commands that the system has not taken yet. */
#define REDIS_OUT_BYTES (256u << 10)

enum redis_connection_state { REDIS_CLOSED, REDIS_CONNECTING, REDIS_OPEN };

struct redis_connection {
    enum redis_connection_state state;
    int fd;
    struct redis_reader reader; /* while not closed */
    char *out;                  /* owned, while not closed */
    size_t out_begin;
    size_t out_end;
    int64_t begun_us; /* when the connection was begun */
    int64_t heard_us; /* when the node last sent something, or was first asked after a silence */
};

void redis_connection_init(struct redis_connection *connection);

/** Begins to connect; also done where it fails at once. False, with a fault, where it cannot. */
MUST_CHECK bool redis_connection_begin(struct redis_connection *connection,
                                       const struct redis_address *address, int64_t now_us,
                                       struct fault *fault);
void redis_connection_close(struct redis_connection *connection);

/** Room of at least `size` bytes at the end of what goes out, or none (data NULL). What was written
 * there goes with redis_connection_commit. */
struct text redis_connection_room(struct redis_connection *connection, size_t size);
void redis_connection_commit(struct redis_connection *connection, const struct text *text);

/** True where bytes wait to go out, or the connection is being made. */
MUST_CHECK static inline bool
redis_connection_wants_write(const struct redis_connection *connection) {
    return connection->state == REDIS_CONNECTING ||
           (connection->state == REDIS_OPEN && connection->out_begin < connection->out_end);
}

/** The connection was made, or was not: to be called when it can be written to. */
MUST_CHECK bool redis_connection_finish(struct redis_connection *connection, int64_t now_us,
                                        struct fault *fault);

/** Sends what the system takes. False: it broke. */
MUST_CHECK bool redis_connection_write(struct redis_connection *connection, struct fault *fault);

/** What takes an answer; false: it makes no sense, and the connection is to be closed. */
typedef bool redis_answer_function(void *context, const struct redis_value *answer);

/** Reads what is there and hands each answer over. False: it broke, or what came is no answer. */
MUST_CHECK bool redis_connection_read(struct redis_connection *connection, int64_t now_us,
                                      redis_answer_function *take, void *context,
                                      struct fault *fault);

/** Appends an array's head, and one of its parts. */
void redis_append_array(struct text *text, size_t count);
void redis_append_bulk(struct text *text, struct slice part);

#endif
