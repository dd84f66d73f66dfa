/** The journal on disk: segment files of frames.
 *
 *  A segment `journal-<number>.seg` begins with one block (4,096 bytes) that names its number and
 *  size; from then on it is frames, each beginning at a block. A frame is a header of 64 bytes,
 *  then records (128 bytes each: orders as they became), then releases (16 bytes each: orders that
 *  left for the archive), then zero bytes up to the next block. One frame is one durable write, and
 *  none is begun before the one before it is durable, so only the last one can be torn.
 *
 *  The checksum covers the segment's number and the frame's sequence: in a recycled segment what is
 *  left of its former life never passes for a frame; nor do records of it in a frame, whose digest
 *  of the records' own checksums is another. All numbers are little-endian.
 *  Pure functions, any thread. */
#ifndef ORDERD_ADAPTER_EMBEDDED_JOURNAL_FORMAT_H
#define ORDERD_ADAPTER_EMBEDDED_JOURNAL_FORMAT_H

#include "base/disk.h"
#include "order/record.h"

#define JOURNAL_BLOCK_BYTES DISK_BLOCK_BYTES
#define JOURNAL_FRAME_HEADER_BYTES 64
#define JOURNAL_NAME_MAX 48

/** Items of a frame, at most; a store may choose less (journal_options.h). */
#define JOURNAL_FRAME_RECORDS_MAX 16384
#define JOURNAL_FRAME_RELEASES_MAX 16384

#define JOURNAL_FRAME_BYTES_MAX                                                                    \
    (((size_t)JOURNAL_FRAME_HEADER_BYTES +                                                         \
      (size_t)JOURNAL_FRAME_RECORDS_MAX * ORDER_RECORD_BYTES +                                     \
      (size_t)JOURNAL_FRAME_RELEASES_MAX * sizeof(struct journal_release) + JOURNAL_BLOCK_BYTES -  \
      1) /                                                                                         \
     JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES)

/** The smallest segment that the program makes, where the disk has no room for a whole one. */
#define JOURNAL_SEGMENT_BYTES_MIN ((uint64_t)8 << 20)
#define JOURNAL_SEGMENT_BYTES_MAX ((uint64_t)4096 << 20)

/** An order that is in the archive and no longer hot. The hash is that of its reference, so that a
 *  replay can keep the reference without the order. */
struct journal_release {
    uint64_t order_id;
    uint64_t reference_hash;
};

struct journal_segment_header {
    uint64_t magic;
    uint32_t format;
    uint32_t crc; /* CRC-32C of the rest */
    uint64_t number;
    uint64_t size_bytes;
};

struct journal_frame_header {
    uint32_t magic;
    uint32_t crc; /* CRC-32C of what follows it: the rest of the header and the payload */
    uint64_t segment;
    uint64_t sequence;     /* of the frame, 1 for the first one ever, without gaps */
    uint64_t first_change; /* number of the first record's change; of the next one if it has none */
    int64_t time_us;       /* service clock */
    uint32_t record_count;
    uint32_t release_count;
    uint64_t record_digest; /* of the records' own checksums, see journal_format.c */
    uint64_t reserved;
};

_Static_assert(sizeof(struct journal_frame_header) == JOURNAL_FRAME_HEADER_BYTES, "on disk");
_Static_assert(sizeof(struct journal_release) == 16, "on disk");
_Static_assert(JOURNAL_FRAME_BYTES_MAX * 3 <= JOURNAL_SEGMENT_BYTES_MIN,
               "the smallest segment has room for frames beyond the reserve");

/** Bytes of a frame's header and payload, without the padding. */
static inline size_t journal_frame_payload_end(uint32_t record_count, uint32_t release_count) {
    return JOURNAL_FRAME_HEADER_BYTES + (size_t)record_count * ORDER_RECORD_BYTES +
           (size_t)release_count * sizeof(struct journal_release);
}

/** Bytes that a frame takes on disk. */
static inline size_t journal_frame_bytes(uint32_t record_count, uint32_t release_count) {
    return bytes_align_up(journal_frame_payload_end(record_count, release_count),
                          JOURNAL_BLOCK_BYTES);
}

/** Writes the file name of a segment, zero-terminated. */
void journal_segment_name(uint64_t number, char name[JOURNAL_NAME_MAX]);

/** False where the name is no segment's. */
MUST_CHECK bool journal_segment_number(const char *name, uint64_t *number);

/** Fills a block with a segment header. */
void journal_segment_header_write(void *block, uint64_t number, uint64_t size_bytes);

/** False where the block is no header of segment `number`. */
MUST_CHECK bool journal_segment_header_read(const void *block, uint64_t number,
                                            uint64_t *size_bytes);

/** Completes a frame whose records stand behind the header: places the releases behind them, fills
 *  the header in and zeroes the padding. Returns the bytes to write.
 *  @param frame aligned to a block, JOURNAL_FRAME_BYTES_MAX long. */
size_t journal_frame_seal(void *frame, struct journal_frame_header header,
                          const struct journal_release *releases);

/** True where `header` may begin a frame of `segment` with at least `sequence_min`; its checksum is
 *  not looked at, its counts are in bounds. */
MUST_CHECK bool journal_frame_is_plausible(const struct journal_frame_header *header,
                                           uint64_t segment, uint64_t sequence_min);

/** True where the whole frame, which is plausible and of which `size` bytes are here, is intact. */
MUST_CHECK bool journal_frame_is_intact(const void *frame, size_t size);

#endif
