#include "orderd/pipelines_embedded.h"

#include "orderd/pipeline_thread.h"
#include "pipeline/archiver.h"
#include "pipeline/expiry.h"
#include "pipeline/timeout.h"

#include <stdlib.h>

struct pipelines_embedded {
    struct pipeline_thread thread;
    struct archiver *archiver;
    struct timeout_pipeline *timeout;
    struct expiry_pipeline expiry;
};

static int64_t step_archiver(void *context) {
    return archiver_step(context);
}

static bool is_archiver_busy(const void *context) {
    return archiver_is_busy(context);
}

static int64_t step_timeout(void *context) {
    return timeout_pipeline_step(context);
}

static bool is_timeout_busy(const void *context) {
    return timeout_pipeline_is_busy(context);
}

static int64_t step_expiry(void *context) {
    return expiry_pipeline_step(context);
}

static bool is_expiry_busy(const void *context) {
    return ((const struct expiry_pipeline *)context)->busy;
}

static void release(struct pipelines_embedded *pipelines) {
    if (pipelines->archiver != NULL) {
        archiver_destroy(pipelines->archiver);
    }
    if (pipelines->timeout != NULL) {
        timeout_pipeline_destroy(pipelines->timeout);
    }
    pipeline_thread_deinit(&pipelines->thread);
    free(pipelines);
}

static bool make(struct pipelines_embedded *pipelines, const struct backend_parts *parts,
                 struct backend *backend) {
    const struct clock *clock = &parts->clock->clock;
    struct archiver_parts archiver_parts = {
        .clock = clock,
        .log = parts->log,
        .store = backend->store,
        .archive = backend->archive,
        .mailbox = &pipelines->thread.mailbox,
    };
    struct timeout_parts timeout_parts = {
        .clock = clock,
        .log = parts->log,
        .store = backend->store,
        .mailbox = &pipelines->thread.mailbox,
        .timeout_us = parts->terms->timeout_us,
    };
    pipelines->archiver = archiver_create(&archiver_parts);
    pipelines->timeout = timeout_pipeline_create(&timeout_parts);
    expiry_pipeline_init(&pipelines->expiry, clock, backend->store, &pipelines->thread.mailbox,
                         parts->terms->window_us);
    return pipelines->archiver != NULL && pipelines->timeout != NULL;
}

static void register_metrics(struct pipelines_embedded *pipelines, struct metrics *metrics) {
    metrics_register(metrics, "archiver", NULL, archiver_metric_table, archiver_metric_count,
                     archiver_metrics(pipelines->archiver));
    metrics_register(metrics, "timeout", NULL, timeout_metric_table, timeout_metric_count,
                     timeout_pipeline_metrics(pipelines->timeout));
    metrics_register(metrics, "expiry", NULL, expiry_metric_table, expiry_metric_count,
                     &pipelines->expiry.metrics);
}

static void add_units(struct pipelines_embedded *pipelines, const struct clock *clock) {
    const struct pipeline_unit units[] = {
        {pipelines->archiver, step_archiver, is_archiver_busy, NULL, clock},
        {pipelines->timeout, step_timeout, is_timeout_busy, NULL, clock},
        {&pipelines->expiry, step_expiry, is_expiry_busy, NULL, clock},
    };
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        pipeline_thread_add(&pipelines->thread, &units[i]);
    }
}

struct pipelines_embedded *pipelines_embedded_start(const struct backend_parts *parts,
                                                    struct backend *backend, struct fault *fault) {
    struct pipelines_embedded *pipelines = aligned_alloc(CACHE_LINE_BYTES, sizeof(*pipelines));
    fault_set(fault, "no memory for the pipelines");
    if (pipelines == NULL) {
        return NULL;
    }
    memset(pipelines, 0, sizeof(*pipelines));
    if (!pipeline_thread_init(&pipelines->thread, ARCHIVER_OUTSTANDING_MAX +
                                                      TIMEOUT_OUTSTANDING_MAX +
                                                      EXPIRY_OUTSTANDING_MAX)) {
        free(pipelines);
        return NULL;
    }
    if (!make(pipelines, parts, backend)) {
        release(pipelines);
        return NULL;
    }
    register_metrics(pipelines, parts->metrics);
    add_units(pipelines, &parts->clock->clock);
    if (!pipeline_thread_start(&pipelines->thread, "pipelines", fault)) {
        release(pipelines);
        return NULL;
    }
    return pipelines;
}

void pipelines_embedded_stop(struct pipelines_embedded *pipelines) {
    if (pipelines != NULL) {
        pipeline_thread_join(&pipelines->thread);
        release(pipelines);
    }
}
