#include "base/histogram.h"

static size_t bucket_of(uint64_t value) {
    if (value < HISTOGRAM_STEPS) {
        return (size_t)value;
    }
    unsigned exponent = 63 - (unsigned)__builtin_clzll(value);
    size_t step = (size_t)(value >> (exponent - 4)) & (HISTOGRAM_STEPS - 1);
    size_t bucket = (size_t)(exponent - 3) * HISTOGRAM_STEPS + step;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/** The first value that is past the bucket. */
static uint64_t bucket_limit(size_t bucket) {
    if (bucket < HISTOGRAM_STEPS) {
        return bucket + 1;
    }
    size_t exponent = bucket / HISTOGRAM_STEPS + 3;
    uint64_t step = bucket % HISTOGRAM_STEPS;
    return (UINT64_C(1) << exponent) + ((step + 1) << (exponent - 4));
}

void histogram_add(struct histogram *histogram, uint64_t value) {
    atomic_fetch_add_explicit(&histogram->counts[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum, value, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
    while (value > max &&
           !atomic_compare_exchange_weak_explicit(&histogram->max, &max, value,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

uint64_t histogram_count(const struct histogram *histogram) {
    uint64_t total = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        total += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    return total;
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction) {
    uint64_t total = histogram_count(histogram);
    if (total == 0) {
        return 0;
    }
    double share = (double)total * fraction;
    uint64_t rank = (uint64_t)share; /* of the value that is asked for, from 1 */
    rank += rank == 0 || (double)rank < share ? 1 : 0;
    uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
    uint64_t seen = 0;
    /* The last bucket also has what is past it: only the greatest value bounds that. */
    for (size_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        if (seen >= rank) {
            return bytes_min_u64(bucket_limit(i) - 1, max);
        }
    }
    return max;
}

uint64_t histogram_count_below(const struct histogram *histogram, uint64_t limit) {
    uint64_t below = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && bucket_limit(i) <= limit; i++) {
        below += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    return below;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->counts[i] += atomic_load_explicit(&from->counts[i], memory_order_relaxed);
    }
    into->sum += atomic_load_explicit(&from->sum, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&from->max, memory_order_relaxed);
    into->max = bytes_max_u64(into->max, max);
}
