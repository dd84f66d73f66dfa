/** The results pipeline: what the balance service says of orders becomes their status. Step 7 of
 *  the command side.
 *
 *  It reads `balance.results` in batches and changes the orders. What cannot be used goes to
 *  `balance.results.dead` with the reason; a result that disagrees with an order that is final
 *  goes to `orders.late`. An order that is not in the store is looked for in the archive. A tier
 *  that does not answer is no reason to give a message up: the batch waits and tries again. Only
 *  when every message of a batch is committed or put aside do the positions move, so that a crash
 *  repeats messages, which changes nothing.
 *
 *  Messages of one order keep their order, also in a batch. A plain state machine, driven like
 *  archiver.h. */
#ifndef ORDERD_PIPELINE_RESULTS_H
#define ORDERD_PIPELINE_RESULTS_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/message_topic.h"
#include "port/order_archive.h"
#include "port/order_store.h"

#define RESULTS_BATCH_MAX 1024

#define RESULTS_METRICS(X)                                                                         \
    X(counter, read_total, "Messages that were read")                                              \
    X(counter, changed_total, "Orders that were changed")                                          \
    X(counter, repeated_total, "Results that the order has already, or has gone past")             \
    X(counter, late_total, "Results that disagree with an order that is final")                    \
    X(counter, dead_total, "Messages that cannot be used")                                         \
    X(counter, bad_times_total, "Results whose time could not be; now was taken instead")          \
    X(counter, retries_total, "Times that messages had to wait for a tier that does not answer")   \
    X(counter, commit_failures_total, "Times that positions could not be committed")

struct results_metrics {
    RESULTS_METRICS(METRIC_FIELD)
};
extern const struct metric_description results_metric_table[];
extern const size_t results_metric_count;

struct results_pipeline;

struct results_parts {
    const struct clock *clock;
    struct log *log;
    struct topic_reader *results;
    struct topic_writer *dead;
    struct topic_writer *late;
    struct order_store *store;
    struct order_archive *archive; /* NULL: what is not in the store is nowhere */
    struct mailbox *mailbox;
};

/** NULL where memory is short. */
struct results_pipeline *results_pipeline_create(const struct results_parts *parts);
void results_pipeline_destroy(struct results_pipeline *pipeline);

struct results_metrics *results_pipeline_metrics(struct results_pipeline *pipeline);

#define RESULTS_OUTSTANDING_MAX 1

/** As archiver_step. */
int64_t results_pipeline_step(struct results_pipeline *pipeline);

MUST_CHECK bool results_pipeline_is_busy(const struct results_pipeline *pipeline);

#endif
