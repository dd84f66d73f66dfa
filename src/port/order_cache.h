/** The cache behind the local memory: what is here need not be asked of the store or the archive.
 *
 *  Implemented by adapter/embedded (the RAM table itself: put makes an archived order resident,
 *  the rest has nothing to do) and, for clusters, by adapter/redis on Redis Cluster, key
 *  `o:{<order_id>}` = the record:
 *  - get: pipelined GETs a node.
 *  - put: one Lua script, which compares versions and deletes `lk:{<order_id>}`.
 *  - lock: `SET lk:{<order_id>} token NX PX 8000`.
 *  - fill: a script that applies the record only where the token still stands.
 *  - remove: compare-and-delete of the exact bytes, for a create that did not commit and for the
 *    checker's repairs.
 *
 *  Losing it costs time, never an order: no result of it decides about a create or a change.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_ORDER_CACHE_H
#define ORDERD_PORT_ORDER_CACHE_H

#include "order/record.h"
#include "port/port_request.h"

/** put and remove. Results: STORED, UNAVAILABLE. */
struct order_cache_put {
    struct port_request request;
    size_t count;
    const struct order_record *orders;
    uint8_t *results;
    void *next; /* the port's, while it has the request */
};

/** lock: takes the look-up lock of an order. Results: STORED (it is ours), MISMATCH (somebody
 *  else's), UNAVAILABLE.
 *  fill: puts what the look-up found, if the lock still stands. Results: STORED, MISMATCH,
 *  UNAVAILABLE. An order with id 0 only gives the lock back. */
struct order_cache_fill {
    struct port_request request;
    uint64_t order_id;
    uint64_t token;            /* unique to this look-up */
    struct order_record order; /* fill */
    uint8_t result;
};

struct order_cache;

struct order_cache_ops {
    enum port_submit (*get)(struct order_cache *cache, struct order_get_batch *batch);
    enum port_submit (*put)(struct order_cache *cache, struct order_cache_put *batch);
    enum port_submit (*remove)(struct order_cache *cache, struct order_cache_put *batch);
    enum port_submit (*lock)(struct order_cache *cache, struct order_cache_fill *request);
    enum port_submit (*fill)(struct order_cache *cache, struct order_cache_fill *request);
};

/** First member of every implementation. */
struct order_cache {
    const struct order_cache_ops *ops;
};

#endif
