/** Reads the frames of one segment in order: for the replay, the event log and `orderctl verify`.
 *  The caller owns it; one thread at a time. It opens the file itself and never writes. */
#ifndef ORDERD_ADAPTER_EMBEDDED_JOURNAL_READER_H
#define ORDERD_ADAPTER_EMBEDDED_JOURNAL_READER_H

#include "adapter/embedded/journal_format.h"

/** What stands at the reader's position. */
enum journal_read {
    JOURNAL_READ_FRAME,   /* an intact frame with the sequence that was expected */
    JOURNAL_READ_END,     /* no frame: the end of what was written to this segment, or a torn one */
    JOURNAL_READ_DAMAGED, /* no intact frame, but a later one in this segment is intact */
    JOURNAL_READ_FAILED   /* the file cannot be read */
};

struct journal_reader {
    struct disk *disk;
    struct disk_file *file; /* owned while open */
    char name[JOURNAL_NAME_MAX];
    uint64_t segment;
    uint64_t size_bytes;
    uint64_t offset; /* of the next frame */
    bool proves_end; /* at the end, look behind it for a later frame: the replay's caution */
    char *buffer;    /* owned: one frame, aligned to a block */
};

/** One frame, as long as the reader is not moved. */
struct journal_frame {
    struct journal_frame_header header;
    uint64_t offset;
    const struct order_record *records;
    const struct journal_release *releases;
};

/** Memory for the reader; false where there is none. */
MUST_CHECK bool journal_reader_init(struct journal_reader *reader, struct disk *disk);
void journal_reader_deinit(struct journal_reader *reader);

/** Opens segment `number` and stands before its first frame. False, with the file in `fault`, where
 *  that cannot be opened or has no valid header. */
MUST_CHECK bool journal_reader_open(struct journal_reader *reader, uint64_t number,
                                    struct fault *fault);

/** Reads the next frame. @param next_sequence what it must be; 0 takes any. On FAILED and DAMAGED
 *  `fault` names file and offset. */
MUST_CHECK enum journal_read journal_reader_next(struct journal_reader *reader,
                                                 uint64_t next_sequence,
                                                 struct journal_frame *frame, struct fault *fault);

/** Moves to an offset that a frame was found at before. */
static inline void journal_reader_seek(struct journal_reader *reader, uint64_t offset) {
    reader->offset = offset;
}

/** After JOURNAL_READ_END: true where the place holds the beginnings of a frame that was torn. */
MUST_CHECK bool journal_reader_is_torn(struct journal_reader *reader);

#endif
