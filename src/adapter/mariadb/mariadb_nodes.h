/** The node number of this instance, leased in `nodes` on shard 0, and the set of numbers that were
 *  ever leased, by which readers know ids that nobody can have given.
 *
 *  A thread of its own (`mysql-nodes`) with a connection of its own leases, renews three times as
 *  often as needed, and reads the set when somebody asks for a number that is not in it. A number
 *  that has never been leased before is used only NODE_QUARANTINE_US after it was: by then whoever
 *  trusts a set that does not have it has read it again. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_NODES_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_NODES_H

#include "adapter/mariadb/mariadb_connection.h"
#include "adapter/mariadb/node_lease.h"
#include "base/clock.h"

#include <pthread.h>

/** A set that was read less than this ago is trusted where a number is not in it. */
#define NODE_SET_TRUST_US INT64_C(1000000)
#define NODE_QUARANTINE_US INT64_C(1500000)

struct mariadb_nodes {
    const struct mariadb_settings *settings;
    const struct clock *clock;
    struct log *log;
    struct mariadb_metrics *metrics;
    const char *holder; /* this instance; borrowed */
    bool gives_ids;     /* false: only the set is wanted */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct node_grant grant; /* guarded by mutex */
    bool stopping;           /* guarded by mutex */
    bool renewal_wanted;     /* guarded by mutex */
    bool set_wanted;         /* guarded by mutex */
    uint64_t used_tick;      /* guarded by mutex: given back up to here at the end */
    _Atomic uint64_t known[ORDER_NODE_COUNT / 64];
    _Atomic int64_t known_since_us; /* monotonic: when the reading of the set began; 0: never */

    /* The thread's: */
    struct mariadb_connection connection;
    struct sql_builder sql;
    int64_t renew_at_us;
    int64_t retry_at_us; /* 0 while all is well */
    int64_t set_at_us;   /* the set is not read before */
    bool end_noted;
    struct log_limit limit;
};

struct mariadb_nodes_parts {
    const struct mariadb_settings *settings;
    const struct clock *clock;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct mariadb_health *health; /* of shard 0 */
    const char *holder;
    bool gives_ids;
};

/** Starts the thread; it leases a number as soon as shard 0 answers. */
MUST_CHECK bool mariadb_nodes_start(struct mariadb_nodes *nodes,
                                    const struct mariadb_nodes_parts *parts, struct fault *fault);

/** Gives the lease back, so that the next instance may have the number at once, and ends the
 *  thread. @param used_tick the highest tick of any id that was given. */
void mariadb_nodes_stop(struct mariadb_nodes *nodes, uint64_t used_tick);

/** What is held now. @thread any. */
void mariadb_nodes_grant(struct mariadb_nodes *nodes, struct node_grant *grant);

/** The grant does not reach as far as the clock: renew it now. @thread any. */
void mariadb_nodes_want_renewal(struct mariadb_nodes *nodes);

/** False where no instance can have given an id with this node number. Where that is not certain,
 *  the set is read again, at most once a second, and the answer is true: look the order up.
 *  @thread any; never blocks. */
MUST_CHECK bool mariadb_nodes_may_have_given(struct mariadb_nodes *nodes, uint64_t order_id);

#endif
