#include "net/resp_internal.h"

#include "base/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPTION(...) CONFIG_ENTRY_OF(struct resp_options, __VA_ARGS__)
#define METRIC(...) METRIC_ENTRY_OF(struct resp_metrics, __VA_ARGS__)

const struct config_option resp_option_table[RESP_OPTION_COUNT] = {RESP_OPTIONS(OPTION)};

static const struct metric_description resp_metric_table[] = {RESP_METRICS(METRIC)};

/* --- Connections. --- */

void resp_server_adopt(struct resp_server *server, int fd) {
    static const char full[] = "-ERR max number of clients reached\r\n";
    struct resp_connection *connection = resp_connection_open(server, fd);
    if (connection == NULL) {
        connection_count(&server->metrics.connections_refused_total, 1);
        /* Its send buffer is empty, so this fits; a peer that is gone already misses nothing. */
        (void)send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)close(fd);
        return;
    }
    connection_count(&server->metrics.connections_accepted_total, 1);
    resp_connection_settle(connection);
}

static void connection_accepted(struct listener *listener, int fd) {
    resp_server_adopt(CONTAINER_OF(listener, struct resp_server, set.listener), fd);
}

/* --- Hooks. --- */

/** Goes on with connections whose answers came, or whose turn has come again. */
static bool run_batch(struct loop_hook *hook) {
    struct resp_server *server = CONTAINER_OF(hook, struct resp_server, set.batch_hook);
    uint64_t handed = server->set.handed;
    struct connection *next;
    while ((next = connection_set_next_resumed(&server->set)) != NULL) {
        resp_connection_drive(CONTAINER_OF(next, struct resp_connection, base));
    }
    return server->set.handed != handed;
}

/** What is counted elsewhere. */
static void publish(struct resp_server *server) {
    struct resp_metrics *metrics = &server->metrics;
    metric_set(&metrics->connections, connection_set_open_count(&server->set));
    metric_set(&metrics->large_buffers_taken, buffer_pool_taken(&server->set.pools.large));
    metric_set(&metrics->received_bytes_total, server->set.received_bytes);
    metric_set(&metrics->sent_bytes_total, server->set.sent_bytes);
    metric_set(&metrics->buffers_exhausted_total, server->set.pools.exhausted);
    metric_set(&metrics->accept_pauses_total, server->set.listener.pauses);
}

static bool run_flush(struct loop_hook *hook) {
    struct resp_server *server = CONTAINER_OF(hook, struct resp_server, set.flush_hook);
    struct connection *next;
    while ((next = connection_set_next_flushed(&server->set)) != NULL) {
        resp_connection_flush(CONTAINER_OF(next, struct resp_connection, base));
    }
    connection_set_end_flush(&server->set);
    publish(server);
    return false;
}

/* --- Creation. --- */

static bool init_connections(struct resp_server *server, struct loop *loop) {
    const struct resp_options *options = &server->options;
    struct connection_set_setup setup = {
        .loop = loop,
        .count = (uint32_t)options->connections_max,
        .input_bytes = RESP_INPUT_BYTES,
        .medium_buffers = (uint32_t)options->medium_buffers,
        .large_buffers = (uint32_t)options->large_buffers,
        .timeouts_ms =
            {
                [LIMIT_IDLE] = options->idle_timeout_ms,
                [LIMIT_HEAD] = options->command_timeout_ms,
                [LIMIT_WRITE] = options->write_timeout_ms,
                [LIMIT_LINGER] = options->linger_timeout_ms,
            },
        .run_batch = run_batch,
        .run_flush = run_flush,
    };
    server->connections = pages_reserve(setup.count * sizeof(*server->connections));
    return connection_set_init(&server->set, &setup) && server->connections != NULL;
}

static void release(struct resp_server *server) {
    connection_set_deinit(&server->set);
    pages_release(server->connections, server->set.count * sizeof(*server->connections));
    free(server);
}

struct resp_server *resp_server_create(const struct resp_server_setup *setup, struct fault *fault) {
    struct resp_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        fault_set(fault, "no memory for the RESP server");
        return NULL;
    }
    assert(setup->handler->ops->serve != NULL && setup->handler->ops->gone != NULL);
    server->handler = setup->handler;
    server->options = setup->options;
    if (!init_connections(server, setup->loop)) {
        fault_set(fault, "no memory for %u RESP connections", server->set.count);
        release(server);
        return NULL;
    }
    return server;
}

void resp_server_destroy(struct resp_server *server) {
    listener_close(&server->set.listener);
    for (uint32_t i = 0; i < server->set.count; i++) {
        struct resp_connection *connection = &server->connections[i];
        if (connection->phase != RESP_PHASE_FREE) {
            connection->base.broken = true;
            resp_connection_settle(connection);
        }
    }
    release(server);
}

void resp_server_register_metrics(struct resp_server *server, struct metrics *metrics,
                                  const char *labels) {
    metrics_register(metrics, "resp", labels, resp_metric_table, ARRAY_COUNT(resp_metric_table),
                     &server->metrics);
}

bool resp_server_listen(struct resp_server *server, const char *address, struct fault *fault) {
    struct listener_setup setup = {
        .loop = server->set.loop,
        .address = address,
        .backlog = (int)server->options.backlog,
        .lost_after_ms = (unsigned)server->options.write_timeout_ms,
        .accepted = connection_accepted,
    };
    return listener_open(&server->set.listener, &setup, fault);
}

uint16_t resp_server_port(const struct resp_server *server) {
    return server->set.listener.port;
}

/* --- Draining. --- */

void resp_server_drain(struct resp_server *server) {
    listener_close(&server->set.listener);
    server->set.draining = true;
    for (uint32_t i = 0; i < server->set.count; i++) {
        struct resp_connection *connection = &server->connections[i];
        if (connection->phase == RESP_PHASE_READ) {
            /* What has arrived is still served. */
            connection->base.readable = !connection->base.ended;
            connection_resume_soon(&connection->base);
        }
    }
}

bool resp_server_is_idle(const struct resp_server *server) {
    return connection_set_open_count(&server->set) == 0;
}
