/** The event loop: one a thread, owned by the caller, which gives the memory.
 *
 *  One iteration: wait for events (epoll), call the sources that are ready, drain the mailbox, run
 *  the timers that are due, then the hooks. Hooks come in two stages. LOOP_STAGE_BATCH is for those
 *  who collected work while the events were read and now do it as one batch; one that made new
 *  work returns true, and all of them run again. LOOP_STAGE_FLUSH runs once after that, and sends.
 *  So batches form from what arrived together, and each peer's answers leave with one call.
 *
 *  The loop sleeps only when nothing was ready in the last look; only then do senders to its
 *  mailbox have to wake it, and only then is the eventfd read. Under load neither happens.
 *
 *  Everything here runs on the loop's own thread, but for loop_stop. */
#ifndef ORDERD_NET_LOOP_H
#define ORDERD_NET_LOOP_H

#include "base/clock.h"
#include "base/fault.h"
#include "base/mailbox.h"
#include "base/metrics.h"
#include "net/timer_wheel.h"

#include <sys/epoll.h>

#define LOOP_EVENTS_MAX 256

/** A descriptor that the loop watches. The descriptor stays the caller's, who closes it after
 *  loop_remove. Zero the struct, then set `fd` and `ready`. */
struct loop_source {
    int fd;
    /** @param events as epoll reports them. May add and remove any source, itself too. */
    void (*ready)(struct loop_source *source, uint32_t events);
    struct epoll_event *reported; /* the loop's: of this iteration, until it is dispatched */
};

enum loop_stage { LOOP_STAGE_BATCH, LOOP_STAGE_FLUSH, LOOP_STAGE_COUNT };

struct loop_hook {
    struct list_node node;
    /** BATCH: true when it made work that other hooks may have to do now. FLUSH: ignored.
     *  It may not remove hooks. */
    bool (*run)(struct loop_hook *hook);
};

#define LOOP_METRICS(X)                                                                            \
    X(counter, iterations_total, "Iterations of the event loops")                                  \
    X(counter, events_total, "Descriptor events that were dispatched")                             \
    X(counter, sleeps_total, "Times that a loop waited because nothing was ready")                 \
    X(counter, asleep_microseconds_total, "Time that the loops waited because nothing was ready")  \
    X(counter, rounds_total, "Rounds of batch hooks beyond the first of an iteration")

struct loop_metrics {
    LOOP_METRICS(METRIC_FIELD)
};

struct loop_setup {
    struct mailbox *mailbox; /* borrowed; the loop is its owner in the mailbox's sense */
    /** Takes what it wants out of the mailbox; what it leaves is for the next iteration. */
    void (*drain)(void *context, struct mailbox *mailbox);
    void *context;
    const struct clock *clock; /* any clock that never goes back; NULL: the monotonic one */
};

struct loop {
    int epoll_fd;
    int event_count;
    struct loop_setup setup;
    struct loop_source mailbox_source;
    struct timer_wheel timers;
    struct list_node hooks[LOOP_STAGE_COUNT];
    int64_t now_us;
    uint64_t iteration;
    bool busy;        /* the last look found something: look again before sleeping */
    bool awake;       /* somebody has work for the next iteration */
    bool hooks_ahead; /* the hooks of this iteration are still to be run */
    _Atomic uint32_t stopped;
    struct loop_metrics metrics;
    struct epoll_event events[LOOP_EVENTS_MAX];
};

MUST_CHECK bool loop_init(struct loop *loop, const struct loop_setup *setup, struct fault *fault);

/** Every source must have been removed. */
void loop_deinit(struct loop *loop);

void loop_register_metrics(struct loop *loop, struct metrics *metrics, const char *labels);

/** Watches `source` for `events` (EPOLLIN and so on, EPOLLET too). False when the system refuses,
 *  with errno set. */
MUST_CHECK bool loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
MUST_CHECK bool loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);

/** Its `ready` is not called again, not even for an event of this iteration. */
void loop_remove(struct loop *loop, struct loop_source *source);

void loop_add_hook(struct loop *loop, enum loop_stage stage, struct loop_hook *hook);
void loop_remove_hook(struct loop_hook *hook);

/** The next iteration does not wait. */
static inline void loop_keep_awake(struct loop *loop) {
    loop->awake = true;
}

/** Work was queued for a hook: where the hooks of this iteration are over, or none goes on, the
 *  next iteration does not wait. */
static inline void loop_want_hooks(struct loop *loop) {
    loop->awake |= !loop->hooks_ahead;
}

/** When this iteration began, microseconds of the loop's clock. */
static inline int64_t loop_now_us(const struct loop *loop) {
    return loop->now_us;
}

/** Starts or moves a timer; see timer_wheel.h. Stop it with timer_stop. */
static inline void loop_timer_start(struct loop *loop, struct timer *timer, int64_t delay_us) {
    timer_wheel_start(&loop->timers, timer, loop->now_us + delay_us);
}

/** One iteration. @param wait_ms_max how long it may wait for something to do; -1: for ever.
 *  Returns how many events were dispatched. */
size_t loop_step(struct loop *loop, int wait_ms_max);

/** Iterates until loop_stop. */
void loop_run(struct loop *loop);

/** Makes loop_run return soon. @thread any. */
void loop_stop(struct loop *loop);

#endif
