/** The port topic_writer on Kafka: one idempotent producer for all topics of a process, with
 *  acks=all. A message counts as STORED when its brokers have acknowledged it.
 *
 *  The library's threads send; one of ours polls it and completes the publishes. Values are not
 *  copied: they are the caller's until the publish is done, which it always is, at the latest after
 *  kafka.delivery_timeout_ms. The partition of a message whose key is an order id is that of the
 *  order's slot. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_WRITER_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_WRITER_H

#include "adapter/kafka/kafka_options.h"
#include "base/metrics.h"
#include "port/message_topic.h"

#define KAFKA_WRITER_METRICS(X)                                                                    \
    X(counter, acknowledged_total, "Messages that the brokers have acknowledged")                  \
    X(counter, failed_total, "Messages that were not acknowledged in time")                        \
    X(counter, refused_total, "Publishes that were refused since too much waits")                  \
    X(counter, restarts_total, "Times that the producer was made anew after a fatal error")        \
    X(gauge, waiting, "Messages that wait to be acknowledged")                                     \
    X(histogram, publish_microseconds, "Time of a publish, from submission to the last answer")

struct kafka_writer_metrics {
    KAFKA_WRITER_METRICS(METRIC_FIELD)
};
extern const struct metric_description kafka_writer_metric_table[];
extern const size_t kafka_writer_metric_count;

struct kafka_writer;

/** Starts the producer and its thread. `options` and `log` outlive the writer. NULL, with a line in
 *  `fault`, where that is not possible. Brokers that are down are no reason. */
struct kafka_writer *kafka_writer_create(const struct kafka_options *options, struct log *log,
                                         struct fault *fault);

/** Completes what is under way and ends the thread. */
void kafka_writer_destroy(struct kafka_writer *writer);

/** The port of one topic; it is the writer's. */
struct topic_writer *kafka_writer_topic(struct kafka_writer *writer,
                                        enum kafka_topic_number number);

/** True where the brokers answer. @thread any. */
MUST_CHECK bool kafka_writer_is_ready(const struct kafka_writer *writer);

struct kafka_writer_metrics *kafka_writer_metrics(struct kafka_writer *writer);

#endif
