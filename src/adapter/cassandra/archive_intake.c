#include "adapter/cassandra/archive_internal.h"
#include "base/hash.h"

/* --- Groups. --- */

static bool is_of(const struct archive_group *group, uint8_t operation,
                  struct cassandra_partition partition) {
    return group->operation == operation && group->partition.minute == partition.minute &&
           group->partition.slot_group == partition.slot_group;
}

static struct archive_group **bucket_of(struct archive_group **buckets, uint8_t operation,
                                        struct cassandra_partition partition) {
    uint64_t key = (uint64_t)partition.minute << 16 | partition.slot_group << 8 | operation;
    return &buckets[hash_mix(key) % ARCHIVE_BUCKETS];
}

static void bucket_add(struct archive_group **buckets, struct archive_group *group) {
    struct archive_group **bucket = bucket_of(buckets, group->operation, group->partition);
    group->next_same = *bucket;
    *bucket = group;
}

static void bucket_remove(struct archive_group **buckets, const struct archive_group *group) {
    struct archive_group **at = bucket_of(buckets, group->operation, group->partition);
    while (*at != group) {
        at = &(*at)->next_same;
    }
    *at = group->next_same;
}

void archive_close_group(struct cassandra_archive *archive, struct archive_group *group) {
    if (group->open) {
        bucket_remove(archive->open_groups, group);
        group->open = false;
    }
}

static uint32_t room_of_group(const struct cassandra_archive *archive, uint8_t operation) {
    return operation == ARCHIVE_PUT   ? archive->terms.batch_rows_max
           : operation == ARCHIVE_GET ? archive->terms.select_ids_max
                                      : 1;
}

static void queue_append(struct archive_queue *queue, struct archive_group *group) {
    group->next = NULL;
    if (queue->first == NULL) {
        queue->first = group;
    } else {
        queue->last->next = group;
    }
    queue->last = group;
}

struct archive_group *archive_queue_take(struct archive_queue *queue) {
    struct archive_group *group = queue->first;
    if (group != NULL) {
        queue->first = group->next;
    }
    return group;
}

void archive_queue_again(struct cassandra_archive *archive, struct archive_group *group) {
    struct archive_queue *queue = archive_queue_of(archive, group);
    group->next = queue->first;
    queue->first = group;
    if (group->next == NULL) {
        queue->last = group;
    }
}

/* --- Writes of one partition, one after the other. --- */

bool archive_hold_back(struct cassandra_archive *archive, struct archive_group *group) {
    if (group->operation != ARCHIVE_PUT) {
        return false;
    }
    struct archive_group *front = NULL;
    uint32_t in_flight = 0;
    struct archive_group *other =
        *bucket_of(archive->writing_groups, group->operation, group->partition);
    for (; other != NULL; other = other->next_same) {
        if (is_of(other, group->operation, group->partition)) {
            front = other;
            in_flight++;
        }
    }
    if (in_flight < archive->terms.partition_writes_max) {
        return false;
    }
    queue_append(&front->behind, archive_queue_take(&archive->writes));
    if (group->behind.first != NULL) { /* it was in flight before: they go with it */
        group->next = group->behind.first;
        front->behind.last = group->behind.last;
        group->behind = (struct archive_queue){NULL, NULL};
    }
    return true;
}

void archive_begin_flight(struct cassandra_archive *archive, struct archive_group *group) {
    archive_close_group(archive, group);
    if (group->operation == ARCHIVE_PUT) {
        bucket_add(archive->writing_groups, group);
    }
}

/** The first one behind goes to the front of the queue, and the others behind it. */
static void release_behind(struct cassandra_archive *archive, struct archive_group *group) {
    struct archive_group *next = archive_queue_take(&group->behind);
    if (next != NULL) {
        assert(next->behind.first == NULL);
        next->behind = group->behind;
        group->behind = (struct archive_queue){NULL, NULL};
        archive_queue_again(archive, next);
    }
}

void archive_end_flight(struct cassandra_archive *archive, struct archive_group *group) {
    if (group->operation == ARCHIVE_PUT) {
        bucket_remove(archive->writing_groups, group);
        release_behind(archive, group);
    }
}

/* --- Orders into groups. --- */

static struct archive_group *new_group(struct cassandra_archive *archive, uint8_t operation,
                                       struct cassandra_partition partition) {
    struct archive_group *group = archive->free_group;
    assert(group != NULL); /* there are as many as orders that may be outstanding */
    archive->free_group = group->next;
    *group = (struct archive_group){
        .operation = operation,
        .partition = partition,
        .first = ARCHIVE_NONE,
        .deadline_us = archive->now_us + archive->terms.request_timeout_us,
    };
    queue_append(archive_queue_of(archive, group), group);
    return group;
}

/** The waiting group that an order joins. One that has waited for half of its time is left alone:
 *  who joins it would have only the other half. */
static struct archive_group *group_for(struct cassandra_archive *archive, uint8_t operation,
                                       struct cassandra_partition partition) {
    struct archive_group *group = *bucket_of(archive->open_groups, operation, partition);
    for (; group != NULL; group = group->next_same) {
        if (is_of(group, operation, partition) &&
            group->deadline_us - archive->now_us > archive->terms.request_timeout_us / 2) {
            return group;
        }
    }
    group = new_group(archive, operation, partition);
    if (room_of_group(archive, operation) > 1) {
        group->open = true;
        bucket_add(archive->open_groups, group);
    }
    return group;
}

static void add_item(struct cassandra_archive *archive, uint8_t operation, uint32_t work,
                     uint32_t index, uint64_t order_id) {
    struct archive_group *group = group_for(archive, operation, cassandra_partition_of(order_id));
    uint32_t number = archive->free_item;
    assert(number != ARCHIVE_NONE);
    struct archive_item *item = &archive->items[number];
    archive->free_item = item->next;
    *item = (struct archive_item){
        .order_id = order_id, .work = work, .index = index, .next = ARCHIVE_NONE};
    if (group->first == ARCHIVE_NONE) {
        group->first = number;
    } else {
        archive->items[group->last].next = number;
    }
    group->last = number;
    group->count++;
    if (group->count == room_of_group(archive, operation)) {
        archive_close_group(archive, group);
    }
}

/* --- Requests. --- */

/** Hands the request back to who submitted it. */
static void complete(struct cassandra_archive *archive, struct port_request *request,
                     uint32_t count) {
    uint32_t weight = count > 0 ? count : 1;
    (void)atomic_fetch_sub_explicit(&archive->outstanding, weight, memory_order_relaxed);
    port_complete(request);
}

static void take_request(struct cassandra_archive *archive, struct port_request *request) {
    uint8_t operation = (uint8_t)request->operation;
    uint32_t number = archive->free_work;
    struct archive_work *work = &archive->works[number];
    assert(number != ARCHIVE_NONE);
    archive->free_work = work->open;
    *work = (struct archive_work){.request = request, .count = 1};
    if (operation == ARCHIVE_PUT) {
        const struct order_archive_put *put = (const struct order_archive_put *)request;
        work->count = (uint32_t)put->count;
        work->open = work->count;
        for (uint32_t i = 0; i < work->count; i++) {
            add_item(archive, operation, number, i, put->orders[i].order_id);
        }
        metric_add(&archive->metrics.puts_total, work->count);
    } else if (operation == ARCHIVE_GET) {
        const struct order_get_batch *get = (const struct order_get_batch *)request;
        work->count = (uint32_t)get->count;
        work->open = work->count;
        for (uint32_t i = 0; i < work->count; i++) {
            add_item(archive, operation, number, i, get->order_ids[i]);
        }
        metric_add(&archive->metrics.gets_total, work->count);
    } else {
        uint64_t order_id = operation == ARCHIVE_LOOK
                                ? ((const struct archive_row_look *)request)->order_id
                            : operation == ARCHIVE_WRITE
                                ? ((const struct archive_row_write *)request)->order.order_id
                                : ((const struct cassandra_row_delete *)request)->order_id;
        work->open = 1;
        add_item(archive, operation, number, 0, order_id);
    }
    if (work->count == 0) {
        work->open = archive->free_work;
        archive->free_work = number;
        complete(archive, request, 0);
    }
}

void archive_take_in(struct cassandra_archive *archive) {
    struct port_request *request;
    while ((request = mailbox_take(&archive->inbox)) != NULL) {
        take_request(archive, request);
    }
}

/* --- Results. --- */

static void write_result(struct port_request *request, uint32_t index, enum order_result result) {
    switch ((enum archive_operation)request->operation) {
    case ARCHIVE_PUT:
        ((struct order_archive_put *)request)->results[index] = (uint8_t)result;
        break;
    case ARCHIVE_GET:
        ((struct order_get_batch *)request)->results[index] = (uint8_t)result;
        break;
    case ARCHIVE_LOOK:
        ((struct archive_row_look *)request)->result = (uint8_t)result;
        break;
    case ARCHIVE_WRITE:
        ((struct archive_row_write *)request)->result = (uint8_t)result;
        break;
    case ARCHIVE_DELETE:
        ((struct cassandra_row_delete *)request)->result = (uint8_t)result;
        break;
    }
}

static void count_result(struct cassandra_archive *archive, enum order_result result) {
    switch (result) {
    case ORDER_RESULT_STORED:
        metric_add(&archive->metrics.stored_total, 1);
        break;
    case ORDER_RESULT_UNKNOWN:
        metric_add(&archive->metrics.unknown_total, 1);
        break;
    case ORDER_RESULT_UNAVAILABLE:
        metric_add(&archive->metrics.unavailable_total, 1);
        break;
    case ORDER_RESULT_BROKEN:
        metric_add(&archive->metrics.broken_total, 1);
        break;
    default:
        break;
    }
}

void archive_finish_item(struct cassandra_archive *archive, uint32_t number,
                         enum order_result result) {
    struct archive_item *item = &archive->items[number];
    struct archive_work *work = &archive->works[item->work];
    write_result(work->request, item->index, result);
    count_result(archive, result);
    work->open--;
    if (work->open == 0) {
        struct port_request *request = work->request;
        uint32_t count = work->count;
        work->open = archive->free_work;
        archive->free_work = item->work;
        complete(archive, request, count);
    }
    item->next = archive->free_item;
    archive->free_item = number;
}

void archive_free_group(struct cassandra_archive *archive, struct archive_group *group) {
    group->next = archive->free_group;
    archive->free_group = group;
}

void archive_finish_group(struct cassandra_archive *archive, struct archive_group *group,
                          enum order_result result) {
    archive_close_group(archive, group);
    release_behind(archive, group);
    for (uint32_t item = group->first; item != ARCHIVE_NONE;) {
        uint32_t next = archive->items[item].next;
        archive_finish_item(archive, item, result);
        item = next;
    }
    archive_free_group(archive, group);
}
