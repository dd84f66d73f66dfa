/** The time-out pipeline: orders that are not final within order.timeout_seconds become `timeout`.
 *  Step 7 of the command side.
 *
 *  It walks the store for overdue orders and changes each at the version that it saw, so a change
 *  that comes between wins. A round also tells how old the oldest open order is, and so when the
 *  next one can find anything. A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_TIMEOUT_H
#define ORDERD_PIPELINE_TIMEOUT_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/order_store.h"

#define TIMEOUT_BATCH_MAX 1024

#define TIMEOUT_METRICS(X)                                                                         \
    X(counter, timed_out_total, "Orders that became `timeout`")                                    \
    X(counter, overtaken_total, "Overdue orders that were changed by somebody else just then")     \
    X(counter, failures_total, "Overdue orders that the store did not change; tried again")        \
    X(counter, rounds_total, "Walks over the store")

struct timeout_metrics {
    TIMEOUT_METRICS(METRIC_FIELD)
};
extern const struct metric_description timeout_metric_table[];
extern const size_t timeout_metric_count;

struct timeout_pipeline;

struct timeout_parts {
    const struct clock *clock;
    struct log *log;
    struct order_store *store;
    struct mailbox *mailbox;
    int64_t timeout_us;
};

/** NULL where memory is short. */
struct timeout_pipeline *timeout_pipeline_create(const struct timeout_parts *parts);
void timeout_pipeline_destroy(struct timeout_pipeline *pipeline);

struct timeout_metrics *timeout_pipeline_metrics(struct timeout_pipeline *pipeline);

#define TIMEOUT_OUTSTANDING_MAX 1

/** As archiver_step. */
int64_t timeout_pipeline_step(struct timeout_pipeline *pipeline);

MUST_CHECK bool timeout_pipeline_is_busy(const struct timeout_pipeline *pipeline);

#endif
