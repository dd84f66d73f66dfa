#include "fake_ports.h"
#include "pipeline/tenure.h"

#define LENGTH_US INT64_C(9000000)

struct bench {
    struct fake_ports fake;
    struct tenure tenure;
};

static void setup(struct bench *bench) {
    fake_init(&bench->fake);
    tenure_init(&bench->tenure, &bench->fake.lease, &bench->fake.clock, &bench->fake.mailbox,
                "work/1", LENGTH_US);
}

static void teardown(struct bench *bench) {
    assert_false(tenure_is_busy(&bench->tenure));
    fake_deinit(&bench->fake);
}

static void lease_says(struct bench *bench, enum order_result result) {
    struct lease_request *request = fake_expect(&bench->fake, FAKE_LEASE);
    assert_string_equal(request->name, "work/1");
    request->result = (uint8_t)result;
    request->held_until_us = bench->fake.now_us + LENGTH_US;
    fake_complete(&bench->fake);
}

static void test_a_free_lease_is_taken_and_renewed_in_time(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    assert_false(tenure_holds(&bench.tenure));
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_STORED);
    assert_true(tenure_holds(&bench.tenure));
    assert_int_equal(tenure_step(&bench.tenure), bench.fake.now_us + LENGTH_US / 3);
    bench.fake.now_us += LENGTH_US / 3;
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_STORED);
    bench.fake.now_us += LENGTH_US - 1;
    assert_true(tenure_holds(&bench.tenure));
    teardown(&bench);
}

static void test_a_lease_that_is_not_renewed_ends_by_our_clock(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_STORED);
    bench.fake.now_us += LENGTH_US / 3;
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_UNAVAILABLE); /* what we have holds on */
    assert_true(tenure_holds(&bench.tenure));
    bench.fake.now_us += LENGTH_US;
    assert_false(tenure_holds(&bench.tenure));
    teardown(&bench);
}

static void test_somebody_elses_lease_is_asked_for_again(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_BUSY);
    assert_false(tenure_holds(&bench.tenure));
    bench.fake.now_us += LENGTH_US / 3;
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_STORED);
    assert_true(tenure_holds(&bench.tenure));
    teardown(&bench);
}

static void test_a_held_lease_is_given_back_at_the_end(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    (void)tenure_step(&bench.tenure);
    lease_says(&bench, ORDER_RESULT_STORED);
    tenure_stop(&bench.tenure);
    assert_true(tenure_is_busy(&bench.tenure));
    assert_false(tenure_holds(&bench.tenure));
    (void)fake_expect(&bench.fake, FAKE_LEASE_RELEASE);
    fake_complete(&bench.fake);
    assert_int_equal(tenure_step(&bench.tenure), INT64_MAX);
    teardown(&bench);
}

static void test_a_busy_port_is_asked_again_soon(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    bench.fake.busy = true;
    assert_int_equal(tenure_step(&bench.tenure), bench.fake.now_us + LENGTH_US / 10);
    assert_false(tenure_is_busy(&bench.tenure));
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_free_lease_is_taken_and_renewed_in_time),
        cmocka_unit_test(test_a_lease_that_is_not_renewed_ends_by_our_clock),
        cmocka_unit_test(test_somebody_elses_lease_is_asked_for_again),
        cmocka_unit_test(test_a_held_lease_is_given_back_at_the_end),
        cmocka_unit_test(test_a_busy_port_is_asked_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
