/** The checkpoint: every hot order and the filter of archived references in one file, so that a
 *  restart reads that and the journal behind it, and older segments may go.
 *
 *  It is fuzzy: the position is noted first, then the RAM table is copied while the writer goes on.
 *  What was copied may be newer than the position, never older, and the replay from there puts only
 *  higher versions.
 *
 *  `checkpoint-<sequence>.ckp` is a run of blocks, each with a header of 64 bytes: one BEGIN, then
 *  ORDERS and FILTER, at last END with the totals and as many zeroes as make the file a number of
 *  whole blocks of the disk. It is written under another name, synced, and renamed; the one before
 *  it is removed after that.
 *
 *  The writer is a plain state machine (checkpoint_write_step), on the keeper's thread; the reader
 *  is the start's. */
#ifndef ORDERD_ADAPTER_EMBEDDED_CHECKPOINT_H
#define ORDERD_ADAPTER_EMBEDDED_CHECKPOINT_H

#include "adapter/embedded/embedded_store.h"

#define CHECKPOINT_NAME_MAX 48
enum checkpoint_block_kind {
    CHECKPOINT_BEGIN = 1,
    CHECKPOINT_ORDERS = 2,
    CHECKPOINT_FILTER = 3,
    CHECKPOINT_END = 4
};

struct checkpoint_block {
    uint32_t magic;
    uint32_t crc;      /* CRC-32C of what follows it: the rest of the header and the payload */
    uint64_t sequence; /* of the checkpoint */
    uint32_t number;   /* of the block, from 0 */
    uint32_t kind;     /* enum checkpoint_block_kind */
    uint32_t payload_bytes;
    uint32_t reserved;
    uint64_t position; /* FILTER: of its first byte; END: orders in all */
    uint64_t padding[3];
};

_Static_assert(sizeof(struct checkpoint_block) == 64, "on disk");

/** The payload of BEGIN. */
struct checkpoint_begin {
    struct embedded_store_snapshot snapshot;
    uint64_t filter_bytes;
    uint32_t filter_younger;
    uint32_t reserved;
    uint64_t filter_keys[REFERENCE_FILTER_GENERATIONS];
};

enum checkpoint_progress {
    CHECKPOINT_GOES_ON,
    CHECKPOINT_DONE,
    CHECKPOINT_GIVEN_UP /* the disk refused; nothing changed */
};

struct checkpoint_writer {
    struct disk *disk;
    const struct order_table *table;
    const struct reference_filter *filter;
    struct embedded_store_snapshot snapshot;
    struct disk_file *file; /* owned while one is being written */
    uint64_t offset;        /* of what the buffer begins with */
    uint64_t table_cursor;
    uint64_t filter_at;
    uint64_t order_count;
    uint32_t block_number;
    uint32_t phase;           /* enum checkpoint_block_kind of the next block */
    size_t payload_bytes_max; /* of a block of orders or of the filter */
    char *buffer;             /* owned: what is carried, and one block behind it */
    size_t carried_bytes;     /* of blocks before, less than the disk's block */
    uint64_t *ids;            /* owned: hot orders of the slice */
    bool *found;              /* owned: those of them that are still there */
    size_t id_count;
};

/** @param block_bytes payload of a block. False where memory is short. */
MUST_CHECK bool checkpoint_writer_init(struct checkpoint_writer *writer, struct disk *disk,
                                       const struct order_table *table,
                                       const struct reference_filter *filter, size_t block_bytes);
void checkpoint_writer_deinit(struct checkpoint_writer *writer);

/** Begins a checkpoint for the state of `snapshot`. */
MUST_CHECK enum checkpoint_progress
checkpoint_write_begin(struct checkpoint_writer *writer,
                       const struct embedded_store_snapshot *snapshot, struct fault *fault);

/** Writes the next block. On DONE the checkpoint is durable under its name. */
MUST_CHECK enum checkpoint_progress checkpoint_write_step(struct checkpoint_writer *writer,
                                                          struct fault *fault);

/** Stops in the middle and removes what was written. */
void checkpoint_write_abandon(struct checkpoint_writer *writer);

void checkpoint_name(uint64_t sequence, char name[CHECKPOINT_NAME_MAX]);
MUST_CHECK bool checkpoint_sequence(const char *name, uint64_t *sequence);

/** Removes every checkpoint older than `sequence`, and what a crash left half-written. */
MUST_CHECK enum disk_status checkpoint_remove_older(struct disk *disk, uint64_t sequence,
                                                    struct fault *fault);

/** Who receives a checkpoint that is read. Each returns false to stop, with its reason in the
 *  fault. */
struct checkpoint_visitor {
    bool (*begin)(struct checkpoint_visitor *visitor, const struct checkpoint_begin *begin,
                  struct fault *fault);
    bool (*orders)(struct checkpoint_visitor *visitor, const struct order_record *orders,
                   size_t count, struct fault *fault);
    bool (*filter)(struct checkpoint_visitor *visitor, uint64_t position, const void *bytes,
                   size_t size, struct fault *fault);
};

/** Reads checkpoint `sequence` whole. False, naming file and offset, where it is damaged or the
 *  visitor stopped. */
MUST_CHECK bool checkpoint_read(struct disk *disk, uint64_t sequence,
                                struct checkpoint_visitor *visitor, struct fault *fault);

#endif
