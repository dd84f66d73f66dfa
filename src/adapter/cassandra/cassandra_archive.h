/** The order_archive of a cluster: final orders in Cassandra.
 *
 *  A put's and a get's orders are grouped by partition; a group travels as one request, an unlogged
 *  batch of prepared inserts or one SELECT. A group that waits for a stream takes in what comes
 *  meanwhile for its partition, whoever asked for it: so batches form by themselves under load.
 *  Writes carry the version as their timestamp and may be repeated at will, so a request whose
 *  outcome is not known is sent once more, to another node where there is one; likewise a read.
 *  Everything has a deadline, counted from when this module took it.
 *
 *  When every node is known to be down, what waits is answered at once: UNAVAILABLE, or UNKNOWN for
 *  a write that may have been carried out.
 *
 *  A plain state machine: `step` does what can be done, `wait` waits for something to do. The
 * thread `cassandra` drives it; tests drive it themselves.
 *  @thread submission: any; step and wait: one at a time. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_ARCHIVE_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_ARCHIVE_H

#include "adapter/cassandra/cassandra_hosts.h"
#include "port/order_archive.h"

/** The most orders of one put or get. */
#define CASSANDRA_REQUEST_ORDERS_MAX 8192

struct cassandra_archive;

struct cassandra_archive_parts {
    const struct cassandra_terms *terms;   /* copied */
    const struct cassandra_dialer *dialer; /* cassandra_dialer_tcp but in tests */
    struct log *log;
    uint64_t seed; /* for the pauses between attempts to connect */
};

/** Reserves all memory; speaks to nobody yet. NULL, with the reason in `fault`. */
struct cassandra_archive *cassandra_archive_create(const struct cassandra_archive_parts *parts,
                                                   struct fault *fault);

/** Closes the connections; what is still under way is completed as UNAVAILABLE or UNKNOWN. After
 *  the thread has ended. */
void cassandra_archive_destroy(struct cassandra_archive *archive);

/** Starts the thread. */
MUST_CHECK bool cassandra_archive_start(struct cassandra_archive *archive, struct fault *fault);

/** Ends the thread after what was submitted is done. Nobody may submit any more. */
void cassandra_archive_stop(struct cassandra_archive *archive);

struct order_archive *cassandra_archive_port(struct cassandra_archive *archive);
struct cassandra_metrics *cassandra_archive_metrics(struct cassandra_archive *archive);

/** True where some node answers. `fault` names the nodes that do not, and why; it is empty where
 *  all do. @thread any. */
MUST_CHECK bool cassandra_archive_is_ready(struct cassandra_archive *archive, struct fault *fault);

/** Does what can be done at `now_us` (of a monotonic clock). Returns the time before which there is
 *  nothing more to do, unless a socket gets ready or somebody submits. */
int64_t cassandra_archive_step(struct cassandra_archive *archive, int64_t now_us);

/** Waits for a socket or a submission, at most `timeout_ms`. */
void cassandra_archive_wait(struct cassandra_archive *archive, int timeout_ms);

#endif
