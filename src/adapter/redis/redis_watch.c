#include "adapter/redis/redis_core.h"

void redis_watch_lose_slot(struct redis_cluster *cluster, size_t slot) {
    cluster->lost_slots[slot / 64] |= UINT64_C(1) << (slot % 64);
    cluster->lost_any = true;
    metric_add(&cluster->metrics.lost_slots_total, 1);
}

static void lose_node(struct redis_node *node, const char *what) {
    struct redis_cluster *cluster = node->cluster;
    size_t count = 0;
    for (size_t slot = 0; slot < HASH_SLOT_COUNT; slot++) {
        if (cluster->owners[slot] == redis_node_index(node)) {
            redis_watch_lose_slot(cluster, slot);
            count++;
        }
    }
    if (count > 0) {
        metric_add(&cluster->metrics.losses_total, 1);
        log_warning(cluster->log, "redis", "%s %s: the orders of %zu slots are to be written again",
                    node->name, what, count);
    }
}

void redis_watch_info(struct redis_node *node, const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    struct node_identity identity;
    if (answer->kind != REDIS_TEXT || !node_identity_parse(answer->text, &identity)) {
        log_write_limited(cluster->log, &node->limit, LOG_WARNING, "redis",
                          "%s: INFO does not say who it is%s%.64s", node->name,
                          answer->kind == REDIS_ERROR ? ": " : "",
                          answer->kind == REDIS_ERROR ? answer->text.data : "");
        return;
    }
    if (node->identified && identity.master) {
        if (memcmp(identity.run_id, node->identity.run_id, sizeof(identity.run_id)) != 0) {
            lose_node(node, "was started anew");
        } else if (identity.flushes > node->identity.flushes) {
            lose_node(node, "was flushed");
        }
    }
    node->identity = identity;
    node->identified = true;
}

void redis_watch_take(struct redis_cluster *cluster, struct cache_loss_read *request) {
    if (cluster->loss_read_count == REDIS_READS_MAX) {
        request->count = 0;
        request->result = ORDER_RESULT_FOUND;
        port_complete(&request->request);
        return;
    }
    cluster->loss_until_us[cluster->loss_read_count] =
        cluster->now_us + (int64_t)request->wait_ms * 1000;
    cluster->loss_reads[cluster->loss_read_count++] = request;
}

static void complete_first(struct redis_cluster *cluster, bool with_loss) {
    struct cache_loss_read *read = cluster->loss_reads[0];
    size_t left = --cluster->loss_read_count;
    memmove(&cluster->loss_reads[0], &cluster->loss_reads[1],
            left * sizeof(cluster->loss_reads[0]));
    memmove(&cluster->loss_until_us[0], &cluster->loss_until_us[1],
            left * sizeof(cluster->loss_until_us[0]));
    read->count = 0;
    memset(read->slots, 0, sizeof(read->slots));
    if (with_loss) {
        memcpy(read->slots, cluster->lost_slots, sizeof(read->slots));
        memset(cluster->lost_slots, 0, sizeof(cluster->lost_slots));
        cluster->lost_any = false;
        for (size_t i = 0; i < CACHE_LOSS_WORDS; i++) {
            read->count += (size_t)__builtin_popcountll(read->slots[i]);
        }
    }
    read->result = ORDER_RESULT_FOUND;
    port_complete(&read->request);
}

void redis_watch_tend(struct redis_cluster *cluster) {
    while (cluster->loss_read_count > 0 &&
           (cluster->lost_any || cluster->now_us >= cluster->loss_until_us[0])) {
        complete_first(cluster, cluster->lost_any);
    }
}
