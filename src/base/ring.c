#include "base/ring.h"

#include <stdlib.h>

struct ring_cell {
    _Atomic size_t turn;
    void *item;
};

bool ring_init(struct ring *ring, size_t capacity) {
    size_t count = 2;
    while (count < capacity) {
        count *= 2;
    }
    ring->cells = calloc(count, sizeof(*ring->cells));
    if (ring->cells == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        atomic_init(&ring->cells[i].turn, i);
    }
    ring->mask = count - 1;
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->head, 0);
    return true;
}

void ring_deinit(struct ring *ring) {
    free(ring->cells);
    ring->cells = NULL;
}

bool ring_push(struct ring *ring, void *item) {
    size_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (;;) {
        struct ring_cell *cell = &ring->cells[at & ring->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        if (turn == at) {
            if (atomic_compare_exchange_weak_explicit(&ring->tail, &at, at + 1,
                                                      memory_order_relaxed, memory_order_relaxed)) {
                cell->item = item;
                atomic_store_explicit(&cell->turn, at + 1, memory_order_release);
                return true;
            }
        } else if ((ptrdiff_t)(turn - at) < 0) {
            return false;
        } else {
            at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        }
    }
}

void *ring_pop(struct ring *ring) {
    size_t at = atomic_load_explicit(&ring->head, memory_order_relaxed);
    struct ring_cell *cell = &ring->cells[at & ring->mask];
    if (atomic_load_explicit(&cell->turn, memory_order_acquire) != at + 1) {
        return NULL;
    }
    void *item = cell->item;
    atomic_store_explicit(&cell->turn, at + ring->mask + 1, memory_order_release);
    atomic_store_explicit(&ring->head, at + 1, memory_order_relaxed);
    return item;
}

size_t ring_count(const struct ring *ring) {
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    return tail > head ? tail - head : 0;
}
