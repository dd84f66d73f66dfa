#include "orderctl/commands.h"

#include "orderctl/bench_run.h"

#define NANOSECONDS_A_MICROSECOND 1000.0

struct quantile {
    const char *name;
    double fraction;
};

static const struct quantile quantiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1},
};

static double latency_us(const struct bench_report *report, double fraction) {
    return (double)histogram_quantile(&report->total.latency_ns, fraction) /
           NANOSECONDS_A_MICROSECOND;
}

static double per_second(uint64_t count, double seconds) {
    return seconds > 0 ? (double)count / seconds : 0;
}

static json_t *latency_document(const struct bench_report *report) {
    json_t *latency = json_object();
    for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++) {
        (void)json_object_set_new(latency, quantiles[i].name,
                                  json_real(latency_us(report, quantiles[i].fraction)));
    }
    return latency;
}

static void set_count(json_t *document, const char *name, uint64_t count) {
    (void)json_object_set_new(document, name, json_integer((json_int_t)count));
}

static void write_document(const struct session *session, const struct bench_options *options,
                           const struct bench_report *report, const struct fault *fault) {
    const struct bench_result *total = &report->total;
    json_t *document =
        json_pack("{s:s, s:I, s:f, s:f, s:I, s:o}", "bench", bench_kind_name(options->kind), "ops",
                  (json_int_t)total->right, "seconds", report->seconds, "ops_per_s",
                  per_second(total->right, report->seconds), "errors", (json_int_t)total->wrong,
                  "latency_us", latency_document(report));
    set_count(document, "refused", total->refused);
    set_count(document, "unanswered", total->unanswered);
    set_count(document, "requests", total->requests);
    set_count(document, "connections", options->connections);
    set_count(document, "depth", options->depth);
    set_count(document, "batch", options->batch);
    set_count(document, "threads", options->threads);
    set_count(document, "bytes_sent", total->bytes_sent);
    set_count(document, "bytes_received", total->bytes_received);
    (void)json_object_set_new(document, "client_cpu_seconds", json_real(report->cpu_seconds));
    if (options->rate > 0) {
        set_count(document, "rate", options->rate);
        set_count(document, "unsent", total->unsent);
    }
    if (options->kind == BENCH_LOAD && options->final_percent > 0) {
        set_count(document, "finished", report->finished);
        (void)json_object_set_new(document, "finished_per_s",
                                  json_real(per_second(report->finished, report->finish_seconds)));
    }
    if (report->has_note) {
        (void)json_object_set_new(document, "first_error", json_string(report->note.text));
    }
    if (fault != NULL) {
        (void)json_object_set_new(document, "ended_early", json_string(fault->text));
    }
    session_write_json(session, document);
}

static void write_summary(const struct session *session, const struct bench_options *options,
                          const struct bench_report *report) {
    const struct bench_result *total = &report->total;
    FILE *out = session->out;
    fprintf(out, "%s: %.0f operations a second (%llu in %.2f s, %llu requests)\n",
            bench_kind_name(options->kind), per_second(total->right, report->seconds),
            (unsigned long long)total->right, report->seconds, (unsigned long long)total->requests);
    fprintf(out, "  %u connections, depth %u, batch %u, threads %u; client CPU %.2f s\n",
            options->connections, options->depth, options->batch, options->threads,
            report->cpu_seconds);
    fputs("  latency, us:", out);
    for (size_t i = 0; i < ARRAY_COUNT(quantiles); i++) {
        fprintf(out, " %s %.1f", quantiles[i].name, latency_us(report, quantiles[i].fraction));
    }
    fprintf(out, "\n  errors %llu, refused %llu", (unsigned long long)total->wrong,
            (unsigned long long)total->refused);
    if (options->rate > 0) {
        fprintf(out, ", not sent in time %llu", (unsigned long long)total->unsent);
    }
    fputc('\n', out);
    if (options->kind == BENCH_LOAD && options->final_percent > 0) {
        fprintf(out, "  made final: %llu, %.0f a second\n", (unsigned long long)report->finished,
                per_second(report->finished, report->finish_seconds));
    }
}

static enum exit_status run_bench(struct session *session, const struct command_line *line) {
    struct bench_options options;
    struct bench_report report;
    struct fault fault = {""};
    if (!bench_options_read(&options, line, session->server, &fault)) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s", fault.text);
    }
    struct bench_options load;
    bool wants_orders = bench_options_want_orders(&options);
    if (wants_orders && !bench_options_own_load(&load, &options, session->server, &fault)) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s", fault.text);
    }
    enum exit_status status = bench_run(&options, wants_orders ? &load : NULL, &report, &fault);
    bool ended_early = fault.text[0] != 0;
    if (ended_early && report.total.requests == 0) {
        return session_fail(session, status, "%s", fault.text);
    }
    if (session->json) {
        write_document(session, &options, &report, ended_early ? &fault : NULL);
    } else {
        write_summary(session, &options, &report);
    }
    if (report.has_note) {
        (void)session_fail(session, status, "the first error: %s", report.note.text);
    }
    return ended_early ? session_fail(session, status, "%s", fault.text) : status;
}

const struct command command_bench = {
    .name = "bench",
    .positionals = "KIND",
    .summary = "Load the service and measure it",
    .details =
        "KIND:\n"
        "  statuses     the statuses of random orders, in batches\n"
        "  get          whole random orders, in batches\n"
        "  create       new orders, in binary batches\n"
        "  http-get     GET /v1/orders/{id}, one order a request\n"
        "  http-create  POST /v1/orders, one order a request\n"
        "  resp         GET or MGET at a server that speaks RESP\n"
        "  load         fills the service with --orders N and writes their ids to --ids FILE\n"
        "\n"
        "Without --ids the four that read make 10,000 orders first, at --server.\n"
        "\n"
        "Every answer is checked; a wrong one is an error, and an error makes the exit status 1. "
        "What\n"
        "an overloaded service refuses (503) is counted apart. Without --rate each connection "
        "keeps\n"
        "--depth requests on their way; with it requests are sent when they are due, and a "
        "latency\n"
        "counts from then.",
    .positional_min = 1,
    .positional_max = 1,
    .options = bench_option_table,
    .option_count = BENCH_OPTION_COUNT,
    .offline = true, /* it has connections of its own */
    .run = run_bench,
};
