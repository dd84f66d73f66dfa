#include "adapter/cassandra/archive_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Of a request besides its rows or ids: statement id, consistency, flags, counts. */
#define REQUEST_BYTES (CQL_STATEMENT_ID_MAX + 64)
#define DELETE_BYTES 320

#define SELECT_ONE_VALUES 3

size_t archive_request_bytes(const struct cassandra_terms *terms) {
    size_t batch_bytes = (size_t)terms->batch_rows_max * CASSANDRA_INSERT_BYTES_MAX;
    size_t select_bytes = (size_t)terms->select_ids_max * CASSANDRA_SELECT_ID_BYTES;
    return CQL_HEADER_BYTES + REQUEST_BYTES + DELETE_BYTES + CASSANDRA_SELECT_BYTES + batch_bytes +
           select_bytes;
}

/* --- Writes. --- */

static const struct order_record *order_of(const struct cassandra_archive *archive,
                                           const struct archive_item *item) {
    const struct port_request *request = archive->works[item->work].request;
    return &((const struct order_archive_put *)request)->orders[item->index];
}

static void write_batch(struct cassandra_archive *archive, const struct archive_group *group,
                        struct slice statement, struct text *body) {
    cql_write_batch(body, (uint16_t)group->count);
    for (uint32_t i = group->first; i != ARCHIVE_NONE; i = archive->items[i].next) {
        const struct order_record *order = order_of(archive, &archive->items[i]);
        cql_write_batch_statement(body, statement, CASSANDRA_INSERT_VALUES);
        cassandra_row_bind(body, order, order->version, CASSANDRA_NULLS_UNSET);
    }
    cql_write_batch_end(body, archive->terms.consistency);
}

static struct text *begin_put(struct cassandra_archive *archive, const struct archive_group *group,
                              struct cql_connection *connection) {
    struct slice statement = cql_connection_statement(connection, CASSANDRA_INSERT);
    struct text *body = cql_connection_begin(
        connection, group->count > 1 ? CQL_BATCH : CQL_EXECUTE, CASSANDRA_INSERT,
        REQUEST_BYTES + (size_t)group->count * CASSANDRA_INSERT_BYTES_MAX);
    if (body == NULL) {
        return NULL;
    }
    if (group->count > 1) {
        write_batch(archive, group, statement, body);
    } else {
        const struct order_record *order = order_of(archive, &archive->items[group->first]);
        cql_write_execute(body, statement, archive->terms.consistency, CASSANDRA_INSERT_VALUES);
        cassandra_row_bind(body, order, order->version, CASSANDRA_NULLS_UNSET);
    }
    return body;
}

static struct text *begin_write(struct cassandra_archive *archive,
                                const struct archive_group *group,
                                struct cql_connection *connection) {
    const struct archive_row_write *write =
        (const struct archive_row_write *)archive->works[archive->items[group->first].work].request;
    struct slice statement = cql_connection_statement(connection, CASSANDRA_INSERT);
    struct text *body = cql_connection_begin(connection, CQL_EXECUTE, CASSANDRA_INSERT,
                                             REQUEST_BYTES + CASSANDRA_INSERT_BYTES_MAX);
    if (body != NULL) {
        cql_write_execute(body, statement, archive->terms.consistency, CASSANDRA_INSERT_VALUES);
        cassandra_row_bind(body, &write->order, write->timestamp_us, CASSANDRA_NULLS_DELETE);
    }
    return body;
}

/** Not prepared: only tests delete. */
static struct text *begin_delete(struct cassandra_archive *archive,
                                 const struct archive_group *group,
                                 struct cql_connection *connection) {
    const struct cassandra_row_delete *removal =
        (const struct cassandra_row_delete *)archive->works[archive->items[group->first].work]
            .request;
    char statement[DELETE_BYTES];
    int size = snprintf(statement, sizeof(statement),
                        "DELETE FROM %s.orders_by_slot USING TIMESTAMP %lld WHERE slot_group = %u "
                        "AND minute = %u AND order_id = %llu",
                        archive->terms.keyspace, (long long)removal->timestamp_us,
                        group->partition.slot_group, group->partition.minute,
                        (unsigned long long)removal->order_id);
    assert(size > 0 && (size_t)size < sizeof(statement));
    struct text *body = cql_connection_begin(connection, CQL_QUERY, CASSANDRA_STATEMENT_COUNT,
                                             DELETE_BYTES + REQUEST_BYTES);
    if (body != NULL) {
        cql_write_query(body, (struct slice){statement, (size_t)size}, archive->terms.consistency);
    }
    return body;
}

/* --- Reads. --- */

static int compare_keys(const void *left, const void *right) {
    uint64_t left_id = ((const struct archive_key *)left)->order_id;
    uint64_t right_id = ((const struct archive_key *)right)->order_id;
    return left_id < right_id ? -1 : left_id > right_id ? 1 : 0;
}

/** Brings the group's items into the order of their ids, which is the order of the rows; returns
 *  how many different ids there are, which are then the first ones in `keys`. */
static uint32_t sort_items(struct cassandra_archive *archive, struct archive_group *group) {
    struct archive_key *keys = archive->keys;
    uint32_t count = 0;
    for (uint32_t i = group->first; i != ARCHIVE_NONE; i = archive->items[i].next) {
        keys[count++] = (struct archive_key){archive->items[i].order_id, i};
    }
    qsort(keys, count, sizeof(*keys), compare_keys);
    group->first = keys[0].item;
    group->last = keys[count - 1].item;
    for (uint32_t i = 0; i < count; i++) {
        archive->items[keys[i].item].next = i + 1 < count ? keys[i + 1].item : ARCHIVE_NONE;
    }
    uint32_t different = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (keys[i].order_id != keys[different - 1].order_id) {
            keys[different++] = keys[i];
        }
    }
    return different;
}

static struct text *begin_select(struct cassandra_archive *archive,
                                 const struct archive_group *group,
                                 struct cql_connection *connection, enum cassandra_statement number,
                                 size_t id_count) {
    struct slice statement = cql_connection_statement(connection, number);
    struct text *body = cql_connection_begin(connection, CQL_EXECUTE, number,
                                             REQUEST_BYTES + CASSANDRA_SELECT_BYTES +
                                                 id_count * CASSANDRA_SELECT_ID_BYTES);
    if (body != NULL) {
        cql_write_execute(body, statement, archive->terms.consistency, SELECT_ONE_VALUES);
        cassandra_row_bind_partition(body, group->partition);
    }
    return body;
}

static struct text *begin_get(struct cassandra_archive *archive, struct archive_group *group,
                              struct cql_connection *connection) {
    uint32_t count = sort_items(archive, group);
    struct text *body =
        begin_select(archive, group, connection,
                     count > 1 ? CASSANDRA_SELECT_MANY : CASSANDRA_SELECT_ONE, count);
    if (body == NULL) {
        return NULL;
    }
    if (count > 1) { /* a list: its size, then its elements as values */
        cql_write_u32(body, (uint32_t)(sizeof(uint32_t) + count * CASSANDRA_SELECT_ID_BYTES));
        cql_write_u32(body, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        cql_write_value_u64(body, archive->keys[i].order_id);
    }
    return body;
}

static struct text *begin_look(struct cassandra_archive *archive, const struct archive_group *group,
                               struct cql_connection *connection) {
    struct text *body = begin_select(archive, group, connection, CASSANDRA_SELECT_WRITETIME, 1);
    if (body != NULL) {
        cql_write_value_u64(body, archive->items[group->first].order_id);
    }
    return body;
}

/* --- All of them. --- */

static enum cassandra_statement statement_of(const struct archive_group *group) {
    switch ((enum archive_operation)group->operation) {
    case ARCHIVE_GET:
        return group->count > 1 ? CASSANDRA_SELECT_MANY : CASSANDRA_SELECT_ONE;
    case ARCHIVE_LOOK:
        return CASSANDRA_SELECT_WRITETIME;
    case ARCHIVE_PUT:
    case ARCHIVE_WRITE:
        return CASSANDRA_INSERT;
    case ARCHIVE_DELETE:
        break;
    }
    return CASSANDRA_STATEMENT_COUNT;
}

static struct text *begin(struct cassandra_archive *archive, struct archive_group *group,
                          struct cql_connection *connection) {
    switch ((enum archive_operation)group->operation) {
    case ARCHIVE_PUT:
        return begin_put(archive, group, connection);
    case ARCHIVE_GET:
        return begin_get(archive, group, connection);
    case ARCHIVE_LOOK:
        return begin_look(archive, group, connection);
    case ARCHIVE_WRITE:
        return begin_write(archive, group, connection);
    case ARCHIVE_DELETE:
        return begin_delete(archive, group, connection);
    }
    return NULL;
}

static void count_request(struct cassandra_archive *archive, const struct archive_group *group) {
    metric_add(&archive->metrics.requests_total, 1);
    metric_add(&archive->metrics.retries_total, group->attempts > 1 ? 1 : 0);
    if (group->operation == ARCHIVE_PUT) {
        histogram_add(&archive->metrics.put_orders, group->count);
    } else if (group->operation == ARCHIVE_GET) {
        histogram_add(&archive->metrics.get_orders, group->count);
    }
}

/** Sends the first group of the queue, or puts it behind another; false where it must stay. */
static bool send_first(struct cassandra_archive *archive, struct archive_queue *queue) {
    struct archive_group *group = queue->first;
    if (group == NULL) {
        return false;
    }
    if (archive_hold_back(archive, group)) {
        return true;
    }
    bool is_write = archive_is_write(group->operation);
    struct cassandra_line *line =
        cassandra_hosts_pick(&archive->hosts, statement_of(group), is_write, group->host);
    if (line == NULL || begin(archive, group, &line->connection) == NULL) {
        return false;
    }
    (void)archive_queue_take(queue);
    archive_begin_flight(archive, group);
    int64_t deadline_us = archive->now_us + archive->terms.attempt_timeout_us;
    group->line = line;
    group->host = line->host;
    group->sent_us = archive->now_us;
    group->attempts++;
    line->writes += is_write ? 1 : 0;
    cql_connection_commit(&line->connection, group, archive->now_us,
                          deadline_us < group->deadline_us ? deadline_us : group->deadline_us);
    count_request(archive, group);
    return true;
}

void archive_send(struct cassandra_archive *archive) {
    while (send_first(archive, &archive->reads)) {
    }
    while (send_first(archive, &archive->writes)) {
    }
}
