/** The slab of the RAM table: what an order has beyond id, version and status, 112 bytes each, in
 *  one array, and the entries that are free. Free entries are kept in the free entries themselves,
 *  26 to one, so that finding one seldom waits for memory.
 *
 *  Words are relaxed atomics, since a reader may copy an entry while it is written or even free;
 *  the sequence number of the bucket that points to it tells the reader so.
 *  Entries are taken and given back by the table's writing thread. */
#ifndef ORDERD_MEMORY_ORDER_SLAB_H
#define ORDERD_MEMORY_ORDER_SLAB_H

#include "order/record.h"

#include <stdatomic.h>

#define ORDER_SLAB_WORDS 14

struct order_cold {
    _Atomic uint64_t words[ORDER_SLAB_WORDS];
};

_Static_assert(sizeof(struct order_cold) == 112, "bytes an order beside the indices");

#define ORDER_SLAB_NONE UINT32_MAX

struct order_slab {
    struct order_cold *entries; /* owned */
    uint32_t capacity;
    uint32_t untouched;    /* entries from here on were never used */
    uint32_t free_head;    /* an entry that lists free ones; ORDER_SLAB_NONE: none */
    uint32_t free_in_head; /* how many it lists */
    uint32_t used;
};

MUST_CHECK bool order_slab_init(struct order_slab *slab, uint32_t capacity);
void order_slab_deinit(struct order_slab *slab);

/** Every entry is free and untouched again. */
void order_slab_clear(struct order_slab *slab);

/** Has the system provide the memory of every entry now. */
void order_slab_populate(struct order_slab *slab);

/** ORDER_SLAB_NONE where every entry is used. */
uint32_t order_slab_take(struct order_slab *slab);
void order_slab_give_back(struct order_slab *slab, uint32_t entry);

static inline uint32_t order_slab_free_count(const struct order_slab *slab) {
    return slab->capacity - slab->used;
}

/** Stores all of `record` but id, version, status and CRC. */
void order_cold_store(struct order_cold *cold, const struct order_record *record);

/** Loads what order_cold_store stored; id, version, status and CRC are left alone. */
void order_cold_load(const struct order_cold *cold, struct order_record *record);

static inline void order_cold_prefetch(const struct order_cold *cold) {
    __builtin_prefetch(cold);
    __builtin_prefetch((const char *)cold + CACHE_LINE_BYTES);
    __builtin_prefetch((const char *)cold + sizeof(*cold) - 1);
}

#endif
