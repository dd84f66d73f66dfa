#include "adapter/mariadb/mariadb_connection.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <poll.h>

/* Pauses between tries to connect: doubled from the first to the last, less up to a quarter. */
#define PAUSE_MIN_US INT64_C(20000)
#define PAUSE_MAX_US INT64_C(1000000)

bool mariadb_library_begin(void) {
    return mysql_library_init(0, NULL, NULL) == 0;
}

void mariadb_connection_init(struct mariadb_connection *connection,
                             const struct mariadb_connection_parts *parts) {
    *connection = (struct mariadb_connection){
        .parts = *parts,
        .random = {.state = (uint64_t)clock_monotonic_us() ^ (uint64_t)(uintptr_t)connection},
        .timeout_ms = parts->settings->read_timeout_ms,
    };
}

void mariadb_connection_close(struct mariadb_connection *connection) {
    if (connection->mysql != NULL) {
        mysql_close(connection->mysql);
        connection->mysql = NULL;
    }
}

/* --- Errors. --- */

static void note_answer(const struct mariadb_connection *connection) {
    struct mariadb_health *health = connection->parts.health;
    atomic_store_explicit(&health->was_asked, 1, memory_order_relaxed);
    if (atomic_load_explicit(&health->answers, memory_order_relaxed) == 0 &&
        atomic_exchange_explicit(&health->answers, 1, memory_order_relaxed) == 0) {
        log_info(connection->parts.log, "mysql", "shard %u (%s) is available",
                 connection->parts.server->shard, connection->parts.server->name);
    }
}

static void note_silence(const struct mariadb_connection *connection) {
    struct mariadb_health *health = connection->parts.health;
    bool first = atomic_exchange_explicit(&health->was_asked, 1, memory_order_relaxed) == 0;
    bool was = atomic_exchange_explicit(&health->answers, 0, memory_order_relaxed) != 0;
    if (first || was) {
        log_warning(connection->parts.log, "mysql", "shard %u (%s) is not available: %s",
                    connection->parts.server->shard, connection->parts.server->name,
                    connection->fault.text);
    }
}

/** Takes note of the library's last error. */
static enum mariadb_status take_error(struct mariadb_connection *connection) {
    connection->error = mysql_errno(connection->mysql);
    fault_set(&connection->fault, "%s (error %u)", mysql_error(connection->mysql),
              connection->error);
    enum mariadb_status status = mariadb_status_from_error(connection->error);
    return status != MARIADB_OK ? status : MARIADB_LOST;
}

/** A statement failed. A connection that is lost is closed. */
static enum mariadb_status fail(struct mariadb_connection *connection) {
    enum mariadb_status status = take_error(connection);
    if (status == MARIADB_LOST) {
        metric_add(&connection->parts.metrics->losses_total, 1);
        mariadb_connection_close(connection);
    }
    return status;
}

static enum mariadb_status give_up(struct mariadb_connection *connection, int waited_ms) {
    connection->error = 0;
    fault_set(&connection->fault, "no answer within %d ms", waited_ms);
    metric_add(&connection->parts.metrics->losses_total, 1);
    mariadb_connection_close(connection);
    return MARIADB_LOST;
}

/* --- Statements. --- */

/** Waits until the server's answer begins. */
static bool wait_for_answer(const struct mariadb_connection *connection, int timeout_ms) {
    struct pollfd poller = {
        .fd = (int)mysql_get_socket(connection->mysql), .events = POLLIN, .revents = 0};
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        int64_t left_us = until_us - clock_monotonic_us();
        int ready = poll(&poller, 1, left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
        if (ready > 0) {
            return true; /* also where the connection has ended: reading tells */
        }
        if (ready == 0 || errno != EINTR) {
            return false;
        }
    }
}

/** Sends a statement and reads the head of its answer. */
static enum mariadb_status execute(struct mariadb_connection *connection, struct slice sql) {
    assert(connection->mysql != NULL);
    metric_add(&connection->parts.metrics->statements_total, 1);
    if (mysql_send_query(connection->mysql, sql.data, sql.size) != 0) {
        return fail(connection);
    }
    if (!wait_for_answer(connection, connection->timeout_ms)) {
        return give_up(connection, connection->timeout_ms);
    }
    if (mysql_read_query_result(connection->mysql) != 0) {
        return fail(connection);
    }
    return MARIADB_OK;
}

enum mariadb_status mariadb_connection_run(struct mariadb_connection *connection,
                                           struct slice sql) {
    enum mariadb_status status = execute(connection, sql);
    if (status == MARIADB_OK) {
        assert(mysql_field_count(connection->mysql) == 0); /* a SELECT has rows to be read */
        connection->affected = mysql_affected_rows(connection->mysql);
        connection->warnings = mysql_warning_count(connection->mysql);
    }
    return status;
}

enum mariadb_status mariadb_connection_select(struct mariadb_connection *connection,
                                              struct slice sql, struct mariadb_rows *rows) {
    *rows = (struct mariadb_rows){NULL, 0};
    enum mariadb_status status = execute(connection, sql);
    if (status != MARIADB_OK) {
        return status;
    }
    rows->columns = mysql_field_count(connection->mysql);
    assert(rows->columns > 0 && rows->columns <= MARIADB_COLUMNS_MAX);
    rows->result = mysql_store_result(connection->mysql);
    return rows->result != NULL ? MARIADB_OK : fail(connection);
}

static enum mariadb_status refuse_long(struct mariadb_connection *connection) {
    connection->error = 0;
    fault_set(&connection->fault, "the statement is longer than it may be");
    return MARIADB_REFUSED;
}

enum mariadb_status mariadb_connection_run_built(struct mariadb_connection *connection,
                                                 const struct sql_builder *sql) {
    return sql->overflowed ? refuse_long(connection)
                           : mariadb_connection_run(connection, sql_builder_slice(sql));
}

enum mariadb_status mariadb_connection_select_built(struct mariadb_connection *connection,
                                                    const struct sql_builder *sql,
                                                    struct mariadb_rows *rows) {
    *rows = (struct mariadb_rows){NULL, 0};
    return sql->overflowed ? refuse_long(connection)
                           : mariadb_connection_select(connection, sql_builder_slice(sql), rows);
}

enum mariadb_status mariadb_connection_commit(struct mariadb_connection *connection) {
    int64_t begin_us = clock_monotonic_us();
    enum mariadb_status status = mariadb_connection_run(connection, SLICE_LITERAL("COMMIT"));
    if (status == MARIADB_OK) {
        metric_add(&connection->parts.metrics->transactions_total, 1);
        histogram_add(&connection->parts.metrics->commit_microseconds,
                      (uint64_t)(clock_monotonic_us() - begin_us));
    } else {
        mariadb_connection_close(connection);
    }
    return status;
}

void mariadb_connection_rollback(struct mariadb_connection *connection) {
    if (connection->mysql != NULL &&
        mariadb_connection_run(connection, SLICE_LITERAL("ROLLBACK")) != MARIADB_OK) {
        mariadb_connection_close(connection);
    }
}

/* --- Rows. --- */

bool mariadb_rows_next(struct mariadb_rows *rows, struct slice fields[MARIADB_COLUMNS_MAX]) {
    MYSQL_ROW row = mysql_fetch_row(rows->result);
    if (row == NULL) {
        return false;
    }
    const unsigned long *sizes = mysql_fetch_lengths(rows->result);
    for (unsigned i = 0; i < rows->columns; i++) {
        fields[i] = (struct slice){row[i], row[i] != NULL ? sizes[i] : 0};
    }
    return true;
}

size_t mariadb_rows_count(const struct mariadb_rows *rows) {
    return (size_t)mysql_num_rows(rows->result);
}

void mariadb_rows_free(struct mariadb_rows *rows) {
    if (rows->result != NULL) {
        mysql_free_result(rows->result);
        rows->result = NULL;
    }
}

/* --- Connecting. --- */

static bool set_options(MYSQL *mysql, const struct mariadb_settings *settings,
                        const struct mariadb_server *server) {
    unsigned connect_seconds = (unsigned)(settings->connect_timeout_ms + 999) / 1000;
    unsigned answer_seconds = (unsigned)(settings->read_timeout_ms + 999) / 1000;
    unsigned no_files = 0; /* the server must not be able to ask for files of this machine */
    my_bool reconnect = 0; /* a transaction must not go on on another connection */
    enum mysql_protocol_type protocol =
        server->port == 0 ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
    return mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_seconds) == 0 &&
           mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &answer_seconds) == 0 &&
           mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &answer_seconds) == 0 &&
           mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &no_files) == 0 &&
           mysql_options(mysql, MYSQL_OPT_RECONNECT, &reconnect) == 0 &&
           mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) == 0 &&
           mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") == 0;
}

/** What every connection has: see sql_builder.h, mariadb_connection.h. Inside the comment for
 *  MariaDB: an IN with many values stays a range over the key, rather than becoming a join; and a
 *  transaction of a client that is gone without a word ends, rather than keep its rows locked for
 *  as long as TCP takes to notice. */
static enum mariadb_status set_session(struct mariadb_connection *connection) {
    const struct mariadb_settings *settings = connection->parts.settings;
    char memory[768];
    struct text sql = text_over(memory, sizeof(memory));
    text_append_format(
        &sql,
        "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,"
        "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = %u, "
        "lock_wait_timeout = %u, autocommit = %d "
        "/*M! , in_predicate_conversion_threshold = 0, idle_transaction_timeout = %lld */",
        settings->lock_wait_seconds, settings->lock_wait_seconds,
        connection->parts.mode == MARIADB_AUTOCOMMIT ? 1 : 0,
        (long long)(settings->deadline_us / 1000000 + 1));
    assert(!sql.truncated);
    enum mariadb_status status = mariadb_connection_run(
        connection, SLICE_LITERAL("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"));
    return status == MARIADB_OK ? mariadb_connection_run(connection, text_slice(&sql)) : status;
}

static enum mariadb_status connect_once(struct mariadb_connection *connection) {
    const struct mariadb_settings *settings = connection->parts.settings;
    const struct mariadb_server *server = connection->parts.server;
    connection->mysql = mysql_init(NULL);
    if (connection->mysql == NULL || !set_options(connection->mysql, settings, server)) {
        connection->error = 0;
        fault_set(&connection->fault, "no memory for a connection");
        return MARIADB_LOST;
    }
    /* FOUND_ROWS: an UPDATE tells how many rows it matched, also where it changed nothing. */
    const char *database = settings->database.text[0] != 0 ? settings->database.text : NULL;
    bool is_path = server->port == 0;
    if (mysql_real_connect(connection->mysql, is_path ? NULL : server->host, settings->user.text,
                           settings->password.text, database, server->port,
                           is_path ? server->host : NULL, CLIENT_FOUND_ROWS) == NULL) {
        enum mariadb_status refusal = take_error(connection);
        if (connection->error == ER_BAD_DB_ERROR) {
            fault_set(&connection->fault, "there is no database %s: run `orderctl schema apply`",
                      database);
        }
        return refusal;
    }
    enum mariadb_status status = set_session(connection);
    if (status == MARIADB_OK && connection->parts.vet != NULL) {
        status = connection->parts.vet(connection);
    }
    if (status == MARIADB_OK && connection->parts.mode == MARIADB_TRANSACTIONS) {
        mariadb_connection_rollback(connection); /* what the vetting has read */
        status = mariadb_connection_is_open(connection) ? MARIADB_OK : MARIADB_LOST;
    }
    return status;
}

enum mariadb_status mariadb_connection_ensure(struct mariadb_connection *connection) {
    if (connection->mysql != NULL) {
        return MARIADB_OK;
    }
    if (clock_monotonic_us() < connection->retry_at_us) {
        return MARIADB_LOST;
    }
    enum mariadb_status status = connect_once(connection);
    if (status == MARIADB_OK) {
        connection->failures = 0;
        metric_add(&connection->parts.metrics->connects_total, 1);
        note_answer(connection);
        return MARIADB_OK;
    }
    mariadb_connection_close(connection);
    int64_t pause_us = PAUSE_MIN_US << (connection->failures < 6 ? connection->failures : 6);
    pause_us = pause_us < PAUSE_MAX_US ? pause_us : PAUSE_MAX_US;
    pause_us -= (int64_t)random_below(&connection->random, (uint64_t)pause_us / 4);
    connection->failures++;
    connection->retry_at_us = clock_monotonic_us() + pause_us;
    metric_add(&connection->parts.metrics->connect_failures_total, 1);
    note_silence(connection);
    return status == MARIADB_LOST ? MARIADB_LOST : MARIADB_REFUSED;
}

int mariadb_connection_pause_ms(const struct mariadb_connection *connection) {
    int64_t left_us = connection->retry_at_us - clock_monotonic_us();
    return left_us <= 0 ? 0 : (int)((left_us + 999) / 1000);
}
