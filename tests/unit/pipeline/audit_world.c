#include "audit_world.h"

static bool begin(struct world *world, enum world_request request) {
    world->requests[request]++;
    if (world->meddle != NULL) {
        world->meddle(world, request);
    }
    return !world->down[request];
}

static int64_t now(const struct clock *clock) {
    return (CONTAINER_OF(clock, const struct world, clock))->now_us;
}

/* --- The store. --- */

static enum port_submit store_get(struct order_store *store, struct order_get_batch *batch) {
    struct world *world = WORLD_OF(store, store);
    bool up = begin(world, WORLD_STORE_GET);
    for (size_t i = 0; i < batch->count; i++) {
        const struct order_record *order = &world->hot[batch->order_ids[i]];
        batch->results[i] = (uint8_t)(!up                   ? ORDER_RESULT_UNAVAILABLE
                                      : order->version != 0 ? ORDER_RESULT_FOUND
                                                            : ORDER_RESULT_ABSENT);
        batch->orders[i] = *order;
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit store_scan(struct order_store *store, struct order_scan_batch *batch) {
    struct world *world = WORLD_OF(store, store);
    batch->count = 0;
    batch->result = begin(world, WORLD_SCAN) ? ORDER_RESULT_FOUND : ORDER_RESULT_UNAVAILABLE;
    uint64_t id = batch->cursor + 1;
    for (; batch->result == ORDER_RESULT_FOUND && id < WORLD_ORDERS && batch->count < batch->limit;
         id++) {
        const struct order_record *order = &world->hot[id];
        bool final = order_status_is_final(order->status);
        if (batch->kind == ORDER_SCAN_REFERENCES && world->references[id].order_id != 0) {
            batch->orders[batch->count++] = world->references[id];
        } else if (batch->kind != ORDER_SCAN_REFERENCES && order->version != 0 &&
                   final == (batch->kind == ORDER_SCAN_FINAL)) {
            batch->orders[batch->count++] = *order;
        }
    }
    batch->cursor = id == WORLD_ORDERS ? 0 : id - 1;
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit store_release(struct order_store *store,
                                      struct order_release_batch *batch) {
    struct world *world = WORLD_OF(store, store);
    bool up = begin(world, WORLD_RELEASE);
    for (size_t i = 0; i < batch->count; i++) {
        struct order_record *order = &world->hot[batch->orders[i].order_id];
        bool same = memcmp(order, &batch->orders[i], sizeof(*order)) == 0;
        batch->results[i] = (uint8_t)(!up    ? ORDER_RESULT_UNAVAILABLE
                                      : same ? ORDER_RESULT_RELEASED
                                             : ORDER_RESULT_MISMATCH);
        if (up && same) {
            order->version = 0;
        }
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

/* --- The cache. --- */

static enum port_submit cache_get(struct order_cache *cache, struct order_get_batch *batch) {
    struct world *world = WORLD_OF(cache, cache);
    bool up = begin(world, WORLD_CACHE_GET);
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t id = batch->order_ids[i];
        batch->results[i] = (uint8_t)(!up                              ? ORDER_RESULT_UNAVAILABLE
                                      : world->foreign[id]             ? ORDER_RESULT_BROKEN
                                      : world->cached[id].version != 0 ? ORDER_RESULT_FOUND
                                                                       : ORDER_RESULT_ABSENT);
        batch->orders[i] = world->cached[id];
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

void world_cache_put(struct world *world, const struct order_record *order) {
    struct order_record *held = &world->cached[order->order_id];
    if (world->foreign[order->order_id] || order->version > held->version) {
        *held = *order;
        world->foreign[order->order_id] = false;
    }
}

static enum port_submit cache_put(struct order_cache *cache, struct order_cache_put *batch) {
    struct world *world = WORLD_OF(cache, cache);
    bool up = begin(world, WORLD_CACHE_PUT);
    for (size_t i = 0; i < batch->count; i++) {
        batch->results[i] = (uint8_t)(up ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE);
        if (up) {
            world_cache_put(world, &batch->orders[i]);
        }
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit cache_remove(struct order_cache *cache, struct order_cache_put *batch) {
    struct world *world = WORLD_OF(cache, cache);
    bool up = begin(world, WORLD_CACHE_REMOVE);
    for (size_t i = 0; i < batch->count; i++) {
        struct order_record *held = &world->cached[batch->orders[i].order_id];
        batch->results[i] = (uint8_t)(up ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE);
        if (up && memcmp(held, &batch->orders[i], sizeof(*held)) == 0) {
            memset(held, 0, sizeof(*held));
        }
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

/* --- The archive. --- */

static uint8_t row_result(const struct world_row *row, bool up) {
    return (uint8_t)(!up             ? ORDER_RESULT_UNAVAILABLE
                     : !row->present ? ORDER_RESULT_ABSENT
                     : row->broken   ? ORDER_RESULT_BROKEN
                                     : ORDER_RESULT_FOUND);
}

static enum port_submit archive_get(struct order_archive *archive, struct order_get_batch *batch) {
    struct world *world = WORLD_OF(archive, archive);
    bool up = begin(world, WORLD_ARCHIVE_GET);
    for (size_t i = 0; i < batch->count; i++) {
        const struct world_row *row = &world->rows[batch->order_ids[i]];
        batch->results[i] = row_result(row, up);
        batch->orders[i] = row->order;
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit row_look(struct archive_repair *repair, struct archive_row_look *look) {
    struct world *world = WORLD_OF(repair, repair);
    bool up = begin(world, WORLD_LOOK);
    const struct world_row *row = &world->rows[look->order_id];
    look->result = row_result(row, up);
    look->order = row->order;
    look->writetime_us = row->present ? row->writetime_us : INT64_MIN;
    port_complete(&look->request);
    return PORT_TAKEN;
}

static enum port_submit row_write(struct archive_repair *repair, struct archive_row_write *write) {
    struct world *world = WORLD_OF(repair, repair);
    bool up = begin(world, WORLD_WRITE);
    struct world_row *row = &world->rows[write->order.order_id];
    write->result = up ? ORDER_RESULT_STORED : ORDER_RESULT_UNKNOWN;
    if (up && write->timestamp_us > row->writetime_us) {
        *row = (struct world_row){true, false, write->timestamp_us, write->order};
    }
    port_complete(&write->request);
    return PORT_TAKEN;
}

/* --- The log and the topic. --- */

static void newest(struct change_log *log, struct change_cursor *cursor) {
    *cursor = (struct change_cursor){.parts = 1};
    cursor->positions[0] = WORLD_OF(log, changes)->told_count;
}

static enum port_submit log_read(struct change_log *log, struct change_read_batch *batch) {
    struct world *world = WORLD_OF(log, changes);
    bool up = begin(world, WORLD_LOG_READ);
    batch->count = 0;
    batch->result = up ? CHANGE_READ_OK : CHANGE_READ_UNAVAILABLE;
    while (up && batch->count < batch->limit && batch->after.positions[0] < world->told_count) {
        batch->orders[batch->count++] = world->told[batch->after.positions[0]++];
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit publish(struct topic_writer *writer, struct topic_publish *request) {
    struct world *world = WORLD_OF(writer, refresh);
    bool up = begin(world, WORLD_PUBLISH);
    for (size_t i = 0; i < request->count; i++) {
        uint64_t order_id = 0;
        assert_slice_equal(request->messages[i].header, "repair");
        assert_true(order_id_parse(request->messages[i].key, &order_id));
        request->results[i] = (uint8_t)(up ? ORDER_RESULT_STORED : ORDER_RESULT_UNKNOWN);
        world->messages[order_id] += up ? 1 : 0;
        for (size_t k = 0; up && k < WORLD_INSTANCES; k++) {
            if (!world->instances[k].deaf) {
                memset(&world->instances[k].held[order_id], 0, sizeof(struct order_record));
            }
        }
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

/* --- Query instances. --- */

struct audit_answer world_answer(struct world_instance *instance, uint64_t order_id) {
    struct world *world = instance->world;
    const struct order_record *held = &instance->held[order_id];
    const struct world_row *row = &world->rows[order_id];
    if (instance->denied[order_id]) {
        return (struct audit_answer){.result = ORDER_RESULT_ABSENT};
    }
    if (held->version == 0 && !world->foreign[order_id]) {
        held = &world->cached[order_id];
    }
    if (held->version == 0) {
        held = world->hot[order_id].version != 0 ? &world->hot[order_id]
               : row->present && !row->broken    ? &row->order
                                                 : held;
        if (held->version != 0) {
            world_cache_put(world, held);
        }
    }
    if (held->version != 0 && order_status_is_final(held->status)) {
        instance->held[order_id] = *held;
    }
    return (struct audit_answer){
        .result = (uint8_t)(held->version != 0 ? ORDER_RESULT_FOUND : ORDER_RESULT_ABSENT),
        .order = *held,
    };
}

static void answer_one(struct world_instance *instance, struct order_get_batch *batch, size_t i,
                       bool whole) {
    uint64_t order_id = batch->order_ids[i];
    struct audit_answer answer = world_answer(instance, order_id);
    instance->asked[order_id]++;
    batch->results[i] = answer.result;
    batch->orders[i] = answer.order;
    if (instance->unknown[order_id]) {
        batch->results[i] = ORDER_RESULT_UNKNOWN;
    } else if (answer.result == ORDER_RESULT_FOUND && !whole) {
        batch->results[i] = ORDER_RESULT_FOUND_STATE;
        batch->orders[i] = (struct order_record){
            .order_id = order_id, .version = answer.order.version, .status = answer.order.status};
    }
}

static enum port_submit ask(struct query_view *view, struct order_get_batch *batch,
                            enum world_request request) {
    struct world_instance *instance = CONTAINER_OF(view, struct world_instance, view);
    bool up = begin(instance->world, request) && !instance->silent;
    bool whole = request == WORLD_VIEW_GET && !instance->gives_states;
    instance->polls += request == WORLD_VIEW_STATES ? 1 : 0;
    assert_true(batch->count > 0 && batch->count <= QUERY_VIEW_BATCH_MAX);
    memset(batch->results, ORDER_RESULT_UNAVAILABLE, batch->count);
    for (size_t i = 0; up && i < batch->count; i++) {
        answer_one(instance, batch, i, whole);
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit view_get(struct query_view *view, struct order_get_batch *batch) {
    return ask(view, batch, WORLD_VIEW_GET);
}

static enum port_submit view_states(struct query_view *view, struct order_get_batch *batch) {
    return ask(view, batch, WORLD_VIEW_STATES);
}

/* --- The whole. --- */

static struct audit *audit_on(struct world *world, size_t view_count) {
    world->options = (struct audit_options){.per_second = 1000,
                                            .samples_per_second = 1000,
                                            .grace_ms = 10000,
                                            .two_homes_seconds = 900};
    struct audit_parts parts = {
        .options = &world->options,
        .clock = &world->clock,
        .log = &world->log,
        .store = &world->store,
        .cache = &world->cache,
        .archive = &world->archive,
        .repair = &world->repair,
        .changes = &world->changes,
        .refresh = &world->refresh,
        .views = world->views,
        .view_count = view_count,
        .mailbox = &world->mailbox,
        .settle_us = 60000000,
        .view_lag_us = 3000000,
    };
    return audit_create(&parts);
}

static struct world *create(size_t view_count) {
    static const struct order_store_ops store_ops = {
        .get = store_get, .scan = store_scan, .release = store_release};
    static const struct order_cache_ops cache_ops = {
        .get = cache_get, .put = cache_put, .remove = cache_remove};
    static const struct order_archive_ops archive_ops = {.get = archive_get};
    static const struct archive_repair_ops repair_ops = {.look = row_look, .write = row_write};
    static const struct change_log_ops log_ops = {.read = log_read, .newest = newest};
    static const struct topic_writer_ops writer_ops = {.publish = publish};
    static const struct query_view_ops view_ops = {.get = view_get, .states = view_states};
    static const char *const names[WORLD_INSTANCES] = {"first:8080", "second:8080"};
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    assert_true(mailbox_init(&world->mailbox, AUDIT_OUTSTANDING_MAX));
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    world->store.ops = &store_ops;
    world->cache.ops = &cache_ops;
    world->archive.ops = &archive_ops;
    world->repair.ops = &repair_ops;
    world->changes.ops = &log_ops;
    world->refresh.ops = &writer_ops;
    for (size_t i = 0; i < WORLD_INSTANCES; i++) {
        world->instances[i].view = (struct query_view){&view_ops, names[i]};
        world->instances[i].world = world;
        world->views[i] = &world->instances[i].view;
    }
    world->clock.now_us = now;
    world->now_us = SAMPLE_TIME_US + 1000000;
    world->audit = audit_on(world, view_count);
    assert_non_null(world->audit);
    return world;
}

struct world *world_create(void) {
    return create(0);
}

struct world *world_create_watching(void) {
    return create(WORLD_INSTANCES);
}

void world_destroy(struct world *world) {
    audit_destroy(world->audit);
    mailbox_deinit(&world->mailbox);
    free(world);
}

void world_drive(struct world *world, int64_t us) {
    for (int64_t end_us = world->now_us + us; world->now_us < end_us; world->now_us += 1000) {
        (void)audit_step(world->audit);
        (void)port_drain(&world->mailbox, SIZE_MAX);
    }
}

struct order_record world_order(const struct world *world, uint64_t order_id, uint32_t version,
                                enum order_status status) {
    struct order_record order = sample_order(order_id);
    order.version = version;
    order.status = (uint8_t)status;
    order.updated_at_us = world->now_us;
    order_record_seal(&order);
    return order;
}

void world_commit(struct world *world, const struct order_record *order) {
    assert_true(world->told_count < WORLD_LOG);
    world->hot[order->order_id] = *order;
    world->references[order->order_id] = sample_draft(order->order_id);
    world->references[order->order_id].order_id = order->order_id;
    world->told[world->told_count++] = *order;
    world_cache_put(world, order);
    for (size_t i = 0; i < WORLD_INSTANCES; i++) {
        struct world_instance *instance = &world->instances[i];
        if (!instance->behind && order->version > instance->held[order->order_id].version) {
            instance->held[order->order_id] = *order;
        }
    }
}

void world_archive(struct world *world, uint64_t order_id) {
    struct order_record *order = &world->hot[order_id];
    world->rows[order_id] = (struct world_row){true, false, order->version, *order};
    memset(order, 0, sizeof(*order));
}

struct order_record world_ended(struct world *world, uint64_t order_id) {
    struct order_record order = world_order(world, order_id, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    order = world_order(world, order_id, 2, ORDER_STATUS_SUCCESS);
    world_commit(world, &order);
    world_archive(world, order_id);
    return order;
}

uint64_t world_found(const struct world *world, enum audit_kind kind) {
    return metric_get(&audit_kind_metrics(world->audit, kind)->disagreements_total);
}

uint64_t world_repaired(const struct world *world, enum audit_kind kind) {
    return metric_get(&audit_kind_metrics(world->audit, kind)->repaired_total);
}

uint64_t world_found_any(const struct world *world) {
    uint64_t found = 0;
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        found += world_found(world, (enum audit_kind)i);
    }
    return found;
}

void assert_cached(const struct world *world, const struct order_record *order) {
    assert_false(world->foreign[order->order_id]);
    assert_memory_equal(&world->cached[order->order_id], order, sizeof(*order));
}

void assert_archived(const struct world *world, const struct order_record *order) {
    assert_true(world->rows[order->order_id].present && !world->rows[order->order_id].broken);
    assert_memory_equal(&world->rows[order->order_id].order, order, sizeof(*order));
}

void assert_one(struct world *world, enum audit_kind kind) {
    world_drive(world, WORLD_SOON);
    assert_int_equal(world_found(world, kind), 1);
    assert_int_equal(world_repaired(world, kind), 1);
    assert_int_equal(world_found_any(world), 1);
    world_drive(world, 2 * WORLD_SOON);
    assert_int_equal(world_found_any(world), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->suspects), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
}
