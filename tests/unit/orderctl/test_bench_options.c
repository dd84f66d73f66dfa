#include "orderctl/bench_options.h"
#include "unit.h"

static const struct command commands[] = {{
    .name = "bench",
    .positionals = "KIND",
    .summary = "Bench",
    .positional_min = 1,
    .positional_max = 1,
    .options = bench_option_table,
    .option_count = BENCH_OPTION_COUNT,
}};

static bool read_options(struct bench_options *options, const char *server, struct fault *fault,
                         const char **arguments) {
    struct command_line line;
    int count = 0;
    while (arguments[count] != NULL) {
        count++;
    }
    return command_line_read(&line, commands, 1, count, (char **)(uintptr_t)arguments, fault) &&
           bench_options_read(options, &line, server, fault);
}

#define SERVER "http://127.0.0.1:8080"
#define READ(options, server, fault, ...)                                                          \
    read_options((options), (server), (fault), (const char *[]){"bench", __VA_ARGS__, NULL})

static void test_every_kind_has_defaults_that_suit_it(void **state) {
    struct bench_options options;
    struct fault fault;
    (void)state;
    assert_true(READ(&options, SERVER, &fault, "statuses", "--ids", "f"));
    assert_int_equal(options.kind, BENCH_STATUSES);
    assert_int_equal(options.batch, 8192);
    assert_int_equal(options.depth, 2);
    assert_int_equal(options.connections, 4);
    assert_int_equal(options.seconds_ms, 5000);
    assert_int_equal(options.cpu, -1);
    assert_string_equal(options.partner_code, "bench");
    assert_true(READ(&options, SERVER, &fault, "http-get", "--ids", "f", "--batch", "9"));
    assert_int_equal(options.connections, 64);
    assert_int_equal(options.batch, 1);
    assert_true(READ(&options, SERVER, &fault, "resp", "--ids", "f"));
    assert_int_equal(options.depth, 16);
    assert_string_equal(options.host, "127.0.0.1");
    assert_string_equal(options.port, "6390");
    assert_true(READ(&options, SERVER, &fault, "resp", "--ids", "f", "--command", "mget"));
    assert_int_equal(options.batch, 16);
}

static void test_what_is_given_is_taken(void **state) {
    struct bench_options options;
    struct fault fault;
    (void)state;
    assert_true(READ(&options, SERVER, &fault, "create", "--connections", "9", "--batch", "3",
                     "--depth", "5", "--seconds", "0.5", "--warmup", "1", "--threads", "2",
                     "--rate", "1000", "--cpu", "0", "--partner-code", "P-1"));
    assert_int_equal(options.connections, 9);
    assert_int_equal(options.batch, 3);
    assert_int_equal(options.depth, 5);
    assert_int_equal(options.seconds_ms, 500);
    assert_int_equal(options.warmup_ms, 1000);
    assert_int_equal(options.threads, 2);
    assert_int_equal(options.rate, 1000);
    assert_int_equal(options.cpu, 0);
    assert_string_equal(options.partner_code, "P-1");
}

static void test_addresses_are_taken_apart(void **state) {
    static const struct {
        const char *server;
        const char *host;
        const char *port;
        const char *prefix;
        const char *authority;
    } cases[] = {
        {"http://10.0.0.1:81", "10.0.0.1", "81", "", "10.0.0.1:81"},
        {"orders.example", "orders.example", "80", "", "orders.example:80"},
        {"http://h:1/api/", "h", "1", "/api", "h:1"},
        {"http://[::1]:90/x/y", "::1", "90", "/x/y", "[::1]:90"},
        {"http://[::1]", "::1", "80", "", "[::1]:80"},
        {"h:8080", "h", "8080", "", "h:8080"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench_options options;
        struct fault fault;
        assert_true(READ(&options, cases[i].server, &fault, "create"));
        assert_string_equal(options.host, cases[i].host);
        assert_string_equal(options.port, cases[i].port);
        assert_string_equal(options.path_prefix, cases[i].prefix);
        assert_string_equal(options.authority, cases[i].authority);
    }
    struct bench_options options;
    struct fault fault;
    assert_true(READ(&options, SERVER, &fault, "resp", "--ids", "f", "--resp", "[::1]:6379"));
    assert_string_equal(options.host, "::1");
    assert_string_equal(options.port, "6379");
}

static void test_what_cannot_be_is_refused_with_a_reason(void **state) {
    static const struct {
        const char *arguments[7];
        const char *reason;
    } cases[] = {
        {{"dance"}, "expected statuses, get"},
        {{"load"}, "--orders N is missing"},
        {{"load", "--orders", "5", "--rate", "1"}, "without --rate"},
        {{"create", "--batch", "8193"}, "from 1 to 8192"},
        {{"create", "--threads", "5"}, "every thread needs a connection"},
        {{"create", "--partner-code", "a b"}, "--partner-code"},
        {{"create", "--path", "/x"}, "--path goes with http-get"},
        {{"http-get", "--path", "x"}, "begins with a slash"},
        {{"resp", "--ids", "f", "--command", "set"}, "expected get or mget"},
        {{"resp", "--ids", "f", "--resp", ":1"}, "expected HOST:PORT"},
        {{"resp", "--ids", "f", "--resp", "h:123456"}, "expected HOST:PORT"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench_options options;
        struct fault fault = {""};
        const char *arguments[9] = {"bench"};
        memcpy(arguments + 1, cases[i].arguments, sizeof(cases[i].arguments));
        if (read_options(&options, SERVER, &fault, arguments)) {
            fail_msg("case %zu was taken", i);
        }
        assert_contains(fault.text, cases[i].reason);
    }
    struct bench_options options;
    struct fault fault;
    assert_false(READ(&options, "https://h", &fault, "create"));
    assert_contains(fault.text, "plain http only");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_has_defaults_that_suit_it),
        cmocka_unit_test(test_what_is_given_is_taken),
        cmocka_unit_test(test_addresses_are_taken_apart),
        cmocka_unit_test(test_what_cannot_be_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
