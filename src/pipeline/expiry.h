/** The expiry pipeline: has the store forget references that are out of the idempotency window, so
 *  that what it keeps for them stays rate × window. A plain state machine, driven like
 *  archiver.h. */
#ifndef ORDERD_PIPELINE_EXPIRY_H
#define ORDERD_PIPELINE_EXPIRY_H

#include "base/clock.h"
#include "base/metrics.h"
#include "port/order_store.h"

#define EXPIRY_METRICS(X)                                                                          \
    X(counter, expired_total, "References that were forgotten, where the store counts them")       \
    X(counter, failures_total, "Times that the store did not answer")                              \
    X(counter, rounds_total, "Times that expired references were looked for")

struct expiry_metrics {
    EXPIRY_METRICS(METRIC_FIELD)
};
extern const struct metric_description expiry_metric_table[];
extern const size_t expiry_metric_count;

struct expiry_pipeline {
    const struct clock *clock;
    struct order_store *store;
    int64_t window_us;
    int64_t wake_at_us;
    bool busy;
    struct order_expire_batch batch;
    struct expiry_metrics metrics;
};

void expiry_pipeline_init(struct expiry_pipeline *pipeline, const struct clock *clock,
                          struct order_store *store, struct mailbox *mailbox, int64_t window_us);

#define EXPIRY_OUTSTANDING_MAX 1

/** As archiver_step. */
int64_t expiry_pipeline_step(struct expiry_pipeline *pipeline);

#endif
