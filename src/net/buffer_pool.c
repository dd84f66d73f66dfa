#include "net/buffer_pool.h"

#include "base/pages.h"

#include <assert.h>
#include <stdlib.h>

/* Buffers a power of two apart would all begin in the same cache sets, and a hundred requests
 * being served at once would push each other's first lines out. */
#define STAGGER_BYTES (3 * CACHE_LINE_BYTES)

/* An address sanitizer is told which bytes are nobody's, so that it sees a use after giving back
 * and a write past the end. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_SANITIZED 1
#endif
#endif
#ifdef POOL_SANITIZED
#include <sanitizer/asan_interface.h>
#define FORBID(memory, size) __asan_poison_memory_region((memory), (size))
#define ALLOW(memory, size) __asan_unpoison_memory_region((memory), (size))
#else
#define FORBID(memory, size) ((void)(memory), (void)(size))
#define ALLOW(memory, size) ((void)(memory), (void)(size))
#endif

bool buffer_pool_init(struct buffer_pool *pool, size_t buffer_bytes, uint32_t count) {
    memset(pool, 0, sizeof(*pool));
    pool->buffer_bytes = buffer_bytes;
    pool->stride_bytes = bytes_align_up(buffer_bytes, CACHE_LINE_BYTES) + STAGGER_BYTES;
    if (count == 0) {
        return true;
    }
    pool->memory_bytes = pool->stride_bytes * count;
    pool->memory = pages_reserve(pool->memory_bytes);
    pool->free = malloc(count * sizeof(*pool->free));
    if (pool->memory == NULL || pool->free == NULL) {
        buffer_pool_deinit(pool);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        pool->free[i] = count - 1 - i;
    }
    pool->count = count;
    pool->free_count = count;
    FORBID(pool->memory, pool->memory_bytes);
    return true;
}

void buffer_pool_deinit(struct buffer_pool *pool) {
    assert(buffer_pool_taken(pool) == 0);
    if (pool->memory != NULL) {
        ALLOW(pool->memory, pool->memory_bytes);
        pages_release(pool->memory, pool->memory_bytes);
    }
    free(pool->free);
    memset(pool, 0, sizeof(*pool));
}

char *buffer_pool_take(struct buffer_pool *pool) {
    if (pool->free_count == 0) {
        return NULL;
    }
    pool->free_count--;
    char *buffer = pool->memory + pool->free[pool->free_count] * pool->stride_bytes;
    ALLOW(buffer, pool->buffer_bytes);
    return buffer;
}

void buffer_pool_give(struct buffer_pool *pool, char *buffer) {
    size_t offset = (size_t)(buffer - pool->memory);
    assert(buffer >= pool->memory && offset < pool->memory_bytes &&
           offset % pool->stride_bytes == 0 && pool->free_count < pool->count);
    FORBID(buffer, pool->buffer_bytes);
    pool->free[pool->free_count] = (uint32_t)(offset / pool->stride_bytes);
    pool->free_count++;
}

bool buffer_pools_init(struct buffer_pools *pools, uint32_t small_count, uint32_t medium_count,
                       uint32_t large_count) {
    memset(pools, 0, sizeof(*pools));
    return buffer_pool_init(&pools->small, BUFFER_SMALL_BYTES, small_count) &&
           buffer_pool_init(&pools->medium, BUFFER_MEDIUM_BYTES, medium_count) &&
           buffer_pool_init(&pools->large, BUFFER_LARGE_BYTES, large_count);
}

void buffer_pools_deinit(struct buffer_pools *pools) {
    buffer_pool_deinit(&pools->small);
    buffer_pool_deinit(&pools->medium);
    buffer_pool_deinit(&pools->large);
}

char *buffer_pools_take_large(struct buffer_pools *pools, size_t size, struct buffer_pool **pool) {
    struct buffer_pool *candidates[] = {&pools->medium, &pools->large};
    for (size_t i = 0; i < ARRAY_COUNT(candidates); i++) {
        if (size <= candidates[i]->buffer_bytes) {
            char *buffer = buffer_pool_take(candidates[i]);
            if (buffer != NULL) {
                *pool = candidates[i];
                return buffer;
            }
        }
    }
    pools->exhausted++;
    return NULL;
}
