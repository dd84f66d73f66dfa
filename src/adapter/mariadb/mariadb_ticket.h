/** What the store knows of a request that it has: how many of its items are open, and until when
 *  they may be worked on. Items of one request go different ways (shards, lanes, the archive); the
 *  one that settles the last of them completes the request.
 *
 *  Tickets come from a pool of fixed size: whoever submits a request takes one, whoever settles its
 *  last item puts it back. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_TICKET_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_TICKET_H

#include "adapter/mariadb/mariadb_metrics.h"
#include "port/order_store.h"

#include <pthread.h>

enum mariadb_kind {
    MARIADB_CREATE,
    MARIADB_CHANGE,
    MARIADB_GET,
    MARIADB_FIND,
    MARIADB_SCAN,
    MARIADB_RELEASE,
    MARIADB_EXPIRE,
    MARIADB_RESOLVE /* an item of a create whose reference has an order: which one is it? */
};

struct mariadb_ticket {
    struct port_request *request;
    struct mariadb_ticket *next_free;
    enum mariadb_kind kind;
    _Atomic uint32_t open;        /* items that are not settled */
    int64_t submitted_us;         /* times are monotonic */
    int64_t start_by_us;          /* an item that no lane has taken by then is refused */
    int64_t deadline_us;          /* nothing is tried again after it */
    _Atomic uint64_t expired;     /* expire: references forgotten */
    _Atomic uint32_t expire_more; /* expire: a shard has more */
    _Atomic uint32_t expire_failed;
};

/** One item of a request, on its way. */
struct mariadb_item {
    struct mariadb_ticket *ticket;
    uint32_t index; /* in the request; expire: the shard */
    uint32_t kind;  /* enum mariadb_kind */
};

struct mariadb_tickets {
    struct mariadb_ticket *memory; /* owned */
    pthread_mutex_t mutex;
    struct mariadb_ticket *free; /* guarded by mutex */
    struct mariadb_metrics *metrics;
};

MUST_CHECK bool mariadb_tickets_init(struct mariadb_tickets *tickets, size_t count,
                                     struct mariadb_metrics *metrics);
void mariadb_tickets_deinit(struct mariadb_tickets *tickets);

/** A ticket for a request with `open` items; NULL where there is none left: the store has as many
 *  requests as it holds. @thread any. */
struct mariadb_ticket *mariadb_tickets_take(struct mariadb_tickets *tickets,
                                            struct port_request *request, enum mariadb_kind kind,
                                            size_t open);

/** Writes the result of an item, counts it, and settles it. What belongs to the result is in the
 *  request already. @thread any. */
void mariadb_item_settle(struct mariadb_tickets *tickets, struct mariadb_item item,
                         enum order_result result);

/** Settles `count` items whose results are written. The ticket and the request are gone where they
 *  were the last. @thread any. */
void mariadb_ticket_settle(struct mariadb_tickets *tickets, struct mariadb_ticket *ticket,
                           size_t count);

/** The result that says "not now, nothing happened" of an item, as its port knows it. */
enum order_result mariadb_item_refusal(struct mariadb_item item);

static inline struct order_create_batch *mariadb_create_of(struct mariadb_item item) {
    return (struct order_create_batch *)item.ticket->request;
}

static inline struct order_change_batch *mariadb_change_of(struct mariadb_item item) {
    return (struct order_change_batch *)item.ticket->request;
}

static inline struct order_get_batch *mariadb_get_of(struct mariadb_item item) {
    return (struct order_get_batch *)item.ticket->request;
}

static inline struct order_find_batch *mariadb_find_of(struct mariadb_item item) {
    return (struct order_find_batch *)item.ticket->request;
}

static inline struct order_release_batch *mariadb_release_of(struct mariadb_item item) {
    return (struct order_release_batch *)item.ticket->request;
}

#endif
