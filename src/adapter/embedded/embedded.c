#include "adapter/embedded/embedded.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define ARCHIVE_IDLE_MS 200

enum embedded_thread { THREAD_STORE, THREAD_KEEPER, THREAD_PUTS, THREAD_READS, THREAD_COUNT };

struct embedded {
    struct embedded_core core;
    struct disk_posix disk;
    struct archive_rocksdb *archive; /* owned */
    const struct clock *clock;
    struct log *log;
    pthread_t threads[THREAD_COUNT];
    size_t thread_count;
    struct mailbox keeper_box; /* only to wake the keeper */
    _Atomic uint32_t closing;
    _Atomic uint32_t keeper_closing; /* set once the store's thread has ended */
};

static bool is_set(const _Atomic uint32_t *flag) {
    return atomic_load_explicit(flag, memory_order_acquire) != 0;
}

static void *run_store(void *context) {
    struct embedded *embedded = context;
    struct embedded_store *store = &embedded->core.store;
    for (;;) {
        bool closing = is_set(&embedded->closing);
        bool had_segment = segment_supply_is_ready(&embedded->core.supply);
        bool busy = embedded_store_step(store);
        if (had_segment && !segment_supply_is_ready(&embedded->core.supply)) {
            mailbox_wake(&embedded->keeper_box); /* the writer took it: make the next one */
        }
        if (!busy && closing && store->active_count == 0) {
            break;
        }
        if (!busy) {
            mailbox_wait(&store->inbox, EMBEDDED_STORE_IDLE_MS);
        }
    }
    embedded_store_seal(store);
    return NULL;
}

static void *run_keeper(void *context) {
    struct embedded *embedded = context;
    while (!is_set(&embedded->keeper_closing)) {
        if (!keeper_step(&embedded->core.keeper, clock_monotonic_us())) {
            mailbox_wait(&embedded->keeper_box, KEEPER_IDLE_MS);
        }
    }
    return NULL;
}

static void *run_puts(void *context) {
    struct embedded *embedded = context;
    for (;;) {
        bool closing = is_set(&embedded->closing);
        if (!archive_rocksdb_put_step(embedded->archive)) {
            if (closing) {
                return NULL;
            }
            mailbox_wait(archive_rocksdb_puts(embedded->archive), ARCHIVE_IDLE_MS);
        }
    }
}

static void *run_reads(void *context) {
    struct embedded *embedded = context;
    struct mailbox *reads = archive_rocksdb_reads(embedded->archive);
    for (;;) {
        bool closing = is_set(&embedded->closing);
        struct port_request *request = mailbox_take(reads);
        if (request == NULL) {
            if (closing) {
                return NULL;
            }
            mailbox_wait(reads, ARCHIVE_IDLE_MS);
        } else if (request->operation == CHANGE_LOG_READ) {
            embedded_change_log_read_journal(&embedded->core.change_log,
                                             (struct change_read_batch *)request);
        } else {
            archive_rocksdb_read(embedded->archive, request);
        }
    }
}

bool embedded_start(struct embedded *embedded, struct fault *fault) {
    static void *(*const mains[])(void *) = {run_store, run_keeper, run_puts, run_reads};
    static const char *const names[] = {"store", "keeper", "archive-put", "archive-read"};
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        int error = pthread_create(&embedded->threads[i], NULL, mains[i], embedded);
        if (error != 0) {
            fault_set_errno(fault, error, "thread %s cannot be started", names[i]);
            return false;
        }
        (void)pthread_setname_np(embedded->threads[i], names[i]);
        embedded->thread_count++;
    }
    return true;
}

static void register_metrics(struct embedded *embedded, struct metrics *metrics) {
    if (metrics == NULL) {
        return;
    }
    metrics_register(metrics, "store", NULL, embedded_store_metric_table,
                     embedded_store_metric_count, &embedded->core.store.metrics);
    metrics_register(metrics, "journal", NULL, keeper_metric_table, keeper_metric_count,
                     &embedded->core.keeper.metrics);
    metrics_register(metrics, "archive", NULL, archive_metric_table, archive_metric_count,
                     archive_rocksdb_metrics(embedded->archive));
}

static bool open_directory(struct embedded *embedded, const struct embedded_parts *parts,
                           struct fault *fault) {
    char path[280];
    if (disk_posix_open(&embedded->disk, parts->data_dir, fault) != DISK_OK) {
        return false;
    }
    if (disk_posix_lock(&embedded->disk, fault) != DISK_OK) {
        disk_posix_close(&embedded->disk);
        return false;
    }
    (void)snprintf(path, sizeof(path), "%s/archive", parts->data_dir);
    embedded->archive = archive_rocksdb_open(path, parts->archive, parts->log, fault);
    if (embedded->archive == NULL) {
        disk_posix_close(&embedded->disk);
        return false;
    }
    return true;
}

static void close_directory(struct embedded *embedded) {
    archive_rocksdb_close(embedded->archive);
    disk_posix_close(&embedded->disk);
}

static bool read_options(const struct memory_options *memory, const struct journal_options *journal,
                         struct journal_limits *limits, struct memory_shares *shares,
                         struct fault *fault) {
    return journal_options_read(journal, limits, fault) &&
           memory_options_divide(memory, change_tail_bytes(limits->tail_changes), shares, fault);
}

bool embedded_options_check(const struct memory_options *memory,
                            const struct journal_options *journal, struct fault *fault) {
    struct journal_limits limits;
    struct memory_shares shares;
    return read_options(memory, journal, &limits, &shares, fault);
}

static bool open_core(struct embedded *embedded, const struct embedded_parts *parts,
                      struct fault *fault) {
    int64_t begin_us = clock_monotonic_us();
    struct journal_limits limits;
    struct memory_shares shares;
    if (!read_options(parts->memory, parts->journal, &limits, &shares, fault)) {
        return false;
    }
    struct embedded_core_parts core_parts = {
        .disk = &embedded->disk.disk,
        .log = parts->log,
        .clock = &parts->clock->clock,
        .references = archive_rocksdb_references(embedded->archive),
        .reads = archive_rocksdb_reads(embedded->archive),
        .memory = &shares,
        .limits = &limits,
        .window_us = parts->window_us,
        .now_us = clock_now_us(&parts->clock->clock),
    };
    if (!embedded_core_open(&embedded->core, &core_parts, fault)) {
        return false;
    }
    const struct recovery_result *recovered = &embedded->core.recovered;
    struct order_table_usage usage;
    order_table_usage(embedded->core.table, &usage);
    service_clock_raise(parts->clock, recovered->newest_time_us);
    log_info(parts->log, "recovery",
             "%llu hot orders from checkpoint %llu and %llu frames (%llu MiB) in %lld ms",
             (unsigned long long)(usage.orders - usage.evictable),
             (unsigned long long)recovered->checkpoint_sequence,
             (unsigned long long)recovered->replayed_frames,
             (unsigned long long)(recovered->replayed_bytes >> 20),
             (long long)((clock_monotonic_us() - begin_us) / 1000));
    return true;
}

struct embedded *embedded_open(const struct embedded_parts *parts, struct fault *fault) {
    struct embedded *embedded = aligned_alloc(CACHE_LINE_BYTES, sizeof(*embedded));
    if (embedded == NULL) {
        fault_set(fault, "no memory for the embedded store");
        return NULL;
    }
    memset(embedded, 0, sizeof(*embedded));
    embedded->clock = &parts->clock->clock;
    embedded->log = parts->log;
    if (!mailbox_init(&embedded->keeper_box, 2)) {
        fault_set(fault, "no memory for the keeper");
        free(embedded);
        return NULL;
    }
    if (!open_directory(embedded, parts, fault)) {
        mailbox_deinit(&embedded->keeper_box);
        free(embedded);
        return NULL;
    }
    if (!open_core(embedded, parts, fault)) {
        close_directory(embedded);
        mailbox_deinit(&embedded->keeper_box);
        free(embedded);
        return NULL;
    }
    register_metrics(embedded, parts->metrics);
    return embedded;
}

static void join(struct embedded *embedded, enum embedded_thread thread) {
    if ((size_t)thread < embedded->thread_count) {
        (void)pthread_join(embedded->threads[thread], NULL);
    }
}

void embedded_close(struct embedded *embedded) {
    atomic_store_explicit(&embedded->closing, 1, memory_order_release);
    mailbox_wake(&embedded->core.store.inbox);
    mailbox_wake(archive_rocksdb_puts(embedded->archive));
    mailbox_wake(archive_rocksdb_reads(embedded->archive));
    /* The store may still need a segment to finish what was submitted: the keeper ends last. */
    join(embedded, THREAD_STORE);
    join(embedded, THREAD_PUTS);
    join(embedded, THREAD_READS);
    atomic_store_explicit(&embedded->keeper_closing, 1, memory_order_release);
    mailbox_wake(&embedded->keeper_box);
    join(embedded, THREAD_KEEPER);
    embedded_core_close(&embedded->core);
    close_directory(embedded);
    mailbox_deinit(&embedded->keeper_box);
    free(embedded);
}

struct order_store *embedded_order_store(struct embedded *embedded) {
    return &embedded->core.store.store;
}

struct order_archive *embedded_order_archive(struct embedded *embedded) {
    return archive_rocksdb_port(embedded->archive);
}

struct order_cache *embedded_order_cache(struct embedded *embedded) {
    return &embedded->core.store.cache;
}

struct change_log *embedded_changes(struct embedded *embedded) {
    return &embedded->core.change_log.log;
}

const struct order_table *embedded_table(const struct embedded *embedded) {
    return embedded->core.table;
}

bool embedded_is_ready(struct embedded *embedded, const char **reason) {
    if (embedded_store_is_stopped(&embedded->core.store)) {
        *reason = "journal: stopped after a failed write";
        return false;
    }
    if (segment_supply_state(&embedded->core.supply) != SEGMENT_SUPPLY_WORKING) {
        *reason = "journal: the disk has no room or refuses";
        return false;
    }
    if (!archive_rocksdb_is_healthy(embedded->archive)) {
        *reason = "archive: refuses writes";
        return false;
    }
    return true;
}
