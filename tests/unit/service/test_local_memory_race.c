/** The local memory's thread beside readers that read, believe and offer, for the thread sanitizer;
 *  and what the readers may rely on: a version that was seen never falls while memory is
 *  believed. */
#include "fake_ports.h"
#include "service/local_memory.h"
#include "service/query.h"

#include <pthread.h>
#include <sched.h>

#define ORDERS 64
#define CHANGES 20000
#define READERS 2

/** A log of one part that makes its changes up: change n is of order n % ORDERS. */
struct made_up_log {
    struct change_log port; /* first */
    _Atomic uint64_t written;
};

struct race {
    struct made_up_log log;
    struct log lines;
    struct mailbox mailbox;
    struct order_table *table;
    struct local_memory *memory;
    _Atomic uint32_t ended;        /* for the readers */
    _Atomic uint32_t memory_ended; /* for the memory's thread, which answers them until then */
};

static struct order_record change_at(uint64_t number) {
    struct order_record order = sample_order((100 + number % ORDERS) << 27);
    order.version = 1 + (uint32_t)(number / ORDERS);
    order_record_seal(&order);
    return order;
}

static enum port_submit log_read(struct change_log *port, struct change_read_batch *batch) {
    uint64_t end = atomic_load(&((struct made_up_log *)port)->written);
    batch->count = 0;
    while (batch->after.positions[0] < end && batch->count < batch->limit) {
        batch->orders[batch->count++] = change_at(batch->after.positions[0]++);
    }
    batch->result = CHANGE_READ_OK;
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static void log_newest(struct change_log *port, struct change_cursor *cursor) {
    *cursor = (struct change_cursor){.parts = 1};
    cursor->positions[0] = atomic_load(&((struct made_up_log *)port)->written);
}

static enum port_submit log_end(struct change_log *port, struct change_end *request) {
    log_newest(port, &request->end);
    request->result = CHANGE_READ_OK;
    port_complete(&request->request);
    return PORT_TAKEN;
}

static void log_watch(struct change_log *port, struct change_watch *watch) {
    (void)port;
    (void)watch;
}

static void *run_memory(void *context) {
    struct race *race = context;
    while (atomic_load(&race->memory_ended) == 0) {
        (void)local_memory_step(race->memory);
        (void)port_drain(&race->mailbox, 16);
    }
    return NULL;
}

static void *run_reader(void *context) {
    struct race *race = context;
    struct order_cache *cache = local_memory_cache(race->memory);
    struct mailbox answers;
    uint32_t seen[ORDERS] = {0};
    uint8_t result;
    bool offered = false;
    assert_true(mailbox_init(&answers, 4));
    struct order_record stale;
    struct order_cache_put put = {
        .request.mailbox = &answers, .count = 1, .orders = &stale, .results = &result};
    for (uint64_t i = 0; atomic_load(&race->ended) == 0; i++) {
        struct order_record order;
        bool believed =
            clock_now_us(&clock_monotonic) <= atomic_load(local_memory_current_until(race->memory));
        if (order_table_get(race->table, (100 + i % ORDERS) << 27, &order) && believed) {
            assert_true(order.version >= seen[i % ORDERS]);
            seen[i % ORDERS] = order.version;
        }
        offered = offered && mailbox_take(&answers) == NULL;
        if (!offered) {
            stale = change_at(i % ORDERS); /* version 1 */
            offered = cache->ops->put(cache, &put) == PORT_TAKEN;
        }
    }
    while (offered && mailbox_take(&answers) == NULL) {
        (void)sched_yield();
    }
    mailbox_deinit(&answers);
    return NULL;
}

static void test_readers_beside_the_writer(void **state) {
    (void)state;
    static const struct change_log_ops ops = {
        .read = log_read, .newest = log_newest, .watch = log_watch, .end = log_end};
    static struct race race;
    struct fault fault;
    struct memory_options options = {.fill_trust_ms = 1, .lag_max_ms = 2000};
    pthread_t writer;
    pthread_t readers[READERS];
    race.log.port.ops = &ops;
    log_init(&race.lines, STDERR_FILENO, LOG_ERROR + 1);
    assert_true(mailbox_init(&race.mailbox, 16));
    race.table = order_table_create(1000000, &fault);
    assert_non_null(race.table);
    race.memory = local_memory_create(&(struct local_memory_parts){
        .clock = &clock_monotonic,
        .log = &race.lines,
        .table = race.table,
        .changes = &race.log.port,
        .mailbox = &race.mailbox,
        .options = &options,
    });
    assert_non_null(race.memory);
    assert_int_equal(pthread_create(&writer, NULL, run_memory, &race), 0);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, run_reader, &race), 0);
    }
    struct local_memory_metrics *metrics = local_memory_metrics(race.memory);
    for (uint64_t written = 0; written < CHANGES; written++) {
        atomic_store(&race.log.written, written + 1);
        while (metric_get(&metrics->changes_total) + 100 < written) {
            (void)sched_yield();
        }
    }
    while (metric_get(&metrics->changes_total) < CHANGES) {
        (void)sched_yield();
    }
    atomic_store(&race.ended, 1);
    for (size_t i = 0; i < READERS; i++) {
        (void)pthread_join(readers[i], NULL);
    }
    atomic_store(&race.memory_ended, 1);
    (void)pthread_join(writer, NULL);
    local_memory_destroy(race.memory);
    struct order_record order;
    assert_true(order_table_get(race.table, change_at(CHANGES - 1).order_id, &order));
    assert_int_equal(order.version, change_at(CHANGES - 1).version);
    order_table_destroy(race.table);
    mailbox_deinit(&race.mailbox);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_readers_beside_the_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
