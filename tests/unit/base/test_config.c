#include "base/config.h"
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#define SERVER_OPTIONS(X)                                                                          \
    X(text, listen, "127.0.0.1:8080", "", start, "Address of the API")                             \
    X(uint64, threads, "2", "1..64", start, "Network threads")                                     \
    X(uint64, anything, "0", "0..18446744073709551615", live, "Any number")                        \
    X(flag, insecure, "no", "", start, "Bind to any address")

#define STORE_OPTIONS(X)                                                                           \
    X(text, hot, "embedded", "embedded|mysql", start, "Where hot orders live")                     \
    X(secret, password, "", "", live, "Of the database user")                                      \
    X(flag, sync, "yes", "", live, "Sync before acknowledging")

struct server_options {
    SERVER_OPTIONS(CONFIG_FIELD)
};
struct store_options {
    STORE_OPTIONS(CONFIG_FIELD)
};

#define SERVER_ENTRY(...) CONFIG_ENTRY_OF(struct server_options, __VA_ARGS__)
static const struct config_option server_table[] = {SERVER_OPTIONS(SERVER_ENTRY)};
#define STORE_ENTRY(...) CONFIG_ENTRY_OF(struct store_options, __VA_ARGS__)
static const struct config_option store_table[] = {STORE_OPTIONS(STORE_ENTRY)};

/** A configuration with its defaults, and the last fault. */
struct fixture {
    struct server_options server;
    struct store_options store;
    struct config_section sections[2];
    struct config config;
    struct fault fault;
};

static void fixture_init(struct fixture *fixture) {
    memset(fixture, 0xee, sizeof(*fixture));
    fixture->sections[0] = (struct config_section){"server", server_table,
                                                   ARRAY_COUNT(server_table), &fixture->server};
    fixture->sections[1] =
        (struct config_section){"store", store_table, ARRAY_COUNT(store_table), &fixture->store};
    fixture->config = (struct config){.sections = fixture->sections,
                                      .section_count = ARRAY_COUNT(fixture->sections)};
    fixture->fault.text[0] = 0;
    config_set_defaults(&fixture->config);
}

static int setup(void **state) {
    struct fixture *fixture = malloc(sizeof(*fixture));
    *state = fixture;
    if (fixture != NULL) {
        fixture_init(fixture);
    }
    return fixture == NULL ? -1 : 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static void assert_read(struct fixture *fixture, const char *text) {
    if (!config_read_text(&fixture->config, "f", slice_from_text(text), &fixture->fault)) {
        fail_msg("refused: %s", fixture->fault.text);
    }
}

/** The text is refused, and the message begins with `message`. */
static void assert_refused(struct fixture *fixture, const char *text, const char *message) {
    if (config_read_text(&fixture->config, "f", slice_from_text(text), &fixture->fault)) {
        fail_msg("accepted: %s", text);
    }
    if (strncmp(fixture->fault.text, message, strlen(message)) != 0) {
        fail_msg("\"%s\" does not begin with \"%s\"", fixture->fault.text, message);
    }
    assert_null(strchr(fixture->fault.text, '\n'));
}

static void assert_set(struct fixture *fixture, const char *assignment) {
    if (!config_set(&fixture->config, assignment, &fixture->fault)) {
        fail_msg("refused: %s", fixture->fault.text);
    }
}

static void assert_not_set(struct fixture *fixture, const char *assignment, const char *part) {
    if (config_set(&fixture->config, assignment, &fixture->fault)) {
        fail_msg("accepted: %s", assignment);
    }
    assert_contains(fixture->fault.text, part);
}

static char *print(const struct fixture *fixture) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_print(&fixture->config, out);
    (void)fclose(out);
    return text;
}

static void test_every_option_has_its_default(void **state) {
    struct fixture *fixture = *state;
    assert_string_equal(fixture->server.listen.text, "127.0.0.1:8080");
    assert_int_equal(fixture->server.threads, 2);
    assert_false(fixture->server.insecure);
    assert_string_equal(fixture->store.hot.text, "embedded");
    assert_string_equal(fixture->store.password.text, "");
    assert_true(fixture->store.sync);
}

static void test_a_file_sets_what_it_names_and_nothing_else(void **state) {
    struct fixture *fixture = *state;
    assert_read(fixture, "; a comment\n# another\n\n[server]\nlisten = [::1]:80\nthreads=4\r\n"
                         "  insecure = yes ; why not\n\n[store]\n\thot\t=\tmysql\t\n"
                         "password = a;b=c #d\n[server]\nthreads = 5");
    assert_string_equal(fixture->server.listen.text, "[::1]:80");
    assert_int_equal(fixture->server.threads, 5);
    assert_true(fixture->server.insecure);
    assert_string_equal(fixture->store.hot.text, "mysql");
    assert_string_equal(fixture->store.password.text, "a;b=c #d");
    assert_true(fixture->store.sync);
}

static void test_an_empty_file_changes_nothing(void **state) {
    struct fixture *fixture = *state;
    assert_read(fixture, "");
    assert_read(fixture, "\n");
    assert_read(fixture, "\xef\xbb\xbf[server]\nthreads = 3\n");
    assert_int_equal(fixture->server.threads, 3);
}

static void test_an_empty_value_is_an_empty_text(void **state) {
    struct fixture *fixture = *state;
    assert_read(fixture, "[server]\nlisten =\n[store]\npassword = ; none\n");
    assert_string_equal(fixture->server.listen.text, "");
    assert_string_equal(fixture->store.password.text, "");
}

static void test_an_indented_key_is_a_key_of_its_own(void **state) {
    struct fixture *fixture = *state;
    assert_read(fixture, "[server]\nlisten = a:1\n  threads = 4\n");
    assert_string_equal(fixture->server.listen.text, "a:1");
    assert_int_equal(fixture->server.threads, 4);
}

static void test_the_longest_text_can_be_read(void **state) {
    struct fixture *fixture = *state;
    char text[512] = "[server]\nlisten = ";
    size_t head = strlen(text);
    memset(text + head, 'x', CONFIG_TEXT_MAX - 1);
    (void)snprintf(text + head + CONFIG_TEXT_MAX - 1, 32, "\nthreads = 7\n");
    assert_read(fixture, text);
    assert_int_equal(strlen(fixture->server.listen.text), CONFIG_TEXT_MAX - 1);
    assert_int_equal(fixture->server.threads, 7);
    memset(text + head, 'x', CONFIG_TEXT_MAX);
    (void)snprintf(text + head + CONFIG_TEXT_MAX, 32, "\nthreads = 7\n");
    assert_refused(fixture, text, "f:2: server.listen: expected at most 255 characters");
}

static void test_a_fault_names_file_line_and_key_and_what_was_expected(void **state) {
    struct fixture *fixture = *state;
    assert_refused(fixture, "[server]\n\nthread = 1\n", "f:3: server.thread: unknown key");
    assert_refused(fixture, "\n[sever]\nthreads = 1\n", "f:3: sever.threads: unknown section");
    assert_refused(fixture, "threads = 1\n", "f:1: .threads: unknown section");
    assert_refused(fixture, "[server]\nthreads = 0\n",
                   "f:2: server.threads: expected a whole number, 1..64, got \"0\"");
    assert_refused(fixture, "[server]\ninsecure = maybe\n",
                   "f:2: server.insecure: expected yes or no, got \"maybe\"");
    assert_refused(fixture, "[store]\nhot = redis\n",
                   "f:2: store.hot: expected one of embedded|mysql, got \"redis\"");
}

static void test_a_line_that_is_none_is_named(void **state) {
    struct fixture *fixture = *state;
    static const char *const lines[] = {"words", "[server", "threads 4", "= 4",
                                        "]",     "[]x",     "[a] b"};
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "[server]\nthreads = 3\n%s\nthreads = 4\n", lines[i]);
        assert_refused(fixture, text, "f:3: ");
        assert_int_equal(fixture->server.threads, 3);
    }
}

static void test_the_first_fault_of_a_file_is_told(void **state) {
    struct fixture *fixture = *state;
    assert_refused(fixture, "[server]\nthreads\nthreads = 0\n", "f:2: ");
    assert_refused(fixture, "[server]\nthreads = 0\nthreads\n", "f:2: ");
}

static void test_a_zero_byte_is_refused(void **state) {
    struct fixture *fixture = *state;
    static const char text[] = "[server]\nthreads = 3\0 4\n";
    assert_false(config_read_text(&fixture->config, "f", SLICE_LITERAL(text), &fixture->fault));
    assert_contains(fixture->fault.text, "f:2: ");
}

static void test_whole_numbers_are_read_strictly(void **state) {
    struct fixture *fixture = *state;
    static const char *const wrong[] = {
        "server.threads=",
        "server.threads=+1",
        "server.threads=-1",
        "server.threads=1.0",
        "server.threads=1e1",
        "server.threads=0x1",
        "server.threads= 1",
        "server.threads=1 ",
        "server.threads=65",
        "server.threads=0",
        "server.threads=1 2",
        "server.threads=one",
        "server.anything=18446744073709551616",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_not_set(fixture, wrong[i], "expected a whole number");
    }
    assert_set(fixture, "server.threads=1");
    assert_set(fixture, "server.threads=64");
    assert_set(fixture, "server.anything=18446744073709551615");
    assert_true(fixture->server.anything == UINT64_MAX);
}

static void test_every_word_for_yes_and_no_is_known(void **state) {
    struct fixture *fixture = *state;
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < ARRAY_COUNT(yes); i++) {
        char assignment[64];
        (void)snprintf(assignment, sizeof(assignment), "store.sync=%s", no[i]);
        assert_set(fixture, assignment);
        assert_false(fixture->store.sync);
        (void)snprintf(assignment, sizeof(assignment), "store.sync=%s", yes[i]);
        assert_set(fixture, assignment);
        assert_true(fixture->store.sync);
    }
    assert_not_set(fixture, "store.sync=YES", "expected yes or no");
    assert_not_set(fixture, "store.sync=", "expected yes or no");
    assert_not_set(fixture, "store.sync=yes|true", "expected yes or no");
}

static void test_a_word_must_be_one_of_the_list_whole(void **state) {
    struct fixture *fixture = *state;
    assert_not_set(fixture, "store.hot=", "expected one of");
    assert_not_set(fixture, "store.hot=my", "expected one of");
    assert_not_set(fixture, "store.hot=embedded|mysql", "expected one of");
    assert_set(fixture, "store.hot=mysql");
}

static void test_an_assignment_needs_section_key_and_sign(void **state) {
    struct fixture *fixture = *state;
    assert_not_set(fixture, "threads=1", "--set threads=1: expected section.key=value");
    assert_not_set(fixture, "server.threads", "expected section.key=value");
    assert_not_set(fixture, "a=b.c", "expected section.key=value");
    assert_not_set(fixture, "", "expected section.key=value");
    assert_not_set(fixture, "nowhere.threads=1", "unknown section");
    assert_not_set(fixture, "server.nothing=1", "--set server.nothing: unknown key");
    assert_set(fixture, "server.listen=a=b.c");
    assert_string_equal(fixture->server.listen.text, "a=b.c");
    char longest[600];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + 300, ".b=c", 5);
    assert_not_set(fixture, longest, "expected section.key=value");
}

static void test_a_text_that_no_file_could_hold_is_refused(void **state) {
    struct fixture *fixture = *state;
    assert_not_set(fixture, "server.listen=a\nb = c", "expected");
    assert_not_set(fixture, "server.listen=a ;b", "expected");
    assert_not_set(fixture, "server.listen=;b", "expected");
    assert_not_set(fixture, "server.listen= a", "expected");
    assert_not_set(fixture, "server.listen=a ", "expected");
    assert_set(fixture, "server.listen=a;b c");
    assert_set(fixture, "store.password= p ;q ");
    assert_string_equal(fixture->store.password.text, " p ;q ");
}

static void test_what_is_printed_can_be_read_and_is_the_same(void **state) {
    struct fixture *fixture = *state;
    struct fixture other;
    assert_set(fixture, "server.listen=a;b #c = d");
    assert_set(fixture, "server.threads=64");
    assert_set(fixture, "server.insecure=yes");
    assert_set(fixture, "store.hot=mysql");
    assert_set(fixture, "store.sync=no");
    char *printed = print(fixture);
    fixture_init(&other);
    assert_read(&other, printed);
    assert_memory_equal(&other.server, &fixture->server, sizeof(other.server));
    assert_memory_equal(&other.store, &fixture->store, sizeof(other.store));
    free(printed);
}

static void test_print_says_help_rule_default_and_whether_a_reload_applies(void **state) {
    struct fixture *fixture = *state;
    char *printed = print(fixture);
    assert_contains(printed, "[server]\n; Address of the API; default: 127.0.0.1:8080\n"
                             "listen = 127.0.0.1:8080\n");
    assert_contains(printed, "; Network threads (1..64); default: 2\nthreads = 2\n");
    assert_contains(printed, "; Sync before acknowledging; default: yes; a reload applies it\n");
    assert_contains(printed, "\n\n[store]\n");
    free(printed);
}

static void test_a_secret_is_never_shown(void **state) {
    struct fixture *fixture = *state;
    assert_set(fixture, "store.password=hunter2");
    char *printed = print(fixture);
    assert_not_contains(printed, "hunter2");
    assert_contains(printed, ";password = (set, not shown)\n");
    free(printed);
    assert_set(fixture, "store.password=");
    printed = print(fixture);
    assert_contains(printed, ";password = \n");
    free(printed);
}

static void test_a_secret_is_not_in_messages_either(void **state) {
    struct fixture *fixture = *state;
    char assignment[400] = "store.password=";
    memset(assignment + strlen(assignment), 's', 300);
    assert_not_set(fixture, assignment, "expected at most 255 characters");
    assert_not_contains(fixture->fault.text, "sss");
}

static void test_a_reload_may_change_live_options_only(void **state) {
    struct fixture *before = *state;
    struct fixture after;
    fixture_init(&after);
    assert_true(config_differs_only_live(&before->config, &after.config, &after.fault));
    assert_set(&after, "store.sync=no");
    assert_set(&after, "store.password=new");
    assert_set(&after, "server.anything=5");
    assert_true(config_differs_only_live(&before->config, &after.config, &after.fault));
    assert_set(&after, "store.hot=mysql");
    assert_false(config_differs_only_live(&before->config, &after.config, &after.fault));
    assert_string_equal(after.fault.text, "store.hot can change only at a restart");
    assert_set(&after, "store.hot=embedded");
    assert_set(&after, "server.insecure=on");
    assert_false(config_differs_only_live(&before->config, &after.config, &after.fault));
}

static void test_a_combination_that_is_refused_is_told_where_the_file_sets_it(void **state) {
    struct fixture *fixture = *state;
    static const char text[] = "[server]\n\nthreads = 3\n[store]\nhot = mysql\nsync = no\n";
    struct slice slice = {text, sizeof(text) - 1};
    assert_true(config_read_text(&fixture->config, "a.conf", slice, &fixture->fault));
    static const char *const cases[][2] = {
        {"store.hot: needs store.sync = yes", "a.conf:5: store.hot: needs store.sync = yes"},
        {"store.sync: not with store.hot", "a.conf:6: store.sync: not with store.hot"},
        {"server.listen: not with store.hot", "a.conf:5: server.listen: not with store.hot"},
        {"server.listen: no", "server.listen: no"},
        {"out of memory", "out of memory"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        fault_set(&fixture->fault, "%s", cases[i][0]);
        config_place_fault(&fixture->config, &fixture->fault);
        assert_string_equal(fixture->fault.text, cases[i][1]);
    }
    assert_set(fixture, "store.hot=embedded");
    fault_set(&fixture->fault, "store.hot: no");
    config_place_fault(&fixture->config, &fixture->fault);
    assert_string_equal(fixture->fault.text, "store.hot: no");
}

static void test_a_shorter_text_leaves_nothing_of_the_longer_one(void **state) {
    struct fixture *before = *state;
    struct fixture after;
    fixture_init(&after);
    assert_set(&after, "server.listen=a longer text than the default one");
    assert_set(&after, "server.listen=127.0.0.1:8080");
    assert_true(config_differs_only_live(&before->config, &after.config, &after.fault));
}

static void test_a_file_is_read_from_the_disk(void **state) {
    struct fixture *fixture = *state;
    char path[] = "/tmp/orderd-test-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = "[server]\nthreads = 9\nthreads = x\n";
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    (void)close(fd);
    bool read = config_read_file(&fixture->config, path, &fixture->fault);
    (void)unlink(path);
    assert_false(read);
    assert_contains(fixture->fault.text, path);
    assert_contains(fixture->fault.text, ":3: server.threads: expected");
    assert_int_equal(fixture->server.threads, 9);
}

static void test_a_file_that_cannot_be_read_is_told(void **state) {
    struct fixture *fixture = *state;
    assert_false(config_read_file(&fixture->config, "/nonexistent/file", &fixture->fault));
    assert_string_equal(fixture->fault.text,
                        "/nonexistent/file: cannot be opened: No such file or directory");
    assert_false(config_read_file(&fixture->config, "/tmp", &fixture->fault));
    assert_string_equal(fixture->fault.text, "/tmp: cannot be read: Is a directory");
}

#define config_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        config_test(test_every_option_has_its_default),
        config_test(test_a_file_sets_what_it_names_and_nothing_else),
        config_test(test_an_empty_file_changes_nothing),
        config_test(test_an_empty_value_is_an_empty_text),
        config_test(test_an_indented_key_is_a_key_of_its_own),
        config_test(test_the_longest_text_can_be_read),
        config_test(test_a_fault_names_file_line_and_key_and_what_was_expected),
        config_test(test_a_line_that_is_none_is_named),
        config_test(test_the_first_fault_of_a_file_is_told),
        config_test(test_a_zero_byte_is_refused),
        config_test(test_whole_numbers_are_read_strictly),
        config_test(test_every_word_for_yes_and_no_is_known),
        config_test(test_a_word_must_be_one_of_the_list_whole),
        config_test(test_an_assignment_needs_section_key_and_sign),
        config_test(test_a_text_that_no_file_could_hold_is_refused),
        config_test(test_what_is_printed_can_be_read_and_is_the_same),
        config_test(test_print_says_help_rule_default_and_whether_a_reload_applies),
        config_test(test_a_secret_is_never_shown),
        config_test(test_a_secret_is_not_in_messages_either),
        config_test(test_a_reload_may_change_live_options_only),
        config_test(test_a_combination_that_is_refused_is_told_where_the_file_sets_it),
        config_test(test_a_shorter_text_leaves_nothing_of_the_longer_one),
        config_test(test_a_file_is_read_from_the_disk),
        config_test(test_a_file_that_cannot_be_read_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
