#include "base/histogram.h"
#include "unit.h"

#include "base/random.h"

#include <pthread.h>
#include <stdlib.h>

static int setup(void **state) {
    *state = calloc(2, sizeof(struct histogram));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void test_an_empty_histogram_answers_zero(void **state) {
    struct histogram *histogram = *state;
    assert_int_equal(histogram_count(histogram), 0);
    assert_int_equal(histogram_quantile(histogram, 0.5), 0);
    assert_int_equal(histogram_count_below(histogram, 1024), 0);
}

static void test_small_values_are_exact(void **state) {
    struct histogram *histogram = *state;
    for (uint64_t value = 0; value < 16; value++) {
        histogram_add(histogram, value);
    }
    for (uint64_t value = 0; value < 16; value++) {
        assert_int_equal(histogram_quantile(histogram, ((double)value + 1) / 16), value);
    }
}

static void test_a_single_value_is_within_a_sixteenth_at_every_size(void **state) {
    struct histogram *histogram = *state;
    for (uint64_t value = 1; value < UINT64_C(1) << 43; value += value / 7 + 1) {
        memset(histogram, 0, sizeof(*histogram));
        histogram_add(histogram, value);
        histogram_add(histogram, value * 2); /* so that the maximum does not give it away */
        uint64_t got = histogram_quantile(histogram, 0.5);
        if (got < value || (got - value) * 16 > value) {
            fail_msg("%llu is shown as %llu", (unsigned long long)value, (unsigned long long)got);
        }
    }
}

static int compare_u64(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

static void test_quantiles_of_many_values_are_within_a_sixteenth(void **state) {
    struct histogram *histogram = *state;
    enum { COUNT = 20000 };
    static const double fractions[] = {0.01, 0.1, 0.5, 0.9, 0.99, 0.999};
    struct random_source random = {3};
    uint64_t *values = calloc(COUNT, sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = random_u64(&random) >> (24 + random_below(&random, 38));
        histogram_add(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(*values), compare_u64);
    for (size_t i = 0; i < ARRAY_COUNT(fractions); i++) {
        uint64_t exact = values[(size_t)(fractions[i] * COUNT) - 1];
        uint64_t got = histogram_quantile(histogram, fractions[i]);
        assert_true(got >= exact && (got - exact) * 16 <= exact);
    }
    assert_int_equal(histogram_quantile(histogram, 1), values[COUNT - 1]);
    free(values);
}

static void test_one_slow_value_in_a_hundred_is_above_the_99th_percentile(void **state) {
    struct histogram *histogram = *state;
    for (int i = 0; i < 99; i++) {
        histogram_add(histogram, 1);
    }
    histogram_add(histogram, 1000);
    assert_int_equal(histogram_quantile(histogram, 0.5), 1);
    assert_int_equal(histogram_quantile(histogram, 0.99), 1);
    assert_int_equal(histogram_quantile(histogram, 0.999), 1000);
    assert_int_equal(histogram_quantile(histogram, 0), 1);
}

static void test_no_quantile_is_above_the_greatest_value(void **state) {
    struct histogram *histogram = *state;
    histogram_add(histogram, 1000001);
    assert_int_equal(histogram_quantile(histogram, 0.5), 1000001);
    assert_int_equal(histogram_quantile(histogram, 1), 1000001);
}

static void test_values_past_the_last_bucket_are_counted(void **state) {
    struct histogram *histogram = *state;
    histogram_add(histogram, UINT64_C(1) << 44);
    histogram_add(histogram, UINT64_MAX);
    assert_int_equal(histogram_count(histogram), 2);
    assert_true(histogram_quantile(histogram, 1) == UINT64_MAX);
}

static void test_counts_below_a_power_of_two_are_exact(void **state) {
    struct histogram *histogram = *state;
    for (uint64_t value = 0; value < 5000; value++) {
        histogram_add(histogram, value);
    }
    for (uint64_t limit = 1; limit <= 4096; limit *= 2) {
        assert_int_equal(histogram_count_below(histogram, limit), limit);
    }
    assert_int_equal(histogram_count_below(histogram, 8192), 5000);
    assert_int_equal(histogram_count_below(histogram, 0), 0);
}

static void test_merging_is_the_same_as_adding_both(void **state) {
    struct histogram *one = *state;
    struct histogram *two = one + 1;
    struct histogram *both = calloc(1, sizeof(*both));
    assert_non_null(both);
    for (uint64_t i = 0; i < 1000; i++) {
        histogram_add(i % 3 == 0 ? one : two, i * i);
        histogram_add(both, i * i);
    }
    histogram_merge(one, two);
    assert_memory_equal(one, both, sizeof(*both));
    free(both);
}

static void *add_many(void *context) {
    for (uint64_t i = 0; i < 100000; i++) {
        histogram_add(context, i);
    }
    return NULL;
}

static void test_nothing_is_lost_between_threads(void **state) {
    struct histogram *histogram = *state;
    pthread_t threads[3];
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, histogram), 0);
    }
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(histogram_count(histogram), 300000);
    assert_true(histogram->sum == UINT64_C(3) * 99999 * 100000 / 2);
    assert_int_equal(histogram->max, 99999);
}

#define histogram_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        histogram_test(test_an_empty_histogram_answers_zero),
        histogram_test(test_small_values_are_exact),
        histogram_test(test_a_single_value_is_within_a_sixteenth_at_every_size),
        histogram_test(test_quantiles_of_many_values_are_within_a_sixteenth),
        histogram_test(test_one_slow_value_in_a_hundred_is_above_the_99th_percentile),
        histogram_test(test_no_quantile_is_above_the_greatest_value),
        histogram_test(test_values_past_the_last_bucket_are_counted),
        histogram_test(test_counts_below_a_power_of_two_are_exact),
        histogram_test(test_merging_is_the_same_as_adding_both),
        histogram_test(test_nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
