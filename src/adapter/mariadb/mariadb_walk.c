#include "adapter/mariadb/mariadb_walk.h"

/** The last id of the tick of `time_us`. */
static uint64_t last_id_at(int64_t time_us) {
    uint64_t tick = order_tick_from_us(time_us);
    return tick >= ORDER_TICK_MAX ? INT64_MAX
                                  : order_id_encode((struct order_id_parts){.tick = tick + 1}) - 1;
}

/** The lowest id from `order_id` up that is of this shard. */
static uint64_t round_up(uint64_t order_id, uint64_t shard, uint64_t shards) {
    struct order_id_parts parts = order_id_decode(order_id);
    if (parts.slot % shards == shard) {
        return order_id;
    }
    parts.node = 0;
    parts.sequence = 0;
    while (parts.slot % shards != shard) {
        if (++parts.slot == ORDER_SLOT_COUNT) {
            parts.slot = 0;
            parts.tick++;
        }
    }
    return order_id_encode(parts);
}

size_t mariadb_walk_shard(uint64_t cursor, size_t shards) {
    return order_id_decode(cursor).slot % shards;
}

void mariadb_walk_begin(struct mariadb_walk *walk, const struct order_scan_batch *batch,
                        size_t shards) {
    int64_t ahead_us =
        batch->kind == ORDER_SCAN_FINAL ? (int64_t)ORDER_TICKS_AHEAD_MAX * ORDER_TICK_US : 0;
    bool endless = batch->before_us > MARIADB_TIME_MAX_US - ahead_us;
    *walk = (struct mariadb_walk){
        .shards = shards,
        .shard = mariadb_walk_shard(batch->cursor, shards),
        .begin = batch->cursor,
        .last_possible = endless ? INT64_MAX : last_id_at(batch->before_us + ahead_us),
    };
    walk->end = walk->last_possible;
}

void mariadb_walk_bound(struct mariadb_walk *walk, bool found, uint64_t last_id) {
    walk->at_end = !found;
    if (found) {
        uint64_t end = round_up(last_id, walk->shard, walk->shards);
        walk->at_end = end >= walk->last_possible;
        walk->end = walk->at_end ? walk->last_possible : end;
    }
    walk->reached = walk->end;
}

void mariadb_walk_read(struct mariadb_walk *walk, bool cut, uint64_t last_id) {
    if (cut) {
        walk->reached = last_id;
        walk->at_end = false;
    }
}

uint64_t mariadb_walk_cursor(const struct mariadb_walk *walk) {
    if (!walk->at_end) {
        return walk->reached;
    }
    uint64_t next = walk->shard + 1;
    return next == walk->shards ? 0
                                : order_id_encode((struct order_id_parts){.slot = (uint32_t)next});
}

uint64_t mariadb_walk_first_id_at(int64_t time_us) {
    return order_id_encode((struct order_id_parts){.tick = order_tick_from_us(time_us)});
}

int64_t mariadb_walk_created_after(uint64_t order_id) {
    return order_tick_to_us(order_id_tick(order_id)) -
           (int64_t)ORDER_TICKS_AHEAD_MAX * ORDER_TICK_US;
}
