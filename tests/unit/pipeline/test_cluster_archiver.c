/* The cluster's archive pipeline among simulated tiers. archive_world.c asserts with every release
 * that the archive has the same record on its medium. */
#include "pipeline/archive_world.h"
#include "unit.h"

#define SETTLE_US INT64_C(60000000)

static struct archive_world *start_with(uint64_t seed, size_t orders) {
    struct archive_world *world = archive_world_create(seed);
    for (size_t i = 0; i < orders; i++) {
        (void)archive_world_add(world, true);
    }
    archive_world_start(world);
    return world;
}

static void test_a_final_order_is_archived_told_of_settled_and_then_leaves(void **state) {
    (void)state;
    struct archive_world *world = start_with(1, 100);
    archive_world_run(world, 2000);
    assert_int_equal(world_metric(world, archived_total), 100);
    assert_int_equal(world->committed, 100);
    assert_int_equal(world->released, 0);
    archive_world_run(world, 57000);
    assert_int_equal(world->released, 0);
    archive_world_run_until_empty(world, 5);
    for (size_t i = 0; i < world->order_count; i++) {
        const struct world_order *order = &world->orders[i];
        assert_int_equal(order->told, 1);
        assert_true(order->released_us - order->told_us >= SETTLE_US);
    }
    assert_int_equal(world_settling_metric(world, released_total), 100);
    assert_int_equal(world_settling_metric(world, orders), 0);
    archive_world_destroy(world);
}

static void
test_orders_that_are_not_final_and_messages_that_are_none_are_passed_over(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(2);
    struct order_record record = archive_world_add(world, true)->record;
    record.status = ORDER_STATUS_PROCESSING;
    order_record_seal(&record);
    archive_world_add_message(world, &record, sizeof(record));
    archive_world_add_message(world, &record, sizeof(record) - 1);
    archive_world_add_message(world, &record, 0);
    record.amount++;
    archive_world_add_message(world, &record, sizeof(record)); /* its CRC is wrong */
    archive_world_start(world);
    archive_world_run(world, 2000);
    assert_int_equal(world->committed, 5);
    assert_int_equal(world_metric(world, broken_messages_total), 3);
    assert_int_equal(world_metric(world, archived_total), 1);
    archive_world_destroy(world);
}

static void test_an_order_that_comes_twice_is_written_with_its_highest_version(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(3);
    struct world_order *order = archive_world_add(world, false);
    struct order_record older = order->record;
    older.version--;
    older.amount++;
    order_record_seal(&older);
    archive_world_add_message(world, &order->record, sizeof(older));
    archive_world_add_message(world, &older, sizeof(older));
    archive_world_add_message(world, &order->record, sizeof(older));
    archive_world_start(world);
    archive_world_run_until_empty(world, 70);
    assert_int_equal(world_metric(world, archived_total), 1);
    archive_world_destroy(world);
}

static void test_an_older_version_that_comes_late_is_no_mismatch(void **state) {
    (void)state;
    struct archive_world *world = start_with(4, 1);
    archive_world_run(world, 2000);
    struct order_record older = world->orders[0].record;
    older.version--;
    order_record_seal(&older);
    archive_world_add_message(world, &older, sizeof(older));
    archive_world_run_until_empty(world, 70);
    assert_int_equal(world_metric(world, mismatches_total), 0);
    archive_world_destroy(world);
}

static void test_an_order_without_a_message_is_found_by_the_scan(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(5);
    for (size_t i = 0; i < 7000; i++) {
        (void)archive_world_add(world, i % 2 == 0);
    }
    archive_world_start(world);
    archive_world_run(world, 200000);
    assert_int_equal(world->released, 3500);
    archive_world_run_until_empty(world, 500);
    assert_int_equal(world_metric(world, scanned_total), 3500);
    assert_true(world_metric(world, rounds_total) >= 2);
    archive_world_destroy(world);
}

static void test_a_copy_that_is_not_what_was_written_keeps_its_order_in_the_store(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(6);
    for (size_t i = 0; i < 10; i++) {
        archive_world_add(world, true)->altered = i == 4;
    }
    archive_world_start(world);
    archive_world_run_until_empty(world, 70);
    assert_true(world->orders[4].in_store);
    assert_int_equal(world->orders[4].told, 0);
    assert_int_equal(world_metric(world, mismatches_total), 1);
    assert_int_equal(world->committed, 10);
    archive_world_destroy(world);
}

static void test_an_order_that_the_archive_never_takes_holds_nothing_else_up(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(7);
    for (size_t i = 0; i < 10; i++) {
        archive_world_add(world, true)->is_refused = i == 4;
    }
    archive_world_start(world);
    archive_world_run_until_empty(world, 120);
    assert_true(world->orders[4].in_store);
    assert_int_equal(world_metric(world, failures_total), 1);
    assert_int_equal(world->committed, 10);
    archive_world_destroy(world);
}

static void test_what_the_archive_lost_while_it_settled_does_not_leave(void **state) {
    (void)state;
    struct archive_world *world = start_with(8, 50);
    while (world_metric(world, archived_total) < 50) {
        archive_world_run(world, 1);
    }
    archive_world_crash_archive(world);
    archive_world_run(world, 70000);
    assert_int_equal(world->released, 0);
    assert_int_equal(world_settling_metric(world, vanished_total), 50);
    archive_world_run_until_empty(world, 600); /* the scan archives them again */
    archive_world_destroy(world);
}

static void test_an_order_that_was_changed_in_the_store_stays_there(void **state) {
    (void)state;
    struct archive_world *world = start_with(9, 3);
    archive_world_run(world, 2000);
    world->orders[1].record.amount++;
    order_record_seal(&world->orders[1].record);
    world->options.scan_after_seconds = 80000;
    archive_world_run(world, 65000);
    assert_int_equal(world->released, 2);
    assert_int_equal(world_settling_metric(world, mismatches_total), 1);
    archive_world_destroy(world);
}

/* --- Tiers that are away. --- */

static void test_an_archive_that_is_away_holds_everything_without_filling_memory(void **state) {
    (void)state;
    struct archive_world *world = start_with(10, 40000);
    world->archive_is_away = true;
    archive_world_run(world, 600000);
    assert_int_equal(world->committed, 0);
    assert_in_range(world->read_to, 1, CLUSTER_ARCHIVER_BATCH_MAX);
    assert_in_range(world->puts, 10, 100); /* ever less often */
    assert_int_equal(world_metric(world, waiting), 1);
    world->archive_is_away = false;
    archive_world_run_until_empty(world, 600);
    assert_int_equal(world_metric(world, failures_total), 0);
    assert_int_equal(world_metric(world, waiting), 0);
    archive_world_destroy(world);
}

static void test_brokers_that_are_away_let_nothing_leave_that_was_not_told_of(void **state) {
    (void)state;
    struct archive_world *world = start_with(11, 100);
    while (!world->orders[99].in_archive) {
        archive_world_run(world, 1);
    }
    world->brokers_are_away = true;
    archive_world_run(world, 200000);
    assert_int_equal(world->released, 0);
    assert_int_equal(world->committed, 0);
    world->brokers_are_away = false;
    archive_world_run_until_empty(world, 100);
    assert_int_equal(world->committed, 100);
    archive_world_destroy(world);
}

static void test_a_store_that_is_away_gets_everything_later(void **state) {
    (void)state;
    struct archive_world *world = start_with(12, 30000);
    world->store_is_away = true;
    archive_world_run(world, 300000);
    assert_int_equal(world->released, 0);
    assert_int_equal(world_settling_metric(world, waiting), 1);
    assert_true(world->unsettled_most <= world->options.settle_orders_max);
    assert_true(world->committed < 30000);
    world->store_is_away = false;
    archive_world_run_until_empty(world, 600);
    archive_world_destroy(world);
}

static void test_a_backlog_larger_than_memory_drains_steadily(void **state) {
    (void)state;
    struct archive_world *world = archive_world_create(13);
    for (size_t i = 0; i < 60000; i++) {
        (void)archive_world_add(world, false);
    }
    for (size_t i = 60000; i > 0; i--) { /* the scan comes to the last message's order first */
        const struct order_record *record = &world->orders[i - 1].record;
        archive_world_add_message(world, record, sizeof(*record));
    }
    world->options.scan_after_seconds = 1;
    archive_world_start(world);
    uint64_t before = 0;
    for (int i = 0; i < 3; i++) { /* 16384 may settle at once, 60 s each */
        archive_world_run(world, 70000);
        assert_true(world->released >= before + 8000);
        before = world->released;
    }
    archive_world_run_until_empty(world, 600);
    assert_true(world->unsettled_most <= world->options.settle_orders_max);
    assert_int_equal(world_metric(world, scanned_total), 0); /* nothing is done twice */
    archive_world_destroy(world);
}

static void test_commits_that_are_refused_change_nothing_for_the_orders(void **state) {
    (void)state;
    struct archive_world *world = start_with(14, 100);
    world->commits_are_refused = true;
    archive_world_run_until_empty(world, 70);
    assert_int_equal(world->committed, 0);
    assert_true(world_metric(world, lost_commits_total) > 0);
    archive_world_destroy(world);
}

/* --- Crashes. --- */

static void test_crashes_and_trouble_at_every_step_lose_and_leave_no_order(void **state) {
    (void)state;
    for (uint64_t seed = 100; seed < 140; seed++) {
        struct archive_world *world = archive_world_create(seed);
        world->trouble = 20;
        world->options.settle_seconds = 5;
        world->options.scan_every_seconds = 10;
        world->options.scan_after_seconds = 10;
        archive_world_start(world);
        for (int round = 0; round < 60; round++) {
            size_t orders = random_below(&world->random, 300);
            for (size_t i = 0; i < orders; i++) {
                (void)archive_world_add(world, random_chance(&world->random, 9, 10));
            }
            archive_world_run(world, (int64_t)random_below(&world->random, 2000) + 1);
            if (random_chance(&world->random, 1, 8)) {
                archive_world_crash_archive(world);
            }
            if (random_chance(&world->random, 1, 3)) {
                archive_world_crash(world);
                archive_world_start(world);
            }
        }
        archive_world_run_until_empty(world, 600);
        assert_int_equal(world_metric(world, mismatches_total), 0);
        archive_world_destroy(world);
    }
}

static void test_after_a_stop_nothing_is_begun(void **state) {
    (void)state;
    struct archive_world *world = start_with(15, 100);
    archive_world_run(world, 2);
    cluster_archiver_stop(world->archiver);
    archive_world_run(world, 1000);
    assert_false(cluster_archiver_is_busy(world->archiver));
    uint64_t reads = world->reads;
    uint64_t puts = world->puts;
    archive_world_run(world, 100000);
    assert_int_equal(world->reads, reads);
    assert_int_equal(world->puts, puts);
    assert_int_equal(world->released, 0);
    archive_world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_final_order_is_archived_told_of_settled_and_then_leaves),
        cmocka_unit_test(test_orders_that_are_not_final_and_messages_that_are_none_are_passed_over),
        cmocka_unit_test(test_an_order_that_comes_twice_is_written_with_its_highest_version),
        cmocka_unit_test(test_an_older_version_that_comes_late_is_no_mismatch),
        cmocka_unit_test(test_an_order_without_a_message_is_found_by_the_scan),
        cmocka_unit_test(test_a_copy_that_is_not_what_was_written_keeps_its_order_in_the_store),
        cmocka_unit_test(test_an_order_that_the_archive_never_takes_holds_nothing_else_up),
        cmocka_unit_test(test_what_the_archive_lost_while_it_settled_does_not_leave),
        cmocka_unit_test(test_an_order_that_was_changed_in_the_store_stays_there),
        cmocka_unit_test(test_an_archive_that_is_away_holds_everything_without_filling_memory),
        cmocka_unit_test(test_brokers_that_are_away_let_nothing_leave_that_was_not_told_of),
        cmocka_unit_test(test_a_store_that_is_away_gets_everything_later),
        cmocka_unit_test(test_a_backlog_larger_than_memory_drains_steadily),
        cmocka_unit_test(test_commits_that_are_refused_change_nothing_for_the_orders),
        cmocka_unit_test(test_crashes_and_trouble_at_every_step_lose_and_leave_no_order),
        cmocka_unit_test(test_after_a_stop_nothing_is_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
