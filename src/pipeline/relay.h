/** The relay of one shard: the store's log to the topic orders.changes. Step 3 of the command side.
 *
 *  It holds the lease `relay/<shard>`, reads the log from the position that is stored with it, and
 *  publishes in batches, several at once. A position is stored when everything up to it is
 *  acknowledged: at commits only, and only where something was published since, for storing it is
 *  a change in the log too. So an idle relay stores nothing; after a crash what was not stored is
 *  published again, which readers see by the version.
 *
 *  Without a position, a snapshot comes first: the end of the log is noted, every hot order that
 *  the store has is published, and then the log is read from there.
 *
 *  A log that cannot be read on (the position is purged, or the table is another) halts it: it says
 *  so once a minute, is not ready, publishes nothing and keeps the lease. It goes on when somebody
 *  empties the stored position and takes the lease away (`orderctl relay resnapshot`).
 *
 *  A plain state machine: relay_step begins what can be begun; completions arrive through the
 *  mailbox of the thread that drives it. */
#ifndef ORDERD_PIPELINE_RELAY_H
#define ORDERD_PIPELINE_RELAY_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/change_source.h"
#include "port/lease.h"
#include "port/message_topic.h"
#include "port/order_store.h"

/** Changes in one batch, and batches that are read, published or waiting at once. Their memory, 240
 *  bytes a change, is all that the relay holds. */
#define RELAY_BATCH_MAX 4096
#define RELAY_SLOTS_MAX 6

#define RELAY_METRICS(X)                                                                           \
    X(counter, published_total, "Changes that were published and acknowledged")                    \
    X(counter, retried_total, "Changes that were not acknowledged and were published again")       \
    X(counter, positions_total, "Positions that were stored")                                      \
    X(counter, snapshots_total, "Snapshots that were begun")                                       \
    X(counter, snapshot_orders_total, "Orders that snapshots published")                           \
    X(counter, lease_losses_total, "Times that the lease was lost")                                \
    X(counter, skipped_deletes_total, "Removals of final orders, which are the archive's")         \
    X(counter, alarming_deletes_total, "Removals of orders that were not final: an alarm")         \
    X(counter, broken_rows_total, "Rows that are no orders: an alarm; they were left out")         \
    X(gauge, leads, "1 while this process holds the lease")                                        \
    X(gauge, halted, "1 while a re-snapshot is needed: an alarm")                                  \
    X(gauge, in_flight, "Batches that are not acknowledged")                                       \
    X(histogram, commit_to_read_microseconds,                                                      \
      "From the commit of a change, as near as the log tells, until it was read")                  \
    X(histogram, read_to_acknowledged_microseconds,                                                \
      "From the read of a batch until it was acknowledged")

struct relay_metrics {
    RELAY_METRICS(METRIC_FIELD)
};
extern const struct metric_description relay_metric_table[];
extern const size_t relay_metric_count;

struct relay;

struct relay_parts {
    const struct clock *clock;     /* the service clock: for lags */
    const struct clock *monotonic; /* what leases are counted on */
    struct log *log;
    struct lease_port *lease;
    struct change_source *source;
    struct order_store *store; /* of this shard alone: scanned by a snapshot */
    struct topic_writer *writer;
    struct mailbox *mailbox;
    uint32_t shard;
    int64_t lease_us; /* the lease's length; it is renewed three times as often */
};

/** NULL where memory is short. */
struct relay *relay_create(const struct relay_parts *parts);

/** Nothing is under way any more. */
void relay_destroy(struct relay *relay);

struct relay_metrics *relay_metrics(struct relay *relay);

/** Completions that may be in the mailbox at once: a publish a slot, and one each of reading,
 *  opening, scanning, the lease and its position. */
#define RELAY_OUTSTANDING_MAX (RELAY_SLOTS_MAX + 5)

/** Begins what can be begun. Returns the time, on the monotonic clock, before which there is
 *  nothing more to do unless something completes. */
int64_t relay_step(struct relay *relay);

/** From now on nothing new is read: what is under way is finished, if the brokers answer within a
 *  few seconds, its position stored, and the lease given back. */
void relay_stop(struct relay *relay);

/** True while something is under way, or while relay_stop has not come to its end. */
MUST_CHECK bool relay_is_busy(const struct relay *relay);

/** False while the relay has the lease and cannot publish: halted. @thread any. */
MUST_CHECK bool relay_is_ready(const struct relay *relay);

#endif
