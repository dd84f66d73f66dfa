/** The query service: an order by id, many at once, or by reference. One instance a network loop.
 *
 *  What the RAM table has is answered at once, on the loop, without a lock. The rest is gathered
 *  while the loop reads its sockets and goes to the look-up as one batch (query_flush); several
 *  readers of one order wait on one look-up. What was found below is offered to the cache.
 *
 *  @thread all functions, and every `done`: the owning loop's. */
#ifndef ORDERD_SERVICE_QUERY_H
#define ORDERD_SERVICE_QUERY_H

#include "base/clock.h"
#include "base/metrics.h"
#include "memory/order_table.h"
#include "port/order_cache.h"
#include "port/order_store.h"
#include "service/lookup.h"

/** Orders of one look-up batch, batches that may be outstanding, and readers that may wait. */
#define QUERY_BATCH_MAX 128
#define QUERY_BATCHES 16

/** Batches that are under way before gathering goes on until one comes back. */
#define QUERY_IN_FLIGHT 4

/** Offers of what was found to the cache that may be outstanding; further ones are left out. */
#define QUERY_FILLS 4

/** Look-ups by reference that may be outstanding. */
#define QUERY_FINDS 256

/** Requests for many orders that may wait for a tier below, and orders in one slice of theirs. */
#define QUERY_MANY_MAX 8
#define QUERY_MANY_SLICE 512

#define QUERY_METRICS(X)                                                                           \
    X(counter, memory_hits_total, "Orders found in local memory")                                  \
    X(counter, memory_misses_total, "Orders that local memory did not have")                       \
    X(counter, memory_doubted_total,                                                               \
      "Of them, those that it had but was too far behind the log of changes to vouch for")         \
    X(counter, lookups_total, "Orders looked up in the tiers below")                               \
    X(counter, joined_total, "Readers that waited on another one's look-up")                       \
    X(counter, impossible_total, "Ids that nobody can have given, answered without any look-up")   \
    X(counter, absent_total, "Orders that are in no tier")                                         \
    X(counter, unavailable_total, "Look-ups that a tier did not answer")                           \
    X(counter, refused_total, "Look-ups refused because too many were outstanding")

struct query_metrics {
    QUERY_METRICS(METRIC_FIELD)
};
extern const struct metric_description query_metric_table[];
extern const size_t query_metric_count;

/** One read by id. The caller owns it until it is answered. */
struct query_get {
    uint64_t order_id;
    uint32_t min_version;      /* 0: any */
    struct order_record order; /* out */
    /** FOUND; ABSENT; MISMATCH: only an older version than min_version is known, it is in `order`;
     *  UNAVAILABLE; BUSY: a look-up elsewhere is in progress. */
    enum order_result result;
    void (*done)(struct query_get *get);
    /* The service's, while it waits: */
    struct query_get *next;
    bool late; /* it joined a look-up that was under way: what is written by now may not be told */
};

/** One read by reference. The caller owns it until `done`. */
struct query_find {
    struct order_record order; /* in: partner_code and partner_order_id; out: the order */
    enum order_result result;  /* FOUND, ABSENT, UNAVAILABLE, BUSY */
    void (*done)(struct query_find *find);
    struct query_get by_id; /* the service's: the second half where only the id was found */
};

/** One read of many. The caller owns it, `ids` and the output until it is answered. */
struct query_many {
    const void *ids; /* count × u64, of any alignment */
    size_t count;    /* at most 8,192 */
    /** One of them is given: states (count × struct order_state, of any alignment) or orders. */
    void *states;
    struct order_record *orders;
    size_t unknown; /* out: items that cannot be known now; states carry a flag for each */
    void (*done)(struct query_many *many);
    /* The service's: */
    size_t at; /* items before it are answered */
    struct query_service *service;
    struct query_slice *slice;
};

struct query_service;

struct query_parts {
    const struct clock *clock;
    const struct order_table *table;
    struct order_store *store;
    struct order_cache *cache; /* may be NULL */
    struct lookup *lookup;
    struct mailbox *mailbox; /* of the loop */
    /** Idempotency window. A final order that is older may have lost its reference to a younger one
     *  that is only in a tier below: then the store is asked. */
    int64_t window_us;
    /** Local memory follows the log of changes: an order that is older there than min_version is
     *  looked up below. False: it is never behind. */
    bool memory_may_lag;
    /** NULL: what is in local memory is always believed. Else the time, on `clock`, until which
     *  that holds for orders that are not final; past it they are looked up below. */
    const _Atomic int64_t *memory_current_until;
};

/** NULL where memory is short. */
struct query_service *query_service_create(const struct query_parts *parts);
void query_service_destroy(struct query_service *service);

struct query_metrics *query_service_metrics(struct query_service *service);

/** How many completions the service may have in the loop's mailbox at once. */
#define QUERY_OUTSTANDING_MAX ((size_t)QUERY_BATCHES + QUERY_FILLS + QUERY_FINDS + QUERY_MANY_MAX)

/** Reads one order. True: it is answered in `get`, and `done` is not called. False: `done` is
 *  called later, or was called already. */
MUST_CHECK bool query_get(struct query_service *service, struct query_get *get);

/** Reads one order by reference; answered later, or at once as for query_get. */
MUST_CHECK bool query_find(struct query_service *service, struct query_find *find);

/** Answers from local memory alone: true where it has every one of the `count` ids; `out` takes
 *  their states. False: some are missing, and query_many answers. */
MUST_CHECK bool query_states_from_memory(struct query_service *service, const void *ids,
                                         size_t count, struct order_state *out);

/** Reads from local memory alone: copies the orders of `ids` that it has, and sets found[i].
 *  Returns how many it has; query_get finds out about the others. */
size_t query_orders_from_memory(struct query_service *service, const uint64_t *ids, size_t count,
                                struct order_record *orders, bool *found);

/** Reads many. True: answered at once, later otherwise. */
MUST_CHECK bool query_many(struct query_service *service, struct query_many *many);

/** Sends what was gathered. Call when the loop has read its sockets. */
void query_flush(struct query_service *service);

#endif
