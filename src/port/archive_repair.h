/** What the checker needs of the archive beside order_archive.h: to see when a row was written, and
 *  to write above that. It is the one exception to "only a higher version is applied".
 *  Implemented by adapter/cassandra; simulated in tests.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_ARCHIVE_REPAIR_H
#define ORDERD_PORT_ARCHIVE_REPAIR_H

#include "order/record.h"
#include "port/port_request.h"

/** Reads one row and its write time. Results: FOUND, BROKEN, ABSENT, UNAVAILABLE. */
struct archive_row_look {
    struct port_request request;
    uint64_t order_id;
    struct order_record order; /* out: where FOUND */
    /** Out: the latest write time of any column, where there is a row, broken or not; INT64_MIN
     *  where there is none. What was deleted has one too, but it is not shown: to write over a row
     *  that is absent though it was written, go above the present time in microseconds. */
    int64_t writetime_us;
    uint8_t result;
};

/** Writes one row with a timestamp of the caller's. Every column is written, an empty one as a
 *  null, so nothing of what was there shows through; later puts of the order (whose timestamps are
 *  versions) change nothing any more. Results: STORED, UNAVAILABLE, UNKNOWN. */
struct archive_row_write {
    struct port_request request;
    struct order_record order;
    int64_t timestamp_us;
    uint8_t result;
};

struct archive_repair;

struct archive_repair_ops {
    enum port_submit (*look)(struct archive_repair *repair, struct archive_row_look *look);
    enum port_submit (*write)(struct archive_repair *repair, struct archive_row_write *write);
};

/** First member of every implementation. */
struct archive_repair {
    const struct archive_repair_ops *ops;
};

#endif
