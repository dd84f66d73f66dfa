/** Buffers of one size, all from one reservation made at the start: taking and giving back never
 *  allocates, and "none left" is an answer. The one given back last is taken next, while it is
 *  still in the cache; memory that was never taken was never touched and costs nothing.
 *  One thread. */
#ifndef ORDERD_NET_BUFFER_POOL_H
#define ORDERD_NET_BUFFER_POOL_H

#include "base/bytes.h"

struct buffer_pool {
    char *memory; /* owned */
    size_t memory_bytes;
    size_t buffer_bytes; /* usable */
    size_t stride_bytes;
    uint32_t count;
    uint32_t free_count;
    uint32_t *free; /* owned: a stack of buffer numbers */
};

/** False when memory is short. @param count may be 0: then there is never a buffer. */
MUST_CHECK bool buffer_pool_init(struct buffer_pool *pool, size_t buffer_bytes, uint32_t count);
void buffer_pool_deinit(struct buffer_pool *pool);

/** A buffer of `buffer_bytes`, aligned to 64 bytes, contents undefined; NULL when all are taken. */
char *buffer_pool_take(struct buffer_pool *pool);
void buffer_pool_give(struct buffer_pool *pool, char *buffer);

static inline uint32_t buffer_pool_taken(const struct buffer_pool *pool) {
    return pool->count - pool->free_count;
}

#endif
