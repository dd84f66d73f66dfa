/** A Cassandra node made of a socket pair: it speaks enough of the protocol to be taken for one,
 *  keeps rows, and misbehaves as it is told. Driven by the test, in the test's thread; owns its
 *  sockets. */
#ifndef ORDERD_TESTS_SCRIPTED_NODE_H
#define ORDERD_TESTS_SCRIPTED_NODE_H

#include "adapter/cassandra/cassandra_hosts.h"

#define NODE_LINES_MAX 8
#define NODE_ROWS_MAX 4096
#define NODE_VALUE_MAX 64
#define NODE_IN_BYTES ((size_t)1 << 20)
#define NODE_QUERY_MAX 512

/** What the node does with requests for rows (EXECUTE, BATCH, QUERY). */
enum node_manner {
    NODE_ANSWERS,
    NODE_IS_SILENT,       /* reads, and says nothing */
    NODE_HOLDS_BACK,      /* does it, and keeps the answer until scripted_node_let_go */
    NODE_SAYS_ERROR,      /* `error_code`, and does nothing */
    NODE_DOES_BUT_ERROR,  /* does it, and says `error_code` */
    NODE_DOES_BUT_SILENT, /* does it, and says nothing */
    NODE_DOES_BUT_CLOSES, /* does it, and closes the connection */
    NODE_CLOSES,          /* closes the connection instead */
    NODE_WRONG_STREAM,    /* answers on a stream that is not in use */
    NODE_TOO_LONG,        /* says a length over every limit */
    NODE_TOO_SHORT,       /* says a length that ends inside of the body */
    NODE_HALF,            /* half of the answer, then nothing */
    NODE_GARBAGE,         /* bytes that are no protocol */
    NODE_WRONG_KIND,      /* VOID where rows are wanted, and rows where VOID is */
    NODE_FOREIGN_ROW,     /* a row that nobody asked for */
    NODE_ROW_TWICE,
    NODE_SCRAMBLES /* a column of the row is what no order has */
};

enum node_greeting {
    NODE_READY,
    NODE_WANTS_PASSWORD, /* and compares it with `user` and `password` */
    NODE_WANTS_KERBEROS,
    NODE_OLD_VERSION,   /* refuses protocol version 4 in a frame of version 3 */
    NODE_NO_TABLE,      /* refuses to prepare */
    NODE_OTHER_COLUMNS, /* prepares a statement with one column less */
    NODE_NEVER_GREETS
};

struct node_row {
    uint64_t order_id;
    int64_t timestamp_us;
    uint32_t value_count;
    struct {
        int32_t size; /* -1: null */
        char bytes[NODE_VALUE_MAX];
    } values[CASSANDRA_ROW_CELLS];
};

struct node_line {
    int fd; /* the node's end; -1: none */
    char *in;
    size_t in_size;
    bool muted;       /* after a half answer */
    struct text held; /* answers that were kept back; memory owned */
    bool knows[CASSANDRA_STATEMENT_COUNT];
};

struct scripted_node {
    struct cassandra_dialer dialer; /* first: what dials finds the node by it */
    bool refuses;                   /* nobody listens */
    enum node_greeting greeting;
    enum node_manner manner;
    uint32_t manner_times; /* then it answers again; 0: for ever */
    uint32_t error_code;
    int statement_forgotten; /* -1: none; after one UNPREPARED it is prepared again */
    char user[64];
    char password[64];

    struct cassandra_statements statements;
    struct node_line lines[NODE_LINES_MAX];
    struct node_row *rows; /* owned: NODE_ROWS_MAX */
    size_t row_count;

    /* What it has seen. */
    size_t dials;
    size_t requests; /* EXECUTE, BATCH, QUERY */
    size_t batches;
    size_t batch_rows_most;
    size_t startups;
    size_t options; /* heartbeats */
    uint16_t consistency;
    char query[NODE_QUERY_MAX]; /* the last one */
};

/** @param keyspace of the statements that it knows. */
void scripted_node_init(struct scripted_node *node, const char *keyspace);
void scripted_node_deinit(struct scripted_node *node);

/** Reads what came on every connection and answers. Returns how many frames there were. */
size_t scripted_node_step(struct scripted_node *node);

/** Closes every connection, as a restart does; it has forgotten all statements afterwards. */
void scripted_node_hang_up(struct scripted_node *node);

/** Sends the answers that were kept back. */
void scripted_node_let_go(struct scripted_node *node);

struct node_row *scripted_node_row(struct scripted_node *node, uint64_t order_id);

/** Replaces a cell of a row as somebody by hand would. */
void scripted_node_set(struct scripted_node *node, uint64_t order_id, size_t cell,
                       const void *bytes, int32_t size);

/** Connections that are open. */
size_t scripted_node_lines(const struct scripted_node *node);

#endif
