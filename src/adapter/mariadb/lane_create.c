/* Creates: one transaction a batch, one INSERT into order_refs and one into orders.
 *
 * What makes a resend harmless: an order keeps its id from one attempt to the next, and a row of
 * order_refs and its row of orders are committed together. So when an earlier COMMIT was not
 * answered, a reference that has our id says that it happened; reading it under a lock waits for
 * that transaction to end, whichever way. Only then are the others inserted. An earlier attempt
 * that lost its connection before COMMIT was sent can have left nothing. */
#include "adapter/mariadb/mariadb_lane.h"
#include "adapter/mariadb/order_columns.h"

#include <stdlib.h>

/** The draft of the first of a group, which is the one that is inserted. */
static struct order_record *leader_of(const struct mariadb_lane *lane,
                                      const struct mariadb_group *group) {
    return lane->entries[group->begin].order;
}

/* --- Grouping by reference. --- */

/** By reference, and among equals in the order in which they came: the lower id first. */
static int compare_entries(const void *left, const void *right) {
    const struct order_record *draft = ((const struct mariadb_entry *)left)->order;
    const struct order_record *other = ((const struct mariadb_entry *)right)->order;
    int order = order_reference_compare(draft, other);
    if (order != 0) {
        return order;
    }
    return draft->order_id < other->order_id ? -1 : draft->order_id > other->order_id ? 1 : 0;
}

static size_t form_groups(struct mariadb_lane *lane, size_t count) {
    size_t groups = 0;
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = lane->items[i];
        struct order_record *draft = &mariadb_create_of(item)->orders[item.index];
        lane->entries[i] = (struct mariadb_entry){.item = item, .order = draft};
    }
    qsort(lane->entries, count, sizeof(*lane->entries), compare_entries);
    for (size_t i = 0; i < count; i++) {
        if (groups > 0 &&
            order_reference_compare(lane->entries[i - 1].order, lane->entries[i].order) == 0) {
            lane->groups[groups - 1].end++;
            continue;
        }
        lane->groups[groups] = (struct mariadb_group){
            .begin = (uint32_t)i,
            .end = (uint32_t)i + 1,
            .deadline_us = lane->entries[i].item.ticket->deadline_us,
        };
        lane->open[groups] = &lane->groups[groups];
        groups++;
    }
    return groups;
}

/* --- Statements. --- */

static struct mariadb_group *find_group(const struct mariadb_lane *lane,
                                        struct mariadb_group **groups, size_t count,
                                        const struct order_record *reference) {
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = order_reference_compare(leader_of(lane, groups[middle]), reference);
        if (order == 0) {
            return groups[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/** Takes a row of order_refs: whose is it? */
static void take_reference(struct mariadb_lane *lane, const struct slice *fields,
                           struct mariadb_group **groups, size_t count) {
    struct order_record reference;
    struct mariadb_group *group = order_columns_read_reference(fields, &reference)
                                      ? find_group(lane, groups, count, &reference)
                                      : NULL;
    if (group != NULL) {
        bool ours = leader_of(lane, group)->order_id == reference.order_id;
        group->order_id = reference.order_id;
        group->state = ours ? MARIADB_GROUP_THERE : MARIADB_GROUP_TAKEN;
    }
}

/** Reads which order each reference has, under locks that keep it so to the transaction's end (and
 *  wait for whoever is just writing one). A group whose reference has none stays OPEN. */
static enum mariadb_status read_references(struct mariadb_lane *lane, struct mariadb_group **groups,
                                           size_t count) {
    for (size_t at = 0; at < count; at += MARIADB_REFERENCES_MAX) {
        struct mariadb_rows rows;
        struct slice fields[MARIADB_COLUMNS_MAX];
        size_t part = bytes_min_size(MARIADB_REFERENCES_MAX, count - at);
        sql_builder_reset(&lane->sql);
        sql_append_literal(&lane->sql, "SELECT partner_code, partner_order_id, order_id "
                                       "FROM order_refs FORCE INDEX (PRIMARY) WHERE ");
        for (size_t i = 0; i < part; i++) {
            lane->references[i] = leader_of(lane, groups[at + i]);
        }
        order_columns_append_condition(&lane->sql, lane->references, part);
        sql_append_literal(&lane->sql, " LOCK IN SHARE MODE");
        enum mariadb_status status =
            mariadb_connection_select_built(&lane->connection, &lane->sql, &rows);
        if (status != MARIADB_OK) {
            return status;
        }
        while (mariadb_rows_next(&rows, fields)) {
            take_reference(lane, fields, groups + at, part);
        }
        mariadb_rows_free(&rows);
    }
    return MARIADB_OK;
}

/** Inserts the references of the OPEN groups that nobody has. */
static enum mariadb_status insert_references(struct mariadb_lane *lane,
                                             struct mariadb_group **groups, size_t count,
                                             size_t *sent) {
    struct sql_builder *sql = &lane->sql;
    *sent = 0;
    sql_builder_reset(sql);
    sql_append_literal(
        sql, "INSERT IGNORE INTO order_refs (partner_code, partner_order_id, order_id) VALUES ");
    for (size_t i = 0; i < count; i++) {
        if (groups[i]->state == MARIADB_GROUP_OPEN) {
            sql_append(sql, ",", *sent > 0 ? 1 : 0);
            order_columns_append_reference(sql, leader_of(lane, groups[i]));
            ++*sent;
        }
    }
    if (*sent == 0) {
        return MARIADB_OK;
    }
    metric_add(&lane->shared->metrics->inserts_total, 1);
    return mariadb_connection_run_built(&lane->connection, sql);
}

static int compare_orders(const void *left, const void *right) {
    uint64_t first = ((const struct order_record *)left)->order_id;
    uint64_t second = ((const struct order_record *)right)->order_id;
    return first < second ? -1 : first > second ? 1 : 0;
}

/** Inserts the orders of the WRITTEN groups, in the order of their ids, which is that of the
 *  table. */
static enum mariadb_status insert_orders(struct mariadb_lane *lane, struct mariadb_group **groups,
                                         size_t count, size_t written) {
    struct sql_builder *sql = &lane->sql;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (groups[i]->state == MARIADB_GROUP_WRITTEN) {
            lane->rows[at++] = *leader_of(lane, groups[i]);
        }
    }
    assert(at == written);
    qsort(lane->rows, written, sizeof(lane->rows[0]), compare_orders);
    sql_builder_reset(sql);
    sql_append_literal(sql, "INSERT INTO orders (" ORDER_COLUMNS ") VALUES ");
    for (size_t i = 0; i < written; i++) {
        sql_append(sql, ",", i > 0 ? 1 : 0);
        order_columns_append(sql, &lane->rows[i]);
    }
    metric_add(&lane->shared->metrics->inserts_total, 1);
    enum mariadb_status status = mariadb_connection_run_built(&lane->connection, sql);
    if (status == MARIADB_OK && lane->connection.affected != written) {
        fault_set(&lane->connection.fault, "%llu of %zu orders were inserted",
                  (unsigned long long)lane->connection.affected, written);
        return MARIADB_REFUSED;
    }
    return status;
}

static void give_up(struct mariadb_lane *lane, struct mariadb_group *group,
                    enum order_result result) {
    for (uint32_t i = group->begin; i < group->end; i++) {
        mariadb_lane_settle(lane, lane->entries[i].item, result);
    }
    group->done = true;
}

/** Gives up the groups whose id exists; how many. */
static size_t refuse_collisions(struct mariadb_lane *lane, struct mariadb_group **groups,
                                size_t count, struct mariadb_rows *rows) {
    struct slice fields[MARIADB_COLUMNS_MAX];
    size_t refused = 0;
    while (mariadb_rows_next(rows, fields)) {
        uint64_t order_id;
        bool read = fields[0].data != NULL && sql_parse_u64(fields[0], &order_id);
        for (size_t i = 0; i < count && read; i++) {
            if (groups[i]->done || leader_of(lane, groups[i])->order_id != order_id) {
                continue;
            }
            log_error(lane->shared->log, "mysql",
                      "shard %u (%s): order %llu exists already, under another reference; the new "
                      "one is refused",
                      lane->shard->server->shard, lane->shard->server->name,
                      (unsigned long long)order_id);
            give_up(lane, groups[i],
                    groups[i]->in_doubt ? ORDER_RESULT_UNKNOWN : ORDER_RESULT_UNAVAILABLE);
            refused++;
        }
    }
    return refused;
}

/** After an INSERT into orders met an id that exists, which no instance gives twice: the order that
 *  has it stays as it is, the one that would have got it is refused, the others are tried again. */
static enum mariadb_status find_collisions(struct mariadb_lane *lane, struct mariadb_group **groups,
                                           size_t count) {
    struct mariadb_rows rows;
    struct sql_builder *sql = &lane->sql;
    mariadb_connection_rollback(&lane->connection);
    if (!mariadb_connection_is_open(&lane->connection)) {
        return MARIADB_LOST;
    }
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT order_id FROM orders WHERE order_id IN (0");
    for (size_t i = 0; i < count; i++) {
        if (groups[i]->state == MARIADB_GROUP_WRITTEN) {
            sql_append_char(sql, ',');
            sql_append_u64(sql, leader_of(lane, groups[i])->order_id);
        }
    }
    sql_append_char(sql, ')');
    enum mariadb_status status = mariadb_connection_select_built(&lane->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    size_t refused = refuse_collisions(lane, groups, count, &rows);
    mariadb_rows_free(&rows);
    mariadb_connection_rollback(&lane->connection);
    return refused > 0 ? MARIADB_OK : MARIADB_REFUSED;
}

/* --- One transaction. --- */

/** Learns which groups are ours to write. `written` is how many. */
static enum mariadb_status claim_references(struct mariadb_lane *lane,
                                            struct mariadb_group **groups, size_t count,
                                            size_t *written) {
    size_t sent;
    *written = 0;
    enum mariadb_status status = insert_references(lane, groups, count, &sent);
    if (status != MARIADB_OK || sent == 0) {
        return status;
    }
    size_t inserted = lane->connection.affected;
    if (inserted == sent && lane->connection.warnings == 0) {
        for (size_t i = 0; i < count; i++) {
            if (groups[i]->state == MARIADB_GROUP_OPEN) {
                groups[i]->state = MARIADB_GROUP_WRITTEN;
            }
        }
        *written = sent;
        return MARIADB_OK;
    }
    /* Some were there. Those that have our id now are the ones that were inserted; those of an
     * earlier attempt are THERE since before. IGNORE hides more than duplicates: so every
     * reference must be found, and as many of ours as were inserted. */
    struct mariadb_group **asked = lane->some;
    size_t asked_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (groups[i]->state == MARIADB_GROUP_OPEN) {
            asked[asked_count++] = groups[i];
        }
    }
    if ((status = read_references(lane, asked, asked_count)) != MARIADB_OK) {
        return status;
    }
    for (size_t i = 0; i < asked_count; i++) {
        if (asked[i]->state == MARIADB_GROUP_THERE) {
            asked[i]->state = MARIADB_GROUP_WRITTEN;
            ++*written;
        } else if (asked[i]->state == MARIADB_GROUP_OPEN) {
            fault_set(&lane->connection.fault, "a reference was neither inserted nor found");
            return MARIADB_REFUSED;
        }
    }
    if (*written != inserted) {
        fault_set(&lane->connection.fault, "%zu references were inserted, %zu are ours", inserted,
                  *written);
        return MARIADB_REFUSED;
    }
    return MARIADB_OK;
}

/* --- Results. --- */

/** The first of the group is an order now; the others have its reference. */
static void settle_created(struct mariadb_lane *lane, const struct mariadb_group *group) {
    const struct order_record order = *leader_of(lane, group); /* whose owner has it from here on */
    for (uint32_t i = group->begin; i < group->end; i++) {
        const struct mariadb_entry *entry = &lane->entries[i];
        enum order_result result =
            i == group->begin ? ORDER_RESULT_CREATED : mariadb_meet_existing(entry->order, &order);
        mariadb_lane_settle(lane, entry->item, result);
    }
}

/** Adds a group whose reference has an order to those that the read lanes are to look up. */
static size_t hand_on(struct mariadb_lane *lane, const struct mariadb_group *group, size_t count) {
    for (uint32_t i = group->begin; i < group->end; i++) {
        lane->entries[i].order->order_id = group->order_id;
        lane->items[count] = lane->entries[i].item;
        lane->items[count].kind = MARIADB_RESOLVE;
        count++;
    }
    return count;
}

static void settle_groups(struct mariadb_lane *lane, struct mariadb_group **groups, size_t count) {
    size_t handed_on = 0;
    for (size_t i = 0; i < count; i++) {
        groups[i]->done = true;
        if (groups[i]->state == MARIADB_GROUP_TAKEN) {
            handed_on = hand_on(lane, groups[i], handed_on);
        } else {
            settle_created(lane, groups[i]);
        }
    }
    size_t pushed = mariadb_queue_push(&lane->shard->queues[MARIADB_READ_LANE], lane->items,
                                       handed_on, lane->shared->settings->read_batch);
    for (size_t i = pushed; i < handed_on; i++) {
        mariadb_lane_settle(lane, lane->items[i], ORDER_RESULT_UNAVAILABLE);
    }
}

/* --- The transaction as a whole. --- */

/** Prepares the groups for an attempt. True where one is in doubt. */
static bool begin_attempt(struct mariadb_group **groups, size_t count, int64_t *deadline_us) {
    bool in_doubt = false;
    *deadline_us = 0;
    for (size_t i = 0; i < count; i++) {
        *deadline_us =
            groups[i]->deadline_us > *deadline_us ? groups[i]->deadline_us : *deadline_us;
        in_doubt = in_doubt || groups[i]->in_doubt;
        groups[i]->state = MARIADB_GROUP_OPEN;
    }
    return in_doubt;
}

/** Ends the transaction. */
static enum mariadb_status commit(struct mariadb_lane *lane, struct mariadb_group **groups,
                                  size_t count, size_t written) {
    if (written == 0) {
        mariadb_connection_rollback(&lane->connection); /* nothing but locks */
        return MARIADB_OK;
    }
    if (mariadb_connection_commit(&lane->connection) == MARIADB_OK) {
        metric_add(&lane->shared->metrics->rows_written_total, 2 * written);
        return MARIADB_OK;
    }
    metric_add(&lane->shared->metrics->unknown_commits_total, 1);
    for (size_t i = 0; i < count; i++) {
        groups[i]->in_doubt = groups[i]->in_doubt || groups[i]->state == MARIADB_GROUP_WRITTEN;
    }
    return MARIADB_LOST;
}

static enum mariadb_status attempt(struct mariadb_lane *lane, struct mariadb_group **groups,
                                   size_t count) {
    int64_t deadline_us;
    size_t written;
    bool in_doubt = begin_attempt(groups, count, &deadline_us);
    enum mariadb_status status = mariadb_lane_connect(lane, deadline_us);
    if (status == MARIADB_OK && in_doubt) {
        status = read_references(lane, groups, count);
    }
    if (status == MARIADB_OK) {
        status = claim_references(lane, groups, count, &written);
    }
    if (status != MARIADB_OK) {
        return status;
    }
    if (written > 0) {
        status = insert_orders(lane, groups, count, written);
    }
    if (status == MARIADB_DUPLICATE) {
        return find_collisions(lane, groups, count);
    }
    if (status == MARIADB_OK) {
        status = commit(lane, groups, count, written);
    }
    if (status == MARIADB_OK) {
        histogram_add(&lane->shared->metrics->create_batch_orders, count);
        settle_groups(lane, groups, count);
    }
    return status;
}

static const struct mariadb_pursuit create_pursuit = {.attempt = attempt, .give_up = give_up};

void mariadb_lane_create(struct mariadb_lane *lane, size_t count) {
    size_t groups = form_groups(lane, count);
    mariadb_lane_pursue(lane, &create_pursuit, lane->open, groups);
}
