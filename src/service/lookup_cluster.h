/** The look-up on a cluster: Redis, then under a lock MariaDB and Cassandra. Steps 1 to 3 of the
 *  query side, behind the local memory.
 *
 *  An id on its way has one entry in the process, whoever asks for it, so it is looked up once:
 *
 *      CACHE --found--------------------------------> answer
 *        | not there            | does not answer
 *      LOCK --ours--> CACHE -> FIRST -> SECOND --> answer, then fill the cache, or give the lock
 * back | somebody else's (an instance, which looks the order up now) WAIT --a moment later: CACHE
 * again; past lookup.wait_ms: answer "busy" (202)
 *
 *  FIRST is the store for an order that may still be open by its age, else the archive; SECOND is
 *  the other one, and is asked where the first one does not have the order. An order that moves
 *  between the two is never missed: it is in the archive for archive.settle_seconds before the
 * store lets go of it. Where the archive was asked first, and the store's answer took so long that
 * this proves nothing (it hung, or this process stood still), the archive is asked once more. A
 * tier that does not answer is skipped, but then nothing is "absent": the result is UNAVAILABLE.
 *
 *  Who joins after a database was asked is not told of an absence, or of an older version than it
 *  wants: what it knows of may have been written since. It begins a look-up of its own.
 *
 *  Who has got the lock reads the cache again: another one may have filled it and given the lock
 * back between the two. So an order costs one question to the databases, however many ask.
 *
 *  With the cache down there is no lock across processes; each then asks once.
 *
 *  A state machine over the ports: lookup_cluster_step does what is due, what it is handed and what
 *  completes arrives in the mailbox of the thread that drives it.
 *  @thread its own, but for the port (struct lookup), which any thread uses. */
#ifndef ORDERD_SERVICE_LOOKUP_CLUSTER_H
#define ORDERD_SERVICE_LOOKUP_CLUSTER_H

#include "base/config.h"
#include "base/metrics.h"
#include "port/order_cache.h"
#include "port/order_store.h"
#include "service/lookup.h"

/** Ids that may be on their way at once, readers that may wait for them, and batches that they may
 *  have come in. */
#define LOOKUP_ENTRIES 8192
#define LOOKUP_READERS 32768
#define LOOKUP_SUBMITTED_MAX 512

/** Batches that may be at a tier at once, and orders in one. */
#define LOOKUP_TIER_BATCHES 4
#define LOOKUP_TIER_ITEMS 256

/** How many completions may be in its mailbox at once: locks and fills are an entry's own. */
#define LOOKUP_OUTSTANDING_MAX                                                                     \
    ((size_t)LOOKUP_ENTRIES + 3 * LOOKUP_TIER_BATCHES + LOOKUP_SUBMITTED_MAX)

#define LOOKUP_OPTIONS(X)                                                                          \
    X(uint64, wait_ms, "500", "0..5000", start,                                                    \
      "How long a read waits for an order that another instance looks up, before it answers 202")  \
    X(uint64, poll_ms, "20", "1..1000", start, "How often it looks meanwhile whether it is there")

struct lookup_options {
    LOOKUP_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option lookup_option_table[];
extern const size_t lookup_option_count;

#define LOOKUP_METRICS(X)                                                                          \
    X(counter, cache_hits_total, "Orders found in the cache")                                      \
    X(counter, cache_misses_total,                                                                 \
      "Orders that the cache does not have, or only an older version")                             \
    X(counter, cache_failures_total, "Times that the cache did not say whether it has an order")   \
    X(counter, cache_broken_total, "Values in the cache that are no orders")                       \
    X(counter, joined_total, "Readers that waited on another thread's look-up")                    \
    X(counter, locks_total, "Look-up locks taken")                                                 \
    X(counter, locks_met_total, "Times that somebody else had the lock")                           \
    X(counter, provisional_total, "Orders that somebody else was still looking up")                \
    X(counter, store_asked_total, "Orders that the store was asked for")                           \
    X(counter, store_found_total, "Orders found in the store")                                     \
    X(counter, archive_asked_total, "Orders that the archive was asked for")                       \
    X(counter, archive_found_total, "Orders found in the archive")                                 \
    X(counter, second_asked_total, "Orders that the tier asked first did not have")                \
    X(counter, absent_total, "Orders that are in no tier")                                         \
    X(counter, unavailable_total, "Look-ups that a tier did not answer")                           \
    X(counter, fills_total, "Orders that the cache took from a look-up")                           \
    X(counter, fills_void_total, "Fills that a change had overtaken, or whose lock had ended")     \
    X(counter, refused_total, "Look-ups refused because too many were under way")

struct lookup_metrics {
    LOOKUP_METRICS(METRIC_FIELD)
};
extern const struct metric_description lookup_metric_table[];
extern const size_t lookup_metric_count;

struct lookup_cluster;

struct lookup_cluster_parts {
    const struct clock *clock;
    struct order_cache *cache;
    struct order_store *store;
    struct order_archive *archive;          /* NULL: there is none yet */
    const struct lookup_options *options;   /* copied */
    int64_t open_us;                        /* an order younger than this may still be open */
    struct mailbox *mailbox;                /* of the thread that drives it */
    uint64_t token_seed;                    /* random, of this process */
    bool (*was_given)(void *, uint64_t id); /* false: no instance can have given the id */
    void *was_given_context;
};

/** NULL where memory is short. */
struct lookup_cluster *lookup_cluster_create(const struct lookup_cluster_parts *parts);

/** Everything that was submitted is completed. NULL will do. */
void lookup_cluster_destroy(struct lookup_cluster *cluster);

struct lookup *lookup_cluster_port(struct lookup_cluster *cluster);
struct lookup_metrics *lookup_cluster_metrics(struct lookup_cluster *cluster);

/** Does what is due. Returns the time, on the clock's scale, before which there is nothing more to
 *  do unless something completes. */
int64_t lookup_cluster_step(struct lookup_cluster *cluster);

/** True while an order is on its way. */
MUST_CHECK bool lookup_cluster_is_busy(const struct lookup_cluster *cluster);

#endif
