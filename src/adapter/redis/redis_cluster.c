#include "adapter/redis/redis_core.h"

#define PAUSE_US_MIN 50000
/* A connection that did not last this long counts as one that was not made. */
#define LASTING_US 1000000
/* A node that owns no slots is left after this. */
#define IDLE_US 10000000

void redis_cluster_init(struct redis_cluster *cluster) {
    memset(cluster->route, 0xff, sizeof(cluster->route));
    memset(cluster->owners, 0xff, sizeof(cluster->owners));
    cluster->map_asked = REDIS_NOBODY;
    cluster->map_wanted = true;
    for (size_t i = 0; i < REDIS_NODES_MAX; i++) {
        redis_connection_init(&cluster->nodes[i].connection);
        redis_connection_init(&cluster->nodes[i].listener.connection);
    }
    for (size_t i = 0; i < cluster->settings->seed_count; i++) {
        struct redis_node *node = redis_node_at(cluster, &cluster->settings->seeds[i]);
        assert(node != NULL); /* there is room for more than the seeds */
        node->seed = true;
    }
}

static void node_init(struct redis_cluster *cluster, struct redis_node *node,
                      const struct redis_address *address) {
    bool six = strchr(address->host, ':') != NULL;
    memset(node, 0, sizeof(*node));
    node->cluster = cluster;
    node->address = *address;
    node->used = true;
    node->master = REDIS_NOBODY;
    redis_connection_init(&node->connection);
    redis_connection_init(&node->listener.connection);
    node->listener.node = node;
    for (size_t i = 0; i < REDIS_OWN_COUNT; i++) {
        node->own[i].kind = (uint8_t)(REDIS_OWN_FIRST + i);
    }
    struct text name = text_over(node->name, sizeof(node->name));
    text_append_format(&name, six ? "[%s]:%u" : "%s:%u", address->host, address->port);
    node->name[name.size] = 0;
}

/** Takes the place of a node that is in no map any more. */
static struct redis_node *recycle_node(struct redis_cluster *cluster) {
    for (size_t i = 0; i < REDIS_NODES_MAX; i++) {
        struct redis_node *node = &cluster->nodes[i];
        if (node->seed || node->mapped || node->connection.state != REDIS_CLOSED ||
            node->listener.connection.state != REDIS_CLOSED) {
            continue;
        }
        for (size_t slot = 0; slot < HASH_SLOT_COUNT; slot++) {
            cluster->route[slot] = cluster->route[slot] == i ? REDIS_NOBODY : cluster->route[slot];
            cluster->owners[slot] =
                cluster->owners[slot] == i ? REDIS_NOBODY : cluster->owners[slot];
        }
        return node;
    }
    return NULL;
}

struct redis_node *redis_node_at(struct redis_cluster *cluster,
                                 const struct redis_address *address) {
    for (size_t i = 0; i < cluster->node_count; i++) {
        if (redis_address_equal(&cluster->nodes[i].address, address)) {
            return &cluster->nodes[i];
        }
    }
    struct redis_node *node = cluster->node_count < REDIS_NODES_MAX
                                  ? &cluster->nodes[cluster->node_count++]
                                  : recycle_node(cluster);
    if (node != NULL) {
        node_init(cluster, node, address);
    }
    return node;
}

void redis_node_ask(struct redis_node *node, enum redis_command_kind kind) {
    struct redis_command *command = &node->own[kind - REDIS_OWN_FIRST];
    if (!command->queued) {
        command->queued = true;
        command->asking = false;
        redis_list_append(&node->waiting, command);
    }
}

void redis_node_connect(struct redis_node *node) {
    struct redis_cluster *cluster = node->cluster;
    struct fault fault;
    if (node->connection.state != REDIS_CLOSED || cluster->now_us < node->retry_at_us) {
        return;
    }
    node->needed_us = cluster->now_us;
    if (!redis_connection_begin(&node->connection, &node->address, cluster->now_us, &fault)) {
        redis_node_fail(node, fault.text);
        return;
    }
    node->write_sha[0] = 0;
    node->exchange_sha[0] = 0;
    if (cluster->settings->password.text[0] != 0) {
        redis_node_ask(node, REDIS_COMMAND_LOGIN);
    }
    redis_node_ask(node, REDIS_COMMAND_LOAD_WRITE);
    redis_node_ask(node, REDIS_COMMAND_LOAD_EXCHANGE);
    redis_node_ask(node, REDIS_COMMAND_INFO);
    node->watch_at_us = cluster->now_us + cluster->settings->watch_us;
}

/** What becomes of a command whose connection broke. */
static void fail_command(struct redis_cluster *cluster, struct redis_command *command,
                         bool was_sent) {
    if (command->kind >= REDIS_OWN_FIRST) {
        command->queued = false;
        if (command->kind == REDIS_COMMAND_SLOTS) {
            cluster->map_asked = REDIS_NOBODY;
            cluster->map_wanted = true;
        }
        return;
    }
    /* A lock may have been taken, a token used up: only the caller can say what that means. */
    bool repeatable = command->kind != REDIS_COMMAND_LOCK && command->kind != REDIS_COMMAND_FILL;
    if (was_sent && repeatable && command->task != NULL) {
        redis_route_again(cluster, command, 0);
    } else {
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
    }
}

void redis_node_fail(struct redis_node *node, const char *reason) {
    struct redis_cluster *cluster = node->cluster;
    bool was_open = node->connection.state == REDIS_OPEN;
    bool lasted = was_open && cluster->now_us - node->connection.begun_us >= LASTING_US;
    struct redis_command_list sent = node->sent;
    struct redis_command_list waiting = node->waiting;
    node->sent = (struct redis_command_list){0};
    node->waiting = (struct redis_command_list){0};
    redis_connection_close(&node->connection);
    int64_t longer_us = node->pause_us == 0 ? PAUSE_US_MIN : node->pause_us * 2;
    node->pause_us = lasted ? 0
                     : longer_us < cluster->settings->reconnect_max_us
                         ? longer_us
                         : cluster->settings->reconnect_max_us;
    node->retry_at_us = cluster->now_us + node->pause_us;
    if (node->owner || !cluster->mapped) {
        cluster->map_wanted = true;
    }
    if (was_open) {
        atomic_fetch_sub_explicit(&cluster->metrics.nodes_up, 1, memory_order_relaxed);
    }
    metric_add(&cluster->metrics.disconnects_total, 1);
    log_write_limited(cluster->log, &node->limit, LOG_WARNING, "redis", "%s: %s", node->name,
                      reason);
    struct redis_command *command;
    while ((command = redis_list_take(&sent)) != NULL) {
        fail_command(cluster, command, was_open);
    }
    while ((command = redis_list_take(&waiting)) != NULL) {
        fail_command(cluster, command, was_open);
    }
}

bool redis_node_submit(struct redis_node *node, struct redis_command *command) {
    redis_node_connect(node);
    if (node->connection.state == REDIS_CLOSED) {
        return false;
    }
    node->needed_us = node->cluster->now_us;
    redis_list_append(&node->waiting, command);
    return true;
}

void redis_node_flush(struct redis_node *node) {
    struct fault fault;
    if (node->connection.state != REDIS_OPEN) {
        return;
    }
    while (node->waiting.first != NULL && redis_command_write(node, node->waiting.first)) {
        if (node->sent.count == 0) {
            node->connection.heard_us = node->cluster->now_us; /* the silence ends here */
        }
        redis_list_append(&node->sent, redis_list_take(&node->waiting));
    }
    if (!redis_connection_write(&node->connection, &fault)) {
        redis_node_fail(node, fault.text);
    }
}

/** Keeps the name of a loaded script: 40 hexadecimal digits. */
static void keep_sha(const struct redis_value *answer, char sha[REDIS_SHA_TEXT + 1]) {
    if (answer->kind == REDIS_TEXT && answer->text.size == REDIS_SHA_TEXT &&
        strspn(answer->text.data, "0123456789abcdef") == REDIS_SHA_TEXT) {
        memcpy(sha, answer->text.data, REDIS_SHA_TEXT + 1);
    }
}

/** The answer to one of the node's own commands. False: the node does not let us in. */
static bool own_answer(struct redis_node *node, struct redis_command *command,
                       const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    command->queued = false;
    switch ((enum redis_command_kind)command->kind) {
    case REDIS_COMMAND_LOGIN:
        if (answer->kind == REDIS_ERROR) {
            log_write_limited(cluster->log, &cluster->error_limit, LOG_ERROR, "redis",
                              "%s does not take the password: %.64s", node->name,
                              answer->text.data);
            return false;
        }
        break;
    case REDIS_COMMAND_LOAD_WRITE:
        keep_sha(answer, node->write_sha);
        break;
    case REDIS_COMMAND_LOAD_EXCHANGE:
        keep_sha(answer, node->exchange_sha);
        break;
    case REDIS_COMMAND_INFO:
        redis_watch_info(node, answer);
        break;
    default:
        redis_route_map_answer(node, answer);
        break;
    }
    return true;
}

static bool take_answer(void *context, const struct redis_value *answer) {
    struct redis_node *node = context;
    struct redis_command *command = node->sent.first;
    if (command == NULL) {
        return false;
    }
    if (command->skip > 0) {
        command->skip--;
        return true;
    }
    (void)redis_list_take(&node->sent);
    if (command->kind >= REDIS_OWN_FIRST) {
        return own_answer(node, command, answer);
    }
    redis_command_answer(node, command, answer);
    return true;
}

void redis_node_readable(struct redis_node *node) {
    struct fault fault;
    if (node->connection.state == REDIS_OPEN &&
        !redis_connection_read(&node->connection, node->cluster->now_us, take_answer, node,
                               &fault)) {
        redis_node_fail(node, fault.text);
    }
}

void redis_node_writable(struct redis_node *node) {
    struct redis_cluster *cluster = node->cluster;
    struct fault fault;
    if (node->connection.state == REDIS_CONNECTING) {
        if (!redis_connection_finish(&node->connection, cluster->now_us, &fault)) {
            redis_node_fail(node, fault.text);
            return;
        }
        metric_add(&cluster->metrics.connects_total, 1);
        atomic_fetch_add_explicit(&cluster->metrics.nodes_up, 1, memory_order_relaxed);
    }
    redis_node_flush(node);
}

static void close_idle(struct redis_node *node) {
    redis_connection_close(&node->connection);
    atomic_fetch_sub_explicit(&node->cluster->metrics.nodes_up, 1, memory_order_relaxed);
}

static void tend_open(struct redis_node *node) {
    struct redis_cluster *cluster = node->cluster;
    if (node->sent.count > 0 &&
        cluster->now_us - node->connection.heard_us > cluster->settings->timeout_us) {
        redis_node_fail(node, "it does not answer");
        return;
    }
    if (cluster->now_us - node->connection.begun_us > LASTING_US) {
        node->pause_us = 0;
    }
    if (node->owner && cluster->now_us >= node->watch_at_us) {
        node->watch_at_us = cluster->now_us + cluster->settings->watch_us;
        redis_node_ask(node, REDIS_COMMAND_INFO);
    }
    if (!node->owner && node->sent.count == 0 && node->waiting.count == 0 && cluster->mapped &&
        cluster->now_us - node->needed_us > IDLE_US) {
        close_idle(node);
    }
}

void redis_cluster_tend(struct redis_cluster *cluster) {
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct redis_node *node = &cluster->nodes[i];
        switch (node->connection.state) {
        case REDIS_CLOSED:
            if (node->owner) {
                redis_node_connect(node);
            }
            break;
        case REDIS_CONNECTING:
            if (cluster->now_us - node->connection.begun_us >
                cluster->settings->connect_timeout_us) {
                redis_node_fail(node, "it was not connected to in time");
            }
            break;
        case REDIS_OPEN:
            tend_open(node);
            break;
        }
        if (node->owner && node->connection.state != REDIS_OPEN) {
            cluster->map_wanted = true;
        }
    }
}
