#include "adapter/embedded/archive_rocksdb.h"

#include "adapter/embedded/archive_rocksdb_handle.h"
#include "base/clock.h"

#include <stdlib.h>

#define QUEUE_MAX 4096
#define GET_KEYS_MAX 256
#define REOPEN_PAUSE_US 2000000

const struct config_option archive_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct archive_options, __VA_ARGS__)
    ARCHIVE_OPTIONS(X)
#undef X
};
const size_t archive_option_count = ARRAY_COUNT(archive_option_table);

const struct metric_description archive_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct archive_metrics, __VA_ARGS__)
    ARCHIVE_METRICS(X)
#undef X
};
const size_t archive_metric_count = ARRAY_COUNT(archive_metric_table);

struct archive_rocksdb {
    struct order_archive port;
    struct reference_archive references;
    struct log *log;
    struct rocksdb_handle *handle; /* guarded by `lock`: written only to reopen; NULL: not open */
    pthread_rwlock_t lock;
    struct mailbox puts;
    struct mailbox reads;
    char path[256];
    struct archive_options options;
    int64_t reopen_at_us; /* the puts' thread's */
    _Atomic uint32_t failing;
    _Atomic uint64_t expired_before_tick; /* read by the compaction filter */
    struct log_limit put_limit;
    struct archive_metrics metrics;
};

static struct archive_rocksdb *archive_of_port(struct order_archive *port) {
    return CONTAINER_OF(port, struct archive_rocksdb, port);
}

static struct archive_rocksdb *archive_of_references(struct reference_archive *references) {
    return CONTAINER_OF(references, struct archive_rocksdb, references);
}

/* --- Submission: any thread. --- */

static enum port_submit submit_put(struct order_archive *port, struct order_archive_put *batch) {
    return mailbox_send(&archive_of_port(port)->puts, batch) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_get(struct order_archive *port, struct order_get_batch *batch) {
    batch->request.operation = ARCHIVE_GET;
    return mailbox_send(&archive_of_port(port)->reads, batch) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_resolve(struct reference_archive *references,
                                       struct order_find_batch *batch) {
    batch->request.operation = ARCHIVE_RESOLVE;
    return mailbox_send(&archive_of_references(references)->reads, batch) ? PORT_TAKEN : PORT_BUSY;
}

/* --- Writing. --- */

static void reopen(struct archive_rocksdb *archive) {
    struct fault fault;
    (void)pthread_rwlock_wrlock(&archive->lock);
    rocksdb_handle_close(archive->handle);
    archive->handle = rocksdb_handle_open(archive->path, &archive->options,
                                          &archive->expired_before_tick, false, &fault);
    (void)pthread_rwlock_unlock(&archive->lock);
    metric_add(&archive->metrics.reopens_total, 1);
    if (archive->handle == NULL) {
        log_write_limited(archive->log, &archive->put_limit, LOG_ERROR, "archive",
                          "cannot be reopened: %s", fault.text);
    }
}

static enum order_result put(struct archive_rocksdb *archive,
                             const struct order_archive_put *batch) {
    struct fault fault = {"the database is not open"};
    int64_t begin_us = clock_monotonic_us();
    if (atomic_load_explicit(&archive->failing, memory_order_relaxed) != 0) {
        if (begin_us < archive->reopen_at_us) {
            return ORDER_RESULT_UNAVAILABLE;
        }
        reopen(archive);
    }
    /* Only this thread replaces the handle, so it may read it without the lock. */
    bool stored = archive->handle != NULL &&
                  rocksdb_handle_put(archive->handle, batch->orders, batch->count, &fault);
    atomic_store_explicit(&archive->failing, stored ? 0 : 1, memory_order_relaxed);
    if (!stored) {
        metric_add(&archive->metrics.put_failures_total, 1);
        archive->reopen_at_us = begin_us + REOPEN_PAUSE_US;
        log_write_limited(archive->log, &archive->put_limit, LOG_ERROR, "archive",
                          "%zu orders not stored, tried again: %s", batch->count, fault.text);
        return ORDER_RESULT_UNKNOWN;
    }
    metric_add(&archive->metrics.puts_total, batch->count);
    histogram_add(&archive->metrics.put_microseconds, (uint64_t)(clock_monotonic_us() - begin_us));
    return ORDER_RESULT_STORED;
}

bool archive_rocksdb_put_step(struct archive_rocksdb *archive) {
    struct order_archive_put *batch = mailbox_take(&archive->puts);
    if (batch == NULL) {
        return false;
    }
    memset(batch->results, (int)put(archive, batch), batch->count);
    port_complete(&batch->request);
    return true;
}

bool archive_rocksdb_is_healthy(struct archive_rocksdb *archive) {
    return atomic_load_explicit(&archive->failing, memory_order_relaxed) == 0;
}

/* --- Reading. --- */

/** Judges what was read for `order_id`. */
static enum order_result judge_value(struct archive_rocksdb *archive, uint64_t order_id,
                                     const struct order_record *order) {
    enum order_record_fault wrong = order_record_check(order);
    if (wrong == ORDER_RECORD_VALID && order->order_id == order_id) {
        return ORDER_RESULT_FOUND;
    }
    metric_add(&archive->metrics.broken_total, 1);
    log_error(archive->log, "archive", "order %llu: what is stored is no such order: wrong %s",
              (unsigned long long)order_id,
              wrong == ORDER_RECORD_VALID ? "order_id" : order_record_fault_name(wrong));
    return ORDER_RESULT_BROKEN;
}

static void get_some(struct archive_rocksdb *archive, struct order_get_batch *batch, size_t at,
                     size_t count) {
    if (archive->handle == NULL) {
        memset(batch->results + at, ORDER_RESULT_UNAVAILABLE, count);
        return;
    }
    rocksdb_handle_get(archive->handle, batch->order_ids + at, count, batch->orders + at,
                       batch->results + at);
    for (size_t i = at; i < at + count; i++) {
        if (batch->results[i] == ORDER_RESULT_FOUND) {
            batch->results[i] =
                (uint8_t)judge_value(archive, batch->order_ids[i], &batch->orders[i]);
        }
    }
}

static void get(struct archive_rocksdb *archive, struct order_get_batch *batch) {
    int64_t begin_us = clock_monotonic_us();
    (void)pthread_rwlock_rdlock(&archive->lock);
    for (size_t at = 0; at < batch->count; at += GET_KEYS_MAX) {
        get_some(archive, batch, at, bytes_min_size(batch->count - at, GET_KEYS_MAX));
    }
    (void)pthread_rwlock_unlock(&archive->lock);
    metric_add(&archive->metrics.gets_total, batch->count);
    histogram_add(&archive->metrics.get_microseconds, (uint64_t)(clock_monotonic_us() - begin_us));
    port_complete(&batch->request);
}

/** What a search for a reference compares with, and its best answer so far. */
struct search {
    struct archive_rocksdb *archive;
    const struct order_record *draft;
    int64_t oldest_us;
    struct order_record *found;
    enum reference_answer answer;
};

/** A candidate of the same hash. They come in the order of their ids, and the youngest counts; so
 *  the search goes on, unless nobody can know (true). */
static bool try_candidate(void *context, uint64_t order_id) {
    struct search *search = context;
    struct archive_rocksdb *archive = search->archive;
    struct order_record order;
    uint8_t result;
    /* The id's tick is that of the creation or later; the record knows the time itself. */
    if (order_id_tick(order_id) < order_tick_from_us(search->oldest_us)) {
        return false;
    }
    rocksdb_handle_get(archive->handle, &order_id, 1, &order, &result);
    if (result == ORDER_RESULT_FOUND) {
        result = (uint8_t)judge_value(archive, order_id, &order);
    }
    if (result == ORDER_RESULT_UNAVAILABLE || result == ORDER_RESULT_BROKEN) {
        search->answer = REFERENCE_UNAVAILABLE; /* it may be the one */
        return true;
    }
    if (result == ORDER_RESULT_FOUND && order.created_at_us >= search->oldest_us &&
        order_record_same_reference(search->draft, &order)) {
        *search->found = order;
        search->answer = REFERENCE_FOUND;
    }
    return false;
}

static enum reference_answer find(struct reference_archive *references,
                                  const struct order_record *draft, uint64_t reference_hash,
                                  int64_t oldest_us, struct order_record *found) {
    struct archive_rocksdb *archive = archive_of_references(references);
    struct search search = {archive, draft, oldest_us, found, REFERENCE_ABSENT};
    (void)pthread_rwlock_rdlock(&archive->lock);
    if (archive->handle == NULL ||
        !rocksdb_handle_find(archive->handle, reference_hash, try_candidate, &search)) {
        search.answer = REFERENCE_UNAVAILABLE;
    }
    (void)pthread_rwlock_unlock(&archive->lock);
    metric_add(&archive->metrics.finds_total, 1);
    return search.answer;
}

static void resolve(struct archive_rocksdb *archive, struct order_find_batch *batch) {
    int64_t oldest_us =
        order_tick_to_us(atomic_load_explicit(&archive->expired_before_tick, memory_order_relaxed));
    for (size_t i = 0; i < batch->count; i++) {
        struct order_record *order = &batch->orders[i];
        struct order_record found;
        if (batch->results[i] != ORDER_RESULT_NONE) {
            continue;
        }
        switch (find(&archive->references, order, order_record_reference_hash(order), oldest_us,
                     &found)) {
        case REFERENCE_FOUND:
            *order = found;
            batch->results[i] = ORDER_RESULT_FOUND;
            break;
        case REFERENCE_ABSENT:
            batch->results[i] = ORDER_RESULT_ABSENT;
            break;
        case REFERENCE_UNAVAILABLE:
            batch->results[i] = ORDER_RESULT_UNAVAILABLE;
            break;
        }
    }
    port_complete(&batch->request);
}

void archive_rocksdb_read(struct archive_rocksdb *archive, struct port_request *request) {
    if (request->operation == ARCHIVE_GET) {
        get(archive, (struct order_get_batch *)request);
    } else {
        resolve(archive, (struct order_find_batch *)request);
    }
}

enum order_result archive_rocksdb_get_one(struct archive_rocksdb *archive, uint64_t order_id,
                                          struct order_record *order) {
    uint8_t result;
    rocksdb_handle_get(archive->handle, &order_id, 1, order, &result);
    return result == ORDER_RESULT_FOUND ? judge_value(archive, order_id, order)
                                        : (enum order_result)result;
}

/* --- The start's and the offline check's. --- */

struct each_hash {
    uint64_t oldest_tick;
    void (*visit)(void *context, uint64_t reference_hash);
    void *context;
};

static void visit_hash(void *context, uint64_t reference_hash, uint64_t order_id) {
    struct each_hash *each = context;
    if (order_id_tick(order_id) >= each->oldest_tick) {
        each->visit(each->context, reference_hash);
    }
}

static bool each_hash(struct reference_archive *references, int64_t oldest_us,
                      void (*visit)(void *, uint64_t), void *context, struct fault *fault) {
    struct each_hash each = {order_tick_from_us(oldest_us), visit, context};
    return rocksdb_handle_each_reference(archive_of_references(references)->handle, visit_hash,
                                         &each, fault);
}

bool archive_rocksdb_each_order(struct archive_rocksdb *archive,
                                void (*visit)(void *, uint64_t, const struct order_record *),
                                void *context, struct fault *fault) {
    return rocksdb_handle_each_order(archive->handle, visit, context, fault);
}

bool archive_rocksdb_each_reference(struct archive_rocksdb *archive,
                                    void (*visit)(void *, uint64_t, uint64_t), void *context,
                                    struct fault *fault) {
    return rocksdb_handle_each_reference(archive->handle, visit, context, fault);
}

static void expire(struct reference_archive *references, int64_t oldest_us) {
    atomic_store_explicit(&archive_of_references(references)->expired_before_tick,
                          order_tick_from_us(oldest_us), memory_order_relaxed);
}

/* --- Opening and closing. --- */

static const struct order_archive_ops port_ops = {.put = submit_put, .get = submit_get};
static const struct reference_archive_ops reference_ops = {
    .find = find,
    .resolve = submit_resolve,
    .each = each_hash,
    .expire = expire,
};

static struct archive_rocksdb *open_archive(const char *path, const struct archive_options *options,
                                            struct log *log, bool read_only, struct fault *fault) {
    struct archive_rocksdb *archive = calloc(1, sizeof(*archive));
    if (archive == NULL || strlen(path) >= sizeof(archive->path)) {
        fault_set(fault, "%s: no memory, or too long a path", path);
        free(archive);
        return NULL;
    }
    archive->port.ops = &port_ops;
    archive->references.ops = &reference_ops;
    archive->log = log;
    archive->options = *options;
    memcpy(archive->path, path, strlen(path) + 1);
    (void)pthread_rwlock_init(&archive->lock, NULL);
    if (!mailbox_init(&archive->puts, QUEUE_MAX) || !mailbox_init(&archive->reads, QUEUE_MAX)) {
        fault_set(fault, "no memory for the archive's queues");
        return NULL;
    }
    archive->handle = rocksdb_handle_open(archive->path, &archive->options,
                                          &archive->expired_before_tick, read_only, fault);
    if (archive->handle == NULL) {
        archive_rocksdb_close(archive);
        return NULL;
    }
    return archive;
}

struct archive_rocksdb *archive_rocksdb_open(const char *path,
                                             const struct archive_options *options, struct log *log,
                                             struct fault *fault) {
    return open_archive(path, options, log, false, fault);
}

struct archive_rocksdb *archive_rocksdb_open_read_only(const char *path, struct log *log,
                                                       struct fault *fault) {
    struct archive_options options = {.cache_mb = 16, .write_buffer_mb = 4};
    return open_archive(path, &options, log, true, fault);
}

void archive_rocksdb_close(struct archive_rocksdb *archive) {
    rocksdb_handle_close(archive->handle);
    mailbox_deinit(&archive->puts);
    mailbox_deinit(&archive->reads);
    (void)pthread_rwlock_destroy(&archive->lock);
    free(archive);
}

struct order_archive *archive_rocksdb_port(struct archive_rocksdb *archive) {
    return &archive->port;
}

struct reference_archive *archive_rocksdb_references(struct archive_rocksdb *archive) {
    return &archive->references;
}

struct archive_metrics *archive_rocksdb_metrics(struct archive_rocksdb *archive) {
    return &archive->metrics;
}

struct mailbox *archive_rocksdb_puts(struct archive_rocksdb *archive) {
    return &archive->puts;
}

struct mailbox *archive_rocksdb_reads(struct archive_rocksdb *archive) {
    return &archive->reads;
}
