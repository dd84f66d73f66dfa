/** One connection to one server: connecting, statements, results, and what becomes of them.
 *
 *  libmariadb blocks, so whoever works with a connection has a thread for it. Every call has a
 *  limit: the wait for a server's answer is ours, in milliseconds; what the client library does by
 *  itself (connecting, the rest of an answer that has begun) has the same limits in whole seconds.
 *  A connection whose answer did not come is closed: what was sent may have been done.
 *
 *  READ COMMITTED, for these reasons: no locks on gaps, so creates with other references never wait
 *  for each other; each statement sees what is committed when it begins, so that a look-up after a
 *  duplicate finds the order; what must not change between two statements is locked row by row.
 *  (It needs a row-based binary log, which the start checks.)
 *
 *  One thread at a time. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_CONNECTION_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_CONNECTION_H

#include "adapter/mariadb/mariadb_error.h"
#include "adapter/mariadb/mariadb_metrics.h"
#include "adapter/mariadb/mariadb_options.h"
#include "adapter/mariadb/sql_builder.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"

struct st_mysql;
struct st_mysql_res;

/** Whether a server answers, as the last connection saw it. Shared by all connections to it. */
struct mariadb_health {
    _Atomic uint32_t answers;
    _Atomic uint32_t was_asked; /* 0 until the first connection was tried */
};

enum mariadb_mode {
    MARIADB_AUTOCOMMIT,  /* each statement is a transaction */
    MARIADB_TRANSACTIONS /* a statement begins one; commit or rollback ends it */
};

struct mariadb_connection;

struct mariadb_connection_parts {
    const struct mariadb_settings *settings;
    const struct mariadb_server *server;
    enum mariadb_mode mode;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct mariadb_health *health;
    /** Called on a new connection: is this server one to work with? May be NULL. */
    enum mariadb_status (*vet)(struct mariadb_connection *connection);
};

struct mariadb_connection {
    struct mariadb_connection_parts parts;
    struct st_mysql *mysql; /* owned; NULL while there is no connection */
    struct random_source random;
    unsigned failures;   /* of connecting, since it last worked */
    int64_t retry_at_us; /* monotonic: not connecting before */
    int timeout_ms;      /* of the next statements; settings->read_timeout_ms at first */
    uint64_t affected;   /* by the last statement: rows that it matched, or inserted */
    unsigned warnings;   /* of the last statement */
    unsigned error;      /* of the last statement that failed */
    struct fault fault;  /* its text */
};

/** Rows of a SELECT, read whole. */
struct mariadb_rows {
    struct st_mysql_res *result; /* owned; NULL: none */
    unsigned columns;
};

#define MARIADB_COLUMNS_MAX 16

/** To be called once, before any thread works with a connection. False where the library does not
 *  work. */
MUST_CHECK bool mariadb_library_begin(void);

void mariadb_connection_init(struct mariadb_connection *connection,
                             const struct mariadb_connection_parts *parts);

/** Closes it, if it is open; what is not committed is rolled back. It may be connected again. */
void mariadb_connection_close(struct mariadb_connection *connection);

static inline bool mariadb_connection_is_open(const struct mariadb_connection *connection) {
    return connection->mysql != NULL;
}

/** Connects where that is needed and due. OK; LOST: the server does not answer, or it is too early
 *  to try again (see mariadb_connection_pause_ms); REFUSED: it answers, but it is not one to work
 *  with. `fault` says why. */
MUST_CHECK enum mariadb_status mariadb_connection_ensure(struct mariadb_connection *connection);

/** How long to wait before the next try to connect. */
int mariadb_connection_pause_ms(const struct mariadb_connection *connection);

/** Runs a statement that returns no rows; `affected` and `warnings` are its. After LOST the
 *  connection is closed. */
MUST_CHECK enum mariadb_status mariadb_connection_run(struct mariadb_connection *connection,
                                                      struct slice sql);

/** Runs what was built; a statement that did not fit is REFUSED. */
MUST_CHECK enum mariadb_status mariadb_connection_run_built(struct mariadb_connection *connection,
                                                            const struct sql_builder *sql);

/** Runs a SELECT and reads its rows, which the caller frees. */
MUST_CHECK enum mariadb_status mariadb_connection_select(struct mariadb_connection *connection,
                                                         struct slice sql,
                                                         struct mariadb_rows *rows);
MUST_CHECK enum mariadb_status
mariadb_connection_select_built(struct mariadb_connection *connection,
                                const struct sql_builder *sql, struct mariadb_rows *rows);

/** Ends the transaction. Anything but OK: it may or may not have happened, whatever the error is;
 *  the connection is closed then. */
MUST_CHECK enum mariadb_status mariadb_connection_commit(struct mariadb_connection *connection);

/** Ends the transaction without effect; a connection that cannot do that is closed, which does
 *  it too. */
void mariadb_connection_rollback(struct mariadb_connection *connection);

/** The fields of the next row, which are the result's until it is freed; a NULL has no data.
 *  False after the last. */
MUST_CHECK bool mariadb_rows_next(struct mariadb_rows *rows,
                                  struct slice fields[MARIADB_COLUMNS_MAX]);

/** How many rows there are. */
size_t mariadb_rows_count(const struct mariadb_rows *rows);
void mariadb_rows_free(struct mariadb_rows *rows);

#endif
