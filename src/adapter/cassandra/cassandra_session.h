/** Statements one by one to a cluster, for the schema and the checks at the start. Every call
 *  blocks, at most for its time-out. One thread. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_SESSION_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_SESSION_H

#include "adapter/cassandra/cassandra_hosts.h"

#define CASSANDRA_SESSION_CELLS_MAX 8

struct cassandra_session;

/** Connects to the first node of `terms` that answers; NULL where none does, with the reason. */
struct cassandra_session *cassandra_session_open(const struct cassandra_terms *terms,
                                                 struct log *log, struct fault *fault);
void cassandra_session_close(struct cassandra_session *session);

/** Gets the rows of a statement, one by one; the cells are there during the call. */
struct cassandra_row_visitor {
    void (*visit)(void *context, const struct cql_cell *cells);
    void *context;
    uint32_t cell_count; /* the cells that every row must have */
};

enum cassandra_session_status {
    CASSANDRA_SESSION_OK,
    CASSANDRA_SESSION_REFUSED, /* the server answered with an error */
    CASSANDRA_SESSION_FAILED   /* no answer, or none that makes sense: its effect is not known */
};

/** Carries out one statement. @param visitor NULL where no rows are expected. */
MUST_CHECK enum cassandra_session_status
cassandra_session_run(struct cassandra_session *session, struct slice statement,
                      const struct cassandra_row_visitor *visitor, struct fault *fault);

#endif
