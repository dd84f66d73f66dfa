/** The archive pipeline: moves final orders home. Step 5 of the command side.
 *
 *  It asks the store for final orders (those that the store has noticed; all of them after the
 *  start, after a failure, and every minute), writes them to the archive, reads them back, compares
 *  every byte, and only then lets the store release them. Each step may be repeated: after a crash
 *  or an unknown outcome it begins again from the store, which still has the order. An order that
 *  does not read back as it was written stays where it is, counted and logged.
 *
 *  A plain state machine: archiver_step begins what can be begun; completions arrive through the
 *  mailbox of the pipelines' thread, which drives it (the simulator drives it instead). */
#ifndef ORDERD_PIPELINE_ARCHIVER_H
#define ORDERD_PIPELINE_ARCHIVER_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/order_archive.h"
#include "port/order_store.h"

/** Orders that are moved at once. */
#define ARCHIVER_BATCH_MAX 4096

#define ARCHIVER_METRICS(X)                                                                        \
    X(counter, archived_total, "Orders that were archived, verified and released")                 \
    X(counter, mismatches_total, "Archived copies that were not what was written")                 \
    X(counter, failures_total, "Orders that a tier did not take or did not show")                  \
    X(counter, rounds_total, "Walks over the whole store")                                         \
    X(gauge, batch_orders, "Orders in the last batch")

struct archiver_metrics {
    ARCHIVER_METRICS(METRIC_FIELD)
};
extern const struct metric_description archiver_metric_table[];
extern const size_t archiver_metric_count;

struct archiver;

struct archiver_parts {
    const struct clock *clock;
    struct log *log;
    struct order_store *store;
    struct order_archive *archive;
    struct mailbox *mailbox;
};

/** NULL where memory is short. */
struct archiver *archiver_create(const struct archiver_parts *parts);
void archiver_destroy(struct archiver *archiver);

struct archiver_metrics *archiver_metrics(struct archiver *archiver);

/** Completions that may be in the mailbox at once. */
#define ARCHIVER_OUTSTANDING_MAX 1

/** Begins the next step where none is under way and one is due. Returns the time, on the clock's
 *  scale, before which there is nothing more to do. */
int64_t archiver_step(struct archiver *archiver);

/** True while a step is under way. */
MUST_CHECK bool archiver_is_busy(const struct archiver *archiver);

#endif
