/** What the Redis adapter counts. Written by its thread, read by any. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_METRICS_H
#define ORDERD_ADAPTER_REDIS_REDIS_METRICS_H

#include "base/metrics.h"

#define REDIS_METRICS(X)                                                                           \
    X(counter, gets_total, "Entries that were asked for")                                          \
    X(counter, hits_total, "Entries that were there")                                              \
    X(counter, puts_total, "Entries that were to be written")                                      \
    X(counter, locks_total, "Look-up locks that were asked for")                                   \
    X(counter, fills_total, "Entries to be filled from the databases, or locks given back")        \
    X(counter, removes_total, "Entries to be taken out")                                           \
    X(counter, broken_total, "Values under an order's key that are no such order")                 \
    X(counter, replaced_total, "Values that are no order and were replaced by one")                \
    X(counter, unavailable_total, "Commands without an answer in time")                            \
    X(counter, errors_total, "Errors that a node answered with, redirections apart")               \
    X(counter, moved_total, "MOVED answers")                                                       \
    X(counter, ask_total, "ASK answers")                                                           \
    X(counter, try_again_total, "TRYAGAIN answers")                                                \
    X(counter, unknown_scripts_total, "NOSCRIPT answers")                                          \
    X(counter, retries_total, "Commands that were sent again")                                     \
    X(counter, late_answers_total, "Answers that came after their time")                           \
    X(counter, connects_total, "Connections that were made")                                       \
    X(counter, disconnects_total, "Connections that broke or were not made")                       \
    X(counter, maps_total, "Maps of the cluster that were taken")                                  \
    X(counter, bad_maps_total, "Answers to CLUSTER SLOTS that were no map")                        \
    X(counter, losses_total, "Times that a master lost what it held")                              \
    X(counter, lost_slots_total, "Hash slots that were in such losses")                            \
    X(counter, events_total, "Entries that Redis told to have expired or been evicted")            \
    X(counter, events_lost_total, "Events that nobody read in time")                               \
    X(counter, events_foreign_total, "Events of keys that are no orders")                          \
    X(gauge, nodes_up, "Nodes with a connection")                                                  \
    X(gauge, masters, "Nodes that own slots")                                                      \
    X(gauge, slots_covered, "Hash slots that have an owner")                                       \
    X(gauge, listeners_up, "Masters whose events are heard")                                       \
    X(gauge, commands_under_way, "Commands that wait or were sent")                                \
    X(histogram, request_microseconds, "Time of one request, from when it was taken to its end")

struct redis_metrics {
    REDIS_METRICS(METRIC_FIELD)
};
extern const struct metric_description redis_metric_table[];
extern const size_t redis_metric_count;

#endif
