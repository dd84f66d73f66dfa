#include "pipeline/archive_world.h"

#include "cassandra/final_order.h"
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#define START_US (ORDER_EPOCH_US + INT64_C(86400000000))
#define STEP_US 1000
#define FIRST_MINUTE 100
#define ORDERS_A_MINUTE 1000

#define WORLD_OF(member_, pointer_) CONTAINER_OF(pointer_, struct archive_world, member_)

static int64_t now_of(const struct clock *clock) {
    return (CONTAINER_OF(clock, const struct archive_world, clock))->now_us;
}

static bool in_trouble(struct archive_world *world) {
    return random_below(&world->random, 100) < world->trouble;
}

static enum port_submit take(struct archive_world *world, struct port_request *request,
                             void (*answer)(struct archive_world *, struct port_request *),
                             int64_t wait_us) {
    if (in_trouble(world)) {
        return PORT_BUSY;
    }
    assert_true(world->pending_count < ARRAY_COUNT(world->pending));
    world->pending[world->pending_count++] = (struct world_pending){
        request, answer, world->now_us + wait_us + (int64_t)random_below(&world->random, 5000)};
    return PORT_TAKEN;
}

static struct world_order *find(struct archive_world *world, uint64_t order_id) {
    size_t low = 0;
    size_t high = world->order_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (world->orders[middle].record.order_id < order_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < world->order_count && world->orders[low].record.order_id == order_id;
    return found ? &world->orders[low] : NULL;
}

/* --- The archive. --- */

static void write_row(struct archive_world *world, const struct order_record *record) {
    struct world_order *order = find(world, record->order_id);
    assert_non_null(order);
    if (!order->in_archive || order->copy.version < record->version) {
        order->written_us = world->now_us;
        order->copy = *record;
        order->copy.amount += order->altered ? 1 : 0;
        order_record_seal(&order->copy);
    }
    order->in_archive = true;
}

static void answer_put(struct archive_world *world, struct port_request *request) {
    struct order_archive_put *put = (struct order_archive_put *)request;
    bool trouble = in_trouble(world);
    world->puts++;
    for (size_t i = 0; i < put->count; i++) {
        const struct world_order *order = find(world, put->orders[i].order_id);
        uint64_t luck = trouble ? random_below(&world->random, 4) : 0;
        assert_true(i == 0 || put->orders[i - 1].order_id < put->orders[i].order_id);
        if (world->archive_is_away || luck == 1 || (order != NULL && order->is_refused)) {
            put->results[i] = ORDER_RESULT_UNAVAILABLE;
            continue;
        }
        put->results[i] = luck >= 2 ? ORDER_RESULT_UNKNOWN : ORDER_RESULT_STORED;
        if (luck != 3) {
            write_row(world, &put->orders[i]);
        }
    }
}

static void answer_archive_get(struct archive_world *world, struct port_request *request) {
    struct order_get_batch *get = (struct order_get_batch *)request;
    bool trouble = in_trouble(world);
    for (size_t i = 0; i < get->count; i++) {
        const struct world_order *order = find(world, get->order_ids[i]);
        if (world->archive_is_away || (trouble && random_chance(&world->random, 1, 2))) {
            get->results[i] = ORDER_RESULT_UNAVAILABLE;
        } else if (order == NULL || !order->in_archive) {
            get->results[i] = ORDER_RESULT_ABSENT;
        } else {
            get->results[i] = ORDER_RESULT_FOUND;
            get->orders[i] = order->copy;
        }
    }
}

static enum port_submit archive_put(struct order_archive *archive, struct order_archive_put *put) {
    return take(WORLD_OF(archive, archive), &put->request, answer_put, 0);
}

static enum port_submit archive_get(struct order_archive *archive, struct order_get_batch *get) {
    return take(WORLD_OF(archive, archive), &get->request, answer_archive_get, 0);
}

/* --- The store. --- */

static void answer_scan(struct archive_world *world, struct port_request *request) {
    struct order_scan_batch *scan = (struct order_scan_batch *)request;
    size_t looked_at = 0;
    scan->count = 0;
    scan->result = ORDER_RESULT_UNAVAILABLE;
    if (world->store_is_away || in_trouble(world)) {
        return;
    }
    scan->result = ORDER_RESULT_FOUND;
    size_t at = scan->cursor;
    for (; at < world->order_count && scan->count < scan->limit && looked_at < 3000; at++) {
        const struct world_order *order = &world->orders[at];
        looked_at++;
        if (order->in_store && order->record.updated_at_us < scan->before_us) {
            scan->orders[scan->count++] = order->record;
        }
    }
    scan->cursor = at < world->order_count ? at : 0;
}

static void answer_release(struct archive_world *world, struct port_request *request) {
    struct order_release_batch *release = (struct order_release_batch *)request;
    bool trouble = in_trouble(world);
    for (size_t i = 0; i < release->count; i++) {
        struct world_order *order = find(world, release->orders[i].order_id);
        assert_non_null(order);
        if (world->store_is_away || (trouble && random_chance(&world->random, 1, 2))) {
            release->results[i] = ORDER_RESULT_UNAVAILABLE;
            continue;
        }
        release->results[i] = ORDER_RESULT_RELEASED;
        if (!order->in_store) {
            continue;
        }
        if (memcmp(&order->record, &release->orders[i], sizeof(order->record)) != 0) {
            release->results[i] = ORDER_RESULT_MISMATCH;
            continue;
        }
        assert_true(order->in_archive && world->now_us - order->written_us >= WORLD_SYNC_US);
        assert_memory_equal(&order->copy, &order->record, sizeof(order->record));
        assert_true(order->told > 0);
        order->in_store = false;
        order->released_us = world->now_us;
        world->released++;
        if (trouble) {
            release->results[i] = ORDER_RESULT_UNKNOWN;
        }
    }
}

static enum port_submit store_scan(struct order_store *store, struct order_scan_batch *scan) {
    return take(WORLD_OF(store, store), &scan->request, answer_scan, 0);
}

static enum port_submit store_release(struct order_store *store,
                                      struct order_release_batch *release) {
    return take(WORLD_OF(store, store), &release->request, answer_release, 0);
}

/* --- The topics. --- */

static void answer_read(struct archive_world *world, struct port_request *request) {
    struct topic_read *read = (struct topic_read *)request;
    read->count = 0;
    read->result = ORDER_RESULT_UNAVAILABLE;
    world->reads++;
    if (world->brokers_are_away || in_trouble(world)) {
        return;
    }
    read->result = ORDER_RESULT_FOUND;
    while (read->count < read->limit && world->read_to < world->message_count) {
        read->messages[read->count++] = world->messages[world->read_to++];
    }
}

static void answer_commit(struct archive_world *world, struct port_request *request) {
    struct topic_commit *commit = (struct topic_commit *)request;
    commit->result = ORDER_RESULT_UNAVAILABLE;
    if (world->brokers_are_away || in_trouble(world)) {
        return;
    }
    commit->result = world->commits_are_refused ? ORDER_RESULT_MISMATCH : ORDER_RESULT_STORED;
    if (!world->commits_are_refused) {
        world->committed = world->read_to;
    }
}

static void answer_publish(struct archive_world *world, struct port_request *request) {
    struct topic_publish *publish = (struct topic_publish *)request;
    bool trouble = in_trouble(world);
    for (size_t i = 0; i < publish->count; i++) {
        uint64_t order_id;
        assert_true(order_id_parse(publish->messages[i].key, &order_id));
        struct world_order *order = find(world, order_id);
        assert_non_null(order);
        assert_true(order->written_us > 0); /* it may have lost it since */
        publish->results[i] = ORDER_RESULT_UNAVAILABLE;
        if (!world->brokers_are_away && !(trouble && random_chance(&world->random, 1, 2))) {
            publish->results[i] = ORDER_RESULT_STORED;
            order->told++;
            order->told_us = order->told == 1 ? world->now_us : order->told_us;
        }
    }
}

static enum port_submit changes_read(struct topic_reader *reader, struct topic_read *read) {
    struct archive_world *world = WORLD_OF(changes, reader);
    bool waits = world->read_to == world->message_count;
    return take(world, &read->request, answer_read, waits ? read->wait_ms * 1000 : 0);
}

static enum port_submit changes_commit(struct topic_reader *reader, struct topic_commit *commit) {
    return take(WORLD_OF(changes, reader), &commit->request, answer_commit, 0);
}

static enum port_submit archived_publish(struct topic_writer *writer,
                                         struct topic_publish *publish) {
    return take(WORLD_OF(archived, writer), &publish->request, answer_publish, 0);
}

/* --- Making it. --- */

struct archive_world *archive_world_create(uint64_t seed) {
    static const struct order_archive_ops archive_ops = {.put = archive_put, .get = archive_get};
    static const struct order_store_ops store_ops = {.scan = store_scan, .release = store_release};
    static const struct topic_reader_ops reader_ops = {changes_read, changes_commit};
    static const struct topic_writer_ops writer_ops = {archived_publish};
    struct archive_world *world =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*world), CACHE_LINE_BYTES));
    assert_non_null(world);
    memset(world, 0, sizeof(*world));
    world->clock.now_us = now_of;
    world->now_us = START_US;
    world->random.state = seed;
    world->archive.ops = &archive_ops;
    world->store.ops = &store_ops;
    world->changes.ops = &reader_ops;
    world->archived.ops = &writer_ops;
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    world->orders = calloc(WORLD_ORDERS_MAX, sizeof(*world->orders));
    world->messages = calloc(WORLD_ORDERS_MAX, sizeof(*world->messages));
    world->values = calloc(WORLD_ORDERS_MAX, sizeof(*world->values));
    assert_true(world->orders != NULL && world->messages != NULL && world->values != NULL);
    world->options = (struct cluster_archiver_options){
        .settle_seconds = 60,
        .settle_orders_max = 16384,
        .scan_every_seconds = 60,
        .scan_after_seconds = 300,
    };
    return world;
}

void archive_world_destroy(struct archive_world *world) {
    archive_world_crash(world);
    free(world->orders);
    free(world->messages);
    free(world->values);
    free(world);
}

void archive_world_add_message(struct archive_world *world, const struct order_record *record,
                               size_t size) {
    assert_true(world->message_count < WORLD_ORDERS_MAX);
    struct order_record *value = &world->values[world->message_count];
    *value = *record;
    world->messages[world->message_count] = (struct topic_message){
        .key = SLICE_LITERAL("1"),
        .value = {(const char *)value, size},
        .offset = (int64_t)world->message_count,
    };
    world->message_count++;
}

struct world_order *archive_world_add(struct archive_world *world, bool announced) {
    assert_true(world->order_count < WORLD_ORDERS_MAX);
    size_t number = world->order_count;
    struct world_order *order = &world->orders[number];
    struct order_record record =
        final_order(number % ORDERS_A_MINUTE, FIRST_MINUTE + number / ORDERS_A_MINUTE);
    /* ascending, whatever the slot */
    record.order_id = (uint64_t)FIRST_MINUTE * CASSANDRA_TICKS_A_MINUTE + number + 1;
    record.updated_at_us = world->now_us;
    order_record_seal(&record);
    *order = (struct world_order){.record = record, .in_store = true};
    world->order_count++;
    if (announced) {
        archive_world_add_message(world, &record, sizeof(record));
    }
    return order;
}

void archive_world_start(struct archive_world *world) {
    struct cluster_archiver_parts parts = {
        .options = &world->options,
        .clock = &world->clock,
        .monotonic = &world->clock,
        .log = &world->log,
        .store = &world->store,
        .archive = &world->archive,
        .changes = &world->changes,
        .archived = &world->archived,
        .mailbox = &world->mailbox,
    };
    assert_null(world->archiver);
    assert_true(mailbox_init(&world->mailbox, CLUSTER_ARCHIVER_OUTSTANDING_MAX));
    world->read_to = world->committed;
    world->archiver = cluster_archiver_create(&parts);
    assert_non_null(world->archiver);
}

/** What is under way may or may not have had its effect. */
void archive_world_crash(struct archive_world *world) {
    if (world->archiver == NULL) {
        return;
    }
    for (size_t i = 0; i < world->pending_count; i++) {
        if (random_chance(&world->random, 1, 2)) {
            world->pending[i].answer(world, world->pending[i].request);
        }
    }
    world->pending_count = 0;
    cluster_archiver_destroy(world->archiver);
    mailbox_deinit(&world->mailbox);
    world->archiver = NULL;
}

void archive_world_crash_archive(struct archive_world *world) {
    for (size_t i = 0; i < world->order_count; i++) {
        struct world_order *order = &world->orders[i];
        if (order->in_archive && world->now_us - order->written_us < WORLD_SYNC_US) {
            order->in_archive = false;
        }
    }
}

/* --- Time. --- */

static void answer_due(struct archive_world *world) {
    for (size_t i = 0; i < world->pending_count;) {
        struct world_pending pending = world->pending[i];
        if (pending.due_us > world->now_us) {
            i++;
            continue;
        }
        world->pending[i] = world->pending[--world->pending_count];
        pending.answer(world, pending.request);
        port_complete(pending.request);
    }
}

void archive_world_run(struct archive_world *world, int64_t ms) {
    int64_t end_us = world->now_us + ms * 1000;
    while (world->now_us < end_us) {
        world->now_us += STEP_US;
        answer_due(world);
        (void)port_drain(&world->mailbox, CLUSTER_ARCHIVER_OUTSTANDING_MAX);
        (void)cluster_archiver_step(world->archiver);
        size_t waiting = world_settling_metric(world, orders);
        world->unsettled_most = waiting > world->unsettled_most ? waiting : world->unsettled_most;
    }
}

void archive_world_run_until_empty(struct archive_world *world, int64_t seconds) {
    int64_t end_us = world->now_us + seconds * 1000000;
    size_t left;
    do {
        archive_world_run(world, 1000);
        left = 0;
        for (size_t i = 0; i < world->order_count; i++) {
            const struct world_order *order = &world->orders[i];
            left += order->in_store && !order->altered && !order->is_refused ? 1 : 0;
        }
    } while (left > 0 && world->now_us < end_us);
    if (left > 0) {
        fail_msg("%zu orders are still in the store", left);
    }
}
