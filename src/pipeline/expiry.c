#include "pipeline/expiry.h"

/* A hundredth of the window apart, between a second and an hour. */
#define ROUNDS_PER_WINDOW 100
#define PAUSE_MIN_US INT64_C(1000000)
#define PAUSE_MAX_US INT64_C(3600000000)
#define EXPIRE_LIMIT 10000

const struct metric_description expiry_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct expiry_metrics, __VA_ARGS__)
    EXPIRY_METRICS(X)
#undef X
};
const size_t expiry_metric_count = ARRAY_COUNT(expiry_metric_table);

static int64_t pause_us(const struct expiry_pipeline *pipeline) {
    int64_t pause = pipeline->window_us / ROUNDS_PER_WINDOW;
    if (pause < PAUSE_MIN_US) {
        return PAUSE_MIN_US;
    }
    return pause > PAUSE_MAX_US ? PAUSE_MAX_US : pause;
}

static void expired(struct port_request *request) {
    struct expiry_pipeline *pipeline = CONTAINER_OF(request, struct expiry_pipeline, batch.request);
    pipeline->busy = false;
    if (pipeline->batch.result != ORDER_RESULT_STORED) {
        metric_add(&pipeline->metrics.failures_total, 1);
    }
    metric_add(&pipeline->metrics.expired_total, pipeline->batch.count);
    bool more = pipeline->batch.result == ORDER_RESULT_STORED && pipeline->batch.more;
    pipeline->wake_at_us = more ? 0 : clock_now_us(pipeline->clock) + pause_us(pipeline);
}

void expiry_pipeline_init(struct expiry_pipeline *pipeline, const struct clock *clock,
                          struct order_store *store, struct mailbox *mailbox, int64_t window_us) {
    *pipeline = (struct expiry_pipeline){
        .clock = clock,
        .store = store,
        .window_us = window_us,
        .batch = {.request = {.done = expired, .mailbox = mailbox}, .limit = EXPIRE_LIMIT},
    };
}

int64_t expiry_pipeline_step(struct expiry_pipeline *pipeline) {
    int64_t now_us = clock_now_us(pipeline->clock);
    if (pipeline->busy) {
        return INT64_MAX;
    }
    if (now_us < pipeline->wake_at_us) {
        return pipeline->wake_at_us;
    }
    pipeline->batch.before_us = now_us - pipeline->window_us;
    pipeline->busy = true;
    metric_add(&pipeline->metrics.rounds_total, 1);
    if (pipeline->store->ops->expire(pipeline->store, &pipeline->batch) == PORT_BUSY) {
        pipeline->busy = false;
        pipeline->wake_at_us = now_us + PAUSE_MIN_US;
        return pipeline->wake_at_us;
    }
    return INT64_MAX;
}
