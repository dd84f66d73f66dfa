/** Time, passed in: every module that needs the time gets a `struct clock`, so that the simulator
 *  can hand it virtual time.
 *
 *  The real one is the service clock. It follows the system's wall clock but never goes back: after
 *  a step back (or a restart with a clock behind the newest stored time) it goes on from where it
 *  was, and gives the lead back at one part in a thousand. `service_clock_lead_us` tells by how
 *  much it is ahead. So ids, versions' times and time-outs stay ordered whatever NTP does. */
#ifndef ORDERD_BASE_CLOCK_H
#define ORDERD_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct clock {
    /** Microseconds since 1970, never decreasing. @thread any. */
    int64_t (*now_us)(const struct clock *clock);
};

static inline int64_t clock_now_us(const struct clock *clock) {
    return clock->now_us(clock);
}

/** What is added to the monotonic clock: `base_us`, less what was given back of `slew_us` since the
 *  monotonic time `slew_from_us`. */
struct clock_plan {
    _Atomic int64_t base_us;
    _Atomic int64_t slew_from_us;
    _Atomic int64_t slew_us;
};

struct service_clock {
    struct clock clock;
    /** Two plans, so that one can be written while readers use the other: plan number `plan` is in
     *  plans[plan % 2]. Written by whoever adjusts, one thread. */
    struct clock_plan plans[2];
    _Atomic uint32_t plan;
    _Atomic int64_t lead_us;
};

/** @param floor_us the newest time that is stored anywhere: the clock starts at or above it. */
void service_clock_init(struct service_clock *service, int64_t floor_us);

/** Lifts the clock to at least `floor_us`, for a floor learnt after the start.
 *  @thread the one that adjusts. */
void service_clock_raise(struct service_clock *service, int64_t floor_us);

/** Compares with the wall clock: jumps forward with it, or plans how a lead is given back. Call
 *  about ten times a second. @thread always the same one. */
void service_clock_adjust(struct service_clock *service);

/** How far the service clock is ahead of the wall clock, microseconds. @thread any. */
int64_t service_clock_lead_us(const struct service_clock *service);

/** The monotonic clock, microseconds, for durations and deadlines. @thread any. */
int64_t clock_monotonic_us(void);

/** The same as a clock to pass in. */
extern const struct clock clock_monotonic;

/** The wall clock as the system has it, microseconds since 1970. @thread any. */
int64_t clock_wall_us(void);

#endif
