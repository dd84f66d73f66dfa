/** What the parts of the check share while it runs; private to verify*.c. */
#ifndef ORDERD_ORDERCTL_VERIFY_STATE_H
#define ORDERD_ORDERCTL_VERIFY_STATE_H

#include "adapter/embedded/journal_reader.h"
#include "base/disk.h"
#include "memory/reference_filter.h"
#include "orderctl/verify.h"
#include "orderctl/verify_orders.h"

#define VERIFY_SEGMENTS_MAX 65536

/** Where a frame stands. */
struct verify_place {
    uint32_t segment; /* in verify_state.segments */
    uint32_t block;   /* of JOURNAL_BLOCK_BYTES */
};

struct verify_state {
    const struct verify_options *options;
    struct verify_report *report;
    struct disk *disk;
    struct verify_orders orders;
    /** Orders that the checkpoint has in a later version than the journal had at its position: the
     *  journal must reach that version. Only order_id, version and crc are used. */
    struct verify_orders ahead;
    uint64_t *segments; /* owned: numbers, ascending */
    size_t segment_count;
    uint64_t *checkpoints; /* owned: sequences, ascending */
    size_t checkpoint_count;
    bool too_many_files;
    struct verify_place *frames; /* owned: of every frame that was read */
    size_t frame_count;
    size_t frame_capacity;
    uint32_t gap_frame; /* the first frame behind the last gap, counted from 1: what those before it
                           say of an order need not be its last word */
    bool has_gap;
    bool from_beginning;   /* the journal is there from its first frame on */
    int64_t first_time_us; /* of the first frame that was read */
    int64_t newest_time_us;
    uint64_t checkpoint_sequence; /* of the one that is used; 0: none */
    bool checkpoint_whole;
    bool checkpoint_taken; /* its orders are among `orders` */
    struct reference_filter filter;
    bool has_filter;
    bool out_of_memory;
};

/** Reads the segments, and the checkpoint at its place among the frames. False where the check
 *  cannot go on: memory. */
MUST_CHECK bool verify_journal(struct verify_state *state);

/** Takes the checkpoint's orders in. Called when every frame up to its position was read. */
void verify_checkpoint(struct verify_state *state);

/** Holds the archive against the orders, and its references against both. */
void verify_archive(struct verify_state *state);

/** Checks a record alone: its fields and its slot. False where it is of no use. */
MUST_CHECK bool verify_record(struct verify_state *state, const struct order_record *record,
                              uint64_t reference_hash, const char *file, uint64_t offset);

/** Where an order was last seen: the name of a segment and its frame's offset in it, or the
 *  checkpoint's name. */
uint64_t verify_order_place(const struct verify_state *state, const struct verify_order *order,
                            char name[VERIFY_FILE_MAX]);

/** True where frames are missing behind the one that an order was last seen in. */
static inline bool verify_is_uncertain(const struct verify_state *state,
                                       const struct verify_order *order) {
    return state->has_gap && order->frame < state->gap_frame;
}

#endif
