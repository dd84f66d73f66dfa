/* The cluster's archive pipeline on real servers (MariaDB, Kafka, Cassandra) as one process, driven
 * by a test: commands on standard input, one line each, each answered with one line of JSON.
 *
 *     archive_host [section.key=value]...
 *
 * Sections: [mysql], [kafka], [cassandra], and [archive] with the pipeline's options.
 *
 *  prepare             makes tables, topics and keyspace
 *  open                opens the tiers and the pipeline
 *  create COUNT EVERY  creates orders and ends them; every EVERY-th one is not told of in
 *                      orders.changes (0: all are)
 *  run SECONDS         lets the pipeline work; answers with its counters
 *  kill STEP MOMENT    ends this process as a crash would when the pipeline comes there
 *                      (archive_steps.h); nothing else is answered then
 *  stop STEP MOMENT    the same, but it stops, until it gets SIGCONT
 */
#include "adapter/cassandra/cassandra.h"
#include "adapter/kafka/kafka_reader.h"
#include "adapter/kafka/kafka_schema.h"
#include "adapter/kafka/kafka_writer.h"
#include "adapter/mariadb/mariadb.h"
#include "adapter/mariadb/mariadb_schema.h"
#include "archive_steps.h"
#include "pipeline/cluster_archiver.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_ORDERS 500
#define READY_WITHIN_US 20000000

struct host {
    struct mysql_options mysql;
    struct kafka_options kafka;
    struct cassandra_options cassandra_options;
    struct cluster_archiver_options archive;
    struct log log;
    struct service_clock clock;
    struct clock monotonic;
    struct mailbox mailbox; /* of the pipeline */
    struct mailbox answers; /* of what the test asks for itself */
    struct mariadb *mariadb;
    struct kafka_writer *writer;
    struct kafka_reader *reader;
    struct cassandra *cassandra;
    struct archive_steps steps;
    struct cluster_archiver *archiver;
    uint64_t created;

    struct order_record orders[BATCH_ORDERS];
    struct order_record changed[BATCH_ORDERS];
    struct order_change changes[BATCH_ORDERS];
    uint64_t hashes[BATCH_ORDERS];
    uint8_t results[BATCH_ORDERS];
    char keys[BATCH_ORDERS][20];
    struct topic_message messages[BATCH_ORDERS];
};

static int64_t monotonic_now_us(const struct clock *clock) {
    (void)clock;
    return clock_monotonic_us();
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
    (void)fflush(stdout);
}

static bool configure(struct host *host, int count, char **arguments, struct fault *fault) {
    struct config_section sections[] = {
        {"mysql", mysql_option_table, mysql_option_count, &host->mysql},
        {"kafka", kafka_option_table, kafka_option_count, &host->kafka},
        {"cassandra", cassandra_option_table, cassandra_option_count, &host->cassandra_options},
        {"archive", cluster_archiver_option_table, cluster_archiver_option_count, &host->archive},
    };
    struct config config = {.sections = sections, .section_count = ARRAY_COUNT(sections)};
    config_set_defaults(&config);
    for (int i = 1; i < count; i++) {
        if (!config_set(&config, arguments[i], fault)) {
            return false;
        }
    }
    return true;
}

/* --- Opening and closing. --- */

static void ignore_line(void *context, const struct mariadb_server *server, const char *text) {
    (void)context;
    (void)server;
    (void)text;
}

static bool prepare(struct host *host, struct fault *fault) {
    struct mariadb_settings settings;
    struct mariadb_schema_report report = {ignore_line, NULL};
    struct cassandra_terms terms;
    size_t made;
    return mariadb_settings_read(&host->mysql, NULL, &settings, fault) &&
           mariadb_schema_apply(&settings, &host->log, &report, fault) &&
           kafka_schema_apply(&host->kafka, &host->log, &made, fault) &&
           cassandra_options_read(&host->cassandra_options, NULL, &terms, fault) &&
           cassandra_schema_apply(&terms, &host->log, NULL, NULL, fault);
}

static bool open_tiers(struct host *host, struct fault *fault) {
    struct cassandra_parts cassandra = {
        .options = &host->cassandra_options,
        .log = &host->log,
        .settle_us = (int64_t)host->archive.settle_seconds * 1000000,
        .seed = (uint64_t)getpid(),
    };
    struct mariadb_parts mariadb = {
        .options = &host->mysql,
        .log = &host->log,
        .clock = &host->clock.clock,
        .gives_ids = true,
    };
    host->cassandra = cassandra_open(&cassandra, fault);
    if (host->cassandra == NULL || !cassandra_start(host->cassandra, fault)) {
        return false;
    }
    mariadb.archive = cassandra_order_archive(host->cassandra);
    host->mariadb = mariadb_open(&mariadb, fault);
    if (host->mariadb == NULL || !mariadb_start(host->mariadb, fault)) {
        return false;
    }
    host->writer = kafka_writer_create(&host->kafka, &host->log, fault);
    host->reader = kafka_reader_create(&host->kafka, KAFKA_ORDERS_CHANGES, "orderd-archive",
                                       &host->log, fault);
    return host->writer != NULL && host->reader != NULL;
}

static bool open_host(struct host *host, struct fault *fault) {
    const char *reason = "";
    if (!open_tiers(host, fault)) {
        return false;
    }
    struct cluster_archiver_parts parts = {
        .options = &host->archive,
        .clock = &host->clock.clock,
        .monotonic = &host->monotonic,
        .log = &host->log,
        .store = mariadb_order_store(host->mariadb),
        .archive = cassandra_order_archive(host->cassandra),
        .changes = kafka_reader_port(host->reader),
        .archived = kafka_writer_topic(host->writer, KAFKA_ORDERS_ARCHIVED),
        .mailbox = &host->mailbox,
    };
    archive_steps_init(&host->steps, &parts);
    fault_set(fault, "no memory");
    host->archiver = cluster_archiver_create(&parts);
    if (host->archiver == NULL) {
        return false;
    }
    int64_t deadline_us = clock_monotonic_us() + READY_WITHIN_US;
    while (!mariadb_is_ready(host->mariadb, &reason)) {
        if (clock_monotonic_us() > deadline_us) {
            fault_set(fault, "%s", reason);
            return false;
        }
        (void)usleep(10000);
    }
    return true;
}

/** Lets the pipeline work until `end_us`; and then, where it stops, until nothing is under way. */
static void drive(struct host *host, int64_t end_us) {
    int64_t now_us;
    while ((now_us = clock_monotonic_us()) < end_us) {
        service_clock_adjust(&host->clock);
        size_t completed = port_drain(&host->mailbox, SIZE_MAX);
        int64_t wait_us = cluster_archiver_step(host->archiver) - now_us;
        if (completed == 0 && wait_us > 0) {
            mailbox_wait(&host->mailbox, wait_us < 20000 ? (int)(wait_us / 1000 + 1) : 20);
        }
    }
}

static void close_host(struct host *host) {
    if (host->archiver != NULL) {
        cluster_archiver_stop(host->archiver);
        while (cluster_archiver_is_busy(host->archiver)) {
            drive(host, clock_monotonic_us() + 10000);
        }
    }
    if (host->reader != NULL) {
        kafka_reader_destroy(host->reader);
    }
    if (host->writer != NULL) {
        kafka_writer_destroy(host->writer);
    }
    if (host->mariadb != NULL) {
        mariadb_close(host->mariadb);
    }
    if (host->cassandra != NULL) {
        cassandra_stop(host->cassandra);
        cassandra_close(host->cassandra);
    }
    if (host->archiver != NULL) {
        cluster_archiver_destroy(host->archiver);
    }
}

/* --- Orders. --- */

static void ignore(struct port_request *request) {
    (void)request;
}

/** Waits for the one request that the test has outstanding; true where every result is `wanted`. */
static bool await(struct host *host, enum port_submit submitted, size_t count,
                  enum order_result wanted) {
    if (submitted != PORT_TAKEN) {
        return false;
    }
    while (port_drain(&host->answers, 1) == 0) {
        mailbox_wait(&host->answers, 1000);
    }
    for (size_t i = 0; i < count; i++) {
        if (host->results[i] != wanted) {
            (void)fprintf(stderr, "result %u where %u was wanted\n", host->results[i], wanted);
            return false;
        }
    }
    return true;
}

static bool create(struct host *host, size_t count) {
    struct order_store *store = mariadb_order_store(host->mariadb);
    for (size_t i = 0; i < count; i++) {
        struct order_record *order = &host->orders[i];
        *order = (struct order_record){.amount = 100 + i,
                                       .format = ORDER_RECORD_FORMAT,
                                       .payment_type = ORDER_PAYMENT_WALLET,
                                       .currency = "EUR",
                                       .partner_code = "partner"};
        (void)snprintf(order->partner_order_id, sizeof(order->partner_order_id), "%d-%llu",
                       (int)getpid(), (unsigned long long)host->created++);
        host->hashes[i] = order_record_reference_hash(order);
    }
    struct order_create_batch creation = {
        .request = {.done = ignore, .mailbox = &host->answers},
        .count = count,
        .orders = host->orders,
        .reference_hashes = host->hashes,
        .results = host->results,
    };
    if (!await(host, store->ops->create(store, &creation), count, ORDER_RESULT_CREATED)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        host->changes[i] = (struct order_change){.order_id = host->orders[i].order_id,
                                                 .status = ORDER_STATUS_SUCCESS};
    }
    struct order_change_batch change = {
        .request = creation.request,
        .count = count,
        .changes = host->changes,
        .orders = host->changed,
        .results = host->results,
    };
    return await(host, store->ops->change(store, &change), count, ORDER_RESULT_CHANGED);
}

/** Tells of the ended orders as the relay does, but for every `every`-th one. */
static bool announce(struct host *host, size_t count, size_t every) {
    struct topic_writer *topic = kafka_writer_topic(host->writer, KAFKA_ORDERS_CHANGES);
    size_t told = 0;
    for (size_t i = 0; i < count; i++) {
        if (every > 0 && i % every == 0) {
            continue;
        }
        struct text key = text_over(host->keys[i], sizeof(host->keys[i]));
        text_append_u64(&key, host->changed[i].order_id);
        host->messages[told++] = (struct topic_message){
            .key = text_slice(&key),
            .value = {(const char *)&host->changed[i], sizeof(host->changed[i])},
            .header = SLICE_LITERAL("changed"),
            .partition = -1,
        };
    }
    struct topic_publish publish = {
        .request = {.done = ignore, .mailbox = &host->answers},
        .count = told,
        .messages = host->messages,
        .results = host->results,
    };
    return await(host, topic->ops->publish(topic, &publish), told, ORDER_RESULT_STORED);
}

static bool create_all(struct host *host, size_t count, size_t every) {
    while (count > 0) {
        size_t size = bytes_min_size(count, BATCH_ORDERS);
        if (!create(host, size) || !announce(host, size, every)) {
            return false;
        }
        count -= size;
    }
    return true;
}

/* --- Commands. --- */

static void say_counters(const struct host *host) {
    const struct cluster_archiver_metrics *batch = cluster_archiver_metrics(host->archiver);
    const struct settling_metrics *settling = cluster_archiver_settling_metrics(host->archiver);
    say("{\"archived\":%llu,\"scanned\":%llu,\"mismatches\":%llu,\"failures\":%llu,"
        "\"retries\":%llu,\"released\":%llu,\"settling\":%llu,\"not_released\":%llu}",
        (unsigned long long)metric_get(&batch->archived_total),
        (unsigned long long)metric_get(&batch->scanned_total),
        (unsigned long long)metric_get(&batch->mismatches_total),
        (unsigned long long)metric_get(&batch->failures_total),
        (unsigned long long)(metric_get(&batch->retries_total) +
                             metric_get(&settling->retries_total)),
        (unsigned long long)metric_get(&settling->released_total),
        (unsigned long long)metric_get(&settling->orders),
        (unsigned long long)(metric_get(&settling->mismatches_total) +
                             metric_get(&settling->vanished_total) +
                             metric_get(&settling->broken_total)));
}

static bool arm(struct host *host, const char *line, int signal) {
    char step[16];
    char moment[16];
    bool armed = sscanf(line, "%*s %15s %15s", step, moment) == 2 &&
                 archive_steps_arm(&host->steps, step, moment, signal);
    say("{\"armed\":%s}", armed ? "true" : "false");
    return armed;
}

static bool obey(struct host *host, const char *line) {
    char command[16];
    double first = 0;
    double second = 0;
    struct fault fault = {""};
    if (sscanf(line, "%15s %lf %lf", command, &first, &second) < 1) {
        return false;
    }
    if (strcmp(command, "kill") == 0 || strcmp(command, "stop") == 0) {
        return arm(host, line, command[0] == 'k' ? SIGKILL : SIGSTOP);
    }
    if (strcmp(command, "prepare") == 0) {
        bool well = prepare(host, &fault);
        say("{\"fault\":\"%s\"}", well ? "" : fault.text);
    } else if (strcmp(command, "open") == 0) {
        bool well = open_host(host, &fault);
        say("{\"fault\":\"%s\"}", well ? "" : fault.text);
    } else if (strcmp(command, "create") == 0) {
        bool well = create_all(host, (size_t)first, (size_t)second);
        say("{\"created\":%s}", well ? "true" : "false");
    } else if (strcmp(command, "run") == 0) {
        drive(host, clock_monotonic_us() + (int64_t)(first * 1e6));
        say_counters(host);
    } else {
        return false;
    }
    return true;
}

int main(int count, char **arguments) {
    static struct host host;
    struct fault fault;
    char line[256];
    (void)signal(SIGPIPE, SIG_IGN);
    log_init(&host.log, STDERR_FILENO, LOG_INFO);
    service_clock_init(&host.clock, 0);
    host.monotonic.now_us = monotonic_now_us;
    if (!configure(&host, count, arguments, &fault)) {
        (void)fprintf(stderr, "archive_host: %s\n", fault.text);
        return 2;
    }
    if (!mariadb_library_begin() ||
        !mailbox_init(&host.mailbox, CLUSTER_ARCHIVER_OUTSTANDING_MAX) ||
        !mailbox_init(&host.answers, 4)) {
        return 3;
    }
    bool well = true;
    while (well && fgets(line, sizeof(line), stdin) != NULL) {
        well = obey(&host, line);
    }
    close_host(&host);
    return well ? 0 : 2;
}
