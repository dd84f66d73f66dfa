#include "fake_ports.h"
#include "pipeline/timeout.h"

#define TIMEOUT_US INT64_C(900000000)

struct bench {
    struct fake_ports fake;
    struct timeout_pipeline *pipeline;
};

static void setup(struct bench *bench) {
    fake_init(&bench->fake);
    bench->pipeline = timeout_pipeline_create(&(struct timeout_parts){
        .clock = &bench->fake.clock,
        .log = &bench->fake.log,
        .store = &bench->fake.store,
        .mailbox = &bench->fake.mailbox,
        .timeout_us = TIMEOUT_US,
    });
    assert_non_null(bench->pipeline);
}

static void teardown(struct bench *bench) {
    timeout_pipeline_destroy(bench->pipeline);
    fake_deinit(&bench->fake);
}

/** Answers the scan that is due with orders 1 to `count` as overdue. */
static void scan_shows(struct bench *bench, size_t count, uint64_t cursor, int64_t next_us) {
    (void)timeout_pipeline_step(bench->pipeline);
    struct order_scan_batch *scan = fake_expect(&bench->fake, FAKE_SCAN);
    assert_int_equal(scan->kind, ORDER_SCAN_OVERDUE);
    assert_int_equal(scan->before_us, bench->fake.now_us - TIMEOUT_US);
    for (size_t i = 0; i < count; i++) {
        scan->orders[i] = sample_order(i + 1);
    }
    scan->count = count;
    scan->cursor = cursor;
    scan->next_us = next_us;
    scan->result = ORDER_RESULT_FOUND;
    fake_complete(&bench->fake);
}

static void change_ends(struct bench *bench, enum order_result result) {
    struct order_change_batch *change = fake_expect(&bench->fake, FAKE_CHANGE);
    memset(change->results, (int)result, change->count);
    fake_complete(&bench->fake);
}

static void test_overdue_orders_are_changed_at_the_version_that_was_seen(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    scan_shows(&bench, 2, 0, INT64_MAX);
    struct order_change_batch *change = fake_expect(&bench.fake, FAKE_CHANGE);
    assert_int_equal(change->count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(change->changes[i].order_id, i + 1);
        assert_int_equal(change->changes[i].status, ORDER_STATUS_TIMEOUT);
        assert_true(change->changes[i].match.required);
        assert_int_equal(change->changes[i].match.count, 1);
        assert_int_equal(change->changes[i].match.versions[0], 1);
    }
    change->results[0] = ORDER_RESULT_CHANGED;
    change->results[1] = ORDER_RESULT_MISMATCH;
    fake_complete(&bench.fake);
    assert_int_equal(metric_get(&timeout_pipeline_metrics(bench.pipeline)->timed_out_total), 1);
    assert_int_equal(metric_get(&timeout_pipeline_metrics(bench.pipeline)->overtaken_total), 1);
    assert_int_equal(metric_get(&timeout_pipeline_metrics(bench.pipeline)->failures_total), 0);
    teardown(&bench);
}

static void test_it_sleeps_until_the_oldest_open_order_is_overdue(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    int64_t oldest_us = bench.fake.now_us - INT64_C(300000000);
    scan_shows(&bench, 0, 7, oldest_us);
    scan_shows(&bench, 0, 0, bench.fake.now_us - 5);
    assert_int_equal(timeout_pipeline_step(bench.pipeline), oldest_us + TIMEOUT_US);
    assert_int_equal(fake_first_operation(&bench.fake), FAKE_NONE);
    assert_false(timeout_pipeline_is_busy(bench.pipeline));
    teardown(&bench);
}

static void test_an_order_that_comes_after_the_round_is_not_late(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    int64_t begun_us = bench.fake.now_us;
    scan_shows(&bench, 0, 7, INT64_MAX);
    bench.fake.now_us += 60000000;
    scan_shows(&bench, 0, 0, INT64_MAX);
    /* The table was empty; what was created since the beginning is not overdue before this. */
    assert_int_equal(timeout_pipeline_step(bench.pipeline), begun_us + TIMEOUT_US);
    teardown(&bench);
}

static void test_an_order_that_was_not_changed_is_tried_again_soon_whatever_follows(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    scan_shows(&bench, 1, 7, INT64_MAX);
    change_ends(&bench, ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(metric_get(&timeout_pipeline_metrics(bench.pipeline)->failures_total), 1);
    int64_t at_us = timeout_pipeline_step(bench.pipeline);
    assert_true(at_us > bench.fake.now_us && at_us <= bench.fake.now_us + 10000000);
    bench.fake.now_us = at_us;
    scan_shows(&bench, 0, 0, INT64_MAX); /* the rest of the round has nothing */
    at_us = timeout_pipeline_step(bench.pipeline);
    assert_true(at_us <= bench.fake.now_us + 10000000);
    bench.fake.now_us = at_us;
    scan_shows(&bench, 1, 0, INT64_MAX);
    change_ends(&bench, ORDER_RESULT_CHANGED);
    assert_int_equal(metric_get(&timeout_pipeline_metrics(bench.pipeline)->timed_out_total), 1);
    teardown(&bench);
}

static void test_a_store_that_is_busy_or_away_is_asked_again(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    bench.fake.busy = true;
    int64_t at_us = timeout_pipeline_step(bench.pipeline);
    assert_true(at_us > bench.fake.now_us && at_us <= bench.fake.now_us + 10000000);
    bench.fake.busy = false;
    bench.fake.now_us = at_us;
    (void)timeout_pipeline_step(bench.pipeline);
    struct order_scan_batch *scan = fake_expect(&bench.fake, FAKE_SCAN);
    scan->result = ORDER_RESULT_UNAVAILABLE;
    scan->count = 0;
    scan->next_us = INT64_MAX;
    fake_complete(&bench.fake);
    at_us = timeout_pipeline_step(bench.pipeline);
    assert_true(at_us > bench.fake.now_us && at_us <= bench.fake.now_us + 10000000);
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overdue_orders_are_changed_at_the_version_that_was_seen),
        cmocka_unit_test(test_it_sleeps_until_the_oldest_open_order_is_overdue),
        cmocka_unit_test(test_an_order_that_comes_after_the_round_is_not_late),
        cmocka_unit_test(test_an_order_that_was_not_changed_is_tried_again_soon_whatever_follows),
        cmocka_unit_test(test_a_store_that_is_busy_or_away_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
