#include "adapter/redis/redis_core.h"

#define MAP_PAUSE_US 100000
#define TRY_AGAIN_US 10000

/** True where no node is connected or being connected to. */
static bool is_lost(const struct redis_cluster *cluster) {
    for (size_t i = 0; i < cluster->node_count; i++) {
        const struct redis_node *node = &cluster->nodes[i];
        if (node->used &&
            (node->connection.state != REDIS_CLOSED || cluster->now_us >= node->retry_at_us)) {
            return false;
        }
    }
    return true;
}

void redis_route(struct redis_cluster *cluster, struct redis_command *command) {
    uint16_t owner = cluster->route[command->slot];
    if (!cluster->mapped && !is_lost(cluster)) {
        redis_list_append(&cluster->homeless, command);
        return;
    }
    if (owner == REDIS_NOBODY) {
        cluster->map_wanted = true;
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        return;
    }
    if (!redis_node_submit(&cluster->nodes[owner], command)) {
        cluster->map_wanted = true;
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
    }
}

/** True where it may be sent once more. */
static bool may_go_on(struct redis_cluster *cluster, struct redis_command *command) {
    if (command->attempts >= cluster->settings->redirects_max ||
        cluster->now_us >= command->deadline_us) {
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        return false;
    }
    command->attempts++;
    metric_add(&cluster->metrics.retries_total, 1);
    return true;
}

void redis_route_again(struct redis_cluster *cluster, struct redis_command *command,
                       int64_t pause_us) {
    if (!may_go_on(cluster, command)) {
        return;
    }
    command->asking = false;
    if (pause_us > 0) {
        command->not_before_us = cluster->now_us + pause_us;
        redis_list_append(&cluster->put_off, command);
        return;
    }
    redis_route(cluster, command);
}

bool redis_route_redirect(struct redis_node *node, struct redis_command *command,
                          const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    struct redis_address target;
    uint16_t slot;
    if (redis_value_is_error(answer, "TRYAGAIN")) {
        metric_add(&cluster->metrics.try_again_total, 1);
        /* The slot is on its way, and the keys are not both on one side: a script may then have
         * one key only. A fill needs both, and waits. */
        command->single = command->kind != REDIS_COMMAND_FILL;
        redis_route_again(cluster, command, TRY_AGAIN_US);
        return true;
    }
    enum slot_redirect kind = slot_redirect_parse(answer, &node->address, &slot, &target);
    if (kind == SLOT_REDIRECT_NONE || slot != command->slot) {
        return false;
    }
    struct redis_node *other = redis_node_at(cluster, &target);
    if (other == NULL) {
        return false;
    }
    if (kind == SLOT_REDIRECT_MOVED) {
        metric_add(&cluster->metrics.moved_total, 1);
        cluster->route[slot] = redis_node_index(other);
        cluster->map_wanted = true;
        redis_route_again(cluster, command, 0);
        return true;
    }
    metric_add(&cluster->metrics.ask_total, 1);
    if (may_go_on(cluster, command)) {
        command->asking = true;
        if (!redis_node_submit(other, command)) {
            redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        }
    }
    return true;
}

static void send_put_off(struct redis_cluster *cluster) {
    size_t count = cluster->put_off.count;
    for (size_t i = 0; i < count; i++) {
        struct redis_command *command = redis_list_take(&cluster->put_off);
        if (cluster->now_us >= command->not_before_us) {
            redis_route(cluster, command);
        } else {
            redis_list_append(&cluster->put_off, command);
        }
    }
}

static void send_homeless(struct redis_cluster *cluster) {
    size_t count = cluster->homeless.count;
    for (size_t i = 0; i < count; i++) {
        redis_route(cluster, redis_list_take(&cluster->homeless));
    }
}

/** The next node that is connected, in turn, so that one with an old view does not have the last
 *  word. Where none is: connects to all that are known. */
static struct redis_node *node_to_ask(struct redis_cluster *cluster) {
    for (size_t i = 0; i < cluster->node_count; i++) {
        cluster->map_turn = (uint16_t)((cluster->map_turn + 1U) % cluster->node_count);
        struct redis_node *node = &cluster->nodes[cluster->map_turn];
        if (node->used && node->connection.state == REDIS_OPEN) {
            return node;
        }
    }
    for (size_t i = 0; i < cluster->node_count; i++) {
        if (cluster->nodes[i].used) {
            redis_node_connect(&cluster->nodes[i]);
        }
    }
    return NULL;
}

void redis_route_tend(struct redis_cluster *cluster) {
    send_put_off(cluster);
    if (cluster->homeless.count > 0 && is_lost(cluster)) {
        send_homeless(cluster); /* to be told so */
    }
    int64_t due_us = cluster->map_begun_us +
                     (cluster->map_wanted ? MAP_PAUSE_US : cluster->settings->map_refresh_us);
    if (cluster->map_asked != REDIS_NOBODY || cluster->now_us < due_us) {
        return;
    }
    struct redis_node *node = node_to_ask(cluster);
    if (node != NULL) {
        cluster->map_begun_us = cluster->now_us;
        cluster->map_asked = redis_node_index(node);
        cluster->map_wanted = false;
        redis_node_ask(node, REDIS_COMMAND_SLOTS);
    }
}

/** True where a slot's new owner took over from one that failed, and did not get it key by key:
 *  it was the replica, or the old one does not answer. */
static bool is_failover(const struct redis_cluster *cluster, uint16_t before, uint16_t now) {
    return cluster->nodes[now].master == before ||
           cluster->nodes[before].connection.state != REDIS_OPEN;
}

static void take_map(struct redis_cluster *cluster, const struct slot_map *map) {
    uint16_t index[SLOT_MAP_NODES_MAX];
    for (size_t i = 0; i < map->node_count; i++) {
        struct redis_node *node = redis_node_at(cluster, &map->nodes[i].address);
        index[i] = node == NULL ? REDIS_NOBODY : redis_node_index(node);
    }
    for (size_t slot = 0; slot < HASH_SLOT_COUNT; slot++) {
        uint16_t before = cluster->owners[slot];
        uint16_t now =
            map->owners[slot] == SLOT_MAP_NOBODY ? REDIS_NOBODY : index[map->owners[slot]];
        cluster->route[slot] = now;
        if (now != REDIS_NOBODY) {
            if (before != REDIS_NOBODY && before != now && is_failover(cluster, before, now)) {
                redis_watch_lose_slot(cluster, slot);
            }
            cluster->owners[slot] = now;
        }
    }
    for (size_t i = 0; i < cluster->node_count; i++) {
        cluster->nodes[i].mapped = false;
        cluster->nodes[i].owner = false;
    }
    for (size_t i = 0; i < map->node_count; i++) {
        if (index[i] != REDIS_NOBODY) {
            struct redis_node *node = &cluster->nodes[index[i]];
            uint16_t master = map->nodes[i].master;
            node->mapped = true;
            node->master = master == SLOT_MAP_NOBODY ? REDIS_NOBODY : index[master];
        }
    }
    uint64_t masters = 0;
    for (size_t slot = 0; slot < HASH_SLOT_COUNT; slot++) {
        if (cluster->route[slot] != REDIS_NOBODY && !cluster->nodes[cluster->route[slot]].owner) {
            cluster->nodes[cluster->route[slot]].owner = true;
            masters++;
        }
    }
    metric_set(&cluster->metrics.masters, masters);
    metric_set(&cluster->metrics.slots_covered, map->covered);
}

void redis_route_map_answer(struct redis_node *node, const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    struct fault fault;
    cluster->map_asked = REDIS_NOBODY;
    if (!slot_map_parse(answer, &node->address, &cluster->map, &fault)) {
        metric_add(&cluster->metrics.bad_maps_total, 1);
        cluster->map_wanted = true;
        log_write_limited(cluster->log, &cluster->map_limit, LOG_WARNING, "redis", "%s: %s",
                          node->name, fault.text);
        return;
    }
    if (cluster->map.unusable > 0) {
        log_write_limited(cluster->log, &cluster->map_limit, LOG_WARNING, "redis",
                          "%s: %zu entries of its map have no numeric address, or are too many",
                          node->name, cluster->map.unusable);
    }
    take_map(cluster, &cluster->map);
    metric_add(&cluster->metrics.maps_total, 1);
    cluster->mapped = true;
    send_homeless(cluster);
}
