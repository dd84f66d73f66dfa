#include "memory_world.h"

/* --- The log. --- */

static enum port_submit log_read(struct change_log *port, struct change_read_batch *batch) {
    struct world_log *log = (struct world_log *)port;
    batch->count = 0;
    batch->result = log->read_result;
    for (uint32_t part = 0; part < WORLD_PARTS && batch->result == CHANGE_READ_OK; part++) {
        uint64_t *at = &batch->after.positions[part];
        while (*at < log->heard[part] && batch->count < batch->limit) {
            batch->orders[batch->count] = log->orders[part][(*at)++];
            batch->positions[batch->count] = *at;
            batch->parts[batch->count++] = (uint8_t)part;
        }
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static void tell_end(struct world_log *log, struct change_end *request) {
    request->end = (struct change_cursor){.parts = WORLD_PARTS};
    memcpy(request->end.positions, log->written, sizeof(log->written));
    request->result = log->end_fails ? CHANGE_READ_UNAVAILABLE : CHANGE_READ_OK;
    port_complete(&request->request);
}

static enum port_submit log_end(struct change_log *port, struct change_end *request) {
    struct world_log *log = (struct world_log *)port;
    log->end_count++;
    if (log->end_hangs) {
        log->asked = request;
    } else {
        tell_end(log, request);
    }
    return PORT_TAKEN;
}

static void log_newest(struct change_log *port, struct change_cursor *cursor) {
    *cursor = (struct change_cursor){.parts = WORLD_PARTS};
    memcpy(cursor->positions, ((struct world_log *)port)->heard, sizeof(uint64_t) * WORLD_PARTS);
}

static void log_watch(struct change_log *port, struct change_watch *watch) {
    (void)port;
    (void)watch;
}

static const struct change_log_ops log_ops = {
    .read = log_read, .newest = log_newest, .watch = log_watch, .end = log_end};

void world_change(struct world *world, const struct order_record *order, bool heard) {
    uint64_t part = order_id_decode(order->order_id).slot % WORLD_PARTS;
    assert_true(world->log.written[part] < WORLD_LOG_MAX);
    world->log.orders[part][world->log.written[part]++] = *order;
    if (heard) {
        world_hear(world);
    }
}

void world_hear(struct world *world) {
    memcpy(world->log.heard, world->log.written, sizeof(world->log.heard));
}

/* --- Repairs. --- */

static enum port_submit repairs_read(struct topic_reader *port, struct topic_read *request) {
    ((struct world_repairs *)port)->waiting = request;
    return PORT_TAKEN;
}

static const struct topic_reader_ops repairs_ops = {.read = repairs_read};

void world_refresh(struct world *world, const char *kind, uint64_t order_id) {
    char memory[24];
    struct text key = text_over(memory, sizeof(memory));
    struct topic_read *request = world->repairs.waiting;
    assert_non_null(request);
    text_append_u64(&key, order_id);
    request->messages[0] =
        (struct topic_message){.key = text_slice(&key), .header = slice_from_text(kind)};
    request->count = 1;
    request->result = ORDER_RESULT_FOUND;
    world->repairs.waiting = NULL;
    port_complete(&request->request);
    world_run(world);
}

/* --- The tiers below. --- */

static enum port_submit below_get(struct lookup *port, struct lookup_batch *batch) {
    struct world_below *below = (struct world_below *)port;
    for (size_t i = 0; i < batch->get.count; i++) {
        bool old = batch->min_versions != NULL && batch->min_versions[i] > below->cached.version;
        batch->get.orders[i] = old ? below->truth : below->cached;
        batch->get.results[i] = batch->get.orders[i].order_id == batch->get.order_ids[i]
                                    ? ORDER_RESULT_FOUND
                                    : ORDER_RESULT_ABSENT;
        below->asked++;
    }
    port_complete(&batch->get.request);
    return PORT_TAKEN;
}

static bool below_is_possible(struct lookup *port, uint64_t order_id, int64_t now_us) {
    (void)port;
    (void)order_id;
    (void)now_us;
    return true;
}

static const struct lookup_ops below_ops = {below_get, below_is_possible};

/* --- The whole. --- */

void world_init(struct world *world) {
    struct fault fault;
    memset(world, 0, sizeof(*world));
    fake_init(&world->fake);
    assert_true(mailbox_init(&world->loop, 4096));
    assert_true(mailbox_init(&world->thread, 64));
    world->log.port.ops = &log_ops;
    world->repairs.port.ops = &repairs_ops;
    world->below.port.ops = &below_ops;
    world->options = (struct memory_options){.fill_trust_ms = WORLD_TRUST_US / 1000,
                                             .lag_max_ms = WORLD_LAG_US / 1000};
    world->table = order_table_create(WORLD_TABLE_BYTES, &fault);
    assert_non_null(world->table);
    world->memory = local_memory_create(&(struct local_memory_parts){
        .clock = &world->fake.clock,
        .log = &world->fake.log,
        .table = world->table,
        .changes = &world->log.port,
        .repairs = &world->repairs.port,
        .mailbox = &world->thread,
        .options = &world->options,
    });
    assert_non_null(world->memory);
    world->query = query_service_create(&(struct query_parts){
        .clock = &world->fake.clock,
        .table = world->table,
        .store = &world->fake.store,
        .cache = local_memory_cache(world->memory),
        .lookup = &world->below.port,
        .mailbox = &world->loop,
        .window_us = INT64_C(3600000000),
        .memory_may_lag = true,
        .memory_current_until = local_memory_current_until(world->memory),
    });
    assert_non_null(world->query);
    world_run(world);
}

void world_deinit(struct world *world) {
    local_memory_destroy(world->memory);
    query_service_destroy(world->query);
    order_table_destroy(world->table);
    mailbox_deinit(&world->loop);
    mailbox_deinit(&world->thread);
    fake_deinit(&world->fake);
}

void world_run(struct world *world) {
    if (world->log.asked != NULL && !world->log.end_hangs) {
        struct change_end *request = world->log.asked;
        world->log.asked = NULL;
        tell_end(&world->log, request);
    }
    for (int i = 0; i < 20; i++) {
        (void)local_memory_step(world->memory);
        (void)port_drain(&world->thread, 100);
        (void)port_drain(&world->loop, 100);
    }
}

void world_tell_end(struct world *world) {
    struct change_end *request = world->log.asked;
    assert_non_null(request);
    world->log.asked = NULL;
    tell_end(&world->log, request);
}

void world_wait(struct world *world, int64_t time_us) {
    int64_t until_us = world->fake.now_us + time_us;
    while (world->fake.now_us < until_us) {
        world->fake.now_us += 50000;
        world_run(world);
    }
}

static void read_done(struct query_get *get) {
    get->next = get; /* a mark */
}

uint32_t world_read(struct world *world, uint64_t order_id, uint32_t min_version) {
    struct query_get get = {.order_id = order_id, .min_version = min_version, .done = read_done};
    if (!query_get(world->query, &get)) {
        query_flush(world->query);
        world_run(world);
        assert_ptr_equal(get.next, &get);
    }
    return get.result == ORDER_RESULT_FOUND ? get.order.version : 0;
}

struct order_record world_order(uint64_t number, uint32_t version) {
    struct order_record order = sample_order(
        order_id_encode((struct order_id_parts){.tick = 100, .slot = (uint32_t)number % 1024}));
    order.version = version;
    order.status = version == 1   ? ORDER_STATUS_PENDING
                   : version == 2 ? ORDER_STATUS_PROCESSING
                                  : ORDER_STATUS_SUCCESS;
    order_record_seal(&order);
    return order;
}
