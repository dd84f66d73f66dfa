/* Look-ups: by id, by reference, and of the order that a create's reference has. Each is one query,
 * which is tried a second time only where the connection had ended since it was last used: whoever
 * asks can ask again. */
#include "adapter/mariadb/order_rows.h"

#include <stdlib.h>

static uint64_t id_of(const struct mariadb_entry *entry) {
    return entry->item.kind == MARIADB_GET
               ? mariadb_get_of(entry->item)->order_ids[entry->item.index]
               : entry->order->order_id;
}

static int compare_ids(const void *left, const void *right) {
    uint64_t first = id_of(left);
    uint64_t second = id_of(right);
    return first < second ? -1 : first > second ? 1 : 0;
}

static int compare_references(const void *left, const void *right) {
    return order_reference_compare(((const struct mariadb_entry *)left)->order,
                                   ((const struct mariadb_entry *)right)->order);
}

/** Runs the SELECT that was built. */
static bool select_built(struct mariadb_lane *lane, int64_t deadline_us,
                         struct mariadb_rows *rows) {
    for (unsigned tries = 0;; tries++) {
        bool was_open = mariadb_connection_is_open(&lane->connection);
        enum mariadb_status status = mariadb_lane_connect(lane, deadline_us);
        if (status == MARIADB_OK) {
            status = mariadb_connection_select_built(&lane->connection, &lane->sql, rows);
        }
        if (status == MARIADB_OK) {
            return true;
        }
        mariadb_lane_note_failure(lane, status);
        if (status != MARIADB_LOST || !was_open || tries > 0) {
            return false;
        }
    }
}

static void settle_all(struct mariadb_lane *lane, size_t count, enum order_result result) {
    for (size_t i = 0; i < count; i++) {
        mariadb_lane_settle(lane, lane->entries[i].item, result);
    }
}

static int64_t latest_deadline(const struct mariadb_lane *lane, size_t count) {
    int64_t deadline_us = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t one_us = lane->items[i].ticket->deadline_us;
        deadline_us = one_us > deadline_us ? one_us : deadline_us;
    }
    return deadline_us;
}

/* --- By id. --- */

/** The create's reference has the order that was read. */
static enum order_result meet_row(struct mariadb_lane *lane, struct mariadb_entry *entry,
                                  const struct order_record *row) {
    if (!order_record_same_reference(entry->order, row)) {
        mariadb_lane_note_broken(lane, row->order_id, ORDER_RECORD_BAD_PARTNER_ORDER_ID);
        return ORDER_RESULT_UNAVAILABLE;
    }
    return mariadb_meet_existing(entry->order, row);
}

static void take_row(struct mariadb_lane *lane, struct mariadb_entry *entry,
                     const struct order_record *row, bool broken) {
    if (entry->item.kind == MARIADB_GET) {
        *entry->order = *row;
        entry->judged = broken ? ORDER_RESULT_BROKEN : ORDER_RESULT_FOUND;
    } else {
        entry->judged =
            broken ? (uint8_t)ORDER_RESULT_UNAVAILABLE : (uint8_t)meet_row(lane, entry, row);
    }
}

static void append_ids(struct mariadb_lane *lane, size_t count) {
    uint64_t before = 0;
    sql_builder_reset(&lane->sql);
    sql_append_literal(&lane->sql, ORDER_ROWS_SELECT "(");
    for (size_t i = 0; i < count; i++) {
        uint64_t order_id = id_of(&lane->entries[i]);
        if (i == 0 || order_id != before) {
            sql_append(&lane->sql, ",", i > 0 ? 1 : 0);
            sql_append_u64(&lane->sql, order_id);
        }
        before = order_id;
    }
    sql_append_literal(&lane->sql, ") ORDER BY orders.order_id");
}

/** Settles; a create whose order is not here is the archive's to tell. */
static void settle_read(struct mariadb_lane *lane, size_t count) {
    size_t handed_on = 0;
    for (size_t i = 0; i < count; i++) {
        struct mariadb_entry *entry = &lane->entries[i];
        bool archived = entry->item.kind == MARIADB_RESOLVE && entry->judged == ORDER_RESULT_ABSENT;
        if (archived) {
            lane->items[handed_on++] = entry->item;
        } else {
            mariadb_lane_settle(lane, entry->item, (enum order_result)entry->judged);
        }
    }
    size_t pushed = 0;
    if (lane->shared->archive != NULL) {
        pushed = mariadb_queue_push(&lane->shared->replays, lane->items, handed_on, handed_on + 1);
    }
    for (size_t i = pushed; i < handed_on; i++) {
        mariadb_lane_settle(lane, lane->items[i], ORDER_RESULT_UNAVAILABLE);
    }
}

void mariadb_lane_read(struct mariadb_lane *lane, size_t count) {
    struct mariadb_rows rows;
    struct order_record row;
    bool broken;
    int64_t deadline_us = latest_deadline(lane, count);
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = lane->items[i];
        lane->entries[i] = (struct mariadb_entry){
            .item = item,
            .order = item.kind == MARIADB_GET ? &mariadb_get_of(item)->orders[item.index]
                                              : &mariadb_create_of(item)->orders[item.index],
            .judged = ORDER_RESULT_ABSENT,
        };
    }
    qsort(lane->entries, count, sizeof(*lane->entries), compare_ids);
    append_ids(lane, count);
    histogram_add(&lane->shared->metrics->read_batch_orders, count);
    if (!select_built(lane, deadline_us, &rows)) {
        settle_all(lane, count, ORDER_RESULT_UNAVAILABLE);
        return;
    }
    size_t at = 0;
    while (order_rows_next(lane, &rows, &row, &broken)) {
        while (at < count && id_of(&lane->entries[at]) < row.order_id) {
            at++;
        }
        while (at < count && id_of(&lane->entries[at]) == row.order_id) {
            take_row(lane, &lane->entries[at++], &row, broken);
        }
    }
    mariadb_rows_free(&rows);
    settle_read(lane, count);
}

/* --- By reference. --- */

/* After partner_code, partner_order_id and order_id of the reference. */
#define FIRST_ORDER_COLUMN 3

/** Takes a reference and, where it is here, its order. */
static void take_found(struct mariadb_lane *lane, const struct slice *fields, size_t count) {
    struct order_record reference;
    struct order_record order;
    if (!order_columns_read_reference(fields, &reference)) {
        return;
    }
    bool here = fields[FIRST_ORDER_COLUMN].data != NULL;
    uint8_t result = ORDER_RESULT_FOUND_ID;
    if (here) {
        enum order_record_fault fault = order_columns_read(fields + FIRST_ORDER_COLUMN, &order);
        if (fault == ORDER_RECORD_VALID && !order_record_same_reference(&reference, &order)) {
            fault = ORDER_RECORD_BAD_PARTNER_ORDER_ID;
        }
        if (fault != ORDER_RECORD_VALID) {
            mariadb_lane_note_broken(lane, reference.order_id, fault);
        }
        result = fault == ORDER_RECORD_VALID ? ORDER_RESULT_FOUND : ORDER_RESULT_UNAVAILABLE;
    }
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order_reference_compare(lane->entries[middle].order, &reference) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < count && order_reference_compare(lane->entries[low].order, &reference) == 0;
         low++) {
        lane->entries[low].judged = result;
        if (result == ORDER_RESULT_FOUND) {
            *lane->entries[low].order = order;
        } else {
            lane->entries[low].order->order_id = reference.order_id;
        }
    }
}

/** One query for the entries [begin, begin + part). */
static bool find_part(struct mariadb_lane *lane, size_t begin, size_t part, size_t count,
                      int64_t deadline_us) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    for (size_t i = 0; i < part; i++) {
        lane->references[i] = lane->entries[begin + i].order;
    }
    sql_builder_reset(&lane->sql);
    sql_append_literal(&lane->sql,
                       "SELECT order_refs.partner_code, order_refs.partner_order_id, "
                       "order_refs.order_id, " ORDER_COLUMNS_READ
                       " FROM order_refs FORCE INDEX (PRIMARY) "
                       "LEFT JOIN orders ON orders.order_id = order_refs.order_id WHERE ");
    order_columns_append_condition(&lane->sql, lane->references, part);
    if (!select_built(lane, deadline_us, &rows)) {
        return false;
    }
    while (mariadb_rows_next(&rows, fields)) {
        take_found(lane, fields, count);
    }
    mariadb_rows_free(&rows);
    return true;
}

void mariadb_lane_find(struct mariadb_lane *lane, size_t count) {
    int64_t deadline_us = latest_deadline(lane, count);
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = lane->items[i];
        lane->entries[i] = (struct mariadb_entry){
            .item = item,
            .order = &mariadb_find_of(item)->orders[item.index],
            .judged = ORDER_RESULT_ABSENT,
        };
    }
    qsort(lane->entries, count, sizeof(*lane->entries), compare_references);
    histogram_add(&lane->shared->metrics->read_batch_orders, count);
    for (size_t at = 0; at < count; at += MARIADB_REFERENCES_MAX) {
        size_t part = bytes_min_size(MARIADB_REFERENCES_MAX, count - at);
        if (!find_part(lane, at, part, count, deadline_us)) {
            settle_all(lane, count, ORDER_RESULT_UNAVAILABLE);
            return;
        }
    }
    for (size_t i = 0; i < count; i++) {
        mariadb_lane_settle(lane, lane->entries[i].item,
                            (enum order_result)lane->entries[i].judged);
    }
}
