#include "adapter/mariadb/mariadb_leases.h"

#include "adapter/mariadb/mariadb_vetting.h"
#include "adapter/mariadb/node_lease.h"
#include "base/clock.h"

#include <errno.h>
#include <time.h>

#define WAIT_MS 1000
#define TRIES_MAX 10
#define RETRY_PAUSE_MS 20
/* A position of LEASE_POSITION_MAX escaped to twice its length, and the words around it. */
#define SQL_BYTES_MAX (2 * LEASE_POSITION_MAX + 1024)

enum lease_operation { LEASE_ACQUIRE, LEASE_STORE, LEASE_RELEASE };

/* --- Requests come in: any thread. --- */

static enum port_submit submit(struct lease_port *port, struct port_request *request,
                               enum lease_operation operation) {
    struct mariadb_leases *leases = (struct mariadb_leases *)port;
    request->operation = operation;
    return mailbox_send(&leases->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit acquire(struct lease_port *port, struct lease_request *request) {
    return submit(port, &request->request, LEASE_ACQUIRE);
}

static enum port_submit store(struct lease_port *port, struct lease_position *position) {
    return submit(port, &position->request, LEASE_STORE);
}

static enum port_submit release(struct lease_port *port, struct lease_request *request) {
    return submit(port, &request->request, LEASE_RELEASE);
}

static const struct lease_ops lease_ops = {acquire, store, release};

/* --- Statements: the thread's. --- */

static void append_where_ours(struct mariadb_leases *leases, const char *name) {
    sql_append_literal(&leases->sql, " WHERE name = ");
    sql_append_text(&leases->sql, slice_from_text(name));
    sql_append_literal(&leases->sql, " AND owner = ");
    sql_append_text(&leases->sql, slice_from_text(leases->owner));
}

/** Locks the lease's row and reads it. `has_row`: there is one; `is_free`: it is ours or nobody's.
 */
static enum mariadb_status read_lease(struct mariadb_leases *leases, struct lease_request *request,
                                      bool *has_row, bool *is_free) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    struct sql_builder *sql = &leases->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT lease_until < NOW(6) OR owner = ");
    sql_append_text(sql, slice_from_text(leases->owner));
    sql_append_literal(sql, ", position FROM positions WHERE name = ");
    sql_append_text(sql, slice_from_text(request->name));
    sql_append_literal(sql, " FOR UPDATE");
    enum mariadb_status status = mariadb_connection_select_built(&leases->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    *has_row = mariadb_rows_next(&rows, fields);
    *is_free = !*has_row || slice_equal(fields[0], SLICE_LITERAL("1"));
    request->position[0] = 0;
    if (*has_row && *is_free) {
        if (fields[1].data == NULL || fields[1].size >= LEASE_POSITION_MAX) {
            fault_set(&leases->connection.fault, "the position of %.64s is longer than one can be",
                      request->name);
            status = MARIADB_REFUSED;
        } else {
            memcpy(request->position, fields[1].data, fields[1].size);
            request->position[fields[1].size] = 0;
        }
    }
    mariadb_rows_free(&rows);
    return status;
}

static void append_until(struct mariadb_leases *leases, int64_t length_us) {
    sql_append_literal(&leases->sql, "NOW(6) + INTERVAL ");
    sql_append_u64(&leases->sql, (uint64_t)length_us);
    sql_append_literal(&leases->sql, " MICROSECOND");
}

static enum mariadb_status write_lease(struct mariadb_leases *leases,
                                       const struct lease_request *request, bool has_row) {
    struct sql_builder *sql = &leases->sql;
    sql_builder_reset(sql);
    if (has_row) {
        sql_append_literal(sql, "UPDATE positions SET owner = ");
        sql_append_text(sql, slice_from_text(leases->owner));
        sql_append_literal(sql, ", lease_until = ");
        append_until(leases, request->length_us);
        sql_append_literal(sql, " WHERE name = ");
        sql_append_text(sql, slice_from_text(request->name));
    } else {
        sql_append_literal(sql, "INSERT INTO positions (name, owner, lease_until, position, "
                                "updated_at) VALUES (");
        sql_append_text(sql, slice_from_text(request->name));
        sql_append_literal(sql, ", ");
        sql_append_text(sql, slice_from_text(leases->owner));
        sql_append_literal(sql, ", ");
        append_until(leases, request->length_us);
        sql_append_literal(sql, ", '', NOW(6))");
    }
    enum mariadb_status status = mariadb_connection_run_built(&leases->connection, sql);
    return status == MARIADB_OK ? mariadb_connection_commit(&leases->connection) : status;
}

static enum mariadb_status try_acquire(struct mariadb_leases *leases,
                                       struct lease_request *request) {
    bool has_row;
    bool is_free;
    int64_t asked_us = clock_monotonic_us();
    enum mariadb_status status = read_lease(leases, request, &has_row, &is_free);
    if (status != MARIADB_OK) {
        return status;
    }
    if (!is_free) {
        mariadb_connection_rollback(&leases->connection);
        request->result = ORDER_RESULT_BUSY;
        return MARIADB_OK;
    }
    if ((status = write_lease(leases, request, has_row)) == MARIADB_OK) {
        request->held_until_us = node_lease_end(asked_us, request->length_us);
        request->result = ORDER_RESULT_STORED;
    }
    /* Somebody else made the row between the two statements: it is read again. */
    return status == MARIADB_DUPLICATE ? MARIADB_DEADLOCK : status;
}

static enum mariadb_status try_store(struct mariadb_leases *leases,
                                     struct lease_position *position) {
    struct sql_builder *sql = &leases->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE positions SET position = ");
    sql_append_text(sql, slice_from_text(position->position));
    sql_append_literal(sql, ", updated_at = NOW(6)");
    append_where_ours(leases, position->name);
    enum mariadb_status status = mariadb_connection_run_built(&leases->connection, sql);
    if (status != MARIADB_OK) {
        return status;
    }
    if (leases->connection.affected == 0) {
        mariadb_connection_rollback(&leases->connection);
        position->result = ORDER_RESULT_MISMATCH;
        return MARIADB_OK;
    }
    if (mariadb_connection_commit(&leases->connection) != MARIADB_OK) {
        position->result = ORDER_RESULT_UNKNOWN; /* unless the next try tells */
        return MARIADB_LOST;
    }
    position->result = ORDER_RESULT_STORED;
    return MARIADB_OK;
}

static enum mariadb_status try_release(struct mariadb_leases *leases,
                                       struct lease_request *request) {
    struct sql_builder *sql = &leases->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE positions SET owner = '', lease_until = NOW(6)");
    append_where_ours(leases, request->name);
    enum mariadb_status status = mariadb_connection_run_built(&leases->connection, sql);
    if (status == MARIADB_OK) {
        status = mariadb_connection_commit(&leases->connection);
    }
    if (status == MARIADB_OK) {
        request->result = ORDER_RESULT_STORED;
    }
    return status;
}

/* --- The thread. --- */

static enum mariadb_status try_once(struct mariadb_leases *leases, struct port_request *request) {
    enum mariadb_status status = mariadb_connection_ensure(&leases->connection);
    if (status != MARIADB_OK) {
        return status;
    }
    switch ((enum lease_operation)request->operation) {
    case LEASE_ACQUIRE:
        return try_acquire(leases, (struct lease_request *)request);
    case LEASE_STORE:
        return try_store(leases, (struct lease_position *)request);
    case LEASE_RELEASE:
        break;
    }
    return try_release(leases, (struct lease_request *)request);
}

static void set_unavailable(struct port_request *request) {
    if (request->operation == LEASE_STORE) {
        ((struct lease_position *)request)->result = ORDER_RESULT_UNAVAILABLE;
    } else {
        ((struct lease_request *)request)->result = ORDER_RESULT_UNAVAILABLE;
    }
}

static void work(struct mariadb_leases *leases, struct port_request *request) {
    int64_t deadline_us = clock_monotonic_us() + leases->settings->deadline_us;
    set_unavailable(request);
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        enum mariadb_status status = try_once(leases, request);
        if (status == MARIADB_OK) {
            break;
        }
        mariadb_connection_rollback(&leases->connection);
        log_write_limited(leases->log, &leases->limit, LOG_WARNING, "mysql",
                          "a lease or position was not written: %s", leases->connection.fault.text);
        int pause_ms = mariadb_connection_pause_ms(&leases->connection);
        pause_ms = pause_ms > RETRY_PAUSE_MS ? pause_ms : RETRY_PAUSE_MS;
        if (status == MARIADB_REFUSED ||
            clock_monotonic_us() + (int64_t)pause_ms * 1000 >= deadline_us) {
            break;
        }
        metric_add(&leases->metrics->retries_total, 1);
        struct timespec pause = {pause_ms / 1000, (long)(pause_ms % 1000) * 1000000};
        (void)nanosleep(&pause, NULL);
    }
    port_complete(request);
}

static void *run(void *context) {
    struct mariadb_leases *leases = context;
    for (;;) {
        struct port_request *request;
        while ((request = mailbox_take(&leases->inbox)) != NULL) {
            work(leases, request);
        }
        if (atomic_load_explicit(&leases->stopping, memory_order_acquire) != 0 &&
            ring_count(&leases->inbox.ring) == 0) {
            break;
        }
        mailbox_wait(&leases->inbox, WAIT_MS);
    }
    mariadb_connection_close(&leases->connection);
    return NULL;
}

bool mariadb_leases_init(struct mariadb_leases *leases, const struct mariadb_leases_parts *parts,
                         struct fault *fault) {
    *leases = (struct mariadb_leases){
        .port = {.ops = &lease_ops},
        .owner = parts->owner,
        .settings = parts->settings,
        .log = parts->log,
        .metrics = parts->metrics,
    };
    if (!mailbox_init(&leases->inbox, MARIADB_LEASES_INBOX)) {
        fault_set_errno(fault, errno, "no memory for the leases");
        return false;
    }
    mariadb_connection_init(&leases->connection, &(struct mariadb_connection_parts){
                                                     .settings = parts->settings,
                                                     .server = &parts->settings->servers[0],
                                                     .mode = MARIADB_TRANSACTIONS,
                                                     .log = parts->log,
                                                     .metrics = parts->metrics,
                                                     .health = parts->health,
                                                     .vet = mariadb_vet,
                                                 });
    sql_builder_init(&leases->sql, SQL_BYTES_MAX);
    return true;
}

void mariadb_leases_deinit(struct mariadb_leases *leases) {
    mailbox_deinit(&leases->inbox);
    sql_builder_deinit(&leases->sql);
}

bool mariadb_leases_start(struct mariadb_leases *leases, struct fault *fault) {
    int error = pthread_create(&leases->thread, NULL, run, leases);
    if (error != 0) {
        fault_set_errno(fault, error, "the thread of the leases cannot be started");
        return false;
    }
    (void)pthread_setname_np(leases->thread, "mysql-leases");
    leases->started = true;
    return true;
}

void mariadb_leases_stop(struct mariadb_leases *leases) {
    if (leases->started) {
        atomic_store_explicit(&leases->stopping, 1, memory_order_release);
        mailbox_wake(&leases->inbox);
        (void)pthread_join(leases->thread, NULL);
        leases->started = false;
    }
}
