#include "adapter/mariadb/mariadb_queue.h"

#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

bool mariadb_queue_init(struct mariadb_queue *queue, size_t capacity, size_t gather) {
    pthread_condattr_t attributes;
    *queue = (struct mariadb_queue){.capacity = capacity, .gather = gather};
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

/** 0 where a lane may take what waits, else for how many microseconds it should not. */
static int64_t gathering_us(const struct mariadb_queue *queue, int64_t now_us) {
    if (queue->busy == 0 || queue->count >= queue->gather || queue->stopped) {
        return 0;
    }
    int64_t left_us = front(queue).ticket->submitted_us + MARIADB_GATHER_US - now_us;
    return left_us > 0 ? left_us : 0;
}

/** Waits until there is something that may be taken, or `until_us`. */
static bool wait_for_items(struct mariadb_queue *queue, int64_t until_us) {
    for (;;) {
        int64_t now_us = clock_monotonic_us();
        int64_t wake_us = until_us;
        if (queue->count > 0) {
            int64_t left_us = gathering_us(queue, now_us);
            if (left_us == 0) {
                return true;
            }
            wake_us = now_us + left_us < until_us ? now_us + left_us : until_us;
        }
        if (queue->stopped || now_us >= until_us) {
            return false;
        }
        struct timespec wake = {wake_us / 1000000, wake_us % 1000000 * 1000};
        (void)pthread_cond_timedwait(&queue->filled, &queue->mutex, &wake);
    }
}

size_t mariadb_queue_take(struct mariadb_queue *queue, struct mariadb_item *items,
                          const size_t limits[MARIADB_RESOLVE + 1], int timeout_ms, bool *stopped) {
    size_t taken = 0;
    pthread_mutex_lock(&queue->mutex);
    if (wait_for_items(queue, clock_monotonic_us() + (int64_t)timeout_ms * 1000)) {
        uint32_t kind = front(queue).kind;
        while (queue->count > 0 && taken < limits[kind] && front(queue).kind == kind) {
            items[taken++] = pop(queue);
        }
        queue->busy++;
    }
    *stopped = queue->stopped && queue->count == 0 && taken == 0;
    if (queue->count > 0) {
        pthread_cond_signal(&queue->filled);
    }
    pthread_mutex_unlock(&queue->mutex);
    return taken;
}

void mariadb_queue_done(struct mariadb_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    assert(queue->busy > 0);
    queue->busy--;
    if (queue->count > 0) {
        pthread_cond_signal(&queue->filled);
    }
    pthread_mutex_unlock(&queue->mutex);
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
