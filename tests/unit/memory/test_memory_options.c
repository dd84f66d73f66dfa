#include "memory/memory_options.h"
#include "unit.h"

#define MIB (UINT64_C(1) << 20)

static void test_the_filter_takes_a_sixteenth_and_the_table_the_rest(void **state) {
    (void)state;
    struct fault fault;
    struct memory_shares shares;
    struct memory_options options = {.budget_mb = 160, .reference_filter_mb = 0};
    assert_true(memory_options_divide(&options, 0, &shares, &fault));
    assert_int_equal(shares.filter_bytes, 10 * MIB);
    assert_int_equal(shares.table_bytes, 150 * MIB);
    assert_true(memory_options_divide(&options, 5 * MIB, &shares, &fault));
    assert_int_equal(shares.table_bytes, 145 * MIB);
}

static void test_a_given_size_of_the_filter_is_taken(void **state) {
    (void)state;
    struct fault fault;
    struct memory_shares shares;
    struct memory_options options = {.budget_mb = 100, .reference_filter_mb = 30};
    assert_true(memory_options_divide(&options, 1, &shares, &fault));
    assert_int_equal(shares.filter_bytes, 30 * MIB);
    assert_int_equal(shares.table_bytes, 70 * MIB - 1);
}

static void test_a_budget_that_leaves_nothing_for_orders_is_refused(void **state) {
    (void)state;
    struct fault fault;
    struct memory_shares shares;
    struct memory_options options = {.budget_mb = 100, .reference_filter_mb = 90};
    assert_false(memory_options_divide(&options, 10 * MIB, &shares, &fault));
    assert_contains(fault.text, "memory.budget_mb = 100 leaves nothing for orders");
    assert_true(memory_options_divide(&options, 10 * MIB - 1, &shares, &fault));
    assert_int_equal(shares.table_bytes, 1);
    options.reference_filter_mb = 1048576;
    assert_false(memory_options_divide(&options, 0, &shares, &fault));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_filter_takes_a_sixteenth_and_the_table_the_rest),
        cmocka_unit_test(test_a_given_size_of_the_filter_is_taken),
        cmocka_unit_test(test_a_budget_that_leaves_nothing_for_orders_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
