#include "base/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define METRICS_MAX 1024
#define METRIC_NAME_MAX 96

struct metric_entry {
    char name[METRIC_NAME_MAX];
    const char *labels; /* "" where there are none */
    const char *help;
    const void *value;
    enum metric_kind kind;
};

struct metrics {
    size_t count;
    struct metric_entry entries[METRICS_MAX]; /* sorted by name, then labels */
};

struct metrics *metrics_create(void) {
    return calloc(1, sizeof(struct metrics));
}

void metrics_destroy(struct metrics *metrics) {
    free(metrics);
}

static int compare_entries(const struct metric_entry *left, const struct metric_entry *right) {
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : strcmp(left->labels, right->labels);
}

static void insert_sorted(struct metrics *metrics, const struct metric_entry *entry) {
    assert(metrics->count < METRICS_MAX);
    size_t at = metrics->count;
    while (at > 0 && compare_entries(&metrics->entries[at - 1], entry) > 0) {
        metrics->entries[at] = metrics->entries[at - 1];
        at--;
    }
    metrics->entries[at] = *entry;
    metrics->count++;
}

void metrics_register(struct metrics *metrics, const char *prefix, const char *labels,
                      const struct metric_description *table, size_t count, const void *values) {
    for (size_t i = 0; i < count; i++) {
        struct metric_entry entry = {
            .labels = labels == NULL ? "" : labels,
            .help = table[i].help,
            .value = (const char *)values + table[i].offset,
            .kind = table[i].kind,
        };
        int length =
            snprintf(entry.name, sizeof(entry.name), "orderd_%s_%s", prefix, table[i].name);
        assert(length > 0 && (size_t)length < sizeof(entry.name));
        insert_sorted(metrics, &entry);
    }
}

static void render_labels(struct text *out, const char *labels, const char *extra) {
    if (*labels == 0 && *extra == 0) {
        return;
    }
    text_append_format(out, "{%s%s%s}", labels, *labels != 0 && *extra != 0 ? "," : "", extra);
}

static void render_sample(struct text *out, const char *name, const char *suffix,
                          const char *labels, const char *extra, uint64_t value) {
    text_append_format(out, "%s%s", name, suffix);
    render_labels(out, labels, extra);
    text_append_char(out, ' ');
    text_append_u64(out, value);
    text_append_char(out, '\n');
}

/** Powers of four from 1 to 4^12: enough for microseconds and sizes, and few lines. */
#define HISTOGRAM_LIMITS 13

static void render_histogram(struct text *out, const struct metric_entry *entries, size_t same) {
    for (unsigned power = 0; power < HISTOGRAM_LIMITS; power++) {
        uint64_t limit = UINT64_C(1) << (2 * power);
        uint64_t below = 0;
        for (size_t i = 0; i < same; i++) {
            below += histogram_count_below(entries[i].value, limit);
        }
        char extra[32];
        /* Values are whole numbers: below the limit is at most the limit less one. */
        (void)snprintf(extra, sizeof(extra), "le=\"%llu\"", (unsigned long long)(limit - 1));
        render_sample(out, entries->name, "_bucket", entries->labels, extra, below);
    }
    /* Counted last: what is added meanwhile must not make a bucket greater than the whole. */
    uint64_t count = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < same; i++) {
        const struct histogram *histogram = entries[i].value;
        count += histogram_count(histogram);
        sum += metric_get(&histogram->sum);
    }
    render_sample(out, entries->name, "_bucket", entries->labels, "le=\"+Inf\"", count);
    render_sample(out, entries->name, "_sum", entries->labels, "", sum);
    render_sample(out, entries->name, "_count", entries->labels, "", count);
}

bool metrics_render(const struct metrics *metrics, struct text *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (size_t at = 0; at < metrics->count;) {
        const struct metric_entry *entry = &metrics->entries[at];
        size_t same = 1;
        while (at + same < metrics->count && compare_entries(entry, entry + same) == 0) {
            same++;
        }
        if (at == 0 || strcmp(entry->name, entry[-1].name) != 0) {
            text_append_format(out, "# HELP %s %s\n# TYPE %s %s\n", entry->name, entry->help,
                               entry->name, kinds[entry->kind]);
        }
        if (entry->kind == METRIC_histogram) {
            render_histogram(out, entry, same);
        } else {
            uint64_t total = 0;
            for (size_t i = 0; i < same; i++) {
                total += metric_get((const _Atomic uint64_t *)entry[i].value);
            }
            render_sample(out, entry->name, "", entry->labels, "", total);
        }
        at += same;
    }
    return !out->truncated;
}
