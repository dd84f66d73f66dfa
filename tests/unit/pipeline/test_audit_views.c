/** The checker and what query instances answer. */
#include "audit_world.h"

#define SECOND INT64_C(1000000)
/* Long enough for a walk, the grace time, a repair and the look that verifies it. */
#define SOON (35 * SECOND)

static uint64_t alarms(const struct world *world) {
    return metric_get(&audit_metrics(world->audit)->alarms);
}

static uint64_t suspects(const struct world *world) {
    return metric_get(&audit_metrics(world->audit)->suspects);
}

static uint64_t unanswered(const struct world *world, size_t instance) {
    return metric_get(&audit_instance_metrics(world->audit, instance)->unanswered_total);
}

static void assert_answered(struct world *world, size_t instance,
                            const struct order_record *order) {
    struct audit_answer answer = world_answer(&world->instances[instance], order->order_id);
    assert_int_equal(answer.result, ORDER_RESULT_FOUND);
    assert_memory_equal(&answer.order, order, sizeof(*order));
}

/** Found once, told of once, repaired once, and nothing else found; it stays so. */
static void assert_mended(struct world *world, enum audit_kind kind,
                          const struct order_record *order) {
    world_drive(world, SOON);
    assert_int_equal(world_found(world, kind), 1);
    assert_int_equal(world_repaired(world, kind), 1);
    assert_int_equal(world_found_any(world), 1);
    assert_int_equal(world->messages[order->order_id], 1);
    assert_answered(world, 0, order);
    world_drive(world, 2 * SOON);
    assert_int_equal(world_found_any(world), 1);
    assert_int_equal(suspects(world) + alarms(world), 0);
}

static struct order_record commit(struct world *world, uint64_t order_id, uint32_t version,
                                  enum order_status status) {
    struct order_record order = world_order(world, order_id, version, status);
    world_commit(world, &order);
    return order;
}

static void test_instances_that_answer_the_truth_give_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    for (uint64_t id = 1; id <= 10; id++) {
        (void)commit(world, id, 1, ORDER_STATUS_PENDING);
        (void)world_ended(world, 20 + id);
    }
    world_drive(world, 100 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 0);
    for (size_t i = 0; i < WORLD_INSTANCES; i++) {
        assert_true(world->instances[i].asked[1] > 5 && world->instances[i].asked[25] > 5);
        assert_true(metric_get(&audit_instance_metrics(world->audit, i)->asked_total) > 100);
        assert_int_equal(unanswered(world, i), 0);
    }
    world_destroy(world);
}

static void test_an_older_version_is_found_told_of_and_verified(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record old = commit(world, 7, 1, ORDER_STATUS_PENDING);
    struct order_record order = commit(world, 7, 2, ORDER_STATUS_PROCESSING);
    world->instances[0].held[7] = old;
    world_drive(world, 9 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(suspects(world), 1);
    assert_mended(world, AUDIT_VIEW_STALE, &order);
    world_destroy(world);
}

static void test_a_higher_version_than_exists_is_found(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = commit(world, 7, 1, ORDER_STATUS_PENDING);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_SUCCESS);
    assert_mended(world, AUDIT_VIEW_FORGED, &order);
    world_destroy(world);
}

static void test_other_bytes_at_the_same_version_are_forged(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[0].held[7].amount++;
    order_record_seal(&world->instances[0].held[7]);
    assert_mended(world, AUDIT_VIEW_FORGED, &order);
    world_destroy(world);
}

static void test_where_only_states_are_given_they_are_compared(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record other_amount = world_ended(world, 6);
    struct order_record other_status = world_ended(world, 7);
    struct world_instance *instance = &world->instances[0];
    instance->gives_states = true;
    other_amount.amount++;
    instance->held[6] = other_amount;
    instance->held[7].status = ORDER_STATUS_CANCEL;
    assert_mended(world, AUDIT_VIEW_FORGED, &other_status);
    assert_int_equal(world->messages[6], 0);
    world_destroy(world);
}

static void test_none_for_an_order_that_has_a_home_is_found(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[0].denied[7] = true;
    world_drive(world, 12 * SECOND);
    assert_int_equal(world_found(world, AUDIT_VIEW_MISSING), 1);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_MISSING), 0);
    world->instances[0].denied[7] = false;
    assert_mended(world, AUDIT_VIEW_MISSING, &order);
    world_destroy(world);
}

static void test_what_no_message_mends_becomes_an_alarm_until_it_is_right(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[1].held[7] = world_order(world, 7, 3, ORDER_STATUS_CANCEL);
    world->instances[1].deaf = true;
    world_drive(world, 140 * SECOND);
    assert_int_equal(world_found(world, AUDIT_VIEW_FORGED), 1);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 0);
    assert_int_equal(world->messages[7], 10);
    assert_int_equal(alarms(world), 1);
    world->instances[1].deaf = false;
    world_drive(world, 700 * SECOND);
    assert_int_equal(alarms(world), 0);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 1);
    assert_int_equal(world_found_any(world), 1);
    assert_answered(world, 1, &order);
    world_destroy(world);
}

static void test_the_cache_is_repaired_before_the_instances_read_it_again(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->cached[7] = world_order(world, 7, 8, ORDER_STATUS_CANCEL);
    memset(world->instances[0].held, 0, sizeof(world->instances[0].held));
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_FORGED), 1);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 1);
    assert_int_equal(world_found_any(world), 2);
    assert_int_equal(world->messages[7], 1);
    assert_answered(world, 0, &order);
    world_destroy(world);
}

/* --- What is no disagreement. --- */

/** A change comes after the store was read and before the instances are asked. */
static void change_before_asking(struct world *world, enum world_request request) {
    uint32_t version = world->hot[7].version;
    if (request == WORLD_ARCHIVE_GET && version < 60) {
        (void)commit(world, 7, version + 1, ORDER_STATUS_PROCESSING);
    }
}

static void test_a_change_between_two_reads_of_a_look_is_not_forged(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    (void)commit(world, 7, 1, ORDER_STATUS_PENDING);
    world->meddle = change_before_asking;
    world_drive(world, 150 * SECOND);
    assert_int_equal(world_found_any(world), 0);
    assert_true(metric_get(&audit_metrics(world->audit)->passed_total) > 3);
    world_destroy(world);
}

static void test_an_instance_that_lags_anew_at_the_second_look_is_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record first = commit(world, 7, 1, ORDER_STATUS_PENDING);
    struct order_record second = commit(world, 7, 2, ORDER_STATUS_PROCESSING);
    world->instances[0].held[7] = first;
    world_drive(world, 5 * SECOND);
    world->instances[0].held[7] = second;
    struct order_record third = world_order(world, 7, 3, ORDER_STATUS_SUCCESS);
    world->hot[7] = third;
    world_cache_put(world, &third);
    world_drive(world, 6 * SECOND); /* the second look is done, a first one of the third is not */
    assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 1);
    assert_int_equal(world_found_any(world), 0);
    world_destroy(world);
}

static void test_what_heals_within_the_grace_time_is_no_disagreement(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world_drive(world, 5 * SECOND);
    world->instances[0].held[7] = order;
    world_drive(world, SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(metric_get(&audit_metrics(world->audit)->passed_total), 1);
    assert_int_equal(world->messages[7], 0);
    world_destroy(world);
}

static void test_an_instance_may_be_behind_for_as_long_as_is_promised(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    audit_destroy(world->audit);
    world->options.grace_ms = 1000; /* the instances may be 3 s behind */
    struct audit_parts parts = {
        .options = &world->options,
        .clock = &world->clock,
        .log = &world->log,
        .store = &world->store,
        .cache = &world->cache,
        .archive = &world->archive,
        .repair = &world->repair,
        .changes = &world->changes,
        .refresh = &world->refresh,
        .views = world->views,
        .view_count = WORLD_INSTANCES,
        .mailbox = &world->mailbox,
        .view_lag_us = 3 * SECOND,
    };
    world->audit = audit_create(&parts);
    struct order_record old = commit(world, 7, 1, ORDER_STATUS_PENDING);
    (void)commit(world, 7, 2, ORDER_STATUS_PROCESSING);
    world->instances[0].held[7] = old;
    world_drive(world, 2900000);
    assert_int_equal(world_found_any(world), 0);
    world_drive(world, 5 * SECOND);
    assert_int_equal(world_found(world, AUDIT_VIEW_STALE), 1);
    world_destroy(world);
}

/* --- Instances that do not answer, or do not know. --- */

static void test_a_silent_instance_is_counted_and_never_judged(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    struct order_record open = commit(world, 8, 1, ORDER_STATUS_PENDING);
    world_drive(world, SECOND);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world->instances[0].silent = true;
    world->instances[1].held[8] = world_order(world, 8, 5, ORDER_STATUS_CANCEL);
    world->cached[8] = world_order(world, 8, 6, ORDER_STATUS_CANCEL);
    world_drive(world, 3 * SOON);
    assert_int_equal(world_found(world, AUDIT_FORGED), 1); /* nobody waits for it */
    assert_int_equal(world_repaired(world, AUDIT_FORGED), 1);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 1);
    assert_int_equal(world_found_any(world), 2);
    assert_answered(world, 1, &open);
    assert_true(unanswered(world, 0) > 5);
    assert_int_equal(unanswered(world, 1), 0);
    world->instances[0].silent = false;
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 2);
    assert_answered(world, 0, &order);
    world_destroy(world);
}

static void test_what_an_instance_does_not_know_now_is_not_judged(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    (void)world_ended(world, 7);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world->instances[0].unknown[7] = true;
    world_drive(world, 3 * SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_true(metric_get(&audit_instance_metrics(world->audit, 0)->unknown_total) > 5);
    assert_int_equal(unanswered(world, 0), 0);
    world_destroy(world);
}

static void test_an_instance_that_falls_silent_is_asked_again_before_it_is_judged(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world_drive(world, 5 * SECOND);
    world->instances[0].silent = true;
    world_drive(world, SOON);
    assert_int_equal(world_found_any(world), 0);
    assert_int_equal(suspects(world), 1);
    world->instances[0].silent = false;
    assert_mended(world, AUDIT_VIEW_FORGED, &order);
    world_destroy(world);
}

static void test_an_instance_that_stays_silent_is_given_up(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    (void)world_ended(world, 7);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world->instances[0].deaf = true;
    world_drive(world, 15 * SECOND);
    assert_int_equal(world_found(world, AUDIT_VIEW_FORGED), 1);
    world->instances[0].silent = true;
    world_drive(world, 130 * SECOND);
    assert_int_equal(suspects(world) + alarms(world), 0);
    assert_int_equal(world_repaired(world, AUDIT_VIEW_FORGED), 0);
    world_destroy(world);
}

/* --- Whom it is asked for. --- */

static void test_asking_does_not_hide_an_entry_that_is_missing_or_foreign(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    for (uint64_t id = 1; id <= 60; id++) {
        (void)commit(world, id, 1, ORDER_STATUS_PENDING);
    }
    world_drive(world, SECOND); /* the samples have arrived */
    memset(world->instances[0].held, 0, sizeof(world->instances[0].held));
    memset(world->instances[1].held, 0, sizeof(world->instances[1].held));
    for (uint64_t id = 1; id <= 60; id++) {
        world->foreign[id] = id > 30;
        memset(&world->cached[id], 0, sizeof(world->cached[id]));
    }
    world_drive(world, SOON);
    assert_int_equal(world_repaired(world, AUDIT_MISSING), 30);
    assert_int_equal(world_repaired(world, AUDIT_FOREIGN), 30);
    assert_int_equal(world_found_any(world), 60);
    assert_memory_equal(world->cached, world->hot, sizeof(world->hot));
    world_destroy(world);
}

static void test_archived_orders_come_into_the_cache_a_few_a_round(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    for (uint64_t id = 1; id < 64; id++) {
        (void)world_ended(world, id);
    }
    world_drive(world, SECOND); /* the samples have arrived */
    memset(world->cached, 0, sizeof(world->cached));
    memset(world->instances[0].held, 0, sizeof(world->instances[0].held));
    world->instances[1].silent = true;
    uint64_t rounds = metric_get(&audit_metrics(world->audit)->rounds_total);
    while (metric_get(&audit_metrics(world->audit)->rounds_total) == rounds) {
        world_drive(world, 1000);
    }
    size_t came = 0;
    for (uint64_t id = 1; id < 64; id++) {
        came += world->cached[id].version != 0 ? 1 : 0;
    }
    assert_in_range(came, 1, 20); /* some 4 of 63 in each of two rounds */
    world_destroy(world);
}

static void test_a_forged_answer_is_found_where_the_cache_has_nothing(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    struct order_record order = world_ended(world, 7);
    world->instances[0].held[7] = world_order(world, 7, 9, ORDER_STATUS_CANCEL);
    world_drive(world, SECOND);
    for (int i = 0; i < 80 && world_found(world, AUDIT_VIEW_FORGED) == 0; i++) {
        memset(&world->cached[7], 0, sizeof(world->cached[7])); /* evicted again and again */
        world_drive(world, SECOND);
    }
    assert_mended(world, AUDIT_VIEW_FORGED, &order);
    world_destroy(world);
}

static void test_an_order_without_a_known_truth_is_not_asked_for(void **state) {
    (void)state;
    struct world *world = world_create_watching();
    (void)commit(world, 7, 1, ORDER_STATUS_PENDING);
    world_drive(world, SECOND);
    memset(&world->hot[7], 0, sizeof(world->hot[7])); /* in no home */
    memset(world->references, 0, sizeof(world->references));
    size_t asked = world->instances[0].asked[7];
    world_drive(world, 3 * SOON);
    assert_int_equal(world->instances[0].asked[7], asked);
    assert_int_equal(world_found(world, AUDIT_NO_HOME), 1);
    assert_int_equal(world_found(world, AUDIT_VIEW_STALE) + world_found(world, AUDIT_VIEW_FORGED) +
                         world_found(world, AUDIT_VIEW_MISSING),
                     0);
    world_destroy(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances_that_answer_the_truth_give_no_disagreement),
        cmocka_unit_test(test_an_older_version_is_found_told_of_and_verified),
        cmocka_unit_test(test_a_higher_version_than_exists_is_found),
        cmocka_unit_test(test_other_bytes_at_the_same_version_are_forged),
        cmocka_unit_test(test_where_only_states_are_given_they_are_compared),
        cmocka_unit_test(test_none_for_an_order_that_has_a_home_is_found),
        cmocka_unit_test(test_what_no_message_mends_becomes_an_alarm_until_it_is_right),
        cmocka_unit_test(test_the_cache_is_repaired_before_the_instances_read_it_again),
        cmocka_unit_test(test_a_change_between_two_reads_of_a_look_is_not_forged),
        cmocka_unit_test(test_an_instance_that_lags_anew_at_the_second_look_is_no_disagreement),
        cmocka_unit_test(test_what_heals_within_the_grace_time_is_no_disagreement),
        cmocka_unit_test(test_an_instance_may_be_behind_for_as_long_as_is_promised),
        cmocka_unit_test(test_a_silent_instance_is_counted_and_never_judged),
        cmocka_unit_test(test_what_an_instance_does_not_know_now_is_not_judged),
        cmocka_unit_test(test_an_instance_that_falls_silent_is_asked_again_before_it_is_judged),
        cmocka_unit_test(test_an_instance_that_stays_silent_is_given_up),
        cmocka_unit_test(test_asking_does_not_hide_an_entry_that_is_missing_or_foreign),
        cmocka_unit_test(test_archived_orders_come_into_the_cache_a_few_a_round),
        cmocka_unit_test(test_a_forged_answer_is_found_where_the_cache_has_nothing),
        cmocka_unit_test(test_an_order_without_a_known_truth_is_not_asked_for),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
