/** A histogram of non-negative integers with a relative error of at most 1/16: each power of two
 *  is cut into 16 equal steps. Any number of threads add; a reader sees each count as it is at
 *  that moment. */
#ifndef ORDERD_BASE_HISTOGRAM_H
#define ORDERD_BASE_HISTOGRAM_H

#include "base/bytes.h"

#include <stdatomic.h>

#define HISTOGRAM_STEPS 16
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 41) /* values up to 2^44 */

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
};

/** @thread any. A value past the last bucket is counted in it. */
void histogram_add(struct histogram *histogram, uint64_t value);

/** The smallest bucket limit that `fraction` (0 to 1) of the values do not pass; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

uint64_t histogram_count(const struct histogram *histogram);

/** Number of values below `limit`, which should be a power of two to be exact. */
uint64_t histogram_count_below(const struct histogram *histogram, uint64_t limit);

/** Adds the counts of `from` to `into`, which no other thread uses. */
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
