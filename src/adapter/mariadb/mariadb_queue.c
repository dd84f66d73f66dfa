#include "adapter/mariadb/mariadb_queue.h"

#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

bool mariadb_queue_init(struct mariadb_queue *queue, size_t capacity) {
    pthread_condattr_t attributes;
    *queue = (struct mariadb_queue){.capacity = capacity};
    queue->items = calloc(capacity, sizeof(*queue->items));
    if (queue->items == NULL) {
        return false;
    }
    bool made = pthread_condattr_init(&attributes) == 0 &&
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(&queue->filled, &attributes) == 0 &&
                pthread_mutex_init(&queue->mutex, NULL) == 0;
    (void)pthread_condattr_destroy(&attributes);
    if (!made) {
        free(queue->items);
        queue->items = NULL;
    }
    return made;
}

void mariadb_queue_deinit(struct mariadb_queue *queue) {
    if (queue->items != NULL) {
        (void)pthread_cond_destroy(&queue->filled);
        (void)pthread_mutex_destroy(&queue->mutex);
        free(queue->items);
        queue->items = NULL;
    }
}

size_t mariadb_queue_push(struct mariadb_queue *queue, const struct mariadb_item *items,
                          size_t count, size_t batch) {
    pthread_mutex_lock(&queue->mutex);
    size_t taken = bytes_min_size(count, queue->capacity - queue->count);
    for (size_t i = 0; i < taken; i++) {
        queue->items[(queue->head + queue->count + i) % queue->capacity] = items[i];
    }
    queue->count += taken;
    for (size_t covered = 0; covered < taken; covered += batch) {
        pthread_cond_signal(&queue->filled);
    }
    pthread_mutex_unlock(&queue->mutex);
    return taken;
}

static struct mariadb_item front(const struct mariadb_queue *queue) {
    return queue->items[queue->head];
}

static struct mariadb_item pop(struct mariadb_queue *queue) {
    struct mariadb_item item = front(queue);
    queue->head = (queue->head + 1) % queue->capacity;
    queue->count--;
    return item;
}

size_t mariadb_queue_take(struct mariadb_queue *queue, struct mariadb_item *items,
                          const size_t limits[MARIADB_RESOLVE + 1], int timeout_ms, bool *stopped) {
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    size_t taken = 0;
    pthread_mutex_lock(&queue->mutex);
    while (queue->count == 0 && !queue->stopped && timeout_ms > 0) {
        if (pthread_cond_timedwait(&queue->filled, &queue->mutex, &until) != 0) {
            break;
        }
    }
    if (queue->count > 0) {
        uint32_t kind = front(queue).kind;
        while (queue->count > 0 && taken < limits[kind] && front(queue).kind == kind) {
            items[taken++] = pop(queue);
        }
    }
    *stopped = queue->stopped && queue->count == 0 && taken == 0;
    if (queue->count > 0) {
        pthread_cond_signal(&queue->filled);
    }
    pthread_mutex_unlock(&queue->mutex);
    return taken;
}

size_t mariadb_queue_take_overdue(struct mariadb_queue *queue, int64_t now_us,
                                  struct mariadb_item *items, size_t limit) {
    size_t taken = 0;
    pthread_mutex_lock(&queue->mutex);
    while (taken < limit && queue->count > 0 && front(queue).ticket->start_by_us < now_us) {
        items[taken++] = pop(queue);
    }
    pthread_mutex_unlock(&queue->mutex);
    return taken;
}

size_t mariadb_queue_count(struct mariadb_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    size_t count = queue->count;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

void mariadb_queue_stop(struct mariadb_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->filled);
    pthread_mutex_unlock(&queue->mutex);
}
