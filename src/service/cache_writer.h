/** Writes creates and changes to the cache beside the store, for the command service of a cluster.
 *
 *  A create goes to the cache while the store commits it: the store calls `ids_given` once every
 *  order of the batch has its id, and what is put then is what will be stored. The answer waits for
 *  the store alone. An order that did not commit is taken out again, by its exact bytes, once both
 *  are through. A change goes to the cache when it is committed. Whatever the cache does not take
 *  costs a metric: the relay brings it later.
 *
 *  Owned by one command service; its memory is bounded: beyond it, nothing is written here.
 *  @thread the owning loop's, but for the call that the store makes (see order_create_batch). */
#ifndef ORDERD_SERVICE_CACHE_WRITER_H
#define ORDERD_SERVICE_CACHE_WRITER_H

#include "base/metrics.h"
#include "port/order_cache.h"
#include "port/order_store.h"

/** Orders of a small and of a large write, and how many of each may be outstanding. */
#define CACHE_WRITE_SMALL 256
#define CACHE_WRITES_SMALL 40
#define CACHE_WRITE_LARGE 8192
#define CACHE_WRITES_LARGE 6

/** How many completions it may have in the loop's mailbox at once. */
#define CACHE_WRITER_OUTSTANDING_MAX ((size_t)CACHE_WRITES_SMALL + CACHE_WRITES_LARGE)

#define CACHE_WRITER_METRICS(X)                                                                    \
    X(counter, written_total, "Orders that the cache took beside the store")                       \
    X(counter, failed_total, "Orders that the cache did not take; the relay brings them")          \
    X(counter, skipped_total, "Orders that were not offered: too much was outstanding")            \
    X(counter, removed_total, "Entries of creates that did not commit, taken out again")           \
    X(counter, remove_failures_total, "Such entries that the cache did not let go of")

struct cache_writer_metrics {
    CACHE_WRITER_METRICS(METRIC_FIELD)
};
extern const struct metric_description cache_writer_metric_table[];
extern const size_t cache_writer_metric_count;

struct cache_writer;

/** NULL where memory is short. */
struct cache_writer *cache_writer_create(struct order_cache *cache, struct mailbox *mailbox);

/** Everything that it had outstanding is completed. NULL will do. */
void cache_writer_destroy(struct cache_writer *writer);

struct cache_writer_metrics *cache_writer_metrics(struct cache_writer *writer);

/** Makes the batch go to the cache, too, while the store has it: between this and `done` of the
 *  batch the writer's own `done` is in its place. Call before the store is handed the batch. */
void cache_writer_follow(struct cache_writer *writer, struct order_create_batch *batch);

/** Takes that back, where the store did not take the batch. */
void cache_writer_unfollow(struct order_create_batch *batch);

/** Puts the orders of a batch of changes that were committed. */
void cache_writer_changed(struct cache_writer *writer, const struct order_change_batch *batch);

#endif
