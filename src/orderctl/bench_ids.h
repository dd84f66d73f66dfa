/** The order ids that a bench asks for, mostly from a file of u64, little-endian.
 *
 *  They are shuffled once at the start; a request then takes the run that begins at a random place.
 *  Every id is as likely as any other in each request, in no order that memory would like, and
 *  choosing them costs nothing: the request is sent straight from here.
 *
 *  Read-only after bench_ids_read or _copy; any thread. */
#ifndef ORDERD_ORDERCTL_BENCH_IDS_H
#define ORDERD_ORDERCTL_BENCH_IDS_H

#include "base/bytes.h"
#include "base/fault.h"
#include "base/random.h"

struct bench_ids {
    uint64_t *ids; /* owned; the first ones follow the last again, so that every run is whole */
    size_t count;  /* without those that are repeated */
    size_t memory_bytes;
};

/** Reads and shuffles. @param run_max the longest run that is asked for. False with the reason. */
MUST_CHECK bool bench_ids_read(struct bench_ids *ids, const char *path, size_t run_max,
                               uint64_t seed, struct fault *fault);
void bench_ids_release(struct bench_ids *ids);

/** The same with `count` ids from memory. */
MUST_CHECK bool bench_ids_copy(struct bench_ids *ids, const uint64_t *from, size_t count,
                               size_t run_max, uint64_t seed, struct fault *fault);

/** True where a file can be written there; makes an empty one where there is none. */
MUST_CHECK bool bench_ids_can_write(const char *path, struct fault *fault);

/** Writes `count` ids as a file. */
MUST_CHECK bool bench_ids_write(const char *path, const uint64_t *ids, size_t count,
                                struct fault *fault);

/** A run of ids at a random place. */
static inline const uint64_t *bench_ids_pick(const struct bench_ids *ids,
                                             struct random_source *random) {
    return ids->ids + random_below(random, ids->count);
}

#endif
