#include "adapter/mariadb/mariadb_store.h"

#include <errno.h>
#include <stdlib.h>

#define DISPATCH_WAIT_MS 50
#define LOOK_EVERY_US 50000
#define OVERDUE_AT_ONCE 256

/* --- Requests come in: any thread. --- */

static enum port_submit submit(struct order_store *port, struct port_request *request,
                               enum mariadb_kind kind, size_t items) {
    struct mariadb_store *store = (struct mariadb_store *)port;
    if (items == 0) {
        port_complete(request);
        return PORT_TAKEN;
    }
    struct mariadb_ticket *ticket =
        mariadb_tickets_take(&store->shared.tickets, request, kind, items);
    if (ticket == NULL) {
        metric_add(&store->shared.metrics->busy_total, items);
        return PORT_BUSY;
    }
    const struct mariadb_settings *settings = store->shared.settings;
    bool waits = kind == MARIADB_CREATE || kind == MARIADB_CHANGE || kind == MARIADB_RELEASE ||
                 kind == MARIADB_EXPIRE;
    int64_t limit_us = waits ? settings->deadline_us : (int64_t)settings->read_timeout_ms * 1000;
    ticket->start_by_us = ticket->submitted_us + limit_us / 2;
    ticket->deadline_us = ticket->submitted_us + limit_us;
    bool sent = mailbox_send(&store->inbox, ticket);
    assert(sent); /* there is room for every ticket */
    return PORT_TAKEN;
}

static enum port_submit create(struct order_store *store, struct order_create_batch *batch) {
    return submit(store, &batch->request, MARIADB_CREATE, batch->count);
}

static enum port_submit change(struct order_store *store, struct order_change_batch *batch) {
    return submit(store, &batch->request, MARIADB_CHANGE, batch->count);
}

static enum port_submit get(struct order_store *store, struct order_get_batch *batch) {
    return submit(store, &batch->request, MARIADB_GET, batch->count);
}

static enum port_submit find(struct order_store *store, struct order_find_batch *batch) {
    return submit(store, &batch->request, MARIADB_FIND, batch->count);
}

static enum port_submit scan(struct order_store *store, struct order_scan_batch *batch) {
    batch->count = 0;
    batch->overlooked = false;
    batch->next_us = INT64_MAX;
    if (!batch->thorough) {
        /* The log of changes tells of what is final; this store takes no notice of its own. */
        batch->result = ORDER_RESULT_FOUND;
        port_complete(&batch->request);
        return PORT_TAKEN;
    }
    return submit(store, &batch->request, MARIADB_SCAN, 1);
}

static enum port_submit release(struct order_store *store, struct order_release_batch *batch) {
    return submit(store, &batch->request, MARIADB_RELEASE, batch->count);
}

static enum port_submit expire(struct order_store *store, struct order_expire_batch *batch) {
    const struct mariadb_store *self = (const struct mariadb_store *)store;
    return submit(store, &batch->request, MARIADB_EXPIRE, self->shared.settings->shard_count);
}

static const struct order_store_ops store_ops = {create, change, get, find, scan, release, expire};

/* --- The dispatcher. --- */

static enum mariadb_lane_kind lane_of(enum mariadb_kind kind) {
    switch (kind) {
    case MARIADB_CREATE:
        return MARIADB_CREATE_LANE;
    case MARIADB_CHANGE:
        return MARIADB_CHANGE_LANE;
    case MARIADB_GET:
    case MARIADB_FIND:
    case MARIADB_RESOLVE:
        return MARIADB_READ_LANE;
    case MARIADB_SCAN:
    case MARIADB_RELEASE:
    case MARIADB_EXPIRE:
        break;
    }
    return MARIADB_UPKEEP_LANE;
}

static size_t batch_of(const struct mariadb_settings *settings, enum mariadb_lane_kind kind) {
    switch (kind) {
    case MARIADB_CREATE_LANE:
        return settings->create_batch;
    case MARIADB_READ_LANE:
        return settings->read_batch;
    default:
        return settings->change_batch;
    }
}

static void settle(struct mariadb_store *store, struct mariadb_item item,
                   enum order_result result) {
    mariadb_item_settle(&store->shared.tickets, item, result);
}

/** Queues what is staged for a shard. */
static void flush(struct mariadb_store *store, size_t shard, enum mariadb_kind kind) {
    enum mariadb_lane_kind lane = lane_of(kind);
    struct mariadb_item *items = store->staged[shard];
    size_t count = store->staged_count[shard];
    store->staged_count[shard] = 0;
    size_t pushed = mariadb_queue_push(&store->shared.shards[shard].queues[lane], items, count,
                                       batch_of(store->shared.settings, lane));
    for (size_t i = pushed; i < count; i++) {
        settle(store, items[i], mariadb_item_refusal(items[i]));
    }
}

static void stage(struct mariadb_store *store, struct mariadb_item item, size_t shard) {
    store->staged[shard][store->staged_count[shard]++] = item;
    if (store->staged_count[shard] == MARIADB_STAGE_ITEMS) {
        flush(store, shard, (enum mariadb_kind)item.kind);
    }
}

/** Learns what ids may be given now. False: none. */
static bool renew_ids(struct mariadb_store *store, uint64_t now_tick) {
    struct node_grant grant;
    mariadb_nodes_grant(store->nodes, &grant);
    if (grant.number != 0 && now_tick + ORDER_TICKS_AHEAD_MAX > grant.promised_tick) {
        mariadb_nodes_want_renewal(store->nodes);
    }
    if (!node_grant_is_usable(&grant, clock_monotonic_us(), now_tick)) {
        return false;
    }
    if (grant.number != store->grant_number) {
        order_id_generator_init(&store->ids, grant.node);
        order_id_generator_raise(&store->ids, grant.floor_tick);
        store->grant_number = grant.number;
    }
    return true;
}

/** Makes an order of a draft. */
static enum order_result give_id(struct mariadb_store *store, struct order_record *draft,
                                 uint64_t hash, int64_t now_us) {
    if (!order_id_generator_next(&store->ids, order_slot_from_hash(hash),
                                 order_tick_from_us(now_us), &draft->order_id)) {
        metric_add(&store->shared.metrics->ids_refused_total, 1);
        return ORDER_RESULT_BUSY;
    }
    store->used_tick = bytes_max_u64(store->used_tick, order_id_tick(draft->order_id));
    draft->version = 1;
    draft->status = ORDER_STATUS_PENDING;
    draft->created_at_us = now_us;
    draft->updated_at_us = now_us;
    order_record_seal(draft);
    return ORDER_RESULT_CREATED;
}

/** An item's share of the work: its shard, or, where it was given no id, false: it is settled. */
static bool prepare_create(struct mariadb_store *store, struct mariadb_item item, size_t *shard) {
    struct order_create_batch *batch = mariadb_create_of(item);
    enum order_result result = (enum order_result)batch->results[item.index];
    *shard = mariadb_shard_of_slot(store->shared.settings,
                                   order_slot_from_hash(batch->reference_hashes[item.index]));
    if (result == ORDER_RESULT_CREATED) {
        return true;
    }
    settle(store, item, result);
    return false;
}

static size_t shard_of(const struct mariadb_store *store, struct mariadb_item item) {
    const struct mariadb_settings *settings = store->shared.settings;
    switch ((enum mariadb_kind)item.kind) {
    case MARIADB_CHANGE:
        return mariadb_shard_of_id(settings, mariadb_change_of(item)->changes[item.index].order_id);
    case MARIADB_GET:
        return mariadb_shard_of_id(settings, mariadb_get_of(item)->order_ids[item.index]);
    case MARIADB_RELEASE:
        return mariadb_shard_of_id(settings, mariadb_release_of(item)->orders[item.index].order_id);
    case MARIADB_FIND:
        return mariadb_shard_of_slot(settings, order_slot_from_hash(order_record_reference_hash(
                                                   &mariadb_find_of(item)->orders[item.index])));
    case MARIADB_SCAN:
        /* The cursor of a scan is an id of the shard that it has come to. */
        return mariadb_shard_of_id(settings,
                                   ((struct order_scan_batch *)item.ticket->request)->cursor);
    case MARIADB_EXPIRE:
        return item.index;
    case MARIADB_CREATE:
    case MARIADB_RESOLVE:
        break;
    }
    assert(false);
    return 0;
}

/** Gives every order of a batch its id before any of it is queued, and says so. What was given none
 *  has order_id 0, and its result. */
static void give_ids(struct mariadb_store *store, struct order_create_batch *batch, bool has_ids,
                     int64_t now_us) {
    for (size_t i = 0; i < batch->count; i++) {
        enum order_result result = ORDER_RESULT_UNAVAILABLE;
        if (has_ids) {
            result = give_id(store, &batch->orders[i], batch->reference_hashes[i], now_us);
        } else {
            metric_add(&store->shared.metrics->ids_refused_total, 1);
        }
        batch->results[i] = (uint8_t)result;
    }
    if (batch->ids_given != NULL) {
        batch->ids_given(batch);
    }
}

/** Cuts a request into items. The ticket is gone once the last of them is queued or settled. */
static void dispatch(struct mariadb_store *store, struct mariadb_ticket *ticket) {
    enum mariadb_kind kind = ticket->kind;
    uint32_t count = atomic_load_explicit(&ticket->open, memory_order_relaxed);
    int64_t now_us = clock_now_us(store->shared.clock);
    if (kind == MARIADB_CREATE) {
        give_ids(store, (struct order_create_batch *)ticket->request,
                 renew_ids(store, order_tick_from_us(now_us)), now_us);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct mariadb_item item = {.ticket = ticket, .index = i, .kind = kind};
        size_t shard;
        if (kind != MARIADB_CREATE) {
            shard = shard_of(store, item);
        } else if (!prepare_create(store, item, &shard)) {
            continue;
        }
        stage(store, item, shard);
    }
    for (size_t shard = 0; shard < store->shared.settings->shard_count; shard++) {
        if (store->staged_count[shard] > 0) {
            flush(store, shard, kind);
        }
    }
}

/** Refuses what no lane has taken in time. */
static void refuse_overdue(struct mariadb_store *store, struct mariadb_queue *queue,
                           int64_t now_us) {
    struct mariadb_item items[OVERDUE_AT_ONCE];
    size_t count;
    do {
        count = mariadb_queue_take_overdue(queue, now_us, items, OVERDUE_AT_ONCE);
        for (size_t i = 0; i < count; i++) {
            settle(store, items[i], ORDER_RESULT_UNAVAILABLE);
        }
        metric_add(&store->shared.metrics->overdue_total, count);
    } while (count == OVERDUE_AT_ONCE);
}

static void set_gauges(struct mariadb_store *store) {
    struct mariadb_metrics *metrics = store->shared.metrics;
    uint64_t waiting[MARIADB_LANE_KINDS] = {0};
    uint64_t down = 0;
    for (size_t shard = 0; shard < store->shared.settings->shard_count; shard++) {
        struct mariadb_shard *one = &store->shared.shards[shard];
        for (size_t kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
            waiting[kind] += mariadb_queue_count(&one->queues[kind]);
        }
        down += atomic_load_explicit(&one->health.answers, memory_order_relaxed) == 0 ? 1 : 0;
    }
    metric_set(&metrics->waiting_creates, waiting[MARIADB_CREATE_LANE]);
    metric_set(&metrics->waiting_changes, waiting[MARIADB_CHANGE_LANE]);
    metric_set(&metrics->waiting_reads, waiting[MARIADB_READ_LANE]);
    metric_set(&metrics->waiting_upkeep, waiting[MARIADB_UPKEEP_LANE]);
    metric_set(&metrics->waiting_archive, mariadb_queue_count(&store->shared.replays));
    metric_set(&metrics->shards_down, down);
    struct node_grant grant;
    mariadb_nodes_grant(store->nodes, &grant);
    int64_t left_us = grant.number != 0 ? grant.held_until_us - clock_monotonic_us() : 0;
    metric_set(&metrics->node_number, left_us > 0 ? grant.node : ORDER_NODE_COUNT);
    metric_set(&metrics->node_lease_microseconds, left_us > 0 ? (uint64_t)left_us : 0);
}

static void look_after_queues(struct mariadb_store *store) {
    int64_t now_us = clock_monotonic_us();
    if (now_us < store->look_at_us) {
        return;
    }
    store->look_at_us = now_us + LOOK_EVERY_US;
    for (size_t shard = 0; shard < store->shared.settings->shard_count; shard++) {
        for (size_t kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
            refuse_overdue(store, &store->shared.shards[shard].queues[kind], now_us);
        }
    }
    refuse_overdue(store, &store->shared.replays, now_us);
    set_gauges(store);
}

static void *run(void *context) {
    struct mariadb_store *store = context;
    for (;;) {
        struct mariadb_ticket *ticket;
        while ((ticket = mailbox_take(&store->inbox)) != NULL) {
            dispatch(store, ticket);
            look_after_queues(store);
        }
        look_after_queues(store);
        if (atomic_load_explicit(&store->stopping, memory_order_acquire) != 0 &&
            ring_count(&store->inbox.ring) == 0) {
            return NULL;
        }
        mailbox_wait(&store->inbox, DISPATCH_WAIT_MS);
    }
}

/* --- Beginning and end. --- */

static size_t lanes_of(const struct mariadb_settings *settings, enum mariadb_lane_kind kind) {
    switch (kind) {
    case MARIADB_CREATE_LANE:
        return settings->create_lanes;
    case MARIADB_CHANGE_LANE:
        return settings->change_lanes;
    case MARIADB_READ_LANE:
        return settings->read_lanes;
    default:
        return 1;
    }
}

/** What is worth a transaction of its own while another one is under way. */
static size_t gather_of(const struct mariadb_settings *settings, enum mariadb_lane_kind kind) {
    switch (kind) {
    case MARIADB_CREATE_LANE:
        return (settings->create_batch + 1) / 2;
    case MARIADB_CHANGE_LANE:
        return (settings->change_batch + 1) / 2;
    default:
        return 1;
    }
}

static bool init_queues(struct mariadb_store *store) {
    const struct mariadb_settings *settings = store->shared.settings;
    for (size_t shard = 0; shard < settings->shard_count; shard++) {
        struct mariadb_shard *one = &store->shared.shards[shard];
        one->server = &settings->servers[shard];
        store->queue_count = shard + 1;
        for (int kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
            if (!mariadb_queue_init(&one->queues[kind], settings->queue_orders,
                                    gather_of(settings, (enum mariadb_lane_kind)kind))) {
                return false;
            }
        }
        store->staged[shard] = calloc(MARIADB_STAGE_ITEMS, sizeof(struct mariadb_item));
        if (store->staged[shard] == NULL) {
            return false;
        }
    }
    store->has_replays_queue =
        mariadb_queue_init(&store->shared.replays, settings->queue_orders, 1);
    return store->has_replays_queue;
}

bool mariadb_store_init(struct mariadb_store *store, const struct mariadb_store_parts *parts,
                        struct fault *fault) {
    const struct mariadb_settings *settings = parts->settings;
    *store = (struct mariadb_store){
        .port = {.ops = &store_ops},
        .shared = {.settings = settings,
                   .clock = parts->clock,
                   .log = parts->log,
                   .metrics = parts->metrics,
                   .archive = parts->archive},
        .nodes = parts->nodes,
    };
    size_t lanes = 0;
    for (int kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
        lanes += lanes_of(settings, (enum mariadb_lane_kind)kind);
    }
    store->lanes = calloc(lanes * settings->shard_count, sizeof(*store->lanes));
    store->has_inbox = mailbox_init(&store->inbox, MARIADB_REQUESTS_MAX);
    if (store->lanes == NULL || !store->has_inbox || !init_queues(store) ||
        !mariadb_tickets_init(&store->shared.tickets, MARIADB_REQUESTS_MAX, parts->metrics)) {
        mariadb_store_deinit(store);
        fault_set(fault, "no memory for the queues of mysql.shards");
        return false;
    }
    return true;
}

void mariadb_store_deinit(struct mariadb_store *store) {
    for (size_t shard = 0; shard < store->queue_count; shard++) {
        for (size_t kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
            mariadb_queue_deinit(&store->shared.shards[shard].queues[kind]);
        }
        free(store->staged[shard]);
    }
    store->queue_count = 0;
    if (store->has_replays_queue) {
        mariadb_queue_deinit(&store->shared.replays);
        store->has_replays_queue = false;
    }
    mariadb_tickets_deinit(&store->shared.tickets);
    if (store->has_inbox) {
        mailbox_deinit(&store->inbox);
        store->has_inbox = false;
    }
    free(store->lanes);
    store->lanes = NULL;
}

static bool start_lanes(struct mariadb_store *store, struct fault *fault) {
    const struct mariadb_settings *settings = store->shared.settings;
    for (size_t shard = 0; shard < settings->shard_count; shard++) {
        for (int kind = 0; kind < MARIADB_LANE_KINDS; kind++) {
            size_t wanted = lanes_of(settings, (enum mariadb_lane_kind)kind);
            for (size_t i = 0; i < wanted; i++) {
                if (!mariadb_lane_start(&store->lanes[store->lane_count], &store->shared,
                                        &store->shared.shards[shard], (enum mariadb_lane_kind)kind,
                                        fault)) {
                    return false;
                }
                store->lane_count++;
            }
        }
    }
    return true;
}

/** Stops the lanes of a kind, once nothing comes to them any more. */
static void join_lanes(struct mariadb_store *store, enum mariadb_lane_kind kind) {
    for (size_t shard = 0; shard < store->queue_count; shard++) {
        mariadb_queue_stop(&store->shared.shards[shard].queues[kind]);
    }
    for (size_t i = 0; i < store->lane_count; i++) {
        if (store->lanes[i].kind == kind) {
            mariadb_lane_join(&store->lanes[i]);
        }
    }
}

bool mariadb_store_start(struct mariadb_store *store, struct fault *fault) {
    bool good =
        mariadb_replays_start(&store->replays, &store->shared, fault) && start_lanes(store, fault);
    if (good) {
        int error = pthread_create(&store->thread, NULL, run, store);
        good = error == 0;
        if (good) {
            (void)pthread_setname_np(store->thread, "mysql-dispatch");
            store->started = true;
        } else {
            fault_set_errno(fault, error, "the thread of the dispatcher cannot be started");
        }
    }
    if (!good) {
        mariadb_store_stop(store);
    }
    return good;
}

void mariadb_store_stop(struct mariadb_store *store) {
    if (store->started) {
        atomic_store_explicit(&store->stopping, 1, memory_order_release);
        mailbox_wake(&store->inbox);
        (void)pthread_join(store->thread, NULL);
        store->started = false;
    }
    join_lanes(store, MARIADB_CREATE_LANE);
    join_lanes(store, MARIADB_CHANGE_LANE);
    join_lanes(store, MARIADB_UPKEEP_LANE);
    join_lanes(store, MARIADB_READ_LANE); /* after the creates, which hand on to them */
    mariadb_queue_stop(&store->shared.replays);
    mariadb_replays_join(&store->replays);
    store->lane_count = 0;
}
