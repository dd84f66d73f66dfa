/** The refill pipeline: what the cache lost all at once comes back from the store.
 *
 *  It waits for losses (port/cache_loss.h); then it walks all hot orders, the open ones and the
 *  final ones that are not archived yet (ORDER_SCAN_OVERDUE up to now, and ORDER_SCAN_FINAL), and
 *  puts those whose hash slot was lost, by version, so that what the cache has meanwhile stays.
 *  A loss that comes during a walk begins another one after it. It keeps to refresh.per_second.
 *  Archived orders are not put: who asks for one has it filled.
 *
 *  Every instance with this role hears of a loss and walks; the puts of the others change nothing.
 *
 *  A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_REFILL_H
#define ORDERD_PIPELINE_REFILL_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/cache_loss.h"
#include "port/order_cache.h"
#include "port/order_store.h"

#define REFILL_BATCH_MAX 512

#define REFILL_METRICS(X)                                                                          \
    X(counter, losses_total, "Times that the cache told of a loss")                                \
    X(counter, refilled_total, "Orders that were put into the cache again")                        \
    X(counter, scanned_total, "Orders that were looked at")                                        \
    X(counter, failures_total, "Times that the store or the cache did not answer")                 \
    X(counter, rounds_total, "Walks over the store that came to their end")                        \
    X(gauge, slots_lost, "Hash slots that are being written again, or are to be")

struct refill_metrics {
    REFILL_METRICS(METRIC_FIELD)
};
extern const struct metric_description refill_metric_table[];
extern const size_t refill_metric_count;

struct refill;

struct refill_parts {
    const struct clock *clock;
    struct log *log;
    struct cache_loss *loss;
    struct order_store *store;
    struct order_cache *cache;
    struct mailbox *mailbox;
    uint64_t per_second; /* refresh.per_second */
};

/** NULL where memory is short. */
struct refill *refill_create(const struct refill_parts *parts);
void refill_destroy(struct refill *refill);

struct refill_metrics *refill_metrics(struct refill *refill);

/** Completions that may be in the mailbox at once. */
#define REFILL_OUTSTANDING_MAX 2

/** As archiver_step. */
int64_t refill_step(struct refill *refill);

MUST_CHECK bool refill_is_busy(const struct refill *refill);

#endif
