#include "parser_harness.h"

#include "base/text.h"
#include "net/http_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_a_request_is_split_into_its_parts(void **state) {
    (void)state;
    const struct http_head *head = TAKEN("PATCH /v1/orders/12?min_version=3&x=%2F HTTP/1.1\r\n"
                                         "Host: pay.example:8080\r\n"
                                         "content-TYPE:application/json\r\n"
                                         "If-Match: \t \"3\" \t \r\n"
                                         "X-Empty:\r\n"
                                         "Content-Length: 20\r\n"
                                         "\r\n"
                                         "{\"status\":\"cancel\"}..");
    assert_int_equal(head->method, HTTP_METHOD_PATCH);
    assert_int_equal(head->minor_version, 1);
    assert_true(head->keep_alive);
    assert_false(head->chunked);
    assert_true(head->has_content_length);
    assert_int_equal(head->content_length, 20);
    expect_slice(head->method_name, "PATCH");
    expect_slice(head->target, "/v1/orders/12?min_version=3&x=%2F");
    expect_slice(head->path, "/v1/orders/12");
    expect_slice(head->query, "min_version=3&x=%2F");
    expect_slice(head->host, "pay.example:8080");
    assert_int_equal(head->field_count, 5);
    expect_slice(http_head_value(head, HTTP_FIELD_CONTENT_TYPE), "application/json");
    expect_slice(http_head_value(head, HTTP_FIELD_IF_MATCH), "\"3\"");
    expect_slice(head->fields[3].name, "X-Empty");
    expect_slice(head->fields[3].value, "");
    assert_non_null(head->fields[3].value.data);
    assert_null(http_head_value(head, HTTP_FIELD_AUTHORIZATION).data);
}

static void test_each_known_method_is_known_and_only_in_capitals(void **state) {
    (void)state;
    assert_int_equal(TAKEN("GET / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_GET);
    assert_int_equal(TAKEN("HEAD / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_HEAD);
    assert_int_equal(TAKEN("POST / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_POST);
    assert_int_equal(TAKEN("PUT / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_PUT);
    assert_int_equal(TAKEN("PATCH / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_PATCH);
    assert_int_equal(TAKEN("DELETE / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_DELETE);
    assert_int_equal(TAKEN("OPTIONS / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_OPTIONS);
    assert_int_equal(TAKEN("get / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_UNKNOWN);
    assert_int_equal(TAKEN("GETX / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_UNKNOWN);
}

static void test_an_unknown_method_keeps_its_path_and_without_one_it_is_501(void **state) {
    (void)state;
    const struct http_head *head = TAKEN("BREW /pot?sort=tea HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(head->method, HTTP_METHOD_UNKNOWN);
    expect_slice(head->path, "/pot");
    expect_slice(TAKEN("BREW http://b/pot HTTP/1.1\r\nHost: a\r\n\r\n")->path, "/pot");
    REFUSED("CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method");
    REFUSED("BREW pot HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method");
    REFUSED("BREW po\"t HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target");
}

static void test_a_malformed_head_counts_before_an_unknown_method(void **state) {
    (void)state;
    REFUSED("BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "Content-Length");
    REFUSED("BREW / HTTP/1.1\r\n\r\n", 400, "Host");
}

static void test_a_method_is_a_token(void **state) {
    (void)state;
    REFUSED(" GET / HTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("G(T / HTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("GET: / HTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("GET\r\n\r\n", 400, "request line");
    REFUSED("G\xc3\x84T / HTTP/1.1\r\n\r\n", 400, "request line");
}

static void test_the_request_line_has_single_blanks_and_three_parts(void **state) {
    (void)state;
    REFUSED("GET  / HTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("GET /  HTTP/1.1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/1.1 \r\n\r\n", 400, "version");
    REFUSED("GET\t/ HTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("GET /\tHTTP/1.1\r\n\r\n", 400, "request line");
    REFUSED("GET /a b HTTP/1.1\r\n\r\n", 400, "version");
    REFUSED("GET /\r\n\r\n", 400, "request line");
    REFUSED("GET / \r\n\r\n", 400, "version");
}

static void test_versions_are_1_0_and_1_1(void **state) {
    (void)state;
    assert_int_equal(TAKEN("GET / HTTP/1.0\r\n\r\n")->minor_version, 0);
    REFUSED("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "HTTP/1");
    REFUSED("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/1");
    REFUSED("GET / HTTP/0.9\r\n\r\n", 505, "HTTP/1");
    REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1");
}

static void test_a_malformed_version_is_400(void **state) {
    (void)state;
    REFUSED("GET / http/1.1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/1.10\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/11.1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/1,1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTP/x.1\r\n\r\n", 400, "version");
    REFUSED("GET / HTTPS/1.1\r\n\r\n", 400, "version");
    REFUSED("GET / 1.1\r\n\r\n", 400, "version");
}

static void test_target_forms(void **state) {
    (void)state;
    const struct http_head *head = TAKEN("GET /?a?b HTTP/1.0\r\n\r\n");
    expect_slice(head->path, "/");
    expect_slice(head->query, "a?b");
    head = TAKEN("GET http://pay.example:80/v1/x?q HTTP/1.0\r\n\r\n");
    expect_slice(head->path, "/v1/x");
    expect_slice(head->query, "q");
    head = TAKEN("GET HTTP://[::1]:80 HTTP/1.0\r\n\r\n");
    expect_slice(head->path, "/");
    expect_slice(head->query, "");
    head = TAKEN("GET http://a?q HTTP/1.0\r\n\r\n");
    expect_slice(head->path, "/");
    expect_slice(head->query, "q");
    expect_slice(TAKEN("OPTIONS * HTTP/1.0\r\n\r\n")->path, "*");
    expect_slice(TAKEN("OPTIONS http://a HTTP/1.0\r\n\r\n")->path, "*");
}

static void test_other_target_forms_are_400(void **state) {
    (void)state;
    REFUSED("GET * HTTP/1.0\r\n\r\n", 400, "target");
    REFUSED("OPTIONS ** HTTP/1.0\r\n\r\n", 400, "target");
    REFUSED("GET a.example:80 HTTP/1.0\r\n\r\n", 400, "target");
    REFUSED("GET orders HTTP/1.0\r\n\r\n", 400, "target");
    REFUSED("GET https://a/ HTTP/1.0\r\n\r\n", 400, "target");
    REFUSED("GET http:///x HTTP/1.0\r\n\r\n", 400, "host");
    REFUSED("GET http://user@a/ HTTP/1.0\r\n\r\n", 400, "host");
    REFUSED("GET http://a:70000/ HTTP/1.0\r\n\r\n", 400, "host");
    REFUSED("GET http://a/#x HTTP/1.0\r\n\r\n", 400, "target");
}

static void test_invalid_characters_in_targets_are_400(void **state) {
    (void)state;
    static const char wrong[] = "#\"<>\\^`{|}[]\x80\xff";
    for (size_t i = 0; i < sizeof(wrong) - 1; i++) {
        char text[64];
        int size = snprintf(text, sizeof(text), "GET /a%cb HTTP/1.0\r\n\r\n", wrong[i]);
        expect_refused(text, (size_t)size, 400, "invalid character");
        size = snprintf(text, sizeof(text), "GET /?a%cb HTTP/1.0\r\n\r\n", wrong[i]);
        expect_refused(text, (size_t)size, 400, "invalid character");
    }
    REFUSED("GET /% HTTP/1.0\r\n\r\n", 400, "invalid character");
    REFUSED("GET /%4 HTTP/1.0\r\n\r\n", 400, "invalid character");
    REFUSED("GET /%4g HTTP/1.0\r\n\r\n", 400, "invalid character");
    TAKEN("GET /-._~!$&'()*+,;=:@%4a%FF/?/ HTTP/1.0\r\n\r\n");
}

static void test_a_target_has_a_limit(void **state) {
    (void)state;
    static char text[8192];
    static char target[2050];
    memset(target, 'a', sizeof(target) - 1);
    target[0] = '/';
    int size = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", target);
    expect_refused(text, (size_t)size, 414, "target");
    target[2048] = 0;
    size = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", target);
    expect_taken(text, (size_t)size);
}

static void test_a_request_line_without_end_is_414_and_a_header_without_end_431(void **state) {
    (void)state;
    static char text[9000];
    memset(text, 'a', sizeof(text));
    memcpy(text, "GET /", 5);
    expect_refused(text, sizeof(text), 414, "request line");
    assert_int_equal(parse_each_way(text, 8191)->result, HTTP_PARSE_MORE);
    memcpy(text, "GET / HTTP/1.0\r\nx: ", 19);
    expect_refused(text, sizeof(text), 431, "header");
    memcpy(text + 8188, "\r\n\r\n", 4);
    expect_taken(text, 8192);
    memset(text + 8188, 'a', 4);
    memcpy(text + 8189, "\r\n\r\n", 4);
    expect_refused(text, sizeof(text), 431, "header");
}

static void test_sixty_four_header_fields_are_taken_and_no_more(void **state) {
    (void)state;
    char memory[1024];
    struct text text = text_over(memory, sizeof(memory));
    text_append_literal(&text, "GET / HTTP/1.0\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++) {
        text_append_literal(&text, "a: b\r\n");
    }
    struct text one_more = text;
    text_append_literal(&text, "\r\n");
    assert_int_equal(expect_taken(text.data, text.size)->field_count, HTTP_FIELDS_MAX);
    text_append_literal(&one_more, "a: b\r\n\r\n");
    expect_refused(one_more.data, one_more.size, 431, "too many");
}

static void test_host_is_there_once_in_1_1_and_valid(void **state) {
    (void)state;
    REFUSED("GET / HTTP/1.1\r\n\r\n", 400, "Host is missing");
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "Host is there twice");
    REFUSED("GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", 400, "Host is there twice");
    REFUSED("GET http://a/ HTTP/1.1\r\n\r\n", 400, "Host is missing");
    TAKEN("GET / HTTP/1.0\r\n\r\n");
    static const char *const valid[] = {
        "a", "a.b-c_d~", "127.0.0.1:8080", "[::1]", "[fe80::1]:80", "a:", "%41", "a,b"};
    static const char *const invalid[] = {
        "",     "a b", "a/b",   "a:b",   "a:80:80",     "a@b",    "[::1",  "[]",
        "::1",  "a?b", "a#b",   ":80",   "a:99999",     "[::1]x", "[a]",   "\"a\"",
        "a\\b", "%4",  "a,b c", "a\x80", "[127.0.0.1]", "a:+80",  "a: 80", "http://a"};
    for (size_t i = 0; i < ARRAY_COUNT(valid); i++) {
        char text[128];
        int size = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", valid[i]);
        expect_slice(expect_taken(text, (size_t)size)->host, valid[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(invalid); i++) {
        char text[128];
        int size = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", invalid[i]);
        expect_refused(text, (size_t)size, 400, "Host is invalid");
    }
}

static void test_the_connection_lives_as_the_version_and_the_field_say(void **state) {
    (void)state;
    assert_true(TAKEN(WITH_FIELDS(""))->keep_alive);
    assert_true(TAKEN(WITH_FIELDS("Connection: keep-alive\r\n"))->keep_alive);
    assert_true(TAKEN(WITH_FIELDS("Connection: closed\r\n"))->keep_alive);
    assert_false(TAKEN(WITH_FIELDS("Connection: Close\r\n"))->keep_alive);
    assert_false(TAKEN(WITH_FIELDS("Connection: ,x , close,\r\n"))->keep_alive);
    assert_false(TAKEN(WITH_FIELDS("Connection: close\r\nConnection: keep-alive\r\n"))->keep_alive);
    assert_false(TAKEN("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->keep_alive);
}

static void test_expect_is_100_continue_or_417_and_ignored_in_1_0(void **state) {
    (void)state;
    assert_true(TAKEN(WITH_FIELDS("Expect: 100-Continue\r\n"))->expect_continue);
    assert_false(TAKEN(WITH_FIELDS(""))->expect_continue);
    REFUSED(WITH_FIELDS("Expect: 200-ok\r\n"), 417, "Expect");
    REFUSED(WITH_FIELDS("Expect: 100-continue, x\r\n"), 417, "Expect");
    REFUSED(WITH_FIELDS("Expect:\r\n"), 417, "Expect");
    REFUSED(WITH_FIELDS("Expect: x\r\nContent-Length: -\r\n"), 400, "Content-Length");
    assert_false(TAKEN("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")->expect_continue);
    TAKEN("GET / HTTP/1.0\r\nExpect: x\r\n\r\n");
}

static void test_one_empty_line_may_come_before_the_request_line(void **state) {
    (void)state;
    assert_int_equal(TAKEN("\r\nGET / HTTP/1.0\r\n\r\n")->method, HTTP_METHOD_GET);
    REFUSED("\r\n\r\nGET / HTTP/1.0\r\n\r\n", 400, "request line");
}

static void test_list_fields_may_come_in_several_lines(void **state) {
    (void)state;
    const struct http_head *head =
        TAKEN(WITH_FIELDS("If-Match: \"1\"\r\nX: y\r\nIF-MATCH: \"2\", \"3\"\r\n"));
    uint32_t at = 0;
    struct slice value;
    assert_true(http_head_next(head, HTTP_FIELD_IF_MATCH, &at, &value));
    expect_slice(value, "\"1\"");
    assert_true(http_head_next(head, HTTP_FIELD_IF_MATCH, &at, &value));
    expect_slice(value, "\"2\", \"3\"");
    struct slice item;
    assert_true(http_list_next(&value, &item));
    expect_slice(item, "\"2\"");
    assert_true(http_list_next(&value, &item));
    expect_slice(item, "\"3\"");
    assert_false(http_list_next(&value, &item));
    assert_false(http_head_next(head, HTTP_FIELD_IF_MATCH, &at, &value));
}

static void test_fields_that_are_single_are_refused_twice(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Content-Type: a/b\r\ncontent-type: a/b\r\n"), 400, "twice");
    REFUSED(WITH_FIELDS("Authorization: a\r\nAuthorization: b\r\n"), 400, "twice");
}

static void test_the_head_ends_where_the_body_begins(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.0\r\na: b\r\n\r\n\r\nGET";
    assert_int_equal(parse_each_way(text, sizeof(text) - 1)->head_bytes, 24);
}

static void test_slices_follow_a_buffer_that_moves(void **state) {
    (void)state;
    static const char text[] = "GET http://h HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
    char buffer[256] = "";
    struct http_parser parser;
    struct http_head head;
    const struct http_limits limits = {8192, 2048};
    http_parser_init(&parser, &limits);
    memcpy(buffer + 100, text, sizeof(text));
    assert_int_equal(http_parser_run(&parser, &head, buffer + 100, 30), HTTP_PARSE_MORE);
    memmove(buffer, buffer + 100, sizeof(text));
    memset(buffer + 100, 0xee, sizeof(text));
    http_head_rebase(&head, -100);
    assert_int_equal(http_parser_run(&parser, &head, buffer, sizeof(text) - 1), HTTP_PARSE_DONE);
    expect_slice(head.method_name, "GET");
    expect_slice(head.target, "http://h");
    expect_slice(head.path, "/");
    expect_slice(head.query, "");
    expect_slice(head.host, "h");
    expect_slice(head.fields[1].name, "X");
    assert_ptr_equal(head.target.data, buffer + 4);
}

static void test_a_buffer_may_move_before_the_request_line_is_whole(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.0\r\n\r\n";
    struct http_parser parser;
    struct http_head head;
    const struct http_limits limits = {8192, 2048};
    char moved[sizeof(text)];
    http_parser_init(&parser, &limits);
    assert_int_equal(http_parser_run(&parser, &head, text, 3), HTTP_PARSE_MORE);
    http_head_rebase(&head, 0);
    memcpy(moved, text, sizeof(text));
    assert_int_equal(http_parser_run(&parser, &head, moved, sizeof(text) - 1), HTTP_PARSE_DONE);
    assert_ptr_equal(head.path.data, moved + 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_split_into_its_parts),
        cmocka_unit_test(test_each_known_method_is_known_and_only_in_capitals),
        cmocka_unit_test(test_an_unknown_method_keeps_its_path_and_without_one_it_is_501),
        cmocka_unit_test(test_a_malformed_head_counts_before_an_unknown_method),
        cmocka_unit_test(test_a_method_is_a_token),
        cmocka_unit_test(test_the_request_line_has_single_blanks_and_three_parts),
        cmocka_unit_test(test_versions_are_1_0_and_1_1),
        cmocka_unit_test(test_a_malformed_version_is_400),
        cmocka_unit_test(test_target_forms),
        cmocka_unit_test(test_other_target_forms_are_400),
        cmocka_unit_test(test_invalid_characters_in_targets_are_400),
        cmocka_unit_test(test_a_target_has_a_limit),
        cmocka_unit_test(test_a_request_line_without_end_is_414_and_a_header_without_end_431),
        cmocka_unit_test(test_sixty_four_header_fields_are_taken_and_no_more),
        cmocka_unit_test(test_host_is_there_once_in_1_1_and_valid),
        cmocka_unit_test(test_the_connection_lives_as_the_version_and_the_field_say),
        cmocka_unit_test(test_expect_is_100_continue_or_417_and_ignored_in_1_0),
        cmocka_unit_test(test_one_empty_line_may_come_before_the_request_line),
        cmocka_unit_test(test_list_fields_may_come_in_several_lines),
        cmocka_unit_test(test_fields_that_are_single_are_refused_twice),
        cmocka_unit_test(test_the_head_ends_where_the_body_begins),
        cmocka_unit_test(test_slices_follow_a_buffer_that_moves),
        cmocka_unit_test(test_a_buffer_may_move_before_the_request_line_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
