/** What the embedded store does without a network: status look-ups in the RAM table on one thread
 *  and on two, and durable creates through the whole store (ids, unique references, one synced
 *  write a group), in batches of a given size.
 *
 *  Usage: in_process states ORDERS THREADS SECONDS
 *         in_process create DIRECTORY BATCH SECONDS */
#include "adapter/embedded/embedded.h"
#include "base/random.h"
#include "memory/order_table.h"
#include "order/order_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <pthread.h>

#define LOOKUP_BATCH 8192
#define IN_FLIGHT 4

static void make_draft(struct order_record *draft, uint64_t number) {
    memset(draft, 0, sizeof(*draft));
    draft->amount = 1000 + number % 1000;
    draft->format = ORDER_RECORD_FORMAT;
    draft->payment_type = ORDER_PAYMENT_BANK;
    memcpy(draft->currency, "VND", 3);
    memcpy(draft->partner_code, "BENCH", 5);
    (void)snprintf(draft->partner_order_id, sizeof(draft->partner_order_id), "%016llx",
                   (unsigned long long)number);
}

/* --- Look-ups. --- */

struct lookup_run {
    const struct order_table *table;
    const uint64_t *ids;
    uint64_t id_count;
    uint64_t seed;
    double seconds;
    uint64_t done;
    uint64_t missing;
    pthread_t thread;
};

static void *run_lookups(void *context) {
    struct lookup_run *run = context;
    struct random_source random = {run->seed};
    static _Thread_local uint64_t asked[LOOKUP_BATCH];
    static _Thread_local struct order_state states[LOOKUP_BATCH];
    int64_t end_us = clock_monotonic_us() + (int64_t)(run->seconds * 1e6);
    int64_t spent_us = 0;
    while (clock_monotonic_us() < end_us) {
        for (size_t i = 0; i < LOOKUP_BATCH; i++) {
            asked[i] = run->ids[random_below(&random, run->id_count)];
        }
        int64_t begin_us = clock_monotonic_us();
        size_t found = order_table_states(run->table, asked, LOOKUP_BATCH, states);
        spent_us += clock_monotonic_us() - begin_us;
        run->done += LOOKUP_BATCH;
        run->missing += LOOKUP_BATCH - found;
    }
    run->seconds = (double)spent_us / 1e6;
    return NULL;
}

static int bench_states(uint64_t orders, unsigned threads, double seconds) {
    struct fault fault;
    struct order_table *table = order_table_create(orders * 152 + ((uint64_t)64 << 20), &fault);
    uint64_t *ids = calloc(orders, sizeof(*ids));
    struct lookup_run runs[16] = {{0}};
    if (table == NULL || ids == NULL || threads > 16) {
        (void)fprintf(stderr, "%s\n", table == NULL ? fault.text : "no memory");
        return 1;
    }
    struct order_id_generator *generator = calloc(1, sizeof(*generator));
    uint64_t tick = order_tick_from_us(clock_wall_us());
    order_id_generator_init(generator, 0);
    for (uint64_t i = 0; i < orders; i++) {
        struct order_record order;
        make_draft(&order, i);
        uint64_t hash = order_record_reference_hash(&order);
        tick += i % 20000 == 0 ? 1 : 0;
        if (!order_id_generator_next(generator, order_slot_from_hash(hash), tick,
                                     &order.order_id)) {
            tick++;
            i--;
            continue;
        }
        order.version = 1;
        order.status = ORDER_STATUS_PENDING;
        order.created_at_us = order.updated_at_us = order_tick_to_us(tick);
        ids[i] = order.order_id;
        (void)order_table_put(table, &order, hash, false);
    }
    for (unsigned i = 0; i < threads; i++) {
        runs[i] = (struct lookup_run){table, ids, orders, i + 1, seconds, 0, 0, 0};
        (void)pthread_create(&runs[i].thread, NULL, run_lookups, &runs[i]);
    }
    double rate = 0;
    uint64_t missing = 0;
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(runs[i].thread, NULL);
        rate += (double)runs[i].done / runs[i].seconds;
        missing += runs[i].missing;
    }
    (void)printf("{\"bench\":\"in-process states\",\"orders\":%llu,\"threads\":%u,"
                 "\"ops_per_s\":%.0f,\"errors\":%llu}\n",
                 (unsigned long long)orders, threads, rate, (unsigned long long)missing);
    order_table_destroy(table);
    free(generator);
    free(ids);
    return missing == 0 ? 0 : 1;
}

/* --- Creates. --- */

struct create_run {
    struct order_create_batch batch;
    struct create_bench *bench;
};

struct create_bench {
    struct order_store *store;
    size_t batch_size;
    uint64_t next_number;
    int64_t end_us;
    uint64_t created;
    uint64_t wrong;
    unsigned outstanding;
};

static bool send_batch(struct create_run *run) {
    struct create_bench *bench = run->bench;
    for (size_t i = 0; i < bench->batch_size; i++) {
        make_draft(&run->batch.orders[i], bench->next_number++);
        ((uint64_t *)(uintptr_t)run->batch.reference_hashes)[i] =
            order_record_reference_hash(&run->batch.orders[i]);
    }
    bench->outstanding++;
    return bench->store->ops->create(bench->store, &run->batch) == PORT_TAKEN;
}

static void batch_done(struct port_request *request) {
    struct create_run *run = (struct create_run *)request;
    struct create_bench *bench = run->bench;
    bench->outstanding--;
    for (size_t i = 0; i < run->batch.count; i++) {
        bool good = run->batch.results[i] == ORDER_RESULT_CREATED;
        bench->created += good ? 1 : 0;
        bench->wrong += good ? 0 : 1;
    }
    if (clock_monotonic_us() < bench->end_us && bench->wrong == 0 && !send_batch(run)) {
        bench->wrong++;
    }
}

/** What the store says of its writes, on standard error. */
static void print_metrics(const struct metrics *metrics) {
    static char memory[1 << 18];
    struct text text = text_over(memory, sizeof(memory) - 1);
    if (!metrics_render(metrics, &text)) {
        return;
    }
    for (char *line = strtok_r(memory, "\n", &text.data); line != NULL;
         line = strtok_r(NULL, "\n", &text.data)) {
        if (strstr(line, "_sum") != NULL || strstr(line, "_count") != NULL ||
            strstr(line, "waits_total ") != NULL) {
            (void)fprintf(stderr, "%s\n", line);
        }
    }
}

static int bench_create(const char *directory, size_t batch_size, double seconds) {
    struct memory_options memory = {.budget_mb = 6144};
    struct journal_options journal = {.segment_mb = 256,
                                      .checkpoint_mb = 1048576,
                                      .keep_mb = 1,
                                      .max_mb = 1048576,
                                      .tail_changes = 131072};
    struct archive_options archive = {.cache_mb = 64, .write_buffer_mb = 32};
    struct service_clock clock;
    struct log log;
    struct fault fault;
    struct mailbox mailbox;
    struct create_run runs[IN_FLIGHT];
    service_clock_init(&clock, 0);
    log_init(&log, STDERR_FILENO, LOG_WARNING);
    struct embedded_parts parts = {.data_dir = directory,
                                   .log = &log,
                                   .clock = &clock,
                                   .memory = &memory,
                                   .journal = &journal,
                                   .archive = &archive,
                                   .metrics = metrics_create(),
                                   .window_us = INT64_C(86400000000)};
    struct embedded *embedded = embedded_open(&parts, &fault);
    if (embedded == NULL || !mailbox_init(&mailbox, IN_FLIGHT) ||
        !embedded_start(embedded, &fault)) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    struct create_bench bench = {.store = embedded_order_store(embedded),
                                 .batch_size = batch_size,
                                 .next_number = (uint64_t)clock_wall_us() << 8};
    int64_t begin_us = clock_monotonic_us();
    bench.end_us = begin_us + (int64_t)(seconds * 1e6);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        runs[i].bench = &bench;
        runs[i].batch = (struct order_create_batch){
            .request = {.done = batch_done, .mailbox = &mailbox},
            .count = batch_size,
            .orders = calloc(batch_size, sizeof(struct order_record)),
            .reference_hashes = calloc(batch_size, sizeof(uint64_t)),
            .results = calloc(batch_size, 1),
        };
        bench.wrong += send_batch(&runs[i]) ? 0 : 1;
    }
    while (bench.outstanding > 0) {
        mailbox_wait(&mailbox, 100);
        (void)port_drain(&mailbox, SIZE_MAX);
    }
    double spent = (double)(clock_monotonic_us() - begin_us) / 1e6;
    (void)printf("{\"bench\":\"in-process create\",\"batch\":%zu,\"ops\":%llu,\"seconds\":%.3f,"
                 "\"ops_per_s\":%.0f,\"errors\":%llu}\n",
                 batch_size, (unsigned long long)bench.created, spent,
                 (double)bench.created / spent, (unsigned long long)bench.wrong);
    print_metrics(parts.metrics);
    embedded_close(embedded);
    metrics_destroy(parts.metrics);
    return bench.wrong == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "states") == 0) {
        return bench_states(strtoull(argv[2], NULL, 10), (unsigned)strtoul(argv[3], NULL, 10),
                            strtod(argv[4], NULL));
    }
    if (argc == 5 && strcmp(argv[1], "create") == 0) {
        return bench_create(argv[2], strtoull(argv[3], NULL, 10), strtod(argv[4], NULL));
    }
    (void)fprintf(stderr, "usage: in_process states ORDERS THREADS SECONDS\n"
                          "       in_process create DIRECTORY BATCH SECONDS\n");
    return 2;
}
