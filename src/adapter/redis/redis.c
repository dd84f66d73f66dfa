#include "adapter/redis/redis.h"

#include "adapter/redis/redis_core.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define TICK_MS 10

const struct metric_description redis_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct redis_metrics, __VA_ARGS__)
    REDIS_METRICS(X)
#undef X
};
const size_t redis_metric_count = ARRAY_COUNT(redis_metric_table);

struct redis {
    struct order_cache cache;
    struct cache_events events;
    struct cache_loss loss;
    struct redis_settings settings;
    struct redis_cluster cluster;
    struct pollfd polls[1 + 2 * REDIS_NODES_MAX];
    pthread_t thread;
    bool started;
    _Atomic uint32_t stopping;
};

/* --- Ports: any thread --- */

static enum port_submit submit(struct redis *redis, struct port_request *request,
                               uint32_t operation) {
    request->operation = operation;
    return mailbox_send(&redis->cluster.inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static struct redis *redis_of_cache(struct order_cache *cache) {
    return CONTAINER_OF(cache, struct redis, cache);
}

static enum port_submit cache_get(struct order_cache *cache, struct order_get_batch *batch) {
    return submit(redis_of_cache(cache), &batch->request, REDIS_COMMAND_GET);
}

static enum port_submit cache_put(struct order_cache *cache, struct order_cache_put *batch) {
    return submit(redis_of_cache(cache), &batch->request, REDIS_COMMAND_PUT);
}

static enum port_submit cache_remove(struct order_cache *cache, struct order_cache_put *batch) {
    return submit(redis_of_cache(cache), &batch->request, REDIS_COMMAND_REMOVE);
}

static enum port_submit cache_lock(struct order_cache *cache, struct order_cache_fill *request) {
    return submit(redis_of_cache(cache), &request->request, REDIS_COMMAND_LOCK);
}

static enum port_submit cache_fill(struct order_cache *cache, struct order_cache_fill *request) {
    return submit(redis_of_cache(cache), &request->request, REDIS_COMMAND_FILL);
}

static enum port_submit events_read(struct cache_events *events,
                                    struct cache_events_read *request) {
    struct redis *redis = CONTAINER_OF(events, struct redis, events);
    return submit(redis, &request->request, REDIS_READ_EVENTS);
}

static enum port_submit loss_read(struct cache_loss *loss, struct cache_loss_read *request) {
    struct redis *redis = CONTAINER_OF(loss, struct redis, loss);
    return submit(redis, &request->request, REDIS_READ_LOSSES);
}

static uint32_t loss_slot(const struct cache_loss *loss, uint64_t order_id) {
    (void)loss;
    return hash_slot_of_order(order_id);
}

static const struct order_cache_ops cache_ops = {
    .get = cache_get,
    .put = cache_put,
    .remove = cache_remove,
    .lock = cache_lock,
    .fill = cache_fill,
};
static const struct cache_events_ops events_ops = {.read = events_read};
static const struct cache_loss_ops loss_ops = {.read = loss_read, .slot = loss_slot};

/* --- The thread --- */

static void add_poll(struct pollfd *poller, const struct redis_connection *connection) {
    *poller = (struct pollfd){.fd = -1};
    if (connection->state == REDIS_CLOSED) {
        return;
    }
    poller->fd = connection->fd;
    poller->events = connection->state == REDIS_CONNECTING ? 0 : POLLIN;
    if (redis_connection_wants_write(connection)) {
        poller->events |= POLLOUT;
    }
}

static size_t fill_polls(struct redis *redis) {
    struct redis_cluster *cluster = &redis->cluster;
    redis->polls[0] = (struct pollfd){.fd = cluster->inbox.event_fd, .events = POLLIN};
    for (size_t i = 0; i < cluster->node_count; i++) {
        add_poll(&redis->polls[1 + 2 * i], &cluster->nodes[i].connection);
        add_poll(&redis->polls[2 + 2 * i], &cluster->nodes[i].listener.connection);
    }
    return 1 + 2 * cluster->node_count;
}

/** @param polled how many nodes were polled: some may have come since. */
static void serve(struct redis *redis, size_t polled) {
    for (size_t i = 0; i < polled; i++) {
        struct redis_node *node = &redis->cluster.nodes[i];
        const struct pollfd *commands = &redis->polls[1 + 2 * i];
        const struct pollfd *events = &redis->polls[2 + 2 * i];
        /* A connection may have been closed, and another one made, since the poll: reading and
         * writing then finds nothing to do, or is told that it is not made yet. */
        if ((commands->revents & (POLLOUT | POLLERR | POLLHUP)) != 0 &&
            commands->fd == node->connection.fd) {
            redis_node_writable(node);
        }
        if ((commands->revents & (POLLIN | POLLERR | POLLHUP)) != 0 &&
            commands->fd == node->connection.fd) {
            redis_node_readable(node);
        }
        if ((events->revents & (POLLOUT | POLLERR | POLLHUP)) != 0 &&
            events->fd == node->listener.connection.fd) {
            redis_listener_writable(&node->listener);
        }
        if ((events->revents & (POLLIN | POLLERR | POLLHUP)) != 0 &&
            events->fd == node->listener.connection.fd) {
            redis_listener_readable(&node->listener);
        }
    }
}

static void step(struct redis_cluster *cluster) {
    redis_route_tend(cluster);
    redis_cluster_tend(cluster);
    redis_tasks_sweep(cluster);
    redis_events_tend(cluster);
    redis_watch_tend(cluster);
    for (size_t i = 0; i < cluster->node_count; i++) {
        redis_node_flush(&cluster->nodes[i]);
    }
    metric_set(&cluster->metrics.commands_under_way,
               cluster->settings->commands - cluster->free_count);
}

static void close_all(struct redis_cluster *cluster) {
    redis_tasks_abandon(cluster);
    cluster->lost_any = false;
    cluster->now_us = INT64_MAX;
    cluster->events_wanted = false;
    redis_events_tend(cluster);
    redis_watch_tend(cluster);
    for (size_t i = 0; i < cluster->node_count; i++) {
        redis_connection_close(&cluster->nodes[i].connection);
    }
}

static void *run(void *context) {
    struct redis *redis = context;
    struct redis_cluster *cluster = &redis->cluster;
    for (;;) {
        cluster->now_us = clock_monotonic_us();
        bool blocked = redis_tasks_intake(cluster);
        step(cluster);
        if (atomic_load_explicit(&redis->stopping, memory_order_acquire) != 0 &&
            cluster->task_count == 0) {
            break;
        }
        size_t count = fill_polls(redis);
        /* Where requests wait for room, only answers make any: their wake is of no use. */
        bool sleep = blocked || mailbox_prepare_sleep(&cluster->inbox);
        if (blocked) {
            redis->polls[0].fd = -1;
        }
        (void)poll(redis->polls, count, sleep ? TICK_MS : 0);
        if (!blocked) {
            mailbox_end_sleep(&cluster->inbox);
        }
        cluster->now_us = clock_monotonic_us();
        serve(redis, (count - 1) / 2);
    }
    close_all(cluster);
    return NULL;
}

/* --- Life --- */

static bool make(struct redis *redis, struct fault *fault) {
    struct redis_cluster *cluster = &redis->cluster;
    const struct redis_settings *settings = &redis->settings;
    if (!mailbox_init(&cluster->inbox, settings->queue_requests)) {
        fault_set(fault, "redis: no memory for the queue");
        return false;
    }
    cluster->commands = calloc(settings->commands, sizeof(cluster->commands[0]));
    cluster->events = calloc(settings->events, sizeof(cluster->events[0]));
    if (cluster->commands == NULL || cluster->events == NULL) {
        fault_set(fault, "redis: no memory for commands and events");
        free(cluster->commands);
        free(cluster->events);
        mailbox_deinit(&cluster->inbox);
        return false;
    }
    for (size_t i = 0; i < settings->commands; i++) {
        cluster->commands[i].next = cluster->free_commands;
        cluster->free_commands = &cluster->commands[i];
        cluster->free_count++;
    }
    for (size_t i = 0; i < REDIS_TASKS_MAX; i++) {
        cluster->tasks[i].next = cluster->free_tasks;
        cluster->free_tasks = &cluster->tasks[i];
    }
    redis_cluster_init(cluster);
    return true;
}

struct redis *redis_create(const struct redis_parts *parts, struct fault *fault) {
    struct redis *redis = calloc(1, sizeof(*redis));
    if (redis == NULL) {
        fault_set(fault, "redis: no memory");
        return NULL;
    }
    redis->cache.ops = &cache_ops;
    redis->events.ops = &events_ops;
    redis->loss.ops = &loss_ops;
    redis->settings = *parts->settings;
    redis->cluster.settings = &redis->settings;
    redis->cluster.log = parts->log;
    if (!make(redis, fault)) {
        free(redis);
        return NULL;
    }
    if (parts->metrics != NULL) {
        metrics_register(parts->metrics, "redis", NULL, redis_metric_table, redis_metric_count,
                         &redis->cluster.metrics);
    }
    return redis;
}

bool redis_start(struct redis *redis, struct fault *fault) {
    int error = pthread_create(&redis->thread, NULL, run, redis);
    if (error != 0) {
        fault_set_errno(fault, error, "the thread for Redis cannot be started");
        return false;
    }
    redis->started = true;
    (void)pthread_setname_np(redis->thread, "redis");
    return true;
}

void redis_stop(struct redis *redis) {
    if (!redis->started) {
        return;
    }
    atomic_store_explicit(&redis->stopping, 1, memory_order_release);
    mailbox_wake(&redis->cluster.inbox);
    (void)pthread_join(redis->thread, NULL);
    redis->started = false;
}

void redis_destroy(struct redis *redis) {
    redis_stop(redis);
    free(redis->cluster.commands);
    free(redis->cluster.events);
    mailbox_deinit(&redis->cluster.inbox);
    free(redis);
}

struct order_cache *redis_order_cache(struct redis *redis) {
    return &redis->cache;
}

struct cache_events *redis_cache_events(struct redis *redis) {
    return &redis->events;
}

struct cache_loss *redis_cache_loss(struct redis *redis) {
    return &redis->loss;
}

const struct redis_metrics *redis_metrics(const struct redis *redis) {
    return &redis->cluster.metrics;
}
