#include "fake_ports.h"
#include "pipeline/expiry.h"

#define WINDOW_US INT64_C(1000000000)

static void end(struct fake_ports *fake, size_t count, bool more, enum order_result result) {
    struct order_expire_batch *batch = fake_expect(fake, FAKE_EXPIRE);
    batch->count = count;
    batch->more = more;
    batch->result = (uint8_t)result;
    fake_complete(fake);
}

static void test_what_is_out_of_the_window_goes_slice_by_slice(void **state) {
    (void)state;
    struct fake_ports fake;
    struct expiry_pipeline pipeline;
    fake_init(&fake);
    expiry_pipeline_init(&pipeline, &fake.clock, &fake.store, &fake.mailbox, WINDOW_US);
    assert_int_equal(expiry_pipeline_step(&pipeline), INT64_MAX);
    struct order_expire_batch *batch = fake_expect(&fake, FAKE_EXPIRE);
    assert_int_equal(batch->before_us, fake.now_us - WINDOW_US);
    assert_int_equal(expiry_pipeline_step(&pipeline), INT64_MAX); /* one at a time */
    assert_int_equal(fake.taken_count, 1);
    end(&fake, 10, true, ORDER_RESULT_STORED);
    assert_int_equal(expiry_pipeline_step(&pipeline), INT64_MAX); /* more: at once */
    end(&fake, 3, false, ORDER_RESULT_STORED);
    /* Then a hundredth of the window later. */
    assert_int_equal(expiry_pipeline_step(&pipeline), fake.now_us + WINDOW_US / 100);
    assert_int_equal(metric_get(&pipeline.metrics.expired_total), 13);
    assert_int_equal(metric_get(&pipeline.metrics.rounds_total), 2);
    fake_deinit(&fake);
}

static void test_a_failure_is_counted_and_tried_again_later(void **state) {
    (void)state;
    struct fake_ports fake;
    struct expiry_pipeline pipeline;
    fake_init(&fake);
    expiry_pipeline_init(&pipeline, &fake.clock, &fake.store, &fake.mailbox, WINDOW_US);
    fake.busy = true;
    fake.now_us = expiry_pipeline_step(&pipeline);
    fake.busy = false;
    assert_int_equal(expiry_pipeline_step(&pipeline), INT64_MAX);
    end(&fake, 0, true, ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(metric_get(&pipeline.metrics.failures_total), 1);
    assert_true(expiry_pipeline_step(&pipeline) > fake.now_us);
    assert_int_equal(fake.taken_count, 0);
    fake_deinit(&fake);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_out_of_the_window_goes_slice_by_slice),
        cmocka_unit_test(test_a_failure_is_counted_and_tried_again_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
