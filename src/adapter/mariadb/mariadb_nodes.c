#include "adapter/mariadb/mariadb_nodes.h"

#include "adapter/mariadb/mariadb_vetting.h"

#include <errno.h>

/* How often a lease is renewed, in parts of its length; and how soon it is tried again. */
#define RENEWALS_PER_LEASE 3
#define RETRY_PAUSE_US INT64_C(200000)
#define SLEEP_MAX_US INT64_C(1000000)
#define SQL_BYTES_MAX 4096

/* --- Asked by other threads. --- */

void mariadb_nodes_grant(struct mariadb_nodes *nodes, struct node_grant *grant) {
    pthread_mutex_lock(&nodes->mutex);
    *grant = nodes->grant;
    pthread_mutex_unlock(&nodes->mutex);
}

void mariadb_nodes_want_renewal(struct mariadb_nodes *nodes) {
    pthread_mutex_lock(&nodes->mutex);
    nodes->renewal_wanted = true;
    pthread_cond_signal(&nodes->wake);
    pthread_mutex_unlock(&nodes->mutex);
}

static bool is_known(const struct mariadb_nodes *nodes, uint32_t node) {
    uint64_t word = atomic_load_explicit(&nodes->known[node / 64], memory_order_relaxed);
    return (word >> (node % 64) & 1) != 0;
}

static void learn(struct mariadb_nodes *nodes, uint32_t node) {
    if (node < ORDER_NODE_COUNT) {
        atomic_fetch_or_explicit(&nodes->known[node / 64], (uint64_t)1 << (node % 64),
                                 memory_order_relaxed);
    }
}

bool mariadb_nodes_may_have_given(struct mariadb_nodes *nodes, uint64_t order_id) {
    uint32_t node = order_id_decode(order_id).node;
    /* First the time, then the set: what was read by then is in it. */
    int64_t since_us = atomic_load_explicit(&nodes->known_since_us, memory_order_acquire);
    if (is_known(nodes, node)) {
        return true;
    }
    if (since_us != 0 && clock_monotonic_us() - since_us < NODE_SET_TRUST_US) {
        return false;
    }
    pthread_mutex_lock(&nodes->mutex);
    if (!nodes->set_wanted) {
        nodes->set_wanted = true;
        pthread_cond_signal(&nodes->wake);
    }
    pthread_mutex_unlock(&nodes->mutex);
    return true;
}

/* --- Statements: the thread's. --- */

/** Reads the set of numbers. */
static enum mariadb_status read_set(struct mariadb_nodes *nodes) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    int64_t begin_us = clock_monotonic_us();
    enum mariadb_status status = mariadb_connection_select(
        &nodes->connection, SLICE_LITERAL("SELECT node FROM nodes"), &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    while (mariadb_rows_next(&rows, fields)) {
        uint64_t node;
        if (fields[0].data != NULL && sql_parse_u64(fields[0], &node) && node < ORDER_NODE_COUNT) {
            learn(nodes, (uint32_t)node);
        }
    }
    mariadb_rows_free(&rows);
    mariadb_connection_rollback(&nodes->connection);
    atomic_store_explicit(&nodes->known_since_us, begin_us, memory_order_release);
    return MARIADB_OK;
}

/** Compares our clock with the database's. `ahead` where ids of ours might seem to come from the
 *  future elsewhere. */
static enum mariadb_status compare_clocks(struct mariadb_nodes *nodes, bool *ahead) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    int64_t ours_us = clock_now_us(nodes->clock); /* before theirs is read */
    enum mariadb_status status =
        mariadb_connection_select(&nodes->connection, SLICE_LITERAL("SELECT NOW(6)"), &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    int64_t theirs_us;
    bool read = mariadb_rows_next(&rows, fields) && fields[0].data != NULL &&
                sql_parse_time(fields[0], &theirs_us);
    *ahead = !read || ours_us - theirs_us > nodes->settings->clock_ahead_max_us;
    if (*ahead) {
        log_write_limited(nodes->log, &nodes->limit, LOG_ERROR, "mysql",
                          "the clock is %lld ms ahead of the database's: no ids are given",
                          read ? (long long)(ours_us - theirs_us) / 1000 : -1);
    }
    mariadb_rows_free(&rows);
    return MARIADB_OK;
}

/** Locks the rows and reads them, ascending by node. */
static enum mariadb_status read_leases(struct mariadb_nodes *nodes, struct node_row *found,
                                       size_t *count) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    struct sql_builder *sql = &nodes->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT node, lease_until < NOW(6) OR holder = ");
    sql_append_text(sql, slice_from_text(nodes->holder));
    sql_append_literal(sql, ", highest_tick FROM nodes ORDER BY node FOR UPDATE");
    enum mariadb_status status = mariadb_connection_select_built(&nodes->connection, sql, &rows);
    *count = 0;
    if (status != MARIADB_OK) {
        return status;
    }
    while (*count < ORDER_NODE_COUNT && mariadb_rows_next(&rows, fields)) {
        uint64_t node;
        uint64_t highest_tick;
        if (fields[0].data != NULL && sql_parse_u64(fields[0], &node) && node < ORDER_NODE_COUNT &&
            fields[2].data != NULL && sql_parse_u64(fields[2], &highest_tick)) {
            found[(*count)++] = (struct node_row){
                .node = (uint32_t)node,
                .expired = slice_equal(fields[1], SLICE_LITERAL("1")),
                .highest_tick = highest_tick,
            };
        }
    }
    mariadb_rows_free(&rows);
    return MARIADB_OK;
}

static void append_lease_until(struct mariadb_nodes *nodes) {
    sql_append_literal(&nodes->sql, "NOW(6) + INTERVAL ");
    sql_append_u64(&nodes->sql, (uint64_t)nodes->settings->node_lease_us);
    sql_append_literal(&nodes->sql, " MICROSECOND");
}

/** Makes the chosen row ours. */
static enum mariadb_status take_lease(struct mariadb_nodes *nodes, const struct node_choice *choice,
                                      uint64_t promise) {
    struct sql_builder *sql = &nodes->sql;
    sql_builder_reset(sql);
    if (choice->is_new) {
        sql_append_literal(sql, "INSERT INTO nodes (node, holder, lease_until, highest_tick) "
                                "VALUES (");
        sql_append_u64(sql, choice->node);
        sql_append_literal(sql, ", ");
        sql_append_text(sql, slice_from_text(nodes->holder));
        sql_append_literal(sql, ", ");
        append_lease_until(nodes);
        sql_append_literal(sql, ", ");
        sql_append_u64(sql, promise);
        sql_append_literal(sql, ")");
    } else {
        sql_append_literal(sql, "UPDATE nodes SET holder = ");
        sql_append_text(sql, slice_from_text(nodes->holder));
        sql_append_literal(sql, ", lease_until = ");
        append_lease_until(nodes);
        sql_append_literal(sql, ", highest_tick = ");
        sql_append_u64(sql, bytes_max_u64(promise, choice->floor_tick));
        sql_append_literal(sql, " WHERE node = ");
        sql_append_u64(sql, choice->node);
    }
    enum mariadb_status status = mariadb_connection_run_built(&nodes->connection, sql);
    if (status == MARIADB_OK && nodes->connection.affected != 1) {
        fault_set(&nodes->connection.fault, "node %u could not be leased", choice->node);
        return MARIADB_REFUSED;
    }
    return status == MARIADB_OK ? mariadb_connection_commit(&nodes->connection) : status;
}

static void publish_grant(struct mariadb_nodes *nodes, const struct node_grant *grant) {
    pthread_mutex_lock(&nodes->mutex);
    nodes->grant = *grant;
    nodes->renewal_wanted = false;
    pthread_mutex_unlock(&nodes->mutex);
}

/** Leases a number. */
static enum mariadb_status acquire(struct mariadb_nodes *nodes, struct node_grant *grant) {
    struct node_row rows[ORDER_NODE_COUNT];
    size_t count;
    struct node_choice choice;
    int64_t length_us = nodes->settings->node_lease_us;
    enum mariadb_status status = compare_clocks(nodes, &grant->clock_ahead);
    if (status != MARIADB_OK || grant->clock_ahead) {
        return status;
    }
    if ((status = read_leases(nodes, rows, &count)) != MARIADB_OK) {
        return status;
    }
    int64_t asked_us = clock_monotonic_us();
    int64_t now_us = clock_now_us(nodes->clock);
    uint64_t promise = node_lease_promise(now_us, length_us);
    if (!node_lease_choose(rows, count, order_tick_from_us(now_us), &choice)) {
        fault_set(&nodes->connection.fault, "all %d node numbers are leased", ORDER_NODE_COUNT);
        return MARIADB_REFUSED;
    }
    if ((status = take_lease(nodes, &choice, promise)) != MARIADB_OK) {
        return status;
    }
    learn(nodes, choice.node);
    grant->number++;
    grant->node = choice.node;
    grant->floor_tick = choice.floor_tick;
    grant->promised_tick = promise;
    grant->usable_from_us = choice.is_new ? clock_monotonic_us() + NODE_QUARANTINE_US : asked_us;
    grant->held_until_us = node_lease_end(asked_us, length_us);
    nodes->renew_at_us = asked_us + length_us / RENEWALS_PER_LEASE;
    metric_add(&nodes->metrics->node_leases_total, 1);
    log_info(nodes->log, "mysql", "node %u is leased%s", choice.node,
             choice.is_new ? ", for the first time" : "");
    return MARIADB_OK;
}

/** Renews what is held. Where it went to somebody else, `held_until_us` is 0 afterwards. */
static enum mariadb_status renew(struct mariadb_nodes *nodes, struct node_grant *grant) {
    int64_t length_us = nodes->settings->node_lease_us;
    enum mariadb_status status = compare_clocks(nodes, &grant->clock_ahead);
    if (status != MARIADB_OK || grant->clock_ahead) {
        return status;
    }
    int64_t asked_us = clock_monotonic_us();
    uint64_t promise = node_lease_promise(clock_now_us(nodes->clock), length_us);
    struct sql_builder *sql = &nodes->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE nodes SET lease_until = ");
    append_lease_until(nodes);
    sql_append_literal(sql, ", highest_tick = GREATEST(highest_tick, ");
    sql_append_u64(sql, promise);
    sql_append_literal(sql, ") WHERE node = ");
    sql_append_u64(sql, grant->node);
    sql_append_literal(sql, " AND holder = ");
    sql_append_text(sql, slice_from_text(nodes->holder));
    if ((status = mariadb_connection_run_built(&nodes->connection, sql)) != MARIADB_OK) {
        return status;
    }
    if (nodes->connection.affected == 0) {
        mariadb_connection_rollback(&nodes->connection);
        grant->held_until_us = 0;
        return MARIADB_OK;
    }
    if ((status = mariadb_connection_commit(&nodes->connection)) != MARIADB_OK) {
        return status;
    }
    grant->promised_tick = bytes_max_u64(grant->promised_tick, promise);
    grant->held_until_us = node_lease_end(asked_us, length_us);
    nodes->renew_at_us = asked_us + length_us / RENEWALS_PER_LEASE;
    return MARIADB_OK;
}

static void give_back(struct mariadb_nodes *nodes, const struct node_grant *grant,
                      uint64_t used_tick) {
    struct sql_builder *sql = &nodes->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE nodes SET lease_until = NOW(6), highest_tick = ");
    sql_append_u64(sql, bytes_max_u64(grant->floor_tick, used_tick));
    sql_append_literal(sql, " WHERE node = ");
    sql_append_u64(sql, grant->node);
    sql_append_literal(sql, " AND holder = ");
    sql_append_text(sql, slice_from_text(nodes->holder));
    if (mariadb_connection_ensure(&nodes->connection) != MARIADB_OK ||
        mariadb_connection_run_built(&nodes->connection, sql) != MARIADB_OK ||
        mariadb_connection_commit(&nodes->connection) != MARIADB_OK) {
        log_warning(nodes->log, "mysql", "node %u was not given back; its lease ends by itself: %s",
                    grant->node, nodes->connection.fault.text);
    }
}

/* --- The thread. --- */

/** Says that a lease has ended, once. */
static void note_end(struct mariadb_nodes *nodes, const struct node_grant *grant) {
    if (!nodes->end_noted) {
        nodes->end_noted = true;
        metric_add(&nodes->metrics->node_losses_total, 1);
        log_error(nodes->log, "mysql",
                  "the lease of node %u has ended%s; no ids until there is another one",
                  grant->node, grant->held_until_us == 0 ? ": somebody else has it" : "");
    }
}

/** Leases or renews where that is due. */
static void keep_lease(struct mariadb_nodes *nodes, struct node_grant *grant) {
    bool had = grant->number != 0 && grant->held_until_us != 0;
    enum mariadb_status status = mariadb_connection_ensure(&nodes->connection);
    if (status == MARIADB_OK) {
        status = had ? renew(nodes, grant) : acquire(nodes, grant);
    }
    if (status != MARIADB_OK) {
        mariadb_connection_rollback(&nodes->connection);
        log_write_limited(nodes->log, &nodes->limit, LOG_WARNING, "mysql",
                          "the node lease was not %s: %s", had ? "renewed" : "taken",
                          nodes->connection.fault.text);
    }
    if (had && clock_monotonic_us() >= grant->held_until_us) {
        note_end(nodes, grant);
    } else if (status == MARIADB_OK) {
        nodes->end_noted = false;
    }
    bool settled = status == MARIADB_OK && !grant->clock_ahead && grant->held_until_us != 0;
    nodes->retry_at_us = settled ? 0 : clock_monotonic_us() + RETRY_PAUSE_US;
    publish_grant(nodes, grant);
}

/** Reads the set. */
static void keep_set(struct mariadb_nodes *nodes) {
    bool read = mariadb_connection_ensure(&nodes->connection) == MARIADB_OK &&
                read_set(nodes) == MARIADB_OK;
    nodes->set_at_us = clock_monotonic_us() + (read ? NODE_SET_TRUST_US : RETRY_PAUSE_US);
    if (!read) {
        mariadb_connection_rollback(&nodes->connection);
        return;
    }
    pthread_mutex_lock(&nodes->mutex);
    nodes->set_wanted = false;
    pthread_mutex_unlock(&nodes->mutex);
}

static bool lease_is_due(const struct mariadb_nodes *nodes, bool renewal_wanted, int64_t now_us) {
    return nodes->gives_ids && now_us >= nodes->retry_at_us &&
           (nodes->retry_at_us != 0 || renewal_wanted || now_us >= nodes->renew_at_us);
}

/** When there is something to do at the latest. */
static int64_t next_due(const struct mariadb_nodes *nodes, int64_t now_us) {
    int64_t due_us = now_us + SLEEP_MAX_US;
    int64_t lease_us = nodes->retry_at_us != 0 ? nodes->retry_at_us
                       : nodes->renewal_wanted ? now_us
                                               : nodes->renew_at_us;
    if (nodes->gives_ids && lease_us < due_us) {
        due_us = lease_us;
    }
    if (nodes->set_wanted && nodes->set_at_us < due_us) {
        due_us = nodes->set_at_us;
    }
    return due_us;
}

/** Sleeps until something is due. False at the end. */
static bool sleep_until_due(struct mariadb_nodes *nodes, bool *lease_due, bool *set_due) {
    pthread_mutex_lock(&nodes->mutex);
    int64_t now_us = clock_monotonic_us();
    int64_t due_us = next_due(nodes, now_us);
    while (!nodes->stopping && now_us < due_us) {
        struct timespec until = {due_us / 1000000, due_us % 1000000 * 1000};
        (void)pthread_cond_timedwait(&nodes->wake, &nodes->mutex, &until);
        now_us = clock_monotonic_us();
        int64_t sooner_us = next_due(nodes, now_us);
        due_us = sooner_us < due_us ? sooner_us : due_us;
    }
    bool stopping = nodes->stopping;
    *lease_due = lease_is_due(nodes, nodes->renewal_wanted, now_us);
    *set_due = nodes->set_wanted && now_us >= nodes->set_at_us;
    pthread_mutex_unlock(&nodes->mutex);
    return !stopping;
}

static void *run(void *context) {
    struct mariadb_nodes *nodes = context;
    struct node_grant grant = {.number = 0};
    bool lease_due;
    bool set_due;
    while (sleep_until_due(nodes, &lease_due, &set_due)) {
        if (lease_due) {
            keep_lease(nodes, &grant);
        }
        if (set_due) {
            keep_set(nodes);
        }
    }
    if (grant.number != 0 && grant.held_until_us != 0) {
        give_back(nodes, &grant, nodes->used_tick);
    }
    mariadb_connection_close(&nodes->connection);
    return NULL;
}

static bool make_primitives(struct mariadb_nodes *nodes) {
    pthread_condattr_t attributes;
    bool made = pthread_condattr_init(&attributes) == 0 &&
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&nodes->wake, &attributes) == 0 &&
                pthread_mutex_init(&nodes->mutex, NULL) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return made;
}

bool mariadb_nodes_start(struct mariadb_nodes *nodes, const struct mariadb_nodes_parts *parts,
                         struct fault *fault) {
    *nodes = (struct mariadb_nodes){
        .settings = parts->settings,
        .clock = parts->clock,
        .log = parts->log,
        .metrics = parts->metrics,
        .holder = parts->holder,
        .gives_ids = parts->gives_ids,
        .set_wanted = true,
    };
    mariadb_connection_init(&nodes->connection, &(struct mariadb_connection_parts){
                                                    .settings = parts->settings,
                                                    .server = &parts->settings->servers[0],
                                                    .mode = MARIADB_TRANSACTIONS,
                                                    .log = parts->log,
                                                    .metrics = parts->metrics,
                                                    .health = parts->health,
                                                    .vet = mariadb_vet,
                                                });
    sql_builder_init(&nodes->sql, SQL_BYTES_MAX);
    int error = make_primitives(nodes) ? pthread_create(&nodes->thread, NULL, run, nodes) : ENOMEM;
    if (error != 0) {
        fault_set_errno(fault, error, "the thread of the node lease cannot be started");
        return false;
    }
    (void)pthread_setname_np(nodes->thread, "mysql-nodes");
    nodes->started = true;
    return true;
}

void mariadb_nodes_stop(struct mariadb_nodes *nodes, uint64_t used_tick) {
    if (!nodes->started) {
        return;
    }
    pthread_mutex_lock(&nodes->mutex);
    nodes->stopping = true;
    nodes->used_tick = used_tick;
    pthread_cond_signal(&nodes->wake);
    pthread_mutex_unlock(&nodes->mutex);
    (void)pthread_join(nodes->thread, NULL);
    sql_builder_deinit(&nodes->sql);
    (void)pthread_cond_destroy(&nodes->wake);
    (void)pthread_mutex_destroy(&nodes->mutex);
    nodes->started = false;
}
