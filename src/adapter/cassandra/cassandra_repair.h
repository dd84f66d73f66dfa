/** What the checker needs of the archive beside the port: to see when a row was written, and to
 *  write above that. Submitted like the port's requests, to the same thread, with the same bounds.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_REPAIR_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_REPAIR_H

#include "adapter/cassandra/cassandra_archive.h"

/** Reads one row and its write time. Results: FOUND, BROKEN, ABSENT, UNAVAILABLE. */
struct cassandra_row_look {
    struct port_request request;
    uint64_t order_id;
    struct order_record order; /* out: where FOUND */
    /** Out: the latest write time of any column, where there is a row, broken or not. What was
     *  deleted has one too, but Cassandra does not show it: to write over a row that is absent
     *  though it was written, go above the present time in microseconds. */
    int64_t writetime_us;
    uint8_t result;
};

/** Writes one row with a timestamp of the caller's. Every column is written, an empty one as a
 *  null, so nothing of what was there shows through; later puts of the order (whose timestamps are
 *  versions) change nothing any more. Results: STORED, UNAVAILABLE, UNKNOWN. */
struct cassandra_row_write {
    struct port_request request;
    struct order_record order;
    int64_t timestamp_us;
    uint8_t result;
};

/** Deletes one row, for tests: nothing in the service ever does. Results as for a write. */
struct cassandra_row_delete {
    struct port_request request;
    uint64_t order_id;
    int64_t timestamp_us;
    uint8_t result;
};

MUST_CHECK enum port_submit cassandra_archive_look(struct cassandra_archive *archive,
                                                   struct cassandra_row_look *look);
MUST_CHECK enum port_submit cassandra_archive_write(struct cassandra_archive *archive,
                                                    struct cassandra_row_write *write);
MUST_CHECK enum port_submit cassandra_archive_delete(struct cassandra_archive *archive,
                                                     struct cassandra_row_delete *removal);

#endif
