#include "base/rfc3339.h"
#include "unit.h"

#include <stdlib.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)
#define LAST_SECOND INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static void assert_time(const char *text, int64_t expected_us) {
    int64_t time_us = -1;
    if (!rfc3339_parse(slice_from_text(text), &time_us)) {
        fail_msg("refused: %s", text);
    }
    if (time_us != expected_us) {
        fail_msg("%s is %lld, not %lld", text, (long long)time_us, (long long)expected_us);
    }
}

static void assert_same_time(const char *left, const char *right) {
    int64_t time_us = -1;
    assert_true(rfc3339_parse(slice_from_text(right), &time_us));
    assert_time(left, time_us);
}

static void assert_formatted(int64_t time_us, const char *expected) {
    char text[RFC3339_TEXT_BYTES + 1] = {0};
    assert_int_equal(rfc3339_format(time_us, text), RFC3339_TEXT_BYTES);
    assert_string_equal(text, expected);
}

/** Compares with the C library's calendar, both ways. */
static void assert_round_trip(int64_t seconds, unsigned microseconds) {
    time_t wide = (time_t)seconds;
    struct tm parts;
    char expected[64];
    (void)gmtime_r(&wide, &parts);
    (void)snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ",
                   parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                   parts.tm_min, parts.tm_sec, microseconds);
    int64_t time_us = seconds * SECOND_US + microseconds;
    assert_formatted(time_us, expected);
    assert_time(expected, time_us);
}

static void test_every_day_of_the_first_centuries_survives_its_text_form(void **state) {
    (void)state;
    for (int64_t day = 0; day < 366 * 450; day++) {
        assert_round_trip(day * 86400 + day * 7919 % 86400, (unsigned)(day * 104729 % 1000000));
    }
}

static void test_days_up_to_the_year_9999_survive_their_text_form(void **state) {
    (void)state;
    for (int64_t seconds = 0; seconds <= LAST_SECOND; seconds += 86400 * 29 + 3607) {
        assert_round_trip(seconds, 999999);
    }
    assert_round_trip(LAST_SECOND, 999999);
}

static void test_days_around_leap_days_survive_their_text_form(void **state) {
    (void)state;
    static const int years[] = {1972, 2000, 2024, 2100, 2200, 2400, 8000, 9996};
    for (size_t i = 0; i < ARRAY_COUNT(years); i++) {
        struct tm march = {.tm_year = years[i] - 1900, .tm_mon = 2, .tm_mday = 1};
        int64_t seconds = timegm(&march);
        assert_round_trip(seconds - 86401, 1);
        assert_round_trip(seconds - 1, 999999);
        assert_round_trip(seconds, 0);
    }
}

static void test_times_outside_are_shown_as_the_nearest_inside(void **state) {
    (void)state;
    assert_formatted(-1, "1970-01-01T00:00:00.000000Z");
    assert_formatted(INT64_MIN, "1970-01-01T00:00:00.000000Z");
    assert_formatted(LAST_SECOND * SECOND_US + SECOND_US, "9999-12-31T23:59:59.999999Z");
    assert_formatted(INT64_MAX, "9999-12-31T23:59:59.999999Z");
}

static void test_offsets_lead_to_utc(void **state) {
    (void)state;
    assert_same_time("2026-01-01T05:30:00+05:30", "2026-01-01T00:00:00Z");
    assert_same_time("2025-12-31T13:00:00-11:00", "2026-01-01T00:00:00Z");
    assert_same_time("2024-02-29T23:59:59-00:01", "2024-03-01T00:00:59Z");
    assert_same_time("2024-03-01T00:00:00+23:59", "2024-02-29T00:01:00Z");
    assert_same_time("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z");
    assert_time("1969-12-31T23:00:00-01:00", 0);
    assert_time("1970-01-01T01:00:00.000001+01:00", 1);
}

static void test_fractions_are_cut_at_the_microsecond(void **state) {
    (void)state;
    assert_time("1970-01-01T00:00:00.1Z", 100000);
    assert_time("1970-01-01T00:00:00.000001Z", 1);
    assert_time("1970-01-01T00:00:00.0000009Z", 0);
    assert_time("1970-01-01T00:00:00.123456999999999999999999999999Z", 123456);
    assert_time("1970-01-01T00:00:01.0Z", SECOND_US);
}

static void test_small_letters_and_leap_seconds_are_allowed(void **state) {
    (void)state;
    assert_same_time("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z");
    assert_same_time("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z");
    assert_same_time("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.5Z");
    assert_same_time("2017-01-01T05:29:60+05:30", "2017-01-01T00:00:00Z");
    assert_same_time("2015-06-30T16:59:60-07:00", "2015-07-01T00:00:00Z");
}

static void test_what_is_no_time_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "2026",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00Z",
        "2026-1-01T00:00:00Z",
        "26-01-01T00:00:00Z",
        "20260101T000000Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T12:30:60Z",
        "2026-06-29T23:59:60Z",
        "2026-06-30T23:59:60+01:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00.5",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60",
        "2026-01-01T00:00:00+0530",
        "2026-01-01T00:00:00+05",
        "2026-01-01T00:00:00+05:30Z",
        "2026-01-01T00:00:00Z ",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Zx",
        "2026-01-01T00:00:00 Z",
        "-026-01-01T00:00:00Z",
        "+2026-01-01T00:00:00Z",
        "2026/01/01T00:00:00Z",
        "2026-01-01T00.00.00Z",
        "2026-01-01T00:00:0\xd9\xa0Z",
        "2026-01-01T00:00:00UTC",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        int64_t time_us;
        if (rfc3339_parse(slice_from_text(wrong[i]), &time_us)) {
            fail_msg("taken for a time: \"%s\"", wrong[i]);
        }
    }
}

static void test_times_before_1970_are_refused(void **state) {
    (void)state;
    static const char *const early[] = {
        "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00+00:01",
        "1900-01-01T00:00:00Z", "0000-01-01T00:00:00Z",        "1968-12-31T23:59:59-23:59",
    };
    for (size_t i = 0; i < ARRAY_COUNT(early); i++) {
        int64_t time_us;
        if (rfc3339_parse(slice_from_text(early[i]), &time_us)) {
            fail_msg("taken: \"%s\"", early[i]);
        }
    }
}

static void test_every_cut_of_a_time_is_refused(void **state) {
    (void)state;
    static const char whole[] = "2026-07-31T12:34:56.789+01:00";
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        int64_t time_us;
        char *exact = malloc(size + (size == 0)); /* a sanitizer sees a look past the end */
        assert_non_null(exact);
        memcpy(exact, whole, size);
        assert_false(rfc3339_parse((struct slice){exact, size}, &time_us));
        free(exact);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_day_of_the_first_centuries_survives_its_text_form),
        cmocka_unit_test(test_days_up_to_the_year_9999_survive_their_text_form),
        cmocka_unit_test(test_days_around_leap_days_survive_their_text_form),
        cmocka_unit_test(test_times_outside_are_shown_as_the_nearest_inside),
        cmocka_unit_test(test_offsets_lead_to_utc),
        cmocka_unit_test(test_fractions_are_cut_at_the_microsecond),
        cmocka_unit_test(test_small_letters_and_leap_seconds_are_allowed),
        cmocka_unit_test(test_what_is_no_time_is_refused),
        cmocka_unit_test(test_times_before_1970_are_refused),
        cmocka_unit_test(test_every_cut_of_a_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
