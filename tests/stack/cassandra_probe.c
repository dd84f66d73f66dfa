/* The Cassandra archive as one process, driven by a test: commands on standard input, one line
 * each, each answered with one line of JSON on standard output.
 *
 *  Usage: cassandra_probe KEY=VALUE...      KEY: an option of [cassandra]
 *
 *  apply           makes the schema
 *  open SETTLE_MS  opens and starts the archive; answers with the fault where it refuses
 *  ready           whether a node answers
 *  put FIRST COUNT, get FIRST COUNT   orders number FIRST on; counts of the results
 *  load SECONDS    puts order after order, whatever happens; remembers which were STORED
 *  verify          gets all that were STORED, and compares
 *  flood           submits without waiting until BUSY, then waits for all of it
 *  look NUMBER, repair NUMBER         as the checker does
 *  metrics         the counters
 *  close           stops and closes the archive
 *
 *  Ends at the end of its input. */
#include "adapter/cassandra/cassandra.h"
#include "base/clock.h"
#include "cassandra/final_order.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_ORDERS 500
#define ORDERS_MAX ((size_t)1 << 20)
#define ORDERS_A_MINUTE 20000
#define FIRST_MINUTE 1000
#define FLOOD_MAX 1024
#define RESULTS (ORDER_RESULT_BROKEN + 1)

struct batch {
    struct order_archive_put put;
    struct order_get_batch get;
    struct order_record orders[BATCH_ORDERS];
    struct order_record found[BATCH_ORDERS];
    uint64_t numbers[BATCH_ORDERS];
    uint64_t ids[BATCH_ORDERS];
    uint8_t results[BATCH_ORDERS];
};

struct probe {
    struct cassandra_options options;
    struct config_section section;
    struct config config;
    struct log log;
    struct mailbox mailbox;
    struct cassandra *cassandra;
    bool stored[ORDERS_MAX];
    uint64_t next; /* the first number of the next load or flood */
    uint64_t counts[RESULTS];
    uint64_t wrong; /* orders that are not what was written */
    struct batch batch;
    struct batch *flood[FLOOD_MAX];
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
    (void)fflush(stdout);
}

/** Faults hold nothing that JSON would have to escape but quotes. */
static void say_fault(struct fault *fault) {
    for (char *at = fault->text; *at != 0; at++) {
        *at = *at == '"' || *at == '\\' ? '\'' : *at;
    }
    say("{\"fault\":\"%s\"}", fault->text);
}

static struct order_record make_order(uint64_t number) {
    return final_order(number % ORDERS_A_MINUTE, FIRST_MINUTE + number / ORDERS_A_MINUTE);
}

/* --- Batches. --- */

static int compare_ids(const void *left, const void *right) {
    uint64_t left_id = ((const struct order_record *)left)->order_id;
    uint64_t right_id = ((const struct order_record *)right)->order_id;
    return left_id < right_id ? -1 : left_id > right_id ? 1 : 0;
}

/** Fills a batch with the orders that have these numbers. */
static void fill(struct batch *batch, const uint64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        batch->orders[i] = make_order(numbers[i]);
    }
    qsort(batch->orders, count, sizeof(batch->orders[0]), compare_ids);
    for (size_t i = 0; i < count; i++) {
        batch->ids[i] = batch->orders[i].order_id;
    }
    memset(batch->results, 0, count);
    memset(batch->found, 0, sizeof(batch->found));
}

static void ignore(struct port_request *request) {
    (void)request;
}

static enum port_submit submit(struct probe *probe, struct batch *batch, size_t count,
                               bool is_get) {
    struct order_archive *port = cassandra_order_archive(probe->cassandra);
    struct port_request request = {.done = ignore, .mailbox = &probe->mailbox};
    batch->put = (struct order_archive_put){request, count, batch->orders, batch->results};
    batch->get = (struct order_get_batch){.request = request,
                                          .count = count,
                                          .order_ids = batch->ids,
                                          .orders = batch->found,
                                          .results = batch->results};
    return is_get ? port->ops->get(port, &batch->get) : port->ops->put(port, &batch->put);
}

static void await(struct probe *probe, size_t count) {
    while (count > 0) {
        size_t drained = port_drain(&probe->mailbox, count);
        count -= drained;
        if (drained == 0) {
            mailbox_wait(&probe->mailbox, 1000);
        }
    }
}

/** Adds the results of a batch that is done to the counts. */
static void count_results(struct probe *probe, const struct batch *batch, size_t count) {
    for (size_t i = 0; i < count; i++) {
        probe->counts[batch->results[i] < RESULTS ? batch->results[i] : 0]++;
        if (batch->results[i] == ORDER_RESULT_FOUND &&
            memcmp(&batch->found[i], &batch->orders[i], ORDER_RECORD_BYTES) != 0) {
            probe->wrong++;
        }
    }
}

static void transfer(struct probe *probe, const uint64_t *numbers, size_t count, bool is_get) {
    fill(&probe->batch, numbers, count);
    while (submit(probe, &probe->batch, count, is_get) == PORT_BUSY) {
        (void)usleep(1000);
    }
    await(probe, 1);
    count_results(probe, &probe->batch, count);
}

static void say_counts(const struct probe *probe) {
    say("{\"stored\":%llu,\"found\":%llu,\"absent\":%llu,\"broken\":%llu,\"unavailable\":%llu,"
        "\"unknown\":%llu,\"wrong\":%llu}",
        (unsigned long long)probe->counts[ORDER_RESULT_STORED],
        (unsigned long long)probe->counts[ORDER_RESULT_FOUND],
        (unsigned long long)probe->counts[ORDER_RESULT_ABSENT],
        (unsigned long long)probe->counts[ORDER_RESULT_BROKEN],
        (unsigned long long)probe->counts[ORDER_RESULT_UNAVAILABLE],
        (unsigned long long)probe->counts[ORDER_RESULT_UNKNOWN], (unsigned long long)probe->wrong);
}

static void transfer_range(struct probe *probe, uint64_t first, uint64_t count, bool is_get) {
    uint64_t numbers[BATCH_ORDERS];
    while (count > 0) {
        size_t size = bytes_min_size(BATCH_ORDERS, count);
        for (size_t i = 0; i < size; i++) {
            numbers[i] = first + i;
        }
        transfer(probe, numbers, size, is_get);
        first += size;
        count -= size;
    }
    say_counts(probe);
}

/* --- Load. --- */

/** Batches are filled in the order of their ids: finds the number of each stored one again. */
static void remember(struct probe *probe, uint64_t first, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t order_id = make_order(first + i).order_id;
        for (size_t j = 0; j < count; j++) {
            if (probe->batch.ids[j] == order_id) {
                probe->stored[first + i] = probe->batch.results[j] == ORDER_RESULT_STORED;
            }
        }
    }
}

static void load(struct probe *probe, double seconds) {
    int64_t end_us = clock_monotonic_us() + (int64_t)(seconds * 1e6);
    uint64_t numbers[BATCH_ORDERS];
    while (clock_monotonic_us() < end_us && probe->next + BATCH_ORDERS <= ORDERS_MAX) {
        for (size_t i = 0; i < BATCH_ORDERS; i++) {
            numbers[i] = probe->next + i;
        }
        uint64_t stored = probe->counts[ORDER_RESULT_STORED];
        transfer(probe, numbers, BATCH_ORDERS, false);
        remember(probe, probe->next, BATCH_ORDERS);
        probe->next += BATCH_ORDERS;
        if (probe->counts[ORDER_RESULT_STORED] == stored) {
            (void)usleep(20000); /* nobody is there: not a turn a microsecond */
        }
    }
    say_counts(probe);
}

static void verify(struct probe *probe) {
    uint64_t numbers[BATCH_ORDERS];
    size_t count = 0;
    for (uint64_t number = 0; number < probe->next; number++) {
        if (probe->stored[number]) {
            numbers[count++] = number;
        }
        if (count == BATCH_ORDERS || (number + 1 == probe->next && count > 0)) {
            transfer(probe, numbers, count, true);
            count = 0;
        }
    }
    say_counts(probe);
}

static void flood(struct probe *probe) {
    size_t count = 0;
    bool busy = false;
    int64_t begin_us = clock_monotonic_us();
    while (count < FLOOD_MAX && !busy) {
        uint64_t numbers[BATCH_ORDERS];
        for (size_t i = 0; i < BATCH_ORDERS; i++) {
            numbers[i] = (probe->next + i) % ORDERS_MAX;
        }
        struct batch *batch = malloc(sizeof(*batch));
        assert(batch != NULL);
        fill(batch, numbers, BATCH_ORDERS);
        busy = submit(probe, batch, BATCH_ORDERS, false) == PORT_BUSY;
        if (busy) {
            free(batch);
        } else {
            probe->flood[count++] = batch;
            probe->next += BATCH_ORDERS;
        }
    }
    await(probe, count);
    for (size_t i = 0; i < count; i++) {
        count_results(probe, probe->flood[i], BATCH_ORDERS);
        free(probe->flood[i]);
    }
    say("{\"busy\":%s,\"taken\":%zu,\"stored\":%llu,\"unknown\":%llu,\"unavailable\":%llu,"
        "\"ms\":%lld}",
        busy ? "true" : "false", count * BATCH_ORDERS,
        (unsigned long long)probe->counts[ORDER_RESULT_STORED],
        (unsigned long long)probe->counts[ORDER_RESULT_UNKNOWN],
        (unsigned long long)probe->counts[ORDER_RESULT_UNAVAILABLE],
        (long long)((clock_monotonic_us() - begin_us) / 1000));
}

/* --- The checker's. --- */

static void look(struct probe *probe, uint64_t number, bool repair) {
    struct archive_row_look looked = {
        .request = {.done = ignore, .mailbox = &probe->mailbox},
        .order_id = make_order(number).order_id,
    };
    struct archive_row_write write = {.request = looked.request, .order = make_order(number)};
    struct cassandra_archive *archive = cassandra_repairs(probe->cassandra);
    if (cassandra_archive_look(archive, &looked) != PORT_TAKEN) {
        say("{\"fault\":\"busy\"}");
        return;
    }
    await(probe, 1);
    if (repair) {
        write.timestamp_us = looked.writetime_us + 1;
        if (cassandra_archive_write(archive, &write) != PORT_TAKEN) {
            say("{\"fault\":\"busy\"}");
            return;
        }
        await(probe, 1);
    }
    say("{\"result\":%u,\"writetime\":%lld,\"repaired\":%s}", looked.result,
        (long long)looked.writetime_us, write.result == ORDER_RESULT_STORED ? "true" : "false");
}

/* --- Commands. --- */

static void ignore_line(void *context, const char *line) {
    (void)context;
    (void)fprintf(stderr, "%s\n", line);
}

static void apply(struct probe *probe) {
    struct cassandra_terms terms;
    struct fault fault = {""};
    if (cassandra_options_read(&probe->options, NULL, &terms, &fault) &&
        cassandra_schema_apply(&terms, &probe->log, ignore_line, NULL, &fault)) {
        fault.text[0] = 0;
    }
    say_fault(&fault);
}

static void open_archive(struct probe *probe, uint64_t settle_ms) {
    struct fault fault = {""};
    struct cassandra_parts parts = {
        .options = &probe->options,
        .log = &probe->log,
        .settle_us = (int64_t)settle_ms * 1000,
        .seed = 1,
    };
    probe->cassandra = cassandra_open(&parts, &fault);
    if (probe->cassandra != NULL && cassandra_start(probe->cassandra, &fault)) {
        for (int i = 0; i < 100 && !cassandra_is_ready(probe->cassandra, &fault); i++) {
            (void)usleep(10000);
        }
    }
    say_fault(&fault);
}

static void close_archive(struct probe *probe) {
    if (probe->cassandra != NULL) {
        cassandra_stop(probe->cassandra);
        cassandra_close(probe->cassandra);
        probe->cassandra = NULL;
    }
}

static void say_metrics(const struct probe *probe) {
    char memory[65536];
    struct text text = text_over(memory, sizeof(memory));
    const struct cassandra_metrics *values =
        cassandra_archive_metrics(cassandra_repairs(probe->cassandra));
    text_append_char(&text, '{');
    for (size_t i = 0; i < cassandra_metric_count; i++) {
        const struct metric_description *metric = &cassandra_metric_table[i];
        if (metric->kind != METRIC_histogram) {
            text_append_format(
                &text, "%s\"%s\":%llu", text.size > 1 ? "," : "", metric->name,
                (unsigned long long)metric_get(
                    (const _Atomic uint64_t *)((const char *)values + metric->offset)));
        }
    }
    text_append_char(&text, '}');
    say("%.*s", (int)text.size, text.data);
}

static bool obey(struct probe *probe, const char *line) {
    char command[16];
    double first = 0;
    double second = 0;
    struct fault fault;
    memset(probe->counts, 0, sizeof(probe->counts));
    probe->wrong = 0;
    if (sscanf(line, "%15s %lf %lf", command, &first, &second) < 1) {
        return false;
    }
    if (strcmp(command, "apply") == 0) {
        apply(probe);
    } else if (strcmp(command, "open") == 0) {
        open_archive(probe, (uint64_t)first);
    } else if (probe->cassandra == NULL) {
        say("{\"fault\":\"not open\"}");
    } else if (strcmp(command, "ready") == 0) {
        bool ready = cassandra_is_ready(probe->cassandra, &fault);
        say("{\"ready\":%s}", ready ? "true" : "false");
    } else if (strcmp(command, "put") == 0 || strcmp(command, "get") == 0) {
        transfer_range(probe, (uint64_t)first, (uint64_t)second, command[0] == 'g');
    } else if (strcmp(command, "load") == 0) {
        load(probe, first);
    } else if (strcmp(command, "verify") == 0) {
        verify(probe);
    } else if (strcmp(command, "flood") == 0) {
        flood(probe);
    } else if (strcmp(command, "look") == 0 || strcmp(command, "repair") == 0) {
        look(probe, (uint64_t)first, command[0] == 'r');
    } else if (strcmp(command, "metrics") == 0) {
        say_metrics(probe);
    } else if (strcmp(command, "close") == 0) {
        close_archive(probe);
        say("{}");
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    struct probe *probe =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*probe), CACHE_LINE_BYTES));
    struct fault fault;
    char line[256];
    assert(probe != NULL);
    memset(probe, 0, sizeof(*probe));
    probe->section = (struct config_section){"cassandra", cassandra_option_table,
                                             cassandra_option_count, &probe->options};
    probe->config = (struct config){.sections = &probe->section, .section_count = 1};
    log_init(&probe->log, STDERR_FILENO, LOG_INFO);
    config_set_defaults(&probe->config);
    for (int i = 1; i < argc; i++) {
        char setting[CONFIG_TEXT_MAX + 32];
        (void)snprintf(setting, sizeof(setting), "cassandra.%s", argv[i]);
        if (!config_set(&probe->config, setting, &fault)) {
            (void)fprintf(stderr, "%s\n", fault.text);
            return 2;
        }
    }
    if (!mailbox_init(&probe->mailbox, (size_t)2 * FLOOD_MAX)) {
        return 3;
    }
    bool well = true;
    while (well && fgets(line, sizeof(line), stdin) != NULL) {
        well = obey(probe, line);
    }
    close_archive(probe);
    mailbox_deinit(&probe->mailbox);
    free(probe);
    return well ? 0 : 2;
}
