#include "api/api.h"

#include "api/api_internal.h"
#include "api/parameters.h"
#include "base/pages.h"

#include <stdlib.h>

/* Problems of a batch's lines: never more than an answer. */
#define BULK_TEXT_BYTES HTTP_ANSWER_BYTES_MAX

const struct config_option api_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct api_options, __VA_ARGS__)
    API_OPTIONS(X)
#undef X
};
const size_t api_option_count = ARRAY_COUNT(api_option_table);

const struct metric_description api_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct api_metrics, __VA_ARGS__)
    API_METRICS(X)
#undef X
};
const size_t api_metric_count = ARRAY_COUNT(api_metric_table);

/* --- Pools. --- */

static void refuse(struct api *api, struct http_exchange *exchange) {
    metric_add(&api->metrics.refused_total, 1);
    problem_respond_plain(exchange, 503, "too many requests are in work");
}

struct api_task *api_task_take(struct api *api, struct http_exchange *exchange) {
    struct api_task *task = api->free_tasks;
    if (task == NULL) {
        refuse(api, exchange);
        return NULL;
    }
    api->free_tasks = task->next;
    task->handle = http_exchange_handle(exchange);
    task->begun_us = clock_monotonic_us();
    return task;
}

void api_task_give_back(struct api_task *task) {
    task->next = task->api->free_tasks;
    task->api->free_tasks = task;
}

struct api_bulk *api_bulk_take(struct api *api, struct http_exchange *exchange) {
    struct api_bulk *bulk = api->free_bulks;
    if (bulk == NULL) {
        refuse(api, exchange);
        return NULL;
    }
    api->free_bulks = bulk->next;
    bulk->handle = http_exchange_handle(exchange);
    bulk->texts.size = 0;
    bulk->texts.truncated = false;
    return bulk;
}

void api_bulk_give_back(struct api_bulk *bulk) {
    bulk->next = bulk->api->free_bulks;
    bulk->api->free_bulks = bulk;
}

/* --- What a path takes. --- */

static const char *allowed_methods(enum api_resource resource) {
    switch (resource) {
    case API_ORDERS:
        return "GET, HEAD, POST";
    case API_ORDER:
        return "GET, HEAD, PATCH";
    case API_BATCH_ORDERS:
    case API_BATCH_STATUSES:
    case API_BATCH_GET:
        return "POST";
    case API_SERVER:
        return "OPTIONS";
    default:
        return "GET, HEAD";
    }
}

static bool takes_method(enum api_resource resource, enum http_method method) {
    switch (resource) {
    case API_ORDERS:
        return method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD ||
               method == HTTP_METHOD_POST;
    case API_ORDER:
        return method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD ||
               method == HTTP_METHOD_PATCH;
    case API_BATCH_ORDERS:
    case API_BATCH_STATUSES:
    case API_BATCH_GET:
        return method == HTTP_METHOD_POST;
    case API_SERVER:
        return method == HTTP_METHOD_OPTIONS;
    default:
        return method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD;
    }
}

static bool has_body(enum http_method method) {
    return method == HTTP_METHOD_POST || method == HTTP_METHOD_PATCH;
}

static bool takes_type(enum api_resource resource, const struct http_head *head) {
    struct slice json = SLICE_LITERAL("application/json");
    struct slice lines = SLICE_LITERAL("application/x-ndjson");
    struct slice octets = SLICE_LITERAL("application/octet-stream");
    switch (resource) {
    case API_BATCH_ORDERS:
        return parameter_has_type(head, lines) || parameter_has_type(head, octets);
    case API_BATCH_STATUSES:
    case API_BATCH_GET:
        return parameter_has_type(head, octets);
    default:
        return parameter_has_type(head, json);
    }
}

static size_t body_limit(enum api_resource resource) {
    switch (resource) {
    case API_BATCH_ORDERS:
        return API_BATCH_BODY_BYTES_MAX;
    case API_BATCH_STATUSES:
    case API_BATCH_GET:
        return API_BATCH_RECORDS_MAX * sizeof(uint64_t);
    default:
        return API_ORDER_BODY_BYTES_MAX;
    }
}

/* --- The HTTP server's questions. --- */

static struct api *api_of(struct http_handler *handler) {
    return (struct api *)handler;
}

/** Judges path, method and content type, in this order, before the body is read. */
static size_t judge_head(struct http_handler *handler, struct http_exchange *exchange,
                         const struct http_head *head) {
    struct api_target target = api_route(head->path);
    (void)handler;
    if (target.resource == API_NOTHING) {
        problem_respond_plain(exchange, 404, "there is nothing at this path");
    } else if (target.resource == API_BAD_ORDER_ID) {
        problem_respond_plain(exchange, 400,
                              "an order id is 1 to 19 digits without a leading zero, at most "
                              "9223372036854775807");
    } else if (head->method == HTTP_METHOD_UNKNOWN) {
        problem_respond_plain(exchange, 501, "the method is not known here");
    } else if (!takes_method(target.resource, head->method)) {
        struct problem problem = {
            .status = 405,
            .detail = "this path does not have this method",
            .allow = allowed_methods(target.resource),
        };
        problem_respond(exchange, &problem);
    } else if (has_body(head->method) && !takes_type(target.resource, head)) {
        problem_respond_plain(exchange, 415,
                              target.resource == API_BATCH_ORDERS
                                  ? "expected Content-Type application/x-ndjson or "
                                    "application/octet-stream"
                              : target.resource == API_ORDERS || target.resource == API_ORDER
                                  ? "expected Content-Type application/json"
                                  : "expected Content-Type application/octet-stream");
    }
    return body_limit(target.resource);
}

static void serve_options(struct http_exchange *exchange) {
    struct http_field allow = {SLICE_LITERAL("Allow"),
                               SLICE_LITERAL("GET, HEAD, POST, PATCH, OPTIONS")};
    struct http_answer answer = {.status = 204, .fields = &allow, .field_count = 1};
    if (!http_respond(exchange, &answer, (struct slice){NULL, 0})) {
        return; /* the exchange is over */
    }
}

/** True, with the answer given, where the request is for a role that this process has not. */
static bool lacks_role(const struct api *api, struct http_exchange *exchange,
                       enum api_resource resource, enum http_method method) {
    switch (resource) {
    case API_ORDERS:
    case API_ORDER:
    case API_BATCH_ORDERS:
        if (has_body(method)) {
            if (api->command == NULL) {
                problem_respond_plain(exchange, 503, "this process has no command role");
            }
            return api->command == NULL;
        }
        break;
    case API_ORDER_EVENTS:
    case API_CHANGES:
    case API_BATCH_STATUSES:
    case API_BATCH_GET:
        break;
    default:
        return false;
    }
    if (api->query == NULL) {
        problem_respond_plain(exchange, 503, "this process has no query role");
    }
    return api->query == NULL;
}

static void serve(struct http_handler *handler, struct http_exchange *exchange,
                  const struct http_head *head, struct slice body) {
    struct api *api = api_of(handler);
    struct api_target target = api_route(head->path);
    if (lacks_role(api, exchange, target.resource, head->method)) {
        return;
    }
    switch (target.resource) {
    case API_ORDERS:
        if (head->method == HTTP_METHOD_POST) {
            api_create_order(api, exchange, body);
        } else {
            api_find_order(api, exchange, head);
        }
        return;
    case API_ORDER:
        if (head->method == HTTP_METHOD_PATCH) {
            api_change_order(api, exchange, head, target.order_id, body);
        } else {
            api_get_order(api, exchange, head, target.order_id);
        }
        return;
    case API_ORDER_EVENTS:
        api_order_events(api, exchange, target.order_id);
        return;
    case API_CHANGES:
        api_change_events(api, exchange, head);
        return;
    case API_BATCH_ORDERS:
        if (parameter_has_type(head, SLICE_LITERAL("application/octet-stream"))) {
            api_batch_records(api, exchange, body);
        } else {
            api_batch_lines(api, exchange, body);
        }
        return;
    case API_BATCH_STATUSES:
        api_batch_statuses(api, exchange, body);
        return;
    case API_BATCH_GET:
        api_batch_get(api, exchange, body);
        return;
    case API_HEALTH:
        api_health(exchange);
        return;
    case API_READY:
        api_ready(api, exchange);
        return;
    case API_METRICS_TEXT:
        api_metrics_text(api, exchange);
        return;
    case API_OPENAPI:
        api_openapi(exchange);
        return;
    case API_SERVER:
        serve_options(exchange);
        return;
    case API_NOTHING:
    case API_BAD_ORDER_ID:
        break;
    }
    assert(!"the head was answered already");
}

static void tell_error(struct http_handler *handler, struct http_exchange *exchange,
                       unsigned status, const char *detail) {
    (void)handler;
    problem_respond_plain(exchange, status, detail);
}

static void room(struct http_handler *handler, struct http_exchange *exchange) {
    api_streams_room(api_of(handler)->streams, exchange);
}

/** Tasks and bulks find out by their handle; only a stream has to know at once. */
static void gone(struct http_handler *handler, struct http_exchange *exchange) {
    api_streams_gone(api_of(handler)->streams, exchange);
}

static const struct http_handler_ops handler_ops = {
    .head = judge_head,
    .request = serve,
    .error = tell_error,
    .room = room,
    .gone = gone,
};

/** After the sockets were read: what was gathered goes to the tiers as batches. */
static bool flush(struct loop_hook *hook) {
    struct api *api = CONTAINER_OF(hook, struct api, hook);
    bool more = api_streams_run(api->streams);
    if (api->command != NULL) {
        command_flush(api->command);
    }
    if (api->query != NULL) {
        query_flush(api->query);
    }
    return more;
}

/* --- The whole. --- */

/** The bytes of one bulk's arrays. */
static size_t bulk_bytes(void) {
    size_t item = sizeof(struct order_record) + sizeof(struct api_item) + sizeof(uint64_t) + 1;
    return bytes_align_up(API_BATCH_RECORDS_MAX * item + BULK_TEXT_BYTES, CACHE_LINE_BYTES);
}

static void init_bulk(struct api *api, struct api_bulk *bulk, char *memory) {
    bulk->api = api;
    bulk->orders = (struct order_record *)memory;
    memory += API_BATCH_RECORDS_MAX * sizeof(*bulk->orders);
    bulk->hashes = (uint64_t *)memory;
    memory += API_BATCH_RECORDS_MAX * sizeof(*bulk->hashes);
    bulk->items = (struct api_item *)memory;
    memory += API_BATCH_RECORDS_MAX * sizeof(*bulk->items);
    bulk->results = (uint8_t *)memory;
    memory += API_BATCH_RECORDS_MAX;
    bulk->texts = text_over(memory, BULK_TEXT_BYTES);
    api_bulk_give_back(bulk);
}

static bool make_pools(struct api *api, const struct api_parts *parts) {
    size_t bulk_count = parts->options->batches_max;
    api->tasks = calloc(parts->connections_max, sizeof(*api->tasks));
    api->bulks = calloc(bulk_count, sizeof(*api->bulks));
    api->bulk_memory_bytes = bulk_count * bulk_bytes();
    /* Reserved, not touched: a batch that is never needed costs nothing. */
    api->bulk_memory = pages_reserve(api->bulk_memory_bytes);
    if (api->tasks == NULL || api->bulks == NULL || api->bulk_memory == NULL) {
        return false;
    }
    for (size_t i = 0; i < parts->connections_max; i++) {
        api->tasks[i].api = api;
        api_task_give_back(&api->tasks[i]);
    }
    for (size_t i = 0; i < bulk_count; i++) {
        init_bulk(api, &api->bulks[i], api->bulk_memory + i * bulk_bytes());
    }
    return true;
}

struct api *api_create(const struct api_parts *parts) {
    struct api *api = calloc(1, sizeof(*api));
    if (api == NULL) {
        return NULL;
    }
    api->handler.ops = &handler_ops;
    api->clock = parts->clock;
    api->terms = parts->terms;
    api->command = parts->command;
    api->query = parts->query;
    api->changes = parts->changes;
    api->mailbox = parts->mailbox;
    api->loop = parts->loop;
    api->metric_registry = parts->metrics;
    api->readiness = parts->readiness;
    api->hook.run = flush;
    api->streams = api_streams_create(api, parts->options);
    if (api->streams == NULL || !make_pools(api, parts)) {
        api_destroy(api);
        return NULL;
    }
    loop_add_hook(parts->loop, LOOP_STAGE_BATCH, &api->hook);
    return api;
}

void api_destroy(struct api *api) {
    api_streams_destroy(api->streams);
    pages_release(api->bulk_memory, api->bulk_memory_bytes);
    free(api->bulks);
    free(api->tasks);
    free(api);
}

struct http_handler *api_handler(struct api *api) {
    return &api->handler;
}

void api_set_server(struct api *api, struct http_server *server) {
    api->server = server;
}

struct api_metrics *api_metrics(struct api *api) {
    return &api->metrics;
}

size_t api_outstanding_max(const struct api_options *options) {
    return options->batches_max + api_streams_outstanding();
}
