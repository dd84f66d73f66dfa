#include "pipeline/cache.h"

#include "sim_ports.h"

static struct cache_pipeline *pipeline_on(struct sim *sim) {
    struct cache_pipeline_parts parts = {
        .clock = &sim->clock,
        .log = &sim->log,
        .reader = &sim->reader,
        .cache = &sim->cache,
        .mailbox = &sim->mailbox,
    };
    struct cache_pipeline *pipeline = cache_pipeline_create(&parts);
    assert_non_null(pipeline);
    return pipeline;
}

/** Drives it for `us`, a millisecond at a time. */
static void drive(struct sim *sim, struct cache_pipeline *pipeline, int64_t us) {
    for (int64_t end_us = sim->now_us + us; sim->now_us < end_us; sim->now_us += 1000) {
        (void)cache_pipeline_step(pipeline);
        (void)port_drain(&sim->mailbox, SIZE_MAX);
    }
}

static void add_orders(struct sim *sim, uint64_t first, uint64_t count, uint32_t version) {
    for (uint64_t i = 0; i < count; i++) {
        struct order_record order = sim_order(first + i, version, ORDER_STATUS_PENDING);
        (void)sim_add(sim, NULL, &order, "changed");
    }
}

static void test_every_change_reaches_the_cache_and_is_committed(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 5000, 1);
    add_orders(sim, 1, 5000, 2);
    drive(sim, pipeline, 2000000);
    for (uint64_t id = 1; id <= 5000; id++) {
        assert_int_equal(sim->versions[id], 2);
    }
    assert_int_equal(sim->committed, 10000);
    struct cache_pipeline_metrics *metrics = cache_pipeline_metrics(pipeline);
    assert_int_equal(metric_get(&metrics->stored_total), 10000);
    assert_int_equal(metric_get(&metrics->in_flight), 0);
    assert_int_equal(histogram_count(&metrics->lag_microseconds), 10000);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_several_batches_are_in_flight_and_may_end_in_any_order(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 6000, 1);
    sim->hold_puts = true;
    drive(sim, pipeline, 1000000);
    assert_int_equal(sim->held_count, CACHE_PIPELINE_FLIGHTS);
    assert_int_equal(sim->committed, 0);
    sim->hold_puts = false;
    for (size_t i = sim->held_count; i-- > 0;) {
        sim_apply(sim, sim->held[i]);
        if (i > 0) {
            drive(sim, pipeline, 1000);
            assert_int_equal(sim->committed, 0);
        }
    }
    drive(sim, pipeline, 2000000);
    assert_int_equal(sim->puts, 6000);
    assert_int_equal(sim->committed, 6000);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_nothing_is_committed_before_the_cache_has_all_of_it(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 100, 1);
    sim->refuse_puts = 250; /* all of it twice, and half of it once more */
    drive(sim, pipeline, 350000);
    assert_int_equal(sim->committed, 0);
    drive(sim, pipeline, 1500000);
    assert_int_equal(sim->committed, 100);
    assert_int_equal(sim->puts, 100);
    assert_int_equal(metric_get(&cache_pipeline_metrics(pipeline)->failures_total), 250);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_a_full_queue_of_the_cache_is_waited_for(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 10, 1);
    sim->busy = true;
    drive(sim, pipeline, 300000);
    assert_int_equal(sim->committed, 0);
    sim->busy = false;
    drive(sim, pipeline, 300000);
    assert_int_equal(sim->committed, 10);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_what_is_no_order_is_counted_and_passed_over(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    struct order_record order = sim_order(7, 1, ORDER_STATUS_PENDING);
    sim_add(sim, NULL, &order, "created")->value_size = 127;
    sim_add(sim, NULL, &order, "created")->value_size = 129;
    sim_add(sim, NULL, &order, "created")->value_size = 0;
    sim_add(sim, NULL, &order, "created")->value[30] ^= 1;
    (void)sim_add(sim, "8", &order, "created");
    (void)sim_add(sim, "", &order, "created");
    (void)sim_add(sim, "\n{7}", &order, "created");
    struct order_record good = sim_order(9, 1, ORDER_STATUS_PENDING);
    (void)sim_add(sim, NULL, &good, "created");
    drive(sim, pipeline, 500000);
    assert_int_equal(sim->versions[7], 0);
    assert_int_equal(sim->versions[9], 1);
    assert_int_equal(sim->committed, 8);
    assert_int_equal(metric_get(&cache_pipeline_metrics(pipeline)->invalid_total), 7);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_a_position_that_cannot_be_stored_is_tried_again(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 10, 1);
    sim->commit_result = ORDER_RESULT_UNAVAILABLE;
    drive(sim, pipeline, 1000000);
    assert_int_equal(sim->committed, 0);
    size_t reads = sim->reads;
    sim->commit_result = ORDER_RESULT_STORED;
    drive(sim, pipeline, 500000);
    assert_int_equal(sim->committed, 10);
    assert_true(sim->reads > reads);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_a_partition_that_went_elsewhere_does_not_stop_it(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    add_orders(sim, 1, 10, 1);
    sim->commit_result = ORDER_RESULT_MISMATCH;
    drive(sim, pipeline, 300000);
    assert_int_equal(metric_get(&cache_pipeline_metrics(pipeline)->reassigned_total), 1);
    sim->commit_result = ORDER_RESULT_STORED;
    add_orders(sim, 11, 10, 1);
    drive(sim, pipeline, 300000);
    assert_int_equal(sim->committed, 20);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

static void test_a_topic_that_does_not_answer_is_asked_again(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct cache_pipeline *pipeline = pipeline_on(sim);
    sim->read_result = ORDER_RESULT_UNAVAILABLE;
    add_orders(sim, 1, 10, 1);
    drive(sim, pipeline, 1500000);
    assert_int_equal(sim->reads, 2);
    sim->read_result = ORDER_RESULT_FOUND;
    drive(sim, pipeline, 1500000);
    assert_int_equal(sim->committed, 10);
    cache_pipeline_destroy(pipeline);
    sim_destroy(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_change_reaches_the_cache_and_is_committed),
        cmocka_unit_test(test_several_batches_are_in_flight_and_may_end_in_any_order),
        cmocka_unit_test(test_nothing_is_committed_before_the_cache_has_all_of_it),
        cmocka_unit_test(test_a_full_queue_of_the_cache_is_waited_for),
        cmocka_unit_test(test_what_is_no_order_is_counted_and_passed_over),
        cmocka_unit_test(test_a_position_that_cannot_be_stored_is_tried_again),
        cmocka_unit_test(test_a_partition_that_went_elsewhere_does_not_stop_it),
        cmocka_unit_test(test_a_topic_that_does_not_answer_is_asked_again),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
