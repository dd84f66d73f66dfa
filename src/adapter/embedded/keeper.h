/** What keeps the journal going beside the writer: makes the next segment, writes checkpoints, and
 *  removes what is no longer needed.
 *
 *  A checkpoint is begun when the journal has grown by `checkpoint_bytes`, or by the size of the
 *  hot orders where that is more, so that writing them costs no more than the journal itself; and
 *  when the journal nears `max_bytes`. Segments that the checkpoint covers are kept for the change
 *  log up to `keep_bytes`, then removed, oldest first.
 *
 *  A plain state machine: keeper_step does a slice of work on the keeper's thread. */
#ifndef ORDERD_ADAPTER_EMBEDDED_KEEPER_H
#define ORDERD_ADAPTER_EMBEDDED_KEEPER_H

#include "adapter/embedded/checkpoint.h"

#define KEEPER_METRICS(X)                                                                          \
    X(gauge, segments, "Segment files of the journal")                                             \
    X(gauge, bytes, "Size of the journal's segments")                                              \
    X(counter, checkpoints_total, "Checkpoints written")                                           \
    X(counter, checkpoint_failures_total, "Checkpoints given up")                                  \
    X(gauge, checkpoint_sequence, "Frame that the newest checkpoint covers")                       \
    X(counter, segments_removed_total, "Segments removed or used again")

struct keeper_metrics {
    KEEPER_METRICS(METRIC_FIELD)
};
extern const struct metric_description keeper_metric_table[];
extern const size_t keeper_metric_count;

struct keeper {
    struct disk *disk;
    struct log *log;
    struct embedded_store *store;
    struct segment_supply *supply;
    struct segment_list *segments;
    struct checkpoint_writer checkpoint;
    struct journal_limits limits;
    uint64_t covered_sequence;       /* by the newest checkpoint; 0: there is none */
    uint64_t appended_at_checkpoint; /* when the newest one was begun */
    uint64_t appended_at_begin;      /* when the one that is being written was */
    int64_t retry_at_us;
    bool writing;
    struct log_limit limit;
    struct keeper_metrics metrics;
};

struct keeper_parts {
    struct disk *disk;
    struct log *log;
    struct embedded_store *store;
    struct segment_supply *supply;
    struct segment_list *segments;
    const struct journal_limits *limits;
    uint64_t covered_sequence;
    uint64_t replayed_bytes; /* journal behind the checkpoint at the start */
};

MUST_CHECK bool keeper_init(struct keeper *keeper, const struct keeper_parts *parts);
void keeper_deinit(struct keeper *keeper);

/** Does a slice of work; true where there is more to do at once. Otherwise call again when the
 *  writer has taken a segment, or in KEEPER_IDLE_MS. */
bool keeper_step(struct keeper *keeper, int64_t now_us);

#define KEEPER_IDLE_MS 10

#endif
