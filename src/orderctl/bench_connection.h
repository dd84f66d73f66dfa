/** One connection of the bench: a non-blocking socket, the requests that are on their way on it, in
 *  order, and a large buffer for what comes back.
 *
 *  Requests form a ring: taken at its end, sent from where sending stopped, answered at its begin.
 *  All that wait are handed to the system in one call. Belongs to one worker. */
#ifndef ORDERD_ORDERCTL_BENCH_CONNECTION_H
#define ORDERD_ORDERCTL_BENCH_CONNECTION_H

#include "orderctl/bench_workload.h"

enum bench_socket_state {
    BENCH_SOCKET_GOES_ON,
    BENCH_SOCKET_CLOSED /* by the other side, or broken: errno says */
};

struct bench_connection {
    int fd;                         /* owned; -1: not connected */
    uint32_t depth;                 /* requests that may be on their way */
    struct bench_request *requests; /* owned: a ring of `depth` */
    char *spaces;                   /* owned: the requests' memory */
    uint32_t first;                 /* the oldest that has no answer */
    uint32_t count;                 /* without an answer */
    uint32_t sent;                  /* of these, sent whole */
    size_t sent_bytes;              /* of the next one */
    char *input;                    /* owned */
    size_t input_capacity;
    size_t input_begin;
    size_t input_end;
    size_t answer_bytes;     /* of the answer that is being received; 0: not known yet */
    int64_t paused_until_ns; /* nothing is sent before; 0: no pause */
    bool closing;            /* the service said that it closes */
    uint64_t bytes_sent;
    uint64_t bytes_received;
};

/** Reserves the memory. False where there is none. */
MUST_CHECK bool bench_connection_init(struct bench_connection *connection, uint32_t depth,
                                      struct bench_workload *workload);
void bench_connection_deinit(struct bench_connection *connection);

/** Connects, waiting at most `timeout_ms`. False with the reason. */
MUST_CHECK bool bench_connection_open(struct bench_connection *connection, const char *host,
                                      const char *port, uint64_t timeout_ms, struct fault *fault);

/** Closes the socket and forgets what was on its way. */
void bench_connection_reset(struct bench_connection *connection);

static inline bool bench_connection_has_room(const struct bench_connection *connection) {
    return connection->count < connection->depth;
}

/** The place of the next request; there is room. It counts once bench_connection_commit is
 *  called. */
static inline struct bench_request *bench_connection_next(struct bench_connection *connection) {
    return &connection->requests[(connection->first + connection->count) % connection->depth];
}

static inline void bench_connection_commit(struct bench_connection *connection) {
    connection->count++;
}

/** The request that the next answer is for; there is one. */
static inline struct bench_request *bench_connection_oldest(struct bench_connection *connection) {
    return &connection->requests[connection->first];
}

/** The oldest request is answered. */
void bench_connection_retire(struct bench_connection *connection);

/** As bench_connection_retire, but the same request goes to the end of the ring, to be sent
 *  again. */
void bench_connection_resend(struct bench_connection *connection);

/** Sends what waits, as far as the socket takes it. */
MUST_CHECK enum bench_socket_state bench_connection_send(struct bench_connection *connection);

/** Reads once. `*more` where there may be more at once. */
MUST_CHECK enum bench_socket_state bench_connection_receive(struct bench_connection *connection,
                                                            bool *more);

/** Cuts the next whole answer out of what was received. It stays valid until the next receive. */
MUST_CHECK enum bench_cut bench_connection_cut(struct bench_connection *connection,
                                               const struct bench_workload *workload,
                                               struct bench_answer *answer);

#endif
