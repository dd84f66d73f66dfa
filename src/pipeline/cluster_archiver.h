/** The archive pipeline of a cluster: moves final orders from the store to the archive. Step 5 of
 *  the command side.
 *
 *  It follows orders.changes; a batch of final orders is written to the archive, read back,
 *  compared byte for byte, and told of in orders.archived; then its messages are committed, and the
 *  orders settle before they leave the store (settling.h). Between batches a slow scan walks over
 *  the store for final orders that stayed there: those whose message was lost or whose batch was
 *  interrupted.
 *
 *  Every step may be repeated: after a crash, messages that were not committed come again, and what
 *  was committed and not released is still in the store for the scan. While a tier does not answer
 *  the batch is tried again and again, with pauses, and nothing more is read: a backlog stays in
 *  the topic, and memory is what was reserved at the start. An order that alone is not taken, or
 *  does not read back as it was written, is counted, logged and left in the store.
 *
 *  A plain state machine: cluster_archiver_step begins what can be begun; completions arrive
 *  through the mailbox of the thread that drives it. */
#ifndef ORDERD_PIPELINE_CLUSTER_ARCHIVER_H
#define ORDERD_PIPELINE_CLUSTER_ARCHIVER_H

#include "base/config.h"
#include "pipeline/settling.h"
#include "port/message_topic.h"

/** Orders that are moved at once. */
#define CLUSTER_ARCHIVER_BATCH_MAX 8192

#define CLUSTER_ARCHIVER_OPTIONS(X)                                                                \
    X(uint64, settle_seconds, "60", "1..3600", start,                                              \
      "Time that an order stays in the store after it was verified in the archive")                \
    X(uint64, settle_orders_max, "4194304", "16384..67108864", start,                              \
      "Orders that may wait for that, 8 bytes each; more are left in the topic until some are "    \
      "due")                                                                                       \
    X(uint64, scan_every_seconds, "60", "1..86400", start,                                         \
      "Pause between two walks over the store for final orders that stayed there")                 \
    X(uint64, scan_after_seconds, "300", "1..86400", start,                                        \
      "Time since its last change after which the walk takes a final order; added to "             \
      "settle_seconds")

struct cluster_archiver_options {
    CLUSTER_ARCHIVER_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option cluster_archiver_option_table[];
extern const size_t cluster_archiver_option_count;

#define CLUSTER_ARCHIVER_METRICS(X)                                                                \
    X(counter, archived_total, "Orders that were written, read back and found equal")              \
    X(counter, scanned_total, "Of these, orders that the scan found")                              \
    X(counter, mismatches_total, "Archived copies that were not what was written: an alarm")       \
    X(counter, failures_total,                                                                     \
      "Orders that a tier did not take or show; the scan tries them again")                        \
    X(counter, retries_total, "Batches that were tried again")                                     \
    X(counter, broken_messages_total, "Messages that were no orders")                              \
    X(counter, published_total, "Orders that were told of")                                        \
    X(counter, commits_total, "Commits of what was read")                                          \
    X(counter, lost_commits_total, "Commits that were refused: the messages come again")           \
    X(counter, rounds_total, "Walks over the whole store")                                         \
    X(gauge, batch_orders, "Orders in the last batch")                                             \
    X(gauge, waiting, "1 while a tier does not answer")

struct cluster_archiver_metrics {
    CLUSTER_ARCHIVER_METRICS(METRIC_FIELD)
};
extern const struct metric_description cluster_archiver_metric_table[];
extern const size_t cluster_archiver_metric_count;

struct cluster_archiver;

struct cluster_archiver_parts {
    const struct cluster_archiver_options *options;
    const struct clock *clock;     /* the service clock: of the orders' times */
    const struct clock *monotonic; /* for pauses and for settling */
    struct log *log;
    struct order_store *store;
    struct order_archive *archive;
    struct topic_reader *changes;  /* of orders.changes, a group of the archive's own */
    struct topic_writer *archived; /* of orders.archived */
    struct mailbox *mailbox;
};

/** NULL where memory is short. */
struct cluster_archiver *cluster_archiver_create(const struct cluster_archiver_parts *parts);

/** Nothing is under way any more. */
void cluster_archiver_destroy(struct cluster_archiver *archiver);

struct cluster_archiver_metrics *cluster_archiver_metrics(struct cluster_archiver *archiver);
struct settling_metrics *cluster_archiver_settling_metrics(struct cluster_archiver *archiver);

/** Completions that may be in the mailbox at once. */
#define CLUSTER_ARCHIVER_OUTSTANDING_MAX (1 + SETTLING_OUTSTANDING_MAX)

/** Begins what can be begun. Returns the time, on the monotonic clock, before which there is
 *  nothing more to do unless something completes. */
int64_t cluster_archiver_step(struct cluster_archiver *archiver);

/** From now on nothing is begun; what is under way completes. Nothing has to be finished: whatever
 *  is left is found again. */
void cluster_archiver_stop(struct cluster_archiver *archiver);

/** True while something is under way. */
MUST_CHECK bool cluster_archiver_is_busy(const struct cluster_archiver *archiver);

#endif
