#include "server_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/** Begins a stream and takes its head off what the client received. */
static struct answer begin_stream(struct client *client) {
    client_say(client, GET("/stream"));
    return client_receive(client, true);
}

static bool write_text(struct harness *harness, const char *text) {
    return http_stream_write(harness_exchange(harness), slice_from_text(text));
}

static void expect_bytes(struct client *client, const char *text) {
    size_t size = strlen(text);
    assert_true(client_receive_bytes(client, size));
    if (client->size != size || memcmp(client->bytes, text, size) != 0) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)client->size, client->bytes, text);
    }
    client->size = 0;
}

static void test_a_stream_comes_in_chunks_and_the_connection_goes_on_after_it(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    struct answer answer = begin_stream(&client);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_field(&answer, "Transfer-Encoding"), "chunked");
    assert_string_equal(answer_field(&answer, "Content-Type"), "text/event-stream");
    assert_null(answer_field(&answer, "Content-Length"));
    assert_true(write_text(harness, "data: 1\n\n"));
    expect_bytes(&client, "9\r\ndata: 1\n\n\r\n");
    assert_true(write_text(harness, ""));
    client_expect_silence(&client);
    assert_true(write_text(harness, "0123456789abcdef"));
    assert_true(write_text(harness, "x"));
    http_stream_end(harness_exchange(harness));
    expect_bytes(&client, "10\r\n0123456789abcdef\r\n1\r\nx\r\n0\r\n\r\n");
    assert_null(harness_exchange(harness));
    client_say(&client, GET("/hello"));
    client_expect(&client, 200, "hello");
    assert_int_equal(harness->gone, 0);
    client_close(&client);
}

static void test_a_stream_may_begin_later(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later") GET("/hello"));
    struct http_answer answer = {.status = 200};
    struct http_exchange *exchange = harness_exchange(harness);
    assert_true(http_stream_begin(exchange, &answer));
    assert_true(http_stream_write(exchange, SLICE_LITERAL("abc")));
    http_stream_end(exchange);
    assert_false(http_stream_write(exchange, SLICE_LITERAL("abc")));
    assert_int_equal(http_stream_room(exchange), 0);
    http_stream_end(exchange); /* it is over: nothing happens */
    assert_int_equal(client_receive(&client, true).status, 200);
    assert_true(client_receive_bytes(&client, 13));
    assert_memory_equal(client.bytes, "3\r\nabc\r\n0\r\n\r\n", 13);
    memmove(client.bytes, client.bytes + 13, client.size - 13);
    client.size -= 13;
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_what_is_written_in_one_iteration_leaves_with_one_send(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_SEQPACKET);
    char record[1024];
    client_say(&client, GET("/stream"));
    assert_true(recv(client.fd, record, sizeof(record), 0) > 0);
    for (int i = 0; i < 3; i++) {
        assert_true(write_text(harness, "ab"));
    }
    harness_run(harness);
    assert_int_equal(recv(client.fd, record, sizeof(record), 0), 21);
    assert_memory_equal(record, "2\r\nab\r\n2\r\nab\r\n2\r\nab\r\n", 21);
    client_close(&client);
}

static void test_http_1_0_gets_a_stream_that_ends_with_the_connection(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, "GET /stream HTTP/1.0\r\n\r\n");
    struct answer answer = client_receive(&client, true);
    assert_null(answer_field(&answer, "Transfer-Encoding"));
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    assert_true(write_text(harness, "data: 1\n\n"));
    expect_bytes(&client, "data: 1\n\n");
    http_stream_end(harness_exchange(harness));
    client_expect_end(&client);
    client_close(&client);
}

static void test_head_of_a_stream_is_only_its_head(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n" GET("/hello"));
    struct answer answer = client_receive(&client, true);
    assert_string_equal(answer_field(&answer, "Content-Type"), "text/event-stream");
    assert_int_equal(harness->waiting_count, 0);
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_a_writer_is_told_when_there_is_no_room_and_when_there_is_again(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_STREAM);
    (void)begin_stream(&client);
    static char piece[1000];
    memset(piece, 'x', sizeof(piece));
    size_t written = 0;
    /* The peer does not read: in the end nothing is taken any more. */
    for (int refused = 0; refused < 3;) {
        bool taken =
            http_stream_write(harness_exchange(harness), (struct slice){piece, sizeof(piece)});
        written += taken ? sizeof(piece) : 0;
        refused = taken ? 0 : refused + 1;
        harness_run(harness);
        assert_true(output_pending(&http_connection_of(harness_exchange(harness))->base.output) <=
                    BUFFER_SMALL_BYTES);
    }
    unsigned calls = harness->room_calls;
    assert_true(http_stream_room(harness_exchange(harness)) < sizeof(piece));
    size_t overhead = written / sizeof(piece) * 7;
    assert_true(client_receive_bytes(&client, written + overhead));
    harness_run(harness);
    assert_true(harness->room_calls > calls);
    assert_true(http_stream_room(harness_exchange(harness)) >= sizeof(piece));
    client_close(&client);
    assert_int_equal(harness->gone, 1);
}

static void test_a_writer_that_follows_its_reader_delivers_everything(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    enum { TOTAL = 5000000 };
    (void)begin_stream(&client);
    harness->pattern_on_room = true;
    harness->pattern_left = TOTAL;
    while (write_text(harness, "first")) { /* fill up, so that `room` takes over */
    }
    size_t payload = 0;
    while (harness->pattern_left > 0 || client.size > 0 ||
           output_pending(&http_connection_of(harness_exchange(harness))->base.output) > 0) {
        if (client.size == 0 && !client_receive_bytes(&client, 1)) {
            break;
        }
        for (size_t i = 0; i < client.size; i++) {
            payload += client.bytes[i] == 'p' ? 1 : 0;
        }
        client.size = 0;
        harness_run(harness);
    }
    while (payload < TOTAL && client_receive_bytes(&client, 1)) {
        for (size_t i = 0; i < client.size; i++) {
            payload += client.bytes[i] == 'p' ? 1 : 0;
        }
        client.size = 0;
    }
    assert_int_equal(payload, TOTAL);
    http_stream_end(harness_exchange(harness));
    client_close(&client);
}

static void test_the_largest_write_that_there_is_room_for_and_the_end_still_fit(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_STREAM);
    static char piece[BUFFER_SMALL_BYTES];
    (void)begin_stream(&client);
    size_t room = http_stream_room(harness_exchange(harness));
    memset(piece, 'x', sizeof(piece));
    assert_false(http_stream_write(harness_exchange(harness), (struct slice){piece, room + 1}));
    assert_true(http_stream_write(harness_exchange(harness), (struct slice){piece, room}));
    http_stream_end(harness_exchange(harness));
    char size_line[16];
    int size_bytes = snprintf(size_line, sizeof(size_line), "%zx\r\n", room);
    assert_true(client_receive_bytes(&client, (size_t)size_bytes + room + 7));
    assert_memory_equal(client.bytes, size_line, (size_t)size_bytes);
    assert_memory_equal(client.bytes + size_bytes + room, "\r\n0\r\n\r\n", 7);
    client_close(&client);
}

static void test_a_peer_that_leaves_ends_the_stream(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    (void)begin_stream(&client);
    assert_int_equal(harness->server->stream_count, 1);
    client_close(&client);
    assert_int_equal(harness->gone, 1);
    assert_null(harness_exchange(harness));
    assert_int_equal(harness->server->stream_count, 0);
    assert_int_equal(harness_connections(harness), 0);
}

static void test_a_peer_that_half_closed_gets_what_was_written_before_the_end(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_STREAM);
    assert_int_equal(send(client.fd, GET("/stream"), sizeof(GET("/stream")) - 1, 0),
                     sizeof(GET("/stream")) - 1);
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    assert_int_equal(client_receive(&client, true).status, 200);
    client_expect_end(&client);
    assert_int_equal(harness->gone, 1);
    client_close(&client);
}

static void test_an_idle_stream_has_no_time_limit(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    (void)begin_stream(&client);
    harness_pass_ms(harness, 10000000);
    assert_true(write_text(harness, "still here"));
    expect_bytes(&client, "a\r\nstill here\r\n");
    client_close(&client);
}

static void test_a_stream_that_is_not_read_is_cut_off(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_STREAM);
    (void)begin_stream(&client);
    static char piece[1000];
    while (http_stream_write(harness_exchange(harness), (struct slice){piece, sizeof(piece)})) {
        harness_run(harness);
    }
    harness_pass_ms(harness, 19000);
    assert_int_equal(harness->gone, 0);
    harness_pass_ms(harness, 1100);
    assert_int_equal(harness->gone, 1);
    assert_int_equal(harness_connections(harness), 0);
    client_close(&client);
}

static void test_a_stream_that_is_read_slowly_goes_on(void **state) {
    struct harness *harness = *state;
    struct client client = client_pair(harness, SOCK_STREAM);
    (void)begin_stream(&client);
    static char piece[1000];
    for (int i = 0; i < 50; i++) {
        while (http_stream_write(harness_exchange(harness), (struct slice){piece, sizeof(piece)})) {
            harness_run(harness);
        }
        /* A few buffers' worth: less than an ordinary answer would have to move. */
        for (int j = 0; j < 20; j++) {
            (void)recv(client.fd, piece, sizeof(piece), MSG_DONTWAIT);
        }
        harness_pass_ms(harness, 15000);
    }
    assert_int_equal(harness->gone, 0);
    client_close(&client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_stream_comes_in_chunks_and_the_connection_goes_on_after_it),
        SERVER_TEST(test_a_stream_may_begin_later),
        SERVER_TEST(test_what_is_written_in_one_iteration_leaves_with_one_send),
        SERVER_TEST(test_http_1_0_gets_a_stream_that_ends_with_the_connection),
        SERVER_TEST(test_head_of_a_stream_is_only_its_head),
        SERVER_TEST(test_a_writer_is_told_when_there_is_no_room_and_when_there_is_again),
        SERVER_TEST(test_a_writer_that_follows_its_reader_delivers_everything),
        SERVER_TEST(test_the_largest_write_that_there_is_room_for_and_the_end_still_fit),
        SERVER_TEST(test_a_peer_that_leaves_ends_the_stream),
        SERVER_TEST(test_a_peer_that_half_closed_gets_what_was_written_before_the_end),
        SERVER_TEST(test_an_idle_stream_has_no_time_limit),
        SERVER_TEST(test_a_stream_that_is_not_read_is_cut_off),
        SERVER_TEST(test_a_stream_that_is_read_slowly_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
