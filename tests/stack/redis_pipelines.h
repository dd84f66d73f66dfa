/** The pipelines of the cache on the real adapter, with a topic and a store in memory: for
 *  redis_driver.c. One thread. */
#ifndef ORDERD_TESTS_REDIS_PIPELINES_H
#define ORDERD_TESTS_REDIS_PIPELINES_H

#include "adapter/redis/redis.h"

/** `versions` changes of each of `count` orders go through the cache pipeline; prints what came of
 *  it when the last is committed. */
void pipelines_follow(struct redis *redis, uint64_t first, uint64_t count, uint64_t versions);

/** Runs the refill pipeline on a store with `count` orders of version 1 until it has walked
 *  once. */
void pipelines_refill(struct redis *redis, uint64_t first, uint64_t count);

/** Runs the refresh pipeline on such a store until so many orders were put again. */
void pipelines_refresh(struct redis *redis, uint64_t first, uint64_t count);

#endif
