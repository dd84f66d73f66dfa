/** A thread that drives pipelines: each is a state machine with a step, and all that share a thread
 *  share the mailbox in which their requests complete. */
#ifndef ORDERD_ORDERD_PIPELINE_THREAD_H
#define ORDERD_ORDERD_PIPELINE_THREAD_H

#include "base/clock.h"
#include "base/fault.h"
#include "base/mailbox.h"

#include <pthread.h>

#define PIPELINE_UNITS_MAX 48

/** One pipeline, or whatever is driven like one. */
struct pipeline_unit {
    void *context;
    /** Begins what can be begun; returns when it is to be called again, at the latest. */
    int64_t (*step)(void *context);
    bool (*is_busy)(const void *context);
    /** NULL, or: nothing new is begun from now on but what ends it; `step` is still called. */
    void (*stop)(void *context);
    const struct clock *clock; /* on which `step` tells its time */
};

struct pipeline_thread {
    struct mailbox mailbox;
    struct pipeline_unit units[PIPELINE_UNITS_MAX];
    size_t unit_count;
    pthread_t thread;
    bool started;
    _Atomic uint32_t stopping;
};

/** Makes the mailbox. @param outstanding the completions that all units together may have in it.
 *  False where memory is short. */
MUST_CHECK bool pipeline_thread_init(struct pipeline_thread *thread, size_t outstanding);
void pipeline_thread_deinit(struct pipeline_thread *thread);

/** Adds a unit, whose requests complete in the thread's mailbox. Before the start. */
void pipeline_thread_add(struct pipeline_thread *thread, const struct pipeline_unit *unit);

/** @param name as the system shows it, at most 15 characters. */
MUST_CHECK bool pipeline_thread_start(struct pipeline_thread *thread, const char *name,
                                      struct fault *fault);

/** Asks for the end, without waiting. */
void pipeline_thread_stop(struct pipeline_thread *thread);

/** Waits until what is under way has ended and the thread with it; nothing where none runs. */
void pipeline_thread_join(struct pipeline_thread *thread);

#endif
