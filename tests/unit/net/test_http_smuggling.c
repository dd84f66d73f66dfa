/** The forms that lenient readers of HTTP take and that let two readers of the same bytes see
 *  different requests: each must be refused, in whatever pieces it comes. */
#include "parser_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_bare_lf_ends_no_line(void **state) {
    (void)state;
    REFUSED("GET / HTTP/1.1\nHost: a\n\n", 400, "line feed without");
    REFUSED("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "line feed without");
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "line feed without");
    REFUSED("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "line feed without");
    REFUSED(WITH_FIELDS("X: a\nContent-Length: 5\r\n"), 400, "line feed without");
}

static void test_bare_cr_ends_no_line(void **state) {
    (void)state;
    /* CVE-2023-30589: a header line that some readers end at the CR. */
    REFUSED(WITH_FIELDS("X: a\rTransfer-Encoding: chunked\r\n"), 400, "carriage return without");
    REFUSED(WITH_FIELDS("X: a\r\rContent-Length: 5\r\n"), 400, "carriage return without");
    REFUSED("GET / HTTP/1.1\rHost: a\r\r", 400, "carriage return without");
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\rx", 400, "carriage return without");
    REFUSED("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400, "carriage return without");
    REFUSED("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "carriage return without");
    REFUSED("\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "carriage return without");
}

static void test_folded_lines_are_refused(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("X: a\r\n b\r\n"), 400, "begins with a blank");
    REFUSED(WITH_FIELDS("X: a\r\n\tb: c\r\n"), 400, "begins with a blank");
    REFUSED(WITH_FIELDS("Transfer-Encoding:\r\n chunked\r\n"), 400, "begins with a blank");
    REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "begins with a blank");
    REFUSED("GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400, "begins with a blank");
}

static void test_a_blank_before_the_colon_is_refused(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Content-Length : 5\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("Transfer-Encoding\t: chunked\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("Content-Length\x0b: 5\r\n"), 400, "control character");
}

static void test_a_field_name_is_a_token(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS(": x\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("X\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("X Y: z\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("Content(Length: 5\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("Content-Length\xa0: 5\r\n"), 400, "a name, a colon");
    REFUSED(WITH_FIELDS("\"X\": 5\r\n"), 400, "a name, a colon");
    TAKEN(WITH_FIELDS("!#$%&'*+-.^_`|~09azAZ: \x80\xff\t(\"x\")\r\n"));
}

static void test_control_characters_are_refused_wherever_they_are(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        bool control =
            (byte < 0x20 && byte != '\t' && byte != '\r' && byte != '\n') || byte == 0x7f;
        if (!control) {
            continue;
        }
        char in_value[] = WITH_FIELDS("X: a?b\r\n");
        char in_name[] = WITH_FIELDS("X?Y: ab\r\n");
        char in_target[] = "GET /? HTTP/1.0\r\n\r\n";
        *strchr(in_value, '?') = (char)byte;
        *strchr(in_name, '?') = (char)byte;
        *strchr(in_target, '?') = (char)byte;
        expect_refused(in_value, sizeof(in_value) - 1, 400, "control character");
        expect_refused(in_name, sizeof(in_name) - 1, 400, "control character");
        expect_refused(in_target, sizeof(in_target) - 1, 400, "control character");
    }
}

static void test_what_is_no_http_at_all_is_refused_before_a_line_ends(void **state) {
    (void)state;
    REFUSED("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "control character");
}

static void test_content_length_is_there_once_even_if_equal(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Content-Length: 5\r\nContent-Length: 5\r\n"), 400, "twice");
    REFUSED(WITH_FIELDS("Content-Length: 5\r\nX: y\r\ncontent-length: 6\r\n"), 400, "twice");
    REFUSED(WITH_FIELDS("Content-Length: 5, 5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: 5,\r\n"), 400, "plain digits");
}

static void test_content_length_is_plain_digits(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Content-Length: +5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: -5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: -0\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: 0x5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: 5 5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: 5.0\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: 1_000\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: five\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length: \xd9\xa5\r\n"), 400, "plain digits");
    REFUSED(WITH_FIELDS("Content-Length:\r\n"), 400, "empty");
    REFUSED(WITH_FIELDS("Content-Length: \t\r\n"), 400, "empty");
}

static void test_content_length_is_bounded_by_64_bits(void **state) {
    (void)state;
    const struct http_head *head = TAKEN(WITH_FIELDS("Content-Length: 18446744073709551615\r\n"));
    assert_true(head->content_length == UINT64_MAX);
    REFUSED(WITH_FIELDS("Content-Length: 18446744073709551616\r\n"), 400, "64 bits");
    REFUSED(WITH_FIELDS("Content-Length: 99999999999999999999999999999999\r\n"), 400, "64 bits");
    head = TAKEN(WITH_FIELDS("Content-Length: \t 0000000000000000000000000000042 \r\n"));
    assert_int_equal(head->content_length, 42);
}

static void test_content_length_beside_transfer_encoding_is_400(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "both");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400, "both");
    REFUSED(WITH_FIELDS("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), 400, "both");
    REFUSED(WITH_FIELDS("Transfer-Encoding:\r\nContent-Length: 0\r\n"), 400, "both");
}

static void test_the_only_coding_is_chunked_in_one_field(void **state) {
    (void)state;
    assert_true(TAKEN(WITH_FIELDS("Transfer-Encoding: chunked\r\n"))->chunked);
    assert_true(TAKEN(WITH_FIELDS("transfer-encoding:\tCHUNKED \r\n"))->chunked);
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked, identity\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: identity, chunked\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked, chunked\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked,\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: gzip, chunked\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: xchunked\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunkedx\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: \"chunked\"\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked;q=1\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: identity\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding:\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: \x0b"
                        "chunked\r\n"),
            400, "control character");
}

static void test_two_transfer_encodings_are_501(void **state) {
    (void)state;
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501,
            "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n"), 501, "coding");
    REFUSED(WITH_FIELDS("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n"), 501, "coding");
}

static void test_http_1_0_has_no_transfer_encoding(void **state) {
    (void)state;
    REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0");
    REFUSED("POST / HTTP/1.0\r\nTransfer-Encoding: cow\r\n\r\n", 400, "HTTP/1.0");
}

static void test_an_underscore_is_no_hyphen(void **state) {
    (void)state;
    const struct http_head *head =
        TAKEN(WITH_FIELDS("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n"));
    assert_false(head->has_content_length);
    assert_false(head->chunked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare_lf_ends_no_line),
        cmocka_unit_test(test_bare_cr_ends_no_line),
        cmocka_unit_test(test_folded_lines_are_refused),
        cmocka_unit_test(test_a_blank_before_the_colon_is_refused),
        cmocka_unit_test(test_a_field_name_is_a_token),
        cmocka_unit_test(test_control_characters_are_refused_wherever_they_are),
        cmocka_unit_test(test_what_is_no_http_at_all_is_refused_before_a_line_ends),
        cmocka_unit_test(test_content_length_is_there_once_even_if_equal),
        cmocka_unit_test(test_content_length_is_plain_digits),
        cmocka_unit_test(test_content_length_is_bounded_by_64_bits),
        cmocka_unit_test(test_content_length_beside_transfer_encoding_is_400),
        cmocka_unit_test(test_the_only_coding_is_chunked_in_one_field),
        cmocka_unit_test(test_two_transfer_encodings_are_501),
        cmocka_unit_test(test_http_1_0_has_no_transfer_encoding),
        cmocka_unit_test(test_an_underscore_is_no_hyphen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
