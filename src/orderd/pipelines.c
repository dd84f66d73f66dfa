#include "orderd/pipelines.h"

#include "pipeline/archiver.h"
#include "pipeline/expiry.h"
#include "pipeline/timeout.h"

#include <pthread.h>
#include <stdlib.h>

#define WAIT_MS_MAX 100

struct pipelines {
    struct mailbox mailbox;
    const struct clock *clock;
    struct archiver *archiver;
    struct timeout_pipeline *timeout;
    struct expiry_pipeline expiry;
    pthread_t thread;
    _Atomic uint32_t stopping;
};

static int wait_ms(const struct pipelines *pipelines, int64_t wake_at_us) {
    int64_t left_ms = (wake_at_us - clock_now_us(pipelines->clock)) / 1000 + 1;
    if (left_ms < 0) {
        return 0;
    }
    return left_ms < WAIT_MS_MAX ? (int)left_ms : WAIT_MS_MAX;
}

static int64_t earlier(int64_t left_us, int64_t right_us) {
    return left_us < right_us ? left_us : right_us;
}

static bool is_busy(const struct pipelines *pipelines) {
    return archiver_is_busy(pipelines->archiver) || timeout_pipeline_is_busy(pipelines->timeout) ||
           pipelines->expiry.busy;
}

static void *run(void *context) {
    struct pipelines *pipelines = context;
    for (;;) {
        bool stopping = atomic_load_explicit(&pipelines->stopping, memory_order_acquire) != 0;
        size_t completed = port_drain(&pipelines->mailbox, SIZE_MAX);
        if (stopping && !is_busy(pipelines)) {
            return NULL;
        }
        int64_t wake_at_us = INT64_MAX;
        if (!stopping) {
            wake_at_us = archiver_step(pipelines->archiver);
            wake_at_us = earlier(wake_at_us, timeout_pipeline_step(pipelines->timeout));
            wake_at_us = earlier(wake_at_us, expiry_pipeline_step(&pipelines->expiry));
        }
        if (completed == 0) {
            mailbox_wait(&pipelines->mailbox, wait_ms(pipelines, wake_at_us));
        }
    }
}

static void release(struct pipelines *pipelines) {
    if (pipelines->archiver != NULL) {
        archiver_destroy(pipelines->archiver);
    }
    if (pipelines->timeout != NULL) {
        timeout_pipeline_destroy(pipelines->timeout);
    }
    mailbox_deinit(&pipelines->mailbox);
    free(pipelines);
}

static bool make(struct pipelines *pipelines, const struct backend_parts *parts,
                 struct backend *backend) {
    const struct clock *clock = &parts->clock->clock;
    struct archiver_parts archiver_parts = {
        .clock = clock,
        .log = parts->log,
        .store = backend->store,
        .archive = backend->archive,
        .mailbox = &pipelines->mailbox,
    };
    struct timeout_parts timeout_parts = {
        .clock = clock,
        .log = parts->log,
        .store = backend->store,
        .mailbox = &pipelines->mailbox,
        .timeout_us = parts->terms->timeout_us,
    };
    pipelines->clock = clock;
    pipelines->archiver = archiver_create(&archiver_parts);
    pipelines->timeout = timeout_pipeline_create(&timeout_parts);
    expiry_pipeline_init(&pipelines->expiry, clock, backend->store, &pipelines->mailbox,
                         parts->terms->window_us);
    return pipelines->archiver != NULL && pipelines->timeout != NULL;
}

static void register_metrics(struct pipelines *pipelines, struct metrics *metrics) {
    metrics_register(metrics, "archiver", NULL, archiver_metric_table, archiver_metric_count,
                     archiver_metrics(pipelines->archiver));
    metrics_register(metrics, "timeout", NULL, timeout_metric_table, timeout_metric_count,
                     timeout_pipeline_metrics(pipelines->timeout));
    metrics_register(metrics, "expiry", NULL, expiry_metric_table, expiry_metric_count,
                     &pipelines->expiry.metrics);
}

struct pipelines *pipelines_start(const struct backend_parts *parts, struct backend *backend,
                                  struct fault *fault) {
    struct pipelines *pipelines = calloc(1, sizeof(*pipelines));
    if (pipelines == NULL ||
        !mailbox_init(&pipelines->mailbox, ARCHIVER_OUTSTANDING_MAX + TIMEOUT_OUTSTANDING_MAX +
                                               EXPIRY_OUTSTANDING_MAX)) {
        fault_set(fault, "no memory for the pipelines");
        free(pipelines);
        return NULL;
    }
    if (!make(pipelines, parts, backend)) {
        fault_set(fault, "no memory for the pipelines");
        release(pipelines);
        return NULL;
    }
    register_metrics(pipelines, parts->metrics);
    int error = pthread_create(&pipelines->thread, NULL, run, pipelines);
    if (error != 0) {
        fault_set_errno(fault, error, "the pipelines' thread cannot be started");
        release(pipelines);
        return NULL;
    }
    (void)pthread_setname_np(pipelines->thread, "pipelines");
    return pipelines;
}

void pipelines_stop(struct pipelines *pipelines) {
    atomic_store_explicit(&pipelines->stopping, 1, memory_order_release);
    mailbox_wake(&pipelines->mailbox);
    (void)pthread_join(pipelines->thread, NULL);
    release(pipelines);
}
