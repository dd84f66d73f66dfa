#include "audit_world.h"

#define SECOND INT64_C(1000000)

static uint64_t checked(const struct world *world, enum audit_tier tier) {
    return metric_get(&audit_tier_metrics(world->audit, tier)->checked_total);
}

static void assert_within(const struct world *world, enum audit_tier tier, uint64_t within_1s,
                          uint64_t within_5s, uint64_t within_60s) {
    const struct audit_tier_metrics *metrics = audit_tier_metrics(world->audit, tier);
    assert_int_equal(metric_get(&metrics->within_1s_total), within_1s);
    assert_int_equal(metric_get(&metrics->within_5s_total), within_5s);
    assert_int_equal(metric_get(&metrics->within_60s_total), within_60s);
}

/** The store commits it; the cache gets it after `delay_us`, or not at all below 0. */
static void commit_late(struct world *world, uint64_t order_id, int64_t delay_us) {
    struct order_record held = world->cached[order_id];
    struct order_record order = world_order(world, order_id, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->cached[order_id] = held;
    if (delay_us >= 0) {
        world_drive(world, delay_us);
        world_cache_put(world, &order);
    }
}

static void test_the_time_until_the_cache_has_a_change_is_counted(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    commit_late(world, 1, 0);
    world_drive(world, SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 1);
    assert_within(world, AUDIT_TIER_CACHE, 1, 1, 1);
    commit_late(world, 2, 2 * SECOND);
    world_drive(world, SECOND);
    assert_within(world, AUDIT_TIER_CACHE, 1, 2, 2);
    commit_late(world, 3, 7 * SECOND);
    world_drive(world, 2 * SECOND);
    assert_within(world, AUDIT_TIER_CACHE, 1, 2, 3);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 3);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->following), 0);
    world_destroy(world);
}

static void test_a_change_that_never_arrives_is_counted_against_it_and_repaired(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    world->down[WORLD_SCAN] = true; /* only the sample can find it */
    commit_late(world, 1, -1);
    world->references[1].order_id = 0;
    world_drive(world, 59 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 0);
    world_drive(world, 25 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 1);
    assert_within(world, AUDIT_TIER_CACHE, 0, 0, 0);
    assert_int_equal(world_repaired(world, AUDIT_MISSING), 1);
    assert_int_equal(world->cached[1].version, 1);
    world_destroy(world);
}

static void test_a_later_version_counts_for_an_earlier_one(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    commit_late(world, 1, -1);
    struct order_record next = world_order(world, 1, 2, ORDER_STATUS_PROCESSING);
    world_commit(world, &next);
    world_drive(world, SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 2);
    assert_within(world, AUDIT_TIER_CACHE, 2, 2, 2);
    world_destroy(world);
}

static void test_a_final_change_is_followed_into_the_archive(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    struct order_record order = world_order(world, 1, 2, ORDER_STATUS_SUCCESS);
    world_commit(world, &order);
    world_drive(world, 3 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 1);
    assert_int_equal(checked(world, AUDIT_TIER_ARCHIVE), 0);
    world_archive(world, 1);
    world_drive(world, SECOND);
    assert_within(world, AUDIT_TIER_ARCHIVE, 0, 1, 1);
    world_destroy(world);
}

static void test_a_replay_is_neither_late_nor_a_disagreement(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record old = world_order(world, 1, 1, ORDER_STATUS_PENDING);
    struct order_record ended = world_ended(world, 1);
    struct order_record unseen = world_ended(world, 2); /* before the checker began */
    world_drive(world, 200 * SECOND);
    struct order_record fresh = world_order(world, 3, 1, ORDER_STATUS_PENDING);
    world_commit(world, &fresh);
    world_drive(world, SECOND);
    uint64_t before = checked(world, AUDIT_TIER_CACHE);
    world->told[world->told_count++] = old;
    world->told[world->told_count++] = ended;
    world->told[world->told_count++] = unseen;
    world->told[world->told_count++] = fresh;
    world_drive(world, 100 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), before);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->samples_replayed_total), 4);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(world->cached[1].version, 2);
    world_destroy(world);
}

static void test_a_change_that_is_told_of_late_and_not_there_is_late(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 1, 1, ORDER_STATUS_PENDING);
    world_drive(world, 100 * SECOND);
    world_commit(world, &order); /* the relay was behind */
    memset(&world->cached[1], 0, sizeof(world->cached[1]));
    world_drive(world, SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 1);
    assert_within(world, AUDIT_TIER_CACHE, 0, 0, 0);
    world_destroy(world);
}

static void test_a_cache_that_does_not_answer_is_not_counted(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    world->down[WORLD_CACHE_GET] = true;
    commit_late(world, 1, 0);
    world_drive(world, 70 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->samples_dropped_total), 1);
    world_destroy(world);
}

static void test_more_changes_than_are_followed_are_passed_over(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    for (uint64_t i = 0; i < 3000; i++) {
        world->told[world->told_count++] =
            world_order(world, 1 + i % 60, 1 + (uint32_t)(i / 60), ORDER_STATUS_PENDING);
    }
    world_drive(world, 100000);
    assert_in_range(metric_get(&audit_metrics(world->audit)->following), 1, 200);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->skipped_total), 1);
    world_destroy(world);
}

static void test_who_lost_the_lease_begins_anew_with_the_newest(void **state) {
    (void)state;
    struct world *world = world_create();
    world_drive(world, 100000);
    commit_late(world, 1, -1);
    world_drive(world, SECOND);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->following), 1);
    audit_rest(world->audit);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->following), 0);
    assert_false(audit_is_busy(world->audit));
    struct order_record order = world_order(world, 2, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world_drive(world, 65 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), 0); /* another instance counted it */
    world_destroy(world);
}

/* --- Query instances. --- */

/** The store commits it, the cache has it at once; the first instance gets it after `delay_us`, or
 *  not at all below 0. */
static void commit_behind(struct world *world, uint64_t order_id, int64_t delay_us) {
    struct world_instance *first = &world->instances[0];
    struct order_record old = world_order(world, order_id, 1, ORDER_STATUS_PENDING);
    struct order_record order = world_order(world, order_id, 2, ORDER_STATUS_PROCESSING);
    first->held[order_id] = old;
    first->behind = true;
    world_commit(world, &order);
    if (delay_us >= 0) {
        world_drive(world, delay_us);
        first->held[order_id] = order;
        first->behind = false;
    }
}

static void test_the_time_until_each_query_instance_answers_a_change_is_counted(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    world_drive(world, 100000);
    commit_behind(world, 1, 2 * SECOND);
    world_drive(world, SECOND);
    commit_behind(world, 2, 7 * SECOND);
    world_drive(world, 2 * SECOND);
    assert_within(world, AUDIT_TIER_CACHE, 2, 2, 2);
    assert_within(world, AUDIT_TIER_QUERY, 0, 1, 2);
    assert_within(world, AUDIT_TIER_QUERY + 1, 2, 2, 2);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY), 2);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY + 1), 2);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->following), 0);
    assert_int_equal(world_found_any(world), 0);
    world_destroy(world);
}

static void test_an_instance_that_never_gets_a_change_is_counted_and_repaired(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    world_drive(world, 100000);
    world->down[WORLD_SCAN] = true; /* only the sample can find it */
    commit_behind(world, 1, -1);
    world->references[1].order_id = 0;
    world_drive(world, 59 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY), 0);
    world_drive(world, 3 * SECOND);
    assert_within(world, AUDIT_TIER_QUERY, 0, 0, 0);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY), 1);
    world_drive(world, 40 * SECOND);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_STALE), 1);
    world_destroy(world);
}

static void test_a_silent_instance_is_not_counted_and_holds_nobody_up(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    world_drive(world, 100000);
    world->instances[0].silent = true;
    uint64_t committed = 0;
    for (; committed < 60 * 50; committed++) { /* more than can be followed at once */
        struct order_record order = world_order(
            world, 1 + committed % 60, 1 + (uint32_t)(committed / 60), ORDER_STATUS_PENDING);
        world_commit(world, &order);
        world_drive(world, 10000);
    }
    world_drive(world, SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_CACHE), committed);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY + 1), committed);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY), 0);
    assert_in_range(world->instances[0].polls, 25, 35); /* of 30 s */
    assert_true(metric_get(&audit_instance_metrics(world->audit, 0)->unanswered_total) > 25);
    world->instances[0].silent = false;
    world_drive(world, 2 * SECOND);
    struct order_record order = world_order(world, 61, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world_drive(world, SECOND);
    assert_within(world, AUDIT_TIER_QUERY, 1, 1, 1);
    world_destroy(world);
}

static void test_what_an_instance_does_not_know_is_not_counted(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    world_drive(world, 100000);
    world->instances[0].unknown[1] = true;
    struct order_record order = world_order(world, 1, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world_drive(world, 70 * SECOND);
    assert_int_equal(checked(world, AUDIT_TIER_QUERY), 0);
    assert_within(world, AUDIT_TIER_QUERY + 1, 1, 1, 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->samples_dropped_total), 1);
    world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_time_until_the_cache_has_a_change_is_counted),
        cmocka_unit_test(test_a_change_that_never_arrives_is_counted_against_it_and_repaired),
        cmocka_unit_test(test_a_later_version_counts_for_an_earlier_one),
        cmocka_unit_test(test_a_final_change_is_followed_into_the_archive),
        cmocka_unit_test(test_a_replay_is_neither_late_nor_a_disagreement),
        cmocka_unit_test(test_a_change_that_is_told_of_late_and_not_there_is_late),
        cmocka_unit_test(test_a_cache_that_does_not_answer_is_not_counted),
        cmocka_unit_test(test_more_changes_than_are_followed_are_passed_over),
        cmocka_unit_test(test_who_lost_the_lease_begins_anew_with_the_newest),
        cmocka_unit_test(test_the_time_until_each_query_instance_answers_a_change_is_counted),
        cmocka_unit_test(test_an_instance_that_never_gets_a_change_is_counted_and_repaired),
        cmocka_unit_test(test_a_silent_instance_is_not_counted_and_holds_nobody_up),
        cmocka_unit_test(test_what_an_instance_does_not_know_is_not_counted),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
