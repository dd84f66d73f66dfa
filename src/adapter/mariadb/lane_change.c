/* Changes: one transaction a batch. The rows are locked in the order of their ids, each change is
 * judged by its row, and one UPDATE writes what came of it.
 *
 * Two changes of one order: both are judged in the order in which they came. As every version is
 * to be seen in the server's log, a transaction writes one version of an order; a second change
 * that would make another one waits for the next transaction of the same lane.
 *
 * After a COMMIT that was not answered the row says what became of it, once its lock can be had:
 * - it is, byte by byte, what we wrote: it happened;
 * - it has a lower version, or the same version with something else: that version was made once,
 *   and not by us; so ours did not happen, and is judged again;
 * - it has a higher version, or is gone: nobody can tell. */
#include "adapter/mariadb/order_rows.h"

static const struct order_change *change_of(const struct mariadb_entry *entry) {
    return &mariadb_change_of(entry->item)->changes[entry->item.index];
}

static size_t form_groups(struct mariadb_lane *lane, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = lane->items[i];
        lane->entries[i] = (struct mariadb_entry){
            .item = item,
            .order_id = mariadb_change_of(item)->changes[item.index].order_id,
            .order = &mariadb_change_of(item)->orders[item.index],
            .place = (uint32_t)i,
        };
    }
    return mariadb_lane_group_by_order(lane, count);
}

/* --- Judging. --- */

/** Judges what is left of a group by its row: up to the second that would make a version. */
static void judge(struct mariadb_lane *lane, struct mariadb_group *group,
                  const struct order_record *row, int64_t now_us) {
    struct order_record current = *row;
    group->state = MARIADB_GROUP_OPEN;
    for (group->stop = group->at; group->stop < group->end; group->stop++) {
        struct mariadb_entry *entry = &lane->entries[group->stop];
        struct order_record next;
        enum order_verdict verdict = order_change_judge(&current, change_of(entry), now_us, &next);
        entry->judged = (uint8_t)order_result_from_verdict(verdict);
        if (verdict == ORDER_VERDICT_CHANGED) {
            if (group->state == MARIADB_GROUP_WRITTEN) {
                return;
            }
            enum order_record_fault fault = order_record_check_fields(&next);
            if (fault == ORDER_RECORD_VALID) {
                group->state = MARIADB_GROUP_WRITTEN;
                group->written = group->stop;
                current = next;
            } else {
                mariadb_lane_note_broken(lane, current.order_id, fault);
                entry->judged = ORDER_RESULT_BROKEN;
            }
        }
        *entry->order = current;
    }
}

/** Judges what is left of a group whose row cannot be changed. */
static void judge_all(struct mariadb_lane *lane, struct mariadb_group *group,
                      enum order_result result) {
    group->state = MARIADB_GROUP_OPEN;
    for (group->stop = group->at; group->stop < group->end; group->stop++) {
        lane->entries[group->stop].judged = (uint8_t)result;
    }
}

/** Settles what the transaction has judged; the rest of the group waits for the next one. */
static void settle_judged(struct mariadb_lane *lane, struct mariadb_group *group) {
    for (; group->at < group->stop; group->at++) {
        const struct mariadb_entry *entry = &lane->entries[group->at];
        mariadb_lane_settle(lane, entry->item, (enum order_result)entry->judged);
    }
    group->done = group->at == group->end;
}

/** Says what became of the change whose COMMIT was not answered. @param row NULL: there is none, or
 *  it is no order. */
static void resolve_doubt(struct mariadb_lane *lane, struct mariadb_group *group,
                          const struct order_record *row) {
    struct mariadb_entry *written = &lane->entries[group->written];
    group->in_doubt = false;
    if (row != NULL && memcmp(row, written->order, sizeof(*row)) == 0) {
        settle_judged(lane, group);
    } else if (row == NULL || row->version > written->order->version) {
        written->judged = ORDER_RESULT_UNKNOWN;
        group->stop = group->written + 1;
        settle_judged(lane, group);
    }
}

static void meet_row(struct mariadb_lane *lane, struct mariadb_group *group,
                     const struct order_record *row, bool broken, int64_t now_us) {
    if (group->in_doubt) {
        resolve_doubt(lane, group, broken ? NULL : row);
    }
    if (group->done) {
        return;
    }
    if (row == NULL) {
        judge_all(lane, group, ORDER_RESULT_ABSENT);
    } else if (broken) {
        judge_all(lane, group, ORDER_RESULT_BROKEN);
    } else {
        judge(lane, group, row, now_us);
    }
}

/* --- One transaction. --- */

/** Locks the rows of the groups, and judges each by its row. */
static enum mariadb_status lock_and_judge(struct mariadb_lane *lane, struct mariadb_group **groups,
                                          size_t count) {
    struct sql_builder *sql = &lane->sql;
    struct mariadb_rows rows;
    struct order_record row;
    bool broken = false;
    sql_builder_reset(sql);
    sql_append_literal(sql, ORDER_ROWS_SELECT "(");
    for (size_t i = 0; i < count; i++) {
        sql_append(sql, ",", i > 0 ? 1 : 0);
        sql_append_u64(sql, groups[i]->order_id);
    }
    sql_append_literal(sql, ") ORDER BY orders.order_id FOR UPDATE");
    enum mariadb_status status = mariadb_connection_select_built(&lane->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    int64_t now_us = clock_now_us(lane->shared->clock); /* after the locks: nobody changes it now */
    bool has_row = order_rows_next(lane, &rows, &row, &broken);
    for (size_t i = 0; i < count; i++) {
        while (has_row && row.order_id < groups[i]->order_id) {
            has_row = order_rows_next(lane, &rows, &row, &broken);
        }
        bool found = has_row && row.order_id == groups[i]->order_id;
        meet_row(lane, groups[i], found ? &row : NULL, found && broken, now_us);
    }
    mariadb_rows_free(&rows);
    return MARIADB_OK;
}

/** Appends what changes in a row as one SELECT of the table that the UPDATE joins. */
static void append_next(struct sql_builder *sql, const struct order_record *next, bool first) {
    sql_append_literal(sql, "SELECT ");
    sql_append_u64(sql, next->order_id);
    sql_append(sql, " AS order_id", first ? 12 : 0);
    sql_append_char(sql, ',');
    sql_append_u64(sql, next->version);
    sql_append(sql, " AS version", first ? 11 : 0);
    sql_append_char(sql, ',');
    sql_append_u64(sql, next->status);
    sql_append(sql, " AS status", first ? 10 : 0);
    sql_append_char(sql, ',');
    sql_append_time(sql, next->updated_at_us);
    sql_append(sql, " AS updated_at", first ? 14 : 0);
    sql_append_char(sql, ',');
    sql_append_time_or_null(sql, next->requested_at_us);
    sql_append(sql, " AS requested_at", first ? 16 : 0);
    sql_append_char(sql, ',');
    sql_append_time_or_null(sql, next->responded_at_us);
    sql_append(sql, " AS responded_at", first ? 16 : 0);
    sql_append_char(sql, ',');
    sql_append_text_or_null(sql, ORDER_TEXT(next->bank_code));
    sql_append(sql, " AS bank_code", first ? 13 : 0);
}

/** Writes the new versions. `written` is how many. */
static enum mariadb_status update(struct mariadb_lane *lane, struct mariadb_group **groups,
                                  size_t count, size_t *written) {
    struct sql_builder *sql = &lane->sql;
    *written = 0;
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE (");
    for (size_t i = 0; i < count; i++) {
        if (groups[i]->done || groups[i]->state != MARIADB_GROUP_WRITTEN) {
            continue;
        }
        bool first = (*written)++ == 0;
        sql_append(sql, " UNION ALL ", first ? 0 : 11);
        append_next(sql, lane->entries[groups[i]->written].order, first);
    }
    if (*written == 0) {
        return MARIADB_OK;
    }
    sql_append_literal(
        sql, ") AS given STRAIGHT_JOIN orders ON orders.order_id = given.order_id "
             "SET orders.version = given.version, orders.status = given.status, "
             "orders.updated_at = given.updated_at, orders.requested_at = given.requested_at, "
             "orders.responded_at = given.responded_at, orders.bank_code = given.bank_code "
             "WHERE orders.version = given.version - 1");
    enum mariadb_status status = mariadb_connection_run_built(&lane->connection, sql);
    if (status == MARIADB_OK && lane->connection.affected != *written) {
        fault_set(&lane->connection.fault, "%llu of %zu locked orders were changed",
                  (unsigned long long)lane->connection.affected, *written);
        return MARIADB_REFUSED;
    }
    return status;
}

static enum mariadb_status commit(struct mariadb_lane *lane, struct mariadb_group **groups,
                                  size_t count, size_t written) {
    if (written == 0) {
        mariadb_connection_rollback(&lane->connection); /* nothing but locks */
        return MARIADB_OK;
    }
    if (mariadb_connection_commit(&lane->connection) == MARIADB_OK) {
        metric_add(&lane->shared->metrics->rows_written_total, written);
        return MARIADB_OK;
    }
    metric_add(&lane->shared->metrics->unknown_commits_total, 1);
    for (size_t i = 0; i < count; i++) {
        groups[i]->in_doubt = !groups[i]->done && groups[i]->state == MARIADB_GROUP_WRITTEN;
    }
    return MARIADB_LOST;
}

static enum mariadb_status attempt(struct mariadb_lane *lane, struct mariadb_group **groups,
                                   size_t count) {
    int64_t deadline_us = 0;
    size_t written;
    for (size_t i = 0; i < count; i++) {
        deadline_us = groups[i]->deadline_us > deadline_us ? groups[i]->deadline_us : deadline_us;
    }
    enum mariadb_status status = mariadb_lane_connect(lane, deadline_us);
    if (status == MARIADB_OK) {
        status = lock_and_judge(lane, groups, count);
    }
    if (status == MARIADB_OK) {
        status = update(lane, groups, count, &written);
    }
    if (status == MARIADB_OK) {
        status = commit(lane, groups, count, written);
    }
    if (status != MARIADB_OK) {
        return status;
    }
    histogram_add(&lane->shared->metrics->change_batch_orders, count);
    for (size_t i = 0; i < count; i++) {
        if (!groups[i]->done) {
            settle_judged(lane, groups[i]);
        }
    }
    return MARIADB_OK;
}

static void give_up(struct mariadb_lane *lane, struct mariadb_group *group,
                    enum order_result result) {
    for (; group->at < group->end; group->at++) {
        mariadb_lane_settle(lane, lane->entries[group->at].item, result);
    }
    group->done = true;
}

static const struct mariadb_pursuit change_pursuit = {.attempt = attempt, .give_up = give_up};

void mariadb_lane_change(struct mariadb_lane *lane, size_t count) {
    size_t groups = form_groups(lane, count);
    mariadb_lane_pursue(lane, &change_pursuit, lane->open, groups);
}
