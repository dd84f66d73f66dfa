/** The cache pipeline: the cache follows the changes. Step 4 of the command side.
 *
 *  It reads `orders.changes`, puts each record into the cache by version, and commits its position
 *  only when the cache has answered STORED for everything that was read. Several batches are in
 *  flight at once, in any order: versions decide, not times of arrival, so a replay from the
 *  beginning is harmless. While the cache does not answer the position stays, and the lag shows it.
 *  A message that is no order is counted, logged with its key, and passed over: nothing that it
 *  could be waited for would make an order of it.
 *
 *  A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_CACHE_H
#define ORDERD_PIPELINE_CACHE_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/message_topic.h"
#include "port/order_cache.h"

/** Orders in one batch, and batches in flight. */
#define CACHE_PIPELINE_BATCH 512
#define CACHE_PIPELINE_FLIGHTS 8

#define CACHE_PIPELINE_METRICS(X)                                                                  \
    X(counter, messages_total, "Messages that were read")                                          \
    X(counter, stored_total, "Changes that the cache has, or something newer")                     \
    X(counter, failures_total, "Changes that the cache did not take; tried again")                 \
    X(counter, invalid_total, "Messages that are no order; passed over")                           \
    X(counter, commits_total, "Times that the position was moved on")                              \
    X(counter, commit_failures_total, "Times that the position could not be moved on")             \
    X(counter, reassigned_total, "Times that a partition had gone to another instance")            \
    X(counter, read_failures_total, "Times that the topic did not answer")                         \
    X(gauge, in_flight, "Changes that were read and are not in the cache yet")                     \
    X(histogram, lag_microseconds, "Time from when a change was written to the log to the cache")

struct cache_pipeline_metrics {
    CACHE_PIPELINE_METRICS(METRIC_FIELD)
};
extern const struct metric_description cache_pipeline_metric_table[];
extern const size_t cache_pipeline_metric_count;

struct cache_pipeline;

struct cache_pipeline_parts {
    const struct clock *clock;
    struct log *log;
    struct topic_reader *reader; /* of orders.changes; nobody else reads it */
    struct order_cache *cache;
    struct mailbox *mailbox;
};

/** NULL where memory is short. */
struct cache_pipeline *cache_pipeline_create(const struct cache_pipeline_parts *parts);
void cache_pipeline_destroy(struct cache_pipeline *pipeline);

struct cache_pipeline_metrics *cache_pipeline_metrics(struct cache_pipeline *pipeline);

/** Completions that may be in the mailbox at once. */
#define CACHE_PIPELINE_OUTSTANDING_MAX (CACHE_PIPELINE_FLIGHTS + 2)

/** As archiver_step. */
int64_t cache_pipeline_step(struct cache_pipeline *pipeline);

MUST_CHECK bool cache_pipeline_is_busy(const struct cache_pipeline *pipeline);

#endif
