/** What the Cassandra archive does on one cluster, all in one run with one client: puts of one row
 *  a statement and in batches of one partition, gets of one id a statement and of many, and both
 *  together as the archive pipeline does it: written, read back, compared. Every order that is read
 *  is compared with what was written.
 *
 *  Usage: cassandra_archive HOSTS [ORDERS [KEY=VALUE]... [PART]...]   KEY: an option of [cassandra]
 *
 *  With PARTs, as verified_1, only these run, and the warm-up before them. The part `verified` has
 *  as many rows a request as the options say.
 *
 *  It makes the keyspace `orders_bench` (one replica) where it is not there yet, and prints a table
 *  and, as its last line, JSON. The exit status is 1 where an order was not as it should be. */
#include "adapter/cassandra/cassandra_archive.h"
#include "adapter/cassandra/cassandra_schema.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TRANSFER_ORDERS 4096
#define IN_FLIGHT 6
#define ORDERS_A_TICK 100 /* 10,000 orders a second */
#define TICKS_A_SERIES UINT64_C(1000000)

/** What a part of the run does with its orders. */
enum part_kind { PART_PUT, PART_GET, PART_VERIFIED };

enum transfer_state { TRANSFER_FREE, TRANSFER_PUTTING, TRANSFER_WRITTEN, TRANSFER_GETTING };

/** Consecutive orders that are put, got, or both. */
struct transfer {
    struct order_archive_put put;
    struct order_get_batch get;
    enum transfer_state state;
    size_t count;
    uint64_t failures;
    struct order_record orders[TRANSFER_ORDERS]; /* as they are written */
    struct order_record found[TRANSFER_ORDERS];
    uint64_t ids[TRANSFER_ORDERS];
    uint8_t results[TRANSFER_ORDERS];
};

struct bench {
    struct cassandra_options options;
    struct config_section section;
    struct config config;
    struct log log;
    struct mailbox mailbox;
    struct transfer *transfers; /* IN_FLIGHT of them */
    uint64_t orders;
    uint64_t base_series; /* so that another run writes other orders */
};

struct figures {
    double seconds;
    uint64_t orders;
    uint64_t requests;
    uint64_t failures;
};

/* --- Orders. --- */

static struct order_record make_order(uint64_t series, uint64_t number) {
    struct order_record order = {
        .amount = 1000 + number % 100000,
        .version = 3,
        .status = ORDER_STATUS_SUCCESS,
        .payment_type = ORDER_PAYMENT_BANK,
        .format = ORDER_RECORD_FORMAT,
        .currency = "VND",
        .bank_code = "BANK-01",
        .partner_code = "PARTNER1",
    };
    (void)snprintf(order.partner_order_id, sizeof(order.partner_order_id), "%04llx-%012llx",
                   (unsigned long long)series, (unsigned long long)number);
    uint64_t tick = series * TICKS_A_SERIES + number / ORDERS_A_TICK;
    order.order_id = order_id_encode((struct order_id_parts){
        .tick = tick,
        .slot = order_slot_from_hash(order_record_reference_hash(&order)),
        .node = 1,
        .sequence = (uint32_t)(number % ORDERS_A_TICK),
    });
    order.created_at_us = order_tick_to_us(tick) + 1234;
    order.requested_at_us = order.created_at_us + 250123;
    order.responded_at_us = order.created_at_us + 1750456;
    order.updated_at_us = order.responded_at_us;
    order_record_seal(&order);
    return order;
}

static int compare_orders(const void *left, const void *right) {
    uint64_t left_id = ((const struct order_record *)left)->order_id;
    uint64_t right_id = ((const struct order_record *)right)->order_id;
    return left_id < right_id ? -1 : left_id > right_id ? 1 : 0;
}

/** Fills a transfer with orders in the order of their ids. */
static void fill(struct transfer *transfer, uint64_t series, uint64_t begin, size_t count) {
    for (size_t i = 0; i < count; i++) {
        transfer->orders[i] = make_order(series, begin + i);
    }
    qsort(transfer->orders, count, sizeof(transfer->orders[0]), compare_orders);
    for (size_t i = 0; i < count; i++) {
        transfer->ids[i] = transfer->orders[i].order_id;
    }
    memset(transfer->results, 0, count);
}

/* --- One part of the run. --- */

static void judge_put(struct port_request *request) {
    struct order_archive_put *put = (struct order_archive_put *)request;
    struct transfer *transfer = CONTAINER_OF(put, struct transfer, put);
    for (size_t i = 0; i < transfer->count; i++) {
        transfer->failures += put->results[i] != ORDER_RESULT_STORED ? 1 : 0;
    }
    transfer->state = TRANSFER_WRITTEN;
}

static void judge_get(struct port_request *request) {
    struct order_get_batch *get = (struct order_get_batch *)request;
    struct transfer *transfer = CONTAINER_OF(get, struct transfer, get);
    for (size_t i = 0; i < transfer->count; i++) {
        bool well = get->results[i] == ORDER_RESULT_FOUND &&
                    memcmp(&transfer->found[i], &transfer->orders[i], ORDER_RECORD_BYTES) == 0;
        transfer->failures += well ? 0 : 1;
    }
    transfer->state = TRANSFER_FREE;
}

/** Hands the orders over; waits where the archive is busy. */
static void submit(struct bench *bench, struct order_archive *port, struct transfer *transfer,
                   bool is_get) {
    transfer->state = is_get ? TRANSFER_GETTING : TRANSFER_PUTTING;
    transfer->put = (struct order_archive_put){
        .request = {.done = judge_put, .mailbox = &bench->mailbox},
        .count = transfer->count,
        .orders = transfer->orders,
        .results = transfer->results,
    };
    transfer->get = (struct order_get_batch){
        .request = {.done = judge_get, .mailbox = &bench->mailbox},
        .count = transfer->count,
        .order_ids = transfer->ids,
        .orders = transfer->found,
        .results = transfer->results,
    };
    while ((is_get ? port->ops->get(port, &transfer->get) : port->ops->put(port, &transfer->put)) ==
           PORT_BUSY) {
        (void)usleep(100);
    }
}

/** Takes a transfer one step on, where it is not under way; true where it is not done. */
static bool push(struct bench *bench, struct order_archive *port, struct transfer *transfer,
                 enum part_kind kind) {
    if (transfer->state == TRANSFER_WRITTEN) {
        transfer->state = TRANSFER_FREE;
        if (kind == PART_VERIFIED) {
            submit(bench, port, transfer, true);
        }
    }
    return transfer->state != TRANSFER_FREE;
}

/** Puts, gets or both all orders of a series. What the client itself does beside it, making orders
 *  and comparing them, is on the submitter's thread. */
static struct figures transfer_all(struct bench *bench, struct cassandra_archive *archive,
                                   uint64_t series, uint64_t orders, enum part_kind kind) {
    struct order_archive *port = cassandra_archive_port(archive);
    struct figures figures = {.orders = orders};
    uint64_t requests_before = metric_get(&cassandra_archive_metrics(archive)->requests_total);
    int64_t begin_us = clock_monotonic_us();
    uint64_t next = 0;
    size_t busy;
    memset(bench->transfers, 0, IN_FLIGHT * sizeof(*bench->transfers));
    do {
        busy = 0;
        for (size_t i = 0; i < IN_FLIGHT; i++) {
            struct transfer *transfer = &bench->transfers[i];
            bool is_busy = push(bench, port, transfer, kind);
            if (!is_busy && next < orders) {
                transfer->count = bytes_min_size(TRANSFER_ORDERS, orders - next);
                fill(transfer, series, next, transfer->count);
                submit(bench, port, transfer, kind == PART_GET);
                next += transfer->count;
                is_busy = true;
            }
            busy += is_busy ? 1 : 0;
        }
        if (busy > 0 && port_drain(&bench->mailbox, IN_FLIGHT) == 0) {
            mailbox_wait(&bench->mailbox, 1000);
            (void)port_drain(&bench->mailbox, IN_FLIGHT);
        }
    } while (busy > 0 || next < orders);
    figures.seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
    figures.requests =
        metric_get(&cassandra_archive_metrics(archive)->requests_total) - requests_before;
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        figures.failures += bench->transfers[i].failures;
    }
    return figures;
}

/** One part: an archive of its own with `rows` rows or ids a request. */
static bool run_part(struct bench *bench, uint64_t rows, uint64_t series, uint64_t orders,
                     enum part_kind kind, struct figures *figures) {
    struct cassandra_terms terms;
    struct fault fault;
    struct cassandra_options as_set = bench->options;
    if (rows > 0) {
        bench->options.batch_rows_max = rows;
        bench->options.select_ids_max = rows;
    }
    bool well = cassandra_options_read(&bench->options, NULL, &terms, &fault);
    struct cassandra_archive_parts parts = {&terms, &cassandra_dialer_tcp, &bench->log, 1};
    struct cassandra_archive *archive = well ? cassandra_archive_create(&parts, &fault) : NULL;
    if (archive == NULL || !cassandra_archive_start(archive, &fault)) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return false;
    }
    while (!cassandra_archive_is_ready(archive, &fault)) {
        (void)usleep(1000);
    }
    *figures = transfer_all(bench, archive, series, orders, kind);
    cassandra_archive_stop(archive);
    cassandra_archive_destroy(archive);
    bench->options = as_set;
    return true;
}

/* --- The run. --- */

static void report(void *context, const char *line) {
    (void)context;
    (void)fprintf(stderr, "%s\n", line);
}

static bool set_up(struct bench *bench, int argc, char **argv) {
    struct cassandra_terms terms;
    struct fault fault;
    char setting[CONFIG_TEXT_MAX + 32];
    bench->section = (struct config_section){"cassandra", cassandra_option_table,
                                             cassandra_option_count, &bench->options};
    bench->config = (struct config){.sections = &bench->section, .section_count = 1};
    log_init(&bench->log, STDERR_FILENO, LOG_WARNING);
    config_set_defaults(&bench->config);
    bench->orders = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000;
    bench->base_series = (uint64_t)(clock_wall_us() / 1000000) % 4096 * 8;
    bool well = config_set(&bench->config, "cassandra.keyspace=orders_bench", &fault) &&
                config_set(&bench->config, "cassandra.replication=datacenter1:1", &fault) &&
                config_set(&bench->config, "cassandra.request_timeout_ms=30000", &fault) &&
                config_set(&bench->config, "cassandra.attempt_timeout_ms=10000", &fault);
    (void)snprintf(setting, sizeof(setting), "cassandra.hosts=%s", argv[1]);
    well = well && config_set(&bench->config, setting, &fault);
    for (int i = 3; i < argc && strchr(argv[i], '=') != NULL && well; i++) {
        (void)snprintf(setting, sizeof(setting), "cassandra.%s", argv[i]);
        well = config_set(&bench->config, setting, &fault);
    }
    well = well && cassandra_options_read(&bench->options, NULL, &terms, &fault) &&
           cassandra_schema_apply(&terms, &bench->log, report, NULL, &fault);
    bench->transfers = calloc(IN_FLIGHT, sizeof(*bench->transfers));
    well = well && bench->transfers != NULL && mailbox_init(&bench->mailbox, 2 * IN_FLIGHT);
    if (!well) {
        (void)fprintf(stderr, "%s\n", fault.text);
    }
    return well;
}

struct part {
    const char *name;
    uint64_t rows; /* a request; 0: as the options say */
    uint64_t series;
    uint64_t share; /* the orders are divided by it */
    enum part_kind kind;
};

static const struct part parts[] = {
    {"warm_up", 100, 0, 2, PART_VERIFIED},  {"put_1", 1, 1, 4, PART_PUT},
    {"put_20", 20, 2, 1, PART_PUT},         {"put_100", 100, 3, 1, PART_PUT},
    {"put_500", 500, 4, 1, PART_PUT},       {"get_1", 1, 3, 4, PART_GET},
    {"get_100", 100, 3, 1, PART_GET},       {"get_500", 500, 3, 1, PART_GET},
    {"verified_1", 1, 5, 4, PART_VERIFIED}, {"verified_100", 100, 6, 1, PART_VERIFIED},
    {"verified", 0, 7, 1, PART_VERIFIED},
};

/** True where a part was asked for, or none was. */
static bool is_wanted(const struct part *part, int argc, char **argv) {
    bool any = false;
    for (int i = 3; i < argc; i++) {
        if (strchr(argv[i], '=') == NULL) {
            any = true;
            if (strcmp(argv[i], part->name) == 0) {
                return true;
            }
        }
    }
    return !any || part == &parts[0];
}

/** Runs the parts, and prints a table and JSON. Returns the exit status. */
static int run(struct bench *bench, int argc, char **argv) {
    char json[2048];
    struct text out = text_over(json, sizeof(json));
    uint64_t failures = 0;
    printf("%-12s %10s %10s %12s %14s %9s\n", "part", "orders", "seconds", "orders/s",
           "orders/request", "failures");
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        struct figures figures;
        if (!is_wanted(&parts[i], argc, argv)) {
            continue;
        }
        if (!run_part(bench, parts[i].rows, bench->base_series + parts[i].series,
                      bench->orders / parts[i].share, parts[i].kind, &figures)) {
            return 3;
        }
        double rate = (double)figures.orders / figures.seconds;
        printf("%-12s %10llu %10.2f %12.0f %14.1f %9llu\n", parts[i].name,
               (unsigned long long)figures.orders, figures.seconds, rate,
               (double)figures.orders / (double)figures.requests,
               (unsigned long long)figures.failures);
        (void)fflush(stdout);
        text_append_format(&out, "%s\"%s\":%.0f", i == 0 ? "" : ",", parts[i].name, rate);
        failures += figures.failures;
    }
    printf("{\"bench\":\"cassandra_archive\",\"orders_per_s\":{%.*s},\"errors\":%llu}\n",
           (int)out.size, out.data, (unsigned long long)failures);
    return failures == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    struct bench *bench =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*bench), CACHE_LINE_BYTES));
    if (argc < 2 || bench == NULL) {
        (void)fprintf(stderr, "usage: cassandra_archive HOSTS [ORDERS [KEY=VALUE]... [PART]...]\n");
        return 2;
    }
    memset(bench, 0, sizeof(*bench));
    if (!set_up(bench, argc, argv)) {
        return 3;
    }
    int status = run(bench, argc, argv);
    mailbox_deinit(&bench->mailbox);
    free(bench->transfers);
    free(bench);
    return status;
}
