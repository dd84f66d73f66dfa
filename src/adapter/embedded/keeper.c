#include "adapter/embedded/keeper.h"

#define RETRY_US 1000000

const struct metric_description keeper_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct keeper_metrics, __VA_ARGS__)
    KEEPER_METRICS(X)
#undef X
};
const size_t keeper_metric_count = ARRAY_COUNT(keeper_metric_table);

bool keeper_init(struct keeper *keeper, const struct keeper_parts *parts) {
    *keeper = (struct keeper){
        .disk = parts->disk,
        .log = parts->log,
        .store = parts->store,
        .supply = parts->supply,
        .segments = parts->segments,
        .limits = *parts->limits,
        .covered_sequence = parts->covered_sequence,
        /* What was replayed counts as growth: a restart does not put the next checkpoint off. */
        .appended_at_checkpoint = 0 - parts->replayed_bytes,
    };
    metric_set(&keeper->metrics.checkpoint_sequence, parts->covered_sequence);
    return checkpoint_writer_init(&keeper->checkpoint, parts->disk, parts->store->table,
                                  parts->store->filter, parts->limits->checkpoint_block_bytes);
}

void keeper_deinit(struct keeper *keeper) {
    if (keeper->writing) {
        checkpoint_write_abandon(&keeper->checkpoint);
    }
    checkpoint_writer_deinit(&keeper->checkpoint);
}

static uint64_t appended_bytes(const struct keeper *keeper) {
    return atomic_load_explicit(&keeper->store->appended_bytes, memory_order_relaxed);
}

static uint64_t hot_bytes(const struct keeper *keeper) {
    struct order_table_usage usage;
    order_table_usage(keeper->store->table, &usage);
    return (usage.orders - usage.evictable) * ORDER_RECORD_BYTES;
}

static bool nears_limit(const struct keeper *keeper) {
    return segment_list_bytes(keeper->segments) + 2 * keeper->supply->segment_bytes >=
           keeper->limits.max_bytes;
}

static bool is_checkpoint_due(const struct keeper *keeper, int64_t now_us) {
    if (now_us < keeper->retry_at_us || embedded_store_is_stopped(keeper->store)) {
        return false;
    }
    uint64_t growth = appended_bytes(keeper) - keeper->appended_at_checkpoint;
    uint64_t wanted = bytes_max_u64(keeper->limits.checkpoint_bytes, hot_bytes(keeper));
    wanted = bytes_min_u64(wanted, keeper->limits.max_bytes / 2);
    bool stuck = segment_supply_state(keeper->supply) == SEGMENT_SUPPLY_FULL;
    bool removable = segment_list_count(keeper->segments) > 1 && growth > 0;
    return growth >= wanted || ((nears_limit(keeper) || stuck) && removable);
}

static void set_snapshot_state(struct keeper *keeper, enum embedded_store_snapshot_state state) {
    atomic_store_explicit(&keeper->store->snapshot_state, (int)state, memory_order_release);
}

/** True where the supply may make another segment: the journal is below its limit, or an old one
 *  can be used again. */
static bool may_supply(const struct keeper *keeper) {
    return keeper->supply->spare_count > 0 ||
           segment_list_bytes(keeper->segments) + keeper->supply->segment_bytes <=
               keeper->limits.max_bytes;
}

static void give_up(struct keeper *keeper, int64_t now_us, const struct fault *fault) {
    log_write_limited(keeper->log, &keeper->limit, LOG_ERROR, "checkpoint", "given up: %s",
                      fault->text);
    metric_add(&keeper->metrics.checkpoint_failures_total, 1);
    keeper->writing = false;
    keeper->retry_at_us = now_us + RETRY_US;
    set_snapshot_state(keeper, STORE_SNAPSHOT_NONE);
    if (!may_supply(keeper)) {
        segment_supply_refuse(keeper->supply); /* only a checkpoint would make room */
    }
}

static void conclude_checkpoint(struct keeper *keeper) {
    struct fault fault;
    uint64_t sequence = keeper->checkpoint.snapshot.sequence;
    log_info(keeper->log, "checkpoint", "frame %llu: %llu hot orders", (unsigned long long)sequence,
             (unsigned long long)keeper->checkpoint.order_count);
    keeper->writing = false;
    keeper->covered_sequence = sequence;
    keeper->appended_at_checkpoint = keeper->appended_at_begin;
    metric_add(&keeper->metrics.checkpoints_total, 1);
    metric_set(&keeper->metrics.checkpoint_sequence, sequence);
    set_snapshot_state(keeper, STORE_SNAPSHOT_NONE);
    if (checkpoint_remove_older(keeper->disk, sequence, &fault) != DISK_OK) {
        log_warning(keeper->log, "checkpoint", "an older one stays: %s", fault.text);
    }
}

static void begin_checkpoint(struct keeper *keeper, int64_t now_us) {
    struct fault fault;
    /* The bytes after this count for the next one; those that the snapshot already has count
     * twice, which only brings the next one forward. */
    keeper->appended_at_begin = appended_bytes(keeper);
    if (checkpoint_write_begin(&keeper->checkpoint, &keeper->store->snapshot, &fault) ==
        CHECKPOINT_GIVEN_UP) {
        give_up(keeper, now_us, &fault);
        return;
    }
    keeper->writing = true;
}

/** True where there is more to do at once. */
static bool step_checkpoint(struct keeper *keeper, int64_t now_us) {
    struct fault fault;
    if (keeper->writing) {
        switch (checkpoint_write_step(&keeper->checkpoint, &fault)) {
        case CHECKPOINT_GOES_ON:
            return true;
        case CHECKPOINT_DONE:
            conclude_checkpoint(keeper);
            return true;
        case CHECKPOINT_GIVEN_UP:
            give_up(keeper, now_us, &fault);
            return false;
        }
    }
    switch ((enum embedded_store_snapshot_state)atomic_load_explicit(&keeper->store->snapshot_state,
                                                                     memory_order_acquire)) {
    case STORE_SNAPSHOT_NONE:
        if (is_checkpoint_due(keeper, now_us)) {
            set_snapshot_state(keeper, STORE_SNAPSHOT_WANTED);
            mailbox_wake(&keeper->store->inbox);
        }
        return false;
    case STORE_SNAPSHOT_WANTED:
        return false; /* the writer has not come by yet */
    case STORE_SNAPSHOT_TAKEN:
        begin_checkpoint(keeper, now_us);
        return keeper->writing;
    }
    return false;
}

/** True where old segments should go: the next one is wanted and can be made of one; there is more
 *  journal than between two checkpoints comes together anyway; or room is short. */
static bool is_removal_due(const struct keeper *keeper) {
    uint64_t bytes = segment_list_bytes(keeper->segments);
    bool next_wanted = !segment_supply_is_ready(keeper->supply) &&
                       keeper->supply->filling == NULL && keeper->supply->spare_count == 0;
    return (next_wanted && bytes > keeper->limits.keep_bytes) ||
           bytes > keeper->limits.keep_bytes + keeper->limits.checkpoint_bytes ||
           nears_limit(keeper) || segment_supply_state(keeper->supply) == SEGMENT_SUPPLY_FULL;
}

/** Takes one segment that nobody needs out of the journal; true where there may be more. Oldest
 *  first only, and never one that the checkpoint does not cover. */
static bool step_removal(struct keeper *keeper) {
    struct segment_entry oldest;
    if (keeper->writing || !is_removal_due(keeper) || !segment_supply_wants_spare(keeper->supply)) {
        return false;
    }
    if (!segment_list_oldest_is_before(keeper->segments, keeper->covered_sequence, &oldest)) {
        return false;
    }
    segment_list_remove_oldest(keeper->segments, oldest.number);
    segment_supply_recycle(keeper->supply, oldest.number);
    metric_add(&keeper->metrics.segments_removed_total, 1);
    return true;
}

bool keeper_step(struct keeper *keeper, int64_t now_us) {
    /* Removal first: what it hands in is the cheapest next segment. */
    bool more = step_removal(keeper);
    more = (may_supply(keeper) && segment_supply_step(keeper->supply, now_us)) || more;
    more = step_checkpoint(keeper, now_us) || more;
    more = segment_supply_trim(keeper->supply, now_us) || more;
    metric_set(&keeper->metrics.segments, segment_list_count(keeper->segments));
    metric_set(&keeper->metrics.bytes, segment_list_bytes(keeper->segments));
    return more;
}
