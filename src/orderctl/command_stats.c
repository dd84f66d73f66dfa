#include "orderctl/commands.h"

#include "base/clock.h"

#include <math.h>
#include <unistd.h>

#define INTERVAL_MS_MAX 3600000
#define INTERVAL_MS_DEFAULT 1000

enum { STATS_INTERVAL };

static const struct command_option stats_options[] = {
    [STATS_INTERVAL] = {"interval", "SECONDS", OPTION_SECONDS, false, 0, INTERVAL_MS_MAX,
                        INTERVAL_MS_DEFAULT, "Time over which rates are measured (1); 0: none"},
};

/* The gauges that stand first, where the service has them. */
struct headline {
    const char *metric;
    const char *title;
};

static const struct headline headlines[] = {
    {"orderd_process_orders", "orders in memory"},
    {"orderd_process_orders_evictable", "of these archived, may leave memory"},
    {"orderd_process_orders_capacity", "room for orders in memory"},
    {"orderd_process_table_bytes", "memory reserved for them, bytes"},
    {"orderd_process_resident_bytes", "memory of the process, bytes"},
    {"orderd_journal_bytes", "journal, bytes"},
    {"orderd_journal_segments", "journal segments"},
    {"orderd_http_connections", "HTTP connections"},
    {"orderd_api_streams", "event streams"},
};

/** Both ends of the interval. `before` is empty where there is no interval. */
struct stats {
    struct metrics_scrape before;
    struct metrics_scrape after;
    double seconds;
    bool ready;
    json_t *readiness; /* owned; what /readyz says, or NULL */
};

/* --- Asking. --- */

static enum exit_status ask_readiness(struct session *session, struct stats *stats) {
    struct service_answer answer;
    struct service_request request = {.target = "/readyz"};
    if (!session_exchange(session, &request, &answer)) {
        return EXIT_STATUS_UNREACHABLE;
    }
    stats->ready = answer.status == 200;
    if (answer.body != NULL) {
        stats->readiness = json_loadb(answer.body, answer.body_size, JSON_DECODE_ANY, NULL);
    }
    service_answer_release(&answer);
    return EXIT_STATUS_DONE;
}

static enum exit_status gather(struct session *session, struct stats *stats, uint64_t interval_ms) {
    enum exit_status status = ask_readiness(session, stats);
    int64_t begin_us = clock_monotonic_us();
    if (status == EXIT_STATUS_DONE && interval_ms > 0) {
        status = session_scrape(session, &stats->before);
        (void)usleep((useconds_t)(interval_ms * 1000));
    }
    if (status == EXIT_STATUS_DONE) {
        status = session_scrape(session, &stats->after);
    }
    stats->seconds = interval_ms == 0 ? 0 : (double)(clock_monotonic_us() - begin_us) / 1e6;
    return status;
}

/* --- Showing. --- */

static const struct metrics_sample *earlier(const struct stats *stats,
                                            const struct metrics_sample *sample) {
    for (size_t i = 0; i < stats->before.sample_count; i++) {
        if (slice_equal(stats->before.samples[i].name, sample->name)) {
            return &stats->before.samples[i];
        }
    }
    return NULL;
}

static bool has_suffix(struct slice name, const char *suffix) {
    size_t size = strlen(suffix);
    return name.size > size && memcmp(name.data + name.size - size, suffix, size) == 0;
}

static bool is_counter(const struct metrics_sample *sample) {
    return sample->bucket_count == 0 && has_suffix(sample->name, "_total");
}

/** What a histogram saw within the interval; where that is nothing, since the service began. */
struct spread {
    double p50;
    double p99;
    double mean;
    double count;
    bool of_interval;
};

static struct spread spread_of(const struct stats *stats, const struct metrics_sample *sample) {
    const struct metrics_sample *before = earlier(stats, sample);
    struct spread spread = {.of_interval = before != NULL && sample->count > before->count};
    before = spread.of_interval ? before : NULL;
    spread.count = sample->count - (before == NULL ? 0 : before->count);
    spread.p50 = metrics_quantile(before, sample, 0.5);
    spread.p99 = metrics_quantile(before, sample, 0.99);
    spread.mean = spread.count > 0 ? metrics_growth(before, sample) / spread.count : 0;
    return spread;
}

/** What an order costs in the RAM table; 0 where the service does not say. */
static double bytes_an_order(const struct stats *stats) {
    const struct metrics_sample *bytes = metrics_find(&stats->after, "orderd_process_table_bytes");
    const struct metrics_sample *room =
        metrics_find(&stats->after, "orderd_process_orders_capacity");
    return bytes == NULL || room == NULL || room->value <= 0 ? 0 : bytes->value / room->value;
}

static void write_headlines(const struct stats *stats, FILE *out) {
    for (size_t i = 0; i < ARRAY_COUNT(headlines); i++) {
        const struct metrics_sample *sample = metrics_find(&stats->after, headlines[i].metric);
        if (sample != NULL) {
            fprintf(out, "%-40s %16.0f\n", headlines[i].title, sample->value);
        }
    }
    double bytes = bytes_an_order(stats);
    if (bytes > 0) {
        fprintf(out, "%-40s %16.1f\n", "bytes an order, both indices included", bytes);
    }
}

static void write_rates(const struct stats *stats, FILE *out) {
    fprintf(out, "\n%-40s %16s %16s\n", "counter", "now", "a second");
    for (size_t i = 0; i < stats->after.sample_count; i++) {
        const struct metrics_sample *sample = &stats->after.samples[i];
        if (!is_counter(sample) || sample->value == 0) {
            continue;
        }
        fprintf(out, "%-40.*s %16.0f", (int)sample->name.size, sample->name.data, sample->value);
        if (stats->seconds > 0) {
            fprintf(out, " %16.1f",
                    metrics_growth(earlier(stats, sample), sample) / stats->seconds);
        }
        fputc('\n', out);
    }
}

static void write_spreads(const struct stats *stats, FILE *out) {
    fprintf(out, "\n%-40s %12s %12s %12s %12s\n", "distribution (~: since the start)", "count",
            "mean", "p50", "p99");
    for (size_t i = 0; i < stats->after.sample_count; i++) {
        const struct metrics_sample *sample = &stats->after.samples[i];
        if (sample->bucket_count == 0 || sample->count == 0) {
            continue;
        }
        struct spread spread = spread_of(stats, sample);
        char name[64];
        (void)snprintf(name, sizeof(name), "%s%.*s", spread.of_interval ? "" : "~",
                       (int)bytes_min_size(sample->name.size, 60), sample->name.data);
        fprintf(out, "%-40s %12.0f %12.1f %12.1f %12.1f\n", name, spread.count, spread.mean,
                spread.p50, spread.p99);
    }
}

static void write_human(const struct session *session, const struct stats *stats) {
    FILE *out = session->out;
    fprintf(out, "%s is %s\n", session->client.base_url, stats->ready ? "ready" : "not ready");
    if (!stats->ready && stats->readiness != NULL) {
        (void)json_dumpf(stats->readiness, out, JSON_INDENT(2) | JSON_ENCODE_ANY);
        fputc('\n', out);
    }
    write_headlines(stats, out);
    write_rates(stats, out);
    write_spreads(stats, out);
}

static void set_number(json_t *object, struct slice name, double value) {
    char key[256];
    (void)snprintf(key, sizeof(key), "%.*s", (int)bytes_min_size(name.size, sizeof(key) - 1),
                   name.data);
    bool whole = value == floor(value) && fabs(value) < 9e15;
    (void)json_object_set_new(object, key,
                              whole ? json_integer((json_int_t)value) : json_real(value));
}

static json_t *spread_document(const struct spread *spread) {
    return json_pack("{s:f, s:f, s:f, s:f, s:b}", "count", spread->count, "mean", spread->mean,
                     "p50", spread->p50, "p99", spread->p99, "of_interval", spread->of_interval);
}

static void write_document(const struct session *session, const struct stats *stats) {
    json_t *values = json_object();
    json_t *rates = json_object();
    json_t *spreads = json_object();
    for (size_t i = 0; i < stats->after.sample_count; i++) {
        const struct metrics_sample *sample = &stats->after.samples[i];
        if (sample->bucket_count > 0) {
            char key[256];
            struct spread spread = spread_of(stats, sample);
            (void)snprintf(key, sizeof(key), "%.*s",
                           (int)bytes_min_size(sample->name.size, sizeof(key) - 1),
                           sample->name.data);
            (void)json_object_set_new(spreads, key, spread_document(&spread));
            continue;
        }
        set_number(values, sample->name, sample->value);
        if (is_counter(sample) && stats->seconds > 0) {
            double growth = metrics_growth(earlier(stats, sample), sample);
            set_number(rates, sample->name, growth / stats->seconds);
        }
    }
    json_t *document =
        json_pack("{s:s, s:b, s:f, s:o, s:o, s:o}", "server", session->client.base_url, "ready",
                  stats->ready, "interval_seconds", stats->seconds, "metrics", values, "per_second",
                  rates, "distributions", spreads);
    double bytes = bytes_an_order(stats);
    if (bytes > 0) {
        (void)json_object_set_new(document, "bytes_an_order", json_real(bytes));
    }
    if (stats->readiness != NULL) {
        (void)json_object_set(document, "readiness", stats->readiness);
    }
    session_write_json(session, document);
}

static enum exit_status run_stats(struct session *session, const struct command_line *line) {
    struct stats stats = {.seconds = 0};
    enum exit_status status = gather(session, &stats, command_number(line, STATS_INTERVAL));
    if (status == EXIT_STATUS_DONE && session->json) {
        write_document(session, &stats);
    } else if (status == EXIT_STATUS_DONE) {
        write_human(session, &stats);
    }
    metrics_scrape_release(&stats.before);
    metrics_scrape_release(&stats.after);
    json_decref(stats.readiness);
    return status;
}

const struct command command_stats = {
    .name = "stats",
    .positionals = "",
    .summary = "Show what the service holds, its rates and its latencies",
    .details =
        "Rates are those of the interval, which is waited for. Quantiles are interpolated within\n"
        "the service's own buckets, so they are near, not exact.",
    .options = stats_options,
    .option_count = ARRAY_COUNT(stats_options),
    .run = run_stats,
};
