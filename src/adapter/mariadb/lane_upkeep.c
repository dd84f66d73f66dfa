/* The upkeep: orders that the archive has leave, references leave with the idempotency window, and
 * walks over the table. Nothing here is waited for by a client. */
#include "adapter/mariadb/mariadb_vetting.h"
#include "adapter/mariadb/mariadb_walk.h"
#include "adapter/mariadb/order_rows.h"

/* Tries of an expiry that met a deadlock or a lock. */
#define EXPIRE_TRIES 5

/* --- Releases: one transaction a batch. A resend finds nothing to delete, which is released. ---
 */

static const struct order_record *archived_of(const struct mariadb_entry *entry) {
    return &mariadb_release_of(entry->item)->orders[entry->item.index];
}

static size_t form_groups(struct mariadb_lane *lane, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = lane->items[i];
        lane->entries[i] = (struct mariadb_entry){
            .item = item,
            .order_id = mariadb_release_of(item)->orders[item.index].order_id,
        };
    }
    return mariadb_lane_group_by_order(lane, count);
}

/** Judges what the archive has against the row. One that is no order stays, whatever the archive
 *  says: somebody changed it, and has to look at it. */
static void judge(struct mariadb_lane *lane, struct mariadb_group *group,
                  const struct order_record *row, bool broken) {
    group->state = MARIADB_GROUP_OPEN;
    for (uint32_t i = group->begin; i < group->end; i++) {
        struct mariadb_entry *entry = &lane->entries[i];
        const struct order_record *archived = archived_of(entry);
        if (row == NULL) {
            entry->judged = ORDER_RESULT_RELEASED;
        } else if (broken) {
            entry->judged = ORDER_RESULT_UNAVAILABLE;
        } else if (memcmp(row, archived, sizeof(*row)) != 0 ||
                   !order_status_is_final(row->status)) {
            entry->judged = ORDER_RESULT_MISMATCH;
        } else {
            entry->judged = ORDER_RESULT_RELEASED;
            group->state = MARIADB_GROUP_WRITTEN;
        }
    }
}

static void append_ids(struct mariadb_lane *lane, struct mariadb_group **groups, size_t count,
                       bool only_written) {
    bool first = true;
    sql_append_char(&lane->sql, '(');
    for (size_t i = 0; i < count; i++) {
        if (!only_written || groups[i]->state == MARIADB_GROUP_WRITTEN) {
            sql_append(&lane->sql, ",", first ? 0 : 1);
            sql_append_u64(&lane->sql, groups[i]->order_id);
            first = false;
        }
    }
    sql_append_char(&lane->sql, ')');
}

static enum mariadb_status lock_and_judge(struct mariadb_lane *lane, struct mariadb_group **groups,
                                          size_t count) {
    struct mariadb_rows rows;
    struct order_record row;
    bool broken = false;
    sql_builder_reset(&lane->sql);
    sql_append_literal(&lane->sql, ORDER_ROWS_SELECT);
    append_ids(lane, groups, count, false);
    sql_append_literal(&lane->sql, " ORDER BY orders.order_id FOR UPDATE");
    enum mariadb_status status =
        mariadb_connection_select_built(&lane->connection, &lane->sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    bool has_row = order_rows_next(lane, &rows, &row, &broken);
    for (size_t i = 0; i < count; i++) {
        while (has_row && row.order_id < groups[i]->order_id) {
            has_row = order_rows_next(lane, &rows, &row, &broken);
        }
        bool found = has_row && row.order_id == groups[i]->order_id;
        judge(lane, groups[i], found ? &row : NULL, found && broken);
    }
    mariadb_rows_free(&rows);
    return MARIADB_OK;
}

static enum mariadb_status delete_orders(struct mariadb_lane *lane, struct mariadb_group **groups,
                                         size_t count) {
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        written += groups[i]->state == MARIADB_GROUP_WRITTEN ? 1 : 0;
    }
    if (written == 0) {
        mariadb_connection_rollback(&lane->connection); /* nothing but locks */
        return MARIADB_OK;
    }
    sql_builder_reset(&lane->sql);
    sql_append_literal(&lane->sql, "DELETE FROM orders WHERE order_id IN ");
    append_ids(lane, groups, count, true);
    enum mariadb_status status = mariadb_connection_run_built(&lane->connection, &lane->sql);
    if (status == MARIADB_OK && lane->connection.affected != written) {
        fault_set(&lane->connection.fault, "%llu of %zu locked orders were deleted",
                  (unsigned long long)lane->connection.affected, written);
        status = MARIADB_REFUSED;
    }
    if (status != MARIADB_OK) {
        return status;
    }
    if (mariadb_connection_commit(&lane->connection) == MARIADB_OK) {
        metric_add(&lane->shared->metrics->rows_written_total, written);
        return MARIADB_OK;
    }
    metric_add(&lane->shared->metrics->unknown_commits_total, 1);
    for (size_t i = 0; i < count; i++) {
        groups[i]->in_doubt = groups[i]->in_doubt || groups[i]->state == MARIADB_GROUP_WRITTEN;
    }
    return MARIADB_LOST;
}

static void settle_group(struct mariadb_lane *lane, struct mariadb_group *group) {
    for (uint32_t i = group->begin; i < group->end; i++) {
        mariadb_lane_settle(lane, lane->entries[i].item,
                            (enum order_result)lane->entries[i].judged);
    }
    group->done = true;
}

static enum mariadb_status attempt_release(struct mariadb_lane *lane, struct mariadb_group **groups,
                                           size_t count) {
    int64_t deadline_us = 0;
    for (size_t i = 0; i < count; i++) {
        deadline_us = groups[i]->deadline_us > deadline_us ? groups[i]->deadline_us : deadline_us;
    }
    enum mariadb_status status = mariadb_lane_connect(lane, deadline_us);
    if (status == MARIADB_OK) {
        status = lock_and_judge(lane, groups, count);
    }
    if (status == MARIADB_OK) {
        status = delete_orders(lane, groups, count);
    }
    if (status == MARIADB_OK) {
        for (size_t i = 0; i < count; i++) {
            settle_group(lane, groups[i]);
        }
    }
    return status;
}

static void give_up_release(struct mariadb_lane *lane, struct mariadb_group *group,
                            enum order_result result) {
    for (uint32_t i = group->begin; i < group->end; i++) {
        mariadb_lane_settle(lane, lane->entries[i].item, result);
    }
    group->done = true;
}

static const struct mariadb_pursuit release_pursuit = {.attempt = attempt_release,
                                                       .give_up = give_up_release};

void mariadb_lane_release(struct mariadb_lane *lane, size_t count) {
    size_t groups = form_groups(lane, count);
    mariadb_lane_pursue(lane, &release_pursuit, lane->open, groups);
}

/* --- Scans. --- */

/** Reads the one number of a SELECT; `found` is false where it has no row, or NULL. */
static enum mariadb_status select_number(struct mariadb_lane *lane, uint64_t *number, bool *found) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    *found = false;
    enum mariadb_status status =
        mariadb_connection_select_built(&lane->connection, &lane->sql, &rows);
    if (status == MARIADB_OK) {
        *found = mariadb_rows_next(&rows, fields) && fields[0].data != NULL &&
                 sql_parse_u64(fields[0], number);
        mariadb_rows_free(&rows);
    }
    return status;
}

/** The last of the next `scan_rows` rows behind the cursor. */
static enum mariadb_status find_slice_end(struct mariadb_lane *lane, struct mariadb_walk *walk) {
    bool found;
    uint64_t last_id;
    sql_builder_reset(&lane->sql);
    sql_append_literal(&lane->sql, "SELECT order_id FROM orders WHERE order_id > ");
    sql_append_u64(&lane->sql, walk->begin);
    sql_append_literal(&lane->sql, " AND order_id <= ");
    sql_append_u64(&lane->sql, walk->last_possible);
    sql_append_literal(&lane->sql, " ORDER BY order_id LIMIT 1 OFFSET ");
    sql_append_u64(&lane->sql, lane->shared->settings->scan_rows - 1);
    enum mariadb_status status = select_number(lane, &last_id, &found);
    if (status == MARIADB_OK) {
        mariadb_walk_bound(walk, found, last_id);
    }
    return status;
}

static void append_range(struct mariadb_lane *lane, const struct mariadb_walk *walk, uint64_t after,
                         uint64_t last) {
    struct sql_builder *sql = &lane->sql;
    sql_append_literal(sql, "orders.order_id > ");
    sql_append_u64(sql, after);
    sql_append_literal(sql, " AND orders.order_id <= ");
    sql_append_u64(sql, last);
    /* A row on a shard that is not its own is nobody's order, and must not lead the walk astray. */
    sql_append_literal(sql, " AND ((orders.order_id >> 17) & 1023) % ");
    sql_append_u64(sql, walk->shards);
    sql_append_literal(sql, " = ");
    sql_append_u64(sql, walk->shard);
}

/** Takes the orders of the slice. */
static enum mariadb_status read_slice(struct mariadb_lane *lane, struct mariadb_walk *walk,
                                      struct order_scan_batch *batch) {
    struct mariadb_rows rows;
    struct order_record row;
    bool broken;
    struct sql_builder *sql = &lane->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql,
                       "SELECT " ORDER_COLUMNS_READ " FROM orders FORCE INDEX (PRIMARY) WHERE ");
    append_range(lane, walk, walk->begin, walk->end);
    if (batch->kind == ORDER_SCAN_OVERDUE) {
        sql_append_literal(sql, " AND orders.status + 0 IN (1, 2)");
    } else {
        sql_append_literal(sql, " AND orders.status + 0 > 2 AND orders.updated_at < ");
        sql_append_time(sql, mariadb_walk_clamp(batch->before_us));
    }
    sql_append_literal(sql, " ORDER BY orders.order_id LIMIT ");
    sql_append_u64(sql, batch->limit);
    enum mariadb_status status = mariadb_connection_select_built(&lane->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    size_t read = 0;
    uint64_t last_id = walk->begin;
    while (order_rows_next(lane, &rows, &row, &broken)) {
        read++;
        last_id = row.order_id;
        if (broken) {
            continue;
        }
        if (batch->kind == ORDER_SCAN_FINAL || row.created_at_us < batch->before_us) {
            batch->orders[batch->count++] = row;
        } else if (row.created_at_us < batch->next_us) {
            batch->next_us = row.created_at_us;
        }
    }
    mariadb_rows_free(&rows);
    mariadb_walk_read(walk, read == batch->limit, last_id);
    return MARIADB_OK;
}

/** Takes the references of the slice, which is as long as the batch. What is no reference is passed
 *  over: it is found by no order. */
static enum mariadb_status read_references(struct mariadb_lane *lane, struct mariadb_walk *walk,
                                           struct order_scan_batch *batch) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    struct sql_builder *sql = &lane->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT orders.partner_code, orders.partner_order_id, orders.order_id "
                            "FROM order_refs AS orders FORCE INDEX (order_id) WHERE ");
    append_range(lane, walk, walk->begin, walk->last_possible);
    sql_append_literal(sql, " ORDER BY orders.order_id LIMIT ");
    sql_append_u64(sql, batch->limit);
    enum mariadb_status status = mariadb_connection_select_built(&lane->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    size_t read = 0;
    uint64_t last_id = walk->begin;
    while (mariadb_rows_next(&rows, fields)) {
        struct order_record *reference = &batch->orders[batch->count];
        read++;
        if (fields[2].data != NULL && sql_parse_u64(fields[2], &last_id) &&
            order_columns_read_reference(fields, reference)) {
            batch->count++;
        }
    }
    mariadb_rows_free(&rows);
    mariadb_walk_bound(walk, false, 0);
    mariadb_walk_read(walk, read == batch->limit, last_id);
    return MARIADB_OK;
}

/** At the end of a shard: when the first becomes overdue of those that the walk did not go to. */
static enum mariadb_status find_next_overdue(struct mariadb_lane *lane,
                                             const struct mariadb_walk *walk,
                                             struct order_scan_batch *batch) {
    struct sql_builder *sql = &lane->sql;
    bool found;
    uint64_t order_id;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT order_id FROM orders WHERE order_id > ");
    sql_append_u64(sql, walk->last_possible);
    sql_append_literal(sql, " ORDER BY order_id LIMIT 1");
    enum mariadb_status status = select_number(lane, &order_id, &found);
    if (status == MARIADB_OK && found) {
        int64_t first_us = mariadb_walk_created_after(order_id);
        batch->next_us = first_us < batch->next_us ? first_us : batch->next_us;
    }
    return status;
}

void mariadb_lane_scan(struct mariadb_lane *lane) {
    struct mariadb_item item = lane->items[0];
    struct order_scan_batch *batch = (struct order_scan_batch *)item.ticket->request;
    struct mariadb_walk walk;
    mariadb_walk_begin(&walk, batch, lane->shared->settings->shard_count);
    enum mariadb_status status = mariadb_lane_connect(lane, item.ticket->deadline_us);
    if (batch->kind == ORDER_SCAN_REFERENCES) {
        status = status == MARIADB_OK ? read_references(lane, &walk, batch) : status;
    } else {
        status = status == MARIADB_OK ? find_slice_end(lane, &walk) : status;
        status = status == MARIADB_OK ? read_slice(lane, &walk, batch) : status;
    }
    if (status == MARIADB_OK && batch->kind == ORDER_SCAN_OVERDUE && walk.at_end) {
        status = find_next_overdue(lane, &walk, batch);
    }
    mariadb_connection_rollback(&lane->connection);
    if (status == MARIADB_OK) {
        batch->cursor = mariadb_walk_cursor(&walk);
    } else {
        batch->count = 0;
        mariadb_lane_note_failure(lane, status);
    }
    mariadb_lane_settle(lane, item,
                        status == MARIADB_OK ? ORDER_RESULT_FOUND : ORDER_RESULT_UNAVAILABLE);
}

/* --- Expiry. --- */

/** Chooses references whose order is final or gone. What is so stays so, so nothing is locked. Up
 *  to `limit` ids are appended; `count` is how many. */
static enum mariadb_status choose_references(struct mariadb_lane *lane, int64_t before_us,
                                             size_t limit, struct sql_builder *ids, size_t *count) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    struct sql_builder *sql = &lane->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT order_refs.order_id FROM order_refs FORCE INDEX (order_id) "
                            "LEFT JOIN orders ON orders.order_id = order_refs.order_id "
                            "WHERE order_refs.order_id < ");
    sql_append_u64(sql, mariadb_walk_first_id_at(before_us));
    sql_append_literal(sql, " AND (orders.order_id IS NULL OR orders.status + 0 > 2) "
                            "ORDER BY order_refs.order_id LIMIT ");
    sql_append_u64(sql, limit);
    enum mariadb_status status = mariadb_connection_select_built(&lane->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    for (*count = 0; mariadb_rows_next(&rows, fields); ++*count) {
        uint64_t order_id = 0;
        if (fields[0].data != NULL && sql_parse_u64(fields[0], &order_id)) {
            sql_append(ids, ",", *count > 0 ? 1 : 0);
            sql_append_u64(ids, order_id);
        }
    }
    mariadb_rows_free(&rows);
    mariadb_connection_rollback(&lane->connection); /* the view that was read from */
    return mariadb_connection_is_open(&lane->connection) ? MARIADB_OK : MARIADB_LOST;
}

/** One part of at most change_batch references. */
static enum mariadb_status expire_part(struct mariadb_lane *lane, int64_t before_us, size_t limit,
                                       size_t *chosen, uint64_t *forgotten) {
    struct sql_builder ids;
    sql_builder_init(&ids, mariadb_statement_bytes_max(lane->shared->settings));
    enum mariadb_status status = choose_references(lane, before_us, limit, &ids, chosen);
    if (status == MARIADB_OK && *chosen > 0) {
        sql_builder_reset(&lane->sql);
        sql_append_literal(&lane->sql, "DELETE FROM order_refs WHERE order_id IN (");
        sql_append(&lane->sql, ids.data, ids.size);
        sql_append_char(&lane->sql, ')');
        status = mariadb_connection_run_built(&lane->connection, &lane->sql);
        *forgotten = lane->connection.affected;
    }
    if (status == MARIADB_OK && *chosen > 0) {
        status = mariadb_connection_commit(&lane->connection);
    }
    if (status != MARIADB_OK) {
        mariadb_connection_rollback(&lane->connection);
    }
    sql_builder_deinit(&ids);
    return status;
}

void mariadb_lane_expire(struct mariadb_lane *lane) {
    struct mariadb_item item = lane->items[0];
    struct order_expire_batch *batch = (struct order_expire_batch *)item.ticket->request;
    const size_t limit = batch->limit;
    size_t done = 0;
    size_t chosen = 0;
    unsigned tries = 0;
    enum mariadb_status status = mariadb_lane_connect(lane, item.ticket->deadline_us);
    while (status == MARIADB_OK && done < limit) {
        uint64_t forgotten = 0;
        size_t part = bytes_min_size(limit - done, lane->shared->settings->change_batch);
        status = expire_part(lane, batch->before_us, part, &chosen, &forgotten);
        if ((status == MARIADB_DEADLOCK || status == MARIADB_LOCKED) && ++tries < EXPIRE_TRIES) {
            metric_add(&lane->shared->metrics->retries_total, 1);
            status = MARIADB_OK;
            continue;
        }
        if (status == MARIADB_OK) {
            atomic_fetch_add_explicit(&item.ticket->expired, forgotten, memory_order_relaxed);
            metric_add(&lane->shared->metrics->expired_total, forgotten);
            metric_add(&lane->shared->metrics->rows_written_total, forgotten);
            done += chosen;
            if (chosen < part || clock_monotonic_us() >= item.ticket->deadline_us) {
                break;
            }
        }
    }
    if (status != MARIADB_OK) {
        mariadb_lane_note_failure(lane, status);
    } else if (done >= limit || clock_monotonic_us() >= item.ticket->deadline_us) {
        atomic_store_explicit(&item.ticket->expire_more, 1, memory_order_relaxed);
    }
    mariadb_lane_settle(lane, item,
                        status == MARIADB_OK ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE);
}
