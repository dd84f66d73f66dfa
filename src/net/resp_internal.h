/** What the parts of the RESP server share: the connection and its phases. Private to resp_*.c.
 *
 *  resp_server.c      creation, accepting, the hooks, draining
 *  resp_connection.c  a connection: reading, handing commands over, sending, time limits, the end
 *
 *  A connection is only ever closed by resp_connection_settle, at the end of whatever drove it, so
 *  nothing that calls the handler finds it gone under its feet. */
#ifndef ORDERD_NET_RESP_INTERNAL_H
#define ORDERD_NET_RESP_INTERNAL_H

#include "net/buffer_pool.h"
#include "net/listener.h"
#include "net/output.h"
#include "net/resp_server.h"

#define RESP_INPUT_BYTES ((size_t)16 << 10)

/** What is read over at once from a peer that was refused. */
#define RESP_SCRATCH_BYTES ((size_t)64 << 10)

enum resp_phase {
    RESP_PHASE_FREE,
    RESP_PHASE_READ,    /* commands are read and answered */
    RESP_PHASE_WAIT,    /* the handler will go on later */
    RESP_PHASE_CLOSING, /* what is in the output leaves, then the connection ends */
    RESP_PHASE_LINGER   /* the peer is told; what it still sends is read over for a while */
};

enum resp_limit {
    RESP_LIMIT_NONE,
    RESP_LIMIT_IDLE,
    RESP_LIMIT_COMMAND,
    RESP_LIMIT_WRITE,
    RESP_LIMIT_LINGER
};

struct resp_connection {
    struct loop_source source;
    struct resp_server *server;
    uint8_t phase; /* enum resp_phase */
    uint8_t limit; /* enum resp_limit that the timer stands for */
    /* Edge-triggered readiness, remembered. */
    bool readable;
    bool peer_closing; /* the end of the peer's bytes is in sight: read on until it is there */
    bool ended;        /* it was read */
    bool blocked;      /* the socket took less than there was to send */
    bool broken;
    bool lingers; /* the peer may still be sending when the connection ends */
    bool driving;
    uint8_t reads_left; /* of this turn */
    /* Input: [begin, end) is not answered yet; the parser is within its first command. */
    uint32_t begin;
    uint32_t end;
    char *input;                    /* NULL where there is nothing in it */
    struct buffer_pool *input_pool; /* whose it is */
    size_t linger_left;
    int64_t progress_mark; /* what the peer had acknowledged when the limit began */
    struct resp_parser parser;
    struct list_node resume_node; /* in server->resume or server->later */
    struct list_node flush_node;
    struct timer timer;
    struct output output;
    struct resp_session session;
};

struct resp_server {
    struct loop *loop;
    struct resp_handler *handler;
    struct resp_options options;
    struct listener listener;
    struct loop_hook batch_hook;
    struct loop_hook flush_hook;
    struct list_node resume; /* connections to be driven in this iteration */
    struct list_node later;  /* in the next one: they had their turn */
    struct list_node flush;  /* connections with something to send */
    uint64_t handed;         /* calls of the handler, which may have made work for other hooks */
    uint64_t opened;         /* connections so far */
    bool draining;
    struct buffer_pool input_pool;
    struct buffer_pools pools;           /* the small ones are for output */
    struct resp_connection *connections; /* owned */
    uint32_t connection_count;
    uint32_t free_count;
    uint32_t *free; /* owned: a stack of indices */
    char *scratch;  /* owned: RESP_SCRATCH_BYTES */
    struct resp_metrics metrics;
};

/** Raises a counter that only this thread raises. */
static inline void resp_count(_Atomic uint64_t *counter, uint64_t amount) {
    metric_set(counter, metric_get(counter) + amount);
}

/** Takes a free connection for `fd`; NULL where there is none. */
struct resp_connection *resp_connection_open(struct resp_server *server, int fd);

/** Goes on with whatever can go on, and settles. */
void resp_connection_drive(struct resp_connection *connection);

/** After anything happened: ends the connection where it is to end, else sees to its time limit,
 *  its buffers and its place in the lists. */
void resp_connection_settle(struct resp_connection *connection);

/** Sends what the socket takes, then settles. */
void resp_connection_flush(struct resp_connection *connection);

void resp_connection_resume_soon(struct resp_connection *connection);

#endif
