#include "orderctl/bench_answer.h"
#include "unit.h"

#include "base/random.h"

static const char http_text[] = "HTTP/1.1 201 Created\r\nDate: now\r\nLocation: /v1/orders/17\r\n"
                                "content-LENGTH: 5\r\nContent-Type: text/plain\r\n\r\nhello";

static void test_an_answer_of_http_is_cut(void **state) {
    struct bench_answer answer;
    (void)state;
    assert_int_equal(bench_cut_http(slice_from_text(http_text), &answer), BENCH_CUT_WHOLE);
    assert_int_equal(answer.size, sizeof(http_text) - 1);
    assert_int_equal(answer.status, 201);
    assert_false(answer.closes);
    assert_slice_equal(answer.body, "hello");
    assert_slice_equal(bench_answer_header(answer.head, SLICE_LITERAL("location")),
                       "/v1/orders/17");
    assert_null(bench_answer_header(answer.head, SLICE_LITERAL("locatio")).data);
}

static void test_every_part_of_an_answer_asks_for_more(void **state) {
    struct bench_answer answer;
    (void)state;
    for (size_t size = 0; size < sizeof(http_text) - 1; size++) {
        struct slice part = {http_text, size};
        assert_int_equal(bench_cut_http(part, &answer), BENCH_CUT_MORE);
        bool head_is_whole = size >= sizeof(http_text) - 1 - 5;
        assert_int_equal(answer.size, head_is_whole ? sizeof(http_text) - 1 : 0);
    }
}

static void test_a_closing_connection_is_seen(void **state) {
    struct bench_answer answer;
    (void)state;
    assert_int_equal(bench_cut_http(SLICE_LITERAL("HTTP/1.1 503 Service Unavailable\r\n"
                                                  "Connection: close\r\n"
                                                  "Content-Length: 0\r\n\r\n"),
                                    &answer),
                     BENCH_CUT_WHOLE);
    assert_int_equal(answer.status, 503);
    assert_true(answer.closes);
    assert_int_equal(answer.body.size, 0);
}

static void test_what_is_no_answer_of_http_is_malformed(void **state) {
    static const char *const texts[] = {
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "+PONG\r\n        ",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct bench_answer answer;
        assert_int_equal(bench_cut_http(slice_from_text(texts[i]), &answer), BENCH_CUT_MALFORMED);
    }
}

static void test_replies_of_resp_are_cut(void **state) {
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"$5\r\nhello\r\n", 200}, {"$-1\r\n", 200},
        {"$0\r\n\r\n", 200},      {"+OK\r\n", 200},
        {"-ERR no\r\n", 500},     {":12\r\n", 200},
        {"*0\r\n", 200},          {"*2\r\n$1\r\na\r\n$-1\r\n", 200},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench_answer answer;
        char text[64];
        size_t size = strlen(cases[i].text);
        (void)snprintf(text, sizeof(text), "%s+next\r\n", cases[i].text);
        assert_int_equal(bench_cut_resp(slice_from_text(text), &answer), BENCH_CUT_WHOLE);
        assert_int_equal(answer.size, size);
        assert_int_equal(answer.status, cases[i].status);
        for (size_t part = 0; part < size; part++) {
            struct slice bytes = {text, part};
            assert_int_equal(bench_cut_resp(bytes, &answer), BENCH_CUT_MORE);
        }
    }
}

static void test_what_is_no_reply_of_resp_is_malformed(void **state) {
    static const char *const texts[] = {
        "$x\r\n", "$-2\r\n", "*1\r\n*1\r\n$1\r\na\r\n", "!\r\n", "*99999999\r\n", "$5\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct bench_answer answer;
        assert_int_equal(bench_cut_resp(slice_from_text(texts[i]), &answer), BENCH_CUT_MALFORMED);
    }
}

static void test_an_array_is_walked(void **state) {
    struct slice reply = SLICE_LITERAL("*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n");
    struct slice bulk;
    (void)state;
    assert_false(bench_resp_enter_array(&reply, 2));
    assert_true(bench_resp_enter_array(&reply, 3));
    assert_true(bench_resp_next_bulk(&reply, &bulk));
    assert_slice_equal(bulk, "a");
    assert_true(bench_resp_next_bulk(&reply, &bulk));
    assert_null(bulk.data);
    assert_true(bench_resp_next_bulk(&reply, &bulk));
    assert_slice_equal(bulk, "bc");
    assert_false(bench_resp_next_bulk(&reply, &bulk));
}

static void test_random_bytes_are_never_cut_past_their_end(void **state) {
    static const char letters[] = "*$+-:0123459\r\nHTP/.1 C";
    struct random_source random = {5};
    (void)state;
    for (size_t round = 0; round < 200000; round++) {
        char bytes[48];
        struct bench_answer answer;
        size_t size = 1 + (size_t)random_below(&random, sizeof(bytes) - 1);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = letters[random_below(&random, sizeof(letters) - 1)];
        }
        struct slice slice = {bytes, size};
        if (bench_cut_resp(slice, &answer) == BENCH_CUT_WHOLE) {
            assert_in_range(answer.size, 1, size);
        }
        if (bench_cut_http(slice, &answer) == BENCH_CUT_WHOLE) {
            assert_in_range(answer.size, 1, size);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_of_http_is_cut),
        cmocka_unit_test(test_every_part_of_an_answer_asks_for_more),
        cmocka_unit_test(test_a_closing_connection_is_seen),
        cmocka_unit_test(test_what_is_no_answer_of_http_is_malformed),
        cmocka_unit_test(test_replies_of_resp_are_cut),
        cmocka_unit_test(test_what_is_no_reply_of_resp_is_malformed),
        cmocka_unit_test(test_an_array_is_walked),
        cmocka_unit_test(test_random_bytes_are_never_cut_past_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
