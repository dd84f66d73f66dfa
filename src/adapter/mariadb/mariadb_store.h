/** The order_store on a cluster of MariaDB servers: a dispatcher and its lanes.
 *
 *  A request is a ticket in the dispatcher's inbox. The dispatcher (`mysql-dispatch`) gives new
 *  orders their ids, cuts the request into items by shard and queues them; from then on they are
 * the lanes'. It also refuses items that no lane took in time, so that a shard that hangs holds
 * nobody for longer than the options say. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_STORE_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_STORE_H

#include "adapter/mariadb/mariadb_lane.h"
#include "adapter/mariadb/mariadb_nodes.h"
#include "adapter/mariadb/mariadb_replays.h"

/** Requests that the store holds at once; more are refused. */
#define MARIADB_REQUESTS_MAX 4096

/** Items that are queued together. */
#define MARIADB_STAGE_ITEMS 4096

struct mariadb_store {
    struct order_store port; /* first */
    struct mariadb_shared shared;
    struct mariadb_nodes *nodes; /* borrowed */
    struct mailbox inbox;        /* of tickets */
    bool has_inbox;
    struct mariadb_lane *lanes; /* owned */
    size_t lane_count;
    size_t queue_count; /* of shards whose queues are set up */
    bool has_replays_queue;
    struct mariadb_replays replays;
    pthread_t thread;
    bool started;
    _Atomic uint32_t stopping;

    /* The dispatcher's: */
    struct order_id_generator ids;
    uint64_t grant_number;                           /* of the grant that `ids` began with */
    uint64_t used_tick;                              /* the highest of any id that was given */
    int64_t look_at_us;                              /* when overdue items are looked for */
    struct mariadb_item *staged[MARIADB_SHARDS_MAX]; /* owned; MARIADB_STAGE_ITEMS of each */
    size_t staged_count[MARIADB_SHARDS_MAX];
    struct log_limit limit;
};

struct mariadb_store_parts {
    const struct mariadb_settings *settings;
    const struct clock *clock;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct order_archive *archive; /* may be NULL */
    struct mariadb_nodes *nodes;   /* runs as long as the store does */
};

/** Allocates everything and starts nothing. `store` is the caller's memory. */
MUST_CHECK bool mariadb_store_init(struct mariadb_store *store,
                                   const struct mariadb_store_parts *parts, struct fault *fault);
void mariadb_store_deinit(struct mariadb_store *store);

/** Starts the threads; what was started is stopped where that fails. */
MUST_CHECK bool mariadb_store_start(struct mariadb_store *store, struct fault *fault);

/** Ends the threads after everything that was submitted is completed. Nobody submits any more.
 *  Afterwards `used_tick` is final. */
void mariadb_store_stop(struct mariadb_store *store);

#endif
