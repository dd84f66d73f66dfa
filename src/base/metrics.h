/** Metrics: a module declares its own with an X-macro beside its code, owns the values, and
 *  registers them once at the start; the registry renders all of them in Prometheus' text format.
 *
 *      #define JOURNAL_METRICS(X)                                              \
 *          X(counter, frames_total, "Frames made durable")                     \
 *          X(gauge, segments, "Segment files in the journal")                  \
 *          X(histogram, sync_microseconds, "Time of one durable write")
 *      struct journal_metrics { JOURNAL_METRICS(METRIC_FIELD) };
 *      #define X(...) METRIC_ENTRY_OF(struct journal_metrics, __VA_ARGS__)
 *      const struct metric_description journal_metric_table[] = {JOURNAL_METRICS(X)};
 *
 *  The same names may be registered by several owners (one a thread): values with equal labels
 *  are added up when they are rendered. Values are relaxed atomics: any thread may read them, and
 *  a counter may be raised by any. */
#ifndef ORDERD_BASE_METRICS_H
#define ORDERD_BASE_METRICS_H

#include "base/histogram.h"
#include "base/text.h"

enum metric_kind { METRIC_counter, METRIC_gauge, METRIC_histogram };

typedef _Atomic uint64_t metric_value_counter;
typedef _Atomic uint64_t metric_value_gauge;
typedef struct histogram metric_value_histogram;

struct metric_description {
    enum metric_kind kind;
    const char *name;
    const char *help;
    size_t offset; /* of the value in the owner's struct */
};

#define METRIC_FIELD(kind_, name_, help_) metric_value_##kind_ name_;
#define METRIC_ENTRY_OF(struct_, kind_, name_, help_)                                              \
    {METRIC_##kind_, #name_, help_, offsetof(struct_, name_)},

static inline void metric_add(_Atomic uint64_t *value, uint64_t amount) {
    atomic_fetch_add_explicit(value, amount, memory_order_relaxed);
}

static inline void metric_set(_Atomic uint64_t *value, uint64_t now) {
    atomic_store_explicit(value, now, memory_order_relaxed);
}

static inline uint64_t metric_get(const _Atomic uint64_t *value) {
    return atomic_load_explicit(value, memory_order_relaxed);
}

struct metrics;

/** Memory for the registry; NULL when there is none. The caller destroys it after every reader
 *  has stopped. */
struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics);

/** Registers the `count` values that `table` describes in `values`, under the names
 *  `orderd_<prefix>_<name>`. `labels` is NULL or the inside of the braces, such as `tier="redis"`;
 *  it, and the values, must outlive the registry. Call before the threads start. */
void metrics_register(struct metrics *metrics, const char *prefix, const char *labels,
                      const struct metric_description *table, size_t count, const void *values);

/** Renders everything in Prometheus' text exposition format 0.0.4. False when `out` was too
 *  small. @thread any, one at a time a `metrics`. */
MUST_CHECK bool metrics_render(const struct metrics *metrics, struct text *out);

#endif
