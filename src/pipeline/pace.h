/** A rate limit: so many items a second, evenly, without a burst after a rest. The owner asks
 *  whether it may go on, and says how many it then took. One thread. */
#ifndef ORDERD_PIPELINE_PACE_H
#define ORDERD_PIPELINE_PACE_H

#include "base/bytes.h"

struct pace {
    uint64_t per_second; /* at least 1 */
    int64_t next_us;     /* not before this, on the owner's clock */
};

/** How many items to take at once, at most `limit`: a tenth of a second's. */
static inline size_t pace_batch(const struct pace *pace, size_t limit) {
    uint64_t tenth = pace->per_second / 10;
    return (size_t)bytes_min_u64(tenth == 0 ? 1 : tenth, limit);
}

static inline void pace_took(struct pace *pace, size_t count, int64_t now_us) {
    int64_t from_us = pace->next_us > now_us ? pace->next_us : now_us;
    pace->next_us = from_us + (int64_t)(count * UINT64_C(1000000) / pace->per_second);
}

#endif
