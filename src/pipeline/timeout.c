#include "pipeline/timeout.h"

#include <stdlib.h>

#define ROUND_PAUSE_US 500000
#define FAILURE_PAUSE_US 1000000

const struct metric_description timeout_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct timeout_metrics, __VA_ARGS__)
    TIMEOUT_METRICS(X)
#undef X
};
const size_t timeout_metric_count = ARRAY_COUNT(timeout_metric_table);

struct timeout_pipeline {
    const struct clock *clock;
    struct log *log;
    struct order_store *store;
    int64_t timeout_us;
    int64_t wake_at_us;
    /** Creation of the oldest open order that this round saw and that stays, or its begin. */
    int64_t oldest_us;
    bool busy;
    struct log_limit limit;
    struct timeout_metrics metrics;
    struct order_scan_batch scan;
    struct order_change_batch change;
    struct order_record orders[TIMEOUT_BATCH_MAX];
    struct order_change changes[TIMEOUT_BATCH_MAX];
    uint8_t results[TIMEOUT_BATCH_MAX];
};

static void pause_until(struct timeout_pipeline *pipeline, int64_t pause_us) {
    pipeline->wake_at_us = clock_now_us(pipeline->clock) + pause_us;
}

/** After a slice: at once the next one. After the last of a round: no order that is there, nor one
 *  that came since the round began, is overdue before the oldest is. */
static void go_on(struct timeout_pipeline *pipeline) {
    if (pipeline->scan.cursor == 0) {
        metric_add(&pipeline->metrics.rounds_total, 1);
        int64_t pause_us =
            pipeline->oldest_us + pipeline->timeout_us - clock_now_us(pipeline->clock);
        pause_until(pipeline, pause_us > ROUND_PAUSE_US ? pause_us : ROUND_PAUSE_US);
    }
}

static void changed(struct port_request *request) {
    struct timeout_pipeline *pipeline =
        CONTAINER_OF(request, struct timeout_pipeline, change.request);
    size_t failures = 0;
    pipeline->busy = false;
    for (size_t i = 0; i < pipeline->change.count; i++) {
        switch (pipeline->results[i]) {
        case ORDER_RESULT_CHANGED:
            metric_add(&pipeline->metrics.timed_out_total, 1);
            break;
        case ORDER_RESULT_MISMATCH:
        case ORDER_RESULT_UNCHANGED:
        case ORDER_RESULT_ILLEGAL:
        case ORDER_RESULT_ABSENT:
            metric_add(&pipeline->metrics.overtaken_total, 1);
            break;
        default:
            failures++;
            break;
        }
    }
    if (failures > 0) {
        pipeline->oldest_us = 0; /* overdue already: the next round is not put off */
    }
    go_on(pipeline);
    if (failures > 0) {
        metric_add(&pipeline->metrics.failures_total, failures);
        log_write_limited(pipeline->log, &pipeline->limit, LOG_WARNING, "timeout",
                          "%zu overdue orders were not changed; tried again", failures);
        pause_until(pipeline, FAILURE_PAUSE_US);
    }
}

static void change_overdue(struct timeout_pipeline *pipeline) {
    pipeline->change.count = pipeline->scan.count;
    for (size_t i = 0; i < pipeline->scan.count; i++) {
        pipeline->changes[i] = (struct order_change){
            .order_id = pipeline->orders[i].order_id,
            .status = ORDER_STATUS_TIMEOUT,
            .match = {.required = true, .count = 1, .versions = {pipeline->orders[i].version}},
        };
    }
    pipeline->busy = true;
    if (pipeline->store->ops->change(pipeline->store, &pipeline->change) == PORT_BUSY) {
        pipeline->busy = false;
        pipeline->scan.cursor = 0; /* they are found again */
        pause_until(pipeline, ROUND_PAUSE_US);
    }
}

static void scanned(struct port_request *request) {
    struct timeout_pipeline *pipeline =
        CONTAINER_OF(request, struct timeout_pipeline, scan.request);
    pipeline->busy = false;
    if (pipeline->scan.next_us < pipeline->oldest_us) {
        pipeline->oldest_us = pipeline->scan.next_us;
    }
    if (pipeline->scan.result != ORDER_RESULT_FOUND) {
        pause_until(pipeline, FAILURE_PAUSE_US);
    } else if (pipeline->scan.count > 0) {
        change_overdue(pipeline);
    } else {
        go_on(pipeline);
    }
}

int64_t timeout_pipeline_step(struct timeout_pipeline *pipeline) {
    int64_t now_us = clock_now_us(pipeline->clock);
    if (pipeline->busy) {
        return INT64_MAX;
    }
    if (now_us < pipeline->wake_at_us) {
        return pipeline->wake_at_us;
    }
    if (pipeline->scan.cursor == 0) {
        pipeline->oldest_us = now_us;
    }
    pipeline->scan.before_us = now_us - pipeline->timeout_us;
    pipeline->busy = true;
    if (pipeline->store->ops->scan(pipeline->store, &pipeline->scan) == PORT_BUSY) {
        pipeline->busy = false;
        pause_until(pipeline, ROUND_PAUSE_US);
        return pipeline->wake_at_us;
    }
    return INT64_MAX;
}

bool timeout_pipeline_is_busy(const struct timeout_pipeline *pipeline) {
    return pipeline->busy;
}

struct timeout_pipeline *timeout_pipeline_create(const struct timeout_parts *parts) {
    struct timeout_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return NULL;
    }
    pipeline->clock = parts->clock;
    pipeline->log = parts->log;
    pipeline->store = parts->store;
    pipeline->timeout_us = parts->timeout_us;
    pipeline->scan = (struct order_scan_batch){
        .request = {.done = scanned, .mailbox = parts->mailbox},
        .kind = ORDER_SCAN_OVERDUE,
        .thorough = true,
        .limit = TIMEOUT_BATCH_MAX,
        .orders = pipeline->orders,
    };
    pipeline->change = (struct order_change_batch){
        .request = {.done = changed, .mailbox = parts->mailbox},
        .changes = pipeline->changes,
        .orders = pipeline->orders,
        .results = pipeline->results,
    };
    return pipeline;
}

void timeout_pipeline_destroy(struct timeout_pipeline *pipeline) {
    free(pipeline);
}

struct timeout_metrics *timeout_pipeline_metrics(struct timeout_pipeline *pipeline) {
    return &pipeline->metrics;
}
