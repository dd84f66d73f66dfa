#include "orderd/pipeline_thread.h"

#include "port/port_request.h"

#define WAIT_MS_MAX 100

bool pipeline_thread_init(struct pipeline_thread *thread, size_t outstanding) {
    *thread = (struct pipeline_thread){0};
    return mailbox_init(&thread->mailbox, outstanding);
}

void pipeline_thread_deinit(struct pipeline_thread *thread) {
    mailbox_deinit(&thread->mailbox);
}

void pipeline_thread_add(struct pipeline_thread *thread, const struct pipeline_unit *unit) {
    assert(thread->unit_count < PIPELINE_UNITS_MAX && !thread->started);
    thread->units[thread->unit_count++] = *unit;
}

static bool is_busy(const struct pipeline_thread *thread) {
    for (size_t i = 0; i < thread->unit_count; i++) {
        if (thread->units[i].is_busy(thread->units[i].context)) {
            return true;
        }
    }
    return false;
}

/** Steps every unit that has something to do; returns the time to wait until the next one has. */
static int step_all(struct pipeline_thread *thread, bool stopping) {
    int wait_ms = WAIT_MS_MAX;
    for (size_t i = 0; i < thread->unit_count; i++) {
        const struct pipeline_unit *unit = &thread->units[i];
        if (stopping && unit->stop == NULL) {
            continue;
        }
        int64_t wake_at_us = unit->step(unit->context);
        if (wake_at_us == INT64_MAX) {
            continue;
        }
        int64_t left_ms = (wake_at_us - clock_now_us(unit->clock)) / 1000 + 1;
        if (left_ms < wait_ms) {
            wait_ms = left_ms > 0 ? (int)left_ms : 0;
        }
    }
    return wait_ms;
}

static void stop_all(const struct pipeline_thread *thread) {
    for (size_t i = 0; i < thread->unit_count; i++) {
        if (thread->units[i].stop != NULL) {
            thread->units[i].stop(thread->units[i].context);
        }
    }
}

static void *run(void *context) {
    struct pipeline_thread *thread = context;
    bool stopped = false;
    for (;;) {
        bool stopping = atomic_load_explicit(&thread->stopping, memory_order_acquire) != 0;
        size_t completed = port_drain(&thread->mailbox, SIZE_MAX);
        if (stopping && !stopped) {
            stop_all(thread);
            stopped = true;
        }
        if (stopping && !is_busy(thread)) {
            return NULL;
        }
        int wait_ms = step_all(thread, stopping);
        if (completed == 0) {
            mailbox_wait(&thread->mailbox, wait_ms);
        }
    }
}

bool pipeline_thread_start(struct pipeline_thread *thread, const char *name, struct fault *fault) {
    int error = pthread_create(&thread->thread, NULL, run, thread);
    if (error != 0) {
        fault_set_errno(fault, error, "thread %s cannot be started", name);
        return false;
    }
    (void)pthread_setname_np(thread->thread, name);
    thread->started = true;
    return true;
}

void pipeline_thread_stop(struct pipeline_thread *thread) {
    atomic_store_explicit(&thread->stopping, 1, memory_order_release);
    mailbox_wake(&thread->mailbox);
}

void pipeline_thread_join(struct pipeline_thread *thread) {
    if (thread->started) {
        pipeline_thread_stop(thread);
        (void)pthread_join(thread->thread, NULL);
        thread->started = false;
    }
}
