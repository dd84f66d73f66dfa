#include "server_harness.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, fields) "POST " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define BODY_MAX ((size_t)1 << 20)

/* Around each place where the way of a body changes: what fits the input buffer with its head, the
 * medium buffer, the large one. */
static const size_t body_sizes[] = {1,     7,     8,     4096,  16300,  16310,        16311,
                                    16312, 16313, 16314, 16315, 16316,  16317,        16318,
                                    16319, 16320, 16321, 16384, 16400,  65536,        73215,
                                    73727, 73728, 73729, 80000, 524288, BODY_MAX - 1, BODY_MAX};

static char request[3 << 20];
static char pattern[BODY_MAX];

static struct text request_text(void) {
    return text_over(request, sizeof(request));
}

static void append_fixed(struct text *out, const char *path, size_t size) {
    text_append_format(out, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", path,
                       size);
    text_append(out, pattern, size);
}

/** Chunks of 1 to `chunk_max` bytes, some with an extension, and a trailer. */
static void append_chunked(struct text *out, size_t size, size_t chunk_max,
                           struct random_source *random) {
    unsigned extensions = 0;
    text_append_literal(out, POST("/echo", "Transfer-Encoding: chunked\r\n"));
    for (size_t done = 0; done < size;) {
        size_t chunk = 1 + random_below(random, bytes_min_size(chunk_max, size - done));
        bool extension = random_chance(random, 1, 3) && extensions++ < 100;
        text_append_format(out, "%zx%s\r\n", chunk, extension ? ";a=\"b\"" : "");
        text_append(out, pattern + done, chunk);
        text_append_literal(out, "\r\n");
        done += chunk;
    }
    text_append_literal(out, "0\r\nX-Trailer: y\r\n\r\n");
}

static void send_request(struct client *client, const struct text *text) {
    assert_false(text->truncated);
    client_send(client, text->data, text->size);
}

static void expect_echo(struct client *client, size_t size) {
    struct answer answer = client_receive(client, false);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body_size, size);
    assert_memory_equal(answer.body, pattern, size);
}

static void test_bodies_of_every_size_arrive_whole_with_the_next_request_behind(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    fill_pattern(pattern, sizeof(pattern));
    for (size_t i = 0; i < ARRAY_COUNT(body_sizes); i++) {
        struct text text = request_text();
        append_fixed(&text, "/echo", body_sizes[i]);
        text_append_literal(&text, GET("/hello"));
        send_request(&client, &text);
        expect_echo(&client, body_sizes[i]);
        client_expect(&client, 200, "hello");
    }
    client_close(&client);
    assert_int_equal(buffer_pool_taken(&harness->server->set.input_pool), 0);
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.small), 0);
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.medium), 0);
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.large), 0);
}

static void test_bodies_in_random_pieces_behind_other_requests(void **state) {
    struct client client = client_connect(*state);
    struct random_source random = {4711};
    fill_pattern(pattern, sizeof(pattern));
    for (size_t i = 0; i < 60; i++) {
        size_t body = body_sizes[random_below(&random, ARRAY_COUNT(body_sizes) - 3)];
        size_t before = random_below(&random, 6);
        struct text text = request_text();
        for (size_t j = 0; j < before; j++) {
            append_fixed(&text, "/echo", j * 1000);
        }
        if (random_chance(&random, 1, 2)) {
            append_fixed(&text, "/echo", body);
        } else {
            append_chunked(&text, body, 1 + random_below(&random, 20000), &random);
        }
        text_append_literal(&text, GET("/hello"));
        for (size_t at = 0; at < text.size;) {
            size_t piece = 1 + random_below(&random, bytes_min_size(30000, text.size - at));
            client_send(&client, text.data + at, piece);
            at += piece;
        }
        for (size_t j = 0; j < before; j++) {
            expect_echo(&client, j * 1000);
        }
        expect_echo(&client, body);
        client_expect(&client, 200, "hello");
    }
    client_close(&client);
}

static void test_chunked_bodies_of_every_size_with_the_next_request_behind(void **state) {
    struct client client = client_connect(*state);
    struct random_source random = {815};
    fill_pattern(pattern, sizeof(pattern));
    for (size_t i = 0; i < ARRAY_COUNT(body_sizes); i++) {
        size_t chunk_max = i % 3 == 0 ? 50000 : i % 3 == 1 ? 3000 : BODY_MAX;
        struct text text = request_text();
        append_chunked(&text, body_sizes[i], chunk_max, &random);
        text_append_literal(&text, GET("/hello"));
        send_request(&client, &text);
        expect_echo(&client, body_sizes[i]);
        client_expect(&client, 200, "hello");
    }
    client_close(&client);
}

static void test_an_empty_chunked_body_is_an_empty_body(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, POST("/echo", "Transfer-Encoding: chunked\r\n") "0\r\n\r\n" GET("/hello"));
    client_expect(&client, 200, "");
    client_expect(&client, 200, "hello");
    client_close(&client);
}

static void test_a_large_body_is_aligned(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    fill_pattern(pattern, sizeof(pattern));
    static const size_t sizes[] = {65536, BODY_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct text text = request_text();
        append_fixed(&text, "/echo", sizes[i]);
        send_request(&client, &text);
        expect_echo(&client, sizes[i]);
        assert_int_equal(harness->body_address % 64, 0);
        struct random_source random = {i};
        text = request_text();
        append_chunked(&text, sizes[i], 30000, &random);
        send_request(&client, &text);
        expect_echo(&client, sizes[i]);
        assert_int_equal(harness->body_address % 64, 0);
    }
    client_close(&client);
}

static void test_a_large_body_is_kept_until_its_answer_comes(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    fill_pattern(pattern, sizeof(pattern));
    struct text text = request_text();
    append_fixed(&text, "/later", 100000);
    send_request(&client, &text);
    harness_run(harness);
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.large), 1);
    assert_memory_equal((const char *)harness->body_address, pattern, 100000);
    assert_true(harness_answer(harness, "done"));
    client_expect(&client, 200, "done");
    assert_int_equal(buffer_pool_taken(&harness->server->set.pools.large), 0);
    client_close(&client);
}

static void test_a_body_over_the_handlers_limit_is_413_and_a_small_one_is_read_over(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, POST("/small", "Content-Length: 17\r\n") "12345678901234567" GET("/hello"));
    client_expect(&client, 413, NULL);
    client_expect(&client, 200, "hello");
    client_say(&client, POST("/small", "Content-Length: 16\r\n") "1234567890123456");
    client_expect(&client, 200, "1234567890123456");
    /* Not all there yet: read over as it comes. */
    client_say(&client, POST("/small", "Content-Length: 40000\r\n") "abc");
    client_expect(&client, 413, NULL);
    memset(request, 'x', 39997);
    client_send(&client, request, 39997);
    client_say(&client, GET("/hello"));
    client_expect(&client, 200, "hello");
    assert_int_equal(harness->errors, 2);
    client_close(&client);
}

static void test_a_body_over_the_limit_that_is_not_read_is_413_and_closes(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, POST("/echo", "Content-Length: 1048577\r\n") "abc");
    client_expect(&client, 413, NULL);
    client_expect_end(&client);
    client_close(&client);
    client = client_connect(*state);
    client_say(&client, POST("/echo", "Content-Length: 18446744073709551615\r\n") "abc");
    client_expect(&client, 413, NULL);
    client_expect_end(&client);
    client_close(&client);
    client = client_connect(*state);
    client_say(&client, POST("/small", "Transfer-Encoding: chunked\r\n") "11\r\n");
    client_expect(&client, 413, NULL);
    client_expect_end(&client);
    client_close(&client);
}

static void test_the_handler_judges_path_and_method_before_the_size(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, POST("/nowhere", "Content-Length: 10000000\r\n"));
    client_expect(&client, 404, "no such path");
    client_expect_end(&client);
    client_close(&client);
}

static void test_a_body_behind_an_early_answer_is_read_over(void **state) {
    struct harness *harness = *state;
    struct client client = client_connect(harness);
    client_say(&client, POST("/gone-head", "Content-Length: 5\r\n") "12345" GET("/hello"));
    client_expect(&client, 200, "early");
    client_expect(&client, 200, "hello");
    client_say(&client, POST("/gone-head", "Content-Length: 65536\r\n"));
    client_expect(&client, 200, "early");
    memset(request, 'x', 65536);
    client_send(&client, request, 65536);
    client_say(&client, GET("/hello"));
    client_expect(&client, 200, "hello");
    assert_int_equal(harness->requests, 2);
    client_close(&client);
}

static void test_a_body_too_large_to_read_over_closes_after_an_early_answer(void **state) {
    static const char *const fields[] = {"Content-Length: 65537\r\n",
                                         "Transfer-Encoding: chunked\r\n",
                                         "Content-Length: 5\r\nExpect: 100-continue\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        struct client client = client_connect(*state);
        char text[256];
        int size = snprintf(text, sizeof(text), "POST /gone-head HTTP/1.1\r\nHost: a\r\n%s\r\n",
                            fields[i]);
        client_send(&client, text, (size_t)size);
        struct answer answer = client_receive(&client, false);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer_field(&answer, "Connection"), "close");
        client_expect_end(&client);
        client_close(&client);
    }
}

static void expect_continue(struct client *client) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_true(client_receive_bytes(client, sizeof(text) - 1));
    assert_int_equal(client->size, sizeof(text) - 1);
    assert_memory_equal(client->bytes, text, sizeof(text) - 1);
    client->size = 0;
}

static void test_100_continue_is_sent_when_the_body_is_wanted_and_not_there(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, POST("/echo", "Content-Length: 3\r\nExpect: 100-continue\r\n"));
    expect_continue(&client);
    client_say(&client, "abc");
    client_expect(&client, 200, "abc");
    client_say(&client, POST("/echo", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"));
    expect_continue(&client);
    client_say(&client, "3\r\nabc\r\n0\r\n\r\n");
    client_expect(&client, 200, "abc");
    client_say(&client, POST("/echo", "Content-Length: 1000000\r\nExpect: 100-continue\r\n"));
    expect_continue(&client);
    fill_pattern(pattern, sizeof(pattern));
    client_send(&client, pattern, 1000000);
    expect_echo(&client, 1000000);
    client_close(&client);
}

static void test_100_continue_is_not_sent_when_it_is_pointless(void **state) {
    struct client client = client_connect(*state);
    client_say(&client, POST("/echo", "Content-Length: 3\r\nExpect: 100-continue\r\n") "abc");
    client_expect(&client, 200, "abc");
    client_say(&client, POST("/echo", "Content-Length: 0\r\nExpect: 100-continue\r\n"));
    client_expect(&client, 200, "");
    client_say(&client, "GET /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
    client_expect(&client, 200, "hello");
    client_say(&client, POST("/nowhere", "Content-Length: 3\r\nExpect: 100-continue\r\n"));
    client_expect(&client, 404, NULL);
    client_expect_end(&client);
    client_close(&client);
    client = client_connect(*state);
    client_say(&client, POST("/small", "Content-Length: 30\r\nExpect: 100-continue\r\n"));
    client_expect(&client, 413, NULL);
    client_expect_end(&client);
    client_close(&client);
}

static void test_without_a_free_buffer_a_body_is_503(void **state) {
    struct harness *harness = *state;
    struct client holders[8];
    harness->options.medium_buffers = 4;
    harness->options.large_buffers = 4;
    harness_restart(harness);
    fill_pattern(pattern, sizeof(pattern));
    for (size_t i = 0; i < ARRAY_COUNT(holders); i++) {
        holders[i] = client_connect(harness);
        client_say(&holders[i], POST("/echo", "Content-Length: 20000\r\n") "abc");
    }
    struct client client = client_connect(harness);
    client_say(&client, POST("/echo", "Content-Length: 20000\r\n"));
    client_expect(&client, 503, NULL);
    client_expect_end(&client);
    client_close(&client);
    assert_true(metric_get(&harness->server->metrics.buffers_exhausted_total) > 0);
    for (size_t i = 0; i < ARRAY_COUNT(holders); i++) {
        client_close(&holders[i]);
    }
    client = client_connect(harness);
    struct text text = request_text();
    append_fixed(&text, "/echo", 20000);
    send_request(&client, &text);
    expect_echo(&client, 20000);
    client_close(&client);
}

static void test_a_body_cut_short_never_reaches_the_handler(void **state) {
    struct harness *harness = *state;
    static const char *const requests[] = {
        POST("/echo", "Content-Length: 10\r\n") "abc",
        POST("/echo", "Content-Length: 100000\r\n") "a",
        POST("/echo", "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n",
        POST("/gone-head", "Content-Length: 10\r\n") "abc", "GET /hello HTTP/1.1\r\nHost: a\r\n"};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct client client = client_connect(harness);
        client_send(&client, requests[i], strlen(requests[i]));
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        harness_run(harness);
        assert_int_equal(harness_connections(harness), 0);
        client_close(&client);
    }
    assert_int_equal(harness->requests, 0);
}

static void test_answers_before_a_body_that_is_cut_short_still_leave(void **state) {
    static const char *const requests[] = {
        GET("/hello") POST("/echo", "Content-Length: 10\r\n") "abc",
        GET("/hello") POST("/nowhere", "Content-Length: 10\r\n") "abc"};
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        struct client client = client_pair(*state, SOCK_STREAM);
        assert_true(send(client.fd, requests[i], strlen(requests[i]), 0) > 0);
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0); /* the server sees both at once */
        client_expect(&client, 200, "hello");
        if (i == 1) {
            client_expect(&client, 404, NULL);
        }
        client_expect_end(&client);
        client_close(&client);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_bodies_of_every_size_arrive_whole_with_the_next_request_behind),
        SERVER_TEST(test_bodies_in_random_pieces_behind_other_requests),
        SERVER_TEST(test_chunked_bodies_of_every_size_with_the_next_request_behind),
        SERVER_TEST(test_an_empty_chunked_body_is_an_empty_body),
        SERVER_TEST(test_a_large_body_is_aligned),
        SERVER_TEST(test_a_large_body_is_kept_until_its_answer_comes),
        SERVER_TEST(test_a_body_over_the_handlers_limit_is_413_and_a_small_one_is_read_over),
        SERVER_TEST(test_a_body_over_the_limit_that_is_not_read_is_413_and_closes),
        SERVER_TEST(test_the_handler_judges_path_and_method_before_the_size),
        SERVER_TEST(test_a_body_behind_an_early_answer_is_read_over),
        SERVER_TEST(test_a_body_too_large_to_read_over_closes_after_an_early_answer),
        SERVER_TEST(test_100_continue_is_sent_when_the_body_is_wanted_and_not_there),
        SERVER_TEST(test_100_continue_is_not_sent_when_it_is_pointless),
        SERVER_TEST(test_without_a_free_buffer_a_body_is_503),
        SERVER_TEST(test_a_body_cut_short_never_reaches_the_handler),
        SERVER_TEST(test_answers_before_a_body_that_is_cut_short_still_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
