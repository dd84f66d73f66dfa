/** The order id and what it tells (API, section 5): `0 | tick:36 | slot:10 | node:10 | seq:7`.
 *
 *  A tick is 10 ms since 2026-01-01T00:00Z. The slot comes from the partner's reference, the node
 *  is the number of the instance that gave the id, seq counts within tick and slot. So an id alone
 *  says when the order was created, on which shard it is, and whether it can exist at all.
 *  Pure but for the generator, which belongs to one thread. */
#ifndef ORDERD_ORDER_ORDER_ID_H
#define ORDERD_ORDER_ORDER_ID_H

#include "base/bytes.h"

#define ORDER_EPOCH_US INT64_C(1767225600000000) /* 2026-01-01T00:00Z */
#define ORDER_TICK_US 10000
#define ORDER_TICK_MAX ((UINT64_C(1) << 36) - 1)
#define ORDER_SLOT_COUNT 1024
#define ORDER_NODE_COUNT 1024
#define ORDER_SEQUENCE_COUNT 128

/** A slot may run this far ahead of the clock: 1 s. */
#define ORDER_TICKS_AHEAD_MAX 100

/** An id whose tick is more than this ahead of the reader's clock was given by nobody: 60 s. */
#define ORDER_TICKS_FUTURE 6000

struct order_id_parts {
    uint64_t tick;
    uint32_t slot;
    uint32_t node;
    uint32_t sequence;
};

static inline uint64_t order_id_encode(struct order_id_parts parts) {
    return parts.tick << 27 | (uint64_t)parts.slot << 17 | (uint64_t)parts.node << 7 |
           parts.sequence;
}

static inline struct order_id_parts order_id_decode(uint64_t order_id) {
    return (struct order_id_parts){
        .tick = order_id >> 27,
        .slot = (uint32_t)(order_id >> 17) & (ORDER_SLOT_COUNT - 1),
        .node = (uint32_t)(order_id >> 7) & (ORDER_NODE_COUNT - 1),
        .sequence = (uint32_t)order_id & (ORDER_SEQUENCE_COUNT - 1),
    };
}

static inline uint64_t order_id_tick(uint64_t order_id) {
    return order_id >> 27;
}

static inline uint32_t order_slot_from_hash(uint64_t reference_hash) {
    return (uint32_t)reference_hash & (ORDER_SLOT_COUNT - 1);
}

/** The tick of a time; 0 before the epoch. */
static inline uint64_t order_tick_from_us(int64_t time_us) {
    return time_us <= ORDER_EPOCH_US ? 0 : (uint64_t)(time_us - ORDER_EPOCH_US) / ORDER_TICK_US;
}

/** The time at which a tick begins. */
static inline int64_t order_tick_to_us(uint64_t tick) {
    return ORDER_EPOCH_US + (int64_t)(tick * ORDER_TICK_US);
}

/** False where no instance can have given `order_id` by `now_us`, clocks a minute apart included:
 *  such an id needs no look-up. */
static inline bool order_id_is_possible(uint64_t order_id, int64_t now_us) {
    return order_id != 0 && order_id <= INT64_MAX &&
           order_id_tick(order_id) <= order_tick_from_us(now_us) + ORDER_TICKS_FUTURE;
}

/** Reads 1 to 19 digits without a leading zero, 1 to 2^63-1 (API, section 3). */
MUST_CHECK bool order_id_parse(struct slice text, uint64_t *order_id);

/** Gives ids of one node. It keeps the last (tick, seq) of every slot and only ever goes up, so a
 *  clock that steps back repeats nothing; what was last given is restored after a restart with
 *  order_id_generator_observe. */
struct order_id_generator {
    uint32_t node;
    /** tick << 7 | seq of the last id; 0 where none was given. */
    uint64_t last[ORDER_SLOT_COUNT];
};

void order_id_generator_init(struct order_id_generator *generator, uint32_t node);

/** Takes note of an id that was given before, so that it and everything below it in its slot is
 *  not given again. */
void order_id_generator_observe(struct order_id_generator *generator, uint64_t order_id);

/** No slot gives an id of `tick` or earlier any more. */
void order_id_generator_raise(struct order_id_generator *generator, uint64_t tick);

/** The next id of `slot`. False where that would be more than ORDER_TICKS_AHEAD_MAX ahead of
 *  `now_tick`: the caller answers "busy". */
MUST_CHECK bool order_id_generator_next(struct order_id_generator *generator, uint32_t slot,
                                        uint64_t now_tick, uint64_t *order_id);

#endif
