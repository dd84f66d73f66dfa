#include "unit.h"

#include "relay_world.h"

#include <stdlib.h>

static struct world *new_world(uint64_t seed) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world_init(world, seed);
    return world;
}

static void end_world(struct world *world) {
    world_deinit(world);
    free(world);
}

static struct relay_metrics *metrics_of(struct world *world) {
    return relay_metrics(world->relay);
}

/** A world whose relay follows the log, with nothing in it. */
static struct world *following_world(void) {
    struct world *world = new_world(1);
    (void)snprintf(world->stored, sizeof(world->stored), "0-1-0");
    world_run(world, 10);
    assert_true(world->is_open);
    return world;
}

static void test_every_change_is_published_and_the_position_follows(void **state) {
    (void)state;
    struct world *world = following_world();
    for (uint64_t i = 0; i < 20; i++) {
        world_commit(world, 1000 + i, 1, 4);
    }
    world_run(world, 200);
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-20");
    assert_int_equal(metric_get(&metrics_of(world)->published_total), 80);
    assert_int_equal(histogram_count(&metrics_of(world)->commit_to_read_microseconds), 80);
    end_world(world);
}

static void test_nothing_is_stored_before_it_is_acknowledged(void **state) {
    (void)state;
    struct world *world = following_world();
    world->hold_publishes = true;
    for (uint64_t i = 0; i < 30; i++) {
        world_commit(world, 1000 + i, 1, 2);
    }
    world_run(world, 100);
    assert_string_equal(world->stored, "0-1-0");
    /* Batches are out at once, and no more than the slots. */
    assert_int_equal(metric_get(&metrics_of(world)->in_flight), RELAY_SLOTS_MAX);
    world->hold_publishes = false;
    world_run(world, 200);
    assert_string_equal(world->stored, "0-1-30");
    assert_true(world_has_delivered_all(world));
    end_world(world);
}

static void test_the_position_waits_for_the_oldest_batch(void **state) {
    (void)state;
    struct world *world = following_world();
    world->read_most = 1;
    world->hold_publishes = true;
    for (uint64_t i = 0; i < 4; i++) {
        world_commit(world, 1000 + i, 1, 1);
    }
    world_run(world, 50);
    /* The newest is acknowledged first: it does not move the position. */
    for (size_t i = 0; i + 1 < 4; i++) {
        struct port_request *swap = world->pending[0];
        uint32_t kind = world->kinds[0];
        memmove(world->pending, world->pending + 1, (world->pending_count - 1) * sizeof(swap));
        memmove(world->kinds, world->kinds + 1, (world->pending_count - 1) * sizeof(kind));
        world->pending[world->pending_count - 1] = swap;
        world->kinds[world->pending_count - 1] = kind;
    }
    assert_true(world_complete(world, WORLD_PUBLISH));
    world_run(world, 50);
    assert_true(world_is_sound(world));
    world->hold_publishes = false;
    world_run(world, 100);
    assert_string_equal(world->stored, "0-1-4");
    end_world(world);
}

static void test_a_position_is_one_of_a_commit(void **state) {
    (void)state;
    struct world *world = following_world();
    world->read_most = 2;
    world_commit(world, 1000, 1, 5); /* three reads */
    world->hold_publishes = true;
    world_run(world, 20);
    assert_true(world_complete(world, WORLD_PUBLISH));
    world_run(world, 50);
    assert_string_equal(world->stored, "0-1-0");
    world->hold_publishes = false;
    world_run(world, 100);
    assert_string_equal(world->stored, "0-1-1");
    end_world(world);
}

static void test_an_idle_relay_stores_nothing(void **state) {
    (void)state;
    struct world *world = following_world();
    world_commit(world, 1000, 1, 1);
    world_run(world, 100);
    assert_int_equal(world->stores, 1);
    for (int i = 0; i < 50; i++) {
        world_commit(world, 0, 1, 0); /* of other tables, such as our own position */
        world_run(world, 20);
    }
    assert_int_equal(world->stores, 1);
    assert_string_equal(world->stored, "0-1-1");
    end_world(world);
}

static void test_what_is_not_acknowledged_is_published_again(void **state) {
    (void)state;
    struct world *world = following_world();
    world->fail_publishes = 5;
    for (uint64_t i = 0; i < 6; i++) {
        world_commit(world, 1000 + i * 10, 1, 5);
    }
    world_run(world, 300);
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-6");
    assert_true(metric_get(&metrics_of(world)->retried_total) > 0);
    end_world(world);
}

static void test_a_writer_that_is_busy_is_asked_again(void **state) {
    (void)state;
    struct world *world = following_world();
    world->busy_writer = true;
    world_commit(world, 1000, 1, 2);
    world_run(world, 50);
    assert_int_equal(world->publishes, 0);
    world->busy_writer = false;
    world_run(world, 50);
    assert_true(world_has_delivered_all(world));
    end_world(world);
}

static void test_a_lost_lease_ends_publishing_and_the_next_begins_at_its_position(void **state) {
    (void)state;
    struct world *world = following_world();
    world->hold_publishes = true;
    world_commit(world, 1000, 1, 2);
    world_run(world, 10);
    world->somebody_else = true;
    world_run(world, 150); /* it was asked to renew */
    assert_int_equal(metric_get(&metrics_of(world)->lease_losses_total), 1);
    assert_int_equal(metric_get(&metrics_of(world)->leads), 0);
    /* What was handed over comes to its end; it is not stored, for it is another's position. */
    world->hold_publishes = false;
    unsigned publishes = world->publishes;
    world_run(world, 20);
    world_commit(world, 2000, 1, 2);
    world_run(world, 200);
    assert_true(world->publishes <= publishes + 1);
    assert_string_equal(world->stored, "0-1-0");
    world->somebody_else = false;
    world_run(world, 200);
    assert_string_equal(world->opened_at, "0-1-0");
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-2");
    end_world(world);
}

static void test_a_lease_that_cannot_be_renewed_ends_before_its_time(void **state) {
    (void)state;
    struct world *world = following_world();
    world->lease_is_silent = true;
    int64_t silent_from_us = world->now_us;
    int64_t last_us = 0;
    for (uint64_t i = 0; i < 400; i++) {
        world_commit(world, 1000 + i, 1, 1);
        unsigned before = world->publishes;
        world_run(world, 1);
        if (world->publishes > before) {
            last_us = world->now_us;
        }
    }
    assert_true(last_us > silent_from_us);
    assert_true(last_us < silent_from_us + WORLD_LEASE_US);
    assert_int_equal(metric_get(&metrics_of(world)->leads), 0);
    end_world(world);
}

static void test_a_position_with_another_owner_is_not_ours_any_more(void **state) {
    (void)state;
    struct world *world = following_world();
    world->was_taken_away = true;
    world_commit(world, 1000, 1, 1);
    world_run(world, 30);
    assert_int_equal(metric_get(&metrics_of(world)->lease_losses_total), 1);
    world_run(world, 200);
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-1");
    end_world(world);
}

static void test_a_purged_position_halts_loudly_until_a_snapshot_is_asked_for(void **state) {
    (void)state;
    struct world *world = new_world(1);
    (void)snprintf(world->stored, sizeof(world->stored), "0-1-1");
    world_commit(world, 1000, 1, 3);
    world_commit(world, 1000, 2, 1);
    world_commit(world, 2000, 1, 2);
    world->purged = 2;
    world_run(world, 400);
    assert_false(relay_is_ready(world->relay));
    assert_int_equal(metric_get(&metrics_of(world)->halted), 1);
    assert_int_equal(metric_get(&metrics_of(world)->leads), 1);
    assert_int_equal(world->publishes, 0);
    assert_int_equal(world->opens, 1); /* it does not hammer the server */
    world->stored[0] = 0;
    world_run(world, 400);
    assert_true(relay_is_ready(world->relay));
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-3"); /* though nothing has changed since */
    end_world(world);
}

static void test_a_foreign_table_halts(void **state) {
    (void)state;
    struct world *world = following_world();
    world->log_result = CHANGE_SOURCE_FOREIGN;
    world_run(world, 50);
    assert_false(relay_is_ready(world->relay));
    world->log_result = CHANGE_SOURCE_OK;
    world_run(world, 400);
    assert_false(relay_is_ready(world->relay));
    assert_int_equal(world->opens, 1);
    end_world(world);
}

static void test_a_snapshot_can_be_asked_of_a_relay_that_runs(void **state) {
    (void)state;
    struct world *world = following_world();
    world_commit(world, 1000, 1, 5);
    world_run(world, 100);
    assert_int_equal(world->scans, 0);
    world->stored[0] = 0;
    world_run(world, 600);
    assert_int_equal(metric_get(&metrics_of(world)->snapshots_total), 1);
    assert_true(metric_get(&metrics_of(world)->snapshot_orders_total) >= 5);
    assert_string_equal(world->stored, "0-1-1");
    end_world(world);
}

static void
test_a_position_does_not_undo_a_snapshot_that_is_asked_for_during_a_renewal(void **state) {
    (void)state;
    struct world *world = following_world();
    world_commit(world, 1000, 1, 1);
    world_run(world, 100);
    world->now_us += WORLD_LEASE_US / 3;
    (void)relay_step(world->relay); /* asks for the lease */
    world_commit(world, 2000, 1, 1);
    assert_true(world_complete(world, WORLD_READ));
    (void)relay_step(world->relay);
    assert_true(world_complete(world, WORLD_PUBLISH));
    (void)relay_step(world->relay);
    assert_false(world_complete(world, WORLD_STORE));
    world->stored[0] = 0;
    assert_true(world_complete(world, WORLD_ACQUIRE));
    (void)relay_step(world->relay);
    assert_false(world_complete(world, WORLD_STORE));
    world_run(world, 600);
    assert_int_equal(metric_get(&metrics_of(world)->snapshots_total), 1);
    end_world(world);
}

static void test_the_first_start_publishes_what_is_there(void **state) {
    (void)state;
    struct world *world = new_world(1);
    world_commit(world, 1000, 1, 5);
    world_commit(world, 1002, 2, 2);
    world->store_is_down = true;
    world_run(world, 50);
    assert_string_equal(world->stored, "");
    world->store_is_down = false;
    world_run(world, 5);
    world_commit(world, 3000, 1, 2); /* while the snapshot is under way */
    world_run(world, 300);
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-3");
    end_world(world);
}

static void test_a_lost_connection_is_opened_again_at_the_last_commit(void **state) {
    (void)state;
    struct world *world = following_world();
    world->read_most = 2;
    world_commit(world, 1000, 1, 2);
    world_commit(world, 2000, 1, 5);
    world->hold_publishes = true;
    world_run(world, 2);
    world->log_result = CHANGE_SOURCE_UNAVAILABLE;
    world_run(world, 50);
    world->log_result = CHANGE_SOURCE_OK;
    world->hold_publishes = false;
    world_run(world, 300);
    assert_true(world->opens > 1);
    assert_true(world_has_delivered_all(world));
    assert_string_equal(world->stored, "0-1-2");
    end_world(world);
}

static void test_stopping_finishes_what_was_read_and_gives_the_lease_back(void **state) {
    (void)state;
    struct world *world = following_world();
    world_commit(world, 1000, 1, 6);
    world_run(world, 2);
    relay_stop(world->relay);
    world_run(world, 100);
    assert_false(relay_is_busy(world->relay));
    assert_int_equal(world->releases, 1);
    assert_true(world_is_sound(world));
    end_world(world);
}

static void test_stopping_does_not_wait_for_brokers_that_are_gone(void **state) {
    (void)state;
    struct world *world = following_world();
    world_commit(world, 1000, 1, 6);
    world->fail_publishes = 100000;
    world_run(world, 20);
    relay_stop(world->relay);
    world_run(world, 600);
    assert_false(relay_is_busy(world->relay));
    assert_true(world_is_sound(world));
    end_world(world);
}

/** Whatever fails and wherever the process ends: no position is stored before all up to it is
 *  delivered, and in the end everything is. */
static void test_a_crash_anywhere_loses_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *world = new_world(seed);
        if (seed % 2 == 0) {
            (void)snprintf(world->stored, sizeof(world->stored), "0-1-0");
        }
        world->failures = (uint32_t)(seed % 5);
        for (int crash = 0; crash < 6; crash++) {
            world->read_most = 1 + random_below(&world->random, 5);
            for (uint64_t i = 0; i < 5; i++) {
                world_commit(world, 1000 + 100 * (uint64_t)crash + 10 * i, 1,
                             1 + random_below(&world->random, 6));
                world_run(world, (unsigned)random_below(&world->random, 12));
                if (!world_is_sound(world)) {
                    fail_msg("seed %llu: \"%s\" is stored too early", (unsigned long long)seed,
                             world->stored);
                }
            }
            world->somebody_else = random_chance(&world->random, 1, 4);
            world_run(world, (unsigned)random_below(&world->random, 200));
            world->somebody_else = false;
            world_restart(world);
        }
        world->failures = 0;
        world_run(world, 400);
        if (!world_is_sound(world) || !world_has_delivered_all(world)) {
            fail_msg("seed %llu: something is lost; position \"%s\"", (unsigned long long)seed,
                     world->stored);
        }
        assert_int_equal(world_transaction_of(world->stored), world->transactions);
        end_world(world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_change_is_published_and_the_position_follows),
        cmocka_unit_test(test_nothing_is_stored_before_it_is_acknowledged),
        cmocka_unit_test(test_the_position_waits_for_the_oldest_batch),
        cmocka_unit_test(test_a_position_is_one_of_a_commit),
        cmocka_unit_test(test_an_idle_relay_stores_nothing),
        cmocka_unit_test(test_what_is_not_acknowledged_is_published_again),
        cmocka_unit_test(test_a_writer_that_is_busy_is_asked_again),
        cmocka_unit_test(test_a_lost_lease_ends_publishing_and_the_next_begins_at_its_position),
        cmocka_unit_test(test_a_lease_that_cannot_be_renewed_ends_before_its_time),
        cmocka_unit_test(test_a_position_with_another_owner_is_not_ours_any_more),
        cmocka_unit_test(test_a_purged_position_halts_loudly_until_a_snapshot_is_asked_for),
        cmocka_unit_test(test_a_foreign_table_halts),
        cmocka_unit_test(test_a_snapshot_can_be_asked_of_a_relay_that_runs),
        cmocka_unit_test(
            test_a_position_does_not_undo_a_snapshot_that_is_asked_for_during_a_renewal),
        cmocka_unit_test(test_the_first_start_publishes_what_is_there),
        cmocka_unit_test(test_a_lost_connection_is_opened_again_at_the_last_commit),
        cmocka_unit_test(test_stopping_finishes_what_was_read_and_gives_the_lease_back),
        cmocka_unit_test(test_stopping_does_not_wait_for_brokers_that_are_gone),
        cmocka_unit_test(test_a_crash_anywhere_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
