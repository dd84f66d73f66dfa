/** The embedded order_store: decides in one thread, makes durable in the journal, publishes to the
 *  RAM table, then completes.
 *
 *  Requests wait in `inbox`. Each step of the writer takes what is there, up to a frame's worth,
 *  judges every item against the RAM table, the group itself and, for references, the archive,
 *  appends one frame, and only when that is durable puts the orders into the table and answers. So
 *  batches form by themselves while the one before is on its way to the disk.
 *
 *  A failed write stops the store for good (its outcome is unknown until the journal is read
 *  again): creates and changes are refused, reads go on.
 *
 *  A plain state machine: embedded_store_step does the work on the writer's thread. get, find and
 *  scan only read the RAM table, and are answered on the submitter's. */
#ifndef ORDERD_ADAPTER_EMBEDDED_EMBEDDED_STORE_H
#define ORDERD_ADAPTER_EMBEDDED_EMBEDDED_STORE_H

#include "adapter/embedded/change_tail.h"
#include "adapter/embedded/journal_writer.h"
#include "adapter/embedded/reference_archive.h"
#include "adapter/embedded/store_group.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "memory/order_table.h"
#include "memory/reference_filter.h"
#include "order/order_id.h"
#include "port/change_log.h"
#include "port/order_cache.h"
#include "port/order_store.h"

/** The node number of a store that has the machine for itself. */
#define EMBEDDED_NODE 0

/** Requests that may wait: more are refused, and the clients told to come back. */
#define EMBEDDED_STORE_INBOX 4096

/** Requests that one group may hold. */
#define EMBEDDED_STORE_ACTIVE 1024

#define EMBEDDED_STORE_WATCHES_MAX 64

/** Orders that became final and wait to be noticed by the archive pipeline; a power of two. */
#define EMBEDDED_STORE_FINALS 262144

#define EMBEDDED_STORE_METRICS(X)                                                                  \
    X(counter, created_total, "Orders created")                                                    \
    X(counter, replayed_total, "Creates answered with the order that the reference has")           \
    X(counter, conflicts_total, "Creates whose reference has an order with another content")       \
    X(counter, changed_total, "Changes of an order's status")                                      \
    X(counter, released_total, "Orders that left for the archive")                                 \
    X(counter, busy_total, "Items refused for lack of room or because a slot is ahead of time")    \
    X(counter, unavailable_total, "Items refused because the store has stopped")                   \
    X(counter, unknown_total, "Items whose outcome is unknown after a failed write")               \
    X(counter, archive_lookups_total, "References that the archive was asked for by a create")     \
    X(counter, frames_total, "Frames made durable")                                                \
    X(counter, journal_bytes_total, "Bytes written to the journal")                                \
    X(counter, segment_waits_total, "Steps that had to wait for the next segment")                 \
    X(gauge, stopped, "1 after a failed write: creates and changes are refused")                   \
    X(gauge, disk_full, "1 while creates are refused because the disk is full")                    \
    X(histogram, write_microseconds, "Time of one durable write")                                  \
    X(histogram, group_items, "Records and releases in one frame")

struct embedded_store_metrics {
    EMBEDDED_STORE_METRICS(METRIC_FIELD)
};
extern const struct metric_description embedded_store_metric_table[];
extern const size_t embedded_store_metric_count;

/** What a checkpoint needs of the writer's state, taken between two groups. */
struct embedded_store_snapshot {
    uint64_t sequence; /* every frame up to this one is in the table */
    uint64_t next_change;
    int64_t time_us;
    int64_t filter_rotated_us;
    uint64_t last_ids[ORDER_SLOT_COUNT];
};

enum embedded_store_snapshot_state {
    STORE_SNAPSHOT_NONE,
    STORE_SNAPSHOT_WANTED, /* set by the keeper */
    STORE_SNAPSHOT_TAKEN   /* set by the writer */
};

struct embedded_store {
    struct order_store store;
    struct order_cache cache; /* the RAM table as the cache port: fills come back through it */
    const struct clock *clock;
    struct log *log;
    struct order_table *table;            /* borrowed */
    struct reference_filter *filter;      /* borrowed */
    struct reference_archive *references; /* borrowed */
    struct change_tail *tail;             /* borrowed */
    struct journal_writer *journal;       /* borrowed */
    int64_t window_us;                    /* idempotency window */
    struct mailbox inbox;

    /* The writer's: */
    struct order_id_generator ids;
    struct store_group group;
    struct port_request *active[EMBEDDED_STORE_ACTIVE]; /* oldest first */
    size_t active_count;
    uint32_t creates_in_group;
    int64_t last_append_us; /* the newest stored time */
    int64_t filter_rotated_us;
    bool sealed; /* the newest frame is empty, and so proves those before it */
    struct log_limit limit;

    /* Written by the writer, read by others: */
    _Atomic uint64_t published_sequence;
    _Atomic uint64_t appended_bytes;
    _Atomic uint32_t stopped;
    _Atomic int snapshot_state; /* enum embedded_store_snapshot_state */
    struct embedded_store_snapshot snapshot;
    _Atomic uint64_t *finals; /* owned: ids, a ring from the writer to the one who scans */
    _Atomic uint64_t finals_written;
    _Atomic uint64_t finals_read; /* written by the one who scans */
    _Atomic uint32_t finals_overflowed;
    struct change_watch *watches[EMBEDDED_STORE_WATCHES_MAX];
    size_t watch_count;
    struct embedded_store_metrics metrics;
};

struct embedded_store_parts {
    const struct clock *clock;
    struct log *log;
    struct order_table *table;
    struct reference_filter *filter;
    struct reference_archive *references;
    struct change_tail *tail;
    struct journal_writer *journal;
    const struct journal_limits *limits;
    int64_t window_us;
};

/** Zeroed memory in, ready to take requests out; the caller then restores ids and positions.
 *  False where memory is short. The inbox exists from here on. */
MUST_CHECK bool embedded_store_init(struct embedded_store *store,
                                    const struct embedded_store_parts *parts);
void embedded_store_deinit(struct embedded_store *store);

/** Forms, commits and answers one group. Returns true where something was done: call again at once;
 *  false: sleep until the inbox wakes, or for EMBEDDED_STORE_IDLE_MS. @thread the writer's. */
bool embedded_store_step(struct embedded_store *store);

#define EMBEDDED_STORE_IDLE_MS 50

/** Ends the journal with an empty frame, which proves that nothing before it was torn. After the
 *  last step. @thread the writer's. */
void embedded_store_seal(struct embedded_store *store);

/** True where creates and changes are refused for good. @thread any. */
static inline bool embedded_store_is_stopped(const struct embedded_store *store) {
    return atomic_load_explicit(&store->stopped, memory_order_relaxed) != 0;
}

#endif
