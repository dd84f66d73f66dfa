#include "orderd/worker.h"

#include "api/resp.h"

#include <pthread.h>
#include <stdlib.h>

#define DRAIN_BATCH 1024

struct worker {
    struct loop loop;
    struct mailbox mailbox;
    struct http_server *server;      /* owned */
    struct api *api;                 /* owned */
    struct resp_server *resp_server; /* owned; NULL: no RESP, as the next */
    struct api_resp *api_resp;       /* owned */
    struct command_service *command;
    struct query_service *query;
    struct loop_hook drain_hook;
    struct timer drain_timer;
    int64_t drain_timeout_us;
    bool draining;
    bool started;
    pthread_t thread;
    _Atomic uint32_t drain_wanted;
};

static void take_completions(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)port_drain(mailbox, DRAIN_BATCH);
}

static void drain_timed_out(struct timer *timer) {
    loop_stop(&CONTAINER_OF(timer, struct worker, drain_timer)->loop);
}

/** After each iteration: begins to drain when asked, ends when nothing is left. */
static bool watch_drain(struct loop_hook *hook) {
    struct worker *worker = CONTAINER_OF(hook, struct worker, drain_hook);
    if (!worker->draining &&
        atomic_load_explicit(&worker->drain_wanted, memory_order_acquire) != 0) {
        worker->draining = true;
        http_server_drain(worker->server);
        if (worker->resp_server != NULL) {
            resp_server_drain(worker->resp_server);
        }
        loop_timer_start(&worker->loop, &worker->drain_timer, worker->drain_timeout_us);
    }
    if (worker->draining && http_server_is_idle(worker->server) &&
        (worker->resp_server == NULL || resp_server_is_idle(worker->resp_server))) {
        loop_stop(&worker->loop);
    }
    return false;
}

static bool make_loop(struct worker *worker, const struct worker_parts *parts,
                      struct fault *fault) {
    size_t outstanding =
        COMMAND_OUTSTANDING_MAX + QUERY_OUTSTANDING_MAX + api_outstanding_max(&parts->options->api);
    struct loop_setup setup = {
        .mailbox = &worker->mailbox,
        .drain = take_completions,
        .context = worker,
    };
    if (!mailbox_init(&worker->mailbox, outstanding)) {
        fault_set(fault, "no memory for a network thread");
        return false;
    }
    return loop_init(&worker->loop, &setup, fault);
}

static bool make_services(struct worker *worker, const struct worker_parts *parts,
                          struct fault *fault) {
    struct backend *backend = parts->backend;
    struct command_parts command_parts = {
        .clock = parts->clock,
        .store = backend->store,
        .archive = backend->archive,
        .cache = backend->beside,
        .mailbox = &worker->mailbox,
    };
    struct query_parts query_parts = {
        .clock = parts->clock,
        .table = backend->table,
        .store = backend->store,
        .cache = backend->cache,
        .lookup = backend->lookup,
        .mailbox = &worker->mailbox,
        .window_us = parts->terms->window_us,
        .memory_may_lag = backend->memory_may_lag,
        .memory_current_until = backend->memory_current_until,
    };
    if (backend->has_commands) {
        worker->command = command_service_create(&command_parts);
    }
    if (backend->has_queries) {
        worker->query = query_service_create(&query_parts);
    }
    if ((backend->has_commands && worker->command == NULL) ||
        (backend->has_queries && worker->query == NULL)) {
        fault_set(fault, "no memory for the services");
        return false;
    }
    struct api_parts api_parts = {
        .clock = parts->clock,
        .terms = parts->terms,
        .command = worker->command,
        .query = worker->query,
        .changes = backend->changes,
        .mailbox = &worker->mailbox,
        .loop = &worker->loop,
        .metrics = parts->metrics,
        .readiness = parts->readiness,
        .options = &parts->options->api,
        .connections_max = parts->options->http.connections_max,
    };
    worker->api = api_create(&api_parts);
    if (worker->api == NULL) {
        fault_set(fault, "no memory for the API");
        return false;
    }
    return true;
}

static bool make_server(struct worker *worker, const struct worker_parts *parts,
                        struct fault *fault) {
    struct http_server_setup setup = {
        .loop = &worker->loop,
        .options = parts->options->http,
        .handler = api_handler(worker->api),
    };
    worker->server = http_server_create(&setup, fault);
    if (worker->server == NULL) {
        return false;
    }
    api_set_server(worker->api, worker->server);
    worker->drain_hook.run = watch_drain;
    worker->drain_timer.expired = drain_timed_out;
    worker->drain_timeout_us = (int64_t)parts->options->server.drain_timeout_ms * 1000;
    loop_add_hook(&worker->loop, LOOP_STAGE_FLUSH, &worker->drain_hook);
    return http_server_listen(worker->server, parts->address, fault);
}

static bool make_resp_server(struct worker *worker, const struct worker_parts *parts,
                             struct fault *fault) {
    struct api_resp_parts api_parts = {
        .terms = parts->terms,
        .query = worker->query,
        .loop = &worker->loop,
        .lookups_max = parts->options->resp.lookups_max,
        .version = ORDERD_VERSION,
    };
    if (parts->resp_address[0] == 0) {
        return true;
    }
    worker->api_resp = api_resp_create(&api_parts);
    if (worker->api_resp == NULL) {
        fault_set(fault, "no memory for the RESP commands");
        return false;
    }
    struct resp_server_setup setup = {
        .loop = &worker->loop,
        .options = parts->options->resp,
        .handler = api_resp_handler(worker->api_resp),
    };
    worker->resp_server = resp_server_create(&setup, fault);
    return worker->resp_server != NULL &&
           resp_server_listen(worker->resp_server, parts->resp_address, fault);
}

static void register_metrics(struct worker *worker, struct metrics *metrics) {
    loop_register_metrics(&worker->loop, metrics, NULL);
    http_server_register_metrics(worker->server, metrics, NULL);
    if (worker->command != NULL) {
        metrics_register(metrics, "command", NULL, command_metric_table, command_metric_count,
                         command_service_metrics(worker->command));
        if (command_service_cache_metrics(worker->command) != NULL) {
            metrics_register(metrics, "cache_writer", NULL, cache_writer_metric_table,
                             cache_writer_metric_count,
                             command_service_cache_metrics(worker->command));
        }
    }
    if (worker->query != NULL) {
        metrics_register(metrics, "query", NULL, query_metric_table, query_metric_count,
                         query_service_metrics(worker->query));
    }
    metrics_register(metrics, "api", NULL, api_metric_table, api_metric_count,
                     api_metrics(worker->api));
    if (worker->resp_server != NULL) {
        resp_server_register_metrics(worker->resp_server, metrics, NULL);
        metrics_register(metrics, "api", NULL, api_resp_metric_table, api_resp_metric_count,
                         api_resp_metrics(worker->api_resp));
    }
}

struct worker *worker_create(const struct worker_parts *parts, struct fault *fault) {
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        fault_set(fault, "no memory for a network thread");
        return NULL;
    }
    if (!make_loop(worker, parts, fault)) {
        free(worker);
        return NULL;
    }
    if (!make_services(worker, parts, fault) || !make_server(worker, parts, fault) ||
        !make_resp_server(worker, parts, fault)) {
        worker_destroy(worker);
        return NULL;
    }
    register_metrics(worker, parts->metrics);
    return worker;
}

uint16_t worker_port(const struct worker *worker) {
    return http_server_port(worker->server);
}

uint16_t worker_resp_port(const struct worker *worker) {
    return worker->resp_server == NULL ? 0 : resp_server_port(worker->resp_server);
}

static void *run(void *context) {
    loop_run(&((struct worker *)context)->loop);
    return NULL;
}

bool worker_start(struct worker *worker, struct fault *fault) {
    int error = pthread_create(&worker->thread, NULL, run, worker);
    if (error != 0) {
        fault_set_errno(fault, error, "a network thread cannot be started");
        return false;
    }
    (void)pthread_setname_np(worker->thread, "network");
    worker->started = true;
    return true;
}

void worker_drain(struct worker *worker) {
    atomic_store_explicit(&worker->drain_wanted, 1, memory_order_release);
    mailbox_wake(&worker->mailbox);
}

void worker_join(struct worker *worker) {
    if (worker->started) {
        (void)pthread_join(worker->thread, NULL);
        worker->started = false;
    }
}

void worker_destroy(struct worker *worker) {
    worker_join(worker);
    if (worker->server != NULL) {
        http_server_destroy(worker->server);
    }
    if (worker->resp_server != NULL) {
        resp_server_destroy(worker->resp_server);
    }
    if (worker->api_resp != NULL) {
        api_resp_destroy(worker->api_resp);
    }
    timer_stop(&worker->drain_timer);
    if (worker->api != NULL) {
        api_destroy(worker->api);
    }
    query_service_destroy(worker->query);
    command_service_destroy(worker->command);
    loop_deinit(&worker->loop);
    mailbox_deinit(&worker->mailbox);
    free(worker);
}
