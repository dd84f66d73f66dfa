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

static uint32_t open_connections(const struct resp_server *server) {
    return server->connection_count - server->free_count;
}

/* --- Connections. --- */

void resp_server_adopt(struct resp_server *server, int fd) {
    static const char full[] = "-ERR max number of clients reached\r\n";
    struct resp_connection *connection = resp_connection_open(server, fd);
    if (connection == NULL) {
        resp_count(&server->metrics.connections_refused_total, 1);
        /* Its send buffer is empty, so this fits; a peer that is gone already misses nothing. */
        (void)send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)close(fd);
        return;
    }
    resp_count(&server->metrics.connections_total, 1);
    resp_connection_settle(connection);
}

static void connection_accepted(struct listener *listener, int fd) {
    resp_server_adopt(CONTAINER_OF(listener, struct resp_server, listener), fd);
}

/* --- Hooks. --- */

/** Goes on with connections whose answers came, or whose turn has come again. */
static bool run_batch(struct loop_hook *hook) {
    struct resp_server *server = CONTAINER_OF(hook, struct resp_server, batch_hook);
    uint64_t handed = server->handed;
    struct list_node *node;
    while ((node = list_take_first(&server->resume)) != NULL) {
        resp_connection_drive(CONTAINER_OF(node, struct resp_connection, resume_node));
    }
    return server->handed != handed;
}

/** What is counted elsewhere. */
static void publish(struct resp_server *server) {
    struct resp_metrics *metrics = &server->metrics;
    metric_set(&metrics->connections, open_connections(server));
    metric_set(&metrics->large_buffers_taken, buffer_pool_taken(&server->pools.large));
    metric_set(&metrics->buffers_exhausted_total, server->pools.exhausted);
    metric_set(&metrics->accept_pauses_total, server->listener.pauses);
}

static bool run_flush(struct loop_hook *hook) {
    struct resp_server *server = CONTAINER_OF(hook, struct resp_server, flush_hook);
    struct list_node *node;
    while ((node = list_take_first(&server->flush)) != NULL) {
        resp_connection_flush(CONTAINER_OF(node, struct resp_connection, flush_node));
    }
    if (!list_is_empty(&server->later)) {
        list_move_all(&server->later, &server->resume);
        loop_keep_awake(server->loop);
    }
    publish(server);
    return false;
}

/* --- Creation. --- */

static bool init_memory(struct resp_server *server) {
    const struct resp_options *options = &server->options;
    uint32_t count = server->connection_count;
    if (!buffer_pool_init(&server->input_pool, RESP_INPUT_BYTES, count) ||
        !buffer_pools_init(&server->pools, count, (uint32_t)options->medium_buffers,
                           (uint32_t)options->large_buffers)) {
        return false;
    }
    server->connections = pages_reserve(count * sizeof(*server->connections));
    server->free = malloc(count * sizeof(*server->free));
    server->scratch = malloc(RESP_SCRATCH_BYTES);
    if (server->connections == NULL || server->free == NULL || server->scratch == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        server->free[i] = count - 1 - i;
    }
    server->free_count = count;
    return true;
}

static void release(struct resp_server *server) {
    buffer_pool_deinit(&server->input_pool);
    buffer_pools_deinit(&server->pools);
    pages_release(server->connections, server->connection_count * sizeof(*server->connections));
    free(server->free);
    free(server->scratch);
    free(server);
}

struct resp_server *resp_server_create(const struct resp_server_setup *setup, struct fault *fault) {
    struct resp_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        fault_set(fault, "no memory for the RESP server");
        return NULL;
    }
    assert(setup->handler->ops->serve != NULL && setup->handler->ops->gone != NULL);
    server->loop = setup->loop;
    server->handler = setup->handler;
    server->options = setup->options;
    server->connection_count = (uint32_t)setup->options.connections_max;
    if (!init_memory(server)) {
        fault_set(fault, "no memory for %u RESP connections", server->connection_count);
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

void resp_server_destroy(struct resp_server *server) {
    listener_close(&server->listener);
    for (uint32_t i = 0; i < server->connection_count; i++) {
        struct resp_connection *connection = &server->connections[i];
        if (connection->phase != RESP_PHASE_FREE) {
            connection->broken = true;
            resp_connection_settle(connection);
        }
    }
    loop_remove_hook(&server->batch_hook);
    loop_remove_hook(&server->flush_hook);
    release(server);
}

void resp_server_register_metrics(struct resp_server *server, struct metrics *metrics,
                                  const char *labels) {
    metrics_register(metrics, "resp", labels, resp_metric_table, ARRAY_COUNT(resp_metric_table),
                     &server->metrics);
}

bool resp_server_listen(struct resp_server *server, const char *address, struct fault *fault) {
    struct listener_setup setup = {
        .loop = server->loop,
        .address = address,
        .backlog = (int)server->options.backlog,
        .lost_after_ms = (unsigned)server->options.write_timeout_ms,
        .accepted = connection_accepted,
    };
    return listener_open(&server->listener, &setup, fault);
}

uint16_t resp_server_port(const struct resp_server *server) {
    return server->listener.port;
}

/* --- Draining. --- */

void resp_server_drain(struct resp_server *server) {
    listener_close(&server->listener);
    server->draining = true;
    for (uint32_t i = 0; i < server->connection_count; i++) {
        struct resp_connection *connection = &server->connections[i];
        if (connection->phase == RESP_PHASE_READ) {
            connection->readable = !connection->ended; /* what has arrived is still served */
            resp_connection_resume_soon(connection);
        }
    }
}

bool resp_server_is_idle(const struct resp_server *server) {
    return open_connections(server) == 0;
}
