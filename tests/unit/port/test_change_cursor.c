#include "port/change_log.h"
#include "unit.h"

static bool parse(const char *text, uint32_t parts, struct change_cursor *cursor) {
    return change_cursor_parse(slice_from_text(text), parts, cursor);
}

static void assert_round_trip(const struct change_cursor *cursor, const char *expected) {
    char memory[CHANGE_CURSOR_TEXT_MAX];
    struct text out = text_over(memory, sizeof(memory));
    change_cursor_format(cursor, &out);
    assert_false(out.truncated);
    if (expected != NULL) {
        assert_slice_equal(text_slice(&out), expected);
    }
    struct change_cursor read;
    assert_true(change_cursor_parse(text_slice(&out), cursor->parts, &read));
    assert_int_equal(read.parts, cursor->parts);
    assert_memory_equal(read.positions, cursor->positions, cursor->parts * sizeof(uint64_t));
}

static void test_a_cursor_survives_its_text_form(void **state) {
    (void)state;
    assert_round_trip(&(struct change_cursor){.parts = 1, .positions = {17}}, "17");
    assert_round_trip(&(struct change_cursor){.parts = 1, .positions = {0}}, "0");
    assert_round_trip(&(struct change_cursor){.parts = 3, .positions = {0, 5, 0}}, "0.5.0");
    assert_round_trip(&(struct change_cursor){.parts = 2, .positions = {UINT64_MAX, 1}},
                      "18446744073709551615.1");
}

static void test_the_longest_cursor_fits_its_text(void **state) {
    (void)state;
    struct change_cursor cursor = {.parts = CHANGE_LOG_PARTS_MAX};
    for (size_t part = 0; part < CHANGE_LOG_PARTS_MAX; part++) {
        cursor.positions[part] = UINT64_MAX - part;
    }
    assert_round_trip(&cursor, NULL);
}

static void test_zero_alone_is_the_oldest_position_of_any_log(void **state) {
    (void)state;
    struct change_cursor cursor;
    memset(&cursor, 0xff, sizeof(cursor));
    assert_true(parse("0", 4, &cursor));
    assert_int_equal(cursor.parts, 4);
    for (size_t part = 0; part < 4; part++) {
        assert_int_equal(cursor.positions[part], 0);
    }
}

static void test_a_text_that_is_no_cursor_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        ".",
        "x",
        "1x",
        " 1",
        "1 ",
        "+1",
        "-1",
        "1.",
        ".1",
        "01",
        "1.2",
        "00",
        "0.0",
        "1.",
        "1..2.",
        "1,2",
        "\xd9\xa1",
        "18446744073709551616",
        "99999999999999999999",
        "184467440737095516150",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct change_cursor cursor;
        if (parse(wrong[i], 1, &cursor)) {
            fail_msg("taken for a cursor: \"%s\"", wrong[i]);
        }
    }
}

static void test_a_cursor_of_another_number_of_parts_is_refused(void **state) {
    (void)state;
    struct change_cursor cursor;
    assert_true(parse("1.2.3", 3, &cursor));
    assert_false(parse("1.2", 3, &cursor));
    assert_false(parse("1.2.3.4", 3, &cursor));
    assert_false(parse("1.2.", 3, &cursor));
    assert_false(parse("1..3", 3, &cursor));
    assert_false(parse("1.02.3", 3, &cursor));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cursor_survives_its_text_form),
        cmocka_unit_test(test_the_longest_cursor_fits_its_text),
        cmocka_unit_test(test_zero_alone_is_the_oldest_position_of_any_log),
        cmocka_unit_test(test_a_text_that_is_no_cursor_is_refused),
        cmocka_unit_test(test_a_cursor_of_another_number_of_parts_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
