/** What the parts of the RESP server share: the connection and its phases. Private to resp_*.c.
 *
 *  resp_server.c      creation, accepting, the hooks, draining
 *  resp_connection.c  a connection: reading, handing commands over, sending, time limits, the end
 *
 *  A connection is only ever closed by resp_connection_settle, at the end of whatever drove it, so
 *  nothing that calls the handler finds it gone under its feet. */
#ifndef ORDERD_NET_RESP_INTERNAL_H
#define ORDERD_NET_RESP_INTERNAL_H

#include "net/connection.h"
#include "net/resp_server.h"

#define RESP_INPUT_BYTES ((size_t)16 << 10)

enum resp_phase {
    RESP_PHASE_FREE,
    RESP_PHASE_READ,    /* commands are read and answered */
    RESP_PHASE_WAIT,    /* the handler will go on later */
    RESP_PHASE_CLOSING, /* what is in the output leaves, then the connection ends */
    RESP_PHASE_LINGER   /* the peer is told; what it still sends is read over for a while */
};

struct resp_connection {
    struct connection base;
    struct resp_server *server;
    uint8_t phase; /* enum resp_phase */
    /* Input: [begin, end) is not answered yet; the parser is within its first command. */
    uint32_t begin;
    uint32_t end;
    char *input;                    /* NULL where there is nothing in it */
    struct buffer_pool *input_pool; /* whose it is */
    struct resp_parser parser;
    struct resp_session session;
};

struct resp_server {
    struct connection_set set;
    struct resp_handler *handler;
    struct resp_options options;
    uint64_t opened;                     /* connections so far */
    struct resp_connection *connections; /* owned: set.count */
    struct resp_metrics metrics;
};

/** Takes a free connection for `fd`; NULL where there is none. */
struct resp_connection *resp_connection_open(struct resp_server *server, int fd);

/** Goes on with whatever can go on, and settles. */
void resp_connection_drive(struct resp_connection *connection);

/** After anything happened: ends the connection where it is to end, else sees to its time limit,
 *  its buffers and its place in the lists. */
void resp_connection_settle(struct resp_connection *connection);

/** Sends what the socket takes, then settles. */
void resp_connection_flush(struct resp_connection *connection);

#endif
