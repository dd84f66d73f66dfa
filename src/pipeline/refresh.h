/** The refresh pipeline: what the cache dropped by itself comes back. Step 6 of the command side.
 *
 *  Two halves, in any number of instances:
 *  - Events of expired and evicted entries become messages of `orders.refresh` (key: the order id;
 *    header `kind`: `refresh`; no value). An event is only a hint: what is lost between is the
 *    checker's work. Every instance hears every event; an order that comes several times is
 *    put several times, by version, which changes nothing.
 *  - Messages of `orders.refresh` are looked up in the store and put into the cache where the order
 *    is not final; then the position moves on. Messages of the kind `repair` are for others: the
 *    query instances.
 *
 *  It keeps to refresh.per_second, and rests while the events tell of evictions: else it would
 *  evict what it refreshes. A long rest can cost the group membership; the messages then come
 *  again.
 *
 *  A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_REFRESH_H
#define ORDERD_PIPELINE_REFRESH_H

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/cache_events.h"
#include "port/message_topic.h"
#include "port/order_cache.h"
#include "port/order_store.h"

#define REFRESH_BATCH_MAX 512

#define REFRESH_OPTIONS(X)                                                                         \
    X(uint64, per_second, "5000", "1..1000000", start,                                             \
      "Orders that are looked up and put into the cache again, at most, for each kind of loss")    \
    X(uint64, eviction_pause_ms, "10000", "0..3600000", start,                                     \
      "How long nothing is refreshed after the cache evicted something for want of room")

struct refresh_options {
    REFRESH_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option refresh_option_table[];
extern const size_t refresh_option_count;

#define REFRESH_METRICS(X)                                                                         \
    X(counter, events_total, "Entries that the cache told to have dropped")                        \
    X(counter, events_lost_total, "Such events that were dropped, as nobody read in time")         \
    X(counter, published_total, "Events that are messages of orders.refresh")                      \
    X(counter, publish_failures_total, "Events that the topic did not take; tried again")          \
    X(counter, messages_total, "Messages of orders.refresh that were read")                        \
    X(counter, invalid_total, "Messages without an order id; passed over")                         \
    X(counter, refreshed_total, "Orders that were put into the cache again")                       \
    X(counter, skipped_total, "Orders that are final, or no longer in the store")                  \
    X(counter, broken_total, "Orders that the store has no sound copy of; passed over")            \
    X(counter, failures_total, "Orders that the store or the cache did not answer for")            \
    X(counter, commit_failures_total, "Times that the position could not be moved on")             \
    X(gauge, paused, "1 while evictions go on")

struct refresh_metrics {
    REFRESH_METRICS(METRIC_FIELD)
};
extern const struct metric_description refresh_metric_table[];
extern const size_t refresh_metric_count;

struct refresh;

struct refresh_parts {
    const struct clock *clock;
    struct log *log;
    struct cache_events *events;
    struct topic_writer *writer; /* of orders.refresh */
    struct topic_reader *reader; /* of orders.refresh; nobody else reads it */
    struct order_store *store;
    struct order_cache *cache;
    struct mailbox *mailbox;
    const struct refresh_options *options;
};

/** NULL where memory is short. */
struct refresh *refresh_create(const struct refresh_parts *parts);
void refresh_destroy(struct refresh *refresh);

struct refresh_metrics *refresh_metrics(struct refresh *refresh);

/** Completions that may be in the mailbox at once. */
#define REFRESH_OUTSTANDING_MAX 2

/** As archiver_step. */
int64_t refresh_step(struct refresh *refresh);

MUST_CHECK bool refresh_is_busy(const struct refresh *refresh);

#endif
