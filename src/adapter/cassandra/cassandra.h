/** The archive of a cluster, whole: judges the options, looks at what the cluster has, and gives
 * the port. What the rest of the program sees.
 *
 *  Thread: `cassandra` works on every connection; opening and the checks run on the caller's. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_H

#include "adapter/cassandra/cassandra_repair.h"
#include "adapter/cassandra/cassandra_schema.h"

struct cassandra;

struct cassandra_parts {
    const struct cassandra_options *options;
    const char *password; /* what ORDERD_CASSANDRA_PASSWORD holds, or NULL */
    struct log *log;
    struct metrics *metrics; /* may be NULL */
    /** How long after its verification an order leaves the store; 0 where this process removes
     *  none. */
    int64_t settle_us;
    uint64_t seed;
};

/** Refuses, with one line in `fault` that says what to change or to run, where the options
 * contradict each other, the schema is missing, older, newer or another one, or `settle_us` is
 * below the time for which a node may acknowledge what is not on its medium. That no node answers
 * is a reason only for a process that removes orders from the store (settle_us). Blocks,
 * at most for a few times cassandra.connect_timeout_ms. Nothing runs yet. */
struct cassandra *cassandra_open(const struct cassandra_parts *parts, struct fault *fault);

/** Starts the thread, which connects. False, with the reason, where it cannot be. */
MUST_CHECK bool cassandra_start(struct cassandra *cassandra, struct fault *fault);

/** Ends the thread after what was submitted is done, which its time-outs bound. Nobody may submit
 *  any more. Once, after a start. */
void cassandra_stop(struct cassandra *cassandra);

/** Frees everything; the metrics with it. After the stop, or where it was never started. */
void cassandra_close(struct cassandra *cassandra);

struct order_archive *cassandra_order_archive(struct cassandra *cassandra);

/** For the checker's requests (cassandra_repair.h). */
struct cassandra_archive *cassandra_repairs(struct cassandra *cassandra);

/** True where some node answers. `fault` names the nodes that do not, and why; it is empty where
 *  all do. @thread any. */
MUST_CHECK bool cassandra_is_ready(struct cassandra *cassandra, struct fault *fault);

#endif
