/** A bounded queue of pointers from any number of threads to one: the way that work travels
 *  between threads here. Full is an answer, never a wait.
 *
 *  Each cell carries a sequence number that says whose turn it is (Vyukov's bounded queue), so
 *  producers meet only in one compare-and-swap and never wait for the consumer. */
#ifndef ORDERD_BASE_RING_H
#define ORDERD_BASE_RING_H

#include "base/bytes.h"

#include <stdatomic.h>

struct ring_cell;

struct ring {
    struct ring_cell *cells; /* owned */
    size_t mask;
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t tail; /* producers */
    _Alignas(CACHE_LINE_BYTES) _Atomic size_t head; /* written by the consumer only */
};

/** @param capacity rounded up to a power of two. False when memory is short. */
MUST_CHECK bool ring_init(struct ring *ring, size_t capacity);
void ring_deinit(struct ring *ring);

/** False when the ring is full. @thread any. */
MUST_CHECK bool ring_push(struct ring *ring, void *item);

/** NULL when the ring is empty. @thread the consumer. */
void *ring_pop(struct ring *ring);

/** How many items wait, about. @thread any. */
size_t ring_count(const struct ring *ring);

#endif
