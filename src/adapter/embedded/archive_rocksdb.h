/** The embedded order_archive: final orders in RocksDB.
 *
 *  Two column families. `default`: key = order_id, value = the record, so orders lie in the order
 *  of their creation. `references`: key = hash of the reference (8 bytes) and order_id (8 bytes),
 *  no value; a reference is found by its hash and proven by reading the order. All keys are
 *  big-endian. A reference of an order that is older than the idempotency window is dropped by the
 *  next compaction that meets it (a compaction filter), since its id says when it was made.
 *
 *  Both are written in one batch with a synced log, references and orders at once, so an archived
 *  order always has its reference. An archived order never changes: the same order put twice is the
 *  same bytes, which the pipeline's read-back compares.
 *
 *  RocksDB blocks, so puts and reads have a mailbox each, worked off by a step function on a thread
 *  of its own; `find` (for the store's writer) is called directly. A write that failed closes and
 *  reopens the database after a pause: RocksDB refuses everything until then. */
#ifndef ORDERD_ADAPTER_EMBEDDED_ARCHIVE_ROCKSDB_H
#define ORDERD_ADAPTER_EMBEDDED_ARCHIVE_ROCKSDB_H

#include "adapter/embedded/reference_archive.h"
#include "base/config.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/order_archive.h"

#include <pthread.h>

#define ARCHIVE_OPTIONS(X)                                                                         \
    X(uint64, cache_mb, "64", "1..1048576", start, "RocksDB's cache of blocks, MiB")               \
    X(uint64, write_buffer_mb, "32", "1..4096", start, "RocksDB's write buffer, MiB; up to four")

struct archive_options {
    ARCHIVE_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option archive_option_table[];
extern const size_t archive_option_count;

#define ARCHIVE_METRICS(X)                                                                         \
    X(counter, puts_total, "Orders written to the archive")                                        \
    X(counter, put_failures_total, "Batches that the archive refused")                             \
    X(counter, gets_total, "Orders that the archive was asked for by id")                          \
    X(counter, finds_total, "References that the archive was asked for")                           \
    X(counter, broken_total, "Stored orders that were none when read")                             \
    X(counter, reopens_total, "Times the database was reopened after a failed write")              \
    X(histogram, put_microseconds, "Time of one durable batch")                                    \
    X(histogram, get_microseconds, "Time of one batch of look-ups")

struct archive_metrics {
    ARCHIVE_METRICS(METRIC_FIELD)
};
extern const struct metric_description archive_metric_table[];
extern const size_t archive_metric_count;

struct archive_rocksdb;

/** Opens, or makes, the database in directory `path`. NULL with the reason in `fault`. */
struct archive_rocksdb *archive_rocksdb_open(const char *path,
                                             const struct archive_options *options, struct log *log,
                                             struct fault *fault);

/** As archive_rocksdb_open, for reading only; nothing is made or changed. */
struct archive_rocksdb *archive_rocksdb_open_read_only(const char *path, struct log *log,
                                                       struct fault *fault);

/** After its threads have ended. */
void archive_rocksdb_close(struct archive_rocksdb *archive);

struct order_archive *archive_rocksdb_port(struct archive_rocksdb *archive);
struct reference_archive *archive_rocksdb_references(struct archive_rocksdb *archive);
struct archive_metrics *archive_rocksdb_metrics(struct archive_rocksdb *archive);

/** The boxes that the steps work off: puts; and reads, which others may add to. */
struct mailbox *archive_rocksdb_puts(struct archive_rocksdb *archive);
struct mailbox *archive_rocksdb_reads(struct archive_rocksdb *archive);

/** port_request.operation of the archive's own reads. */
enum archive_operation { ARCHIVE_GET = 1, ARCHIVE_RESOLVE = 2 };

/** Works off one put; false where none waits. @thread the puts'. */
bool archive_rocksdb_put_step(struct archive_rocksdb *archive);

/** Answers one of the archive's own reads. @thread the reads'. */
void archive_rocksdb_read(struct archive_rocksdb *archive, struct port_request *request);

/** True while the database takes writes. @thread any. */
bool archive_rocksdb_is_healthy(struct archive_rocksdb *archive);

/** Calls `visit` for every stored order in id order, broken ones with a NULL record. For the
 *  offline check. */
bool archive_rocksdb_each_order(struct archive_rocksdb *archive,
                                void (*visit)(void *context, uint64_t order_id,
                                              const struct order_record *order),
                                void *context, struct fault *fault);

/** Calls `visit` for every stored reference. For the offline check. */
bool archive_rocksdb_each_reference(struct archive_rocksdb *archive,
                                    void (*visit)(void *context, uint64_t reference_hash,
                                                  uint64_t order_id),
                                    void *context, struct fault *fault);

/** Reads one order; for the offline check and tests. */
MUST_CHECK enum order_result archive_rocksdb_get_one(struct archive_rocksdb *archive,
                                                     uint64_t order_id, struct order_record *order);

#endif
