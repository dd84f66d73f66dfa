/** The hot store on a cluster of MariaDB servers, whole: the shards, the node number of this
 *  instance, and the leases. What the rest of the program sees are the ports.
 *
 *  mariadb_open judges the options and the servers that answer; mariadb_start begins the threads:
 *  `mysql-dispatch`, the lanes (`mysql-create`, `-change`, `-read`, `-upkeep` of every shard),
 *  `mysql-replays`, `mysql-nodes` and `mysql-leases`. A server that does not answer at the start,
 * or stops to, makes its shard unavailable until it is back; one that is not to be worked with
 *  (settings, schema, shard) refuses the start, and later makes its shard unavailable. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_H

#include "adapter/mariadb/mariadb_options.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/lease.h"
#include "port/order_archive.h"
#include "port/order_store.h"

#define MARIADB_HOLDER_MAX 64

struct mariadb;

struct mariadb_parts {
    const struct mysql_options *options;
    const char *password; /* from the environment; may be NULL */
    /** Who holds node numbers and leases: unique for this run of this process, at most
     *  MARIADB_HOLDER_MAX - 1 characters. NULL: host, process id and a random number. */
    const char *holder;
    struct log *log;
    const struct clock *clock;
    struct metrics *metrics;       /* may be NULL */
    struct order_archive *archive; /* asked for orders that a create's reference belongs to and that
                                      have left; may be NULL: such creates are then unavailable */
    bool gives_ids; /* false: no node number is leased, and creates are unavailable */
};

/** Judges options and servers, and allocates everything. NULL, with one line in `fault`, where the
 *  process must not start. Takes as long as the servers need to answer, each of them at most
 *  mysql.connect_timeout_ms. */
struct mariadb *mariadb_open(const struct mariadb_parts *parts, struct fault *fault);

/** Starts the threads. False, with one line in `fault`; close it then. */
MUST_CHECK bool mariadb_start(struct mariadb *mariadb, struct fault *fault);

/** Completes everything that was submitted, gives the node number back, ends the threads. Nobody
 *  submits any more. Takes at most about mysql.deadline_ms. */
void mariadb_stop(struct mariadb *mariadb);

/** Stops it where that was not done, and releases everything. */
void mariadb_close(struct mariadb *mariadb);

struct order_store *mariadb_order_store(struct mariadb *mariadb);
size_t mariadb_shard_count(const struct mariadb *mariadb);
struct lease_port *mariadb_lease_port(struct mariadb *mariadb);

/** False where no instance can have given this id: its node number was never leased. Where that is
 *  not certain it is true, and the leases are read again, at most once a second.
 *  @thread any; never blocks. */
MUST_CHECK bool mariadb_may_have_given(struct mariadb *mariadb, uint64_t order_id);

/** The state for readiness: true where every shard answers and, for an instance that gives ids, its
 *  node number may be used. Otherwise `reason` says in a few words why not. @thread any. */
MUST_CHECK bool mariadb_is_ready(struct mariadb *mariadb, const char **reason);

#endif
