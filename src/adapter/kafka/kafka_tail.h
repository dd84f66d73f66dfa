/** The newest changes of one partition: a ring with the offset of each. Offsets rise, and may have
 *  gaps. One thread. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_TAIL_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_TAIL_H

#include "order/record.h"

#define KAFKA_TAIL_CHANGES 4096 /* a power of two */

struct kafka_tail {
    uint64_t from; /* every change at this offset or later, and before `end`, is here */
    uint64_t end;  /* the next offset */
    uint64_t added;
    uint64_t offsets[KAFKA_TAIL_CHANGES];
    struct order_record orders[KAFKA_TAIL_CHANGES];
};

/** Begins at an offset, with nothing. */
static inline void kafka_tail_begin(struct kafka_tail *tail, uint64_t offset) {
    tail->from = tail->end = offset;
    tail->added = 0;
}

static inline size_t kafka_tail_slot(uint64_t number) {
    return (size_t)(number & (KAFKA_TAIL_CHANGES - 1));
}

/** Takes the change at `offset`, which is at `end` or later. NULL: a message that is none. */
static inline void kafka_tail_add(struct kafka_tail *tail, uint64_t offset,
                                  const struct order_record *order) {
    if (order != NULL) {
        size_t slot = kafka_tail_slot(tail->added);
        if (tail->added >= KAFKA_TAIL_CHANGES) {
            tail->from = tail->offsets[slot] + 1; /* the oldest goes */
        }
        tail->offsets[slot] = offset;
        tail->orders[slot] = *order;
        tail->added++;
    }
    tail->end = offset + 1;
}

/** The number of the first change at `offset` or later; `added` where there is none. */
static inline uint64_t kafka_tail_find(const struct kafka_tail *tail, uint64_t offset) {
    uint64_t low = tail->added > KAFKA_TAIL_CHANGES ? tail->added - KAFKA_TAIL_CHANGES : 0;
    uint64_t high = tail->added;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (tail->offsets[kafka_tail_slot(middle)] < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

#endif
