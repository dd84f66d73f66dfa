/** A small seeded random source (splitmix64), passed in wherever chance is needed, so that a run
 *  can be repeated from its seed. Not for secrets. One thread at a time. */
#ifndef ORDERD_BASE_RANDOM_H
#define ORDERD_BASE_RANDOM_H

#include "base/hash.h"

#include <stdbool.h>

struct random_source {
    uint64_t state;
};

static inline uint64_t random_u64(struct random_source *source) {
    source->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = source->state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

/** Uniform in [0, range); 0 where range is 0. */
static inline uint64_t random_below(struct random_source *source, uint64_t range) {
    return hash_to_range(random_u64(source), range);
}

/** True `numerator` times out of `denominator`. */
static inline bool random_chance(struct random_source *source, uint64_t numerator,
                                 uint64_t denominator) {
    return random_below(source, denominator) < numerator;
}

#endif
