#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

/* Enough for a full input buffer of small pipelined requests; what is left goes on in the next
 * iteration, after other connections had their turn. */
#define BATCH_ROUNDS_MAX 64

#define METRIC(...) METRIC_ENTRY_OF(struct loop_metrics, __VA_ARGS__)

static const struct metric_description loop_metric_table[] = {LOOP_METRICS(METRIC)};

static int64_t monotonic_now(const struct clock *clock) {
    (void)clock;
    return clock_monotonic_us();
}

static const struct clock monotonic_clock = {monotonic_now};

static void mailbox_ready(struct loop_source *source, uint32_t events) {
    /* The loop drains the mailbox in every iteration, and mailbox_end_sleep reads the counter. */
    (void)source;
    (void)events;
}

bool loop_init(struct loop *loop, const struct loop_setup *setup, struct fault *fault) {
    assert(setup->mailbox != NULL && setup->drain != NULL);
    memset(loop, 0, sizeof(*loop));
    loop->setup = *setup;
    if (loop->setup.clock == NULL) {
        loop->setup.clock = &monotonic_clock;
    }
    loop->now_us = clock_now_us(loop->setup.clock);
    timer_wheel_init(&loop->timers, loop->now_us);
    for (int stage = 0; stage < LOOP_STAGE_COUNT; stage++) {
        list_init(&loop->hooks[stage]);
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        fault_set_errno(fault, errno, "the event loop cannot be made");
        return false;
    }
    loop->mailbox_source.fd = setup->mailbox->event_fd;
    loop->mailbox_source.ready = mailbox_ready;
    if (!loop_add(loop, &loop->mailbox_source, EPOLLIN)) {
        fault_set_errno(fault, errno, "the event loop cannot watch its mailbox");
        (void)close(loop->epoll_fd);
        return false;
    }
    return true;
}

void loop_deinit(struct loop *loop) {
    loop_remove(loop, &loop->mailbox_source);
    (void)close(loop->epoll_fd);
}

void loop_register_metrics(struct loop *loop, struct metrics *metrics, const char *labels) {
    metrics_register(metrics, "loop", labels, loop_metric_table, ARRAY_COUNT(loop_metric_table),
                     &loop->metrics);
}

static bool control(struct loop *loop, int operation, struct loop_source *source, uint32_t events) {
    struct epoll_event event = {.events = events, .data = {.ptr = source}};
    return epoll_ctl(loop->epoll_fd, operation, source->fd, &event) == 0;
}

bool loop_add(struct loop *loop, struct loop_source *source, uint32_t events) {
    assert(source->ready != NULL && source->fd >= 0);
    source->reported = NULL;
    return control(loop, EPOLL_CTL_ADD, source, events);
}

bool loop_modify(struct loop *loop, struct loop_source *source, uint32_t events) {
    return control(loop, EPOLL_CTL_MOD, source, events);
}

void loop_remove(struct loop *loop, struct loop_source *source) {
    if (source->reported != NULL) {
        source->reported->data.ptr = NULL;
        source->reported = NULL;
    }
    bool removed = control(loop, EPOLL_CTL_DEL, source, 0);
    assert(removed); /* it was added, and its descriptor is still open */
}

void loop_add_hook(struct loop *loop, enum loop_stage stage, struct loop_hook *hook) {
    assert(hook->run != NULL && !list_is_linked(&hook->node));
    list_append(&loop->hooks[stage], &hook->node);
}

void loop_remove_hook(struct loop_hook *hook) {
    list_remove(&hook->node);
}

static int look(struct loop *loop, int timeout_ms) {
    int count = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, timeout_ms);
    assert(count >= 0 || errno == EINTR);
    return count < 0 ? 0 : count;
}

static int sleep_until_ready(struct loop *loop, int timeout_ms) {
    bool may_sleep = mailbox_prepare_sleep(loop->setup.mailbox) &&
                     atomic_load_explicit(&loop->stopped, memory_order_seq_cst) == 0;
    int64_t before_us = clock_now_us(loop->setup.clock);
    int count = look(loop, may_sleep ? timeout_ms : 0);
    mailbox_end_sleep(loop->setup.mailbox);
    metric_add(&loop->metrics.sleeps_total, 1);
    metric_add(&loop->metrics.asleep_microseconds_total,
               (uint64_t)(clock_now_us(loop->setup.clock) - before_us));
    return count;
}

static int timeout_until_next_timer(struct loop *loop, int wait_ms_max) {
    int64_t next_us = timer_wheel_next_us(&loop->timers);
    if (next_us == INT64_MAX) {
        return wait_ms_max;
    }
    int64_t wait_us = next_us - clock_now_us(loop->setup.clock);
    if (wait_us <= 0) {
        return 0;
    }
    int64_t wait_ms = (wait_us + 999) / 1000;
    int64_t limit_ms = wait_ms_max < 0 ? INT_MAX : wait_ms_max;
    return (int)(wait_ms < limit_ms ? wait_ms : limit_ms);
}

static int wait_for_events(struct loop *loop, int wait_ms_max) {
    bool awake = loop->awake || ring_count(&loop->setup.mailbox->ring) > 0;
    loop->awake = false;
    if (awake || wait_ms_max == 0) {
        return look(loop, 0);
    }
    if (loop->busy) {
        int count = look(loop, 0);
        if (count > 0 || ring_count(&loop->setup.mailbox->ring) > 0) {
            return count;
        }
    }
    int timeout_ms = timeout_until_next_timer(loop, wait_ms_max);
    return timeout_ms == 0 ? look(loop, 0) : sleep_until_ready(loop, timeout_ms);
}

static void dispatch(struct loop *loop, int count) {
    for (int i = 0; i < count; i++) {
        struct loop_source *source = loop->events[i].data.ptr;
        source->reported = &loop->events[i];
    }
    for (int i = 0; i < count; i++) {
        struct loop_source *source = loop->events[i].data.ptr;
        if (source != NULL) { /* else removed by an earlier one */
            source->reported = NULL;
            source->ready(source, loop->events[i].events);
        }
    }
}

static bool run_hooks(struct loop *loop, enum loop_stage stage) {
    bool again = false;
    struct list_node *end = &loop->hooks[stage];
    for (struct list_node *node = end->next; node != end;) {
        struct loop_hook *hook = CONTAINER_OF(node, struct loop_hook, node);
        node = node->next;
        again |= hook->run(hook);
    }
    return again;
}

static void run_batches(struct loop *loop) {
    for (int round = 0; run_hooks(loop, LOOP_STAGE_BATCH); round++) {
        metric_add(&loop->metrics.rounds_total, 1);
        if (round == BATCH_ROUNDS_MAX) {
            loop_keep_awake(loop);
            return;
        }
    }
}

size_t loop_step(struct loop *loop, int wait_ms_max) {
    int count = wait_for_events(loop, wait_ms_max);
    loop->now_us = clock_now_us(loop->setup.clock);
    loop->iteration++;
    loop->busy = count > 0;
    loop->hooks_ahead = true;
    dispatch(loop, count);
    loop->setup.drain(loop->setup.context, loop->setup.mailbox);
    timer_wheel_advance(&loop->timers, loop->now_us);
    run_batches(loop);
    loop->hooks_ahead = false;
    (void)run_hooks(loop, LOOP_STAGE_FLUSH);
    metric_add(&loop->metrics.iterations_total, 1);
    metric_add(&loop->metrics.events_total, (uint64_t)count);
    return (size_t)count;
}

void loop_run(struct loop *loop) {
    while (atomic_load_explicit(&loop->stopped, memory_order_acquire) == 0) {
        (void)loop_step(loop, -1);
    }
}

void loop_stop(struct loop *loop) {
    atomic_store_explicit(&loop->stopped, 1, memory_order_seq_cst);
    mailbox_wake(loop->setup.mailbox);
}
