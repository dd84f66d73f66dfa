#include "pipeline/cache.h"

#include "order/order_id.h"

#include <stdlib.h>

/* Between commits while changes come without a break; after a refusal; after a full queue. */
#define COMMIT_EVERY_US 200000
#define FAILURE_PAUSE_US 200000
#define READ_PAUSE_US 1000000
#define BUSY_PAUSE_US 5000
/* How long a read waits: shortly where there is something to commit, which it holds up. */
#define WAIT_MS_SHORT 50
#define WAIT_MS_IDLE 1000
#define KEY_SHOWN_MAX 40

const struct metric_description cache_pipeline_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct cache_pipeline_metrics, __VA_ARGS__)
    CACHE_PIPELINE_METRICS(X)
#undef X
};
const size_t cache_pipeline_metric_count = ARRAY_COUNT(cache_pipeline_metric_table);

struct cache_flight {
    struct order_cache_put put; /* count: orders that the cache does not have yet */
    struct cache_pipeline *pipeline;
    bool busy;
    int64_t retry_at_us;
    int64_t times_us[CACHE_PIPELINE_BATCH];
    struct order_record orders[CACHE_PIPELINE_BATCH];
    uint8_t results[CACHE_PIPELINE_BATCH];
};

struct cache_pipeline {
    const struct clock *clock;
    struct log *log;
    struct topic_reader *reader;
    struct order_cache *cache;
    struct topic_read read;
    struct topic_commit commit;
    bool reading;
    bool committing;
    bool idle;              /* the last read found nothing */
    uint64_t uncommitted;   /* messages that were read since the last commit */
    int64_t commit_at_us;   /* when they are to be committed at the latest */
    int64_t read_at_us;     /* not before */
    int64_t commit_from_us; /* not before */
    struct log_limit limit;
    struct log_limit invalid_limit;
    struct cache_pipeline_metrics metrics;
    struct topic_message messages[CACHE_PIPELINE_BATCH];
    struct cache_flight flights[CACHE_PIPELINE_FLIGHTS];
};

/** What is wrong with a message; NULL: nothing, and `order` is its order. */
static const char *message_fault(const struct topic_message *message, struct order_record *order) {
    uint64_t order_id;
    if (message->value.size != sizeof(*order)) {
        return "size";
    }
    memcpy(order, message->value.data, sizeof(*order));
    enum order_record_fault fault = order_record_check(order);
    if (fault != ORDER_RECORD_VALID) {
        return order_record_fault_name(fault);
    }
    if (!order_id_parse(message->key, &order_id) || order_id != order->order_id) {
        return "key";
    }
    return NULL;
}

static struct cache_flight *free_flight(struct cache_pipeline *pipeline) {
    for (size_t i = 0; i < CACHE_PIPELINE_FLIGHTS; i++) {
        if (pipeline->flights[i].put.count == 0) {
            return &pipeline->flights[i];
        }
    }
    return NULL;
}

static bool all_stored(const struct cache_pipeline *pipeline) {
    for (size_t i = 0; i < CACHE_PIPELINE_FLIGHTS; i++) {
        if (pipeline->flights[i].put.count > 0) {
            return false;
        }
    }
    return true;
}

static void read_done(struct port_request *request) {
    struct cache_pipeline *pipeline = CONTAINER_OF(request, struct cache_pipeline, read.request);
    int64_t now_us = clock_now_us(pipeline->clock);
    struct cache_flight *flight = free_flight(pipeline);
    pipeline->reading = false;
    if (pipeline->read.result != ORDER_RESULT_FOUND) {
        metric_add(&pipeline->metrics.read_failures_total, 1);
        pipeline->read_at_us = now_us + READ_PAUSE_US;
        pipeline->idle = true;
        return;
    }
    assert(flight != NULL && pipeline->read.count <= CACHE_PIPELINE_BATCH);
    pipeline->idle = pipeline->read.count == 0;
    if (pipeline->uncommitted == 0) {
        pipeline->commit_at_us = now_us + COMMIT_EVERY_US;
    }
    pipeline->uncommitted += pipeline->read.count;
    metric_add(&pipeline->metrics.messages_total, pipeline->read.count);
    size_t count = 0;
    for (size_t i = 0; i < pipeline->read.count; i++) {
        const struct topic_message *message = &pipeline->messages[i];
        const char *fault = message_fault(message, &flight->orders[count]);
        if (fault == NULL) {
            flight->times_us[count++] = message->time_us;
            continue;
        }
        metric_add(&pipeline->metrics.invalid_total, 1);
        log_write_limited(pipeline->log, &pipeline->invalid_limit, LOG_ERROR, "cache",
                          "partition %d, offset %lld, key \"%.*s\": no order (%s); passed over",
                          message->partition, (long long)message->offset,
                          (int)bytes_min_size(message->key.size, KEY_SHOWN_MAX), message->key.data,
                          fault);
    }
    flight->put.count = count;
    flight->retry_at_us = 0;
    atomic_fetch_add_explicit(&pipeline->metrics.in_flight, count, memory_order_relaxed);
}

/** Keeps what the cache did not take. */
static void put_done(struct port_request *request) {
    struct cache_flight *flight = CONTAINER_OF(request, struct cache_flight, put.request);
    struct cache_pipeline *pipeline = flight->pipeline;
    int64_t now_us = clock_now_us(pipeline->clock);
    size_t kept = 0;
    size_t count = flight->put.count;
    for (size_t i = 0; i < count; i++) {
        if (flight->results[i] == ORDER_RESULT_STORED) {
            int64_t lag_us = now_us - flight->times_us[i];
            histogram_add(&pipeline->metrics.lag_microseconds, lag_us < 0 ? 0 : (uint64_t)lag_us);
            continue;
        }
        flight->orders[kept] = flight->orders[i];
        flight->times_us[kept++] = flight->times_us[i];
    }
    flight->busy = false;
    flight->put.count = kept;
    metric_add(&pipeline->metrics.stored_total, count - kept);
    atomic_fetch_sub_explicit(&pipeline->metrics.in_flight, count - kept, memory_order_relaxed);
    if (kept > 0) {
        metric_add(&pipeline->metrics.failures_total, kept);
        flight->retry_at_us = now_us + FAILURE_PAUSE_US;
        log_write_limited(pipeline->log, &pipeline->limit, LOG_WARNING, "cache",
                          "order %llu and %zu more were not stored; tried again",
                          (unsigned long long)flight->orders[0].order_id, kept - 1);
    }
}

static void commit_done(struct port_request *request) {
    struct cache_pipeline *pipeline = CONTAINER_OF(request, struct cache_pipeline, commit.request);
    pipeline->committing = false;
    switch (pipeline->commit.result) {
    case ORDER_RESULT_STORED:
        metric_add(&pipeline->metrics.commits_total, 1);
        pipeline->uncommitted = 0;
        break;
    case ORDER_RESULT_MISMATCH:
        /* What went to another instance is read again there; the cache has it already. */
        metric_add(&pipeline->metrics.reassigned_total, 1);
        pipeline->uncommitted = 0;
        break;
    default:
        metric_add(&pipeline->metrics.commit_failures_total, 1);
        pipeline->commit_from_us = clock_now_us(pipeline->clock) + FAILURE_PAUSE_US;
        break;
    }
}

static int64_t earlier(int64_t left_us, int64_t right_us) {
    return left_us < right_us ? left_us : right_us;
}

/** Sends what waits; returns when there is more to do. */
static int64_t send_flights(struct cache_pipeline *pipeline, int64_t now_us) {
    int64_t wake_at_us = INT64_MAX;
    for (size_t i = 0; i < CACHE_PIPELINE_FLIGHTS; i++) {
        struct cache_flight *flight = &pipeline->flights[i];
        if (flight->put.count == 0 || flight->busy) {
            continue;
        }
        if (now_us >= flight->retry_at_us) {
            flight->busy = true; /* it may be done before the submission returns */
            if (pipeline->cache->ops->put(pipeline->cache, &flight->put) == PORT_TAKEN) {
                continue;
            }
            flight->busy = false;
            flight->retry_at_us = now_us + BUSY_PAUSE_US;
        }
        wake_at_us = earlier(wake_at_us, flight->retry_at_us);
    }
    return wake_at_us;
}

static bool is_commit_due(const struct cache_pipeline *pipeline, int64_t now_us) {
    return pipeline->uncommitted > 0 && (pipeline->idle || now_us >= pipeline->commit_at_us);
}

static int64_t step_commit(struct cache_pipeline *pipeline, int64_t now_us) {
    if (pipeline->reading || pipeline->committing || !all_stored(pipeline)) {
        return INT64_MAX;
    }
    if (now_us < pipeline->commit_from_us) {
        return pipeline->commit_from_us;
    }
    pipeline->committing = true;
    if (pipeline->reader->ops->commit(pipeline->reader, &pipeline->commit) == PORT_BUSY) {
        pipeline->committing = false;
        pipeline->commit_from_us = now_us + BUSY_PAUSE_US;
        return pipeline->commit_from_us;
    }
    return INT64_MAX;
}

static int64_t step_read(struct cache_pipeline *pipeline, int64_t now_us) {
    if (pipeline->reading || pipeline->committing || free_flight(pipeline) == NULL) {
        return INT64_MAX;
    }
    if (now_us < pipeline->read_at_us) {
        return pipeline->read_at_us;
    }
    pipeline->read.wait_ms = pipeline->uncommitted > 0 ? WAIT_MS_SHORT : WAIT_MS_IDLE;
    pipeline->reading = true;
    if (pipeline->reader->ops->read(pipeline->reader, &pipeline->read) == PORT_BUSY) {
        pipeline->reading = false;
        pipeline->read_at_us = now_us + BUSY_PAUSE_US;
        return pipeline->read_at_us;
    }
    return INT64_MAX;
}

int64_t cache_pipeline_step(struct cache_pipeline *pipeline) {
    int64_t now_us = clock_now_us(pipeline->clock);
    int64_t wake_at_us = send_flights(pipeline, now_us);
    /* A commit is about all that was read: so nothing is read between, and it waits for the last
     * batch. That pause is one round trip to the cache, a few times a second. */
    if (is_commit_due(pipeline, now_us)) {
        return earlier(wake_at_us, step_commit(pipeline, now_us));
    }
    return earlier(wake_at_us, step_read(pipeline, now_us));
}

bool cache_pipeline_is_busy(const struct cache_pipeline *pipeline) {
    bool busy = pipeline->reading || pipeline->committing;
    for (size_t i = 0; i < CACHE_PIPELINE_FLIGHTS; i++) {
        busy = busy || pipeline->flights[i].busy;
    }
    return busy;
}

struct cache_pipeline *cache_pipeline_create(const struct cache_pipeline_parts *parts) {
    struct cache_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return NULL;
    }
    pipeline->clock = parts->clock;
    pipeline->log = parts->log;
    pipeline->reader = parts->reader;
    pipeline->cache = parts->cache;
    pipeline->read = (struct topic_read){
        .request = {.done = read_done, .mailbox = parts->mailbox},
        .limit = CACHE_PIPELINE_BATCH,
        .messages = pipeline->messages,
    };
    pipeline->commit = (struct topic_commit){
        .request = {.done = commit_done, .mailbox = parts->mailbox},
    };
    for (size_t i = 0; i < CACHE_PIPELINE_FLIGHTS; i++) {
        struct cache_flight *flight = &pipeline->flights[i];
        flight->pipeline = pipeline;
        flight->put = (struct order_cache_put){
            .request = {.done = put_done, .mailbox = parts->mailbox},
            .orders = flight->orders,
            .results = flight->results,
        };
    }
    return pipeline;
}

void cache_pipeline_destroy(struct cache_pipeline *pipeline) {
    free(pipeline);
}

struct cache_pipeline_metrics *cache_pipeline_metrics(struct cache_pipeline *pipeline) {
    return &pipeline->metrics;
}
