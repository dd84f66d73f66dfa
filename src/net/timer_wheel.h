/** Timers by the ten thousand: a wheel of three levels (Varghese and Lauck, "Hashed and
 *  hierarchical timing wheels", SOSP 1987) in ticks of 8.192 ms. Starting and stopping is a list
 *  operation.
 *
 *  A timer that is moved to a later time stays where it is linked and is linked again when its old
 *  place comes up: so the limit of a busy connection, which is moved at every request, costs one
 *  store. Timers never expire early; they expire late by at most a tick and the owner's delay.
 *
 *  The timers belong to the callers. One thread. */
#ifndef ORDERD_NET_TIMER_WHEEL_H
#define ORDERD_NET_TIMER_WHEEL_H

#include "net/list.h"

#define TIMER_TICK_SHIFT 13 /* microseconds to ticks */
#define TIMER_NEAR_SLOTS 256
#define TIMER_FAR_SLOTS 64

/** Zero it and set `expired` before the first start. */
struct timer {
    struct list_node node;
    int64_t due_us;
    uint64_t linked_tick; /* the wheel's: at which it looks at the timer next */
    /** The timer is stopped when this is called; it may be started again here. */
    void (*expired)(struct timer *timer);
};

struct timer_wheel {
    uint64_t tick;                             /* the newest whose timers were run */
    uint64_t near_used[TIMER_NEAR_SLOTS / 64]; /* a bit a slot; stays set when one empties early */
    uint64_t middle_used;
    uint64_t far_used;
    struct list_node near[TIMER_NEAR_SLOTS];  /* the next 2 s, a tick each */
    struct list_node middle[TIMER_FAR_SLOTS]; /* the next 134 s, 256 ticks each */
    struct list_node far[TIMER_FAR_SLOTS];    /* the next 2.4 h, 16,384 ticks each, and later */
};

void timer_wheel_init(struct timer_wheel *wheel, int64_t now_us);

/** Starts the timer, or moves it when it runs. A time that has passed expires at the next tick. */
void timer_wheel_start(struct timer_wheel *wheel, struct timer *timer, int64_t due_us);

static inline void timer_stop(struct timer *timer) {
    list_remove(&timer->node);
}

static inline bool timer_is_running(const struct timer *timer) {
    return list_is_linked(&timer->node);
}

/** Calls `expired` of every timer that is due. Timers may be started and stopped meanwhile. */
void timer_wheel_advance(struct timer_wheel *wheel, int64_t now_us);

/** When timer_wheel_advance should be called next: not later than the first timer is due, though
 *  it may be earlier. INT64_MAX where no timer runs. */
int64_t timer_wheel_next_us(const struct timer_wheel *wheel);

#endif
