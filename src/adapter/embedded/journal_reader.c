#include "adapter/embedded/journal_reader.h"

#include <stdlib.h>

bool journal_reader_init(struct journal_reader *reader, struct disk *disk) {
    *reader = (struct journal_reader){.disk = disk};
    reader->buffer = aligned_alloc(JOURNAL_BLOCK_BYTES, JOURNAL_FRAME_BYTES_MAX);
    return reader->buffer != NULL;
}

static void close_file(struct journal_reader *reader) {
    if (reader->file != NULL) {
        reader->disk->ops->close(reader->disk, reader->file);
        reader->file = NULL;
    }
}

void journal_reader_deinit(struct journal_reader *reader) {
    if (reader->disk == NULL) {
        return; /* never initialised */
    }
    close_file(reader);
    free(reader->buffer);
    reader->buffer = NULL;
}

/** Reads up to `size` bytes at `offset` into the buffer. */
static bool read_at(struct journal_reader *reader, uint64_t offset, size_t size, size_t *got,
                    struct fault *fault) {
    return reader->disk->ops->read(reader->disk, reader->file, reader->buffer, size, offset, got,
                                   fault) == DISK_OK;
}

bool journal_reader_open(struct journal_reader *reader, uint64_t number, struct fault *fault) {
    close_file(reader);
    journal_segment_name(number, reader->name);
    if (reader->disk->ops->open(reader->disk, reader->name, DISK_READ, &reader->file, fault) !=
        DISK_OK) {
        return false;
    }
    size_t got;
    if (!read_at(reader, 0, JOURNAL_BLOCK_BYTES, &got, fault)) {
        return false;
    }
    if (got < JOURNAL_BLOCK_BYTES ||
        !journal_segment_header_read(reader->buffer, number, &reader->size_bytes)) {
        fault_set(fault, "%s: offset 0: damaged: no segment header", reader->name);
        return false;
    }
    uint64_t file_bytes;
    if (reader->disk->ops->size(reader->disk, reader->file, &file_bytes, fault) != DISK_OK) {
        return false;
    }
    if (file_bytes < reader->size_bytes) {
        fault_set(fault, "%s: offset %llu: damaged: the file ends here, %llu bytes were made",
                  reader->name, (unsigned long long)file_bytes,
                  (unsigned long long)reader->size_bytes);
        return false;
    }
    reader->segment = number;
    reader->offset = JOURNAL_BLOCK_BYTES;
    return true;
}

/** Reads the frame at `offset` into the buffer, if one with at least that sequence is there. */
static enum journal_read read_frame(struct journal_reader *reader, uint64_t offset,
                                    uint64_t sequence_min, struct journal_frame_header *header,
                                    struct fault *fault) {
    size_t got;
    if (offset + JOURNAL_BLOCK_BYTES > reader->size_bytes) {
        return JOURNAL_READ_END;
    }
    if (!read_at(reader, offset, JOURNAL_BLOCK_BYTES, &got, fault)) {
        return JOURNAL_READ_FAILED;
    }
    memcpy(header, reader->buffer, sizeof(*header));
    if (got < JOURNAL_BLOCK_BYTES ||
        !journal_frame_is_plausible(header, reader->segment, sequence_min)) {
        return JOURNAL_READ_END;
    }
    size_t size = journal_frame_bytes(header->record_count, header->release_count);
    if (offset + size > reader->size_bytes) {
        return JOURNAL_READ_END;
    }
    if (!read_at(reader, offset, size, &got, fault)) {
        return JOURNAL_READ_FAILED;
    }
    /* The segment may be in use again since the first look, and a frame of its new life stand here.
     */
    bool same = got >= sizeof(*header) && memcmp(header, reader->buffer, sizeof(*header)) == 0;
    return same && journal_frame_is_intact(reader->buffer, got) ? JOURNAL_READ_FRAME
                                                                : JOURNAL_READ_END;
}

/** Looks for an intact frame behind `offset`. As one is only begun when those before it are
 *  durable, it proves that what is missing was there. */
static enum journal_read search_later_frame(struct journal_reader *reader, uint64_t sequence_min,
                                            struct fault *fault) {
    for (uint64_t offset = reader->offset + JOURNAL_BLOCK_BYTES;
         offset + JOURNAL_BLOCK_BYTES <= reader->size_bytes; offset += JOURNAL_BLOCK_BYTES) {
        struct journal_frame_header header;
        enum journal_read read = read_frame(reader, offset, sequence_min, &header, fault);
        if (read == JOURNAL_READ_FAILED) {
            return read;
        }
        if (read == JOURNAL_READ_FRAME) {
            fault_set(fault,
                      "%s: offset %llu: damaged: no valid frame here, but one at offset %llu",
                      reader->name, (unsigned long long)reader->offset, (unsigned long long)offset);
            return JOURNAL_READ_DAMAGED;
        }
    }
    return JOURNAL_READ_END;
}

enum journal_read journal_reader_next(struct journal_reader *reader, uint64_t next_sequence,
                                      struct journal_frame *frame, struct fault *fault) {
    enum journal_read read =
        read_frame(reader, reader->offset, next_sequence, &frame->header, fault);
    if (read == JOURNAL_READ_END && reader->proves_end) {
        return search_later_frame(reader, next_sequence, fault);
    }
    if (read != JOURNAL_READ_FRAME) {
        return read;
    }
    if (next_sequence != 0 && frame->header.sequence != next_sequence) {
        fault_set(fault, "%s: offset %llu: damaged: frame %llu stands where %llu was expected",
                  reader->name, (unsigned long long)reader->offset,
                  (unsigned long long)frame->header.sequence, (unsigned long long)next_sequence);
        return JOURNAL_READ_DAMAGED;
    }
    frame->offset = reader->offset;
    frame->records = (const struct order_record *)(reader->buffer + JOURNAL_FRAME_HEADER_BYTES);
    frame->releases =
        (const struct journal_release *)(reader->buffer +
                                         journal_frame_payload_end(frame->header.record_count, 0));
    reader->offset += journal_frame_bytes(frame->header.record_count, frame->header.release_count);
    return JOURNAL_READ_FRAME;
}

bool journal_reader_is_torn(struct journal_reader *reader) {
    size_t got;
    struct fault fault;
    struct journal_frame_header header;
    if (reader->offset + JOURNAL_BLOCK_BYTES > reader->size_bytes ||
        !read_at(reader, reader->offset, JOURNAL_BLOCK_BYTES, &got, &fault) ||
        got < JOURNAL_BLOCK_BYTES) {
        return false;
    }
    memcpy(&header, reader->buffer, sizeof(header));
    return header.magic != 0 && header.segment == reader->segment;
}
