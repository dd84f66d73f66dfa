#include "net/resp_parser.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/** What became of an input: its arguments joined by |, or what is wrong, or "more". */
struct outcome {
    char text[512];
    size_t size; /* of the command */
    uint32_t argument_count;
};

static void describe(struct outcome *outcome, const struct resp_command *command) {
    struct text text = text_over(outcome->text, sizeof(outcome->text) - 1);
    struct resp_arguments arguments = command->arguments;
    struct slice argument;
    uint32_t count = command->argument_count > 0 ? 1 : 0;
    text_append_slice(&text, command->argument_count > 0 ? command->name : (struct slice){"", 0});
    while (command->argument_count > 0 && resp_arguments_next(&arguments, &argument)) {
        text_append_char(&text, '|');
        text_append_slice(&text, argument);
        count++;
    }
    assert_false(text.truncated);
    assert_int_equal(count, command->argument_count);
    outcome->text[text.size] = 0;
    outcome->size = command->text.size;
    outcome->argument_count = command->argument_count;
}

/** Parses memory that ends where the input ends, so that a sanitizer sees every byte too many. */
static enum resp_parse run(struct resp_parser *parser, const char *data, size_t size,
                           struct outcome *outcome) {
    char *copy = malloc(size > 0 ? size : 1);
    struct resp_command command;
    assert_non_null(copy);
    memcpy(copy, data, size);
    enum resp_parse parsed = resp_parser_run(parser, copy, size, &command);
    if (parsed == RESP_PARSE_DONE) {
        describe(outcome, &command);
    } else {
        (void)snprintf(outcome->text, sizeof(outcome->text), "%s",
                       parsed == RESP_PARSE_MORE ? "more" : parser->refusal);
    }
    free(copy);
    return parsed;
}

static struct outcome parse_whole(const char *data, size_t size) {
    struct resp_parser parser = {.at = 0};
    struct outcome outcome = {.size = 0};
    (void)run(&parser, data, size, &outcome);
    return outcome;
}

/** Parses it whole, and byte by byte, and expects the same of both. */
static struct outcome parse(const char *data, size_t size) {
    struct outcome whole = parse_whole(data, size);
    struct outcome pieces = {.size = 0};
    struct resp_parser parser = {.at = 0};
    enum resp_parse parsed = RESP_PARSE_MORE;
    for (size_t have = 0; have <= size && parsed == RESP_PARSE_MORE; have++) {
        parsed = run(&parser, data, have, &pieces);
    }
    assert_string_equal(whole.text, pieces.text);
    assert_int_equal(whole.size, pieces.size);
    return whole;
}

#define EXPECT(literal, expected)                                                                  \
    do {                                                                                           \
        struct outcome outcome_ = parse(literal, sizeof(literal) - 1);                             \
        assert_string_equal(outcome_.text, expected);                                              \
    } while (0)

#define EXPECT_REFUSED(literal, part)                                                              \
    do {                                                                                           \
        struct outcome outcome_ = parse(literal, sizeof(literal) - 1);                             \
        assert_non_null(strstr(outcome_.text, "expected "));                                       \
        assert_non_null(strstr(outcome_.text, part));                                              \
    } while (0)

static void test_an_array_of_bulk_strings_is_a_command(void **state) {
    (void)state;
    EXPECT("*2\r\n$3\r\nGET\r\n$2\r\n17\r\n", "GET|17");
    EXPECT("*1\r\n$4\r\nPING\r\n", "PING");
    EXPECT("*3\r\n$4\r\nMGET\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n", "MGET||\r\n\r\n");
}

static void test_only_the_first_command_is_taken(void **state) {
    static const char two[] = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n";
    (void)state;
    struct outcome outcome = parse_whole(two, sizeof(two) - 1);
    assert_string_equal(outcome.text, "PING");
    assert_int_equal(outcome.size, 14);
}

static void test_an_inline_command_is_split_into_words(void **state) {
    (void)state;
    EXPECT("PING\r\n", "PING");
    EXPECT("GET 17\n", "GET|17");
    EXPECT("  MGET \t 1  2 \r\n", "MGET|1|2");
}

static void test_an_empty_command_has_no_arguments(void **state) {
    (void)state;
    EXPECT("\r\n", "");
    EXPECT(" \n", "");
    EXPECT("*0\r\n", "");
    assert_int_equal(parse("*0\r\n", 4).argument_count, 0);
    assert_int_equal(parse("*0\r\n", 4).size, 4);
}

static void test_the_beginning_of_a_command_asks_for_more(void **state) {
    (void)state;
    EXPECT("*", "more");
    EXPECT("*2\r", "more");
    EXPECT("*2\r\n$3\r\nGET\r\n", "more");
    EXPECT("*2\r\n$3\r\nGET\r\n$2\r\n17\r", "more");
    EXPECT("PING\r", "more");
}

static void test_lengths_are_plain_numbers_within_the_limits(void **state) {
    (void)state;
    EXPECT_REFUSED("*-1\r\n", "array");
    EXPECT_REFUSED("*x\r\n", "array");
    EXPECT_REFUSED("*\r\n", "array");
    EXPECT_REFUSED("*+1\r\n", "array");
    EXPECT_REFUSED("*01\r\n", "array");
    EXPECT_REFUSED("*16385\r\n", "array");
    EXPECT_REFUSED("*99999999999999999999\r\n", "array");
    EXPECT_REFUSED("*4294967297\r\n", "array");
    EXPECT_REFUSED("*1 \r\n", "array");
    EXPECT_REFUSED("*1\r\n$-1\r\n", "bulk");
    EXPECT_REFUSED("*1\r\n$65537\r\n", "bulk");
    EXPECT_REFUSED("*1\r\n$18446744073709551615\r\n", "bulk");
    EXPECT_REFUSED("*1\r\n$00\r\n", "bulk");
    EXPECT_REFUSED("*1\r\n$1\n", "bulk");
}

static void test_lines_and_strings_end_with_carriage_return_and_line_feed(void **state) {
    (void)state;
    EXPECT_REFUSED("*1\n$4\r\nPING\r\n", "array");
    EXPECT_REFUSED("*1\r\r", "array");
    EXPECT_REFUSED("*1\r\n$4\r\nPINGxx", "CR LF");
    EXPECT_REFUSED("*1\r\n$4\r\nPING\r\r", "CR LF");
    EXPECT_REFUSED("*2\r\n$4\r\nPING\r\n:1\r\n", "$");
    EXPECT_REFUSED("*1\r\n*1\r\n", "$");
}

static void test_an_inline_command_is_text(void **state) {
    (void)state;
    EXPECT_REFUSED("\x16\x03\x01\x02", "inline");
    EXPECT_REFUSED("PI\0NG\r\n", "inline");
    EXPECT_REFUSED("PING\rx", "inline");
}

static void test_an_inline_command_has_a_longest_size(void **state) {
    char line[RESP_INLINE_BYTES_MAX + 1];
    (void)state;
    memset(line, 'a', sizeof(line));
    assert_string_equal(parse_whole(line, RESP_INLINE_BYTES_MAX - 1).text, "more");
    assert_non_null(strstr(parse_whole(line, RESP_INLINE_BYTES_MAX).text, "4 KiB"));
    line[RESP_INLINE_BYTES_MAX] = '\n';
    assert_non_null(strstr(parse_whole(line, sizeof(line)).text, "4 KiB"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_array_of_bulk_strings_is_a_command),
        cmocka_unit_test(test_only_the_first_command_is_taken),
        cmocka_unit_test(test_an_inline_command_is_split_into_words),
        cmocka_unit_test(test_an_empty_command_has_no_arguments),
        cmocka_unit_test(test_the_beginning_of_a_command_asks_for_more),
        cmocka_unit_test(test_lengths_are_plain_numbers_within_the_limits),
        cmocka_unit_test(test_lines_and_strings_end_with_carriage_return_and_line_feed),
        cmocka_unit_test(test_an_inline_command_is_text),
        cmocka_unit_test(test_an_inline_command_has_a_longest_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
