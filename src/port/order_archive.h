/** Where final orders stay: written once, read by id.
 *
 *  Implemented by adapter/embedded (RocksDB: one durable write a batch) and, for clusters, by
 *  adapter/cassandra: rows of one partition ((slot_group, minute), both from the id) in one
 *  unlogged batch, `USING TIMESTAMP` = version; get: the same partitions, pipelined.
 *
 *  put applies a record only where no version as high is there, and completes with STORED only
 *  once it is durable there. A put that was interrupted may be repeated.
 *
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_ORDER_ARCHIVE_H
#define ORDERD_PORT_ORDER_ARCHIVE_H

#include "order/record.h"
#include "port/port_request.h"

/** Results: STORED, UNAVAILABLE, UNKNOWN. */
struct order_archive_put {
    struct port_request request;
    size_t count;
    const struct order_record *orders; /* final, ascending by order_id, none twice */
    uint8_t *results;
};

struct order_archive;

struct order_archive_ops {
    enum port_submit (*put)(struct order_archive *archive, struct order_archive_put *batch);
    enum port_submit (*get)(struct order_archive *archive, struct order_get_batch *batch);
};

/** First member of every implementation. */
struct order_archive {
    const struct order_archive_ops *ops;
};

#endif
