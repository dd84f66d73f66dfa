#include "base/fault.h"
#include "base/log.h"
#include "base/rfc3339.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/** A log whose lines can be read back. */
struct fixture {
    struct log log;
    int read_fd;
    char text[8192];
};

static int setup(void **state) {
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) != 0) {
        return -1;
    }
    fixture->read_fd = ends[0];
    log_init(&fixture->log, ends[1], LOG_INFO);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    (void)close(fixture->read_fd);
    (void)close(fixture->log.fd);
    test_free(fixture);
    return 0;
}

/** What was logged since the last look; the pipe does not block, so nothing is "". */
static const char *logged(struct fixture *fixture) {
    ssize_t size = read(fixture->read_fd, fixture->text, sizeof(fixture->text) - 1);
    assert_true(size >= 0 || errno == EAGAIN);
    fixture->text[size > 0 ? size : 0] = 0;
    return fixture->text;
}

static void test_a_line_has_time_level_component_and_message(void **state) {
    struct fixture *fixture = *state;
    log_warning(&fixture->log, "journal", "segment %d is %s", 7, "full");
    const char *line = logged(fixture);
    int64_t time_us;
    assert_true(rfc3339_parse((struct slice){line, RFC3339_TEXT_BYTES}, &time_us));
    assert_string_equal(line + RFC3339_TEXT_BYTES, " warning journal: segment 7 is full\n");
}

static void test_every_level_has_its_name(void **state) {
    struct fixture *fixture = *state;
    atomic_store(&fixture->log.minimum_level, LOG_DEBUG);
    log_debug(&fixture->log, "a", "b");
    log_info(&fixture->log, "a", "b");
    log_error(&fixture->log, "a", "b");
    const char *lines = logged(fixture);
    assert_contains(lines, " debug a: b\n");
    assert_contains(lines, " info a: b\n");
    assert_contains(lines, " error a: b\n");
}

static void test_lines_below_the_level_are_not_written(void **state) {
    struct fixture *fixture = *state;
    log_debug(&fixture->log, "a", "hidden");
    atomic_store(&fixture->log.minimum_level, LOG_ERROR);
    log_warning(&fixture->log, "a", "hidden");
    assert_string_equal(logged(fixture), "");
}

static void test_control_characters_cannot_forge_a_line(void **state) {
    struct fixture *fixture = *state;
    log_info(&fixture->log, "api", "target %s", "/a\n2026 error api: forged\r\x1b[2J\x7f\t");
    const char *line = logged(fixture);
    assert_contains(line, "target /a?2026 error api: forged??[2J??\n");
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void test_a_long_message_is_cut_and_still_one_line(void **state) {
    struct fixture *fixture = *state;
    char message[4000];
    memset(message, 'x', sizeof(message) - 1);
    message[sizeof(message) - 1] = 0;
    log_info(&fixture->log, "a", "%s", message);
    const char *line = logged(fixture);
    assert_in_range(strlen(line), 1900, 2048);
    assert_int_equal(line[strlen(line) - 1], '\n');
}

static void write_limited(struct fixture *fixture, struct log_limit *limit, int from, int count) {
    for (int i = from; i < from + count; i++) {
        log_write_limited(&fixture->log, limit, LOG_ERROR, "disk", "full %d", i);
    }
}

static void
test_a_limited_line_comes_some_times_at_once_and_then_says_what_it_kept_back(void **state) {
    struct fixture *fixture = *state;
    struct log_limit limit = {0};
    write_limited(fixture, &limit, 0, LOG_LIMIT_BURST + 5);
    const char *lines = logged(fixture);
    assert_contains(lines, "full 0\n");
    assert_contains(lines, "full 31\n");
    assert_not_contains(lines, "full 32");
    limit.refilled_us -= 1000000; /* a second later one more comes */
    write_limited(fixture, &limit, 50, 2);
    lines = logged(fixture);
    assert_contains(lines, "full 50 (5 like it not shown)\n");
    assert_not_contains(lines, "full 51");
    limit.refilled_us -=
        INT64_C(1000000) * 3600; /* an hour later as many as at the start, not more */
    write_limited(fixture, &limit, 100, LOG_LIMIT_BURST + 1);
    lines = logged(fixture);
    assert_contains(lines, "full 100 (1 like it not shown)\n");
    assert_contains(lines, "full 131\n");
    assert_not_contains(lines, "full 132");
}

static void test_a_line_that_cannot_be_written_is_counted(void **state) {
    (void)state;
    struct log log;
    log_init(&log, -1, LOG_INFO);
    log_info(&log, "a", "b");
    log_info(&log, "a", "b");
    assert_int_equal(atomic_load(&log.lines_dropped), 2);
}

static void test_a_fault_holds_its_message_and_the_systems_reason(void **state) {
    (void)state;
    struct fault fault;
    fault_set(&fault, "%s: %d", "a", 5);
    assert_string_equal(fault.text, "a: 5");
    fault_set_errno(&fault, ENOENT, "%s: cannot be opened", "file");
    assert_string_equal(fault.text, "file: cannot be opened: No such file or directory");
    fault_set(NULL, "nobody wants to know");
    fault_set_errno(NULL, ENOENT, "nobody wants to know");
}

static void test_a_long_fault_is_cut(void **state) {
    (void)state;
    struct fault fault;
    char name[2 * FAULT_TEXT_MAX];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    fault_set(&fault, "%s", name);
    assert_int_equal(strlen(fault.text), FAULT_TEXT_MAX - 1);
    fault_set_errno(&fault, ENOENT, "%s", name);
    assert_int_equal(strlen(fault.text), FAULT_TEXT_MAX - 1);
}

#define log_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        log_test(test_a_line_has_time_level_component_and_message),
        log_test(test_every_level_has_its_name),
        log_test(test_lines_below_the_level_are_not_written),
        log_test(test_control_characters_cannot_forge_a_line),
        log_test(test_a_long_message_is_cut_and_still_one_line),
        log_test(test_a_limited_line_comes_some_times_at_once_and_then_says_what_it_kept_back),
        cmocka_unit_test(test_a_line_that_cannot_be_written_is_counted),
        cmocka_unit_test(test_a_fault_holds_its_message_and_the_systems_reason),
        cmocka_unit_test(test_a_long_fault_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
