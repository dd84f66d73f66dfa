#include "orderctl/bench_connection.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH 4
#define SPACE_BYTES 64
#define ANSWER_BYTES_MAX 4096

/** A workload whose requests are `Q<number>;` and whose answers are those of RESP. */
struct numbers {
    struct bench_workload workload;
    uint64_t next;
};

struct fixture {
    struct numbers numbers;
    struct bench_connection connection;
    int other; /* the far end */
};

static bool prepare(struct bench_workload *workload, struct bench_request *request) {
    struct numbers *numbers = (struct numbers *)workload;
    int size = snprintf(request->space, SPACE_BYTES, "Q%llu;", (unsigned long long)numbers->next);
    request->mark = numbers->next++;
    request->head = (struct slice){request->space, (size_t)size};
    request->body = SLICE_LITERAL("body;");
    request->items = 1;
    return true;
}

static const struct bench_workload_ops number_ops = {.prepare = prepare, .cut = bench_cut_resp};

static int setup(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int ends[2];
    if (fixture == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) {
        return -1;
    }
    fixture->numbers.workload = (struct bench_workload){
        .ops = &number_ops, .space_bytes = SPACE_BYTES, .answer_bytes_max = ANSWER_BYTES_MAX};
    if (!bench_connection_init(&fixture->connection, DEPTH, &fixture->numbers.workload)) {
        return -1;
    }
    fixture->connection.fd = ends[0];
    fixture->other = ends[1];
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    bench_connection_deinit(&fixture->connection);
    (void)close(fixture->other);
    free(fixture);
    return 0;
}

static void add_requests(struct fixture *fixture, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_true(bench_connection_has_room(&fixture->connection));
        assert_true(
            prepare(&fixture->numbers.workload, bench_connection_next(&fixture->connection)));
        bench_connection_commit(&fixture->connection);
    }
}

static void assert_far_end_gets(struct fixture *fixture, const char *expected) {
    char bytes[256] = {0};
    ssize_t size = read(fixture->other, bytes, sizeof(bytes) - 1);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(bytes, expected);
}

static void send_from_far_end(struct fixture *fixture, const char *text) {
    assert_int_equal(write(fixture->other, text, strlen(text)), strlen(text));
}

static void receive(struct fixture *fixture) {
    bool more;
    assert_int_equal(bench_connection_receive(&fixture->connection, &more), BENCH_SOCKET_GOES_ON);
}

static void test_all_that_waits_goes_out_at_once_in_order(void **state) {
    struct fixture *fixture = *state;
    add_requests(fixture, 3);
    assert_int_equal(bench_connection_send(&fixture->connection), BENCH_SOCKET_GOES_ON);
    assert_far_end_gets(fixture, "Q0;body;Q1;body;Q2;body;");
    assert_int_equal(fixture->connection.sent, 3);
    add_requests(fixture, 1);
    assert_false(bench_connection_has_room(&fixture->connection));
    assert_int_equal(bench_connection_send(&fixture->connection), BENCH_SOCKET_GOES_ON);
    assert_far_end_gets(fixture, "Q3;body;");
}

static void test_answers_meet_their_requests_however_they_are_cut(void **state) {
    struct fixture *fixture = *state;
    struct bench_connection *connection = &fixture->connection;
    struct bench_answer answer;
    add_requests(fixture, 3);
    assert_int_equal(bench_connection_send(connection), BENCH_SOCKET_GOES_ON);
    send_from_far_end(fixture, "+a\r\n$5\r\nhe");
    receive(fixture);
    assert_int_equal(bench_connection_cut(connection, &fixture->numbers.workload, &answer),
                     BENCH_CUT_WHOLE);
    assert_int_equal(bench_connection_oldest(connection)->mark, 0);
    bench_connection_retire(connection);
    assert_int_equal(bench_connection_cut(connection, &fixture->numbers.workload, &answer),
                     BENCH_CUT_MORE);
    assert_int_equal(connection->answer_bytes, 11);
    send_from_far_end(fixture, "llo\r\n+c\r\n");
    receive(fixture);
    assert_int_equal(bench_connection_cut(connection, &fixture->numbers.workload, &answer),
                     BENCH_CUT_WHOLE);
    assert_slice_equal(answer.body, "$5\r\nhello\r\n");
    assert_int_equal(bench_connection_oldest(connection)->mark, 1);
    bench_connection_retire(connection);
    assert_int_equal(bench_connection_cut(connection, &fixture->numbers.workload, &answer),
                     BENCH_CUT_WHOLE);
    bench_connection_retire(connection);
    assert_int_equal(connection->count, 0);
}

static void test_a_request_that_is_sent_again_goes_to_the_end(void **state) {
    struct fixture *fixture = *state;
    struct bench_connection *connection = &fixture->connection;
    add_requests(fixture, DEPTH);
    assert_int_equal(bench_connection_send(connection), BENCH_SOCKET_GOES_ON);
    assert_far_end_gets(fixture, "Q0;body;Q1;body;Q2;body;Q3;body;");
    bench_connection_resend(connection); /* with a full ring */
    bench_connection_retire(connection);
    bench_connection_resend(connection); /* with room in it */
    assert_int_equal(bench_connection_send(connection), BENCH_SOCKET_GOES_ON);
    assert_far_end_gets(fixture, "Q0;body;Q2;body;");
    /* Every request still has memory of its own. */
    add_requests(fixture, 1);
    assert_int_equal(bench_connection_send(connection), BENCH_SOCKET_GOES_ON);
    assert_far_end_gets(fixture, "Q4;body;");
    static const uint64_t expected[] = {3, 0, 2, 4};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        struct bench_request *request = bench_connection_oldest(connection);
        char text[32];
        (void)snprintf(text, sizeof(text), "Q%llu;", (unsigned long long)expected[i]);
        assert_slice_equal(request->head, text);
        assert_int_equal(request->tries, expected[i] == 0 || expected[i] == 2 ? 1 : 0);
        bench_connection_retire(connection);
    }
}

static void test_sending_goes_on_where_the_socket_was_full(void **state) {
    struct fixture *fixture = *state;
    struct bench_connection *connection = &fixture->connection;
    enum { LARGE = 3 << 20 };
    char *large = malloc(LARGE);
    char *got = malloc(LARGE);
    assert_true(large != NULL && got != NULL);
    for (size_t i = 0; i < LARGE; i++) {
        large[i] = (char)(i * 31 + i / 251);
    }
    add_requests(fixture, 1);
    bench_connection_oldest(connection)->head = (struct slice){large, 10};
    bench_connection_oldest(connection)->body = (struct slice){large + 10, LARGE - 10};
    size_t received = 0;
    while (received < LARGE) {
        assert_int_equal(bench_connection_send(connection), BENCH_SOCKET_GOES_ON);
        ssize_t size = read(fixture->other, got + received, LARGE - received);
        assert_true(size > 0);
        received += (size_t)size;
    }
    assert_memory_equal(got, large, LARGE);
    assert_int_equal(connection->sent, 1);
    assert_int_equal(connection->bytes_sent, LARGE);
    free(large);
    free(got);
}

static void test_an_answer_that_is_too_long_is_malformed(void **state) {
    struct fixture *fixture = *state;
    struct bench_answer answer;
    send_from_far_end(fixture, "$5000\r\nx");
    receive(fixture);
    assert_int_equal(
        bench_connection_cut(&fixture->connection, &fixture->numbers.workload, &answer),
        BENCH_CUT_MALFORMED);
}

static void test_the_far_end_may_close(void **state) {
    struct fixture *fixture = *state;
    bool more;
    (void)close(fixture->other);
    fixture->other = -1;
    assert_int_equal(bench_connection_receive(&fixture->connection, &more), BENCH_SOCKET_CLOSED);
    assert_int_equal(errno, 0);
    add_requests(fixture, 1);
    assert_int_equal(bench_connection_send(&fixture->connection), BENCH_SOCKET_CLOSED);
}

static void test_nobody_there_is_said(void **state) {
    struct fixture *fixture = *state;
    struct fault fault;
    assert_false(bench_connection_open(&fixture->connection, "127.0.0.1", "1", 1000, &fault));
    assert_contains(fault.text, "127.0.0.1:1: cannot be reached");
    assert_int_equal(fixture->connection.fd, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_that_waits_goes_out_at_once_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_answers_meet_their_requests_however_they_are_cut,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_request_that_is_sent_again_goes_to_the_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_sending_goes_on_where_the_socket_was_full, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_that_is_too_long_is_malformed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_far_end_may_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there_is_said, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
