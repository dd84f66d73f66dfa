#include "base/metrics.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>

#define JOURNAL_METRICS(X)                                                                         \
    X(counter, frames_total, "Frames made durable")                                                \
    X(gauge, segments, "Segment files in the journal")                                             \
    X(histogram, sync_microseconds, "Time of one durable write")

struct journal_metrics {
    JOURNAL_METRICS(METRIC_FIELD)
};

#define JOURNAL_ENTRY(...) METRIC_ENTRY_OF(struct journal_metrics, __VA_ARGS__)
static const struct metric_description journal_table[] = {JOURNAL_METRICS(JOURNAL_ENTRY)};

struct fixture {
    struct metrics *metrics;
    struct journal_metrics one;
    struct journal_metrics two;
    char memory[16384];
    _Atomic bool stop;
};

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    *state = fixture;
    if (fixture == NULL) {
        return -1;
    }
    fixture->metrics = metrics_create();
    return fixture->metrics == NULL ? -1 : 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    metrics_destroy(fixture->metrics);
    free(fixture);
    return 0;
}

static void add(struct fixture *fixture, const char *prefix, const char *labels,
                const struct journal_metrics *values) {
    metrics_register(fixture->metrics, prefix, labels, journal_table, ARRAY_COUNT(journal_table),
                     values);
}

static const char *render(struct fixture *fixture) {
    struct text out = text_over(fixture->memory, sizeof(fixture->memory) - 1);
    assert_true(metrics_render(fixture->metrics, &out));
    out.data[out.size] = 0;
    return fixture->memory;
}

static void test_a_metric_has_help_type_and_value(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "journal", NULL, &fixture->one);
    metric_add(&fixture->one.frames_total, 5);
    metric_set(&fixture->one.segments, 3);
    const char *text = render(fixture);
    assert_contains(text, "# HELP orderd_journal_frames_total Frames made durable\n"
                          "# TYPE orderd_journal_frames_total counter\n"
                          "orderd_journal_frames_total 5\n");
    assert_contains(text, "# TYPE orderd_journal_segments gauge\norderd_journal_segments 3\n");
}

static void test_owners_of_one_name_are_summed_up(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "journal", NULL, &fixture->one);
    add(fixture, "journal", NULL, &fixture->two);
    metric_add(&fixture->one.frames_total, 5);
    metric_add(&fixture->two.frames_total, 7);
    histogram_add(&fixture->one.sync_microseconds, 2);
    histogram_add(&fixture->two.sync_microseconds, 100);
    const char *text = render(fixture);
    assert_contains(text, "\norderd_journal_frames_total 12\n");
    assert_contains(text, "\norderd_journal_sync_microseconds_count 2\n");
    assert_contains(text, "\norderd_journal_sync_microseconds_sum 102\n");
    const char *first = strstr(text, "orderd_journal_frames_total 12");
    assert_null(strstr(first + 1, "\norderd_journal_frames_total"));
}

static void test_labels_keep_values_apart_under_one_header(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "tier", "tier=\"redis\"", &fixture->one);
    add(fixture, "tier", "tier=\"mysql\"", &fixture->two);
    metric_add(&fixture->one.frames_total, 1);
    metric_add(&fixture->two.frames_total, 2);
    const char *text = render(fixture);
    assert_contains(text, "# TYPE orderd_tier_frames_total counter\n"
                          "orderd_tier_frames_total{tier=\"mysql\"} 2\n"
                          "orderd_tier_frames_total{tier=\"redis\"} 1\n");
    assert_contains(text, "orderd_tier_sync_microseconds_bucket{tier=\"mysql\",le=\"+Inf\"} 0\n");
}

static void test_histogram_buckets_are_cumulative_at_whole_numbers(void **state) {
    struct fixture *fixture = *state;
    static const uint64_t values[] = {0, 1, 3, 4, 15, 16, 1000, UINT64_C(1) << 30};
    add(fixture, "journal", NULL, &fixture->one);
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        histogram_add(&fixture->one.sync_microseconds, values[i]);
    }
    const char *text = render(fixture);
#define BUCKET(limit, count) "orderd_journal_sync_microseconds_bucket{le=\"" limit "\"} " count "\n"
    assert_contains(text, BUCKET("0", "1") BUCKET("3", "3") BUCKET("15", "5") BUCKET("63", "6"));
    assert_contains(text, BUCKET("1023", "7") BUCKET("4095", "7"));
    assert_contains(text, BUCKET("16777215", "7") BUCKET("+Inf", "8"));
}

/** A sample line is `name{labels} value`, with characters that Prometheus takes. */
static void assert_sample(const char *line, size_t size) {
    size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789_");
    assert_true(name > strlen("orderd_") && strncmp(line, "orderd_", 7) == 0);
    size_t at = name;
    if (line[at] == '{') {
        at += strcspn(line + at, "}") + 1;
    }
    assert_int_equal(line[at], ' ');
    size_t digits = strspn(line + at + 1, "0123456789");
    assert_true(digits > 0);
    assert_int_equal(at + 1 + digits, size);
}

static void test_every_line_is_a_comment_or_a_sample_after_its_type(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "b", "a=\"1\",b=\"2\"", &fixture->one);
    add(fixture, "a", NULL, &fixture->two);
    char type[128] = "";
    for (const char *line = render(fixture); *line != 0; line = strchr(line, '\n') + 1) {
        size_t size = strcspn(line, "\n");
        if (sscanf(line, "# TYPE %127s", type) == 1 || strncmp(line, "# HELP orderd_", 14) == 0) {
            continue;
        }
        assert_sample(line, size);
        assert_true(strncmp(line, type, strlen(type)) == 0);
    }
}

static void test_a_page_that_is_too_small_says_so(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "journal", NULL, &fixture->one);
    size_t whole = strlen(render(fixture));
    struct text out = text_over(fixture->memory, whole / 2);
    assert_false(metrics_render(fixture->metrics, &out));
}

static void *add_values(void *context) {
    struct fixture *fixture = context;
    for (uint64_t i = 0; !atomic_load(&fixture->stop); i++) {
        histogram_add(&fixture->one.sync_microseconds, i % 5000);
    }
    return NULL;
}

/** True where no bucket of the page has less than the one before it, and the last one the count. */
static bool is_cumulative(const char *page) {
    uint64_t last = 0;
    const char *line = page;
    while ((line = strstr(line, "_bucket{le=")) != NULL) {
        uint64_t count = strtoull(strchr(line, ' '), NULL, 10);
        if (count < last) {
            return false;
        }
        last = count;
        line++;
    }
    return strtoull(strstr(page, "_count ") + 7, NULL, 10) == last;
}

static void test_buckets_never_exceed_the_count_while_values_are_added(void **state) {
    struct fixture *fixture = *state;
    add(fixture, "journal", NULL, &fixture->one);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, add_values, fixture), 0);
    bool good = true;
    for (int i = 0; i < 2000 && good; i++) {
        good = is_cumulative(render(fixture));
    }
    atomic_store(&fixture->stop, true);
    pthread_join(thread, NULL);
    assert_true(good);
}

#define metrics_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        metrics_test(test_a_metric_has_help_type_and_value),
        metrics_test(test_owners_of_one_name_are_summed_up),
        metrics_test(test_labels_keep_values_apart_under_one_header),
        metrics_test(test_histogram_buckets_are_cumulative_at_whole_numbers),
        metrics_test(test_every_line_is_a_comment_or_a_sample_after_its_type),
        metrics_test(test_a_page_that_is_too_small_says_so),
        metrics_test(test_buckets_never_exceed_the_count_while_values_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
