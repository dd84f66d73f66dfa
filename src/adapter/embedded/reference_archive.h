/** The references of archived orders, as the embedded store needs them beyond the order_archive
 *  port: to answer whether a reference was used within the idempotency window by an order that has
 *  left. Implemented by archive_rocksdb.c, and by the simulator.
 *
 *  First member of every implementation. */
#ifndef ORDERD_ADAPTER_EMBEDDED_REFERENCE_ARCHIVE_H
#define ORDERD_ADAPTER_EMBEDDED_REFERENCE_ARCHIVE_H

#include "base/fault.h"
#include "port/order_store.h"

enum reference_answer {
    REFERENCE_FOUND,
    REFERENCE_ABSENT,
    REFERENCE_UNAVAILABLE /* the archive does not answer */
};

struct reference_archive;

struct reference_archive_ops {
    /** Looks for the youngest archived order with the reference of `draft` that was created at
     *  `oldest_us` or later. May wait for the disk. @thread any. */
    enum reference_answer (*find)(struct reference_archive *references,
                                  const struct order_record *draft, uint64_t reference_hash,
                                  int64_t oldest_us, struct order_record *found);

    /** Answers the items of `batch` whose result is ORDER_RESULT_NONE, and completes it.
     *  @thread any; never blocks. */
    enum port_submit (*resolve)(struct reference_archive *references,
                                struct order_find_batch *batch);

    /** Calls `visit` with the hash of every reference that is kept and was created at `oldest_us`
     *  or later. False, with the reason, where the archive cannot be read. @thread the start's. */
    bool (*each)(struct reference_archive *references, int64_t oldest_us,
                 void (*visit)(void *context, uint64_t reference_hash), void *context,
                 struct fault *fault);

    /** References of orders created before `oldest_us` may be forgotten. @thread any. */
    void (*expire)(struct reference_archive *references, int64_t oldest_us);
};

struct reference_archive {
    const struct reference_archive_ops *ops;
};

#endif
