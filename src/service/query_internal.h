/** What the parts of the query service share; private to src/service. Every function is
 *  called on the loop that owns the service. */
#ifndef ORDERD_SERVICE_QUERY_INTERNAL_H
#define ORDERD_SERVICE_QUERY_INTERNAL_H

#include "service/query.h"

/** Gathered look-ups on their way to the tiers below. Each item has a list of readers. */
struct query_batch {
    struct lookup_batch lookup; /* first */
    struct query_service *service;
    struct query_batch *next; /* in the list of free ones */
    struct query_get *readers[QUERY_BATCH_MAX];
    uint64_t ids[QUERY_BATCH_MAX];
    uint32_t min_versions[QUERY_BATCH_MAX]; /* the highest that a reader of each wants */
    struct order_record orders[QUERY_BATCH_MAX];
    uint8_t results[QUERY_BATCH_MAX];
};

/** What was found, offered to the cache. It has memory of its own: the cache may be slow to take it
 *  (the embedded one waits for the store's writer), and no look-up is to wait for that. */
struct query_fill {
    struct order_cache_put put;
    struct query_service *service;
    struct query_fill *next;
    struct order_record orders[QUERY_BATCH_MAX];
    uint8_t results[QUERY_BATCH_MAX];
};

/** A look-up by reference on its way to the store. */
struct query_finding {
    struct order_find_batch batch;
    struct query_service *service;
    struct query_finding *next;
    struct query_find *find;
    struct order_record order;
    uint8_t result;
};

/** A part of a request for many, on its way to the tiers below. */
struct query_slice {
    struct lookup_batch lookup; /* first */
    struct query_slice *next;
    struct query_many *many;
    uint32_t places[QUERY_MANY_SLICE]; /* which item of the request each is */
    uint64_t ids[QUERY_MANY_SLICE];
    struct order_record orders[QUERY_MANY_SLICE];
    uint8_t results[QUERY_MANY_SLICE];
};

/* Every outstanding look-up by id, to be found by others who want the same order. */
#define QUERY_PENDING_SLOTS 8192
_Static_assert(QUERY_PENDING_SLOTS >= 2 * QUERY_BATCH_MAX * QUERY_BATCHES, "never crowded");

struct query_pending {
    uint64_t order_id; /* 0: empty */
    struct query_batch *batch;
    uint32_t item;
};

struct query_service {
    const struct clock *clock;
    const struct order_table *table;
    struct order_store *store;
    struct order_cache *cache;
    struct lookup *lookup;
    int64_t window_us;
    bool memory_may_lag;
    const _Atomic int64_t *memory_current_until;
    struct query_metrics metrics;
    struct query_batch *free_batches;
    struct query_batch *gathering; /* NULL: none */
    size_t in_flight;              /* batches */
    struct query_fill *free_fills;
    struct query_finding *free_findings;
    struct query_slice *free_slices;
    struct query_pending pending[QUERY_PENDING_SLOTS];
    struct query_batch batches[QUERY_BATCHES];
    struct query_fill fills[QUERY_FILLS];
    struct query_finding findings[QUERY_FINDS];
    struct query_slice slices[QUERY_MANY_MAX];
};

/** True where orders that are not final may be answered from local memory now. */
static inline bool query_memory_is_current(const struct query_service *service) {
    return service->memory_current_until == NULL ||
           clock_now_us(service->clock) <=
               atomic_load_explicit(service->memory_current_until, memory_order_acquire);
}

/** Sets a reader's result from an order that was found. */
void query_conclude_found(struct query_get *get, const struct order_record *order);

/** Prepares the slices of query_many.c. */
void query_many_init(struct query_service *service, struct mailbox *mailbox);

#endif
