#include "mariadb_loader.h"

#include "adapter/mariadb/order_columns.h"
#include "base/clock.h"

#include <assert.h>
#include <mysql.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define STATEMENT_BYTES_MAX (16 << 20)

/** One connection's statements, and the thread that sends them. */
struct loader {
    struct sql_builder *statements; /* owned; references, orders, references... */
    size_t count;
    MYSQL *mysql;
    pthread_t thread;
};

static void fail_hard(const char *what) {
    fprintf(stderr, "loader: %s\n", what);
    exit(1);
}

static int compare_references(const void *left, const void *right) {
    return order_reference_compare(left, right);
}

static int compare_ids(const void *left, const void *right) {
    uint64_t first = ((const struct order_record *)left)->order_id;
    uint64_t second = ((const struct order_record *)right)->order_id;
    return first < second ? -1 : first > second ? 1 : 0;
}

/** The statements of one transaction. The ids are those that the store would give, of another
 *  node. */
static void build_transaction(struct sql_builder *pair, struct order_record *orders, size_t count,
                              struct order_id_generator *ids) {
    int64_t now_us = clock_wall_us();
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = order_slot_from_hash(order_record_reference_hash(&orders[i]));
        orders[i].version = 1;
        orders[i].status = ORDER_STATUS_PENDING;
        orders[i].created_at_us = orders[i].updated_at_us = now_us;
        if (!order_id_generator_next(ids, slot, order_tick_from_us(now_us), &orders[i].order_id)) {
            fail_hard("the ids run ahead of the clock");
        }
    }
    for (size_t side = 0; side < 2; side++) {
        sql_builder_init(&pair[side], STATEMENT_BYTES_MAX);
    }
    qsort(orders, count, sizeof(*orders), compare_references);
    sql_append_literal(&pair[0],
                       "INSERT INTO order_refs (partner_code, partner_order_id, order_id) VALUES ");
    for (size_t i = 0; i < count; i++) {
        sql_append(&pair[0], ",", i > 0 ? 1 : 0);
        order_columns_append_reference(&pair[0], &orders[i]);
    }
    qsort(orders, count, sizeof(*orders), compare_ids);
    sql_append_literal(&pair[1], "INSERT INTO orders (" ORDER_COLUMNS ") VALUES ");
    for (size_t i = 0; i < count; i++) {
        sql_append(&pair[1], ",", i > 0 ? 1 : 0);
        order_columns_append(&pair[1], &orders[i]);
    }
}

static MYSQL *connect_loader(const struct loader_server *server) {
    MYSQL *mysql = mysql_init(NULL);
    enum mysql_protocol_type protocol = MYSQL_PROTOCOL_TCP;
    if (mysql == NULL || mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol) != 0 ||
        mysql_real_connect(mysql, server->host, server->user, server->password, server->database,
                           server->port, NULL, 0) == NULL ||
        mysql_query(mysql, "SET autocommit = 0, time_zone = '+00:00'") != 0 ||
        mysql_query(mysql, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED") != 0) {
        fail_hard(mysql == NULL ? "no memory" : mysql_error(mysql));
    }
    return mysql;
}

/** @thread the loader's. */
static void *send_statements(void *context) {
    struct loader *loader = context;
    MYSQL *mysql = loader->mysql;
    for (size_t i = 0; i < loader->count; i++) {
        const struct sql_builder *sql = &loader->statements[i];
        if (mysql_real_query(mysql, sql->data, sql->size) != 0 ||
            (i % 2 == 1 && mysql_query(mysql, "COMMIT") != 0)) {
            fail_hard(mysql_error(mysql));
        }
    }
    return NULL;
}

static void prepare(const struct loader_job *job, struct loader *loader, size_t orders) {
    struct order_record *rows = calloc(job->batch, sizeof(*rows));
    *loader = (struct loader){.mysql = connect_loader(&job->server)};
    loader->statements = calloc(2 * (orders / job->batch + 1), sizeof(*loader->statements));
    if (rows == NULL || loader->statements == NULL) {
        fail_hard("no memory");
    }
    for (size_t at = 0; at < orders; at += job->batch) {
        size_t count = bytes_min_size(job->batch, orders - at);
        for (size_t i = 0; i < count; i++) {
            rows[i] = job->next_draft(job->context);
        }
        build_transaction(loader->statements + loader->count, rows, count, job->ids);
        loader->count += 2;
    }
    free(rows);
}

static void release(struct loader *loader) {
    mysql_close(loader->mysql);
    for (size_t i = 0; i < loader->count; i++) {
        sql_builder_deinit(&loader->statements[i]);
    }
    free(loader->statements);
}

int64_t loader_run(const struct loader_job *job, size_t *loaded) {
    struct loader loaders[LOADER_CONNECTIONS_MAX];
    assert(job->connections >= 1 && job->connections <= LOADER_CONNECTIONS_MAX);
    for (size_t i = 0; i < job->connections; i++) {
        prepare(job, &loaders[i], job->orders / job->connections);
    }
    int64_t begin_us = clock_monotonic_us();
    for (size_t i = 0; i < job->connections; i++) {
        if (pthread_create(&loaders[i].thread, NULL, send_statements, &loaders[i]) != 0) {
            fail_hard("no thread");
        }
    }
    for (size_t i = 0; i < job->connections; i++) {
        (void)pthread_join(loaders[i].thread, NULL);
    }
    int64_t took_us = clock_monotonic_us() - begin_us;
    for (size_t i = 0; i < job->connections; i++) {
        release(&loaders[i]);
    }
    *loaded = job->orders / job->connections * job->connections;
    return took_us;
}
