#include "adapter/embedded/embedded_change_log.h"

static struct embedded_change_log *log_of(struct change_log *log) {
    return (struct embedded_change_log *)log;
}

/** Numbers what was read, and moves the cursor behind it. */
static void conclude(struct change_read_batch *batch, uint64_t from) {
    for (size_t i = 0; i < batch->count; i++) {
        batch->positions[i] = from + i;
        batch->parts[i] = 0;
    }
    if (batch->count > 0) {
        batch->after.positions[0] = from + batch->count - 1;
    }
    batch->result = CHANGE_READ_OK;
    port_complete(&batch->request);
}

static void refuse(struct change_read_batch *batch, enum change_read_result result) {
    batch->count = 0;
    batch->result = result;
    port_complete(&batch->request);
}

static enum port_submit read_changes(struct change_log *port, struct change_read_batch *batch) {
    struct embedded_change_log *log = log_of(port);
    uint64_t from = batch->after.positions[0] + 1;
    if (from > change_tail_next(log->store->tail) || batch->after.positions[0] == UINT64_MAX) {
        refuse(batch, CHANGE_READ_INVALID);
        return PORT_TAKEN;
    }
    /* Position 0 means the oldest that is kept, which the segments know. */
    if (batch->after.positions[0] > 0 &&
        change_tail_read(log->store->tail, from, batch->limit, batch->orders, &batch->count)) {
        conclude(batch, from);
        return PORT_TAKEN;
    }
    batch->request.operation = CHANGE_LOG_READ;
    return mailbox_send(log->reads, batch) ? PORT_TAKEN : PORT_BUSY;
}

static void newest(struct change_log *port, struct change_cursor *cursor) {
    *cursor = (struct change_cursor){.parts = 1};
    cursor->positions[0] = change_tail_next(log_of(port)->store->tail) - 1;
}

static void watch(struct change_log *port, struct change_watch *watch) {
    struct embedded_store *store = log_of(port)->store;
    assert(store->watch_count < EMBEDDED_STORE_WATCHES_MAX);
    store->watches[store->watch_count++] = watch;
}

static const struct change_log_ops change_log_ops = {
    .read = read_changes,
    .newest = newest,
    .watch = watch,
};

bool embedded_change_log_init(struct embedded_change_log *log, struct embedded_store *store,
                              struct segment_list *segments, struct disk *disk,
                              struct mailbox *reads) {
    *log = (struct embedded_change_log){
        .log = {&change_log_ops},
        .store = store,
        .segments = segments,
        .reads = reads,
    };
    return journal_reader_init(&log->reader, disk);
}

void embedded_change_log_deinit(struct embedded_change_log *log) {
    journal_reader_deinit(&log->reader);
}

static const struct change_place *find_place(const struct embedded_change_log *log,
                                             uint64_t change) {
    for (size_t i = 0; i < CHANGE_LOG_PLACES; i++) {
        if (log->places[i].change == change) {
            return &log->places[i];
        }
    }
    return NULL;
}

static void note_place(struct embedded_change_log *log, struct change_place place) {
    log->places[log->next_place] = place;
    log->next_place = (log->next_place + 1) % CHANGE_LOG_PLACES;
}

/** Copies what the frame has from change `from` on. */
static void take_frame(struct change_read_batch *batch, const struct journal_frame *frame,
                       uint64_t from) {
    uint64_t first = frame->header.first_change;
    uint64_t end = first + frame->header.record_count;
    uint64_t next = from + batch->count;
    while (next < end && next >= first && batch->count < batch->limit) {
        batch->orders[batch->count++] = frame->records[next - first];
        next++;
    }
}

/** Opens the segment where change `from` is, and stands before its frame where that is known. */
static bool open_at(struct embedded_change_log *log, uint64_t from, struct segment_entry *entry,
                    struct fault *fault) {
    const struct change_place *place = find_place(log, from);
    if (!segment_list_find_change(log->segments, from, entry) ||
        !journal_reader_open(&log->reader, entry->number, fault)) {
        return false;
    }
    if (place != NULL && place->segment == entry->number) {
        journal_reader_seek(&log->reader, place->offset);
    }
    return true;
}

/** Reads on through the segments until the batch is full or `end` is reached. False where a segment
 *  went away meanwhile. */
static bool read_segments(struct embedded_change_log *log, struct change_read_batch *batch,
                          uint64_t from, uint64_t end) {
    struct fault fault;
    struct segment_entry entry;
    if (!open_at(log, from, &entry, &fault)) {
        return false;
    }
    while (batch->count < batch->limit && from + batch->count < end) {
        struct journal_frame frame;
        uint64_t offset = log->reader.offset;
        if (journal_reader_next(&log->reader, 0, &frame, &fault) == JOURNAL_READ_FRAME) {
            if (frame.header.first_change > from + batch->count) {
                return batch->count > 0; /* what comes between was used again meanwhile */
            }
            take_frame(batch, &frame, from);
            uint64_t next = from + batch->count;
            bool whole = next >= frame.header.first_change + frame.header.record_count;
            note_place(log, (struct change_place){next, entry.number,
                                                  whole ? log->reader.offset : offset});
        } else if (!segment_list_after(log->segments, entry.number, &entry) ||
                   !journal_reader_open(&log->reader, entry.number, &fault)) {
            return batch->count > 0;
        }
    }
    return true;
}

void embedded_change_log_read_journal(struct embedded_change_log *log,
                                      struct change_read_batch *batch) {
    struct segment_entry oldest;
    uint64_t end = change_tail_next(log->store->tail);
    uint64_t from = batch->after.positions[0] + 1;
    uint64_t first_kept = end;
    batch->count = 0;
    if (segment_list_oldest(log->segments, &oldest)) {
        first_kept = oldest.first_change;
    }
    if (batch->after.positions[0] == 0) {
        from = first_kept;
    } else if (from < first_kept) {
        refuse(batch, CHANGE_READ_GONE);
        return;
    }
    if (from < end && !read_segments(log, batch, from, end)) {
        /* The oldest segment went while it was read; the client asks again and is told. */
        refuse(batch, CHANGE_READ_UNAVAILABLE);
        return;
    }
    if (batch->count == 0) {
        batch->after.positions[0] = from - 1;
    }
    conclude(batch, from);
}
