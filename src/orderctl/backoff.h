/** How long to wait before trying again: twice as long each time up to a limit, and only so many
 *  times in a row. Pure. */
#ifndef ORDERD_ORDERCTL_BACKOFF_H
#define ORDERD_ORDERCTL_BACKOFF_H

#include "base/random.h"

struct backoff {
    uint64_t first_ms;
    uint64_t limit_ms;
    unsigned tries_max;
    unsigned tries; /* since the last success */
};

static inline void backoff_reset(struct backoff *backoff) {
    backoff->tries = 0;
}

/** The next wait: between half and the whole of its step, so that many clients that were cut off
 *  together do not come back together. False where enough was tried.
 *  @param at_least_ms what the service asked for; 0: nothing. */
static inline bool backoff_next(struct backoff *backoff, struct random_source *random,
                                uint64_t at_least_ms, uint64_t *wait_ms) {
    if (backoff->tries == backoff->tries_max) {
        return false;
    }
    uint64_t step_ms = backoff->limit_ms;
    if (backoff->tries < 32 && backoff->first_ms << backoff->tries < backoff->limit_ms) {
        step_ms = backoff->first_ms << backoff->tries;
    }
    backoff->tries++;
    *wait_ms = step_ms - random_below(random, step_ms / 2 + 1);
    if (*wait_ms < at_least_ms) {
        *wait_ms = at_least_ms;
    }
    return true;
}

#endif
