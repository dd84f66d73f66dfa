/** When the requests of an open loop are due: at a constant rate from the begin on, whatever the
 *  service does. A latency counts from there, so a service that stalls is charged for all that
 *  should have been sent meanwhile (no coordinated omission).
 *
 *  Pure; one thread a schedule. */
#ifndef ORDERD_ORDERCTL_BENCH_SCHEDULE_H
#define ORDERD_ORDERCTL_BENCH_SCHEDULE_H

#include "base/bytes.h"

#define BENCH_NANOSECONDS INT64_C(1000000000)

struct bench_schedule {
    int64_t begin_ns;
    double requests_per_second;
    uint64_t taken;
};

/** When the next request is due. Counted from the begin, so that no rounding adds up. */
static inline int64_t bench_schedule_due_ns(const struct bench_schedule *schedule) {
    return schedule->begin_ns + (int64_t)((double)schedule->taken / schedule->requests_per_second *
                                          (double)BENCH_NANOSECONDS);
}

/** Takes the next request, due at the time that is returned. */
static inline int64_t bench_schedule_take(struct bench_schedule *schedule) {
    int64_t due_ns = bench_schedule_due_ns(schedule);
    schedule->taken++;
    return due_ns;
}

#endif
