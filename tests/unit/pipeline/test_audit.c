#include "audit_world.h"

#define SECOND INT64_C(1000000)
#define SOON WORLD_SOON

static void test_tiers_that_agree_give_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create();
    for (uint64_t id = 1; id <= 10; id++) {
        struct order_record order = world_order(world, id, 1, ORDER_STATUS_PENDING);
        world_commit(world, &order);
        (void)world_ended(world, 20 + id);
    }
    memset(&world->cached[25], 0,
           sizeof(world->cached[25])); /* an archived order need not be there */
    world_drive(world, 100 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 0);
    assert_true(metric_get(&audit_metrics(world->audit)->rounds_total) >= 10);
    assert_int_equal(world->requests[WORLD_CACHE_PUT], 0);
    assert_int_equal(world->requests[WORLD_WRITE], 0);
    world_destroy(world);
}

static void test_a_stale_entry_is_found_after_the_grace_time_and_repaired(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record old = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &old);
    struct order_record order = world_order(world, 7, 2, ORDER_STATUS_PROCESSING);
    world_commit(world, &order);
    world->cached[7] = old;
    world_drive(world, 9 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->suspects), 1);
    assert_one(world, AUDIT_STALE);
    assert_cached(world, &order);
    assert_int_equal(world->messages[7], 1);
    world_destroy(world);
}

static void test_a_stale_entry_of_an_archived_order_is_repaired_too(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world->cached[7] = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    assert_one(world, AUDIT_STALE);
    assert_cached(world, &order);
    world_destroy(world);
}

static void test_an_open_order_that_is_missing_is_put_and_a_final_one_is_not(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record open = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &open);
    struct order_record final = world_order(world, 8, 2, ORDER_STATUS_SUCCESS);
    world_commit(world, &final);
    world_drive(world, SECOND); /* what is followed arrives */
    memset(world->cached, 0, sizeof(world->cached));
    assert_one(world, AUDIT_MISSING);
    assert_cached(world, &open);
    assert_int_equal(world->cached[8].version, 0);
    assert_int_equal(world->messages[7], 0); /* nobody was given anything wrong */
    world_destroy(world);
}

static void test_a_forged_higher_version_is_replaced_and_told_of(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    struct order_record ended = world_ended(world, 8);
    world->cached[7] = world_order(world, 7, 9, ORDER_STATUS_SUCCESS);
    world->cached[8] = world_order(world, 8, 8190, ORDER_STATUS_CANCEL);
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_FORGED), 2);
    assert_int_equal(world_repaired(world, AUDIT_FORGED), 2);
    assert_int_equal(world_found_any(world), 2);
    assert_cached(world, &order);
    assert_cached(world, &ended);
    assert_int_equal(world->messages[7], 1);
    assert_int_equal(world->messages[8], 1);
    world_destroy(world);
}

static void test_other_bytes_at_the_same_version_are_forged(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->cached[7].amount++;
    order_record_seal(&world->cached[7]);
    assert_one(world, AUDIT_FORGED);
    assert_cached(world, &order);
    world_destroy(world);
}

static void test_who_forges_an_entry_again_and_again_is_found(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    for (uint32_t i = 0; i < 100; i++) {
        world->cached[7] = world_order(world, 7, 2 + i, ORDER_STATUS_SUCCESS);
        world_drive(world, SECOND);
    }
    assert_true(world_repaired(world, AUDIT_FORGED) >= 5);
    world_drive(world, SOON);
    assert_cached(world, &order);
    world_destroy(world);
}

static void test_a_foreign_value_is_replaced(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->foreign[7] = true;
    assert_one(world, AUDIT_FOREIGN);
    assert_cached(world, &order);
    world_destroy(world);
}

static void test_two_homes_become_one_once_the_archive_has_settled(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_ended(world, 7);
    world->hot[7] = order;
    world_drive(world, 890 * SECOND);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->suspects), 0);
    world_drive(world, 65 * SECOND);
    assert_int_equal(world->hot[7].version, 2); /* seen 15 s ago at most */
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_TWO_HOMES), 1);
    assert_int_equal(world_found_any(world), 1);
    assert_int_equal(world->hot[7].version, 0);
    assert_archived(world, &order);
    world_destroy(world);
}

static void forbid_release(struct world *world, enum world_request request) {
    (void)world;
    if (request == WORLD_RELEASE) {
        fail_msg("an order was taken out of its only home");
    }
}

static void test_an_order_whose_row_went_away_keeps_its_home_in_the_store(void **state) {
    (void)state;
    struct world *world = world_create();
    world->hot[7] = world_ended(world, 7);
    world_drive(world, 905 * SECOND);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->suspects), 1);
    world->rows[7].present = false;
    world->meddle = forbid_release;
    world_drive(world, 200 * SECOND);
    assert_int_equal(world->hot[7].version, 2);
    world_destroy(world);
}

static void test_an_order_without_a_home_is_an_alarm_that_counts_once(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    memset(&world->hot[7], 0, sizeof(world->hot[7]));
    memset(world->references, 0, sizeof(world->references));
    world_drive(world, 700 * SECOND);
    assert_int_equal(world_found(world, AUDIT_NO_HOME), 1);
    assert_int_equal(world_found_any(world), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 1);
    assert_int_equal(world->hot[7].version, 0);
    assert_false(world->rows[7].present); /* the cache's word is not taken for it */
    world->hot[7] = order;
    world_drive(world, 700 * SECOND);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->alarms), 0);
    world_destroy(world);
}

static void test_references_without_an_order_or_with_another_one_are_alarms(void **state) {
    (void)state;
    struct world *world = world_create();
    world->references[7] = sample_draft(7);
    world->references[7].order_id = 7;
    struct order_record order = world_order(world, 8, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->references[8] = sample_draft(9);
    world->references[8].order_id = 8;
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_ORPHAN), 2);
    assert_int_equal(world_found_any(world), 2);
    world_destroy(world);
}

static void test_sources_of_truth_that_contradict_each_other_are_left_alone(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record open = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &open);
    world->rows[7] =
        (struct world_row){true, false, 2, world_order(world, 7, 2, ORDER_STATUS_ERROR)};
    struct order_record before = world_order(world, 8, 1, ORDER_STATUS_PENDING);
    struct order_record lost = world_order(world, 8, 2, ORDER_STATUS_SUCCESS);
    world_commit(world, &before);
    world_commit(world, &lost);
    world->hot[8] = before; /* as after a backup was restored */
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_CONFLICT), 2);
    assert_int_equal(world_found_any(world), 2);
    assert_cached(world, &open);
    assert_cached(world, &lost);
    assert_int_equal(world->requests[WORLD_CACHE_PUT] + world->requests[WORLD_WRITE] +
                         world->requests[WORLD_RELEASE] + world->requests[WORLD_CACHE_REMOVE],
                     0);
    world_destroy(world);
}

/* --- What happens in between. --- */

/** Every order goes to the archive between the read of the store and that of the archive, and comes
 *  to the store between two looks. */
static void move(struct world *world, enum world_request request) {
    for (uint64_t id = 1; id <= 5; id++) {
        if (request == WORLD_ARCHIVE_GET && world->hot[id].version != 0) {
            world_archive(world, id);
        }
    }
}

static void test_an_order_on_its_way_to_the_archive_is_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record orders[6];
    for (uint64_t id = 1; id <= 5; id++) {
        orders[id] = world_ended(world, id);
    }
    world->meddle = move;
    for (int round = 0; round < 40; round++) {
        for (uint64_t id = 1; id <= 5; id++) {
            world->hot[id] = orders[id];
            world->rows[id].present = false;
        }
        world_drive(world, 1700000);
    }
    assert_int_equal(world_found_any(world), 0);
    world_destroy(world);
}

static void test_what_heals_within_the_grace_time_is_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record old = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &old);
    struct order_record order = world_order(world, 7, 2, ORDER_STATUS_PROCESSING);
    world_commit(world, &order);
    world->cached[7] = old;
    world_drive(world, 5 * SECOND);
    world_cache_put(world, &order);
    world_drive(world, SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 1);
    world_destroy(world);
}

static void test_an_entry_that_lags_anew_at_the_second_look_is_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record first = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &first);
    struct order_record second = world_order(world, 7, 2, ORDER_STATUS_PROCESSING);
    world_commit(world, &second);
    world->cached[7] = first;
    world_drive(world, 5 * SECOND);
    world_cache_put(world, &second);
    struct order_record third = world_order(world, 7, 3, ORDER_STATUS_SUCCESS);
    world->hot[7] = third; /* committed just now, and not in the cache yet */
    world_drive(world, 8 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    world_destroy(world);
}

/** The order changes when the forged entry is gone, or is about to go. */
static void change_meanwhile(struct world *world, enum world_request request) {
    const enum world_request *when = world->meddler;
    bool forged = world->requests[WORLD_CACHE_REMOVE] > 0;
    if (forged && request == *when && world->hot[7].version == 1) {
        struct order_record order = world_order(world, 7, 2, ORDER_STATUS_SUCCESS);
        world_commit(world, &order);
    }
}

static void test_a_change_between_reading_and_repairing_wins(void **state) {
    (void)state;
    enum world_request moments[] = {WORLD_CACHE_REMOVE, WORLD_STORE_GET, WORLD_ARCHIVE_GET,
                                    WORLD_CACHE_PUT, WORLD_PUBLISH};
    for (size_t i = 0; i < ARRAY_COUNT(moments); i++) {
        struct world *world = world_create();
        struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
        world_commit(world, &order);
        world->cached[7] = world_order(world, 7, 4, ORDER_STATUS_CANCEL);
        world->meddle = change_meanwhile;
        world->meddler = &moments[i];
        world_drive(world, SOON);
        assert_int_equal(world->hot[7].version, 2);
        assert_cached(world, &world->hot[7]);
        assert_int_equal(world_found_any(world), 1);
        world_destroy(world);
    }
}

/** Somebody else puts the right one there. */
static void heal_meanwhile(struct world *world, enum world_request request) {
    if (request == WORLD_CACHE_REMOVE) {
        world->cached[7] = world->hot[7];
    }
}

static void test_only_the_bytes_that_were_judged_are_removed(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->cached[7] = world_order(world, 7, 4, ORDER_STATUS_CANCEL);
    world->meddle = heal_meanwhile;
    world_drive(world, SOON);
    assert_cached(world, &order);
    assert_int_equal(world_found_any(world), 1);
    world_destroy(world);
}

static void test_a_change_of_which_only_the_cache_knew_first_is_not_forged(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    struct order_record next = world_order(world, 7, 2, ORDER_STATUS_SUCCESS);
    world_cache_put(world, &next);
    world_drive(world, 5 * SECOND);
    world_commit(world, &next);
    world_drive(world, SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_cached(world, &next);
    world_destroy(world);
}

/* --- Tiers that do not answer. --- */

static void test_a_tier_that_does_not_answer_is_not_judged(void **state) {
    (void)state;
    static const enum world_request requests[] = {WORLD_STORE_GET, WORLD_CACHE_GET,
                                                  WORLD_ARCHIVE_GET, WORLD_SCAN, WORLD_LOG_READ};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct world *world = world_create();
        struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
        world_commit(world, &order);
        (void)world_ended(world, 8);
        world_drive(world, SECOND);
        world->down[requests[i]] = true;
        world_drive(world, 100 * SECOND);
        assert_int_equal(world_found_any(world), 0);
        assert_true(metric_get(&audit_metrics(world->audit)->failures_total) > 0);
        memset(&world->cached[7], 0, sizeof(world->cached[7]));
        world->down[requests[i]] = false;
        world_drive(world, SOON);
        assert_int_equal(world_repaired(world, AUDIT_MISSING), 1);
        world_destroy(world);
    }
}

static void test_a_second_look_that_is_not_answered_is_taken_again(void **state) {
    (void)state;
    static const enum world_request requests[] = {WORLD_STORE_GET, WORLD_CACHE_GET,
                                                  WORLD_ARCHIVE_GET};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct world *world = world_create();
        struct order_record order = world_order(world, 7, 2, ORDER_STATUS_PROCESSING);
        world_commit(world, &order);
        world->cached[7] = world_order(world, 7, 1, ORDER_STATUS_PENDING);
        world_drive(world, 5 * SECOND);
        world->down[requests[i]] = true;
        world_drive(world, SOON);
        world->down[requests[i]] = false;
        world_drive(world, SOON);
        assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 0);
        assert_int_equal(world_found(world, AUDIT_STALE), 1);
        assert_cached(world, &order);
        world_destroy(world);
    }
}

static void test_a_repair_that_does_not_go_through_is_tried_again(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 2, ORDER_STATUS_PROCESSING);
    world_commit(world, &order);
    world->cached[7] = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world->down[WORLD_CACHE_PUT] = true;
    world_drive(world, 2 * SOON);
    assert_int_equal(world_found(world, AUDIT_STALE), 1);
    assert_int_equal(world_repaired(world, AUDIT_STALE), 0);
    world->down[WORLD_CACHE_PUT] = false;
    world_drive(world, SOON);
    assert_int_equal(world_found(world, AUDIT_STALE), 1);
    assert_int_equal(world_repaired(world, AUDIT_STALE), 1);
    assert_cached(world, &order);
    world_destroy(world);
}

static void test_the_query_instances_are_told_when_the_topic_is_back(void **state) {
    (void)state;
    struct world *world = world_create();
    struct order_record order = world_order(world, 7, 1, ORDER_STATUS_PENDING);
    world_commit(world, &order);
    world->cached[7] = world_order(world, 7, 4, ORDER_STATUS_CANCEL);
    world->down[WORLD_PUBLISH] = true;
    world_drive(world, 2 * SOON);
    assert_int_equal(world_repaired(world, AUDIT_FORGED), 1);
    assert_int_equal(world->messages[7], 0);
    world->down[WORLD_PUBLISH] = false;
    world_drive(world, SOON);
    assert_int_equal(world->messages[7], 1);
    assert_int_equal(world_repaired(world, AUDIT_FORGED), 1);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->suspects), 0);
    world_destroy(world);
}

static void test_it_keeps_to_its_rate(void **state) {
    (void)state;
    struct world *world = world_create();
    for (uint64_t id = 1; id < 60; id++) {
        struct order_record order = world_order(world, id, 1, ORDER_STATUS_PENDING);
        world_commit(world, &order);
        for (int i = 0; i < 60; i++) {
            world->told[world->told_count++] = order;
        }
    }
    world_drive(world, 3 * SECOND);
    assert_in_range(metric_get(&audit_metrics(world->audit)->looked_total), 2500, 3100);
    world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiers_that_agree_give_no_disagreement),
        cmocka_unit_test(test_a_stale_entry_is_found_after_the_grace_time_and_repaired),
        cmocka_unit_test(test_a_stale_entry_of_an_archived_order_is_repaired_too),
        cmocka_unit_test(test_an_open_order_that_is_missing_is_put_and_a_final_one_is_not),
        cmocka_unit_test(test_a_forged_higher_version_is_replaced_and_told_of),
        cmocka_unit_test(test_other_bytes_at_the_same_version_are_forged),
        cmocka_unit_test(test_who_forges_an_entry_again_and_again_is_found),
        cmocka_unit_test(test_a_foreign_value_is_replaced),
        cmocka_unit_test(test_two_homes_become_one_once_the_archive_has_settled),
        cmocka_unit_test(test_an_order_whose_row_went_away_keeps_its_home_in_the_store),
        cmocka_unit_test(test_an_order_without_a_home_is_an_alarm_that_counts_once),
        cmocka_unit_test(test_references_without_an_order_or_with_another_one_are_alarms),
        cmocka_unit_test(test_sources_of_truth_that_contradict_each_other_are_left_alone),
        cmocka_unit_test(test_an_order_on_its_way_to_the_archive_is_no_disagreement),
        cmocka_unit_test(test_what_heals_within_the_grace_time_is_no_disagreement),
        cmocka_unit_test(test_an_entry_that_lags_anew_at_the_second_look_is_no_disagreement),
        cmocka_unit_test(test_a_change_between_reading_and_repairing_wins),
        cmocka_unit_test(test_only_the_bytes_that_were_judged_are_removed),
        cmocka_unit_test(test_a_change_of_which_only_the_cache_knew_first_is_not_forged),
        cmocka_unit_test(test_a_tier_that_does_not_answer_is_not_judged),
        cmocka_unit_test(test_a_second_look_that_is_not_answered_is_taken_again),
        cmocka_unit_test(test_a_repair_that_does_not_go_through_is_tried_again),
        cmocka_unit_test(test_the_query_instances_are_told_when_the_topic_is_back),
        cmocka_unit_test(test_it_keeps_to_its_rate),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
