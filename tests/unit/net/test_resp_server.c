/* The RESP server over pairs of sockets, its loop and its peers in one thread, in virtual time. The
 * handler knows: ECHO x, LATER x (as ECHO, when the test says so), SIZE n (n bytes), LEAVE. */
#include "net/resp_internal.h"

#include "net/resp_reply.h"

#include "fixture_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX 2000

struct stage {
    struct resp_handler handler;
    struct clock clock;
    int64_t now_us;
    struct loop loop;
    struct mailbox mailbox;
    struct resp_options options;
    struct resp_server *server;
    struct resp_session *waiting;
    bool released;
    size_t calls;
    size_t commands_max; /* that came with one call */
    size_t gone;
};

static struct stage *stage_of(struct resp_handler *handler) {
    return CONTAINER_OF(handler, struct stage, handler);
}

static struct slice argument_of(const struct resp_command *command) {
    struct resp_arguments arguments = command->arguments;
    struct slice argument;
    return resp_arguments_next(&arguments, &argument) ? argument : SLICE_LITERAL("");
}

static bool is_named(const struct resp_command *command, const char *name) {
    return slice_equal(command->name, slice_from_text(name));
}

static void answer_bytes(struct resp_session *session, size_t size) {
    struct text out;
    if (!resp_answer_begin(session, size + RESP_FRAME_BYTES, &out)) {
        assert_true(resp_answer_begin(session, 64, &out));
        resp_put_error_literal(&out, "TRYAGAIN");
        resp_answer_end(session, &out);
        return;
    }
    text_append_format(&out, "$%zu\r\n", size);
    memset(out.data + out.size, 'x', size);
    out.size += size;
    text_append_literal(&out, "\r\n");
    resp_answer_end(session, &out);
}

static void answer_echo(struct resp_session *session, const struct resp_command *command) {
    struct text out;
    assert_true(resp_answer_begin(session, command->text.size + RESP_FRAME_BYTES, &out));
    resp_put_bulk(&out, argument_of(command));
    resp_answer_end(session, &out);
}

static size_t serve(struct resp_handler *handler, struct resp_session *session,
                    const struct resp_command *commands, size_t count) {
    struct stage *stage = stage_of(handler);
    stage->calls++;
    stage->commands_max = count > stage->commands_max ? count : stage->commands_max;
    if (is_named(&commands[0], "LATER") && !stage->released) {
        stage->waiting = session;
        session->user = stage;
        return 0;
    }
    if (is_named(&commands[0], "SIZE")) {
        char digits[16] = "";
        struct slice size = argument_of(&commands[0]);
        memcpy(digits, size.data, bytes_min_size(size.size, sizeof(digits) - 1));
        answer_bytes(session, strtoul(digits, NULL, 10));
        return 1;
    }
    session->user = NULL;
    stage->released = false;
    if (is_named(&commands[0], "LEAVE")) {
        resp_session_close(session);
    }
    answer_echo(session, &commands[0]);
    return 1;
}

static void gone(struct resp_handler *handler, struct resp_session *session) {
    stage_of(handler)->gone++;
    stage_of(handler)->waiting = NULL;
    session->user = NULL;
}

static const struct resp_handler_ops ops = {.serve = serve, .gone = gone};

static int64_t read_clock(const struct clock *clock) {
    return CONTAINER_OF(clock, struct stage, clock)->now_us;
}

static void drain_nothing(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)mailbox;
}

static void open_server(struct stage *stage) {
    struct resp_server_setup setup = {&stage->loop, stage->options, &stage->handler};
    stage->server = resp_server_create(&setup, NULL);
    assert_non_null(stage->server);
}

static int set_up(void **state) {
    struct stage *stage = fixture_allocate(sizeof(*stage));
    assert_non_null(stage);
    struct config_section section = {"resp", resp_option_table, RESP_OPTION_COUNT, &stage->options};
    struct config config = {.sections = &section, .section_count = 1};
    config_set_defaults(&config);
    stage->options.connections_max = 2;
    stage->options.medium_buffers = 1;
    stage->options.large_buffers = 1;
    stage->handler.ops = &ops;
    stage->clock.now_us = read_clock;
    stage->now_us = 1000000;
    assert_true(mailbox_init(&stage->mailbox, 4));
    struct loop_setup setup = {&stage->mailbox, drain_nothing, NULL, &stage->clock};
    assert_true(loop_init(&stage->loop, &setup, NULL));
    open_server(stage);
    *state = stage;
    return 0;
}

static int tear_down(void **state) {
    struct stage *stage = *state;
    resp_server_destroy(stage->server);
    loop_deinit(&stage->loop);
    mailbox_deinit(&stage->mailbox);
    free(stage);
    return 0;
}

static void turn(struct stage *stage) {
    for (int i = 0; i < 4; i++) {
        (void)loop_step(&stage->loop, 0);
    }
}

static void pass_ms(struct stage *stage, int64_t milliseconds) {
    stage->now_us += milliseconds * 1000;
    turn(stage);
    stage->now_us += 20000; /* a timer rings up to a tick late */
    turn(stage);
}

/* --- The peer. --- */

static int connect_peer(struct stage *stage) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    resp_server_adopt(stage->server, fds[1]);
    return fds[0];
}

static void say(struct stage *stage, int fd, const char *data, size_t size) {
    for (int i = 0; size > 0; i++) {
        assert_true(i < TURNS_MAX);
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        turn(stage);
    }
}

#define SAY(stage, fd, literal) say((stage), (fd), (literal), sizeof(literal) - 1)

/** Reads until `size` bytes, the end, or nothing more comes; returns how many. */
static size_t hear(struct stage *stage, int fd, char *data, size_t size, bool *ended) {
    size_t heard = 0;
    int quiet = 0;
    *ended = false;
    while (heard < size && quiet < 4) {
        ssize_t got = recv(fd, data + heard, size - heard, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            *ended = true;
            return heard;
        }
        quiet = got > 0 ? 0 : quiet + 1;
        heard += got > 0 ? (size_t)got : 0;
        turn(stage);
    }
    return heard;
}

static void expect(struct stage *stage, int fd, const char *text) {
    char data[4096];
    bool ended;
    size_t heard = hear(stage, fd, data, sizeof(data) - 1, &ended);
    data[heard] = 0;
    assert_string_equal(data, text);
}

/** Expects an error that has `part` in it, then the end. */
static void expect_refusal(struct stage *stage, int fd, const char *part) {
    char data[4096];
    bool ended;
    size_t heard = hear(stage, fd, data, sizeof(data) - 1, &ended);
    data[heard] = 0;
    assert_int_equal(data[0], '-');
    assert_non_null(strstr(data, part));
    assert_true(ended || recv(fd, data, 1, 0) == 0);
}

static void expect_end(struct stage *stage, int fd) {
    char byte;
    bool ended;
    assert_int_equal(hear(stage, fd, &byte, 1, &ended), 0);
    assert_true(ended);
}

/* --- Tests. --- */

static void test_a_pipeline_is_handed_over_together_and_answered_in_order(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd,
        "*2\r\n$4\r\nECHO\r\n$1\r\na\r\nECHO b\r\n\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$1\r\nc\r\n");
    expect(stage, fd, "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_int_equal(stage->commands_max, 3);
    assert_int_equal(metric_get(&stage->server->metrics.commands_total), 3);
    (void)close(fd);
}

static void test_a_command_may_come_byte_by_byte(void **state) {
    struct stage *stage = *state;
    static const char text[] = "*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\nECHO d\r\n";
    int fd = connect_peer(stage);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        say(stage, fd, text + i, 1);
    }
    expect(stage, fd, "$3\r\nabc\r\n$1\r\nd\r\n");
    (void)close(fd);
}

static void test_commands_behind_one_that_waits_are_answered_after_it(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "ECHO a\r\nLATER b\r\nECHO c\r\n");
    expect(stage, fd, "$1\r\na\r\n");
    SAY(stage, fd, "ECHO d\r\n");
    expect(stage, fd, "");
    assert_non_null(stage->waiting);
    stage->released = true;
    resp_session_resume(stage->waiting);
    expect(stage, fd, "$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    assert_int_equal(stage->gone, 0);
    (void)close(fd);
}

static void test_a_peer_that_leaves_while_it_waits_is_told_to_the_handler(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "LATER b\r\n");
    (void)close(fd);
    turn(stage);
    assert_int_equal(stage->gone, 1);
    assert_true(resp_server_is_idle(stage->server));
    assert_int_equal(metric_get(&stage->server->metrics.broken_total), 1);
}

static void test_what_was_sent_before_the_end_is_answered(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "ECHO a\r\nECHO b\r\nECHO");
    (void)shutdown(fd, SHUT_WR);
    expect(stage, fd, "$1\r\na\r\n$1\r\nb\r\n");
    expect_end(stage, fd);
    assert_true(resp_server_is_idle(stage->server));
    (void)close(fd);
}

static void test_a_broken_protocol_is_told_after_the_answers_and_ends_the_connection(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "ECHO a\r\n");
    expect(stage, fd, "$1\r\na\r\n");
    SAY(stage, fd, "*-1\r\nECHO b\r\n");
    expect_refusal(stage, fd, "Protocol error: expected an array");
    assert_int_equal(metric_get(&stage->server->metrics.malformed_total), 1);
    (void)close(fd);
    turn(stage);
    assert_true(resp_server_is_idle(stage->server));
}

static void test_a_peer_that_goes_on_sending_after_a_refusal_is_cut_off(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "*-1\r\nECHO b\r\n");
    turn(stage);
    assert_false(resp_server_is_idle(stage->server));
    pass_ms(stage, (int64_t)stage->options.linger_timeout_ms);
    assert_true(resp_server_is_idle(stage->server));
    (void)close(fd);
}

static void test_a_long_command_gets_a_larger_buffer_and_gives_it_back(void **state) {
    struct stage *stage = *state;
    static char text[60000];
    char head[64];
    static char heard[sizeof(text) + 64];
    bool ended;
    int fd = connect_peer(stage);
    int size = snprintf(head, sizeof(head), "*2\r\n$4\r\nECHO\r\n$%zu\r\n", sizeof(text));
    memset(text, 'x', sizeof(text));
    say(stage, fd, head, (size_t)size);
    say(stage, fd, text, sizeof(text));
    SAY(stage, fd, "\r\nECHO b\r\n");
    assert_int_equal(hear(stage, fd, heard, sizeof(heard), &ended), sizeof(text) + 10 + 7);
    assert_memory_equal(heard + sizeof(text) + 10, "$1\r\nb\r\n", 7);
    assert_int_equal(buffer_pool_taken(&stage->server->set.pools.medium), 0);
    assert_int_equal(buffer_pool_taken(&stage->server->set.input_pool), 0);
    (void)close(fd);
}

static void test_a_command_that_no_buffer_holds_is_refused(void **state) {
    struct stage *stage = *state;
    static char text[65536 + 9];
    int fd = connect_peer(stage);
    memcpy(text, "$65536\r\n", 8);
    memset(text + 8, 'x', 65536);
    SAY(stage, fd, "*17\r\n");
    for (int i = 0; i < 17; i++) {
        ssize_t sent = send(fd, text, 8 + 65536, MSG_NOSIGNAL);
        turn(stage);
        sent = sent < 0 ? sent : send(fd, "\r\n", 2, MSG_NOSIGNAL);
        if (sent < 0) {
            break;
        }
    }
    expect_refusal(stage, fd, "too large");
    (void)close(fd);
    turn(stage);
    assert_int_equal(buffer_pool_taken(&stage->server->set.pools.large), 0);
}

static void test_half_a_command_and_then_silence_ends_with_an_error(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "*2\r\n$4\r\nECHO\r\n$3\r\nab");
    pass_ms(stage, (int64_t)stage->options.command_timeout_ms / 2);
    SAY(stage, fd, "c"); /* a trickle does not help */
    pass_ms(stage, (int64_t)stage->options.command_timeout_ms / 2);
    expect_refusal(stage, fd, "took too long");
    assert_int_equal(metric_get(&stage->server->metrics.command_timeouts_total), 1);
    (void)close(fd);
}

static void test_the_time_of_a_command_begins_when_the_one_before_is_answered(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "ECHO a\r\nEC");
    for (int i = 0; i < 4; i++) {
        pass_ms(stage, (int64_t)stage->options.command_timeout_ms * 2 / 3);
        SAY(stage, fd, "HO b\r\nEC");
    }
    expect(stage, fd, "$1\r\na\r\n$1\r\nb\r\n$1\r\nb\r\n$1\r\nb\r\n$1\r\nb\r\n");
    (void)close(fd);
}

static void test_an_idle_connection_is_closed_in_the_end(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    pass_ms(stage, (int64_t)stage->options.idle_timeout_ms - 1000);
    SAY(stage, fd, "ECHO a\r\n");
    expect(stage, fd, "$1\r\na\r\n");
    pass_ms(stage, (int64_t)stage->options.idle_timeout_ms - 1000);
    assert_false(resp_server_is_idle(stage->server));
    pass_ms(stage, 2000);
    expect_end(stage, fd);
    assert_int_equal(metric_get(&stage->server->metrics.idle_timeouts_total), 1);
    (void)close(fd);
}

static void test_a_peer_that_does_not_read_holds_no_more_than_its_buffers(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    bool refused = false;
    for (int i = 0; i < 20000 && !refused; i++) {
        refused = send(fd, "SIZE 20000\r\n", 12, MSG_NOSIGNAL) < 0;
        (void)loop_step(&stage->loop, 0);
    }
    assert_true(refused); /* the server has stopped reading */
    uint64_t sent = metric_get(&stage->server->metrics.sent_bytes_total);
    turn(stage);
    assert_int_equal(metric_get(&stage->server->metrics.sent_bytes_total), sent);
    pass_ms(stage, (int64_t)stage->options.write_timeout_ms);
    assert_true(resp_server_is_idle(stage->server));
    assert_int_equal(metric_get(&stage->server->metrics.write_timeouts_total), 1);
    (void)close(fd);
}

static void test_long_answers_leave_whole_to_a_slow_reader(void **state) {
    struct stage *stage = *state;
    static char heard[3 * 600064];
    bool ended;
    int fd = connect_peer(stage);
    SAY(stage, fd, "SIZE 600000\r\nSIZE 600000\r\nSIZE 600000\r\nECHO e\r\n");
    size_t size = hear(stage, fd, heard, sizeof(heard), &ended);
    assert_int_equal(size, 3 * (600000 + 11) + 7);
    assert_memory_equal(heard + size - 9, "\r\n$1\r\ne\r\n", 9);
    assert_int_equal(buffer_pool_taken(&stage->server->set.pools.large), 0);
    (void)close(fd);
}

static void test_a_connection_too_many_is_told_so(void **state) {
    struct stage *stage = *state;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_peer(stage);
    }
    expect_refusal(stage, fds[2], "max number of clients");
    SAY(stage, fds[0], "ECHO a\r\n");
    expect(stage, fds[0], "$1\r\na\r\n");
    for (int i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
}

static void test_commands_behind_a_close_are_not_answered(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    SAY(stage, fd, "LEAVE a\r\nECHO b\r\n");
    expect(stage, fd, "$1\r\na\r\n");
    expect_end(stage, fd);
    (void)close(fd);
    turn(stage);
    assert_true(resp_server_is_idle(stage->server));
}

static void test_a_drain_answers_what_has_arrived_and_closes(void **state) {
    struct stage *stage = *state;
    int idle = connect_peer(stage);
    int busy = connect_peer(stage);
    SAY(stage, busy, "LATER a\r\nECHO b\r\n");
    resp_server_drain(stage->server);
    turn(stage);
    expect_end(stage, idle);
    assert_false(resp_server_is_idle(stage->server));
    stage->released = true;
    resp_session_resume(stage->waiting);
    expect(stage, busy, "$1\r\na\r\n$1\r\nb\r\n");
    expect_end(stage, busy);
    (void)close(idle);
    (void)close(busy);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_pipeline_is_handed_over_together_and_answered_in_order),
        TEST(test_a_command_may_come_byte_by_byte),
        TEST(test_commands_behind_one_that_waits_are_answered_after_it),
        TEST(test_a_peer_that_leaves_while_it_waits_is_told_to_the_handler),
        TEST(test_what_was_sent_before_the_end_is_answered),
        TEST(test_a_broken_protocol_is_told_after_the_answers_and_ends_the_connection),
        TEST(test_a_peer_that_goes_on_sending_after_a_refusal_is_cut_off),
        TEST(test_a_long_command_gets_a_larger_buffer_and_gives_it_back),
        TEST(test_a_command_that_no_buffer_holds_is_refused),
        TEST(test_half_a_command_and_then_silence_ends_with_an_error),
        TEST(test_the_time_of_a_command_begins_when_the_one_before_is_answered),
        TEST(test_an_idle_connection_is_closed_in_the_end),
        TEST(test_a_peer_that_does_not_read_holds_no_more_than_its_buffers),
        TEST(test_long_answers_leave_whole_to_a_slow_reader),
        TEST(test_a_connection_too_many_is_told_so),
        TEST(test_commands_behind_a_close_are_not_answered),
        TEST(test_a_drain_answers_what_has_arrived_and_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
