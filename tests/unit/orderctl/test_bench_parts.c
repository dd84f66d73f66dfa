#include "orderctl/backoff.h"
#include "orderctl/bench_ids.h"
#include "orderctl/bench_reference.h"
#include "orderctl/bench_schedule.h"
#include "unit.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* --- The open loop's schedule. --- */

static void test_requests_are_due_at_a_constant_rate(void **state) {
    struct bench_schedule schedule = {.begin_ns = 1000, .requests_per_second = 4};
    (void)state;
    for (int64_t i = 0; i < 10; i++) {
        assert_int_equal(bench_schedule_due_ns(&schedule), 1000 + i * 250000000);
        assert_int_equal(bench_schedule_take(&schedule), 1000 + i * 250000000);
    }
}

static void test_a_rate_that_is_no_whole_interval_does_not_drift(void **state) {
    struct bench_schedule schedule = {.begin_ns = 0, .requests_per_second = 3};
    (void)state;
    schedule.taken = 3000000; /* after a million seconds */
    int64_t due_ns = bench_schedule_due_ns(&schedule);
    assert_in_range(due_ns, INT64_C(1000000) * BENCH_NANOSECONDS - 1000,
                    INT64_C(1000000) * BENCH_NANOSECONDS + 1000);
}

static void test_what_was_not_sent_keeps_its_time(void **state) {
    struct bench_schedule schedule = {.begin_ns = 0, .requests_per_second = 1000};
    (void)state;
    /* A service that stalls for a second: all that should have been sent meanwhile is still due at
     * its own time, so that its latency has the stall in it. */
    int64_t now_ns = BENCH_NANOSECONDS;
    uint64_t late = 0;
    int64_t first_due_ns = bench_schedule_due_ns(&schedule);
    while (bench_schedule_due_ns(&schedule) < now_ns) {
        (void)bench_schedule_take(&schedule);
        late++;
    }
    assert_int_equal(first_due_ns, 0);
    assert_int_equal(late, 1000);
}

/* --- Trying again. --- */

static void test_pauses_grow_up_to_a_limit_and_end(void **state) {
    struct backoff backoff = {.first_ms = 100, .limit_ms = 1000, .tries_max = 6};
    struct random_source random = {1};
    static const uint64_t steps[] = {100, 200, 400, 800, 1000, 1000};
    uint64_t wait_ms;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        assert_true(backoff_next(&backoff, &random, 0, &wait_ms));
        assert_in_range(wait_ms, steps[i] / 2, steps[i]);
    }
    assert_false(backoff_next(&backoff, &random, 0, &wait_ms));
    backoff_reset(&backoff);
    assert_true(backoff_next(&backoff, &random, 3000, &wait_ms));
    assert_int_equal(wait_ms, 3000);
}

static void test_many_tries_do_not_overflow_the_pause(void **state) {
    struct backoff backoff = {.first_ms = 200, .limit_ms = 5000, .tries_max = 200};
    struct random_source random = {2};
    uint64_t wait_ms;
    (void)state;
    for (size_t i = 0; i < 200; i++) {
        assert_true(backoff_next(&backoff, &random, 0, &wait_ms));
        assert_in_range(wait_ms, 100, 5000);
    }
}

/* --- New references. --- */

static void test_a_number_becomes_its_hexadecimal_digits(void **state) {
    struct random_source random = {3};
    (void)state;
    for (size_t i = 0; i < 100000; i++) {
        uint64_t number = random_u64(&random) >> random_below(&random, 64);
        char reference[37] = {0};
        char expected[37];
        bench_reference_write_prefix(reference, "abcdefgh");
        bench_reference_write_number(reference, number);
        (void)snprintf(expected, sizeof(expected), "b-abcdefgh-%016llx",
                       (unsigned long long)number);
        assert_string_equal(reference, expected);
        assert_int_equal(strlen(reference), BENCH_REFERENCE_CHARACTERS);
    }
}

/* --- The file of ids. --- */

static void make_path(char path[PATH_MAX]) {
    const char *directory = getenv("TMPDIR");
    (void)snprintf(path, PATH_MAX, "%.4000s/ids-XXXXXX", directory == NULL ? "/tmp" : directory);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
}

static int compare_u64(const void *left, const void *right) {
    uint64_t first = *(const uint64_t *)left;
    uint64_t second = *(const uint64_t *)right;
    return first < second ? -1 : first > second ? 1 : 0;
}

static void test_ids_are_all_there_in_another_order_and_repeat_behind_the_end(void **state) {
    enum { COUNT = 1000, RUN = 64 };
    uint64_t written[COUNT];
    char path[PATH_MAX];
    struct bench_ids ids;
    struct fault fault;
    (void)state;
    make_path(path);
    for (uint64_t i = 0; i < COUNT; i++) {
        written[i] = i + 1;
    }
    assert_true(bench_ids_write(path, written, COUNT, &fault));
    assert_true(bench_ids_read(&ids, path, RUN, 7, &fault));
    assert_int_equal(ids.count, COUNT);
    assert_memory_equal(ids.ids + COUNT, ids.ids, RUN * sizeof(uint64_t));
    assert_memory_not_equal(ids.ids, written, sizeof(written));
    struct random_source random = {1};
    for (size_t i = 0; i < 1000; i++) {
        const uint64_t *run = bench_ids_pick(&ids, &random);
        assert_true(run >= ids.ids && run < ids.ids + COUNT);
    }
    qsort(ids.ids, COUNT, sizeof(uint64_t), compare_u64);
    assert_memory_equal(ids.ids, written, sizeof(written));
    bench_ids_release(&ids);
    (void)unlink(path);
}

static void test_few_ids_still_fill_a_long_run(void **state) {
    static const uint64_t written[] = {5, 6, 7};
    char path[PATH_MAX];
    struct bench_ids ids;
    struct fault fault;
    (void)state;
    make_path(path);
    assert_true(bench_ids_write(path, written, 3, &fault));
    assert_true(bench_ids_read(&ids, path, 100, 7, &fault));
    for (size_t i = 0; i < 103; i++) {
        assert_in_range(ids.ids[i], 5, 7);
    }
    bench_ids_release(&ids);
    (void)unlink(path);
}

static void test_a_file_that_has_no_ids_is_refused(void **state) {
    char path[PATH_MAX];
    struct bench_ids ids;
    struct fault fault;
    (void)state;
    assert_false(bench_ids_read(&ids, "/nowhere/at/all", 8, 7, &fault));
    assert_contains(fault.text, "/nowhere/at/all");
    make_path(path);
    assert_false(bench_ids_read(&ids, path, 8, 7, &fault));
    assert_int_equal(truncate(path, 12), 0);
    assert_false(bench_ids_read(&ids, path, 8, 7, &fault));
    assert_contains(fault.text, "8 bytes each");
    (void)unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_due_at_a_constant_rate),
        cmocka_unit_test(test_a_rate_that_is_no_whole_interval_does_not_drift),
        cmocka_unit_test(test_what_was_not_sent_keeps_its_time),
        cmocka_unit_test(test_pauses_grow_up_to_a_limit_and_end),
        cmocka_unit_test(test_many_tries_do_not_overflow_the_pause),
        cmocka_unit_test(test_a_number_becomes_its_hexadecimal_digits),
        cmocka_unit_test(test_ids_are_all_there_in_another_order_and_repeat_behind_the_end),
        cmocka_unit_test(test_few_ids_still_fill_a_long_run),
        cmocka_unit_test(test_a_file_that_has_no_ids_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
