/* Runs the relay of one shard on real servers until SIGTERM, for the tests and the bench:
 *
 *     relay_host [--set section.key=value]...
 *
 * Sections: [mysql], [kafka], [binlog], and [host] below. When it ends, or on SIGUSR1, it prints
 * the metrics on stdout. */
#include "adapter/kafka/kafka_schema.h"
#include "adapter/kafka/kafka_writer.h"
#include "adapter/mariadb/mariadb.h"
#include "adapter/mariadb/mariadb_connection.h"
#include "adapter/mariadb_binlog/binlog_source.h"
#include "pipeline/relay.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define HOST_OPTIONS(X)                                                                            \
    X(text, owner, "host", "", start, "Name of this process in `positions`")                       \
    X(uint64, shard, "0", "0..31", start, "Number of the shard")                                   \
    X(uint64, lease_ms, "3000", "300..60000", start, "Length of the lease")                        \
    X(flag, make_topics, "no", "", start, "Make the topics first")                                 \
    X(flag, only_topics, "no", "", start, "Make the topics, and nothing else")                     \
    X(flag, stats, "no", "", start, "Print what was published, ten times a second")

struct host_options {
    HOST_OPTIONS(CONFIG_FIELD)
};
static const struct config_option host_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct host_options, __VA_ARGS__)
    HOST_OPTIONS(X)
#undef X
};

struct host {
    struct host_options options;
    struct mysql_options mysql;
    struct kafka_options kafka;
    struct binlog_options binlog;
    struct log log;
    struct service_clock clock;
    struct clock monotonic;
    struct metrics *metrics;
    struct mailbox mailbox;
    struct kafka_writer *writer;
    struct binlog_source *source;
    struct mariadb *mariadb;
    struct relay *relay;
    int signal_fd;
};

static int64_t monotonic_now_us(const struct clock *clock) {
    (void)clock;
    return clock_monotonic_us();
}

static bool configure(struct host *host, int count, char **arguments, struct fault *fault) {
    struct config_section sections[] = {
        {"host", host_option_table, ARRAY_COUNT(host_option_table), &host->options},
        {"mysql", mysql_option_table, mysql_option_count, &host->mysql},
        {"kafka", kafka_option_table, kafka_option_count, &host->kafka},
        {"binlog", binlog_option_table, binlog_option_count, &host->binlog},
    };
    struct config config = {.sections = sections, .section_count = ARRAY_COUNT(sections)};
    config_set_defaults(&config);
    for (int i = 1; i < count; i += 2) {
        if (i + 1 == count || strcmp(arguments[i], "--set") != 0) {
            fault_set(fault, "usage: relay_host [--set section.key=value]...");
            return false;
        }
        if (!config_set(&config, arguments[i + 1], fault)) {
            return false;
        }
    }
    return true;
}

/** The server of the shard, as the binlog's reader has it. */
static bool find_server(struct host *host, struct binlog_server *server, struct fault *fault) {
    struct mariadb_settings settings;
    if (!mariadb_settings_read(&host->mysql, NULL, &settings, fault)) {
        return false;
    }
    if (host->options.shard >= settings.shard_count) {
        fault_set(fault, "mysql.shards does not name shard %llu",
                  (unsigned long long)host->options.shard);
        return false;
    }
    const struct mariadb_server *found = &settings.servers[host->options.shard];
    *server = (struct binlog_server){
        .port = found->port,
        .shard = found->shard,
        .user = settings.user,
        .password = settings.password,
        .database = settings.database,
    };
    (void)snprintf(server->host.text, sizeof(server->host.text), "%s", found->host);
    return true;
}

static bool open_adapters(struct host *host, struct fault *fault) {
    struct binlog_server server;
    struct mariadb_parts mariadb = {
        .options = &host->mysql,
        .holder = host->options.owner.text,
        .log = &host->log,
        .clock = &host->clock.clock,
    };
    size_t made;
    if (host->options.make_topics && !kafka_schema_apply(&host->kafka, &host->log, &made, fault)) {
        return false;
    }
    if (host->options.only_topics) {
        exit(0);
    }
    if (!find_server(host, &server, fault)) {
        return false;
    }
    host->writer = kafka_writer_create(&host->kafka, &host->log, fault);
    if (host->writer == NULL) {
        return false;
    }
    host->source = binlog_source_create(&host->binlog, &server, &host->log, fault);
    host->mariadb = host->source == NULL ? NULL : mariadb_open(&mariadb, fault);
    return host->mariadb != NULL && mariadb_start(host->mariadb, fault);
}

static bool start(struct host *host, struct fault *fault) {
    if (!open_adapters(host, fault)) {
        return false;
    }
    fault_set(fault, "no memory");
    if (!mailbox_init(&host->mailbox, RELAY_OUTSTANDING_MAX)) {
        return false;
    }
    struct relay_parts parts = {
        .clock = &host->clock.clock,
        .monotonic = &host->monotonic,
        .log = &host->log,
        .lease = mariadb_lease_port(host->mariadb),
        .source = binlog_source_port(host->source),
        .store = mariadb_order_store(host->mariadb),
        .writer = kafka_writer_topic(host->writer, KAFKA_ORDERS_CHANGES),
        .mailbox = &host->mailbox,
        .shard = (uint32_t)host->options.shard,
        .lease_us = (int64_t)host->options.lease_ms * 1000,
    };
    host->relay = relay_create(&parts);
    host->metrics = metrics_create();
    if (host->relay == NULL || host->metrics == NULL) {
        return false;
    }
    metrics_register(host->metrics, "relay", NULL, relay_metric_table, relay_metric_count,
                     relay_metrics(host->relay));
    metrics_register(host->metrics, "binlog", NULL, binlog_metric_table, binlog_metric_count,
                     binlog_source_metrics(host->source));
    metrics_register(host->metrics, "kafka_writer", NULL, kafka_writer_metric_table,
                     kafka_writer_metric_count, kafka_writer_metrics(host->writer));
    return true;
}

static void print_metrics(const struct host *host) {
    static char memory[1 << 18];
    struct text text = text_over(memory, sizeof(memory));
    if (metrics_render(host->metrics, &text)) {
        (void)fwrite(text.data, 1, text.size, stdout);
        (void)fflush(stdout);
    }
}

/** Looks for a signal; true where the program is to end. */
static bool heed_signals(struct host *host) {
    struct signalfd_siginfo info;
    bool ends = false;
    while (read(host->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            print_metrics(host);
        } else {
            ends = true;
        }
    }
    return ends;
}

static void print_stats(const struct host *host, int64_t *next_us) {
    int64_t now_us = clock_monotonic_us();
    if (host->options.stats && now_us >= *next_us) {
        *next_us = now_us + 100000;
        (void)printf("%lld %llu\n", (long long)now_us,
                     (unsigned long long)metric_get(&relay_metrics(host->relay)->published_total));
        (void)fflush(stdout);
    }
}

static void run(struct host *host) {
    bool stopping = false;
    int64_t stats_us = 0;
    while (!stopping || relay_is_busy(host->relay)) {
        if (heed_signals(host)) {
            stopping = true;
            relay_stop(host->relay);
        }
        size_t completed = port_drain(&host->mailbox, SIZE_MAX);
        int64_t wake_at_us = relay_step(host->relay);
        int64_t left_us = wake_at_us - clock_monotonic_us();
        service_clock_adjust(&host->clock);
        print_stats(host, &stats_us);
        if (completed == 0 && left_us > 0) {
            mailbox_wait(&host->mailbox, left_us < 50000 ? (int)(left_us / 1000 + 1) : 50);
        }
    }
}

int main(int count, char **arguments) {
    static struct host host;
    struct fault fault;
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    host.signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    log_init(&host.log, STDERR_FILENO, LOG_INFO);
    service_clock_init(&host.clock, 0);
    host.monotonic.now_us = monotonic_now_us;
    if (!mariadb_library_begin() || !configure(&host, count, arguments, &fault) ||
        !start(&host, &fault)) {
        (void)fprintf(stderr, "relay_host: %s\n", fault.text);
        return 1;
    }
    run(&host);
    print_metrics(&host);
    kafka_writer_destroy(host.writer);
    binlog_source_destroy(host.source);
    mariadb_stop(host.mariadb);
    mariadb_close(host.mariadb);
    relay_destroy(host.relay);
    mailbox_deinit(&host.mailbox);
    metrics_destroy(host.metrics);
    return 0;
}
