/** The start of the embedded store: reads the newest checkpoint and the journal behind it into the
 *  RAM table, finds where the journal goes on, and cuts a torn tail off. The last frame is then
 *  written once more: what was read may have been a write that failed, or one that the process did
 *  not live to see the end of, and be gone with the power. From here on it counts, so it must stay.
 *
 *  Refused, with file and offset: damage, which is a frame that is missing or broken while a later
 *  one is intact; a gap between checkpoint and journal; more hot orders than the budget holds.
 *  Before any other thread runs. */
#ifndef ORDERD_ADAPTER_EMBEDDED_RECOVERY_H
#define ORDERD_ADAPTER_EMBEDDED_RECOVERY_H

#include "adapter/embedded/checkpoint.h"
#include "adapter/embedded/journal_reader.h"
#include "adapter/embedded/segment_list.h"

struct recovery {
    struct disk *disk;
    struct log *log;
    struct order_table *table;
    struct reference_filter *filter;
    struct order_id_generator *ids;
    struct segment_list *segments; /* filled */
    struct reference_archive *references;
    int64_t oldest_reference_us; /* references of older orders need not be remembered */
};

struct recovery_result {
    uint64_t checkpoint_sequence; /* 0: there is none */
    uint64_t next_sequence;
    uint64_t next_change;
    uint64_t next_segment; /* number of the next segment to make */
    uint64_t segment;      /* where the journal goes on; 0: in a new segment */
    uint64_t segment_bytes;
    uint64_t offset;
    uint64_t last_frame_offset; /* in `segment` */
    int64_t newest_time_us;     /* no stored time is later */
    int64_t filter_rotated_us;
    uint64_t replayed_frames;
    uint64_t replayed_bytes;
    bool torn;           /* the journal ended in a frame that was never acknowledged */
    bool read_twice;     /* the table was full during the first pass */
    bool filter_rebuilt; /* from the archive, as the checkpoint's has another size */
};

/** Reads everything. False, with one line in `fault`, where the store must not start. */
MUST_CHECK bool recovery_run(struct recovery *recovery, struct recovery_result *result,
                             struct fault *fault);

#endif
