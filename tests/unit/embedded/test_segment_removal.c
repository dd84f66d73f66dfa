/* Segments under a stream of orders that come and go, while a few stay pending for long: nothing
 * is pinned by them, and nothing that left comes back, wherever the process ends. */
#include "stream.h"

#define PENDING 5

/** Journal bytes that a restart may have to read: up to where a checkpoint is due, and what comes
 *  while it is written. */
static uint64_t replay_bound(const struct world *world) {
    return world->limits.checkpoint_bytes + 2 * world->limits.segment_bytes;
}

/** All segment files: those that are kept, those of the way to the next checkpoint, the one that is
 *  written, the one that is ready and the spares. */
static uint64_t disk_bound(const struct world *world) {
    return world->limits.keep_bytes + world->limits.checkpoint_bytes +
           (3 + SEGMENT_SPARES_MAX) * world->limits.segment_bytes;
}

struct seen {
    const struct world *world;
    bool hot[WORLD_ORDERS_MAX];
    size_t strangers;
};

static void see(void *context, const struct order_table_entry *entry) {
    struct seen *seen = context;
    for (size_t i = 0; i < seen->world->order_count; i++) {
        if (seen->world->orders[i].record.order_id == entry->order_id) {
            seen->hot[i] = !entry->evictable;
            return;
        }
    }
    seen->strangers += entry->evictable ? 0 : 1; /* was made, but not acknowledged any more */
}

/** Holds the table against what was acknowledged. */
static void check_table(const struct world *world) {
    struct seen *seen = calloc(1, sizeof(*seen));
    uint64_t cursor = 0;
    assert_non_null(seen);
    seen->world = world;
    order_table_scan(world->core->table, &cursor, UINT64_MAX / 2, see, seen);
    for (size_t i = 0; i < world->order_count; i++) {
        const struct world_order *order = &world->orders[i];
        struct order_record record;
        if (order->released) {
            assert_false(seen->hot[i]);
        } else if (order->record.version > 0 && !order->release_begun) {
            assert_true(seen->hot[i]);
            assert_true(order_table_get(world->core->table, order->record.order_id, &record));
            assert_true(record.version >= order->record.version);
        }
    }
    assert_true(seen->strangers <= ROUND_ORDERS);
    free(seen);
}

static void test_pending_orders_pin_neither_the_disk_nor_the_restart(void **state) {
    (void)state;
    struct world *world = world_create();
    struct fault fault;
    assert_true(world_open(world, &fault));
    assert_true(stream_create(world, PENDING));
    for (int round = 0; round < 600; round++) {
        assert_true(stream_round(world));
        assert_true(sim_disk_bytes_of(&world->disk, "journal") <= disk_bound(world));
        assert_true(sim_disk_count_of(&world->disk, "checkpoint") <= 2);
        if (round % 20 == 19) {
            world_close(world);
            sim_disk_process_died(&world->disk);
            assert_true(world_open(world, &fault));
            assert_true(world->core->recovered.replayed_bytes <= replay_bound(world));
            check_table(world);
        }
    }
    /* Far more went through the journal than it ever held. */
    assert_true(world->core->journal.segment >
                20 * disk_bound(world) / world->limits.segment_bytes);
    for (size_t i = 0; i < PENDING; i++) {
        struct order_record record;
        assert_true(order_table_get(world->core->table, world->orders[i].record.order_id, &record));
        assert_memory_equal(&record, &world->orders[i].record, sizeof(record));
    }
    world_destroy(world);
}

/** Runs the stream until the disk ends at operation `end`; false where the stream came through. */
static bool run_until(struct world *world, uint64_t end) {
    struct fault fault;
    world->disk.end_in_operations = end;
    bool goes_on = world_open(world, &fault);
    bool opened = goes_on;
    goes_on = goes_on && stream_create(world, PENDING);
    for (int round = 0; goes_on && round < 40; round++) {
        goes_on = stream_round(world);
    }
    bool ended = world->disk.dead;
    assert_true(ended || goes_on);
    if (opened) {
        world_close(world);
    }
    return ended;
}

static void check_end(uint64_t end, bool power, bool *came_through, uint64_t *removed) {
    struct world *world = world_create();
    struct fault fault;
    world->disk.random.state = end;
    *came_through = !run_until(world, end);
    if (power) {
        sim_disk_power_failed(&world->disk);
    } else {
        sim_disk_process_died(&world->disk);
    }
    while (mailbox_take(&world->box) != NULL) {
        continue; /* answers that came too late */
    }
    if (!world_open(world, &fault)) {
        fail_msg("end at operation %llu: %s", (unsigned long long)end, fault.text);
    }
    assert_true(world->core->recovered.replayed_bytes <= replay_bound(world));
    check_table(world);
    /* It goes on from there. */
    assert_true(stream_round(world) && stream_round(world));
    check_table(world);
    *removed = world->core->journal.segment;
    world_destroy(world);
}

static void check_every_end(bool power) {
    bool came_through = false;
    uint64_t newest = 0;
    uint64_t end = 1;
    for (; !came_through; end++) {
        check_end(end, power, &came_through, &newest);
    }
    assert_true(end > 200);
    /* The ends lay among many removals. */
    assert_true(newest > 10);
}

static void test_no_archived_order_is_hot_again_wherever_the_process_dies(void **state) {
    (void)state;
    check_every_end(false);
}

static void test_no_archived_order_is_hot_again_wherever_the_power_fails(void **state) {
    (void)state;
    check_every_end(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_orders_pin_neither_the_disk_nor_the_restart),
        cmocka_unit_test(test_no_archived_order_is_hot_again_wherever_the_process_dies),
        cmocka_unit_test(test_no_archived_order_is_hot_again_wherever_the_power_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
