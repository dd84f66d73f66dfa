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

/** Tells the peer that there are too many connections. */
static void refuse_connection(struct http_connection *connection) {
    struct http_server *server = connection->server;
    struct slice date = http_date_line(&server->date, loop_now_us(server->set.loop));
    bool room = http_output_reserve(connection, refused_line.size + date.size + refused_rest.size);
    assert(room);
    output_append(&connection->base.output, refused_line);
    output_append(&connection->base.output, date);
    output_append(&connection->base.output, refused_rest);
    connection->phase = PHASE_CLOSING;
    connection->base.lingers = true;
    connection_count(&server->metrics.connections_refused_total, 1);
    connection_count(&server->metrics.answers_5xx_total, 1);
}

void http_server_adopt(struct http_server *server, int fd) {
    bool full = connection_set_open_count(&server->set) >= server->options.connections_max;
    struct http_connection *connection = http_connection_open(server, fd);
    if (connection == NULL) {
        connection_count(&server->metrics.connections_refused_total, 1);
        (void)close(fd);
        return;
    }
    connection_count(&server->metrics.connections_accepted_total, 1);
    if (full) {
        refuse_connection(connection);
    }
    http_connection_settle(connection);
}

static void connection_accepted(struct listener *listener, int fd) {
    http_server_adopt(CONTAINER_OF(listener, struct http_server, set.listener), fd);
}

/* Hooks */

/** Goes on with connections whose answers came, or whose turn has come again. */
static bool run_batch(struct loop_hook *hook) {
    struct http_server *server = CONTAINER_OF(hook, struct http_server, set.batch_hook);
    uint64_t handed = server->set.handed;
    struct connection *next;
    while ((next = connection_set_next_resumed(&server->set)) != NULL) {
        http_connection_drive(CONTAINER_OF(next, struct http_connection, base));
    }
    return server->set.handed != handed;
}

static void flush_connection(struct http_connection *connection) {
    connection_send(&connection->base);
    if (!connection->base.broken && output_pending(&connection->base.output) == 0) {
        connection->room_due = connection->phase == PHASE_STREAM && connection->room_wanted;
        connection->room_wanted &= !connection->room_due;
        if (connection->stalled || connection->room_due ||
            (connection->phase == PHASE_STREAM && connection->base.peer_closing)) {
            connection->stalled = false;
            connection_resume_soon(&connection->base);
        }
    }
    http_connection_settle(connection);
}

/** What is counted elsewhere. */
static void publish(struct http_server *server) {
    struct http_metrics *metrics = &server->metrics;
    metric_set(&metrics->connections, connection_set_open_count(&server->set));
    metric_set(&metrics->streams, server->stream_count);
    metric_set(&metrics->medium_buffers_taken, buffer_pool_taken(&server->set.pools.medium));
    metric_set(&metrics->large_buffers_taken, buffer_pool_taken(&server->set.pools.large));
    metric_set(&metrics->received_bytes_total, server->set.received_bytes);
    metric_set(&metrics->sent_bytes_total, server->set.sent_bytes);
    metric_set(&metrics->buffers_exhausted_total, server->set.pools.exhausted);
    metric_set(&metrics->accept_pauses_total, server->set.listener.pauses);
}

static bool run_flush(struct loop_hook *hook) {
    struct http_server *server = CONTAINER_OF(hook, struct http_server, set.flush_hook);
    struct connection *next;
    while ((next = connection_set_next_flushed(&server->set)) != NULL) {
        flush_connection(CONTAINER_OF(next, struct http_connection, base));
    }
    connection_set_end_flush(&server->set);
    publish(server);
    return false;
}

/* Creation */

static bool init_connections(struct http_server *server, struct loop *loop) {
    const struct http_options *options = &server->options;
    struct connection_set_setup setup = {
        .loop = loop,
        .count = (uint32_t)options->connections_max + REFUSALS_AT_ONCE,
        .input_bytes = HTTP_INPUT_BYTES,
        .medium_buffers = (uint32_t)options->medium_buffers,
        .large_buffers = (uint32_t)options->large_buffers,
        .timeouts_ms =
            {
                [LIMIT_IDLE] = options->idle_timeout_ms,
                [LIMIT_HEAD] = options->head_timeout_ms,
                [LIMIT_BODY] = options->body_timeout_ms,
                [LIMIT_WRITE] = options->write_timeout_ms,
                [LIMIT_LINGER] = options->linger_timeout_ms,
            },
        .run_batch = run_batch,
        .run_flush = run_flush,
    };
    server->connections = pages_reserve(setup.count * sizeof(*server->connections));
    return connection_set_init(&server->set, &setup) && server->connections != NULL;
}

static void release(struct http_server *server) {
    connection_set_deinit(&server->set);
    pages_release(server->connections, server->set.count * sizeof(*server->connections));
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
    server->handler = setup->handler;
    server->options = setup->options;
    server->limits.head_bytes_max = (uint32_t)setup->options.head_bytes_max;
    server->limits.target_bytes_max = (uint32_t)setup->options.target_bytes_max;
    if (!init_connections(server, setup->loop)) {
        fault_set(fault, "no memory for %u connections and their buffers", server->set.count);
        release(server);
        return NULL;
    }
    return server;
}

void http_server_destroy(struct http_server *server) {
    listener_close(&server->set.listener);
    for (uint32_t i = 0; i < server->set.count; i++) {
        struct http_connection *connection = &server->connections[i];
        if (connection->phase != PHASE_FREE) {
            connection->base.broken = true;
            http_connection_settle(connection);
        }
    }
    release(server);
}

void http_server_register_metrics(struct http_server *server, struct metrics *metrics,
                                  const char *labels) {
    metrics_register(metrics, "http", labels, http_metric_table, ARRAY_COUNT(http_metric_table),
                     &server->metrics);
}

bool http_server_listen(struct http_server *server, const char *address, struct fault *fault) {
    struct listener_setup setup = {
        .loop = server->set.loop,
        .address = address,
        .backlog = (int)server->options.backlog,
        .receive_buffer_bytes = (int)server->options.receive_buffer_bytes,
        .send_buffer_bytes = (int)server->options.send_buffer_bytes,
        .lost_after_ms = (unsigned)server->options.write_timeout_ms,
        .accepted = connection_accepted,
    };
    return listener_open(&server->set.listener, &setup, fault);
}

uint16_t http_server_port(const struct http_server *server) {
    return server->set.listener.port;
}

/* Draining */

void http_server_drain(struct http_server *server) {
    listener_close(&server->set.listener);
    server->set.draining = true;
    for (uint32_t i = 0; i < server->set.count; i++) {
        struct http_connection *connection = &server->connections[i];
        if (connection->phase == PHASE_STREAM) {
            struct http_exchange *exchange = &connection->exchange;
            connection->answer_closes = true;
            http_stream_end(exchange);
            server->handler->ops->gone(server->handler, exchange);
        } else if (connection->phase == PHASE_HEAD) {
            /* What has arrived is still served. */
            connection->base.readable = !connection->base.ended;
            connection_resume_soon(&connection->base);
        }
    }
}

bool http_server_is_idle(const struct http_server *server) {
    return connection_set_open_count(&server->set) == 0;
}

/* Handles */

struct http_handle http_exchange_handle(const struct http_exchange *exchange) {
    const struct http_connection *connection = http_connection_of(exchange);
    uint32_t index = (uint32_t)(connection - connection->server->connections);
    return (struct http_handle){index, exchange->generation};
}

struct http_exchange *http_server_exchange(struct http_server *server, struct http_handle handle) {
    if (handle.index >= server->set.count) {
        return NULL;
    }
    struct http_exchange *exchange = &server->connections[handle.index].exchange;
    return exchange->active && exchange->generation == handle.generation ? exchange : NULL;
}
