/** The checker and the rows of the archive: lost, deleted, altered by hand. */
#include "audit_world.h"

#define SECOND INT64_C(1000000)
#define SOON WORLD_SOON

static void test_a_deleted_row_is_written_above_its_deletion(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world->rows[7] = (struct world_row){.present = false, .writetime_us = world->now_us};
    memset(world->references, 0, sizeof(world->references));
    assert_one(world, AUDIT_ARCHIVE_LOST);
    assert_archived(world, &order);
    assert_int_equal(world->messages[7], 1);
    world_destroy(world);
}

static void test_a_reference_alone_raises_an_alarm_until_the_log_tells_the_truth(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world->rows[7] = (struct world_row){.present = false, .writetime_us = world->now_us};
    size_t told = world->told_count;
    world->told_count = 0; /* the log has not been read so far yet */
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_ORPHAN), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 1);
    world->told_count = told;
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_ARCHIVE_LOST), 1);
    assert_archived(world, &order);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
    world_destroy(world);
}

static void test_an_older_or_broken_row_is_written_above_its_write_time(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record older = world_ended(world, 7);
    struct order_record broken = world_ended(world, 8);
    int64_t hidden_us = world->now_us + 500 * SECOND; /* by hand, from a clock that is ahead */
    world->rows[7].order = world_order(world, 7, 1, ORDER_STATUS_CANCEL);
    world->rows[7].writetime_us = hidden_us;
    world->rows[8].broken = true;
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_ARCHIVE_WRONG), 2);
    assert_int_equal(world_repaired(world, AUDIT_ARCHIVE_WRONG), 2);
    assert_archived(world, &older);
    assert_archived(world, &broken);
    assert_int_equal(world->rows[7].writetime_us, hidden_us + 1);
    world_destroy(world);
}

static void test_a_deletion_from_a_time_that_is_to_come_is_written_over(void **state) {
    (void)state;
    const int64_t leads_us[] = {30 * SECOND, 500 * 86400 * SECOND, INT64_MAX / 3};
    for (size_t i = 0; i < ARRAY_COUNT(leads_us); i++) {
        struct world *world = world_create();
        struct order_record order = world_ended(world, 7);
        int64_t deleted_us = world->now_us + leads_us[i];
        world->rows[7] = (struct world_row){.present = false, .writetime_us = deleted_us};
        memset(world->references, 0, sizeof(world->references));
        assert_one(world, AUDIT_ARCHIVE_LOST);
        assert_archived(world, &order);
        assert_true(world->rows[7].writetime_us > deleted_us);
        assert_true(world->rows[7].writetime_us < INT64_MAX); /* it can be written over, too */
        world_destroy(world);
    }
}

/** Somebody writes a row of the archive by hand, some time after it was archived. */
static void write_by_hand(struct world *world, const struct order_record *order,
                          int64_t writetime_us) {
    world->rows[order->order_id] = (struct world_row){true, false, writetime_us, *order};
}

static void test_a_forged_higher_version_in_the_archive_is_replaced(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    struct order_record forged = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    write_by_hand(world, &forged, INT64_MAX / 2);
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_ARCHIVE_WRONG), 1);
    assert_int_equal(world_repaired(world, AUDIT_ARCHIVE_WRONG), 1);
    assert_archived(world, &order);
    assert_cached(world, &order); /* the forged one never came into the cache */
    assert_int_equal(world->messages[7], 1);
    assert_int_equal(world->rows[7].writetime_us, INT64_MAX / 2 + 1);
    world_drive(world, 2 * SOON);
    assert_int_equal(world_found(world, AUDIT_ARCHIVE_WRONG), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
    world_destroy(world);
}

static void test_a_forged_row_of_an_order_that_is_still_hot_is_replaced(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world->hot[7] = order;
    struct order_record forged = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    write_by_hand(world, &forged, world->now_us);
    assert_one(world, AUDIT_ARCHIVE_WRONG);
    assert_archived(world, &order);
    world_destroy(world);
}

static void test_other_bytes_by_hand_at_the_same_version_are_replaced(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    struct order_record forged = order;
    forged.amount++;
    order_record_seal(&forged);
    write_by_hand(world, &forged, world->now_us);
    memset(world->references, 0, sizeof(world->references));
    assert_one(world, AUDIT_ARCHIVE_WRONG);
    assert_archived(world, &order);
    world_destroy(world);
}

static void test_an_order_that_was_mended_by_hand_in_the_store_is_right(void **state) {
    (void)state;
    struct world *world = world_create();
    (void)world_ended(world, 7);
    struct order_record mended = world_order(world, 7, 3, ORDER_STATUS_ERROR);
    world_commit(world, &mended); /* after its end, which the log has, too */
    world_archive(world, 7);
    world_drive(world, 3 * SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_archived(world, &mended);
    assert_cached(world, &mended);
    world_destroy(world);
}

static void test_a_forged_row_is_an_alarm_until_the_log_tells_how_the_order_ended(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    struct order_record forged = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    write_by_hand(world, &forged, world->now_us);
    size_t told = world->told_count;
    world->told_count = 0; /* the log has not been read so far yet */
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_CONFLICT), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 1);
    assert_cached(world, &order); /* which says that it ended otherwise */
    world->told_count = told;
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_ARCHIVE_WRONG), 1);
    assert_archived(world, &order);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
    world_destroy(world);
}

static void test_a_final_entry_that_was_forged_below_the_end_is_replaced(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world_drive(world, SECOND); /* the samples have arrived */
    world->cached[7] = world_order(world, 7, 1, ORDER_STATUS_CANCEL);
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_STALE), 1);
    assert_cached(world, &order);
    world_drive(world, SOON);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
    world_destroy(world);
}

static void test_a_row_that_cannot_be_written_over_becomes_an_alarm(void **state) {
    (void)state;
    struct world *world = world_create();
    (void)world_ended(world, 7);
    world->rows[7] = (struct world_row){.present = false, .writetime_us = INT64_MAX};
    memset(world->references, 0, sizeof(world->references));
    world_drive(world, 150 * SECOND);
    assert_int_equal(world_found(world, AUDIT_ARCHIVE_LOST), 1);
    assert_int_equal(world_repaired(world, AUDIT_ARCHIVE_LOST), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 1);
    assert_int_equal(world->requests[WORLD_WRITE], 10 * 7); /* with 7 times each */
    world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_deleted_row_is_written_above_its_deletion),
        cmocka_unit_test(test_a_reference_alone_raises_an_alarm_until_the_log_tells_the_truth),
        cmocka_unit_test(test_an_older_or_broken_row_is_written_above_its_write_time),
        cmocka_unit_test(test_a_deletion_from_a_time_that_is_to_come_is_written_over),
        cmocka_unit_test(test_a_forged_higher_version_in_the_archive_is_replaced),
        cmocka_unit_test(test_a_forged_row_of_an_order_that_is_still_hot_is_replaced),
        cmocka_unit_test(test_other_bytes_by_hand_at_the_same_version_are_replaced),
        cmocka_unit_test(test_an_order_that_was_mended_by_hand_in_the_store_is_right),
        cmocka_unit_test(test_a_forged_row_is_an_alarm_until_the_log_tells_how_the_order_ended),
        cmocka_unit_test(test_a_final_entry_that_was_forged_below_the_end_is_replaced),
        cmocka_unit_test(test_a_row_that_cannot_be_written_over_becomes_an_alarm),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
