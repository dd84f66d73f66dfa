#include "orderctl/bench_run.h"

#include "base/clock.h"
#include "base/pages.h"
#include "orderctl/bench_reference.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>

#define MEMORY_BYTES_MAX ((size_t)8 << 30)

/* The finishing half of a load sends one small request an order. */
#define FINISH_CONNECTIONS 64
#define FINISH_DEPTH 16

/** One thread and what it needs. */
struct member {
    struct bench_worker worker;
    pthread_t thread;
    const struct bench_window *window;
    double requests_per_second;
    int cpu;
    bool started;
};

static void pin(int cpu) {
    cpu_set_t set;
    if (cpu < 0) {
        return;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void *run_member(void *context) {
    struct member *member = context;
    pin(member->cpu);
    bench_worker_run(&member->worker, member->window, member->requests_per_second);
    return NULL;
}

static void add_result(struct bench_result *total, const struct bench_result *result) {
    total->right += result->right;
    total->wrong += result->wrong;
    total->refused += result->refused;
    total->unanswered += result->unanswered;
    total->unsent += result->unsent;
    total->requests += result->requests;
    total->reconnects += result->reconnects;
    total->bytes_sent += result->bytes_sent;
    total->bytes_received += result->bytes_received;
    total->cpu_ns += result->cpu_ns;
    total->last_ns = result->last_ns > total->last_ns ? result->last_ns : total->last_ns;
    histogram_merge(&total->latency_ns, &result->latency_ns);
}

static void add_member(struct bench_report *report, const struct member *member,
                       enum exit_status *status, struct fault *fault) {
    const struct bench_workload *workload = member->worker.workload;
    add_result(&report->total, &member->worker.result);
    if (workload->has_fault && !report->has_note) {
        report->has_note = true;
        report->note = workload->fault;
    }
    if (member->worker.broken && *status == EXIT_STATUS_DONE) {
        *status = EXIT_STATUS_UNREACHABLE;
        *fault = member->worker.fault;
    }
}

/** Which part of a run this is. */
struct part {
    struct bench_shared *shared;
    const struct bench_options *options;
    bool finishes; /* the second half of a load */
};

static uint64_t random_seed(void) {
    uint64_t seed = (uint64_t)clock_wall_us();
    (void)!getrandom(&seed, sizeof(seed), 0);
    return seed;
}

/** Makes the workers and connects all of them, before anything is timed. */
static enum exit_status prepare_members(const struct part *part, struct member *members,
                                        struct fault *fault) {
    const struct bench_options *options = part->options;
    for (uint32_t i = 0; i < options->threads; i++) {
        bool reachable;
        uint32_t share = options->connections / options->threads +
                         (i < options->connections % options->threads ? 1 : 0);
        struct bench_workload *workload =
            part->finishes ? bench_workload_create_finish(part->shared, random_seed())
                           : bench_workload_create(part->shared, random_seed());
        members[i].cpu = options->cpu;
        members[i].requests_per_second = (double)options->rate / options->batch / options->threads;
        bool ready =
            bench_worker_init(&members[i].worker, options, workload, share, &reachable, fault);
        members[i].started = true;
        if (!ready) {
            return reachable ? EXIT_STATUS_REFUSED : EXIT_STATUS_UNREACHABLE;
        }
    }
    return EXIT_STATUS_DONE;
}

static struct bench_window make_window(const struct part *part) {
    const struct bench_options *options = part->options;
    struct bench_window window = {.start_ns = bench_clock_ns()};
    window.begin_ns = window.start_ns;
    window.end_ns = INT64_MAX;
    if (options->kind != BENCH_LOAD) {
        window.begin_ns += (int64_t)options->warmup_ms * 1000000;
        window.end_ns = window.begin_ns + (int64_t)options->seconds_ms * 1000000;
    }
    return window;
}

static enum exit_status run_members(const struct part *part, struct member *members,
                                    struct bench_report *report, struct fault *fault) {
    const struct bench_options *options = part->options;
    enum exit_status status = EXIT_STATUS_DONE;
    struct bench_window window = make_window(part);
    uint32_t running = 0;
    for (; running < options->threads; running++) {
        members[running].window = &window;
        if (pthread_create(&members[running].thread, NULL, run_member, &members[running]) != 0) {
            fault_set(fault, "a thread cannot be started");
            status = EXIT_STATUS_REFUSED;
            break;
        }
    }
    for (uint32_t i = 0; i < running; i++) {
        (void)pthread_join(members[i].thread, NULL);
        add_member(report, &members[i], &status, fault);
    }
    int64_t end_ns = options->kind == BENCH_LOAD ? report->total.last_ns : window.end_ns;
    report->seconds = (double)(end_ns - window.begin_ns) / (double)BENCH_NANOSECONDS;
    report->cpu_seconds = (double)report->total.cpu_ns / (double)BENCH_NANOSECONDS;
    return status;
}

static enum exit_status run_part(const struct part *part, struct bench_report *report,
                                 struct fault *fault) {
    struct member *members =
        aligned_alloc(CACHE_LINE_BYTES,
                      bytes_align_up(part->options->threads * sizeof(*members), CACHE_LINE_BYTES));
    if (members == NULL) {
        fault_set(fault, "no memory for the bench");
        return EXIT_STATUS_REFUSED;
    }
    memset(members, 0, part->options->threads * sizeof(*members));
    memset(report, 0, sizeof(*report));
    enum exit_status status = prepare_members(part, members, fault);
    if (status == EXIT_STATUS_DONE) {
        status = run_members(part, members, report, fault);
    }
    for (uint32_t i = 0; i < part->options->threads; i++) {
        if (members[i].started) {
            bench_worker_deinit(&members[i].worker);
        }
    }
    free(members);
    return status;
}

/* --- What is shared. --- */

static void make_prefix(char prefix[BENCH_RUN_PREFIX_CHARACTERS + 1]) {
    static const char characters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    struct random_source random = {random_seed()};
    for (size_t i = 0; i < BENCH_RUN_PREFIX_CHARACTERS; i++) {
        prefix[i] = characters[random_below(&random, sizeof(characters) - 1)];
    }
    prefix[BENCH_RUN_PREFIX_CHARACTERS] = 0;
}

static enum exit_status prepare_shared(struct bench_shared *shared,
                                       const struct bench_options *options, struct fault *fault) {
    bool reads = options->kind != BENCH_LOAD && options->ids_path != NULL;
    size_t buffers = (size_t)options->connections * options->depth * options->batch *
                     sizeof(struct order_record);
    memset(shared, 0, sizeof(*shared));
    shared->options = options;
    make_prefix(shared->run_prefix);
    if (options->scatter) {
        memcpy(shared->run_prefix, BENCH_REFERENCE_SCATTERED, sizeof(shared->run_prefix));
        shared->next_reference = random_seed();
    }
    if (buffers > MEMORY_BYTES_MAX) {
        fault_set(fault, "bench: --connections times --depth times --batch is too much");
        return EXIT_STATUS_USAGE;
    }
    if (reads &&
        !bench_ids_read(&shared->ids, options->ids_path, options->batch, random_seed(), fault)) {
        return EXIT_STATUS_USAGE;
    }
    if (!reads && options->ids_path != NULL && !bench_ids_can_write(options->ids_path, fault)) {
        return EXIT_STATUS_USAGE; /* told before the orders are made, not after */
    }
    if (options->kind == BENCH_LOAD) {
        shared->loaded_bytes = (options->orders + options->batch) * sizeof(uint64_t);
        shared->loaded = pages_reserve(shared->loaded_bytes);
        if (shared->loaded == NULL) {
            fault_set(fault, "no memory for the ids");
            return EXIT_STATUS_REFUSED;
        }
    }
    return EXIT_STATUS_DONE;
}

static void release_shared(struct bench_shared *shared) {
    bench_ids_release(&shared->ids);
    if (shared->loaded != NULL) {
        pages_release(shared->loaded, shared->loaded_bytes);
    }
}

/* --- load --- */

/** Makes the first `final_percent` of what was loaded final. */
static enum exit_status finish_load(struct bench_shared *shared, struct bench_report *report,
                                    struct fault *fault) {
    struct bench_options options = *shared->options;
    struct bench_report finish;
    uint64_t count = atomic_load(&shared->loaded_count);
    shared->finished = shared->loaded;
    shared->finish_count =
        count / 100 * options.final_percent + count % 100 * options.final_percent / 100;
    options.connections = (uint32_t)bytes_max_u64(options.threads, FINISH_CONNECTIONS);
    options.depth = FINISH_DEPTH;
    options.batch = 1;
    struct part part = {shared, &options, true};
    enum exit_status status = run_part(&part, &finish, fault);
    report->finished = finish.total.right;
    report->finish_seconds = finish.seconds;
    report->total.wrong += finish.total.wrong;
    report->total.refused += finish.total.refused;
    if (finish.has_note && !report->has_note) {
        report->has_note = true;
        report->note = finish.note;
    }
    return status;
}

static enum exit_status conclude_load(struct bench_shared *shared, struct bench_report *report,
                                      struct fault *fault) {
    const struct bench_options *options = shared->options;
    enum exit_status status = EXIT_STATUS_DONE;
    if (options->ids_path != NULL && !bench_ids_write(options->ids_path, shared->loaded,
                                                      atomic_load(&shared->loaded_count), fault)) {
        return EXIT_STATUS_UNREACHABLE;
    }
    if (options->final_percent > 0) {
        status = finish_load(shared, report, fault);
    }
    if (status == EXIT_STATUS_DONE && report->total.right != options->orders) {
        return EXIT_STATUS_REFUSED;
    }
    return status;
}

/* --- Orders of its own. --- */

/** Makes the orders that are to be read, and takes their ids. */
static enum exit_status make_orders(struct bench_shared *shared, const struct bench_options *load,
                                    struct fault *fault) {
    struct bench_shared loading;
    struct bench_report report;
    enum exit_status status = prepare_shared(&loading, load, fault);
    struct part part = {&loading, load, false};
    if (status == EXIT_STATUS_DONE) {
        status = run_part(&part, &report, fault);
    }
    uint64_t made = atomic_load(&loading.loaded_count);
    if (status == EXIT_STATUS_DONE && made != load->orders) {
        fault_set(fault, "bench: only %llu of %llu orders to be read could be made%s%s",
                  (unsigned long long)made, (unsigned long long)load->orders,
                  report.has_note ? ": " : "", report.has_note ? report.note.text : "");
        status = EXIT_STATUS_REFUSED;
    }
    if (status == EXIT_STATUS_DONE &&
        !bench_ids_copy(&shared->ids, loading.loaded, made, shared->options->batch, random_seed(),
                        fault)) {
        status = EXIT_STATUS_REFUSED;
    }
    release_shared(&loading);
    return status;
}

enum exit_status bench_run(const struct bench_options *options, const struct bench_options *load,
                           struct bench_report *report, struct fault *fault) {
    struct bench_shared shared;
    memset(report, 0, sizeof(*report));
    enum exit_status status = prepare_shared(&shared, options, fault);
    struct part part = {&shared, options, false};
    if (status == EXIT_STATUS_DONE && load != NULL) {
        status = make_orders(&shared, load, fault);
    }
    if (status == EXIT_STATUS_DONE) {
        status = run_part(&part, report, fault);
    }
    if (status == EXIT_STATUS_DONE && options->kind == BENCH_LOAD) {
        status = conclude_load(&shared, report, fault);
    }
    if (status == EXIT_STATUS_DONE && report->total.wrong > 0) {
        status = EXIT_STATUS_REFUSED;
    }
    release_shared(&shared);
    return status;
}
