#include "order/order_id.h"

#include <assert.h>

#define ORDER_ID_DIGITS_MAX 19

bool order_id_parse(struct slice text, uint64_t *order_id) {
    if (text.size == 0 || text.size > ORDER_ID_DIGITS_MAX || text.data[0] == '0') {
        return false;
    }
    uint64_t value = 0; /* 19 digits stay below 2^64 */
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *order_id = value;
    return value <= INT64_MAX;
}

void order_id_generator_init(struct order_id_generator *generator, uint32_t node) {
    assert(node < ORDER_NODE_COUNT);
    *generator = (struct order_id_generator){.node = node};
}

static uint64_t tick_and_sequence(uint64_t order_id) {
    struct order_id_parts parts = order_id_decode(order_id);
    return parts.tick * ORDER_SEQUENCE_COUNT + parts.sequence;
}

void order_id_generator_observe(struct order_id_generator *generator, uint64_t order_id) {
    uint64_t *last = &generator->last[order_id_decode(order_id).slot];
    *last = bytes_max_u64(*last, tick_and_sequence(order_id));
}

void order_id_generator_raise(struct order_id_generator *generator, uint64_t tick) {
    uint64_t used_up = tick * ORDER_SEQUENCE_COUNT + ORDER_SEQUENCE_COUNT - 1;
    for (size_t slot = 0; slot < ORDER_SLOT_COUNT; slot++) {
        generator->last[slot] = bytes_max_u64(generator->last[slot], used_up);
    }
}

bool order_id_generator_next(struct order_id_generator *generator, uint32_t slot, uint64_t now_tick,
                             uint64_t *order_id) {
    assert(slot < ORDER_SLOT_COUNT);
    uint64_t next = bytes_max_u64(generator->last[slot] + 1, now_tick * ORDER_SEQUENCE_COUNT);
    uint64_t tick = next / ORDER_SEQUENCE_COUNT;
    if (tick > now_tick + ORDER_TICKS_AHEAD_MAX || tick > ORDER_TICK_MAX) {
        return false;
    }
    generator->last[slot] = next;
    *order_id = order_id_encode((struct order_id_parts){
        .tick = tick,
        .slot = slot,
        .node = generator->node,
        .sequence = (uint32_t)(next % ORDER_SEQUENCE_COUNT),
    });
    return true;
}
