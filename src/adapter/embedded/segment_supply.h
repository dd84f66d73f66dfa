/** Makes the next segment before it is needed, so that the writer never waits for a file to grow:
 *  a segment is full of written blocks when it is handed over, and a durable write into it touches
 *  no metadata.
 *
 *  Segments that are no longer needed are handed in and become the next ones; without any, a new
 *  file is filled with zero bytes, at the pace at which the present segment is used up, since both
 *  share the disk: filled at once, it would hold the writer's syncs up. Where the disk has no room
 *  for a whole segment, a smaller one is tried, down to `segment_bytes_min`; then the supply is
 *  FULL, and tries again later.
 *
 *  A plain state machine: `segment_supply_step` does one slice of work on the keeper's thread; the
 *  writer only looks at `ready` and `state`. */
#ifndef ORDERD_ADAPTER_EMBEDDED_SEGMENT_SUPPLY_H
#define ORDERD_ADAPTER_EMBEDDED_SEGMENT_SUPPLY_H

#include "adapter/embedded/journal_options.h"
#include "base/log.h"

#include <stdatomic.h>

/** How many old segments wait to be used again; more are deleted, oldest first. So what a crash
 *  leaves of them are the newest: the segments on disk have numbers without a gap. */
#define SEGMENT_SPARES_MAX 2

/** A segment that may be written to from its second block on. */
struct ready_segment {
    struct disk_file *file; /* open for durable writes; the taker's */
    uint64_t number;
    uint64_t size_bytes;
};

enum segment_supply_state {
    SEGMENT_SUPPLY_WORKING,
    SEGMENT_SUPPLY_FULL,  /* there is no room: tried again with every step that is due */
    SEGMENT_SUPPLY_FAILED /* the disk refuses: tried again likewise */
};

struct segment_supply {
    struct disk *disk;
    struct log *log;
    struct mailbox *writer; /* woken when a segment is ready */
    uint64_t segment_bytes; /* the size that is wanted */
    uint64_t segment_bytes_min;
    _Atomic(struct ready_segment *) ready; /* NULL: none; taken by the writer */
    struct ready_segment slot;             /* what `ready` points to */
    _Atomic int state;                     /* enum segment_supply_state */
    /** How far the writer is in the present segment, thousandths; all where it has none. Written by
     *  the writer. */
    _Atomic uint32_t used_thousandths;
    /* The keeper's: */
    uint64_t next_number;
    struct disk_file *filling; /* the file that is being filled with zero bytes, or NULL */
    uint64_t filling_bytes;    /* its size when it is done */
    uint64_t filled_bytes;
    int64_t retry_at_us;      /* after FULL or FAILED */
    int64_t idle_slice_at_us; /* when a slice is due though the writer needs none */
    uint64_t spare_first;     /* old segments: from this number on, */
    uint64_t spare_count;     /* so many */
    int64_t trim_at_us;       /* after one could not be deleted */
    struct log_limit limit;
    char *zeroes; /* owned, aligned */
    size_t zeroes_bytes;
};

/** @param next_number of the first segment to make. False where memory is short. */
MUST_CHECK bool segment_supply_init(struct segment_supply *supply, struct disk *disk,
                                    struct log *log, struct mailbox *writer,
                                    const struct journal_limits *limits, uint64_t next_number);

/** Closes what is open; a segment that nobody took stays as a file without frames. */
void segment_supply_deinit(struct segment_supply *supply);

/** Does one slice of work; true where there is more to do at once. @thread the keeper's. */
bool segment_supply_step(struct segment_supply *supply, int64_t now_us);

/** True where another old segment may be handed in. */
static inline bool segment_supply_wants_spare(const struct segment_supply *supply) {
    return supply->spare_count <= SEGMENT_SPARES_MAX;
}

/** Hands in segment `number`, which nobody reads or needs any more: the one behind the last that
 *  was handed in. @thread the keeper's. */
void segment_supply_recycle(struct segment_supply *supply, uint64_t number);

/** Deletes an old segment that is too many; true where one was. @thread the keeper's. */
bool segment_supply_trim(struct segment_supply *supply, int64_t now_us);

/** The journal may not grow, and what would make room failed: the supply is FULL, so that the
 *  writer refuses rather than waits, until it has made a segment again. Nothing changes where one
 *  is ready.
 *  @thread the keeper's. */
void segment_supply_refuse(struct segment_supply *supply);

/** Takes the next segment; false where none is ready. @thread the writer's. */
MUST_CHECK bool segment_supply_take(struct segment_supply *supply, struct ready_segment *segment);

static inline bool segment_supply_is_ready(const struct segment_supply *supply) {
    return atomic_load_explicit(&supply->ready, memory_order_acquire) != NULL;
}

static inline enum segment_supply_state segment_supply_state(const struct segment_supply *supply) {
    return (enum segment_supply_state)atomic_load_explicit(&supply->state, memory_order_relaxed);
}

#endif
