/** The requests of port/archive_repair.h on Cassandra, and a deletion for tests. Submitted like
 *  those of the archive, to the same thread, with the same bounds.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_REPAIR_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_REPAIR_H

#include "adapter/cassandra/cassandra_archive.h"
#include "port/archive_repair.h"

/** Deletes one row, for tests: nothing in the service ever does. Results as for a write. */
struct cassandra_row_delete {
    struct port_request request;
    uint64_t order_id;
    int64_t timestamp_us;
    uint8_t result;
};

/** The port; it is the archive's. */
struct archive_repair *cassandra_archive_repair(struct cassandra_archive *archive);

MUST_CHECK enum port_submit cassandra_archive_look(struct cassandra_archive *archive,
                                                   struct archive_row_look *look);
MUST_CHECK enum port_submit cassandra_archive_write(struct cassandra_archive *archive,
                                                    struct archive_row_write *write);
MUST_CHECK enum port_submit cassandra_archive_delete(struct cassandra_archive *archive,
                                                     struct cassandra_row_delete *removal);

#endif
