/** What the adapter counts, under the prefix `mysql`. One struct a cluster; any thread adds. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_METRICS_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_METRICS_H

#include "base/metrics.h"

#define MARIADB_METRICS(X)                                                                         \
    X(counter, created_total, "Orders created")                                                    \
    X(counter, replayed_total, "Creates answered with the order that the reference has")           \
    X(counter, conflicts_total, "Creates whose reference has an order with another content")       \
    X(counter, changed_total, "Changes of an order's status")                                      \
    X(counter, released_total, "Orders that left for the archive")                                 \
    X(counter, expired_total, "References that left with the idempotency window")                  \
    X(counter, busy_total, "Items refused as busy")                                                \
    X(counter, unavailable_total, "Items that a shard did not answer for; nothing happened")       \
    X(counter, unknown_total, "Creates, changes and releases whose outcome stayed unknown")        \
    X(counter, broken_rows_total, "Rows read that are no orders; each is logged with its id")      \
    X(counter, dangling_references_total, "References whose order is in no tier")                  \
    X(counter, statements_total, "Statements sent")                                                \
    X(counter, inserts_total, "INSERT statements sent for creates")                                \
    X(counter, transactions_total, "Transactions committed")                                       \
    X(counter, rows_written_total, "Rows inserted, updated or deleted by committed transactions")  \
    X(counter, deadlocks_total, "Transactions rolled back by the server for another one")          \
    X(counter, lock_waits_total, "Transactions given up because a row stayed locked")              \
    X(counter, retries_total, "Transactions begun again after an error")                           \
    X(counter, unknown_commits_total, "COMMITs that were not answered; resolved by a resend")      \
    X(counter, connects_total, "Connections made")                                                 \
    X(counter, connect_failures_total, "Connections that could not be made")                       \
    X(counter, losses_total, "Connections that broke, or were given up for want of an answer")     \
    X(counter, overdue_total, "Items that waited for a lane for too long and were refused")        \
    X(counter, ids_refused_total, "Creates refused because no id could be given")                  \
    X(counter, node_leases_total, "Node numbers leased")                                           \
    X(counter, node_losses_total, "Node leases that ended before they were renewed")               \
    X(histogram, create_batch_orders, "Orders in one creating transaction")                        \
    X(histogram, change_batch_orders, "Orders in one changing transaction")                        \
    X(histogram, read_batch_orders, "Orders in one look-up query")                                 \
    X(histogram, commit_microseconds, "Time of one COMMIT")                                        \
    X(histogram, create_microseconds, "Time of a create request in the store")                     \
    X(histogram, change_microseconds, "Time of a change request in the store")                     \
    X(histogram, get_microseconds, "Time of a look-up by id in the store")                         \
    X(histogram, find_microseconds, "Time of a look-up by reference in the store")                 \
    X(histogram, scan_microseconds, "Time of one slice of a scan")                                 \
    X(histogram, release_microseconds, "Time of a release request in the store")                   \
    X(histogram, expire_microseconds, "Time of an expiry request in the store")                    \
    X(gauge, waiting_creates, "Orders that wait for a create lane")                                \
    X(gauge, waiting_changes, "Orders that wait for a change lane")                                \
    X(gauge, waiting_reads, "Orders that wait for a read lane")                                    \
    X(gauge, waiting_upkeep, "Orders and requests that wait for an upkeep lane")                   \
    X(gauge, waiting_archive, "Replays that wait for the archive")                                 \
    X(gauge, shards_down, "Shards that do not answer")                                             \
    X(gauge, node_number, "Node number that ids are given with; 1024: none")                       \
    X(gauge, node_lease_microseconds, "Time that is left of the node lease")

struct mariadb_metrics {
    MARIADB_METRICS(METRIC_FIELD)
};
extern const struct metric_description mariadb_metric_table[];
extern const size_t mariadb_metric_count;

#endif
