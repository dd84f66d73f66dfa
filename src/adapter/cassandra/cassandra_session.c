#include "adapter/cassandra/cassandra_session.h"

#include "base/clock.h"

#include <assert.h>
#include <stdlib.h>

/* A change of the schema takes its time on a busy cluster. */
#define STATEMENT_US INT64_C(30000000)

#define STATEMENT_BYTES_MAX 8192
#define WAIT_MS 100

struct cassandra_session {
    struct cassandra_terms terms;
    struct cassandra_hosts hosts;
    struct cassandra_metrics metrics;
    /* Of the statement under way. */
    const struct cassandra_row_visitor *visitor;
    bool done;
    enum cassandra_session_status status;
    struct fault *fault;
};

static bool visit_rows(struct cassandra_session *session, struct cql_rows rows) {
    struct cql_cell cells[CASSANDRA_SESSION_CELLS_MAX];
    const struct cassandra_row_visitor *visitor = session->visitor;
    if (visitor == NULL || rows.columns.count != visitor->cell_count || rows.columns.has_more) {
        return false;
    }
    assert(visitor->cell_count <= CASSANDRA_SESSION_CELLS_MAX);
    while (cql_rows_next(&rows, cells)) {
        visitor->visit(visitor->context, cells);
    }
    return true;
}

static bool answered(void *context, void *tag, enum cql_outcome outcome,
                     struct cql_response *response) {
    struct cassandra_session *session = context;
    (void)tag;
    session->done = true;
    session->status = CASSANDRA_SESSION_FAILED;
    if (outcome != CQL_ANSWERED) {
        fault_set(session->fault, "%s: no answer", session->hosts.hosts[0].address->name);
        return true;
    }
    switch (response->kind) {
    case CQL_RESPONSE_ERROR:
        session->status = CASSANDRA_SESSION_REFUSED;
        fault_set(session->fault, "%s: %.*s", cql_error_name(response->error.code),
                  (int)bytes_min_size(response->error.message.size, 400),
                  response->error.message.data);
        return true;
    case CQL_RESPONSE_VOID:
    case CQL_RESPONSE_SCHEMA_CHANGE:
        session->status = CASSANDRA_SESSION_OK;
        return true;
    case CQL_RESPONSE_ROWS:
        if (visit_rows(session, response->rows)) {
            session->status = CASSANDRA_SESSION_OK;
            return true;
        }
        break;
    default:
        break;
    }
    fault_set(session->fault, "an answer that makes no sense");
    return false;
}

/** Drives the sockets until a connection is ready, or none can be. */
static bool connect_to_one(struct cassandra_session *session, struct fault *fault) {
    int64_t deadline_us = clock_monotonic_us() + session->terms.connect_timeout_us;
    while (clock_monotonic_us() < deadline_us) {
        cassandra_hosts_step(&session->hosts, clock_monotonic_us());
        cassandra_hosts_flush(&session->hosts, clock_monotonic_us());
        if (cassandra_hosts_pick(&session->hosts, CQL_STATEMENTS_MAX, false, NULL) != NULL) {
            return true;
        }
        if (cassandra_hosts_are_down(&session->hosts)) {
            break;
        }
        cassandra_hosts_wait(&session->hosts, -1, WAIT_MS);
    }
    (void)cassandra_hosts_describe(&session->hosts, fault);
    return false;
}

struct cassandra_session *cassandra_session_open(const struct cassandra_terms *terms,
                                                 struct log *log, struct fault *fault) {
    struct cassandra_session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        fault_set(fault, "no memory for a session");
        return NULL;
    }
    session->terms = *terms;
    session->terms.connections = 1;
    session->terms.attempt_timeout_us = STATEMENT_US;
    struct cassandra_hosts_setup setup = {
        .terms = &session->terms,
        .dialer = &cassandra_dialer_tcp,
        .log = log,
        .metrics = &session->metrics,
        .seed = (uint64_t)clock_monotonic_us(),
        .request_bytes = STATEMENT_BYTES_MAX,
        .done = answered,
        .context = session,
    };
    if (!cassandra_hosts_init(&session->hosts, &setup)) {
        fault_set(fault, "no memory for a session");
        free(session);
        return NULL;
    }
    if (!connect_to_one(session, fault)) {
        cassandra_session_close(session);
        return NULL;
    }
    return session;
}

void cassandra_session_close(struct cassandra_session *session) {
    cassandra_hosts_deinit(&session->hosts);
    free(session);
}

enum cassandra_session_status cassandra_session_run(struct cassandra_session *session,
                                                    struct slice statement,
                                                    const struct cassandra_row_visitor *visitor,
                                                    struct fault *fault) {
    assert(statement.size <= STATEMENT_BYTES_MAX / 2);
    int64_t now_us = clock_monotonic_us();
    struct cassandra_line *line =
        cassandra_hosts_pick(&session->hosts, CQL_STATEMENTS_MAX, false, NULL);
    struct text *body = line == NULL
                            ? NULL
                            : cql_connection_begin(&line->connection, CQL_QUERY, CQL_STATEMENTS_MAX,
                                                   statement.size + CQL_HEADER_BYTES);
    if (body == NULL) {
        fault_set(fault, "the connection is lost");
        return CASSANDRA_SESSION_FAILED;
    }
    session->visitor = visitor;
    session->fault = fault;
    session->done = false;
    cql_write_query(body, statement, session->terms.consistency);
    cql_connection_commit(&line->connection, session, now_us, now_us + STATEMENT_US);
    while (!session->done) {
        cassandra_hosts_flush(&session->hosts, clock_monotonic_us());
        if (!session->done) {
            cassandra_hosts_wait(&session->hosts, -1, WAIT_MS);
            cassandra_hosts_step(&session->hosts, clock_monotonic_us());
        }
    }
    return session->status;
}
