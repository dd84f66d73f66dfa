/** The lease port: named leases and the positions that belong to them, in `positions` on shard 0.
 *
 *  A thread (`mysql-leases`) with a connection of its own works off one request after the other:
 *  there are few, each is one small transaction. Times are the database's; the holder counts on its
 *  own monotonic clock from before it asked, a fiftieth less than the row says, as two clocks do
 * not run alike.
 *
 *  An owner is one run of one process (mariadb_parts.holder), so a position that is stored twice is
 *  stored by the same one: repeating an unanswered statement is harmless. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_LEASES_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_LEASES_H

#include "adapter/mariadb/mariadb_connection.h"
#include "port/lease.h"

#include <pthread.h>

/** Requests that may wait. */
#define MARIADB_LEASES_INBOX 256

struct mariadb_leases {
    struct lease_port port; /* first */
    const char *owner;      /* borrowed */
    const struct mariadb_settings *settings;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct mailbox inbox;
    _Atomic uint32_t stopping;
    pthread_t thread;
    bool started;

    /* The thread's: */
    struct mariadb_connection connection;
    struct sql_builder sql;
    struct log_limit limit;
};

struct mariadb_leases_parts {
    const struct mariadb_settings *settings;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct mariadb_health *health; /* of shard 0 */
    const char *owner;
};

/** `leases` is the caller's memory. Until it is started, requests wait. */
MUST_CHECK bool mariadb_leases_init(struct mariadb_leases *leases,
                                    const struct mariadb_leases_parts *parts, struct fault *fault);
void mariadb_leases_deinit(struct mariadb_leases *leases);

MUST_CHECK bool mariadb_leases_start(struct mariadb_leases *leases, struct fault *fault);

/** Ends the thread after what was submitted. Nobody submits any more. */
void mariadb_leases_stop(struct mariadb_leases *leases);

#endif
