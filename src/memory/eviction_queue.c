#include "memory/eviction_queue.h"

#include "base/pages.h"

#include <assert.h>

/* A tenth of what may leave waits in the small queue, as the paper found best. */
#define SMALL_SHARE 10

static uint32_t small_capacity(uint64_t capacity) {
    return (uint32_t)(capacity / 8 + 16);
}

static uint32_t ghost_slots(uint64_t capacity) {
    return (uint32_t)(capacity / 8 + 16);
}

uint64_t eviction_queue_bytes(uint64_t capacity) {
    return ((uint64_t)small_capacity(capacity) + capacity + ghost_slots(capacity)) *
           sizeof(uint32_t);
}

bool eviction_queue_init(struct eviction_queue *queue, uint32_t capacity) {
    *queue = (struct eviction_queue){.bytes = eviction_queue_bytes(capacity)};
    uint32_t *memory = pages_reserve(queue->bytes);
    if (memory == NULL) {
        return false;
    }
    queue->small = (struct position_ring){.items = memory, .capacity = small_capacity(capacity)};
    queue->main =
        (struct position_ring){.items = memory + queue->small.capacity, .capacity = capacity};
    queue->ghosts = queue->main.items + queue->main.capacity;
    queue->ghost_count = ghost_slots(capacity);
    return true;
}

void eviction_queue_deinit(struct eviction_queue *queue) {
    pages_release(queue->small.items, queue->bytes);
}

void eviction_queue_clear(struct eviction_queue *queue) {
    pages_clear(queue->small.items, queue->bytes);
    queue->small.head = 0;
    queue->small.count = 0;
    queue->main.head = 0;
    queue->main.count = 0;
}

static void push(struct position_ring *ring, uint32_t position) {
    assert(ring->count < ring->capacity); /* each position is queued at most once */
    uint64_t at = (uint64_t)ring->head + ring->count;
    ring->items[at >= ring->capacity ? at - ring->capacity : at] = position;
    ring->count++;
}

static uint32_t pop(struct position_ring *ring) {
    assert(ring->count > 0);
    uint32_t position = ring->items[ring->head];
    ring->head = ring->head + 1 == ring->capacity ? 0 : ring->head + 1;
    ring->count--;
    return position;
}

static uint32_t *ghost_of(struct eviction_queue *queue, uint64_t hash) {
    return &queue->ghosts[(uint32_t)(hash >> 32) % queue->ghost_count];
}

static uint32_t fragment(uint64_t hash) {
    return (uint32_t)hash | 1; /* 0 is an empty place */
}

void eviction_queue_add(struct eviction_queue *queue, uint32_t position, uint64_t hash) {
    uint32_t *ghost = ghost_of(queue, hash);
    if (*ghost == fragment(hash)) {
        *ghost = 0;
        push(&queue->main, position);
        return;
    }
    if (queue->small.count == queue->small.capacity) {
        push(&queue->main, pop(&queue->small));
    }
    push(&queue->small, position);
}

bool eviction_queue_next(struct eviction_queue *queue,
                         enum eviction_judgement (*judge)(void *, uint32_t),
                         uint64_t (*hash_of)(void *, uint32_t), void *context, uint32_t *position) {
    while (queue->small.count + queue->main.count > 0) {
        uint64_t total = (uint64_t)queue->small.count + queue->main.count;
        bool from_small = queue->main.count == 0 || queue->small.count * SMALL_SHARE >= total;
        *position = pop(from_small ? &queue->small : &queue->main);
        switch (judge(context, *position)) {
        case EVICTION_STALE:
            break;
        case EVICTION_VISITED:
            push(&queue->main, *position);
            break;
        case EVICTION_UNVISITED:
            if (from_small) {
                uint64_t hash = hash_of(context, *position);
                *ghost_of(queue, hash) = fragment(hash);
            }
            return true;
        }
    }
    return false;
}
