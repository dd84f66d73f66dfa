/** The log of one shard of the store, from which the relay publishes: every committed change of
 *  `orders`, in commit order. Implemented by adapter/mariadb_binlog; simulated in tests.
 *
 *  What is handed out ends at a commit; its position may be stored once all of it, and everything
 *  before, is safely in the next place.
 *  @thread any; never blocks; completes on the submitter's mailbox. One read at a time. */
#ifndef ORDERD_PORT_CHANGE_SOURCE_H
#define ORDERD_PORT_CHANGE_SOURCE_H

#include "order/record.h"
#include "port/lease.h"

enum change_source_result {
    CHANGE_SOURCE_OK,          /* count may be 0 */
    CHANGE_SOURCE_UNAVAILABLE, /* the server does not answer; read again later */
    CHANGE_SOURCE_PURGED,      /* the position is no longer in the log: a re-snapshot is needed */
    CHANGE_SOURCE_FOREIGN      /* the table's shape is not what this program knows */
};

struct change_source_read {
    struct port_request request;
    uint32_t wait_ms;
    size_t limit;
    size_t count;                /* out */
    struct order_record *orders; /* out: states after each change */
    int64_t *committed_us;       /* out: when each was committed, the server's clock */
    /** Out: after the last transaction of this batch; empty where no transaction ended. */
    char position[LEASE_POSITION_MAX];
    size_t skipped_deletes;  /* out: removals of final orders, which are the archive's */
    size_t alarming_deletes; /* out: any other removal */
    size_t broken_rows;      /* out: rows that are no orders; logged with their ids, left out */
    enum change_source_result result;
    void *next; /* the port's, while it has the request */
};

struct change_source_open {
    struct port_request request;
    /** In: where to begin; empty: the present end. Out, with OK: where it began. */
    char position[LEASE_POSITION_MAX];
    enum change_source_result result;
    void *next; /* the port's, while it has the request */
};

struct change_source;

struct change_source_ops {
    enum port_submit (*open)(struct change_source *source, struct change_source_open *request);
    enum port_submit (*read)(struct change_source *source, struct change_source_read *request);
};

/** First member of every implementation. */
struct change_source {
    const struct change_source_ops *ops;
};

#endif
