#include "server_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void test_a_connection_serves_one_request_after_the_other(void **state) {
    struct client client = client_connect(*state);
    for (int i = 0; i < 3; i++) {
        client_say(&client, GET("/hello"));
        struct answer answer = client_receive(&client, false);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.head, "HTTP/1.1 200 OK\r\n"
                                         "Content-Type: text/plain\r\n"
                                         "Content-Length: 5");
        assert_memory_equal(answer.body, "hello", 5);
    }
    client_expect_silence(&client);
    client_close(&client);
}

static void test_a_request_may_come_byte_by_byte(void **state) {
    struct client client = client_connect(*state);
    static const char text[] = GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\n"
                                             "Content-Length: 3\r\n\r\nabc" GET("/hello");
    client_send_slowly(&client, text, sizeof(text) - 1, 1);
    client_expect(&client, 200, "hello");
    client_expect(&client, 200, "abc");
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_pipelined_answers_leave_in_order_with_one_send(void **state) {
    /* A record on a SEQPACKET socket is one send. */
    struct client client = client_pair(*state, SOCK_SEQPACKET);
    client_say(&client,
               GET("/size?3") GET("/hello") GET("/nowhere") HEAD("/hello") GET("/size?12"));
    char record[4096];
    ssize_t size = recv(client.fd, record, sizeof(record), 0);
    assert_true(size > 0);
    record[size] = 0;
    const char *at = record;
    static const char *const parts[] = {"Content-Length: 3\r\n\r\n",
                                        "\r\n\r\nhello",
                                        "HTTP/1.1 404 ",
                                        "no such path",
                                        "Content-Length: 5\r\n\r\n",
                                        "Content-Length: 12\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        at = strstr(at, parts[i]);
        assert_non_null(at);
        at++;
    }
    assert_int_equal(recv(client.fd, record, sizeof(record), MSG_DONTWAIT), -1);
    client_close(&client);
}

static void test_a_pipeline_that_is_answered_in_batches_leaves_with_one_send_too(void **state) {
    struct harness *harness = *state;
    struct client pipelining = client_pair(harness, SOCK_SEQPACKET);
    struct client other = client_pair(harness, SOCK_SEQPACKET);
    char record[4096];
    static const char text[] = GET("/batch") GET("/batch") GET("/hello") GET("/batch");
    assert_int_equal(send(pipelining.fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    assert_int_equal(send(other.fd, text, sizeof(text) - 1, 0), sizeof(text) - 1);
    (void)loop_step(&harness->loop, 0);
    assert_int_equal(harness->batches, 3); /* each of two requests, as there are two clients */
    assert_int_equal(harness->requests, 8);
    const struct client *clients[] = {&pipelining, &other};
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        ssize_t size = recv(clients[i]->fd, record, sizeof(record) - 1, 0);
        assert_true(size > 0);
        record[size] = 0;
        const char *at = record;
        for (int j = 0; j < 4; j++) {
            at = strstr(at, j == 2 ? "hello" : "batched");
            assert_non_null(at);
            at++;
        }
    }
    client_close(&pipelining);
    client_close(&other);
}

static void test_pipelined_requests_wait_for_an_answer_that_comes_later(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/hello") GET("/later") GET("/hello") GET("/later") GET("/size?1"));
    client_expect(&client, 200, "hello");
    client_expect_silence(&client);
    assert_int_equal(harness->requests, 2);
    assert_true(harness_answer(harness, "first"));
    client_expect(&client, 200, "first");
    client_expect(&client, 200, "hello");
    client_expect_silence(&client);
    assert_true(harness_answer(harness, "second"));
    client_expect(&client, 200, "second");
    client_expect(&client, 200, NULL);
    client_close(&client);
}

static void test_a_long_pipeline_is_answered_whole_and_in_order(void **state) {
    struct client client = client_connect(*state);
    enum { COUNT = 5000 };
    static char text[COUNT * 64];
    size_t size = 0;
    for (int i = 0; i < COUNT; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size,
                                 "GET /size?%d HTTP/1.1\r\nHost: a\r\n\r\n", i % 700);
    }
    client_send(&client, text, size);
    for (int i = 0; i < COUNT; i++) {
        struct answer answer = client_receive(&client, false);
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.body_size, i % 700);
        expect_pattern(answer.body, answer.body_size);
    }
    client_close(&client);
}

static void test_head_has_the_headers_of_get_and_no_body(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client,
               GET("/hello") HEAD("/hello") HEAD("/size?40000") HEAD("/nowhere") HEAD("/later"));
    struct answer get = client_receive(&client, false);
    struct answer head = client_receive(&client, true);
    assert_string_equal(get.head, head.head);
    head = client_receive(&client, true);
    assert_string_equal(answer_field(&head, "Content-Length"), "40000");
    head = client_receive(&client, true);
    assert_int_equal(head.status, 404);
    client_expect_silence(&client);
    assert_true(harness_answer(harness, "twelve bytes"));
    head = client_receive(&client, true);
    assert_string_equal(answer_field(&head, "Content-Length"), "12");
    client_say(&client, GET("/hello"));
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_an_error_to_head_has_no_body(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, "HEAD /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    assert_int_equal(client_receive(&client, true).status, 400);
    client_expect_end(&client);
    client_close(&client);
}

static void test_204_and_304_have_no_body(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, GET("/none") GET("/same") GET("/hello"));
    struct answer answer = client_receive(&client, false);
    assert_int_equal(answer.status, 204);
    assert_null(answer_field(&answer, "Content-Length"));
    answer = client_receive(&client, false);
    assert_int_equal(answer.status, 304);
    assert_null(answer_field(&answer, "Content-Length"));
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_http_1_0_is_answered_and_closed(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/hello"));
    struct answer answer = client_receive(&client, false);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    client_expect_end(&client);
    client_close(&client);
}

static void test_connection_close_is_honoured(void **state) {
    struct client client = client_connect(*state);
    client_say(&client,
               GET("/hello") "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    struct answer answer = client_receive(&client, false);
    assert_null(answer_field(&answer, "Connection"));
    answer = client_receive(&client, false);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    client_expect_end(&client);
    client_close(&client);
}

static void test_a_malformed_request_is_400_and_closes_after_the_answers_before_it(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/hello") "GET / HTTP/1.1\nHost: a\r\n\r\n" GET("/hello"));
    client_expect(&client, 200, "hello");
    struct answer answer = client_receive(&client, false);
    assert_int_equal(answer.status, 400);
    assert_string_equal(answer_field(&answer, "Connection"), "close");
    client_expect_end(&client);
    assert_int_equal(harness->heads, 1);
    client_close(&client);
}

static void test_each_refusal_of_the_parser_reaches_the_client(void **state) {
    static const struct {
        const char *request;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417},
        {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx", 400},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct client client = client_connect(*state);
        client_send(&client, cases[i].request, strlen(cases[i].request));
        client_expect(&client, cases[i].status, NULL);
        client_expect_end(&client);
        client_close(&client);
    }
}

static void test_a_long_target_is_414_and_a_large_header_431(void **state) {
    static char text[20000];
    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    struct client client = client_connect(*state);
    client_send(&client, text, sizeof(text));
    client_expect(&client, 414, NULL);
    client_expect_end(&client);
    client_close(&client);
    memcpy(text, "GET / HTTP/1.0\r\nx: ", 19);
    client = client_connect(*state);
    client_send(&client, text, sizeof(text));
    client_expect(&client, 431, NULL);
    client_expect_end(&client);
    client_close(&client);
}

static void test_a_refused_peer_that_goes_on_sending_still_gets_the_answer(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    static char junk[300000];
    memset(junk, 'x', sizeof(junk));
    client_say(&client, "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    client_send(&client, junk, sizeof(junk));
    client_send(&client, junk, sizeof(junk));
    client_expect(&client, 404, "no such path");
    client_expect_end(&client);
    assert_false(client.reset);
    client_close(&client);
    assert_int_equal(harness_connections(harness), 0);
}

static void test_a_peer_that_half_closes_gets_its_answers(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/hello") GET("/later") GET("/hello"));
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    client_expect(&client, 200, "hello");
    harness_run(harness);
    assert_true(harness_answer(harness, "late"));
    client_expect(&client, 200, "late");
    client_expect(&client, 200, "hello");
    client_expect_end(&client);
    client_close(&client);
    assert_int_equal(harness_connections(harness), 0);
}

static void test_the_length_is_right_for_every_size_with_room_for_more(void **state) {
    struct client client = client_connect(*state);
    static const unsigned sizes[] = {0, 1, 9, 10, 11, 99, 100, 999, 1000, 3000, 9999, 10000, 99999};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        char text[256];
        /* First alone, then behind others: what moves when the number is short differs. */
        int size = snprintf(text, sizeof(text),
                            "GET /size?%u HTTP/1.1\r\nHost: a\r\n\r\n" GET("/size?700")
                                GET("/size?5") "GET /size?%u HTTP/1.1\r\nHost: a\r\n\r\n",
                            sizes[i], sizes[i]);
        client_send(&client, text, (size_t)size);
        const size_t expected[] = {sizes[i], 700, 5, sizes[i]};
        for (size_t j = 0; j < ARRAY_COUNT(expected); j++) {
            struct answer answer = client_receive(&client, false);
            assert_int_equal(answer.status, 200);
            assert_int_equal(answer.body_size, expected[j]);
            expect_pattern(answer.body, answer.body_size);
        }
    }
    client_close(&client);
}

static void test_the_room_for_an_aligned_answer_is_aligned_behind_others_too(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/aligned?128") GET("/size?1") GET("/aligned?64") GET("/size?33")
                            GET("/aligned?1048576") GET("/aligned?0"));
    static const size_t sizes[] = {128, 1, 64, 33, 1048576, 0};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct answer answer = client_receive(&client, false);
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.body_size, sizes[i]);
        expect_pattern(answer.body, answer.body_size);
    }
    assert_int_equal(harness->shortages, 0);
    client_close(&client);
}

static void test_an_answer_larger_than_any_buffer_is_told_to_the_handler(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/aligned?2000000") GET("/hello"));
    client_expect(&client, 503, NULL);
    client_expect(&client, 200, "hello");
    assert_int_equal(harness->shortages, 1);
    client_close(&client);
}

static void test_the_fields_of_an_answer_are_sent_in_their_order(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, GET("/later"));
    const struct http_field fields[] = {{SLICE_LITERAL("ETag"), SLICE_LITERAL("\"7\"")},
                                        {SLICE_LITERAL("Location"), SLICE_LITERAL("/v1/x")}};
    struct http_answer answer = {.status = 201, .fields = fields, .field_count = 2};
    assert_true(http_respond(harness_exchange(harness), &answer, SLICE_LITERAL("ok")));
    struct answer received = client_receive(&client, false);
    assert_string_equal(received.head, "HTTP/1.1 201 Created\r\n"
                                       "ETag: \"7\"\r\n"
                                       "Location: /v1/x\r\n"
                                       "Content-Length: 2");
    client_close(&client);
}

static void test_without_an_error_function_errors_are_plain_text(void **state) {
    struct harness *harness = *state;
    struct http_handler_ops ops = *harness->handler.ops;
    ops.error = NULL;
    harness->handler.ops = &ops;
    struct client client = client_connect(harness);
    client_say(&client, "x\n");
    client_expect(&client, 400, "a line feed without a carriage return");
    client_expect_end(&client);
    client_close(&client);
}

static void test_metrics_are_registered_under_the_servers_name(void **state) {
    struct harness *harness = *state;
    struct metrics *metrics = metrics_create();
    static char page[65536];
    struct text text = text_over(page, sizeof(page) - 1);
    http_server_register_metrics(harness->server, metrics, NULL);
    assert_true(metrics_render(metrics, &text));
    page[text.size] = 0;
    assert_non_null(strstr(page, "orderd_http_requests_total 0\n"));
    assert_non_null(strstr(page, "orderd_http_broken_total 0\n"));
    metrics_destroy(metrics);
}

static void test_metrics_count_what_happened(void **state) {
    struct harness *harness = *state;
    struct http_metrics *metrics = &harness->server->metrics;
    struct client client = client_connect(harness);
    client_say(&client, GET("/hello") GET("/same") GET("/nowhere") "x\n");
    for (int i = 0; i < 4; i++) {
        (void)client_receive(&client, false);
    }
    client_expect_end(&client);
    assert_int_equal(metric_get(&metrics->connections_accepted_total), 1);
    assert_int_equal(metric_get(&metrics->requests_total), 3);
    assert_int_equal(metric_get(&metrics->malformed_total), 1);
    assert_int_equal(metric_get(&metrics->answers_2xx_total), 1);
    assert_int_equal(metric_get(&metrics->answers_3xx_total), 1);
    assert_int_equal(metric_get(&metrics->answers_4xx_total), 2);
    assert_int_equal(metric_get(&metrics->received_bytes_total),
                     sizeof(GET("/hello") GET("/same") GET("/nowhere") "x\n") - 1);
    client_close(&client);
    assert_int_equal(metric_get(&metrics->connections), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_connection_serves_one_request_after_the_other),
        SERVER_TEST(test_a_request_may_come_byte_by_byte),
        SERVER_TEST(test_pipelined_answers_leave_in_order_with_one_send),
        SERVER_TEST(test_a_pipeline_that_is_answered_in_batches_leaves_with_one_send_too),
        SERVER_TEST(test_pipelined_requests_wait_for_an_answer_that_comes_later),
        SERVER_TEST(test_a_long_pipeline_is_answered_whole_and_in_order),
        SERVER_TEST(test_head_has_the_headers_of_get_and_no_body),
        SERVER_TEST(test_an_error_to_head_has_no_body),
        SERVER_TEST(test_204_and_304_have_no_body),
        SERVER_TEST(test_http_1_0_is_answered_and_closed),
        SERVER_TEST(test_connection_close_is_honoured),
        SERVER_TEST(test_a_malformed_request_is_400_and_closes_after_the_answers_before_it),
        SERVER_TEST(test_each_refusal_of_the_parser_reaches_the_client),
        SERVER_TEST(test_a_long_target_is_414_and_a_large_header_431),
        SERVER_TEST(test_a_refused_peer_that_goes_on_sending_still_gets_the_answer),
        SERVER_TEST(test_a_peer_that_half_closes_gets_its_answers),
        SERVER_TEST(test_the_length_is_right_for_every_size_with_room_for_more),
        SERVER_TEST(test_the_room_for_an_aligned_answer_is_aligned_behind_others_too),
        SERVER_TEST(test_an_answer_larger_than_any_buffer_is_told_to_the_handler),
        SERVER_TEST(test_the_fields_of_an_answer_are_sent_in_their_order),
        SERVER_TEST(test_without_an_error_function_errors_are_plain_text),
        SERVER_TEST(test_metrics_are_registered_under_the_servers_name),
        SERVER_TEST(test_metrics_count_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
