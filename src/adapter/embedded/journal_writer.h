/** Appends frames to the journal, each durable when the append returns. The store's writing thread
 *  only.
 *
 *  Room is asked for before a group is formed: journal_writer_prepare rolls to the next segment
 *  where the present one may not hold another frame. The last frames' worth of the last segment is
 *  kept for changes and releases: they let orders end and leave, which is what makes room again. */
#ifndef ORDERD_ADAPTER_EMBEDDED_JOURNAL_WRITER_H
#define ORDERD_ADAPTER_EMBEDDED_JOURNAL_WRITER_H

#include "adapter/embedded/segment_list.h"
#include "adapter/embedded/segment_supply.h"

enum journal_room {
    JOURNAL_ROOM_ANY,        /* for whatever comes */
    JOURNAL_ROOM_NO_CREATES, /* the disk is nearly full */
    JOURNAL_ROOM_NONE,       /* the disk is full */
    JOURNAL_ROOM_LATER       /* the next segment is being made: ask again */
};

struct journal_writer {
    struct disk *disk;
    struct segment_supply *supply;
    struct segment_list *segments;
    struct disk_file *file; /* owned; NULL before the first segment */
    uint64_t segment;
    uint64_t segment_bytes;
    uint64_t offset;
    uint64_t next_sequence;
    uint64_t next_change;
    size_t frame_bytes_max;
    char *frame; /* owned: where the next frame is put together, aligned to a block */
};

/** @param next_sequence, next_change of the next frame. @param frame_bytes_max of the largest one.
 *  False where memory is short. */
MUST_CHECK bool journal_writer_init(struct journal_writer *writer, struct disk *disk,
                                    struct segment_supply *supply, struct segment_list *segments,
                                    uint64_t next_sequence, uint64_t next_change,
                                    size_t frame_bytes_max);
void journal_writer_deinit(struct journal_writer *writer);

/** Goes on in a segment that has frames already: at `offset`, where the replay ended. */
MUST_CHECK enum disk_status journal_writer_resume(struct journal_writer *writer, uint64_t segment,
                                                  uint64_t segment_bytes, uint64_t offset,
                                                  struct fault *fault);

/** Makes sure that one more frame of any size fits, and says for what. */
MUST_CHECK enum journal_room journal_writer_prepare(struct journal_writer *writer);

/** The records of the next frame, to be written in place: as many as the largest one has. */
static inline struct order_record *journal_writer_records(struct journal_writer *writer) {
    return (struct order_record *)(writer->frame + JOURNAL_FRAME_HEADER_BYTES);
}

/** Makes the frame durable. On failure the journal's end is unknown: nothing may be appended any
 *  more. @param bytes out: what was written. */
MUST_CHECK enum disk_status journal_writer_append(struct journal_writer *writer,
                                                  uint32_t record_count, uint32_t release_count,
                                                  const struct journal_release *releases,
                                                  int64_t time_us, size_t *bytes,
                                                  struct fault *fault);

#endif
