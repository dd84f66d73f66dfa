/** Options of the journal, and what they come to: the sizes with which the embedded store works.
 *  The simulator and the tests choose sizes of their own, small enough that segments and
 *  checkpoints follow each other quickly. */
#ifndef ORDERD_ADAPTER_EMBEDDED_JOURNAL_OPTIONS_H
#define ORDERD_ADAPTER_EMBEDDED_JOURNAL_OPTIONS_H

#include "adapter/embedded/journal_format.h"
#include "base/config.h"

#define JOURNAL_OPTIONS(X)                                                                         \
    X(uint64, segment_mb, "64", "8..4096", start, "Size of a journal segment, MiB")                \
    X(uint64, checkpoint_mb, "512", "1..1048576", start,                                           \
      "Growth of the journal after which a checkpoint is written, MiB")                            \
    X(uint64, keep_mb, "1024", "0..1048576", start,                                                \
      "Journal that is kept for readers of the change log, MiB")                                   \
    X(uint64, max_mb, "8192", "64..1048576", start,                                                \
      "Journal that may exist at all, MiB: beyond it creates wait for a checkpoint; at least "     \
      "four "                                                                                      \
      "segments")                                                                                  \
    X(uint64, tail_changes, "131072", "16384..16777216", start,                                    \
      "Newest changes that are kept in memory for the event streams")

struct journal_options {
    JOURNAL_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option journal_option_table[];
extern const size_t journal_option_count;

struct journal_limits {
    uint64_t segment_bytes;
    uint64_t segment_bytes_min; /* made where the disk has no room for a whole one */
    uint64_t checkpoint_bytes;  /* growth of the journal that asks for a checkpoint */
    uint64_t keep_bytes;        /* journal that is kept for the change log */
    uint64_t max_bytes;         /* journal that may exist */
    uint64_t tail_changes;      /* kept in memory; at least a frame's worth */
    /** Payload of a checkpoint's block, which is written in one step; whole orders. */
    uint32_t checkpoint_block_bytes;
    /** Items of a frame, at most those of the format. A request larger than this is spread over
     *  several frames. */
    uint32_t frame_records_max;
    uint32_t frame_releases_max;
};

/** How many segments `max_bytes` must hold at least: the one that is written, the next one, and
 *  room for a checkpoint to make one of the others free. */
#define JOURNAL_SEGMENTS_MIN 4

/** Frames that the smallest segment has room for: two are kept back for changes and releases. */
#define JOURNAL_SEGMENT_FRAMES_MIN 3

/** A step of the checkpoint takes the orders of at least one bucket of the RAM table, four. */
#define CHECKPOINT_BLOCK_BYTES_MIN (4 * ORDER_RECORD_BYTES)
#define CHECKPOINT_BLOCK_BYTES_MAX ((uint32_t)1 << 20)

/** The largest frame. */
static inline size_t journal_limits_frame_bytes(const struct journal_limits *limits) {
    return journal_frame_bytes(limits->frame_records_max, limits->frame_releases_max);
}

/** False, with one line in `fault`, where the options contradict each other. */
MUST_CHECK bool journal_options_read(const struct journal_options *options,
                                     struct journal_limits *limits, struct fault *fault);

/** True where a journal of these sizes can go on for ever. */
MUST_CHECK bool journal_limits_are_sound(const struct journal_limits *limits);

#endif
