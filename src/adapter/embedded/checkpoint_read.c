#include "adapter/embedded/checkpoint.h"
#include "adapter/embedded/checkpoint_format.h"

#include <stdlib.h>

#define BLOCK_BYTES_MAX (sizeof(struct checkpoint_block) + CHECKPOINT_BLOCK_BYTES_MAX)

struct checkpoint_reader {
    struct disk *disk;
    struct disk_file *file;
    char name[CHECKPOINT_NAME_MAX];
    uint64_t sequence;
    uint64_t offset;
    uint32_t block_number;
    uint64_t order_count;
    char *buffer;
    struct checkpoint_visitor *visitor;
};

static bool damaged(const struct checkpoint_reader *reader, const char *what, struct fault *fault) {
    fault_set(fault, "%s: offset %llu: damaged: %s", reader->name,
              (unsigned long long)reader->offset, what);
    return false;
}

/** Reads and checks the block at the present offset. */
static bool read_block(struct checkpoint_reader *reader, struct checkpoint_block *block,
                       struct fault *fault) {
    struct disk *disk = reader->disk;
    size_t got;
    if (disk->ops->read(disk, reader->file, reader->buffer, BLOCK_BYTES_MAX, reader->offset, &got,
                        fault) != DISK_OK) {
        return false;
    }
    if (got < sizeof(*block)) {
        return damaged(reader, "the file ends before its last block", fault);
    }
    memcpy(block, reader->buffer, sizeof(*block));
    if (block->magic != CHECKPOINT_MAGIC || block->sequence != reader->sequence ||
        block->number != reader->block_number || block->payload_bytes > got - sizeof(*block)) {
        return damaged(reader, "no block of this checkpoint", fault);
    }
    if (block->crc != checkpoint_block_crc(reader->buffer, sizeof(*block) + block->payload_bytes)) {
        return damaged(reader, "wrong checksum", fault);
    }
    return true;
}

static bool take_begin(struct checkpoint_reader *reader, const struct checkpoint_block *block,
                       const char *payload, struct fault *fault) {
    struct checkpoint_begin begin;
    if (block->payload_bytes != sizeof(begin)) {
        return damaged(reader, "a first block of another size", fault);
    }
    memcpy(&begin, payload, sizeof(begin));
    if (begin.snapshot.sequence != reader->sequence ||
        begin.filter_younger >= REFERENCE_FILTER_GENERATIONS) {
        return damaged(reader, "a first block that contradicts itself", fault);
    }
    return reader->visitor->begin(reader->visitor, &begin, fault);
}

static bool take_orders(struct checkpoint_reader *reader, const struct checkpoint_block *block,
                        const char *payload, struct fault *fault) {
    const struct order_record *orders = (const struct order_record *)payload;
    size_t count = block->payload_bytes / ORDER_RECORD_BYTES;
    for (size_t i = 0; i < count; i++) {
        enum order_record_fault wrong = order_record_check(&orders[i]);
        if (wrong != ORDER_RECORD_VALID) {
            fault_set(fault, "%s: offset %llu: damaged: order %zu of the block: wrong %s",
                      reader->name, (unsigned long long)reader->offset, i,
                      order_record_fault_name(wrong));
            return false;
        }
    }
    reader->order_count += count;
    return block->payload_bytes % ORDER_RECORD_BYTES == 0
               ? reader->visitor->orders(reader->visitor, orders, count, fault)
               : damaged(reader, "half an order", fault);
}

/** Gives one block to the visitor. Sets `*last` after END. */
static bool take_block(struct checkpoint_reader *reader, const struct checkpoint_block *block,
                       bool *last, struct fault *fault) {
    const char *payload = reader->buffer + sizeof(*block);
    bool first = reader->block_number == 0;
    if (first != (block->kind == CHECKPOINT_BEGIN)) {
        return damaged(reader, "blocks in the wrong order", fault);
    }
    switch (block->kind) {
    case CHECKPOINT_BEGIN:
        return take_begin(reader, block, payload, fault);
    case CHECKPOINT_ORDERS:
        return take_orders(reader, block, payload, fault);
    case CHECKPOINT_FILTER:
        return reader->visitor->filter(reader->visitor, block->position, payload,
                                       block->payload_bytes, fault);
    case CHECKPOINT_END:
        *last = true;
        return block->position == reader->order_count || damaged(reader, "orders missing", fault);
    default:
        return damaged(reader, "a block of an unknown kind", fault);
    }
}

static bool read_blocks(struct checkpoint_reader *reader, struct fault *fault) {
    bool last = false;
    while (!last) {
        struct checkpoint_block block;
        if (!read_block(reader, &block, fault) || !take_block(reader, &block, &last, fault)) {
            return false;
        }
        reader->offset += sizeof(block) + block.payload_bytes;
        reader->block_number++;
    }
    return true;
}

bool checkpoint_read(struct disk *disk, uint64_t sequence, struct checkpoint_visitor *visitor,
                     struct fault *fault) {
    struct checkpoint_reader reader = {.disk = disk, .sequence = sequence, .visitor = visitor};
    checkpoint_name(sequence, reader.name);
    if (disk->ops->open(disk, reader.name, DISK_READ, &reader.file, fault) != DISK_OK) {
        return false;
    }
    reader.buffer = malloc(BLOCK_BYTES_MAX);
    if (reader.buffer == NULL) {
        fault_set(fault, "%s: no memory to read it", reader.name);
        disk->ops->close(disk, reader.file);
        return false;
    }
    bool read = read_blocks(&reader, fault);
    free(reader.buffer);
    disk->ops->close(disk, reader.file);
    return read;
}
