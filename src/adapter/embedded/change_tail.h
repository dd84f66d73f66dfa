/** The newest changes in RAM, for those who follow closely: a ring of records that the store's
 *  writer fills and any thread reads without a lock. Change number n stands at n modulo capacity;
 *  a reader that was overtaken by the writer while it copied is told so, and reads the journal.
 *
 *  One writing thread, any number of readers. */
#ifndef ORDERD_ADAPTER_EMBEDDED_CHANGE_TAIL_H
#define ORDERD_ADAPTER_EMBEDDED_CHANGE_TAIL_H

#include "order/record.h"

#include <stdatomic.h>

#define CHANGE_TAIL_RECORD_WORDS (ORDER_RECORD_BYTES / 8)

struct change_tail_entry {
    _Atomic uint64_t words[CHANGE_TAIL_RECORD_WORDS];
};

struct change_tail {
    struct change_tail_entry *entries; /* owned */
    uint64_t capacity;                 /* a power of two */
    uint64_t first;                    /* the first change that was ever put in */
    /** Changes before `claimed` minus capacity are being overwritten, or were. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t claimed;
    _Atomic uint64_t published; /* the next change's number: all before it can be read */
};

/** Memory of a tail with this capacity. */
uint64_t change_tail_bytes(uint64_t capacity);

/** @param capacity rounded up to a power of two. @param next_change of the first one put in. */
MUST_CHECK bool change_tail_init(struct change_tail *tail, uint64_t capacity, uint64_t next_change);
void change_tail_deinit(struct change_tail *tail);

/** Adds changes, any number of them; the newest can be read at once. @thread the writer's. */
void change_tail_add(struct change_tail *tail, const struct order_record *records, size_t count);

/** The number that the next change will have. @thread any. */
static inline uint64_t change_tail_next(const struct change_tail *tail) {
    return atomic_load_explicit(&tail->published, memory_order_acquire);
}

/** Copies up to `limit` changes from number `from` on; `*count` may be 0. False where `from` is no
 *  longer (or was never) in the ring. @thread any. */
MUST_CHECK bool change_tail_read(const struct change_tail *tail, uint64_t from, size_t limit,
                                 struct order_record *out, size_t *count);

#endif
