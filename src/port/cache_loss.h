/** What the cache lost all at once, without a word for each entry: a master that came back empty,
 *  one whose replica took over before it had everything, one that was flushed. A loss is told as
 *  hash slots, the cache's own division of its keys; whoever reads it writes the orders of those
 *  slots again. Implemented by adapter/redis (run id, role and flushes of every master);
 *  simulated in tests.
 *
 *  A loss is told once, and not kept over a restart of this process: what is lost meanwhile is the
 *  checker's work.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_CACHE_LOSS_H
#define ORDERD_PORT_CACHE_LOSS_H

#include "base/bytes.h"
#include "port/port_request.h"

#define CACHE_LOSS_SLOTS_MAX 16384
#define CACHE_LOSS_WORDS (CACHE_LOSS_SLOTS_MAX / 64)

/** Results: FOUND (count may be 0: nothing was lost within wait_ms). */
struct cache_loss_read {
    struct port_request request;
    uint32_t wait_ms;
    uint8_t result;
    size_t count;                     /* out: slots that are set */
    uint64_t slots[CACHE_LOSS_WORDS]; /* out: one bit a slot, lost since the last read */
};

struct cache_loss;

struct cache_loss_ops {
    enum port_submit (*read)(struct cache_loss *loss, struct cache_loss_read *request);
    /** The slot of an order's entry, below CACHE_LOSS_SLOTS_MAX. */
    uint32_t (*slot)(const struct cache_loss *loss, uint64_t order_id);
};

/** First member of every implementation. */
struct cache_loss {
    const struct cache_loss_ops *ops;
};

static inline bool cache_loss_has(const uint64_t *slots, uint32_t slot) {
    return (slots[slot / 64] >> (slot % 64) & 1) != 0;
}

#endif
