/** The port change_source on a MariaDB server's binlog: a thread that reads and decodes it straight
 *  into the arrays of the one read that is under way.
 *
 *  While nobody reads, nothing is taken from the connection, and the server waits. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_SOURCE_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_SOURCE_H

#include "adapter/mariadb_binlog/binlog_options.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/change_source.h"

#define BINLOG_METRICS(X)                                                                          \
    X(counter, connections_total, "Times that a server began to send its log")                     \
    X(counter, losses_total, "Times that the connection was lost or could not be made")            \
    X(counter, received_bytes_total, "Bytes of the log that were received")                        \
    X(gauge, connected, "1 while the log is being sent")

struct binlog_metrics {
    BINLOG_METRICS(METRIC_FIELD)
};
extern const struct metric_description binlog_metric_table[];
extern const size_t binlog_metric_count;

struct binlog_source;

/** Starts the thread; it connects when it is opened. `options` must outlive the source. NULL, with
 *  a line in `fault`, where that is not possible. */
struct binlog_source *binlog_source_create(const struct binlog_options *options,
                                           const struct binlog_server *server, struct log *log,
                                           struct fault *fault);

/** Ends the thread; what is under way completes as UNAVAILABLE first. */
void binlog_source_destroy(struct binlog_source *source);

struct change_source *binlog_source_port(struct binlog_source *source);
struct binlog_metrics *binlog_source_metrics(struct binlog_source *source);

#endif
