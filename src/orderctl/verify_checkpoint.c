#include "orderctl/verify_state.h"

#include "adapter/embedded/checkpoint.h"

#define FILTER_BYTES_MAX ((uint64_t)4 << 30)

/** One reading of a checkpoint. The blocks follow one another, so their offsets are counted. */
struct reading {
    struct checkpoint_visitor visitor;
    struct verify_state *state;
    char name[CHECKPOINT_NAME_MAX];
    uint64_t offset; /* of the next block */
};

static struct reading *reading_of(struct checkpoint_visitor *visitor) {
    return CONTAINER_OF(visitor, struct reading, visitor);
}

static void pass_block(struct reading *reading, size_t payload_bytes) {
    reading->offset += sizeof(struct checkpoint_block) + payload_bytes;
}

static bool visit_begin(struct checkpoint_visitor *visitor, const struct checkpoint_begin *begin,
                        struct fault *fault) {
    struct reading *reading = reading_of(visitor);
    struct verify_state *state = reading->state;
    struct reference_filter *filter = &state->filter;
    pass_block(reading, sizeof(*begin));
    (void)fault;
    if (begin->snapshot.time_us > state->newest_time_us) {
        state->newest_time_us = begin->snapshot.time_us;
    }
    if (begin->filter_bytes == 0 || begin->filter_bytes > FILTER_BYTES_MAX) {
        return true;
    }
    state->has_filter = reference_filter_init(filter, begin->filter_bytes);
    atomic_store_explicit(&filter->younger, begin->filter_younger, memory_order_relaxed);
    return true;
}

/** The checkpoint's position lies behind every frame that was read so far: what it has is as new as
 *  those, or newer. */
static void meet_journal(struct reading *reading, struct verify_order *order,
                         const struct order_record *record, uint64_t offset) {
    struct verify_state *state = reading->state;
    const char *wrong = NULL;
    if ((order->flags & VERIFY_RELEASED) != 0) {
        wrong = "the checkpoint has an order that had left before";
    } else if (record->version < order->version) {
        wrong = "the checkpoint has an older version than the journal before it";
    } else if (record->version == order->version && record->crc != order->crc) {
        wrong = "the checkpoint has another content than the journal in the same version";
    }
    if (wrong != NULL) {
        verify_note(state->report, VERIFY_CHECKPOINT_CONTRADICTS, reading->name, offset,
                    record->order_id, "%s", wrong);
    } else if (record->version > order->version) {
        struct verify_order *ahead = verify_orders_add(&state->ahead, record->order_id);
        if (ahead == NULL) {
            state->out_of_memory = true;
            return;
        }
        ahead->version = (uint16_t)record->version;
        ahead->crc = record->crc;
    }
}

static void take_order(struct reading *reading, const struct order_record *record,
                       uint64_t offset) {
    struct verify_state *state = reading->state;
    uint64_t hash = order_record_reference_hash(record);
    if (!verify_record(state, record, hash, reading->name, offset)) {
        return;
    }
    struct verify_order *order = verify_orders_find(&state->orders, record->order_id);
    if (order == NULL) {
        order = verify_orders_add(&state->orders, record->order_id);
        if (order == NULL) {
            state->out_of_memory = true;
            return;
        }
        order->reference_hash = hash;
        order->identity = verify_identity(record);
        order->crc = record->crc;
        order->version = (uint16_t)record->version;
        order->status = record->status;
        order->frame = (uint32_t)state->frame_count;
        order->flags = VERIFY_NOT_IN_JOURNAL;
    } else if ((order->flags & VERIFY_IN_CHECKPOINT) == 0) {
        meet_journal(reading, order, record, offset);
    }
    order->flags |= VERIFY_IN_CHECKPOINT;
    state->report->checkpoint_orders++;
}

static bool visit_orders(struct checkpoint_visitor *visitor, const struct order_record *orders,
                         size_t count, struct fault *fault) {
    struct reading *reading = reading_of(visitor);
    uint64_t offset = reading->offset + sizeof(struct checkpoint_block);
    for (size_t i = 0; i < count && !reading->state->out_of_memory; i++) {
        take_order(reading, &orders[i], offset + i * ORDER_RECORD_BYTES);
    }
    pass_block(reading, count * ORDER_RECORD_BYTES);
    if (reading->state->out_of_memory) {
        fault_set(fault, "no memory");
    }
    return !reading->state->out_of_memory;
}

static bool visit_filter(struct checkpoint_visitor *visitor, uint64_t position, const void *bytes,
                         size_t size, struct fault *fault) {
    struct reading *reading = reading_of(visitor);
    struct reference_filter *filter = &reading->state->filter;
    pass_block(reading, size);
    (void)fault;
    if (!reading->state->has_filter) {
        return true;
    }
    if (position > reference_filter_bytes(filter) ||
        size > reference_filter_bytes(filter) - position) {
        verify_note(reading->state->report, VERIFY_CHECKPOINT_CONTRADICTS, reading->name,
                    reading->offset, 0, "the filter is larger than the checkpoint says");
        reading->state->has_filter = false;
        return true;
    }
    memcpy((char *)filter->lines + position, bytes, size);
    return true;
}

/** Every order that was hot at the position must be in the checkpoint, or leave behind it. */
static void mark_outside(struct verify_state *state) {
    uint64_t at = 0;
    struct verify_order *order;
    while ((order = verify_orders_each(&state->orders, &at)) != NULL) {
        if (verify_order_is_hot(order) && (order->flags & VERIFY_IN_CHECKPOINT) == 0) {
            order->flags |= VERIFY_OUTSIDE;
        }
    }
}

static void read_one(struct verify_state *state, uint64_t sequence) {
    static const char word[] = "damaged: ";
    struct reading reading = {
        .visitor = {visit_begin, visit_orders, visit_filter},
        .state = state,
    };
    struct fault fault;
    checkpoint_name(sequence, reading.name);
    state->checkpoint_whole = checkpoint_read(state->disk, sequence, &reading.visitor, &fault);
    if (state->checkpoint_whole) {
        mark_outside(state);
        return;
    }
    const char *found = strstr(fault.text, word);
    verify_note(state->report, VERIFY_CHECKPOINT_DAMAGED, reading.name, reading.offset, 0, "%s",
                found == NULL ? fault.text : found + sizeof(word) - 1);
    state->has_filter = false;
}

void verify_checkpoint(struct verify_state *state) {
    state->checkpoint_taken = true;
    if (state->checkpoint_sequence != 0) {
        read_one(state, state->checkpoint_sequence);
    }
}
