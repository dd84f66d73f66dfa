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

/** The buffers of one server: small ones, of which there is one for each connection, and larger
 *  ones, which are for those who need them now. */
struct buffer_pools {
    struct buffer_pool small;
    struct buffer_pool medium;
    struct buffer_pool large;
    uint64_t exhausted; /* how often none of the larger ones was left */
};

#define BUFFER_SMALL_BYTES ((size_t)32 << 10)
#define BUFFER_MEDIUM_BYTES ((size_t)72 << 10)
#define BUFFER_LARGE_BYTES (((size_t)1 << 20) + ((size_t)64 << 10))

/** False when memory is short. Needs buffer_pools_deinit in any case. */
MUST_CHECK bool buffer_pools_init(struct buffer_pools *pools, uint32_t small_count,
                                  uint32_t medium_count, uint32_t large_count);
void buffer_pools_deinit(struct buffer_pools *pools);

/** A medium or large buffer that holds `size` bytes; NULL, and counted, where none is left. */
char *buffer_pools_take_large(struct buffer_pools *pools, size_t size, struct buffer_pool **pool);

#endif
