#include "net/http_internal.h"

#include "base/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

/* Connections over the limit are told so, this many at a time; beyond that they are just closed. */
#define REFUSALS_AT_ONCE 32

#define OPTION(...) CONFIG_ENTRY_OF(struct http_options, __VA_ARGS__)
#define METRIC(...) METRIC_ENTRY_OF(struct http_metrics, __VA_ARGS__)

const struct config_option http_option_table[HTTP_OPTION_COUNT] = {HTTP_OPTIONS(OPTION)};

static const struct metric_description http_metric_table[] = {HTTP_METRICS(METRIC)};

#define REFUSED_BODY                                                                               \
    "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"                  \
    "\"detail\":\"too many connections are open\"}"

_Static_assert(sizeof(REFUSED_BODY) - 1 == 106, "as its Content-Length says");

static const struct slice refused_line = SLICE_LITERAL("HTTP/1.1 503 Service Unavailable\r\n");
static const struct slice refused_rest = SLICE_LITERAL("Content-Type: application/problem+json\r\n"
                                                       "Retry-After: 1\r\n"
                                                       "Connection: close\r\n"
                                                       "Content-Length: 106\r\n"
                                                       "\r\n" REFUSED_BODY);

/* Connections */

static uint32_t open_connections(const struct http_server *server) {
    return server->connection_count - server->free_count;
}

/** Tells the peer that there are too many connections. */
static void refuse_connection(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct slice date = http_date_line(&server->date, loop_now_us(server->loop));
    bool room = http_output_reserve(connection, refused_line.size + date.size + refused_rest.size);
    assert(room);
    output_append(&connection->output, refused_line);
    output_append(&connection->output, date);
    output_append(&connection->output, refused_rest);
    connection->phase = PHASE_CLOSING;
    connection->lingers = true;
    http_count(&server->metrics.connections_refused_total, 1);
    http_count(&server->metrics.answers_5xx_total, 1);
}

void http_server_adopt(struct http_server *server, int fd) {
    bool full = open_connections(server) >= server->options.connections_max;
    struct http_connection *connection = http_connection_open(server, fd);
    if (connection == NULL) {
        http_count(&server->metrics.connections_refused_total, 1);
        (void)close(fd);
        return;
    }
    http_count(&server->metrics.connections_total, 1);
    if (full) {
        refuse_connection(connection);
    }
    http_connection_settle(connection);
}

static void connection_accepted(struct listener *listener, int fd) {
    http_server_adopt(CONTAINER_OF(listener, struct http_server, listener), fd);
}

/* Hooks */

/** Goes on with connections whose answers came, or whose turn has come again. */
static bool run_batch(struct loop_hook *hook) {
    struct http_server *server = CONTAINER_OF(hook, struct http_server, batch_hook);
    uint64_t handed = server->handed;
    struct list_node *node;
    while ((node = list_take_first(&server->resume)) != NULL) {
        http_connection_drive(CONTAINER_OF(node, struct http_connection, resume_node));
    }
    return server->handed != handed;
}

static void flush_connection(struct http_connection *connection) {
    http_output_send(connection);
    if (!connection->broken && output_pending(&connection->output) == 0) {
        connection->room_due = connection->phase == PHASE_STREAM && connection->room_wanted;
        connection->room_wanted &= !connection->room_due;
        if (connection->stalled || connection->room_due ||
            (connection->phase == PHASE_STREAM && connection->peer_closing)) {
            connection->stalled = false;
            http_connection_resume_soon(connection);
        }
    }
    http_connection_settle(connection);
}

/** What is counted elsewhere. */
static void publish(struct http_server *server) {
    struct http_metrics *metrics = &server->metrics;
    metric_set(&metrics->connections, open_connections(server));
    metric_set(&metrics->streams, server->stream_count);
    metric_set(&metrics->medium_buffers_taken, buffer_pool_taken(&server->pools.medium));
    metric_set(&metrics->large_buffers_taken, buffer_pool_taken(&server->pools.large));
    metric_set(&metrics->buffers_exhausted_total, server->pools.exhausted);
    metric_set(&metrics->accept_pauses_total, server->listener.pauses);
}

static bool run_flush(struct loop_hook *hook) {
    struct http_server *server = CONTAINER_OF(hook, struct http_server, flush_hook);
    struct list_node *node;
    while ((node = list_take_first(&server->flush)) != NULL) {
        flush_connection(CONTAINER_OF(node, struct http_connection, flush_node));
    }
    if (!list_is_empty(&server->later)) {
        list_move_all(&server->later, &server->resume);
        loop_keep_awake(server->loop);
    }
    publish(server);
    return false;
}

/* Creation */

static bool init_pools(struct http_server *server) {
    const struct http_options *options = &server->options;
    uint32_t count = server->connection_count;
    return buffer_pool_init(&server->input_pool, HTTP_INPUT_BYTES, count) &&
           buffer_pools_init(&server->pools, count, (uint32_t)options->medium_buffers,
                             (uint32_t)options->large_buffers);
}

static bool init_connections(struct http_server *server) {
    uint32_t count = server->connection_count;
    server->connections = pages_reserve(count * sizeof(*server->connections));
    server->free = malloc(count * sizeof(*server->free));
    server->scratch = malloc(HTTP_DISCARD_BYTES_MAX);
    if (server->connections == NULL || server->free == NULL || server->scratch == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        server->free[i] = count - 1 - i;
    }
    server->free_count = count;
    return true;
}

static void release(struct http_server *server) {
    buffer_pool_deinit(&server->input_pool);
    buffer_pools_deinit(&server->pools);
    pages_release(server->connections, server->connection_count * sizeof(*server->connections));
    free(server->free);
    free(server->scratch);
    free(server);
}

struct http_server *http_server_create(const struct http_server_setup *setup, struct fault *fault) {
    struct http_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        fault_set(fault, "no memory for the HTTP server");
        return NULL;
    }
    assert(setup->handler->ops->head != NULL && setup->handler->ops->request != NULL &&
           setup->handler->ops->gone != NULL);
    server->loop = setup->loop;
    server->handler = setup->handler;
    server->options = setup->options;
    server->limits.head_bytes_max = (uint32_t)setup->options.head_bytes_max;
    server->limits.target_bytes_max = (uint32_t)setup->options.target_bytes_max;
    server->connection_count = (uint32_t)setup->options.connections_max + REFUSALS_AT_ONCE;
    if (!init_pools(server) || !init_connections(server)) {
        fault_set(fault, "no memory for %u connections and their buffers",
                  server->connection_count);
        release(server);
        return NULL;
    }
    list_init(&server->resume);
    list_init(&server->later);
    list_init(&server->flush);
    server->batch_hook.run = run_batch;
    server->flush_hook.run = run_flush;
    loop_add_hook(server->loop, LOOP_STAGE_BATCH, &server->batch_hook);
    loop_add_hook(server->loop, LOOP_STAGE_FLUSH, &server->flush_hook);
    return server;
}

void http_server_destroy(struct http_server *server) {
    listener_close(&server->listener);
    for (uint32_t i = 0; i < server->connection_count; i++) {
        struct http_connection *connection = &server->connections[i];
        if (connection->phase != PHASE_FREE) {
            connection->broken = true;
            http_connection_settle(connection);
        }
    }
    loop_remove_hook(&server->batch_hook);
    loop_remove_hook(&server->flush_hook);
    release(server);
}

void http_server_register_metrics(struct http_server *server, struct metrics *metrics,
                                  const char *labels) {
    metrics_register(metrics, "http", labels, http_metric_table, ARRAY_COUNT(http_metric_table),
                     &server->metrics);
}

bool http_server_listen(struct http_server *server, const char *address, struct fault *fault) {
    struct listener_setup setup = {
        .loop = server->loop,
        .address = address,
        .backlog = (int)server->options.backlog,
        .receive_buffer_bytes = (int)server->options.receive_buffer_bytes,
        .send_buffer_bytes = (int)server->options.send_buffer_bytes,
        .lost_after_ms = (unsigned)server->options.write_timeout_ms,
        .accepted = connection_accepted,
    };
    return listener_open(&server->listener, &setup, fault);
}

uint16_t http_server_port(const struct http_server *server) {
    return server->listener.port;
}

/* Draining */

void http_server_drain(struct http_server *server) {
    listener_close(&server->listener);
    server->draining = true;
    for (uint32_t i = 0; i < server->connection_count; i++) {
        struct http_connection *connection = &server->connections[i];
        if (connection->phase == PHASE_STREAM) {
            struct http_exchange *exchange = &connection->exchange;
            connection->answer_closes = true;
            http_stream_end(exchange);
            server->handler->ops->gone(server->handler, exchange);
        } else if (connection->phase == PHASE_HEAD) {
            connection->readable = !connection->ended; /* what has arrived is still served */
            http_connection_resume_soon(connection);
        }
    }
}

bool http_server_is_idle(const struct http_server *server) {
    return open_connections(server) == 0;
}

/* Handles */

struct http_handle http_exchange_handle(const struct http_exchange *exchange) {
    const struct http_connection *connection = http_connection_of(exchange);
    uint32_t index = (uint32_t)(connection - connection->server->connections);
    return (struct http_handle){index, exchange->generation};
}

struct http_exchange *http_server_exchange(struct http_server *server, struct http_handle handle) {
    if (handle.index >= server->connection_count) {
        return NULL;
    }
    struct http_exchange *exchange = &server->connections[handle.index].exchange;
    return exchange->active && exchange->generation == handle.generation ? exchange : NULL;
}
