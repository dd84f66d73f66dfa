/** Orders that are verified in the archive and wait to leave the store: the second half of the
 *  cluster's archive pipeline (cluster_archiver.h).
 *
 *  An archive may acknowledge a write before it is on its medium, and a reader that asked the
 *  archive first must still find the order in the store. So an order waits, and is then read from
 *  the archive once more: what is released is what the archive has by then, and the store compares
 *  it with its own row. An order that the archive lost meanwhile stays in the store, where the slow
 *  scan finds it.
 *
 *  Only the ids wait, 8 bytes each, so minutes of a high rate fit. Nothing of it is kept through a
 *  crash: the scan finds those orders too.
 *  A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_SETTLING_H
#define ORDERD_PIPELINE_SETTLING_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/order_archive.h"
#include "port/order_store.h"

/** Orders that are released at once. */
#define SETTLING_BATCH_MAX 4096

#define SETTLING_METRICS(X)                                                                        \
    X(counter, released_total, "Orders that left the store")                                       \
    X(counter, vanished_total, "Orders that the archive had lost before they left: an alarm")      \
    X(counter, broken_total, "Archived orders that were none any more before they left: an alarm") \
    X(counter, mismatches_total, "Orders that the store has otherwise than the archive")           \
    X(counter, failures_total, "Orders that a tier did not answer for; the scan finds them again") \
    X(counter, retries_total, "Batches that were tried again as nothing was answered")             \
    X(gauge, orders, "Orders that wait to leave the store")                                        \
    X(gauge, waiting, "1 while a tier does not answer")

struct settling_metrics {
    SETTLING_METRICS(METRIC_FIELD)
};
extern const struct metric_description settling_metric_table[];
extern const size_t settling_metric_count;

struct settling_parts {
    const struct clock *monotonic;
    struct log *log;
    struct order_store *store;
    struct order_archive *archive;
    struct mailbox *mailbox;
    int64_t settle_us;
    size_t orders_max;
};

struct settling;

/** NULL where memory is short. */
struct settling *settling_create(const struct settling_parts *parts);
void settling_destroy(struct settling *settling);

struct settling_metrics *settling_metrics(struct settling *settling);

/** Completions that may be in the mailbox at once. */
#define SETTLING_OUTSTANDING_MAX 1

/** How many more orders it takes. */
size_t settling_room(const struct settling *settling);

/** True where orders that were due a while ago have not left yet: the store has more to do
 *  already. */
MUST_CHECK bool settling_is_late(const struct settling *settling);

/** Takes orders that were verified just now; there must be room for them. */
void settling_add(struct settling *settling, const uint64_t *order_ids, size_t count);

/** Begins what is due. Returns the time, on the monotonic clock, before which there is nothing more
 *  to do unless something completes or is added. */
int64_t settling_step(struct settling *settling);

/** True while a step is under way. */
MUST_CHECK bool settling_is_busy(const struct settling *settling);

#endif
