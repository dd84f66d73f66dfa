#include "orderctl/metrics_text.h"
#include "unit.h"

#include "base/metrics.h"

static const char first_text[] = "# HELP a_total What a is\n"
                                 "# TYPE a_total counter\n"
                                 "a_total 10\n"
                                 "b{tier=\"x\"} 1\n"
                                 "b{tier=\"y } \\\" z\"} 2.5\n"
                                 "nonsense\n"
                                 "h_bucket{le=\"1\"} 0\n"
                                 "h_bucket{le=\"3\"} 10\n"
                                 "h_bucket{le=\"+Inf\"} 10\n"
                                 "h_sum 25\n"
                                 "h_count 10\n"
                                 "rows_count 4\n";

static const char second_text[] = "a_total 25\n"
                                  "h_bucket{le=\"1\"} 0\n"
                                  "h_bucket{le=\"3\"} 10\n"
                                  "h_bucket{le=\"+Inf\"} 14\n"
                                  "h_sum 65\n"
                                  "h_count 14";

static struct metrics_scrape read_text(const char *text) {
    struct metrics_scrape scrape;
    assert_true(metrics_scrape_read(&scrape, slice_from_text(text)));
    return scrape;
}

static double value_of(const struct metrics_scrape *scrape, const char *name) {
    const struct metrics_sample *sample = metrics_find(scrape, name);
    assert_non_null(sample);
    return sample->value;
}

static void test_samples_are_read_and_summed_over_their_labels(void **state) {
    (void)state;
    struct metrics_scrape scrape = read_text(first_text);
    assert_float_equal(value_of(&scrape, "a_total"), 10, 0);
    assert_float_equal(value_of(&scrape, "b"), 3.5, 0);
    assert_float_equal(value_of(&scrape, "rows_count"), 4, 0);
    assert_null(metrics_find(&scrape, "nonsense"));
    assert_null(metrics_find(&scrape, "c"));
    metrics_scrape_release(&scrape);
}

static void test_a_sample_is_found_by_its_label(void **state) {
    (void)state;
    struct metrics_scrape scrape = read_text("a{tier=\"x\"} 1\n\n"
                                             "a{of=\"q\",tier=\"y\"} 2\n"
                                             "a{frontier=\"z\"} 3\n"
                                             "a 4");
    double number = 0;
    assert_true(metrics_find_labelled(&scrape, "a", "tier", "x", &number));
    assert_float_equal(number, 1, 0);
    assert_true(metrics_find_labelled(&scrape, "a", "tier", "y", &number));
    assert_float_equal(number, 2, 0);
    assert_false(metrics_find_labelled(&scrape, "a", "tier", "z", &number));
    assert_false(metrics_find_labelled(&scrape, "b", "tier", "x", &number));
    assert_false(metrics_find_labelled(&scrape, "a", "tier", "", &number));
    metrics_scrape_release(&scrape);
}

static void test_the_values_of_a_label_are_listed(void **state) {
    (void)state;
    struct metrics_scrape scrape = read_text("a{instance=\"x:1\"} 1\n"
                                             "b{instance=\"other\"} 1\n"
                                             "a 3\n"
                                             "a{by_instance=\"no\",instance=\"y:2\"} 2\n"
                                             "a{instance=\"z:3\"} 2");
    struct slice values[4];
    assert_int_equal(metrics_label_values(&scrape, "a", "instance", values, 4), 3);
    assert_slice_equal(values[0], "x:1");
    assert_slice_equal(values[1], "y:2");
    assert_slice_equal(values[2], "z:3");
    assert_int_equal(metrics_label_values(&scrape, "a", "instance", values, 2), 2);
    assert_int_equal(metrics_label_values(&scrape, "c", "instance", values, 4), 0);
    metrics_scrape_release(&scrape);
}

static void test_a_histogram_is_one_sample(void **state) {
    (void)state;
    struct metrics_scrape scrape = read_text(first_text);
    const struct metrics_sample *sample = metrics_find(&scrape, "h");
    assert_non_null(sample);
    assert_int_equal(sample->bucket_count, 3);
    assert_float_equal(sample->value, 25, 0);
    assert_float_equal(sample->count, 10, 0);
    metrics_scrape_release(&scrape);
}

static void test_growth_is_the_difference_or_all_after_a_restart(void **state) {
    (void)state;
    struct metrics_scrape before = read_text(first_text);
    struct metrics_scrape after = read_text(second_text);
    const struct metrics_sample *first = metrics_find(&before, "a_total");
    const struct metrics_sample *second = metrics_find(&after, "a_total");
    assert_float_equal(metrics_growth(first, second), 15, 0);
    assert_float_equal(metrics_growth(NULL, second), 25, 0);
    assert_float_equal(metrics_growth(second, first), 10, 0);
    metrics_scrape_release(&before);
    metrics_scrape_release(&after);
}

static void test_a_quantile_is_interpolated_within_its_bucket(void **state) {
    (void)state;
    struct metrics_scrape scrape = read_text(first_text);
    const struct metrics_sample *sample = metrics_find(&scrape, "h");
    assert_float_equal(metrics_quantile(NULL, sample, 0.5), 2, 1e-9);
    assert_float_equal(metrics_quantile(NULL, sample, 1), 3, 1e-9);
    metrics_scrape_release(&scrape);
}

static void test_a_quantile_between_two_scrapes_counts_only_what_came_between(void **state) {
    (void)state;
    struct metrics_scrape before = read_text(first_text);
    struct metrics_scrape after = read_text(second_text);
    const struct metrics_sample *first = metrics_find(&before, "h");
    const struct metrics_sample *second = metrics_find(&after, "h");
    /* All four lie past the last finite limit: that is what is known of them. */
    assert_float_equal(metrics_quantile(first, second, 0.5), 3, 1e-9);
    assert_true(metrics_quantile(second, second, 0.5) < 0);
    metrics_scrape_release(&before);
    metrics_scrape_release(&after);
}

#define TEST_METRICS(X)                                                                            \
    X(counter, things_total, "Things")                                                             \
    X(histogram, pause_microseconds, "Pauses")

struct test_metrics {
    TEST_METRICS(METRIC_FIELD)
};

static void test_what_the_service_renders_can_be_read(void **state) {
    static const struct metric_description table[] = {
#define X(...) METRIC_ENTRY_OF(struct test_metrics, __VA_ARGS__)
        TEST_METRICS(X)
#undef X
    };
    static char memory[16384];
    struct text text = text_over(memory, sizeof(memory));
    struct test_metrics *values = test_calloc(1, sizeof(*values));
    struct metrics *metrics = metrics_create();
    (void)state;
    assert_non_null(metrics);
    metric_set(&values->things_total, 12);
    for (uint64_t value = 0; value < 100; value++) {
        histogram_add(&values->pause_microseconds, value);
    }
    metrics_register(metrics, "test", "kind=\"a\"", table, ARRAY_COUNT(table), values);
    assert_true(metrics_render(metrics, &text));
    struct metrics_scrape scrape;
    assert_true(metrics_scrape_read(&scrape, text_slice(&text)));
    assert_float_equal(value_of(&scrape, "orderd_test_things_total"), 12, 0);
    const struct metrics_sample *pauses = metrics_find(&scrape, "orderd_test_pause_microseconds");
    assert_non_null(pauses);
    assert_float_equal(pauses->count, 100, 0);
    assert_float_equal(pauses->value, 4950, 0);
    double median = metrics_quantile(NULL, pauses, 0.5);
    assert_true(median > 15 && median < 63); /* its bucket */
    metrics_scrape_release(&scrape);
    metrics_destroy(metrics);
    test_free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_read_and_summed_over_their_labels),
        cmocka_unit_test(test_a_sample_is_found_by_its_label),
        cmocka_unit_test(test_the_values_of_a_label_are_listed),
        cmocka_unit_test(test_a_histogram_is_one_sample),
        cmocka_unit_test(test_growth_is_the_difference_or_all_after_a_restart),
        cmocka_unit_test(test_a_quantile_is_interpolated_within_its_bucket),
        cmocka_unit_test(test_a_quantile_between_two_scrapes_counts_only_what_came_between),
        cmocka_unit_test(test_what_the_service_renders_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
