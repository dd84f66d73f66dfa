/** The cache on a Redis Cluster, whole: one thread that speaks to all nodes without waiting. What
 *  the rest of the program sees are the ports.
 *
 *  What the cache has is never more than a copy: with Redis down every operation answers
 *  UNAVAILABLE within redis.timeout_ms, and the service goes on without it. Nodes are reached by
 *  numeric addresses only, without TLS; names in redis.nodes are looked up once, at the start. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_H
#define ORDERD_ADAPTER_REDIS_REDIS_H

#include "adapter/redis/redis_metrics.h"
#include "adapter/redis/redis_options.h"
#include "base/log.h"
#include "port/cache_events.h"
#include "port/cache_loss.h"
#include "port/order_cache.h"

struct redis;

struct redis_parts {
    struct log *log;
    struct metrics *metrics;               /* may be NULL */
    const struct redis_settings *settings; /* copied */
};

/** Memory for everything; no connection yet. NULL, with one line in `fault`, where it cannot be. */
struct redis *redis_create(const struct redis_parts *parts, struct fault *fault);

/** Starts the thread. Nodes that do not answer are tried again and again. */
MUST_CHECK bool redis_start(struct redis *redis, struct fault *fault);

/** Ends the thread, after what was submitted is done or has passed its time. Nobody may submit any
 *  more. A second call does nothing. */
void redis_stop(struct redis *redis);

/** Stops it where it runs, and frees it: after the last reader of its metrics. */
void redis_destroy(struct redis *redis);

struct order_cache *redis_order_cache(struct redis *redis);
struct cache_events *redis_cache_events(struct redis *redis);
struct cache_loss *redis_cache_loss(struct redis *redis);
const struct redis_metrics *redis_metrics(const struct redis *redis);

#endif
