#include "orderctl/verify_state.h"

#include "adapter/embedded/checkpoint.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define APPLY_AHEAD 16
#define FRAMES_FIRST 4096

/** One walk over the segments. */
struct walk {
    struct verify_state *state;
    struct journal_reader reader;
    uint32_t segment;       /* in state->segments */
    uint64_t next_sequence; /* 0: none was read yet */
    uint64_t next_change;
    /* Behind the last frame that was read: */
    char end_name[JOURNAL_NAME_MAX];
    uint64_t end_offset;
};

static void note(struct walk *walk, enum verify_kind kind, uint64_t offset, uint64_t order_id,
                 const char *text) {
    verify_note(walk->state->report, kind, walk->reader.name, offset, order_id, "%s", text);
}

/** The journal's own words without what stands elsewhere in a finding. */
static const char *reason_in(const struct fault *fault) {
    static const char word[] = "damaged: ";
    const char *found = strstr(fault->text, word);
    return found == NULL ? fault->text : found + sizeof(word) - 1;
}

uint64_t verify_order_place(const struct verify_state *state, const struct verify_order *order,
                            char name[VERIFY_FILE_MAX]) {
    if ((order->flags & VERIFY_NOT_IN_JOURNAL) != 0) {
        checkpoint_name(state->checkpoint_sequence, name);
        return 0;
    }
    assert(order->frame > 0 && order->frame <= state->frame_count);
    const struct verify_place *place = &state->frames[order->frame - 1];
    journal_segment_name(state->segments[place->segment], name);
    return (uint64_t)place->block * JOURNAL_BLOCK_BYTES;
}

static void begin_gap(struct verify_state *state) {
    state->has_gap = true;
    state->gap_frame = (uint32_t)state->frame_count + 1;
    if (state->checkpoint_taken) {
        state->has_filter = false; /* references that it got meanwhile are missing as well */
    }
}

static bool add_frame(struct walk *walk, uint64_t offset) {
    struct verify_state *state = walk->state;
    if (state->frame_count == state->frame_capacity) {
        size_t capacity = state->frame_capacity == 0 ? FRAMES_FIRST : state->frame_capacity * 2;
        struct verify_place *grown = realloc(state->frames, capacity * sizeof(*grown));
        if (grown == NULL) {
            state->out_of_memory = true;
            return false;
        }
        state->frames = grown;
        state->frame_capacity = capacity;
    }
    state->frames[state->frame_count++] =
        (struct verify_place){walk->segment, (uint32_t)(offset / JOURNAL_BLOCK_BYTES)};
    return true;
}

/* --- Records: orders as they became. --- */

/** True where the order's first version must be among the frames that were read. */
static bool must_have_begun(const struct verify_state *state, const struct order_record *record) {
    bool created_since = record->created_at_us > state->first_time_us;
    return !state->has_gap && (state->from_beginning || created_since);
}

static struct verify_order *begin_order(struct walk *walk, const struct order_record *record,
                                        uint64_t hash, uint64_t offset) {
    struct verify_state *state = walk->state;
    if (record->version != 1 && must_have_begun(state, record)) {
        note(walk, VERIFY_VERSION_WRONG, offset, record->order_id,
             "its first record is not version 1");
    } else if (record->version == 1 && record->status != ORDER_STATUS_PENDING) {
        note(walk, VERIFY_MOVE_ILLEGAL, offset, record->order_id, "an order begins as pending");
    }
    struct verify_order *order = verify_orders_add(&state->orders, record->order_id);
    if (order == NULL) {
        state->out_of_memory = true;
        return NULL;
    }
    order->reference_hash = hash;
    order->identity = verify_identity(record);
    return order;
}

/** Meets an order that so far only the checkpoint has: it may have been copied before this record,
 *  with it, or after it. */
static bool meet_checkpoint(struct walk *walk, struct verify_order *order,
                            const struct order_record *record, uint64_t offset) {
    struct verify_state *state = walk->state;
    order->flags &= (uint8_t)~VERIFY_NOT_IN_JOURNAL;
    if (record->version > order->version) {
        return false; /* an ordinary change of what was copied */
    }
    if (record->version == order->version) {
        if (record->crc != order->crc) {
            note(walk, VERIFY_CHECKPOINT_CONTRADICTS, offset, record->order_id,
                 "the checkpoint has the same version with another content");
        }
        return true;
    }
    struct verify_order *ahead = verify_orders_add(&state->ahead, record->order_id);
    if (ahead == NULL) {
        state->out_of_memory = true;
        return true;
    }
    ahead->version = order->version;
    ahead->crc = order->crc;
    return true;
}

static void check_change(struct walk *walk, const struct verify_order *order,
                         const struct order_record *record, uint64_t hash, uint64_t offset) {
    uint64_t order_id = record->order_id;
    bool skipped = verify_is_uncertain(walk->state, order) && record->version > order->version;
    char text[VERIFY_TEXT_MAX];
    if (order->reference_hash != hash || order->identity != verify_identity(record)) {
        note(walk, VERIFY_CONTENT_CHANGED, offset, order_id,
             "a change touched the reference, the amount or another fixed member");
    }
    if ((order->flags & VERIFY_RELEASED) != 0) {
        note(walk, VERIFY_FINAL_CHANGED, offset, order_id, "it changed after it had left");
    } else if (order_status_is_final(order->status)) {
        (void)snprintf(text, sizeof(text), "it was %s, which is final, and became %s",
                       order_status_name(order->status), order_status_name(record->status));
        note(walk, VERIFY_FINAL_CHANGED, offset, order_id, text);
    } else if (!skipped && record->version != order->version + 1U) {
        (void)snprintf(text, sizeof(text), "version %u follows version %u", record->version,
                       order->version);
        note(walk, VERIFY_VERSION_WRONG, offset, order_id, text);
    } else if (!order_status_may_become(order->status, record->status) &&
               !(skipped && order->status == record->status)) {
        (void)snprintf(text, sizeof(text), "from %s to %s", order_status_name(order->status),
                       order_status_name(record->status));
        note(walk, VERIFY_MOVE_ILLEGAL, offset, order_id, text);
    }
}

/** An order that the checkpoint has in this or a later version must come by here with its bytes. */
static void check_ahead(struct walk *walk, const struct order_record *record, uint64_t offset) {
    struct verify_order *ahead = verify_orders_find(&walk->state->ahead, record->order_id);
    if (ahead != NULL && ahead->version == record->version) {
        if (ahead->crc != record->crc) {
            note(walk, VERIFY_CHECKPOINT_CONTRADICTS, offset, record->order_id,
                 "the checkpoint has the same version with another content");
        }
        ahead->version = 0; /* reached */
    }
}

static void apply_record(struct walk *walk, const struct order_record *record, uint64_t hash,
                         uint64_t offset) {
    struct verify_state *state = walk->state;
    if (!verify_record(state, record, hash, walk->reader.name, offset)) {
        return;
    }
    struct verify_order *order = verify_orders_find(&state->orders, record->order_id);
    bool known = order != NULL && order->version > 0;
    if (order == NULL) {
        order = begin_order(walk, record, hash, offset);
    } else if (!known) {
        note(walk, VERIFY_FINAL_CHANGED, offset, record->order_id, "it changed after it had left");
    }
    if (order == NULL) {
        return;
    }
    bool from_checkpoint = (order->flags & VERIFY_NOT_IN_JOURNAL) != 0;
    if (known && !(from_checkpoint && meet_checkpoint(walk, order, record, offset))) {
        check_change(walk, order, record, hash, offset);
    }
    if (state->ahead.count > 0) {
        check_ahead(walk, record, offset);
    }
    order->crc = record->crc;
    order->version = (uint16_t)record->version;
    order->status = record->status;
    order->frame = (uint32_t)state->frame_count;
}

static void apply_records(struct walk *walk, const struct journal_frame *frame) {
    const struct order_record *records = frame->records;
    uint32_t count = frame->header.record_count;
    for (uint32_t at = 0; at < count; at += APPLY_AHEAD) {
        uint64_t hashes[APPLY_AHEAD];
        uint32_t group = (uint32_t)bytes_min_size(count - at, APPLY_AHEAD);
        for (uint32_t i = 0; i < group; i++) {
            hashes[i] = order_record_reference_hash(&records[at + i]);
            verify_orders_prefetch(&walk->state->orders, records[at + i].order_id);
        }
        for (uint32_t i = 0; i < group && !walk->state->out_of_memory; i++) {
            apply_record(walk, &records[at + i], hashes[i],
                         frame->offset + JOURNAL_FRAME_HEADER_BYTES +
                             (uint64_t)(at + i) * ORDER_RECORD_BYTES);
        }
    }
}

/* --- Releases: orders that left. --- */

static void apply_release(struct walk *walk, const struct journal_release *release,
                          uint64_t offset) {
    struct verify_state *state = walk->state;
    uint64_t order_id = release->order_id;
    if (order_id == 0 || order_id > INT64_MAX) {
        note(walk, VERIFY_RELEASE_WRONG, offset, 0, "an order left that has no id");
        return;
    }
    struct verify_order *order = verify_orders_find(&state->orders, order_id);
    if (order == NULL) {
        order = verify_orders_add(&state->orders, order_id);
        if (order == NULL) {
            state->out_of_memory = true;
            return;
        }
        order->reference_hash = release->reference_hash;
    }
    if (order->reference_hash != release->reference_hash) {
        note(walk, VERIFY_RELEASE_WRONG, offset, order_id, "it left with another reference");
    }
    if (verify_is_uncertain(state, order)) {
        order->version = 0; /* its last records are missing */
    }
    if (order->version > 0 && !order_status_is_final(order->status)) {
        note(walk, VERIFY_RELEASE_WRONG, offset, order_id, "it left before it was final");
    }
    order->flags |= VERIFY_RELEASED;
    order->flags &= (uint8_t)~VERIFY_NOT_IN_JOURNAL;
    order->frame = (uint32_t)state->frame_count;
    if (state->has_filter && state->checkpoint_taken) {
        reference_filter_add(&state->filter, release->reference_hash);
    }
}

/* --- Frames. --- */

static void describe_gap(const struct walk *walk, uint64_t sequence, uint64_t expected,
                         char text[VERIFY_TEXT_MAX]) {
    int size = snprintf(text, VERIFY_TEXT_MAX, "frame %llu stands where %llu was expected",
                        (unsigned long long)sequence, (unsigned long long)expected);
    if (walk->next_sequence != 0) {
        (void)snprintf(text + size, VERIFY_TEXT_MAX - (size_t)size,
                       ", which should stand in %s at offset %llu or begin the next segment",
                       walk->end_name, (unsigned long long)walk->end_offset);
    }
}

/** Holds the frame's numbers against what was expected. */
static void check_numbers(struct walk *walk, const struct journal_frame *frame) {
    const struct journal_frame_header *header = &frame->header;
    struct verify_state *state = walk->state;
    char text[VERIFY_TEXT_MAX];
    bool first = walk->next_sequence == 0;
    uint64_t expected = first ? state->checkpoint_sequence + 1 : walk->next_sequence;
    bool gap = first ? header->sequence > expected : header->sequence != expected;
    if (gap) {
        describe_gap(walk, header->sequence, expected, text);
        note(walk, VERIFY_FRAMES_MISSING, frame->offset, 0, text);
        begin_gap(state);
    } else if (!first && header->first_change != walk->next_change) {
        (void)snprintf(text, sizeof(text), "change %llu stands where %llu was expected",
                       (unsigned long long)header->first_change,
                       (unsigned long long)walk->next_change);
        note(walk, VERIFY_CHANGES_MISSING, frame->offset, 0, text);
    }
    if (first) {
        state->from_beginning = header->sequence == 1;
        state->first_time_us = header->time_us;
        state->report->first_sequence = header->sequence;
    }
}

static bool take_frame(struct walk *walk, const struct journal_frame *frame) {
    const struct journal_frame_header *header = &frame->header;
    struct verify_state *state = walk->state;
    if (!state->checkpoint_taken && header->sequence > state->checkpoint_sequence) {
        verify_checkpoint(state);
    }
    check_numbers(walk, frame);
    if (!add_frame(walk, frame->offset)) {
        return false;
    }
    apply_records(walk, frame);
    uint64_t releases_at = frame->offset + journal_frame_payload_end(header->record_count, 0);
    for (uint32_t i = 0; i < header->release_count && !state->out_of_memory; i++) {
        apply_release(walk, &frame->releases[i], releases_at + i * sizeof(*frame->releases));
    }
    walk->end_offset = walk->reader.offset;
    memcpy(walk->end_name, walk->reader.name, sizeof(walk->end_name));
    walk->next_sequence = header->sequence + 1;
    walk->next_change = header->first_change + header->record_count;
    if (header->time_us > state->newest_time_us) {
        state->newest_time_us = header->time_us;
    }
    state->report->frames++;
    state->report->changes += header->record_count;
    state->report->releases += header->release_count;
    state->report->last_sequence = header->sequence;
    return !state->out_of_memory;
}

/** Goes on behind damage: at the next intact frame of the segment. */
static bool find_next_frame(struct walk *walk, struct journal_frame *frame) {
    struct journal_reader *reader = &walk->reader;
    struct fault ignored;
    reader->proves_end = false;
    bool found = false;
    while (!found && reader->offset < reader->size_bytes) {
        found = journal_reader_next(reader, 0, frame, &ignored) == JOURNAL_READ_FRAME &&
                frame->header.sequence >= walk->next_sequence;
        if (!found) {
            journal_reader_seek(reader, reader->offset + JOURNAL_BLOCK_BYTES);
        }
    }
    reader->proves_end = true;
    return found;
}

/** The end of the journal: what stands behind its last frame was never acknowledged. */
static void note_tail(struct walk *walk) {
    struct verify_report *report = walk->state->report;
    if (journal_reader_is_torn(&walk->reader)) {
        report->torn = true;
        (void)snprintf(report->torn_file, sizeof(report->torn_file), "%s", walk->reader.name);
        report->torn_offset = walk->reader.offset;
    } else if (walk->reader.offset > JOURNAL_BLOCK_BYTES) {
        report->torn = false; /* a torn frame before this one would show as a gap */
    }
}

static bool walk_segment(struct walk *walk) {
    uint64_t expected = 0; /* any: check_numbers holds it against the segment before */
    for (;;) {
        struct journal_frame frame;
        struct fault fault;
        switch (journal_reader_next(&walk->reader, expected, &frame, &fault)) {
        case JOURNAL_READ_FRAME:
            break;
        case JOURNAL_READ_END:
            note_tail(walk);
            return true;
        case JOURNAL_READ_DAMAGED:
            note(walk, VERIFY_SEGMENT_DAMAGED, walk->reader.offset, 0, reason_in(&fault));
            if (!find_next_frame(walk, &frame)) {
                return true;
            }
            break;
        case JOURNAL_READ_FAILED:
            note(walk, VERIFY_SEGMENT_DAMAGED, walk->reader.offset, 0, fault.text);
            return true;
        }
        if (!take_frame(walk, &frame)) {
            return false;
        }
        expected = walk->next_sequence;
    }
}

static bool walk_segments(struct walk *walk) {
    struct verify_state *state = walk->state;
    for (size_t i = 0; i < state->segment_count; i++) {
        struct fault fault;
        walk->segment = (uint32_t)i;
        if (!journal_reader_open(&walk->reader, state->segments[i], &fault)) {
            note(walk, VERIFY_SEGMENT_DAMAGED, 0, 0, reason_in(&fault));
            continue;
        }
        state->report->segments++;
        state->report->segment_bytes += walk->reader.size_bytes;
        if (!walk_segment(walk)) {
            return false;
        }
    }
    return true;
}

static void check_end(struct walk *walk) {
    struct verify_state *state = walk->state;
    if (!state->checkpoint_taken) {
        verify_checkpoint(state);
    }
    if (state->checkpoint_sequence == 0 || walk->next_sequence > state->checkpoint_sequence) {
        return;
    }
    begin_gap(state); /* nobody knows what else came */
    verify_note(state->report, VERIFY_FRAMES_MISSING,
                state->segment_count == 0 ? NULL : walk->reader.name, walk->reader.offset, 0,
                "the journal ends at frame %llu, but the checkpoint is of frame %llu",
                (unsigned long long)(walk->next_sequence == 0 ? 0 : walk->next_sequence - 1),
                (unsigned long long)state->checkpoint_sequence);
}

bool verify_journal(struct verify_state *state) {
    struct walk walk = {.state = state};
    if (!journal_reader_init(&walk.reader, state->disk)) {
        return false;
    }
    walk.reader.proves_end = true;
    bool good = walk_segments(&walk);
    if (good) {
        check_end(&walk);
    }
    journal_reader_deinit(&walk.reader);
    return good && !state->out_of_memory;
}
