/** Orders that local memory was told of by a look-up and not by the log of changes: each with the
 *  version that was put, and until when that is trusted. First in, first out, as all are trusted
 *  for equally long; found by id, for a change that confirms one.
 *
 *  Fixed room, taken at the start. One thread. */
#ifndef ORDERD_SERVICE_FILL_LEDGER_H
#define ORDERD_SERVICE_FILL_LEDGER_H

#include "base/bytes.h"

struct fill {
    uint64_t order_id; /* 0: it was confirmed, and is only passed over */
    uint32_t version;
    uint32_t next; /* the entry before it with the same hash: its place + 1; 0: none */
    int64_t until_us;
};

struct fill_ledger {
    struct fill *fills; /* owned: a ring */
    uint32_t *heads;    /* owned: the last entry with a hash: its place + 1 */
    size_t mask;
    uint64_t added;
    uint64_t removed;
};

/** @param capacity a power of two. False where memory is short. */
MUST_CHECK bool fill_ledger_init(struct fill_ledger *ledger, size_t capacity);
void fill_ledger_deinit(struct fill_ledger *ledger);

static inline bool fill_ledger_is_full(const struct fill_ledger *ledger) {
    return ledger->added - ledger->removed > ledger->mask;
}

/** Adds an entry; there is room. `until_us` never falls from one to the next. */
void fill_ledger_add(struct fill_ledger *ledger, uint64_t order_id, uint32_t version,
                     int64_t until_us);

/** The order at this version need not be doubted any more. Returns how many entries say less. */
size_t fill_ledger_confirm(struct fill_ledger *ledger, uint64_t order_id, uint32_t version);

/** The oldest entry; NULL where there is none. Valid until the next call that changes something. */
const struct fill *fill_ledger_first(const struct fill_ledger *ledger);

/** Drops the oldest entry; there is one. */
void fill_ledger_drop_first(struct fill_ledger *ledger);

#endif
