/** What the parts of the HTTP server share: the connection and its phases. Private to http_*.c.
 *
 *  http_server.c      creation, accepting, the hooks, draining
 *  http_connection.c  the state machine of a connection: heads, phases, time limits, the end
 *  http_body.c        reading: the input buffer, bodies, what is read over
 *  http_answer.c      the answers and streams that handlers write, and sending them
 *
 *  A connection is only ever closed by http_connection_settle, at the end of whatever drove it;
 *  deeper down its end is noted (`broken`, PHASE_CLOSING). So nothing that calls a handler finds
 *  the connection gone under its feet. */
#ifndef ORDERD_NET_HTTP_INTERNAL_H
#define ORDERD_NET_HTTP_INTERNAL_H

#include "net/connection.h"
#include "net/http_chunks.h"
#include "net/http_date.h"
#include "net/http_server.h"

#define HTTP_INPUT_BYTES ((size_t)16 << 10)

/** A refused body of up to this size is read over, so that the connection can go on. */
#define HTTP_DISCARD_BYTES_MAX ((size_t)64 << 10)

enum http_phase {
    PHASE_FREE,
    PHASE_HEAD,    /* between requests, or a head is being read */
    PHASE_BODY,    /* a body is being read */
    PHASE_WAIT,    /* the handler has the request */
    PHASE_STREAM,  /* the handler writes a stream */
    PHASE_DISCARD, /* the body of a request that is answered is being read over */
    PHASE_CLOSING, /* what is in the output leaves, then the connection ends */
    PHASE_LINGER,  /* the peer is told; what it still sends is read over for a while */
};

/** The body of a request while it is read and until the request is answered. */
struct http_body {
    struct buffer_pool *pool; /* whose `data` is; NULL where it lies in the input buffer */
    char *data;
    size_t capacity;
    size_t size;     /* so far; of a chunked one: decoded */
    size_t size_max; /* that the handler takes */
};

/** Of the answer between http_respond_begin and http_respond_end: offsets into the output. */
struct http_answer_room {
    size_t digits_at; /* of Content-Length; 0 where there is no such line */
    size_t digits;    /* how many there is room for */
    size_t body_at;
    size_t body_bytes_max;
    bool body_sent; /* the answer has its body */
    bool begun;
};

struct http_connection {
    struct connection base;
    struct http_server *server;
    uint8_t phase; /* enum http_phase */
    /* Of the request. */
    bool answer_closes; /* the connection ends with this answer */
    bool stalled;       /* the next request waits until the output has left */
    bool room_wanted;   /* the stream's writer waits for room */
    bool room_due;
    /* Input: [begin, end) is unparsed or of the present request, `next` is where the next begins.
     */
    uint32_t begin;
    uint32_t body_at;
    uint32_t next;
    uint32_t end;
    char *input; /* NULL where there is nothing in it */
    struct http_body body;
    struct http_answer_room answer;
    struct http_exchange exchange;
    struct http_parser parser;
    struct http_chunks chunks;
    struct http_head head; /* the last: most of it is rarely touched */
};

struct http_server {
    struct connection_set set;
    struct http_handler *handler;
    struct http_options options;
    struct http_limits limits;
    struct http_date date;
    uint32_t stream_count;
    struct http_connection *connections; /* owned: set.count */
    struct http_metrics metrics;
};

static inline struct http_connection *http_connection_of(const struct http_exchange *exchange) {
    return CONTAINER_OF(exchange, struct http_connection, exchange);
}

/* http_connection.c */

/** Takes a free connection for `fd`; NULL where there is none. */
struct http_connection *http_connection_open(struct http_server *server, int fd);

/** Goes on with whatever can go on, and settles. */
void http_connection_drive(struct http_connection *connection);

/** After anything happened: ends the connection where it is to end, else sees to its time limit,
 *  its buffers and its place in the lists. */
void http_connection_settle(struct http_connection *connection);

/** Ends it without delay. */
void http_connection_close(struct http_connection *connection);

/** The answer is complete. */
void http_connection_exchange_over(struct http_connection *connection);

/** Answers with an error that the server found. @param closes the connection ends with it. */
void http_connection_refuse(struct http_connection *connection, unsigned status, const char *detail,
                            bool closes);

/** Gives the request, which is whole, to the handler. */
void http_connection_hand_over(struct http_connection *connection, struct slice body);

/* http_body.c. A step returns true when there may be more to do at once. */

/** Reads what there is room for. Returns the number of bytes; 0: none now, or the end, or
 *  broken. */
size_t http_input_fill(struct http_connection *connection);
void http_input_release(struct http_connection *connection);

/** Moves the request to the beginning of the input buffer. */
void http_input_compact(struct http_connection *connection);

/** The handler took the head of a request that has a body, of up to `size_max`. */
void http_body_begin(struct http_connection *connection, size_t size_max);
bool http_body_step(struct http_connection *connection);
void http_body_release(struct http_connection *connection);
bool http_discard_step(struct http_connection *connection);

/* http_answer.c */

MUST_CHECK bool http_output_reserve(struct http_connection *connection, size_t size);

/** True where the output must leave before another request is begun. */
bool http_output_is_high(const struct http_connection *connection);

#endif
