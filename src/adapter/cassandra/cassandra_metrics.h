/** What the Cassandra archive counts. Written by its thread, read by any. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_METRICS_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_METRICS_H

#include "base/metrics.h"

#define CASSANDRA_METRICS(X)                                                                       \
    X(counter, puts_total, "Orders that were to be written")                                       \
    X(counter, gets_total, "Orders that were asked for by id")                                     \
    X(counter, stored_total, "Orders whose write was acknowledged")                                \
    X(counter, unknown_total, "Orders whose write has an unknown outcome")                         \
    X(counter, unavailable_total, "Orders for which no node answered in time")                     \
    X(counter, broken_total, "Rows that made no order when they were read")                        \
    X(counter, requests_total, "Requests that were sent to a node")                                \
    X(counter, retries_total, "Requests that were sent once more")                                 \
    X(counter, time_outs_total, "Requests that a node did not answer in time")                     \
    X(counter, late_answers_total, "Answers that came after their time")                           \
    X(counter, errors_total, "Errors that a node answered with")                                   \
    X(counter, unprepared_total, "Requests whose statement a node had forgotten")                  \
    X(counter, warnings_total, "Answers with a warning of the node's")                             \
    X(counter, connects_total, "Connections that were made ready")                                 \
    X(counter, connect_failures_total, "Connections that could not be made")                       \
    X(counter, disconnects_total, "Connections that were ready and broke")                         \
    X(gauge, nodes_up, "Nodes with a connection that is ready")                                    \
    X(gauge, connections_up, "Connections that are ready")                                         \
    X(gauge, orders_waiting, "Orders that were handed over and are not done")                      \
    X(histogram, put_orders, "Orders in one write request")                                        \
    X(histogram, get_orders, "Orders in one read request")                                         \
    X(histogram, put_microseconds, "Time of one write request at a node")                          \
    X(histogram, get_microseconds, "Time of one read request at a node")

struct cassandra_metrics {
    CASSANDRA_METRICS(METRIC_FIELD)
};
extern const struct metric_description cassandra_metric_table[];
extern const size_t cassandra_metric_count;

#endif
