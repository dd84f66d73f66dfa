#include "server_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, fields) "POST " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

static char junk[1 << 20];

static void test_a_head_that_takes_too_long_is_408(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, "GET /hello HTTP/1.1\r\n");
    /* Bytes that keep coming do not move the limit. */
    for (int i = 0; i < 9; i++) {
        harness_pass_ms(harness, 1000);
        client_say(&client, "X: y\r\n");
    }
    client_expect_silence(&client);
    harness_pass_ms(harness, 1100);
    client_expect(&client, 408, NULL);
    client_expect_end(&client);
    assert_int_equal(metric_get(&harness->server->metrics.head_timeouts_total), 1);
    assert_int_equal(harness->heads, 0);
    client_close(&client);
}

static void test_the_limit_of_a_head_begins_anew_with_each_request(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    for (int i = 0; i < 5; i++) {
        client_say(&client, "GET /hello HTTP/1.1\r\n");
        harness_pass_ms(harness, 6000);
        client_say(&client, "Host: a\r\n\r\nGET /hello HTTP/1.1\r\n");
        client_expect(&client, 200, "hello");
        harness_pass_ms(harness, 6000);
        client_say(&client, "Host: a\r\n\r\n");
        client_expect(&client, 200, "hello");
    }
    client_close(&client);
}

static void test_an_idle_connection_is_closed_in_silence(void **state) {
    struct harness *harness = *state;
    struct client fresh = client_connect(harness);
    struct client used = client_connect(harness);
    harness_pass_ms(harness, 50000);
    client_say(&used, GET("/hello"));
    client_expect(&used, 200, "hello");
    client_expect_silence(&fresh);
    harness_pass_ms(harness, 26000);
    client_expect_end(&fresh);
    client_expect_silence(&used);
    harness_pass_ms(harness, 50000);
    client_expect_end(&used);
    assert_int_equal(metric_get(&harness->server->metrics.idle_timeouts_total), 2);
    client_close(&fresh);
    client_close(&used);
}

static void test_a_body_that_stops_coming_is_408(void **state) {
    struct harness *harness = *state;
    static const char *const requests[] = {
        POST("/echo", "Content-Length: 10\r\n") "abc",
        POST("/echo", "Content-Length: 100000\r\n") "abc",
        POST("/echo", "Transfer-Encoding: chunked\r\n") "5\r\nab"};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct client client = client_connect(harness);
        client_send(&client, requests[i], strlen(requests[i]));
        harness_pass_ms(harness, 19000);
        client_expect_silence(&client);
        harness_pass_ms(harness, 1100);
        client_expect(&client, 408, NULL);
        client_expect_end(&client);
        client_close(&client);
    }
    assert_int_equal(metric_get(&harness->server->metrics.body_timeouts_total), 3);
    assert_int_equal(harness->requests, 0);
}

static void test_a_body_that_drips_is_408_and_one_that_flows_is_not(void **state) {
    struct harness *harness = *state;
    struct client dripping = client_connect(harness);
    struct client flowing = client_connect(harness);
    client_say(&dripping, POST("/echo", "Content-Length: 1000000\r\n"));
    client_say(&flowing, POST("/echo", "Content-Length: 1000000\r\n"));
    for (int i = 0; i < 10; i++) {
        client_send(&flowing, junk, 50000);
        if (i < 2) {
            client_send(&dripping, junk, 10000);
        }
        harness_pass_ms(harness, 10200);
    }
    client_expect(&dripping, 408, NULL);
    client_expect_end(&dripping);
    client_send(&flowing, junk, 500000);
    assert_int_equal(client_receive(&flowing, false).body_size, 1000000);
    client_close(&dripping);
    client_close(&flowing);
}

static void test_a_body_that_is_read_over_has_a_limit_too(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, POST("/gone-head", "Content-Length: 1000\r\n") "abc");
    client_expect(&client, 200, "early");
    harness_pass_ms(harness, 20100);
    client_expect_end(&client);
    client_close(&client);
}

/** A client whose answers do not fit the sockets' buffers. */
static struct client connect_slow(struct harness *harness) {
    struct client client = client_pair(harness, SOCK_STREAM);
    int size = 4096;
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    return client;
}

static void test_a_reader_that_stops_is_cut_off(void **state) {
    struct harness *harness = *state;
    struct client client = connect_slow(harness);
    client_say(&client, GET("/aligned?1000000"));
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.large), 1);
    harness_pass_ms(harness, 19000);
    assert_int_equal(harness_connections(harness), 1);
    harness_pass_ms(harness, 1100);
    assert_int_equal(harness_connections(harness), 0);
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.large), 0);
    assert_int_equal(metric_get(&harness->server->metrics.write_timeouts_total), 1);
    client_close(&client);
}

static void test_a_slow_but_steady_reader_gets_all_of_a_large_answer(void **state) {
    struct harness *harness = *state;
    struct client client = connect_slow(harness);
    client_say(&client, GET("/aligned?1000000") GET("/hello"));
    size_t received = 0;
    size_t head = 0;
    static char answer[1100000];
    while (received < 1000000 + head) {
        for (size_t span = 0; span < 100000 && received < 1000000 + head;) {
            ssize_t got = recv(client.fd, answer + received, 8192, MSG_DONTWAIT);
            assert_true(got != 0);
            received += got > 0 ? (size_t)got : 0;
            span += got > 0 ? (size_t)got : 0;
            harness_run(harness);
            if (head == 0) {
                head = (size_t)((char *)memmem(answer, received, "\r\n\r\n", 4) - answer) + 4;
            }
        }
        harness_pass_ms(harness, 15000);
        if (received < 500000) {
            assert_int_equal(harness->requests, 1); /* the next one waits for the reader */
        }
    }
    expect_pattern(answer + head, 1000000);
    client.bytes = malloc(200000);
    client.capacity = 200000;
    client.size = received - head - 1000000;
    memcpy(client.bytes, answer + head + 1000000, client.size);
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_an_answer_that_is_awaited_has_no_limit_here(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later"));
    harness_pass_ms(harness, 1000000);
    assert_true(harness_answer(harness, "at last"));
    client_expect(&client, 200, "at last");
    client_close(&client);
}

static void test_a_refused_peer_that_never_closes_is_closed_after_a_while(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, "x\n");
    client_expect(&client, 400, NULL);
    harness_pass_ms(harness, 1900);
    assert_int_equal(harness_connections(harness), 1);
    harness_pass_ms(harness, 200);
    assert_int_equal(harness_connections(harness), 0);
    client_close(&client);
}

static void test_a_refused_peer_cannot_send_for_ever(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, "x\n");
    for (int i = 0; i < 64 && harness_connections(harness) > 0; i++) {
        client_send(&client, junk, sizeof(junk));
    }
    assert_int_equal(harness_connections(harness), 0);
    client_close(&client);
}

static void test_connections_over_the_limit_are_told_so(void **state) {
    struct harness *harness = *state;
    struct client clients[3];
    harness->options.connections_max = 2;
    harness_restart(harness);
    clients[0] = client_connect(harness);
    clients[1] = client_connect(harness);
    clients[2] = client_connect(harness);
    client_say(&clients[2], GET("/hello"));
    struct answer answer = client_receive(&clients[2], false);
    assert_int_equal(answer.status, 503);
    assert_string_equal(answer_field(&answer, "Retry-After"), "1");
    assert_int_equal(answer.body[answer.body_size - 1], '}');
    client_expect_end(&clients[2]);
    client_close(&clients[2]);
    client_say(&clients[1], GET("/hello"));
    client_expect(&clients[1], 200, "hello");
    client_close(&clients[1]);
    clients[2] = client_connect(harness);
    client_say(&clients[2], GET("/hello"));
    client_expect(&clients[2], 200, "hello");
    assert_int_equal(metric_get(&harness->server->metrics.connections_refused_total), 1);
    client_close(&clients[0]);
    client_close(&clients[2]);
}

static void test_far_more_connections_than_the_limit_do_no_harm(void **state) {
    struct harness *harness = *state;
    static struct client clients[100];
    harness->options.connections_max = 2;
    harness_restart(harness);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = client_connect(harness);
    }
    client_say(&clients[0], GET("/hello"));
    client_expect(&clients[0], 200, "hello");
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        client_close(&clients[i]);
    }
    assert_int_equal(harness_connections(harness), 0);
}

static void test_one_busy_connection_leaves_the_others_their_turn(void **state) {
    struct harness *harness = *state;
    struct client busy = client_pair(harness, SOCK_STREAM);
    struct client other = client_pair(harness, SOCK_STREAM);
    static char memory[180000];
    struct text text = text_over(memory, sizeof(memory));
    size_t count = 0;
    while (text.size < sizeof(memory) - 100) {
        text_append_literal(&text, GET("/none"));
        count++;
    }
    /* Straight into the sockets, so that both are ready when the loop looks. */
    assert_int_equal(send(busy.fd, text.data, text.size, MSG_DONTWAIT), text.size);
    assert_int_equal(send(other.fd, GET("/hello"), sizeof(GET("/hello")) - 1, 0),
                     sizeof(GET("/hello")) - 1);
    (void)loop_step(&harness->loop, 0);
    char byte;
    assert_int_equal(recv(other.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK), 1);
    assert_true(harness->requests < count);
    for (size_t i = 0; i < count; i++) {
        client_expect(&busy, 204, NULL);
    }
    client_close(&busy);
    client_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_head_that_takes_too_long_is_408),
        SERVER_TEST(test_the_limit_of_a_head_begins_anew_with_each_request),
        SERVER_TEST(test_an_idle_connection_is_closed_in_silence),
        SERVER_TEST(test_a_body_that_stops_coming_is_408),
        SERVER_TEST(test_a_body_that_drips_is_408_and_one_that_flows_is_not),
        SERVER_TEST(test_a_body_that_is_read_over_has_a_limit_too),
        SERVER_TEST(test_a_reader_that_stops_is_cut_off),
        SERVER_TEST(test_a_slow_but_steady_reader_gets_all_of_a_large_answer),
        SERVER_TEST(test_an_answer_that_is_awaited_has_no_limit_here),
        SERVER_TEST(test_a_refused_peer_that_never_closes_is_closed_after_a_while),
        SERVER_TEST(test_a_refused_peer_cannot_send_for_ever),
        SERVER_TEST(test_connections_over_the_limit_are_told_so),
        SERVER_TEST(test_far_more_connections_than_the_limit_do_no_harm),
        SERVER_TEST(test_one_busy_connection_leaves_the_others_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
