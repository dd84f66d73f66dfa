/** One conversation with a Cassandra node: the handshake, prepared statements, and requests on many
 *  streams at once. It moves no bytes itself: its owner hands it what the socket gave and sends
 * what it has to say, and tells it the time, so every turn can be tested without a server.
 *
 *  What must hold:
 *  - A stream number is used again only after its answer came. A request that is out of time gives
 *    its stream up, but the number stays taken until the late answer arrives or the conversation
 *    ends; so an answer never reaches a request that it was not meant for.
 *  - Whatever is not the protocol (an answer nobody asked for, a message that does not decode, one
 *    over the limit) ends the conversation. Nothing after it is believed.
 *  - Every request that was committed is completed, once.
 *
 *  @thread the owner's, all of it. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CQL_CONNECTION_H
#define ORDERD_ADAPTER_CASSANDRA_CQL_CONNECTION_H

#include "adapter/cassandra/cassandra_metrics.h"
#include "adapter/cassandra/cql_frame.h"

#define CQL_STATEMENTS_MAX 8
#define CQL_STATEMENT_ID_MAX 64
#define CQL_STREAMS_MAX 2048

/** The longest answer that is taken: rows of CASSANDRA_SELECT_IDS_MAX orders have ample room. */
#define CQL_BODY_BYTES_MAX ((size_t)256 * 1024)

/** After this long without a word from the server it is asked for one. */
#define CQL_HEARTBEAT_US INT64_C(5000000)

/** What a column of a statement must be. */
struct cql_shape {
    const char *name; /* NULL: any */
    uint16_t type;
    uint16_t element;
};

/** A statement that every connection prepares, and what the server must make of it: a table with
 *  other columns is refused at the handshake, not met at the first row. */
struct cql_statement {
    struct slice text;
    const struct cql_shape *binds;
    size_t bind_count;
    const struct cql_shape *results;
    size_t result_count;
};

enum cql_outcome {
    CQL_ANSWERED,  /* `response` is the result or an error */
    CQL_TIMED_OUT, /* no answer by the deadline: it may be carried out even later */
    CQL_LOST,      /* the conversation ended after it was sent */
    CQL_NOT_SENT   /* the conversation ended before all of it was sent: nothing happened */
};

enum cql_connection_state {
    CQL_CONNECTION_CLOSED,
    CQL_CONNECTION_STARTING,
    CQL_CONNECTION_AUTHENTICATING,
    CQL_CONNECTION_PREPARING,
    CQL_CONNECTION_READY,
    CQL_CONNECTION_BROKEN /* `fault` says why; the owner closes it */
};

struct cql_connection_setup {
    const struct cql_statement *statements;
    size_t statement_count;
    struct slice user; /* empty: no credentials */
    struct slice password;
    uint16_t streams;       /* requests in flight, at most CQL_STREAMS_MAX */
    size_t request_bytes;   /* the longest frame of a request, header included */
    int64_t answer_wait_us; /* the time that the server has for an answer */
    struct cassandra_metrics *metrics;
    /** A request is done. `response` is there for ANSWERED, and only during the call. False where
     *  the answer is none to that request: the conversation ends. It must not begin a request. */
    bool (*done)(void *context, void *tag, enum cql_outcome outcome, struct cql_response *response);
    void *context;
};

enum cql_stream_state { CQL_STREAM_FREE, CQL_STREAM_WAITING, CQL_STREAM_ABANDONED };

struct cql_stream {
    void *tag;
    int64_t asked_us;
    int64_t deadline_us;
    uint64_t end_offset; /* where its frame ends in all that was ever written */
    uint8_t state;       /* enum cql_stream_state */
    uint8_t statement;   /* that it executes */
};

struct cql_prepared_statement {
    bool ready;
    uint8_t size;
    char id[CQL_STATEMENT_ID_MAX];
};

struct cql_connection {
    struct cql_connection_setup setup;
    enum cql_connection_state state;
    struct cql_prepared_statement prepared[CQL_STATEMENTS_MAX];
    /** The requests' streams, then one for the connection itself, then one a statement. */
    struct cql_stream *streams; /* owned */
    uint16_t *free_streams;     /* owned: a stack */
    size_t free_count;
    int64_t earliest_us; /* before it, no stream is out of time */
    int64_t handshake_deadline_us;
    int64_t received_us; /* when the server last said anything */

    char *in; /* owned */
    size_t in_size;
    struct text out; /* memory owned */
    size_t out_sent;
    size_t out_reserve;   /* kept back for what the connection itself has to say */
    uint64_t sent_offset; /* of all that was ever written */

    size_t begun_at;         /* of a request between begin and commit */
    uint16_t begun_stream;   /* its stream */
    uint8_t begun_statement; /* its statement */
    struct fault fault;
};

/** False where memory is short. The setup's statements and texts must outlive it. */
MUST_CHECK bool cql_connection_init(struct cql_connection *connection,
                                    const struct cql_connection_setup *setup);
void cql_connection_deinit(struct cql_connection *connection);

/** The socket is connected: begins the handshake, to be over by `deadline_us`. */
void cql_connection_open(struct cql_connection *connection, int64_t now_us, int64_t deadline_us);

/** Ends the conversation: what is outstanding is completed as LOST or NOT_SENT. `fault` keeps why
 *  it broke. A closed one may be opened again. */
void cql_connection_close(struct cql_connection *connection);

/** Breaks it for a reason of the owner's, such as a socket error. */
void cql_connection_break(struct cql_connection *connection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- Requests. --- */

/** The server's id of a prepared statement; empty while there is none. */
static inline struct slice cql_connection_statement(const struct cql_connection *connection,
                                                    size_t statement) {
    const struct cql_prepared_statement *prepared = &connection->prepared[statement];
    return (struct slice){prepared->id, prepared->ready ? prepared->size : 0};
}

/** Where the body of a new request goes; NULL where there is no stream or no room, or it is not
 *  ready. At most `body_bytes` of it. @param statement the one that it executes. */
MUST_CHECK struct text *cql_connection_begin(struct cql_connection *connection,
                                             enum cql_opcode opcode, size_t statement,
                                             size_t body_bytes);

/** The request that was begun is whole: it will be sent, and completed with `tag`. */
void cql_connection_commit(struct cql_connection *connection, void *tag, int64_t now_us,
                           int64_t deadline_us);

/* --- Bytes and time. --- */

/** What waits to be sent, and that some of it was. */
struct slice cql_connection_output(const struct cql_connection *connection);
void cql_connection_sent(struct cql_connection *connection, size_t size);

/** Where to put what the socket gives (always some room), and that it gave `size` bytes. */
char *cql_connection_space(struct cql_connection *connection, size_t *size);
void cql_connection_received(struct cql_connection *connection, size_t size, int64_t now_us);

/** Completes what is out of time, and asks a silent server for a word. */
void cql_connection_tick(struct cql_connection *connection, int64_t now_us);

/** Before this time, a tick has nothing to do. */
int64_t cql_connection_next_us(const struct cql_connection *connection);

#endif
