#include "adapter/embedded/checkpoint.h"
#include "adapter/embedded/checkpoint_format.h"

#include <stdio.h>
#include <stdlib.h>

/* A checkpoint goes past the page cache, as the journal does: what is read only after a crash would
 * push out what is needed, and cost a copy and, on most machines, the zeroing of new pages. So it
 * is written in whole blocks of the disk: what is beyond the last of them is carried to the next
 * write, and the last block ends with zeroes. */

#define SYNC_EVERY_BYTES ((uint64_t)16 << 20)

/** A bucket of the RAM table's index holds at most this many. */
#define ORDERS_PER_BUCKET 4
_Static_assert(CHECKPOINT_BLOCK_BYTES_MIN == ORDERS_PER_BUCKET * ORDER_RECORD_BYTES, "one bucket");
_Static_assert(sizeof(struct checkpoint_begin) <= CHECKPOINT_BLOCK_BYTES_MAX &&
                   DISK_BLOCK_BYTES <= CHECKPOINT_BLOCK_BYTES_MAX,
               "the reader's buffer");

static const char writing_name[] = "checkpoint.writing";
static const char name_prefix[] = "checkpoint-";
static const char name_suffix[] = ".ckp";
#define NUMBER_DIGITS 20

bool checkpoint_writer_init(struct checkpoint_writer *writer, struct disk *disk,
                            const struct order_table *table, const struct reference_filter *filter,
                            size_t block_bytes) {
    size_t orders = block_bytes / ORDER_RECORD_BYTES;
    size_t payload_bytes = bytes_max_u64(block_bytes, sizeof(struct checkpoint_begin));
    *writer = (struct checkpoint_writer){
        .disk = disk,
        .table = table,
        .filter = filter,
        .payload_bytes_max = block_bytes,
        .buffer = aligned_alloc(
            DISK_BLOCK_BYTES,
            bytes_align_up(DISK_BLOCK_BYTES + sizeof(struct checkpoint_block) + payload_bytes,
                           DISK_BLOCK_BYTES)),
        .ids = calloc(orders, sizeof(*writer->ids)),
        .found = calloc(orders, sizeof(*writer->found)),
    };
    return writer->buffer != NULL && writer->ids != NULL && writer->found != NULL;
}

static void close_file(struct checkpoint_writer *writer) {
    if (writer->file != NULL) {
        writer->disk->ops->close(writer->disk, writer->file);
        writer->file = NULL;
    }
}

void checkpoint_writer_deinit(struct checkpoint_writer *writer) {
    close_file(writer);
    free(writer->buffer);
    free(writer->ids);
    free(writer->found);
}

void checkpoint_write_abandon(struct checkpoint_writer *writer) {
    struct fault ignored;
    close_file(writer);
    (void)writer->disk->ops->remove(writer->disk, writing_name, &ignored);
}

void checkpoint_name(uint64_t sequence, char name[CHECKPOINT_NAME_MAX]) {
    (void)snprintf(name, CHECKPOINT_NAME_MAX, "%s%0*llu%s", name_prefix, NUMBER_DIGITS,
                   (unsigned long long)sequence, name_suffix);
}

bool checkpoint_sequence(const char *name, uint64_t *sequence) {
    char again[CHECKPOINT_NAME_MAX];
    size_t prefix = sizeof(name_prefix) - 1;
    if (strncmp(name, name_prefix, prefix) != 0) {
        return false;
    }
    *sequence = strtoull(name + prefix, NULL, 10);
    checkpoint_name(*sequence, again);
    return strcmp(name, again) == 0;
}

_Static_assert(sizeof(struct checkpoint_block) % 8 == 0 && sizeof(struct checkpoint_begin) % 8 == 0,
               "records behind any run of blocks are aligned");

static char *block_of(struct checkpoint_writer *writer) {
    return writer->buffer + writer->carried_bytes;
}

static char *payload_of(struct checkpoint_writer *writer) {
    return block_of(writer) + sizeof(struct checkpoint_block);
}

/** Writes the whole blocks of the disk among the first `filled` bytes of the buffer, and carries
 * the rest. */
static enum disk_status write_whole(struct checkpoint_writer *writer, size_t filled,
                                    struct fault *fault) {
    size_t size = filled / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    if (size > 0) {
        enum disk_status status = writer->disk->ops->write(
            writer->disk, writer->file, writer->buffer, size, writer->offset, fault);
        if (status != DISK_OK) {
            return status;
        }
    }
    writer->carried_bytes = filled - size;
    memmove(writer->buffer, writer->buffer + size, writer->carried_bytes);
    /* A little at a time, so that the journal's own writes do not wait behind all of it. */
    bool sync = writer->offset / SYNC_EVERY_BYTES != (writer->offset + size) / SYNC_EVERY_BYTES;
    writer->offset += size;
    return sync ? writer->disk->ops->sync(writer->disk, writer->file, fault) : DISK_OK;
}

/** Writes the block whose payload stands in the buffer. */
static enum disk_status write_block(struct checkpoint_writer *writer, uint32_t kind,
                                    size_t payload_bytes, uint64_t position, struct fault *fault) {
    struct checkpoint_block header = {
        .magic = CHECKPOINT_MAGIC,
        .sequence = writer->snapshot.sequence,
        .number = writer->block_number++,
        .kind = kind,
        .payload_bytes = (uint32_t)payload_bytes,
        .position = position,
    };
    size_t size = sizeof(header) + payload_bytes;
    memcpy(block_of(writer), &header, sizeof(header));
    header.crc = checkpoint_block_crc(block_of(writer), size);
    memcpy(block_of(writer), &header, sizeof(header));
    return write_whole(writer, writer->carried_bytes + size, fault);
}

static enum disk_status write_begin(struct checkpoint_writer *writer, struct fault *fault) {
    const struct reference_filter *filter = writer->filter;
    struct checkpoint_begin begin = {
        .snapshot = writer->snapshot,
        .filter_bytes = reference_filter_bytes(filter),
        .filter_younger = atomic_load_explicit(&filter->younger, memory_order_relaxed),
    };
    for (size_t i = 0; i < REFERENCE_FILTER_GENERATIONS; i++) {
        begin.filter_keys[i] = atomic_load_explicit(&filter->keys[i], memory_order_relaxed);
    }
    memcpy(payload_of(writer), &begin, sizeof(begin));
    writer->phase = CHECKPOINT_ORDERS;
    return write_block(writer, CHECKPOINT_BEGIN, sizeof(begin), 0, fault);
}

static void note_hot(void *context, const struct order_table_entry *entry) {
    struct checkpoint_writer *writer = context;
    if (!entry->evictable) {
        writer->ids[writer->id_count++] = entry->order_id;
    }
}

static enum disk_status write_orders(struct checkpoint_writer *writer, struct fault *fault) {
    struct order_record *orders = (struct order_record *)payload_of(writer);
    uint64_t buckets = writer->payload_bytes_max / (ORDERS_PER_BUCKET * ORDER_RECORD_BYTES);
    writer->id_count = 0;
    order_table_scan(writer->table, &writer->table_cursor, buckets, note_hot, writer);
    (void)order_table_get_many(writer->table, writer->ids, writer->id_count, orders, writer->found);
    size_t count = 0;
    for (size_t i = 0; i < writer->id_count; i++) {
        /* One that has left meanwhile is in the archive, and its release behind our position. */
        if (writer->found[i]) {
            orders[count++] = orders[i];
        }
    }
    if (writer->table_cursor == 0) {
        writer->phase = CHECKPOINT_FILTER;
    }
    writer->order_count += count;
    return count == 0
               ? DISK_OK
               : write_block(writer, CHECKPOINT_ORDERS, count * ORDER_RECORD_BYTES, 0, fault);
}

/** Copies the filter as it is now. After the orders: a reference whose order left the table before
 *  it was copied there is in the filter by now. */
static enum disk_status write_filter(struct checkpoint_writer *writer, struct fault *fault) {
    size_t line_bytes = sizeof(struct reference_filter_line);
    uint64_t first = writer->filter_at / line_bytes;
    uint64_t count =
        bytes_min_u64(writer->payload_bytes_max / line_bytes, writer->filter->line_count - first);
    uint32_t *words = (uint32_t *)payload_of(writer);
    size_t at = 0;
    for (uint64_t line = first; line < first + count; line++) {
        const _Atomic uint32_t *from = &writer->filter->lines[line].words[0][0];
        for (size_t word = 0; word < line_bytes / sizeof(uint32_t); word++) {
            words[at++] = atomic_load_explicit(&from[word], memory_order_relaxed);
        }
    }
    uint64_t position = writer->filter_at;
    writer->filter_at += count * line_bytes;
    if (writer->filter_at == reference_filter_bytes(writer->filter)) {
        writer->phase = CHECKPOINT_END;
    }
    return write_block(writer, CHECKPOINT_FILTER, count * line_bytes, position, fault);
}

static enum disk_status write_end(struct checkpoint_writer *writer, struct fault *fault) {
    struct disk *disk = writer->disk;
    char name[CHECKPOINT_NAME_MAX];
    /* The zeroes are the block's own: a wrong bit in them is found as any other. */
    size_t filled = writer->carried_bytes + sizeof(struct checkpoint_block);
    size_t zeroes = bytes_align_up(filled, DISK_BLOCK_BYTES) - filled;
    memset(payload_of(writer), 0, zeroes);
    enum disk_status status =
        write_block(writer, CHECKPOINT_END, zeroes, writer->order_count, fault);
    if (status == DISK_OK) {
        status = disk->ops->sync(disk, writer->file, fault);
    }
    close_file(writer);
    if (status == DISK_OK) {
        checkpoint_name(writer->snapshot.sequence, name);
        status = disk->ops->rename(disk, writing_name, name, fault);
    }
    if (status == DISK_OK) {
        status = disk->ops->sync_directory(disk, fault);
    }
    writer->phase = 0;
    return status;
}

enum checkpoint_progress checkpoint_write_begin(struct checkpoint_writer *writer,
                                                const struct embedded_store_snapshot *snapshot,
                                                struct fault *fault) {
    struct disk *disk = writer->disk;
    struct fault ignored;
    writer->snapshot = *snapshot;
    writer->offset = 0;
    writer->carried_bytes = 0;
    writer->table_cursor = 0;
    writer->filter_at = 0;
    writer->order_count = 0;
    writer->block_number = 0;
    (void)disk->ops->remove(disk, writing_name, &ignored);
    if (disk->ops->open(disk, writing_name, DISK_CREATE_BLOCKS, &writer->file, fault) != DISK_OK ||
        write_begin(writer, fault) != DISK_OK) {
        checkpoint_write_abandon(writer);
        return CHECKPOINT_GIVEN_UP;
    }
    return CHECKPOINT_GOES_ON;
}

enum checkpoint_progress checkpoint_write_step(struct checkpoint_writer *writer,
                                               struct fault *fault) {
    enum disk_status status = DISK_FAILED;
    switch (writer->phase) {
    case CHECKPOINT_ORDERS:
        status = write_orders(writer, fault);
        break;
    case CHECKPOINT_FILTER:
        status = write_filter(writer, fault);
        break;
    case CHECKPOINT_END:
        status = write_end(writer, fault);
        break;
    default:
        assert(!"a step without a begin");
    }
    if (status != DISK_OK) {
        checkpoint_write_abandon(writer);
        return CHECKPOINT_GIVEN_UP;
    }
    return writer->phase == 0 ? CHECKPOINT_DONE : CHECKPOINT_GOES_ON;
}

/** Collects what there is to remove; a directory is not changed while it is listed. */
struct removal {
    uint64_t before;
    uint64_t found[64];
    size_t count;
    bool half_written;
};

static void collect_older(void *context, const char *name) {
    struct removal *removal = context;
    uint64_t sequence;
    removal->half_written |= strcmp(name, writing_name) == 0;
    if (checkpoint_sequence(name, &sequence) && sequence < removal->before &&
        removal->count < ARRAY_COUNT(removal->found)) {
        removal->found[removal->count++] = sequence;
    }
}

enum disk_status checkpoint_remove_older(struct disk *disk, uint64_t sequence,
                                         struct fault *fault) {
    struct removal removal = {.before = sequence};
    enum disk_status status = disk->ops->list(disk, collect_older, &removal, fault);
    if (status == DISK_OK && removal.half_written) {
        status = disk->ops->remove(disk, writing_name, fault);
    }
    for (size_t i = 0; i < removal.count && status == DISK_OK; i++) {
        char name[CHECKPOINT_NAME_MAX];
        checkpoint_name(removal.found[i], name);
        status = disk->ops->remove(disk, name, fault);
    }
    return status;
}
