#include "base/text.h"
#include "unit.h"

static void test_what_is_appended_stands_there_in_order(void **state) {
    (void)state;
    char memory[64];
    struct text text = text_over(memory, sizeof(memory));
    text_append_literal(&text, "a");
    text_append_char(&text, 'b');
    text_append_slice(&text, SLICE_LITERAL("cd"));
    text_append(&text, NULL, 0);
    text_append_u64(&text, 0);
    text_append_char(&text, ' ');
    text_append_u64(&text, UINT64_MAX);
    text_append_format(&text, " %d-%s", -7, "x");
    assert_slice_equal(text_slice(&text), "abcd0 18446744073709551615 -7-x");
    assert_false(text.truncated);
}

static void test_what_fits_exactly_is_kept(void **state) {
    (void)state;
    char memory[4];
    struct text text = text_over(memory, sizeof(memory));
    text_append_literal(&text, "abcd");
    assert_false(text.truncated);
    assert_slice_equal(text_slice(&text), "abcd");
}

static void test_what_does_not_fit_is_dropped_whole_and_noted(void **state) {
    (void)state;
    char memory[8] = "zzzzzzzz";
    struct text text = text_over(memory, 4);
    text_append_literal(&text, "abc");
    text_append_literal(&text, "de");
    assert_true(text.truncated);
    assert_slice_equal(text_slice(&text), "abc");
    text_append_format(&text, "%d", 12345);
    assert_slice_equal(text_slice(&text), "abc");
    text_append_u64(&text, 123);
    assert_slice_equal(text_slice(&text), "abc");
    assert_memory_equal(memory + 4, "zzzz", 4);
}

static void test_what_was_dropped_stays_noted_when_a_later_part_fits(void **state) {
    (void)state;
    char memory[4];
    struct text text = text_over(memory, sizeof(memory));
    text_append_literal(&text, "abcde");
    text_append_literal(&text, "f");
    assert_true(text.truncated);
    assert_slice_equal(text_slice(&text), "f");
}

static void test_a_builder_without_memory_drops_everything(void **state) {
    (void)state;
    char none;
    struct text text = text_over(&none, 0);
    text_append_format(&text, "%s", "a");
    text_append_char(&text, 'a');
    assert_int_equal(text.size, 0);
    assert_true(text.truncated);
}

static void assert_escaped(struct slice raw, const char *expected) {
    char memory[256];
    struct text text = text_over(memory, sizeof(memory));
    text_append_json_escaped(&text, raw);
    assert_false(text.truncated);
    assert_slice_equal(text_slice(&text), expected);
}

static void test_text_becomes_the_inside_of_a_json_string(void **state) {
    (void)state;
    assert_escaped(SLICE_LITERAL("plain text/\x7f"), "plain text/\x7f");
    assert_escaped(SLICE_LITERAL("\"\\"), "\\\"\\\\");
    assert_escaped(SLICE_LITERAL("\n\r\t\x01\x1f"), "\\u000a\\u000d\\u0009\\u0001\\u001f");
    assert_escaped(SLICE_LITERAL("a\0b"), "a\\u0000b");
    assert_escaped(SLICE_LITERAL("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
                   "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

static void test_bytes_that_are_no_utf8_become_replacement_characters(void **state) {
    (void)state;
    assert_escaped(SLICE_LITERAL("\xff"), "\xef\xbf\xbd");
    assert_escaped(SLICE_LITERAL("a\xc3"), "a\xef\xbf\xbd");
    assert_escaped(SLICE_LITERAL("\xed\xa0\x80x"),
                   "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx"); /* a surrogate, byte for byte */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_appended_stands_there_in_order),
        cmocka_unit_test(test_what_fits_exactly_is_kept),
        cmocka_unit_test(test_what_does_not_fit_is_dropped_whole_and_noted),
        cmocka_unit_test(test_what_was_dropped_stays_noted_when_a_later_part_fits),
        cmocka_unit_test(test_a_builder_without_memory_drops_everything),
        cmocka_unit_test(test_text_becomes_the_inside_of_a_json_string),
        cmocka_unit_test(test_bytes_that_are_no_utf8_become_replacement_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
