#include "net/http_chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define BODY_MAX 1000

struct decoded {
    enum http_parse result;
    struct http_refusal refusal;
    size_t taken;
    size_t size;
    char body[32768];
};

/** Decodes in place, `step` bytes at a time, as a connection does: each piece is read to behind
 *  what is decoded. */
static void decode(struct decoded *decoded, const char *text, size_t size, size_t step) {
    struct http_chunks chunks;
    http_chunks_init(&chunks, BODY_MAX);
    memset(decoded, 0, sizeof(*decoded));
    decoded->result = HTTP_PARSE_MORE;
    while (decoded->result == HTTP_PARSE_MORE && decoded->taken < size) {
        size_t piece = bytes_min_size(step, size - decoded->taken);
        char *raw = decoded->body + decoded->size;
        size_t taken;
        size_t made;
        memcpy(raw, text + decoded->taken, piece);
        decoded->result = http_chunks_decode(&chunks, raw, piece, raw, &taken, &made);
        assert_true(decoded->result != HTTP_PARSE_MORE || taken == piece);
        decoded->taken += taken;
        decoded->size += made;
    }
    decoded->refusal = chunks.refusal;
}

static const struct decoded *decode_each_way(const char *text, size_t size) {
    static struct decoded whole;
    static struct decoded pieces;
    decode(&whole, text, size, size);
    for (size_t step = 1; step < 8; step++) {
        decode(&pieces, text, size, step);
        assert_int_equal(whole.result, pieces.result);
        assert_int_equal(whole.refusal.status, pieces.refusal.status);
        assert_ptr_equal(whole.refusal.detail, pieces.refusal.detail);
        assert_int_equal(whole.taken, pieces.taken);
        assert_int_equal(whole.size, pieces.size);
        assert_memory_equal(whole.body, pieces.body, whole.size);
    }
    return &whole;
}

static void expect_refused(const char *text, size_t size, unsigned status, const char *reason) {
    const struct decoded *decoded = decode_each_way(text, size);
    if (decoded->result != HTTP_PARSE_REFUSED) {
        fail_msg("not refused: %.*s", (int)size, text);
    }
    assert_int_equal(decoded->refusal.status, status);
    if (strstr(decoded->refusal.detail, reason) == NULL) {
        fail_msg("refused because \"%s\", not because of \"%s\"", decoded->refusal.detail, reason);
    }
}

static void expect_body(const char *text, size_t size, const char *body, size_t left) {
    const struct decoded *decoded = decode_each_way(text, size);
    if (decoded->result != HTTP_PARSE_DONE) {
        fail_msg("not taken: %.*s", (int)size, text);
    }
    assert_int_equal(decoded->size, strlen(body));
    assert_memory_equal(decoded->body, body, decoded->size);
    assert_int_equal(decoded->taken, size - left);
}

#define BODY(literal, body, left) expect_body(literal, sizeof(literal) - 1, body, left)
#define REFUSED(literal, status, reason)                                                           \
    expect_refused(literal, sizeof(literal) - 1, status, reason)

static void test_chunks_are_joined_and_what_follows_is_left(void **state) {
    (void)state;
    BODY("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world", 0);
    BODY("0\r\n\r\n", "", 0);
    BODY("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "a", 16);
    BODY("A\r\n0123456789\r\na\r\n9876543210\r\n000\r\n\r\n", "01234567899876543210", 0);
    BODY("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0);
}

static void test_a_chunk_size_is_bare_hexadecimal_digits(void **state) {
    (void)state;
    REFUSED("\r\n", 400, "chunk size");
    REFUSED(" 5\r\nhello\r\n", 400, "chunk size");
    REFUSED("5 \r\nhello\r\n", 400, "chunk size");
    REFUSED("5 ;x\r\nhello\r\n", 400, "chunk size");
    REFUSED("+5\r\nhello\r\n", 400, "chunk size");
    REFUSED("-5\r\nhello\r\n", 400, "chunk size");
    REFUSED("0x5\r\nhello\r\n", 400, "chunk size");
    REFUSED("5h\r\nhello\r\n", 400, "chunk size");
    REFUSED("g\r\n", 400, "chunk size");
    REFUSED("5_0\r\n", 400, "chunk size");
    REFUSED(";x\r\n", 400, "chunk size");
    REFUSED("5,0\r\n", 400, "chunk size");
}

static void test_a_chunk_size_cannot_overflow(void **state) {
    (void)state;
    REFUSED("ffffffffffffffff\r\n", 413, "too large");
    REFUSED("10000000000000005\r\nhello\r\n", 400, "too many digits");
    REFUSED("00000000000000005\r\nhello\r\n", 400, "too many digits");
    BODY("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", 0);
}

static void test_a_body_over_the_limit_is_refused_when_a_chunk_announces_it(void **state) {
    (void)state;
    REFUSED("3e9\r\n", 413, "too large");
    REFUSED("1\r\na\r\n3e8\r\n", 413, "too large");
    static const char text[] = "3e8\r\n";
    assert_int_equal(decode_each_way(text, sizeof(text) - 1)->result, HTTP_PARSE_MORE);
}

static void test_a_bare_lf_or_cr_ends_no_line_of_a_chunked_body(void **state) {
    (void)state;
    REFUSED("5\nhello\r\n0\r\n\r\n", 400, "chunk size");
    REFUSED("5;a\nhello\r\n0\r\n\r\n", 400, "control character");
    /* As in CVE-2023-30589 and its kin: what does a reader skip behind a bare CR? */
    REFUSED("5\rhello\r\n0\r\n\r\n", 400, "carriage return without");
    REFUSED("5\r\rhello\r\n0\r\n\r\n", 400, "carriage return without");
    REFUSED("5;a\rb\r\nhello\r\n", 400, "carriage return without");
    REFUSED("5\r\nhello\n0\r\n\r\n", 400, "longer than its size");
    REFUSED("5\r\nhello\r0\r\n\r\n", 400, "carriage return without");
    REFUSED("0\r\n\n", 400, "trailer");
    REFUSED("0\r\n\rGET", 400, "carriage return without");
    REFUSED("0\n\r\n", 400, "chunk size");
    REFUSED("0\r\nX: a\n\r\n", 400, "control character");
    REFUSED("0\r\nX: a\rb\r\n\r\n", 400, "carriage return without");
}

static void test_chunk_data_is_exactly_as_long_as_announced(void **state) {
    (void)state;
    REFUSED("5\r\nhello!\r\n", 400, "longer than its size");
    REFUSED("5\r\nhell\r\n0\r\n\r\n", 400, "longer than its size");
}

static void test_extensions_are_skipped_within_bounds(void **state) {
    (void)state;
    BODY("5;a=b;c=\"d; e\"\r\nhello\r\n0;last\r\n\r\n", "hello", 0);
    REFUSED("5;a\x01\r\nhello\r\n", 400, "control character");
    REFUSED("5;a\x7f\r\nhello\r\n", 400, "control character");
    static char text[9000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "1;", 2);
    expect_refused(text, sizeof(text), 400, "too large");
    /* The bound is for all chunks together: many short ones do not get around it. */
    size_t size = 0;
    for (int i = 0; i < 500; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "1;1234567890\r\na\r\n");
    }
    expect_refused(text, size, 400, "too large");
}

static void test_trailers_are_checked_and_dropped(void **state) {
    (void)state;
    BODY("1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\nContent-Length: 9\r\n\r\nGET", "a", 3);
    REFUSED("0\r\n X: a\r\n\r\n", 400, "trailer");
    REFUSED("0\r\nX: a\r\n b\r\n\r\n", 400, "trailer");
    REFUSED("0\r\nX : a\r\n\r\n", 400, "trailer");
    REFUSED("0\r\n: a\r\n\r\n", 400, "trailer");
    REFUSED("0\r\nX\r\n\r\n", 400, "trailer");
    REFUSED("0\r\nX: \x01\r\n\r\n", 400, "control character");
    static char text[5000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "0\r\nX:", 5);
    expect_refused(text, sizeof(text), 431, "too large");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_joined_and_what_follows_is_left),
        cmocka_unit_test(test_a_chunk_size_is_bare_hexadecimal_digits),
        cmocka_unit_test(test_a_chunk_size_cannot_overflow),
        cmocka_unit_test(test_a_body_over_the_limit_is_refused_when_a_chunk_announces_it),
        cmocka_unit_test(test_a_bare_lf_or_cr_ends_no_line_of_a_chunked_body),
        cmocka_unit_test(test_chunk_data_is_exactly_as_long_as_announced),
        cmocka_unit_test(test_extensions_are_skipped_within_bounds),
        cmocka_unit_test(test_trailers_are_checked_and_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
