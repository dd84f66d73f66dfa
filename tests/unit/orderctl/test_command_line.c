#include "orderctl/command_line.h"
#include "unit.h"

#include <stdlib.h>

enum { OPTION_NAME, OPTION_AMOUNT, OPTION_COUNT_, OPTION_WAIT, OPTION_LOUD };

static const struct command_option options[] = {
    [OPTION_NAME] = {"name", "X", OPTION_TEXT, true, 0, 0, 0, "A name"},
    [OPTION_AMOUNT] = {"amount", "N", OPTION_INTEGER, false, 0, 0, 0, "An amount"},
    [OPTION_COUNT_] = {"count", "N", OPTION_NUMBER, false, 2, 20, 7, "How many"},
    [OPTION_WAIT] = {"wait", "S", OPTION_SECONDS, false, 10, 5000, 1000, "How long"},
    [OPTION_LOUD] = {"loud", NULL, OPTION_FLAG, false, 0, 0, 0, "Noise"},
};

static const struct command commands[] = {
    {.name = "say",
     .positionals = "WHAT [WHERE]",
     .summary = "Say it",
     .details = "More about it.",
     .positional_min = 1,
     .positional_max = 2,
     .options = options,
     .option_count = ARRAY_COUNT(options)},
    {.name = "rest", .positionals = "", .summary = "Rest"},
};

/** Reads a list of arguments that ends with NULL. */
static bool read_line(struct command_line *line, struct fault *fault, const char **arguments) {
    int count = 0;
    fault->text[0] = 0;
    while (arguments[count] != NULL) {
        count++;
    }
    return command_line_read(line, commands, ARRAY_COUNT(commands), count,
                             (char **)(uintptr_t)arguments, fault);
}

#define READ(line, fault, ...) read_line((line), (fault), (const char *[]){__VA_ARGS__, NULL})

static void test_a_command_gets_its_arguments_and_options(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "say", "hello", "--name", "N1", "--count=12", "there", "--wait",
                     "0.25", "--loud", "--amount", "-5"));
    assert_ptr_equal(line.command, &commands[0]);
    assert_int_equal(line.positional_count, 2);
    assert_string_equal(line.positionals[0], "hello");
    assert_string_equal(line.positionals[1], "there");
    assert_string_equal(command_text(&line, OPTION_NAME), "N1");
    assert_string_equal(command_text(&line, OPTION_AMOUNT), "-5");
    assert_int_equal(command_number(&line, OPTION_COUNT_), 12);
    assert_int_equal(command_number(&line, OPTION_WAIT), 250);
    assert_true(command_has(&line, OPTION_LOUD));
}

static void test_what_is_not_given_has_its_default(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "say", "hello", "--name", "x"));
    assert_false(command_has(&line, OPTION_COUNT_));
    assert_int_equal(command_number(&line, OPTION_COUNT_), 7);
    assert_int_equal(command_number(&line, OPTION_WAIT), 1000);
    assert_null(command_text(&line, OPTION_AMOUNT));
    assert_false(command_has(&line, OPTION_LOUD));
    assert_int_equal(line.global[GLOBAL_TIMEOUT].number, 30000);
}

static void test_global_options_may_stand_anywhere(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "--json", "--server", "say", "rest", "--timeout=1.5"));
    assert_ptr_equal(line.command, &commands[1]);
    assert_true(line.global[GLOBAL_JSON].given);
    assert_string_equal(line.global[GLOBAL_SERVER].text, "say");
    assert_int_equal(line.global[GLOBAL_TIMEOUT].number, 1500);
}

static void test_two_dashes_end_the_options(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "say", "--name", "x", "--", "--loud", "--"));
    assert_int_equal(line.positional_count, 2);
    assert_string_equal(line.positionals[0], "--loud");
    assert_string_equal(line.positionals[1], "--");
    assert_false(command_has(&line, OPTION_LOUD));
}

static void test_one_dash_is_no_option(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "say", "-x", "--name", "-n"));
    assert_string_equal(line.positionals[0], "-x");
    assert_string_equal(command_text(&line, OPTION_NAME), "-n");
}

static void test_wrong_lines_are_refused_with_a_reason(void **state) {
    static const struct {
        const char *arguments[8];
        const char *reason;
    } cases[] = {
        {{"shout"}, "no such command: shout"},
        {{"say", "x"}, "--name X is missing"},
        {{"say", "--name", "x"}, "expected: say WHAT"},
        {{"say", "a", "b", "c", "--name", "x"}, "what is \"c\""},
        {{"say", "a", "--name"}, "needs a value"},
        {{"say", "a", "--name", ""}, "not empty"},
        {{"say", "a", "--name", "x", "--name", "y"}, "given twice"},
        {{"say", "a", "--nam", "x"}, "no such option: --nam"},
        {{"say", "a", "--name", "x", "--loud=1"}, "takes no value"},
        {{"say", "a", "--name", "x", "--count", "1"}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--count", "21"}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--count", "3x"}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--count", "3.0"}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--count", "99999999999999999999999"}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--count", ""}, "from 2 to 20"},
        {{"say", "a", "--name", "x", "--wait", "0.0001"}, "seconds from 0.01 to 5"},
        {{"say", "a", "--name", "x", "--wait", ".5"}, "seconds"},
        {{"say", "a", "--name", "x", "--wait", "1.2.3"}, "seconds"},
        {{"say", "a", "--name", "x", "--wait", "6"}, "seconds"},
        {{"say", "a", "--name", "x", "--amount", "1.5"}, "whole number"},
        {{"say", "a", "--name", "x", "--amount", "-"}, "whole number"},
        {{"rest", "x"}, "what is \"x\""},
        {{"rest", "--name", "x"}, "no such option"},
        {{"--server"}, "needs a value"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct command_line line;
        struct fault fault;
        const char *arguments[9] = {NULL};
        memcpy(arguments, cases[i].arguments, sizeof(cases[i].arguments));
        if (read_line(&line, &fault, arguments)) {
            fail_msg("case %zu was taken", i);
        }
        assert_contains(fault.text, cases[i].reason);
    }
}

static void test_help_needs_nothing_else(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(READ(&line, &fault, "say", "--help"));
    assert_true(line.global[GLOBAL_HELP].given);
    assert_ptr_equal(line.command, &commands[0]);
    assert_true(READ(&line, &fault, "--help"));
    assert_null(line.command);
}

static void test_no_arguments_are_no_command(void **state) {
    struct command_line line;
    struct fault fault;
    (void)state;
    assert_true(command_line_read(&line, commands, ARRAY_COUNT(commands), 0, NULL, &fault));
    assert_null(line.command);
}

static void test_the_help_names_every_option(void **state) {
    char *text = NULL;
    size_t size;
    (void)state;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    command_write_help(&commands[0], out);
    command_write_overview(commands, ARRAY_COUNT(commands), out);
    (void)fclose(out);
    assert_contains(text, "orderctl say WHAT [WHERE] --name X [OPTION]...");
    assert_contains(text, "More about it.");
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        assert_contains(text, options[i].name);
        assert_contains(text, options[i].help);
    }
    assert_contains(text, "--server URL");
    assert_contains(text, "rest");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_command_gets_its_arguments_and_options),
        cmocka_unit_test(test_what_is_not_given_has_its_default),
        cmocka_unit_test(test_global_options_may_stand_anywhere),
        cmocka_unit_test(test_two_dashes_end_the_options),
        cmocka_unit_test(test_one_dash_is_no_option),
        cmocka_unit_test(test_wrong_lines_are_refused_with_a_reason),
        cmocka_unit_test(test_help_needs_nothing_else),
        cmocka_unit_test(test_no_arguments_are_no_command),
        cmocka_unit_test(test_the_help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
