/** orderd: the daemon. Reads the configuration, opens the tiers, starts the threads, and then waits
 *  for signals, keeping the service clock and a few gauges up to date meanwhile. */
#include "orderd/listen_address.h"
#include "orderd/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS 100

/** The end may take so long beyond drain_timeout_ms. */
#define END_LIMIT_SECONDS 60
#define EXIT_USAGE 2

#define PROCESS_METRICS(X)                                                                         \
    X(gauge, orders, "Orders in the RAM table")                                                    \
    X(gauge, orders_evictable, "Of them, those that are archived and may leave it")                \
    X(gauge, orders_capacity, "Orders that the RAM table has room for")                            \
    X(gauge, table_bytes, "Memory reserved for the RAM table with both indices")                   \
    X(counter, evicted_total, "Archived orders that left the RAM table")                           \
    X(gauge, resident_bytes, "Memory of the process that is in RAM")                               \
    X(gauge, clock_lead_microseconds, "How far the service clock is ahead of the system's")        \
    X(counter, log_lines_dropped_total, "Lines that could not be written to the log")

struct process_metrics {
    PROCESS_METRICS(METRIC_FIELD)
};

static const struct metric_description process_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct process_metrics, __VA_ARGS__)
    PROCESS_METRICS(X)
#undef X
};

struct program {
    struct command_line line;
    struct program_options options;
    struct order_terms terms;
    struct log log;
    struct service_clock clock;
    struct metrics *metrics;
    struct backend *backend;
    struct api_readiness readiness;
    atomic_bool leaving;     /* it serves, but is about to end */
    struct worker **workers; /* owned */
    size_t worker_count;
    char address[CONFIG_TEXT_MAX + 8];      /* with the port that was taken */
    char resp_address[CONFIG_TEXT_MAX + 8]; /* as well; empty: none */
    struct process_metrics process_metrics;
};

static uint64_t resident_bytes(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*u %llu", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void update_metrics(struct program *program) {
    struct process_metrics *metrics = &program->process_metrics;
    struct order_table_usage usage;
    order_table_usage(program->backend->table, &usage);
    metric_set(&metrics->orders, usage.orders);
    metric_set(&metrics->orders_evictable, usage.evictable);
    metric_set(&metrics->orders_capacity, usage.capacity);
    metric_set(&metrics->table_bytes, usage.id_index_bytes + usage.slab_bytes +
                                          usage.reference_index_bytes + usage.eviction_bytes);
    metric_set(&metrics->evicted_total, usage.evicted);
    metric_set(&metrics->resident_bytes, resident_bytes());
    metric_set(&metrics->clock_lead_microseconds, (uint64_t)service_clock_lead_us(&program->clock));
    metric_set(&metrics->log_lines_dropped_total,
               atomic_load_explicit(&program->log.lines_dropped, memory_order_relaxed));
}

/** Takes over what may change while the process runs; says where something else has changed. */
static void apply(struct program *program, const struct program_options *next) {
    struct fault fault;
    bool all = config_differs_only_live(&program->options.config, &next->config, &fault);
    program->options.server.log_level = next->server.log_level;
    atomic_store_explicit(&program->log.minimum_level,
                          (int)program_options_log_level(&program->options), memory_order_relaxed);
    log_info(&program->log, "config", "read again");
    if (!all) {
        log_warning(&program->log, "config", "not applied: %s", fault.text);
    }
}

/** Applies what a reload may change; keeps everything where the new configuration is refused. */
static void reload(struct program *program) {
    struct program_options *next = malloc(sizeof(*next));
    struct order_terms terms;
    struct fault fault = {"no memory"};
    if (next != NULL && program_options_load(next, &program->line, &fault) &&
        program_options_check(next, &terms, &fault)) {
        apply(program, next);
    } else {
        log_error(&program->log, "config", "not applied: %s", fault.text);
    }
    free(next);
}

static struct backend_parts backend_parts(struct program *program) {
    return (struct backend_parts){
        .options = &program->options,
        .terms = &program->terms,
        .log = &program->log,
        .clock = &program->clock,
        .metrics = program->metrics,
    };
}

static bool open_tiers(struct program *program, struct fault *fault) {
    const struct backend_parts parts = backend_parts(program);
    program->backend = program_options_is_cluster(&program->options)
                           ? backend_cluster_open(&parts, fault)
                           : backend_embedded_open(&parts, fault);
    return program->backend != NULL;
}

/** What /readyz is answered: the tiers decide, until the process is about to end. */
static bool is_ready(const struct api_readiness *readiness, struct text *reason) {
    const struct program *program = CONTAINER_OF(readiness, const struct program, readiness);
    if (atomic_load_explicit(&program->leaving, memory_order_relaxed)) {
        text_append_slice(reason, SLICE_LITERAL("this process is about to end"));
        return false;
    }
    const struct api_readiness *tiers = &program->backend->readiness;
    return tiers->is_ready(tiers, reason);
}

static size_t thread_count(const struct program *program) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = program->options.server.threads;
    return wanted != 0 ? wanted : processors > 0 ? (size_t)processors : 1;
}

/** @param key the option that has the address. */
static bool is_address_free(const struct program *program, const char *key, const char *text,
                            struct fault *fault) {
    struct fault reason;
    struct listen_address address;
    bool parsed = listen_address_parse(text, &address);
    assert(parsed); /* the options were judged */
    if (!listen_address_is_free(&address, &reason)) {
        fault_set(fault, "%s: %.80s: %s", key, text, reason.text);
        config_place_fault(&program->options.config, fault);
        return false;
    }
    return true;
}

/** Where to listen for RESP; empty where nobody is to, as without the queries' role. */
static const char *wanted_resp_address(const struct program *program) {
    return program->backend->has_queries ? program->options.resp.listen.text : "";
}

static bool are_addresses_free(const struct program *program, struct fault *fault) {
    const char *resp = wanted_resp_address(program);
    return is_address_free(program, "server.listen", program->options.server.listen.text, fault) &&
           (resp[0] == 0 || is_address_free(program, "resp.listen", resp, fault));
}

/** Writes the address with the port that was taken. */
static const char *with_port(char *out, size_t size, const char *address, unsigned port) {
    const char *colon = strrchr(address, ':');
    (void)snprintf(out, size, "%.*s:%u", (int)(colon - address), address, port);
    return out;
}

/** Makes the workers. They listen, but nobody is served yet: a failure of any of them, or of the
 *  tiers' threads, ends the start. */
static bool make_workers(struct program *program, struct fault *fault) {
    size_t count = thread_count(program);
    struct worker_parts parts = {
        .options = &program->options,
        .terms = &program->terms,
        .clock = &program->clock.clock,
        .backend = program->backend,
        .readiness = &program->readiness,
        .metrics = program->metrics,
        .address = program->options.server.listen.text,
        .resp_address = wanted_resp_address(program),
    };
    if (!are_addresses_free(program, fault)) {
        return false;
    }
    program->workers = calloc(count, sizeof(struct worker *));
    if (program->workers == NULL) {
        fault_set(fault, "no memory for the network threads");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        program->workers[i] = worker_create(&parts, fault);
        if (program->workers[i] == NULL) {
            return false;
        }
        program->worker_count++;
        if (i == 0) {
            /* Port 0 took a free one: the others listen on the same. */
            parts.address = with_port(program->address, sizeof(program->address), parts.address,
                                      worker_port(program->workers[0]));
            if (parts.resp_address[0] != 0) {
                parts.resp_address =
                    with_port(program->resp_address, sizeof(program->resp_address),
                              parts.resp_address, worker_resp_port(program->workers[0]));
            }
        }
    }
    return true;
}

static bool start_workers(struct program *program, struct fault *fault) {
    for (size_t i = 0; i < program->worker_count; i++) {
        if (!worker_start(program->workers[i], fault)) {
            return false;
        }
    }
    log_info(&program->log, "orderd", "serving http://%s on %zu threads", program->address,
             program->worker_count);
    if (program->resp_address[0] != 0) {
        log_info(&program->log, "orderd", "serving RESP on %s", program->resp_address);
    }
    return true;
}

/** Lets the workers answer what they have, and ends their threads. */
static void drain_workers(struct program *program) {
    for (size_t i = 0; i < program->worker_count; i++) {
        worker_drain(program->workers[i]);
    }
    for (size_t i = 0; i < program->worker_count; i++) {
        worker_join(program->workers[i]);
    }
}

/** The tiers end before the workers are freed: what a worker did not wait for, such as an offer to
 *  the cache, is still completed into its memory. */
static void close_program(struct program *program) {
    drain_workers(program);
    if (program->backend != NULL) {
        program->backend->ops->close(program->backend);
    }
    for (size_t i = 0; i < program->worker_count; i++) {
        worker_destroy(program->workers[i]);
    }
    free(program->workers);
    metrics_destroy(program->metrics);
}

/** What is durable is so before anything is answered: an end by force loses as little as any. */
static void out_of_time(int signal_number) {
    static const char line[] = "orderd: the end took too long and is forced\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, line, sizeof(line) - 1);
    _exit(EXIT_FAILURE);
}

/** From now on the process ends in any case, whatever a client library waits for. */
static void limit_end(const struct program *program) {
    (void)signal(SIGALRM, out_of_time);
    (void)alarm((unsigned)(program->options.server.drain_timeout_ms / 1000) + END_LIMIT_SECONDS);
}

/** Waits for signals until one asks for the end, or until `end_us` of the monotonic clock. */
static void run(struct program *program, const sigset_t *signals, int64_t end_us) {
    while (clock_monotonic_us() < end_us) {
        struct timespec tick = {.tv_sec = 0, .tv_nsec = TICK_MS * 1000000L};
        int received = sigtimedwait(signals, NULL, &tick);
        if (received == SIGTERM || received == SIGINT) {
            return;
        }
        if (received == SIGHUP) {
            reload(program);
        }
        service_clock_adjust(&program->clock);
        update_metrics(program);
    }
}

/** The end was asked for: serves on for drain_delay_ms, in which whoever asks /readyz learns that
 *  nothing more should be sent here. Else a request could come just as the listener closes. */
static void leave(struct program *program, const sigset_t *signals) {
    int64_t delay_us = (int64_t)program->options.server.drain_delay_ms * 1000;
    if (delay_us > 0) {
        log_info(&program->log, "orderd", "about to end: not ready from now on");
        atomic_store_explicit(&program->leaving, true, memory_order_relaxed);
        run(program, signals, clock_monotonic_us() + delay_us);
    }
    log_info(&program->log, "orderd", "draining");
}

/** Blocks the signals that `run` waits for, in this thread and those that it starts. */
static void take_signals(sigset_t *signals) {
    (void)sigemptyset(signals);
    (void)sigaddset(signals, SIGTERM);
    (void)sigaddset(signals, SIGINT);
    (void)sigaddset(signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static int serve(struct program *program) {
    struct fault fault;
    sigset_t signals;
    take_signals(&signals);
    log_init(&program->log, STDERR_FILENO, program_options_log_level(&program->options));
    service_clock_init(&program->clock, 0);
    program->readiness.is_ready = is_ready;
    program->metrics = metrics_create();
    if (program->metrics == NULL) {
        (void)fprintf(stderr, "orderd: no memory for the metrics\n");
        return EXIT_FAILURE;
    }
    metrics_register(program->metrics, "process", NULL, process_metric_table,
                     ARRAY_COUNT(process_metric_table), &program->process_metrics);
    if (!open_tiers(program, &fault) || !make_workers(program, &fault) ||
        !program->backend->ops->start(program->backend, &fault) ||
        !start_workers(program, &fault)) {
        log_error(&program->log, "orderd", "not started: %s", fault.text);
        close_program(program);
        return EXIT_FAILURE;
    }
    update_metrics(program);
    run(program, &signals, INT64_MAX);
    leave(program, &signals);
    limit_end(program);
    close_program(program);
    log_info(&program->log, "orderd", "ended");
    return EXIT_SUCCESS;
}

/** Answers what needs no service. True where there is nothing more to do. */
static bool answer_questions(const struct program *program) {
    if (program->line.show_help) {
        (void)fputs(program_help, stdout);
    } else if (program->line.show_version) {
        (void)printf("orderd %s\n", ORDERD_VERSION);
    }
    return program->line.show_help || program->line.show_version;
}

/** Does what the command line says; returns the exit status. */
static int run_program(struct program *program, int argc, char **argv) {
    struct fault fault;
    if (!command_line_read(argc, argv, &program->line, &fault)) {
        (void)fprintf(stderr, "orderd: %s\n", fault.text);
        return EXIT_USAGE;
    }
    if (answer_questions(program)) {
        return EXIT_SUCCESS;
    }
    if (!program_options_load(&program->options, &program->line, &fault) ||
        !program_options_check(&program->options, &program->terms, &fault)) {
        (void)fprintf(stderr, "orderd: %s\n", fault.text);
        return EXIT_USAGE;
    }
    if (program->line.print_config) {
        config_print(&program->options.config, stdout);
    } else if (!program->line.check_config) {
        return serve(program);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    struct program *program = calloc(1, sizeof(*program));
    if (program == NULL) {
        (void)fprintf(stderr, "orderd: no memory\n");
        return EXIT_FAILURE;
    }
    int status = run_program(program, argc, argv);
    command_line_free(&program->line);
    free(program);
    return status;
}
