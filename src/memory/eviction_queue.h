/** Which order leaves the RAM table next: S3-FIFO (Yang et al., "FIFO queues are all you need for
 *  cache eviction", SOSP 2023). A small queue takes what comes; what was not read by the time it
 *  reaches the end leaves, what was read moves to the main queue, where it leaves after a round
 *  without a read. Orders that left the small queue are remembered for a while (`ghosts`), and
 *  go straight to the main queue when they come back.
 *
 *  The queues hold positions in the index (4 bytes each), each position at most once; whether it
 *  still holds an order that may leave is the table's to say. The table's writing thread only. */
#ifndef ORDERD_MEMORY_EVICTION_QUEUE_H
#define ORDERD_MEMORY_EVICTION_QUEUE_H

#include "base/bytes.h"

/** A first-in-first-out ring of positions. */
struct position_ring {
    uint32_t *items; /* owned by the queue */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;
};

struct eviction_queue {
    struct position_ring small;
    struct position_ring main;
    uint32_t *ghosts; /* owned; hash fragments, direct-mapped */
    uint32_t ghost_count;
    uint64_t bytes;
};

/** What the table knows of a queued position. */
enum eviction_judgement {
    EVICTION_STALE,   /* no longer an order that may leave: forget the position */
    EVICTION_VISITED, /* read since it was last judged; the mark is now cleared */
    EVICTION_UNVISITED
};

/** @param capacity the number of positions that there are. */
MUST_CHECK bool eviction_queue_init(struct eviction_queue *queue, uint32_t capacity);
void eviction_queue_deinit(struct eviction_queue *queue);
void eviction_queue_clear(struct eviction_queue *queue);

/** Bytes that a queue for `capacity` positions takes. */
uint64_t eviction_queue_bytes(uint64_t capacity);

/** Queues a position that is not queued. @param hash a mixed hash of the id there. */
void eviction_queue_add(struct eviction_queue *queue, uint32_t position, uint64_t hash);

/** Finds the next position to evict and takes it out of the queue. False where none is queued.
 *  `judge` is asked about positions in turn; `hash_of` gives the hash of the id at a position. */
MUST_CHECK bool eviction_queue_next(struct eviction_queue *queue,
                                    enum eviction_judgement (*judge)(void *context,
                                                                     uint32_t position),
                                    uint64_t (*hash_of)(void *context, uint32_t position),
                                    void *context, uint32_t *position);

#endif
