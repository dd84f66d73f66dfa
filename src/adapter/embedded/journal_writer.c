#include "adapter/embedded/journal_writer.h"

#include <stdlib.h>

bool journal_writer_init(struct journal_writer *writer, struct disk *disk,
                         struct segment_supply *supply, struct segment_list *segments,
                         uint64_t next_sequence, uint64_t next_change, size_t frame_bytes_max) {
    *writer = (struct journal_writer){
        .disk = disk,
        .supply = supply,
        .segments = segments,
        .next_sequence = next_sequence,
        .next_change = next_change,
        .frame_bytes_max = frame_bytes_max,
    };
    writer->frame = aligned_alloc(JOURNAL_BLOCK_BYTES, frame_bytes_max);
    return writer->frame != NULL;
}

void journal_writer_deinit(struct journal_writer *writer) {
    if (writer->file != NULL) {
        writer->disk->ops->close(writer->disk, writer->file);
    }
    free(writer->frame);
}

/** Lets the supply know how soon the next segment is needed. */
static void tell_use(struct journal_writer *writer) {
    uint64_t thousandths = writer->offset * 1000 / writer->segment_bytes;
    atomic_store_explicit(&writer->supply->used_thousandths, (uint32_t)thousandths,
                          memory_order_relaxed);
}

enum disk_status journal_writer_resume(struct journal_writer *writer, uint64_t segment,
                                       uint64_t segment_bytes, uint64_t offset,
                                       struct fault *fault) {
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(segment, name);
    enum disk_status status =
        writer->disk->ops->open(writer->disk, name, DISK_WRITE_DURABLE, &writer->file, fault);
    if (status == DISK_OK) {
        writer->segment = segment;
        writer->segment_bytes = segment_bytes;
        writer->offset = offset;
        tell_use(writer);
    }
    return status;
}

static uint64_t room_left(const struct journal_writer *writer) {
    return writer->file == NULL ? 0 : writer->segment_bytes - writer->offset;
}

/** Goes on in the next segment, if one is ready and can be noted. */
static bool roll(struct journal_writer *writer) {
    struct ready_segment next;
    if (!segment_supply_take(writer->supply, &next)) {
        return false;
    }
    struct segment_entry entry = {
        .number = next.number,
        .size_bytes = next.size_bytes,
        .first_sequence = writer->next_sequence,
        .first_change = writer->next_change,
    };
    if (!segment_list_add(writer->segments, entry)) {
        writer->disk->ops->close(writer->disk, next.file);
        return false;
    }
    if (writer->file != NULL) {
        writer->disk->ops->close(writer->disk, writer->file);
    }
    writer->file = next.file;
    writer->segment = next.number;
    writer->segment_bytes = next.size_bytes;
    writer->offset = JOURNAL_BLOCK_BYTES;
    tell_use(writer);
    return true;
}

enum journal_room journal_writer_prepare(struct journal_writer *writer) {
    bool working = segment_supply_state(writer->supply) == SEGMENT_SUPPLY_WORKING;
    if (room_left(writer) < writer->frame_bytes_max && !roll(writer)) {
        return working ? JOURNAL_ROOM_LATER : JOURNAL_ROOM_NONE;
    }
    bool more = working || segment_supply_is_ready(writer->supply);
    return more || room_left(writer) >= 2 * writer->frame_bytes_max ? JOURNAL_ROOM_ANY
                                                                    : JOURNAL_ROOM_NO_CREATES;
}

enum disk_status journal_writer_append(struct journal_writer *writer, uint32_t record_count,
                                       uint32_t release_count,
                                       const struct journal_release *releases, int64_t time_us,
                                       size_t *bytes, struct fault *fault) {
    struct journal_frame_header header = {
        .segment = writer->segment,
        .sequence = writer->next_sequence,
        .first_change = writer->next_change,
        .time_us = time_us,
        .record_count = record_count,
        .release_count = release_count,
    };
    *bytes = journal_frame_seal(writer->frame, header, releases);
    enum disk_status status = writer->disk->ops->write(writer->disk, writer->file, writer->frame,
                                                       *bytes, writer->offset, fault);
    if (status == DISK_OK) {
        writer->offset += *bytes;
        writer->next_sequence++;
        writer->next_change += record_count;
        tell_use(writer);
    }
    return status;
}
