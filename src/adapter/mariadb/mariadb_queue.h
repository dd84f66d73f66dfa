/** Items that wait for the lanes of one kind of one shard: first in, first out, bounded. Lanes take
 *  whatever waits, up to what fits into a transaction, so batches form by themselves.
 *
 *  While one lane is at work, another takes only what is worth a transaction of its own (`gather`
 *  items), or has waited for MARIADB_GATHER_US: else many lanes would make many small transactions
 *  out of a load that few large ones carry.
 *
 *  A mutex guards it: a lane takes it once a transaction, the dispatcher once a request and shard.
 *  @thread any, unless said otherwise. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_QUEUE_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_QUEUE_H

#include "adapter/mariadb/mariadb_ticket.h"

#include <pthread.h>

#define MARIADB_GATHER_US 10000

struct mariadb_queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct mariadb_item *items; /* owned; a ring, guarded by mutex, as everything below */
    size_t capacity;
    size_t head;
    size_t count;
    size_t gather;
    size_t busy; /* lanes at work */
    bool stopped;
};

/** @param gather 1: every lane takes what there is. */
MUST_CHECK bool mariadb_queue_init(struct mariadb_queue *queue, size_t capacity, size_t gather);
void mariadb_queue_deinit(struct mariadb_queue *queue);

/** Puts items in, in their order, all at once, so that a lane that wakes finds them together. How
 *  many had room; the others were not taken. @param batch how many one lane takes: that many lanes
 *  are woken. */
MUST_CHECK size_t mariadb_queue_push(struct mariadb_queue *queue, const struct mariadb_item *items,
                                     size_t count, size_t batch);

/** Takes items of one kind from the front, up to `limits[kind]`; waits for the first at most
 *  `timeout_ms`. `stopped` is true where the queue is stopped and empty. A lane that got items
 *  calls mariadb_queue_done once it is through with them. */
MUST_CHECK size_t mariadb_queue_take(struct mariadb_queue *queue, struct mariadb_item *items,
                                     const size_t limits[MARIADB_RESOLVE + 1], int timeout_ms,
                                     bool *stopped);

void mariadb_queue_done(struct mariadb_queue *queue);

/** Takes items from the front that nobody has taken in time. */
MUST_CHECK size_t mariadb_queue_take_overdue(struct mariadb_queue *queue, int64_t now_us,
                                             struct mariadb_item *items, size_t limit);

size_t mariadb_queue_count(struct mariadb_queue *queue);

/** Nothing comes any more: whoever waits is woken, and what is in is still handed out. */
void mariadb_queue_stop(struct mariadb_queue *queue);

#endif
