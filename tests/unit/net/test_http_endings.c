/** How connections end: the peer leaves, or the server drains or is destroyed. */
#include "server_harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void test_a_peer_that_is_reset_while_its_answer_is_pending_is_gone(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later"));
    assert_non_null(harness_exchange(harness));
    client_reset(&client);
    assert_int_equal(harness->gone, 1);
    assert_int_equal(harness_connections(harness), 0);
    assert_false(harness_answer(harness, "too late"));
}

static void test_a_late_answer_never_reaches_the_next_connection(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later"));
    client_reset(&client);
    /* The same place in the table is taken by another exchange. */
    client = client_connect(harness);
    client_say(&client, GET("/later"));
    assert_int_equal(harness->waiting_count, 2);
    assert_int_equal(harness->waiting[0].index, harness->waiting[1].index);
    assert_false(harness_answer(harness, "for another"));
    assert_true(harness_answer(harness, "for this one"));
    client_expect(&client, 200, "for this one");
    client_close(&client);
}

static void test_a_handle_is_over_with_its_answer(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later"));
    struct http_handle handle = harness->waiting[0];
    assert_true(harness_answer(harness, "once"));
    client_expect(&client, 200, "once");
    assert_null(http_server_exchange(harness->server, handle));
    client_say(&client, GET("/later"));
    assert_null(http_server_exchange(harness->server, handle));
    assert_null(http_server_exchange(harness->server, (struct http_handle){UINT32_MAX, 0}));
    assert_true(harness_answer(harness, "twice"));
    client_expect(&client, 200, "twice");
    client_close(&client);
}

static void test_a_peer_that_leaves_before_its_answer_is_written_does_no_harm(void **state) {
    struct harness *harness = *state;
    for (int i = 0; i < 3; i++) {
        struct client client = client_connect(harness);
        client_say(&client, GET("/later") GET("/hello"));
        client_close(&client);
        (void)harness_answer(harness, "nobody reads this");
        harness_run(harness);
    }
    harness_pass_ms(harness, 100000);
    assert_int_equal(harness_connections(harness), 0);
}

static void test_destroying_tells_the_handler_of_what_is_pending(void **state) {
    struct harness *harness = *state;
    struct client later = client_connect(harness);
    struct client stream = client_connect(harness);
    client_say(&later, GET("/later"));
    client_say(&stream, GET("/stream"));
    harness_restart(harness);
    assert_int_equal(harness->gone, 2);
    client_close(&later);
    client_close(&stream);
}

static void test_draining_closes_idle_connections_and_refuses_new_ones(void **state) {
    struct harness *harness = *state;
    struct client used = client_connect(harness);
    struct client fresh = client_connect(harness);
    client_say(&used, GET("/hello"));
    client_expect(&used, 200, "hello");
    http_server_drain(harness->server);
    client_expect_end(&used);
    client_expect_end(&fresh);
    assert_false(used.reset);
    assert_true(http_server_is_idle(harness->server));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(harness->server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
    (void)close(fd);
    client_close(&used);
    client_close(&fresh);
}

static void test_draining_finishes_what_is_in_flight_and_what_has_arrived(void **state) {
    struct harness *harness = *state;
    struct client waiting = client_connect(harness);
    struct client arrived = client_connect(harness);
    client_say(&waiting, GET("/later") GET("/hello") GET("/size?10"));
    /* In the kernel's buffer, not read yet. */
    assert_true(send(arrived.fd, GET("/hello") GET("/hello"), sizeof(GET("/hello")) * 2 - 2, 0) >
                0);
    http_server_drain(harness->server);
    client_expect(&arrived, 200, "hello");
    struct answer answer = client_receive(&arrived, false);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    client_expect_end(&arrived);
    assert_false(http_server_is_idle(harness->server));
    assert_true(harness_answer(harness, "finished"));
    client_expect(&waiting, 200, "finished");
    client_expect(&waiting, 200, "hello");
    answer = client_receive(&waiting, false);
    assert_int_equal(answer.body_size, 10);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    client_expect_end(&waiting);
    assert_true(http_server_is_idle(harness->server));
    client_close(&waiting);
    client_close(&arrived);
}

static void test_draining_lets_a_request_that_has_begun_be_completed(void **state) {
    struct harness *harness = *state;
    struct client head = client_connect(harness);
    struct client body = client_connect(harness);
    client_say(&head, "GET /hello HTTP/1.1\r\n");
    client_say(&body, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    http_server_drain(harness->server);
    harness_run(harness);
    client_say(&head, "Host: a\r\n\r\n");
    client_say(&body, "bc");
    client_expect(&head, 200, "hello");
    client_expect(&body, 200, "abc");
    client_expect_end(&head);
    client_expect_end(&body);
    assert_true(http_server_is_idle(harness->server));
    client_close(&head);
    client_close(&body);
}

static void test_draining_ends_streams(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/stream"));
    (void)client_receive(&client, true);
    assert_true(http_stream_write(harness_exchange(harness), SLICE_LITERAL("last")));
    http_server_drain(harness->server);
    assert_int_equal(harness->gone, 1);
    assert_true(client_receive_bytes(&client, 14));
    assert_memory_equal(client.bytes, "4\r\nlast\r\n0\r\n\r\n", 14);
    client.size = 0;
    client_expect_end(&client);
    assert_true(http_server_is_idle(harness->server));
    client_close(&client);
}

static void test_connections_in_the_queue_when_draining_begins_are_served(void **state) {
    struct harness *harness = *state;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(harness->server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct client client = {.harness = harness};
    client.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_true(send(client.fd, GET("/hello"), sizeof(GET("/hello")) - 1, 0) > 0);
    http_server_drain(harness->server); /* the loop has not run in between */
    client_expect(&client, 200, "hello");
    client_expect_end(&client);
    client_close(&client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_peer_that_is_reset_while_its_answer_is_pending_is_gone),
        SERVER_TEST(test_a_late_answer_never_reaches_the_next_connection),
        SERVER_TEST(test_a_handle_is_over_with_its_answer),
        SERVER_TEST(test_a_peer_that_leaves_before_its_answer_is_written_does_no_harm),
        SERVER_TEST(test_destroying_tells_the_handler_of_what_is_pending),
        SERVER_TEST(test_draining_closes_idle_connections_and_refuses_new_ones),
        SERVER_TEST(test_draining_finishes_what_is_in_flight_and_what_has_arrived),
        SERVER_TEST(test_draining_lets_a_request_that_has_begun_be_completed),
        SERVER_TEST(test_draining_ends_streams),
        SERVER_TEST(test_connections_in_the_queue_when_draining_begins_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
