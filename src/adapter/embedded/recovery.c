#include "adapter/embedded/recovery.h"

#include "adapter/embedded/release_set.h"

#include <stdlib.h>

#define APPLY_AHEAD 16
#define FILES_MAX 65536

/** The run of a recovery. */
struct run {
    struct recovery *recovery;
    struct recovery_result *result;
    struct journal_reader reader;
    struct checkpoint_visitor visitor;
    uint64_t *segments; /* owned: numbers of the files, ascending */
    size_t segment_count;
    size_t segment_capacity;
    size_t forgotten_count;   /* of `segments`, those that the change log begins behind */
    size_t used_count;        /* of `segments`, those before the empty ones at the end */
    uint64_t last_sequence;   /* of the frames that were read */
    struct release_set *left; /* orders that left behind the checkpoint; NULL: not asked */
    uint64_t frame_offset;    /* of the frame that was read last */
    bool table_full;
    bool filter_loaded;
    bool out_of_memory;
};

/* --- Applying what was stored. --- */

static void apply_time(struct run *run, int64_t time_us) {
    if (time_us > run->result->newest_time_us) {
        run->result->newest_time_us = time_us;
    }
}

static bool apply_order(struct run *run, const struct order_record *order, uint64_t hash,
                        struct fault *fault) {
    order_id_generator_observe(run->recovery->ids, order->order_id);
    apply_time(run, order->updated_at_us);
    if (run->left != NULL && release_set_contains(run->left, order->order_id)) {
        return true;
    }
    if (order_table_put(run->recovery->table, order, hash, false) == ORDER_TABLE_FULL) {
        run->table_full = true;
        fault_set(fault, "memory.budget_mb is too small for the hot orders that are stored");
        return false;
    }
    return true;
}

static bool apply_orders(struct run *run, const struct order_record *orders, size_t count,
                         struct fault *fault) {
    for (size_t at = 0; at < count; at += APPLY_AHEAD) {
        uint64_t hashes[APPLY_AHEAD];
        size_t group = bytes_min_size(count - at, APPLY_AHEAD);
        for (size_t i = 0; i < group; i++) {
            hashes[i] = order_record_reference_hash(&orders[at + i]);
            order_table_prefetch(run->recovery->table, orders[at + i].order_id, hashes[i]);
        }
        for (size_t i = 0; i < group; i++) {
            if (!apply_order(run, &orders[at + i], hashes[i], fault)) {
                return false;
            }
        }
    }
    return true;
}

/** An order that left: it may be evicted from now on, and its reference is the archive's. */
static void apply_release(struct run *run, const struct journal_release *release) {
    struct order_record order;
    reference_filter_add(run->recovery->filter, release->reference_hash);
    if (order_table_get(run->recovery->table, release->order_id, &order)) {
        (void)order_table_release(run->recovery->table, order.order_id, order.version);
    }
}

/* --- The checkpoint. --- */

static struct run *run_of(struct checkpoint_visitor *visitor) {
    return CONTAINER_OF(visitor, struct run, visitor);
}

static bool visit_begin(struct checkpoint_visitor *visitor, const struct checkpoint_begin *begin,
                        struct fault *fault) {
    struct run *run = run_of(visitor);
    struct reference_filter *filter = run->recovery->filter;
    (void)fault;
    run->result->next_sequence = begin->snapshot.sequence + 1;
    run->result->next_change = begin->snapshot.next_change;
    run->result->filter_rotated_us = begin->snapshot.filter_rotated_us;
    apply_time(run, begin->snapshot.time_us);
    memcpy(run->recovery->ids->last, begin->snapshot.last_ids, sizeof(begin->snapshot.last_ids));
    run->filter_loaded = begin->filter_bytes == reference_filter_bytes(filter);
    if (run->filter_loaded) {
        atomic_store_explicit(&filter->younger, begin->filter_younger, memory_order_relaxed);
        for (size_t i = 0; i < REFERENCE_FILTER_GENERATIONS; i++) {
            atomic_store_explicit(&filter->keys[i], begin->filter_keys[i], memory_order_relaxed);
        }
    }
    return true;
}

static bool visit_orders(struct checkpoint_visitor *visitor, const struct order_record *orders,
                         size_t count, struct fault *fault) {
    return apply_orders(run_of(visitor), orders, count, fault);
}

static bool visit_filter(struct checkpoint_visitor *visitor, uint64_t position, const void *bytes,
                         size_t size, struct fault *fault) {
    struct run *run = run_of(visitor);
    struct reference_filter *filter = run->recovery->filter;
    if (!run->filter_loaded) {
        return true; /* of another size: built anew from the archive */
    }
    uint64_t filter_bytes = reference_filter_bytes(filter);
    if (position > filter_bytes || size > filter_bytes - position ||
        position % sizeof(uint32_t) != 0) {
        fault_set(fault, "the checkpoint's filter is larger than it says");
        return false;
    }
    memcpy((char *)filter->lines + position, bytes, size);
    return true;
}

/* --- The files. --- */

static void visit_file(void *context, const char *name) {
    struct run *run = context;
    uint64_t number;
    if (checkpoint_sequence(name, &number)) {
        run->result->checkpoint_sequence = bytes_max_u64(run->result->checkpoint_sequence, number);
    }
    if (!journal_segment_number(name, &number)) {
        return;
    }
    if (run->segment_count == run->segment_capacity) {
        run->out_of_memory = true;
        return;
    }
    run->segments[run->segment_count++] = number;
}

static int compare_numbers(const void *left, const void *right) {
    uint64_t first = *(const uint64_t *)left;
    uint64_t second = *(const uint64_t *)right;
    return first < second ? -1 : first > second ? 1 : 0;
}

static bool list_files(struct run *run, struct fault *fault) {
    struct disk *disk = run->recovery->disk;
    run->segment_capacity = FILES_MAX;
    run->segments = calloc(FILES_MAX, sizeof(*run->segments));
    if (run->segments == NULL) {
        fault_set(fault, "no memory for the list of segments");
        return false;
    }
    if (disk->ops->list(disk, visit_file, run, fault) != DISK_OK) {
        return false;
    }
    if (run->out_of_memory) {
        fault_set(fault, "more than %d journal segments", FILES_MAX);
        return false;
    }
    qsort(run->segments, run->segment_count, sizeof(*run->segments), compare_numbers);
    return true;
}

/* --- The journal. --- */

static bool check_records(const struct run *run, const struct journal_frame *frame,
                          struct fault *fault) {
    for (uint32_t i = 0; i < frame->header.record_count; i++) {
        enum order_record_fault wrong = order_record_check(&frame->records[i]);
        if (wrong != ORDER_RECORD_VALID) {
            fault_set(fault, "%s: offset %llu: damaged: order %u of the frame: wrong %s",
                      run->reader.name, (unsigned long long)frame->offset, i,
                      order_record_fault_name(wrong));
            return false;
        }
    }
    return true;
}

static bool replay_frame(struct run *run, const struct journal_frame *frame, struct fault *fault) {
    const struct journal_frame_header *header = &frame->header;
    if (!check_records(run, frame, fault)) {
        return false;
    }
    if (header->first_change != run->result->next_change) {
        fault_set(fault, "%s: offset %llu: damaged: change %llu stands where %llu was expected",
                  run->reader.name, (unsigned long long)frame->offset,
                  (unsigned long long)header->first_change,
                  (unsigned long long)run->result->next_change);
        return false;
    }
    if (!apply_orders(run, frame->records, header->record_count, fault)) {
        return false;
    }
    for (uint32_t i = 0; i < header->release_count; i++) {
        apply_release(run, &frame->releases[i]);
    }
    apply_time(run, header->time_us);
    run->result->next_sequence = header->sequence + 1;
    run->result->next_change = header->first_change + header->record_count;
    run->result->replayed_frames++;
    run->result->replayed_bytes += journal_frame_bytes(header->record_count, header->release_count);
    return true;
}

/** The first frame of the segment that the reader stands before: false where it has none. */
static enum journal_read peek_first(struct run *run, struct journal_frame_header *header,
                                    struct fault *fault) {
    struct journal_frame frame = {.offset = 0};
    run->reader.proves_end = false;
    enum journal_read read = journal_reader_next(&run->reader, 0, &frame, fault);
    run->reader.proves_end = true;
    *header = frame.header;
    journal_reader_seek(&run->reader, JOURNAL_BLOCK_BYTES);
    return read;
}

/** Passes what the checkpoint covers, then hands each frame of the segment to `take`. */
static bool walk_segment(struct run *run, uint64_t first_sequence,
                         bool (*take)(struct run *, const struct journal_frame *, struct fault *),
                         struct fault *fault) {
    uint64_t covered = run->result->checkpoint_sequence;
    uint64_t expected = first_sequence;
    for (;;) {
        struct journal_frame frame;
        switch (journal_reader_next(&run->reader, expected, &frame, fault)) {
        case JOURNAL_READ_FRAME:
            expected = frame.header.sequence + 1;
            run->frame_offset = frame.offset;
            run->last_sequence = frame.header.sequence;
            if (frame.header.sequence > covered && !take(run, &frame, fault)) {
                return false;
            }
            break;
        case JOURNAL_READ_END:
            return true;
        case JOURNAL_READ_DAMAGED:
        case JOURNAL_READ_FAILED:
            return false;
        }
    }
}

static bool is_gap(const struct run *run, uint64_t first_sequence, struct fault *fault) {
    if (first_sequence <= run->result->next_sequence) {
        return false;
    }
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(run->result->segment, name);
    fault_set(fault,
              "%s: offset %llu: damaged: frame %llu is missing, and %s begins with frame %llu",
              run->result->segment == 0 ? "journal" : name, (unsigned long long)run->result->offset,
              (unsigned long long)run->result->next_sequence, run->reader.name,
              (unsigned long long)first_sequence);
    return true;
}

/** Segments are numbered without a gap: only the oldest ever leave, and the empty ones at the end
 *  are removed by a start, which then goes on with their numbers. */
static bool is_missing_before(const struct run *run, size_t at, struct fault *fault) {
    if (at == 0 || run->segments[at - 1] + 1 == run->segments[at]) {
        return false;
    }
    char name[JOURNAL_NAME_MAX];
    journal_segment_name(run->segments[at - 1] + 1, name);
    fault_set(fault, "%s: offset 0: damaged: the file is missing", name);
    return true;
}

/** Reads one segment: notes it, and replays what the checkpoint does not cover. */
static bool replay_segment(struct run *run, size_t at, struct fault *fault) {
    struct journal_frame_header first;
    uint64_t number = run->segments[at];
    if (!journal_reader_open(&run->reader, number, fault)) {
        return false;
    }
    enum journal_read read = peek_first(run, &first, fault);
    if (read == JOURNAL_READ_FAILED || read == JOURNAL_READ_DAMAGED) {
        return false;
    }
    if (read == JOURNAL_READ_END) {
        struct journal_frame frame;
        /* No first frame. Unless a later one proves damage, nothing was ever acknowledged here. */
        if (journal_reader_next(&run->reader, 1, &frame, fault) != JOURNAL_READ_END) {
            return false;
        }
        run->result->torn |= journal_reader_is_torn(&run->reader);
        return true;
    }
    if (is_gap(run, first.sequence, fault)) {
        return false;
    }
    struct segment_entry entry = {number, run->reader.size_bytes, first.sequence,
                                  first.first_change};
    if (!segment_list_add(run->recovery->segments, entry)) {
        fault_set(fault, "no memory for the list of segments");
        return false;
    }
    if (!walk_segment(run, first.sequence, replay_frame, fault)) {
        return false;
    }
    run->result->segment = number;
    run->result->segment_bytes = run->reader.size_bytes;
    run->result->offset = run->reader.offset;
    run->result->last_frame_offset = run->frame_offset;
    run->used_count = at + 1;
    /* Where the journal went on behind it, a torn frame is an old story. */
    run->result->torn = journal_reader_is_torn(&run->reader);
    return true;
}

/** The last segment that begins at or before the position after the checkpoint is the first one
 *  that is needed. */
static size_t find_first_needed(struct run *run) {
    uint64_t covered = run->result->checkpoint_sequence;
    size_t first_needed = 0;
    struct journal_frame_header first;
    struct fault ignored;
    for (size_t i = 0; i < run->segment_count; i++) {
        if (journal_reader_open(&run->reader, run->segments[i], &ignored) &&
            peek_first(run, &first, &ignored) == JOURNAL_READ_FRAME &&
            first.sequence <= covered + 1) {
            first_needed = i;
        }
    }
    return first_needed;
}

/** Leaves the first `count` segments out. */
static void forget(struct run *run, size_t count, const struct fault *why) {
    log_warning(run->recovery->log, "journal",
                "%s; no order needs it, but changes from there on back are no longer in the change "
                "log",
                why->text);
    run->forgotten_count = count;
    segment_list_deinit(run->recovery->segments);
    segment_list_init(run->recovery->segments);
}

/** Segments that the checkpoint covers whole are only noted, for the change log: a broken or
 *  missing one there is no loss of an order, so it and those before it are left out with a
 *  warning. */
static bool note_covered(struct run *run, size_t first_needed, struct fault *fault) {
    for (size_t i = 0; i <= first_needed; i++) {
        struct journal_frame_header first;
        struct fault why;
        if (is_missing_before(run, i, &why)) {
            forget(run, i, &why);
        }
        if (i == first_needed) {
            break;
        }
        if (!journal_reader_open(&run->reader, run->segments[i], &why)) {
            forget(run, i + 1, &why);
            continue;
        }
        enum journal_read read = peek_first(run, &first, &why);
        if (read != JOURNAL_READ_FRAME) {
            if (read == JOURNAL_READ_END) {
                fault_set(&why, "%s: offset %d: damaged: no first frame", run->reader.name,
                          JOURNAL_BLOCK_BYTES);
            }
            forget(run, i + 1, &why);
            continue;
        }
        struct segment_entry entry = {run->segments[i], run->reader.size_bytes, first.sequence,
                                      first.first_change};
        if (!segment_list_add(run->recovery->segments, entry)) {
            fault_set(fault, "no memory for the list of segments");
            return false;
        }
    }
    return true;
}

static bool replay_journal(struct run *run, struct fault *fault) {
    uint64_t covered = run->result->checkpoint_sequence;
    run->forgotten_count = 0;
    size_t first_needed = find_first_needed(run);
    if (run->segment_count == 0) {
        if (covered != 0) {
            fault_set(fault, "the journal is missing: there is a checkpoint, but no segment");
        }
        return covered == 0;
    }
    if (!note_covered(run, first_needed, fault)) {
        return false;
    }
    run->used_count = 0;
    run->last_sequence = 0;
    for (size_t at = first_needed; at < run->segment_count; at++) {
        if ((at > first_needed && is_missing_before(run, at, fault)) ||
            !replay_segment(run, at, fault)) {
            return false;
        }
    }
    if (run->last_sequence < covered) {
        fault_set(fault, "%s: damaged: it ends before frame %llu, which the checkpoint covers",
                  run->reader.name, (unsigned long long)covered);
        return false;
    }
    run->result->next_segment = run->used_count == 0 ? 1 : run->segments[run->used_count - 1] + 1;
    return true;
}

/** Removes the segments that are no longer part of the journal: those that the change log begins
 *  behind, which nobody would remove later, and those at the end in which nothing stands, such as
 *  the one that was ready when the process ended, whose numbers are given again. From both ends
 *  inwards, so that an end in the middle of it leaves no gap in the numbers. */
static bool remove_unused(struct run *run, struct fault *fault) {
    struct disk *disk = run->recovery->disk;
    char name[JOURNAL_NAME_MAX];
    for (size_t i = 0; i < run->forgotten_count; i++) {
        journal_segment_name(run->segments[i], name);
        if (disk->ops->remove(disk, name, fault) != DISK_OK) {
            return false;
        }
    }
    for (size_t i = run->segment_count; i > run->used_count; i--) {
        journal_segment_name(run->segments[i - 1], name);
        if (disk->ops->remove(disk, name, fault) != DISK_OK) {
            return false;
        }
    }
    return true;
}

/* --- A table that is full during the replay. --- */

static bool collect_releases(struct run *run, const struct journal_frame *frame,
                             struct fault *fault) {
    for (uint32_t i = 0; i < frame->header.release_count; i++) {
        if (!release_set_add(run->left, frame->releases[i].order_id)) {
            fault_set(fault, "no memory for the orders that left");
            return false;
        }
    }
    return true;
}

/** Reads which orders left behind the checkpoint, so that a second try does not take them in: the
 *  checkpoint holds orders that were made while it was written, beside some that were still hot
 *  when it was begun, and so may need more room than there ever was at once. */
static bool collect_left(struct run *run, struct fault *fault) {
    run->left = release_set_create();
    if (run->left == NULL) {
        fault_set(fault, "no memory for the orders that left");
        return false;
    }
    for (size_t i = 0; i < run->segment_count; i++) {
        struct journal_frame_header first;
        struct fault ignored;
        if (!journal_reader_open(&run->reader, run->segments[i], &ignored) ||
            peek_first(run, &first, &ignored) != JOURNAL_READ_FRAME) {
            continue; /* judged by the replay itself */
        }
        if (!walk_segment(run, first.sequence, collect_releases, fault)) {
            return false;
        }
    }
    return true;
}

/* --- The whole. --- */

static void add_reference(void *context, uint64_t reference_hash) {
    reference_filter_add(context, reference_hash);
}

static void clear_result(struct run *run) {
    uint64_t checkpoint = run->result->checkpoint_sequence;
    *run->result = (struct recovery_result){
        .checkpoint_sequence = checkpoint,
        .next_sequence = 1,
        .next_change = 1,
        .next_segment = 1,
    };
    segment_list_deinit(run->recovery->segments);
    segment_list_init(run->recovery->segments);
}

static bool load(struct run *run, struct fault *fault) {
    clear_result(run);
    run->filter_loaded = run->result->checkpoint_sequence == 0;
    if (run->result->checkpoint_sequence != 0 &&
        !checkpoint_read(run->recovery->disk, run->result->checkpoint_sequence, &run->visitor,
                         fault)) {
        return false;
    }
    return replay_journal(run, fault);
}

static bool load_twice_if_needed(struct run *run, struct fault *fault) {
    if (load(run, fault)) {
        return true;
    }
    if (!run->table_full) {
        return false;
    }
    log_info(run->recovery->log, "recovery",
             "the RAM table was full during the replay: reading which orders left, then again");
    struct fault again;
    if (!collect_left(run, &again)) {
        *fault = again;
        return false;
    }
    order_table_clear(run->recovery->table);
    bool loaded = load(run, fault);
    run->result->read_twice = true;
    return loaded;
}

/** Writes the last frame again, as it was read. */
static bool settle_last_frame(struct run *run, struct fault *fault) {
    const struct recovery_result *result = run->result;
    struct disk *disk = run->recovery->disk;
    struct journal_reader *reader = &run->reader;
    struct journal_frame frame;
    struct disk_file *file;
    if (result->segment == 0) {
        return true;
    }
    if (!journal_reader_open(reader, result->segment, fault)) {
        return false;
    }
    journal_reader_seek(reader, result->last_frame_offset);
    if (journal_reader_next(reader, 0, &frame, fault) != JOURNAL_READ_FRAME) {
        fault_set(fault, "%s: offset %llu: the last frame cannot be read again", reader->name,
                  (unsigned long long)result->last_frame_offset);
        return false;
    }
    if (disk->ops->open(disk, reader->name, DISK_WRITE_DURABLE, &file, fault) != DISK_OK) {
        return false;
    }
    size_t size = journal_frame_bytes(frame.header.record_count, frame.header.release_count);
    enum disk_status status =
        disk->ops->write(disk, file, reader->buffer, size, frame.offset, fault);
    disk->ops->close(disk, file);
    return status == DISK_OK;
}

static bool build_filter(struct run *run, struct fault *fault) {
    struct recovery *recovery = run->recovery;
    if (run->filter_loaded) {
        return true;
    }
    run->result->filter_rebuilt = true;
    log_info(recovery->log, "recovery", "building the filter of archived references anew");
    return recovery->references->ops->each(recovery->references, recovery->oldest_reference_us,
                                           add_reference, recovery->filter, fault);
}

bool recovery_run(struct recovery *recovery, struct recovery_result *result, struct fault *fault) {
    struct run run = {
        .recovery = recovery,
        .result = result,
        .visitor = {visit_begin, visit_orders, visit_filter},
    };
    *result = (struct recovery_result){.checkpoint_sequence = 0};
    if (!journal_reader_init(&run.reader, recovery->disk)) {
        fault_set(fault, "no memory to read the journal");
        return false;
    }
    run.reader.proves_end = true;
    bool recovered = list_files(&run, fault) && load_twice_if_needed(&run, fault) &&
                     build_filter(&run, fault) && settle_last_frame(&run, fault) &&
                     remove_unused(&run, fault);
    if (recovered && result->torn) {
        char name[JOURNAL_NAME_MAX];
        journal_segment_name(result->segment, name);
        log_warning(recovery->log, "recovery",
                    "%s: offset %llu: a torn frame, never acknowledged, was cut off",
                    result->segment == 0 ? "journal" : name, (unsigned long long)result->offset);
    }
    release_set_destroy(run.left);
    free(run.segments);
    journal_reader_deinit(&run.reader);
    return recovered;
}
