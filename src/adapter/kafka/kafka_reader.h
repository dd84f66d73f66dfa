/** The port topic_reader on Kafka: one member of a consumer group for one topic, with a thread of
 *  its own.
 *
 *  Positions are committed by hand. When a partition goes to another member while messages of it
 *  are read and not committed, the next commit says MISMATCH: they come again, there. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_READER_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_READER_H

#include "adapter/kafka/kafka_options.h"
#include "base/metrics.h"
#include "port/message_topic.h"

#define KAFKA_READER_METRICS(X)                                                                    \
    X(counter, read_total, "Messages that were read")                                              \
    X(counter, commits_total, "Commits that the brokers took")                                     \
    X(counter, commit_failures_total, "Commits that failed, or came too late")                     \
    X(counter, rebalances_total, "Times that partitions were given or taken")                      \
    X(gauge, partitions, "Partitions that this member reads")

struct kafka_reader_metrics {
    KAFKA_READER_METRICS(METRIC_FIELD)
};
extern const struct metric_description kafka_reader_metric_table[];
extern const size_t kafka_reader_metric_count;

struct kafka_reader;

/** Joins `group` at the first read. NULL: reads all partitions for itself, from their ends on, and
 *  is not to commit; the brokers must answer then. `options` and `log` outlive the reader. NULL,
 * with a line in `fault`, where that is not possible. Brokers that are down are no reason. */
struct kafka_reader *kafka_reader_create(const struct kafka_options *options,
                                         enum kafka_topic_number topic, const char *group,
                                         struct log *log, struct fault *fault);

/** Leaves the group, so that the others need not wait. What is under way completes as UNAVAILABLE
 *  first. */
void kafka_reader_destroy(struct kafka_reader *reader);

struct topic_reader *kafka_reader_port(struct kafka_reader *reader);
struct kafka_reader_metrics *kafka_reader_metrics(struct kafka_reader *reader);

#endif
