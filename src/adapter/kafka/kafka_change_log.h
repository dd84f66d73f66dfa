/** The port change_log on the topic orders.changes, for the event streams: a part is a partition, a
 *  position is the offset after a change, and no group keeps it.
 *
 *  Three threads, of which two have a consumer each. `kafka-changes` follows the end of every
 * partition and keeps the newest changes in RAM, from which it answers those who follow closely,
 * and wakes the watches. `kafka-ends` (kafka_ends.h) asks where the topic ends. `kafka-history`
 * answers the others: it fetches from where they stand. A message that is no order is counted,
 * logged and passed over. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_CHANGE_LOG_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_CHANGE_LOG_H

#include "adapter/kafka/kafka_options.h"
#include "base/metrics.h"
#include "port/change_log.h"

#define KAFKA_CHANGES_METRICS(X)                                                                   \
    X(counter, followed_total, "Changes that came at the end of the topic")                        \
    X(counter, history_total, "Changes that were fetched for readers that were behind")            \
    X(counter, broken_total, "Messages of orders.changes that are no orders: an alarm")            \
    X(counter, failures_total, "Reads that the brokers did not answer in time")                    \
    X(counter, restarts_total, "Times that following began anew, as its place was gone: an alarm")

struct kafka_changes_metrics {
    KAFKA_CHANGES_METRICS(METRIC_FIELD)
};
extern const struct metric_description kafka_changes_metric_table[];
extern const size_t kafka_changes_metric_count;

struct kafka_change_log;

/** Finds the end of the topic, for which the brokers must answer, and starts the threads. `options`
 *  and `log` outlive it. NULL, with a line in `fault`, where that is not possible. */
struct kafka_change_log *kafka_change_log_create(const struct kafka_options *options,
                                                 struct log *log, struct fault *fault);

/** Ends the threads; what is under way completes first. */
void kafka_change_log_destroy(struct kafka_change_log *log);

struct change_log *kafka_change_log_port(struct kafka_change_log *log);
struct kafka_changes_metrics *kafka_change_log_metrics(struct kafka_change_log *log);

#endif
