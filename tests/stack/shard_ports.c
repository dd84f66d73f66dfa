#include "shard_ports.h"

#include "base/clock.h"
#include "base/rfc3339.h"

#include <mysql.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPERATION_ACQUIRE, OPERATION_STORE, OPERATION_RELEASE, OPERATION_SCAN };

struct shard_ports {
    struct lease_port lease;
    struct order_store store;
    struct binlog_server server;
    char owner[64];
    struct log *log;
    struct mailbox inbox;
    pthread_t thread;
    _Atomic uint32_t stopping;
    MYSQL *mysql;
};

static bool connect_once(struct shard_ports *ports) {
    if (ports->mysql != NULL) {
        return true;
    }
    unsigned seconds = 3;
    ports->mysql = mysql_init(NULL);
    (void)mysql_options(ports->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    (void)mysql_options(ports->mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
    (void)mysql_options(ports->mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    const struct binlog_server *server = &ports->server;
    if (mysql_real_connect(ports->mysql, server->host.text, server->user.text,
                           server->password.text, server->database.text, server->port, NULL,
                           0) != NULL &&
        mysql_query(ports->mysql, "SET time_zone = '+00:00'") == 0) {
        return true;
    }
    mysql_close(ports->mysql);
    ports->mysql = NULL;
    return false;
}

static bool run_sql(struct shard_ports *ports, const char *sql) {
    if (!connect_once(ports)) {
        return false;
    }
    if (mysql_query(ports->mysql, sql) == 0) {
        return true;
    }
    log_warning(ports->log, "shard", "%s", mysql_error(ports->mysql));
    mysql_close(ports->mysql);
    ports->mysql = NULL;
    return false;
}

/* --- The lease. --- */

static void acquire(struct shard_ports *ports, struct lease_request *request) {
    char sql[1024];
    int64_t from_us = clock_monotonic_us();
    long long length_us = request->length_us;
    request->result = ORDER_RESULT_UNAVAILABLE;
    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO positions (name, owner, lease_until, position, updated_at) VALUES "
                   "('%s', '%s', NOW(6) + INTERVAL %lld MICROSECOND, '', NOW(6)) "
                   "ON DUPLICATE KEY UPDATE "
                   "owner = IF(@mine := owner = VALUES(owner) OR lease_until < NOW(6), "
                   "VALUES(owner), owner), "
                   "lease_until = IF(@mine, VALUES(lease_until), lease_until)",
                   request->name, ports->owner, length_us);
    if (!run_sql(ports, sql)) {
        return;
    }
    (void)snprintf(sql, sizeof(sql), "SELECT owner, position FROM positions WHERE name = '%s'",
                   request->name);
    if (!run_sql(ports, sql)) {
        return;
    }
    MYSQL_RES *result = mysql_store_result(ports->mysql);
    MYSQL_ROW row = result == NULL ? NULL : mysql_fetch_row(result);
    if (row != NULL) {
        bool ours = strcmp(row[0], ports->owner) == 0;
        (void)snprintf(request->position, sizeof(request->position), "%s", row[1]);
        request->held_until_us = from_us + request->length_us;
        request->result = ours ? ORDER_RESULT_STORED : ORDER_RESULT_BUSY;
    }
    mysql_free_result(result);
}

static void store_position(struct shard_ports *ports, struct lease_position *position) {
    char sql[LEASE_POSITION_MAX + 512];
    (void)snprintf(sql, sizeof(sql),
                   "UPDATE positions SET position = '%s', updated_at = NOW(6) "
                   "WHERE name = '%s' AND owner = '%s'",
                   position->position, position->name, ports->owner);
    position->result = !run_sql(ports, sql)                     ? ORDER_RESULT_UNKNOWN
                       : mysql_affected_rows(ports->mysql) == 1 ? ORDER_RESULT_STORED
                                                                : ORDER_RESULT_MISMATCH;
}

static void release_lease(struct shard_ports *ports, struct lease_request *request) {
    char sql[512];
    (void)snprintf(sql, sizeof(sql),
                   "UPDATE positions SET lease_until = NOW(6) WHERE name = '%s' AND owner = '%s'",
                   request->name, ports->owner);
    request->result = run_sql(ports, sql) ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE;
}

/* --- The scan. --- */

static uint64_t number_of(const char *text) {
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static int64_t time_of(const char *text) {
    int64_t time_us;
    char full[RFC3339_TEXT_BYTES + 1];
    if (text == NULL) {
        return 0;
    }
    (void)snprintf(full, sizeof(full), "%.10sT%.15sZ", text, text + 11);
    return rfc3339_parse(slice_from_text(full), &time_us) ? time_us : 0;
}

static void read_row(MYSQL_ROW row, struct order_record *order) {
    *order = (struct order_record){
        .order_id = number_of(row[0]),
        .amount = number_of(row[3]),
        .payment_type = (uint8_t)number_of(row[5]),
        .status = (uint8_t)number_of(row[7]),
        .version = (uint32_t)number_of(row[8]),
        .format = ORDER_RECORD_FORMAT,
        .created_at_us = time_of(row[9]),
        .updated_at_us = time_of(row[10]),
        .requested_at_us = time_of(row[11]),
        .responded_at_us = time_of(row[12]),
    };
    order_text_set(order->partner_code, sizeof(order->partner_code), slice_from_text(row[1]));
    order_text_set(order->partner_order_id, sizeof(order->partner_order_id),
                   slice_from_text(row[2]));
    order_text_set(order->currency, sizeof(order->currency), slice_from_text(row[4]));
    if (row[6] != NULL) {
        order_text_set(order->bank_code, sizeof(order->bank_code), slice_from_text(row[6]));
    }
    order_record_seal(order);
}

static void scan(struct shard_ports *ports, struct order_scan_batch *batch) {
    char sql[512];
    batch->count = 0;
    batch->result = ORDER_RESULT_UNAVAILABLE;
    (void)snprintf(sql, sizeof(sql),
                   "SELECT order_id, partner_code, partner_order_id, amount, currency, "
                   "payment_type + 0, bank_code, status + 0, version, created_at, updated_at, "
                   "requested_at, responded_at FROM orders WHERE order_id > %llu AND status + 0 "
                   "%s ORDER BY order_id LIMIT %zu",
                   (unsigned long long)batch->cursor,
                   batch->kind == ORDER_SCAN_FINAL ? ">= 3" : "< 3", batch->limit);
    if (!run_sql(ports, sql)) {
        return;
    }
    MYSQL_RES *result = mysql_store_result(ports->mysql);
    MYSQL_ROW row;
    while (result != NULL && (row = mysql_fetch_row(result)) != NULL) {
        read_row(row, &batch->orders[batch->count++]);
    }
    mysql_free_result(result);
    bool more = batch->count == batch->limit;
    batch->cursor = more ? batch->orders[batch->count - 1].order_id : 0;
    batch->result = ORDER_RESULT_FOUND;
}

/* --- The thread. --- */

static void *run(void *context) {
    struct shard_ports *ports = context;
    for (;;) {
        struct port_request *request = mailbox_take(&ports->inbox);
        if (request == NULL) {
            if (atomic_load(&ports->stopping) != 0) {
                break;
            }
            mailbox_wait(&ports->inbox, 100);
            continue;
        }
        switch (request->operation) {
        case OPERATION_ACQUIRE:
            acquire(ports, (struct lease_request *)request);
            break;
        case OPERATION_STORE:
            store_position(ports, (struct lease_position *)request);
            break;
        case OPERATION_RELEASE:
            release_lease(ports, (struct lease_request *)request);
            break;
        default:
            scan(ports, (struct order_scan_batch *)request);
            break;
        }
        port_complete(request);
    }
    mysql_close(ports->mysql);
    return NULL;
}

static enum port_submit submit(struct shard_ports *ports, struct port_request *request,
                               uint32_t operation) {
    request->operation = operation;
    return mailbox_send(&ports->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_acquire(struct lease_port *port, struct lease_request *request) {
    return submit((struct shard_ports *)port, &request->request, OPERATION_ACQUIRE);
}

static enum port_submit submit_store(struct lease_port *port, struct lease_position *position) {
    return submit((struct shard_ports *)port, &position->request, OPERATION_STORE);
}

static enum port_submit submit_release(struct lease_port *port, struct lease_request *request) {
    return submit((struct shard_ports *)port, &request->request, OPERATION_RELEASE);
}

static enum port_submit submit_scan(struct order_store *store, struct order_scan_batch *batch) {
    struct shard_ports *ports =
        (struct shard_ports *)((char *)store - offsetof(struct shard_ports, store));
    return submit(ports, &batch->request, OPERATION_SCAN);
}

static const struct lease_ops lease_ops = {
    .acquire = submit_acquire, .store = submit_store, .release = submit_release};
static const struct order_store_ops store_ops = {.scan = submit_scan};

struct shard_ports *shard_ports_create(const struct binlog_server *server, const char *owner,
                                       struct log *log) {
    struct shard_ports *ports = calloc(1, sizeof(*ports));
    if (ports == NULL || !mailbox_init(&ports->inbox, 16)) {
        free(ports);
        return NULL;
    }
    ports->lease.ops = &lease_ops;
    ports->store.ops = &store_ops;
    ports->server = *server;
    ports->log = log;
    (void)snprintf(ports->owner, sizeof(ports->owner), "%s", owner);
    if (pthread_create(&ports->thread, NULL, run, ports) != 0) {
        mailbox_deinit(&ports->inbox);
        free(ports);
        return NULL;
    }
    return ports;
}

void shard_ports_destroy(struct shard_ports *ports) {
    atomic_store(&ports->stopping, 1);
    mailbox_wake(&ports->inbox);
    (void)pthread_join(ports->thread, NULL);
    mailbox_deinit(&ports->inbox);
    free(ports);
}

struct lease_port *shard_ports_lease(struct shard_ports *ports) {
    return &ports->lease;
}

struct order_store *shard_ports_store(struct shard_ports *ports) {
    return &ports->store;
}
