/** Where hot orders live until they are final and archived; the one place that decides about a
 *  create or a change. Batch in, batch out; every item has its own result.
 *
 *  Implemented by adapter/embedded (the journal) and, for clusters, by adapter/mariadb:
 *  - create: one transaction a batch and shard, one INSERT into `order_refs` and one into `orders`;
 *    the store gives the ids, from the node number that it has leased.
 *  - change: `SELECT ... FOR UPDATE` in id order, order_change_judge for each, one joined UPDATE.
 *  - get, find: one query a shard and batch.
 *  - scan: a range over the primary key, as ids rise with time; the cursor is the last id seen.
 *  - release: `DELETE ... WHERE order_id = ? AND version = ?` of what the archive has.
 *  - expire: a range DELETE on `order_refs`, limited.
 *
 *  @thread every operation may be submitted from any thread, never blocks, and completes on the
 *  submitter's mailbox. */
#ifndef ORDERD_PORT_ORDER_STORE_H
#define ORDERD_PORT_ORDER_STORE_H

#include "order/change.h"
#include "order/record.h"
#include "port/port_request.h"

/** What a store answers to a change that was judged so, once it is durable. */
static inline enum order_result order_result_from_verdict(enum order_verdict verdict) {
    switch (verdict) {
    case ORDER_VERDICT_MISMATCH:
        return ORDER_RESULT_MISMATCH;
    case ORDER_VERDICT_UNCHANGED:
        return ORDER_RESULT_UNCHANGED;
    case ORDER_VERDICT_ILLEGAL:
        return ORDER_RESULT_ILLEGAL;
    case ORDER_VERDICT_BAD_TIME:
        return ORDER_RESULT_BAD_TIME;
    case ORDER_VERDICT_CHANGED:
        break;
    }
    return ORDER_RESULT_CHANGED;
}

struct cache_write;

/** Creates. Results: CREATED, REPLAYED, CONFLICT, BUSY, UNAVAILABLE, UNKNOWN. */
struct order_create_batch {
    struct port_request request;
    size_t count;
    /** In: accepted drafts. Out: the created order, or for REPLAYED and CONFLICT the one that the
     *  reference belongs to, as it is now. */
    struct order_record *orders;
    const uint64_t *reference_hashes; /* of `orders`, by order_record_reference_hash */
    uint8_t *results;
    size_t progress; /* the store's, while it has the batch */
    /** NULL, or called once, on a thread of the store's, before anything of the batch is durable:
     *  every order now is what it will be stored as, if it is (order_id 0: it will not be). So the
     *  cache can be written meanwhile. A store whose cache is its own memory does not call it. */
    void (*ids_given)(struct order_create_batch *batch);
    struct cache_write *cache_write; /* the command service's */
};

/** Changes. Results: CHANGED, UNCHANGED, ILLEGAL, MISMATCH, BAD_TIME, ABSENT, BROKEN, BUSY,
 *  UNAVAILABLE, UNKNOWN. ABSENT: it is not a hot order; the archive may have it. BROKEN: what the
 *  store has is no order; it stays as it is, and asking again is of no use until it is mended. */
struct order_change_batch {
    struct port_request request;
    size_t count;
    const struct order_change *changes;
    struct order_record *orders; /* out: the order after it; or as it is, where it was refused */
    uint8_t *results;
    size_t progress; /* the store's, while it has the batch */
};

/** Look-ups by reference. Results: FOUND, FOUND_ID, ABSENT, UNAVAILABLE. */
struct order_find_batch {
    struct port_request request;
    size_t count;
    /** In: partner_code and partner_order_id. Out: the order, or for FOUND_ID its order_id. */
    struct order_record *orders;
    uint8_t *results;
    void *next; /* the store's, while it has the batch */
};

enum order_scan_kind {
    ORDER_SCAN_OVERDUE, /* not final, and created before `before_us` */
    ORDER_SCAN_FINAL,   /* final, not released, and last changed before `before_us` */
    /** References of orders that were created before `before_us`, archived ones included: only
     *  order_id, partner_code and partner_order_id are given, the rest is zero. Always thorough.
     *  Of adapter/mariadb alone; any other has none to give. */
    ORDER_SCAN_REFERENCES
};

/** A walk over the hot orders, or over the references, a slice at a time. Everything that is there
 *  for a whole round is seen in it. */
struct order_scan_batch {
    struct port_request request;
    enum order_scan_kind kind;
    /** False: only what the store has noticed of this kind since it was last asked, where it takes
     *  notice; no round then, and the cursor stays 0. */
    bool thorough;
    int64_t before_us;
    uint64_t cursor; /* 0 begins; out: where to go on, 0 after the last slice of a round */
    size_t limit;    /* of orders in one slice, at least 4 */
    size_t count;    /* out */
    struct order_record *orders;
    uint8_t result;  /* FOUND (also for none) or UNAVAILABLE */
    bool overlooked; /* out, not thorough: something was not noticed; a thorough round finds it */
    /** Out, OVERDUE: creation time of the oldest order in this slice that is not final and not yet
     *  overdue; INT64_MAX where there is none. */
    int64_t next_us;
};

/** Takes orders out that the archive holds. Results: RELEASED (also where it was already gone),
 *  MISMATCH, UNAVAILABLE, UNKNOWN. */
struct order_release_batch {
    struct port_request request;
    size_t count;
    const struct order_record *orders; /* as they are in the archive */
    uint8_t *results;
    size_t progress; /* the store's, while it has the batch */
};

/** Forgets references of orders that are final and were created before `before_us`. */
struct order_expire_batch {
    struct port_request request;
    int64_t before_us;
    size_t limit;
    size_t count;   /* out: how many were forgotten, where the store can count them */
    bool more;      /* out: the limit was reached */
    uint8_t result; /* STORED or UNAVAILABLE */
};

struct order_store;

struct order_store_ops {
    enum port_submit (*create)(struct order_store *store, struct order_create_batch *batch);
    enum port_submit (*change)(struct order_store *store, struct order_change_batch *batch);
    enum port_submit (*get)(struct order_store *store, struct order_get_batch *batch);
    enum port_submit (*find)(struct order_store *store, struct order_find_batch *batch);
    enum port_submit (*scan)(struct order_store *store, struct order_scan_batch *batch);
    enum port_submit (*release)(struct order_store *store, struct order_release_batch *batch);
    enum port_submit (*expire)(struct order_store *store, struct order_expire_batch *batch);
};

/** First member of every implementation. */
struct order_store {
    const struct order_store_ops *ops;
};

#endif
