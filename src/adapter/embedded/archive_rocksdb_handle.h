/** RocksDB itself: one open database of the archive, its keys and its options; private to
 *  archive_rocksdb.c. Every call may block. RocksDB's handles may be used by several threads; open
 *  and close may not. */
#ifndef ORDERD_ADAPTER_EMBEDDED_ARCHIVE_ROCKSDB_HANDLE_H
#define ORDERD_ADAPTER_EMBEDDED_ARCHIVE_ROCKSDB_HANDLE_H

#include "adapter/embedded/archive_rocksdb.h"
#include "order/order_id.h"

struct rocksdb_handle;

/** @param expired_before_tick outlives the handle; references of ids with an earlier tick are
 *  dropped by compactions. NULL with the reason in `fault`. */
struct rocksdb_handle *rocksdb_handle_open(const char *path, const struct archive_options *options,
                                           const _Atomic uint64_t *expired_before_tick,
                                           bool read_only, struct fault *fault);
void rocksdb_handle_close(struct rocksdb_handle *handle); /* NULL is fine */

/** Writes orders and references in one synced batch. */
MUST_CHECK bool rocksdb_handle_put(struct rocksdb_handle *handle, const struct order_record *orders,
                                   size_t count, struct fault *fault);

/** Reads orders as they are stored. Results: FOUND, ABSENT, UNAVAILABLE, BROKEN (a wrong size). */
void rocksdb_handle_get(struct rocksdb_handle *handle, const uint64_t *order_ids, size_t count,
                        struct order_record *orders, uint8_t *results);

/** Calls `visit` with the order_ids that are kept under a reference's hash, until it returns true.
 *  False where the database cannot be read. */
MUST_CHECK bool rocksdb_handle_find(struct rocksdb_handle *handle, uint64_t reference_hash,
                                    bool (*visit)(void *context, uint64_t order_id), void *context);

MUST_CHECK bool rocksdb_handle_each_reference(struct rocksdb_handle *handle,
                                              void (*visit)(void *context, uint64_t reference_hash,
                                                            uint64_t order_id),
                                              void *context, struct fault *fault);

/** A NULL order where the value has another size. */
MUST_CHECK bool rocksdb_handle_each_order(struct rocksdb_handle *handle,
                                          void (*visit)(void *context, uint64_t order_id,
                                                        const struct order_record *order),
                                          void *context, struct fault *fault);

#endif
