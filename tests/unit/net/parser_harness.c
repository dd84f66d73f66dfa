#include "parser_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct http_limits limits = {.head_bytes_max = 8192, .target_bytes_max = 2048};

/** Gives the parser `first` bytes, then `step` more at a time. */
static void run(struct parsed *parsed, const char *text, size_t size, size_t first, size_t step) {
    struct http_parser parser;
    http_parser_init(&parser, &limits);
    memset(&parsed->head, 0xee, sizeof(parsed->head));
    memset(parsed->bytes, 0xee, sizeof(parsed->bytes));
    size_t given = 0;
    size_t next = first;
    do {
        next = bytes_min_size(next, size);
        memcpy(parsed->bytes + given, text + given, next - given);
        given = next;
        parsed->result = http_parser_run(&parser, &parsed->head, parsed->bytes, given);
        next = given + step;
    } while (parsed->result == HTTP_PARSE_MORE && given < size);
    parsed->refusal = parser.refusal;
    parsed->head_bytes = parser.head_bytes;
}

static void expect_same_slice(const struct parsed *left, struct slice in_left,
                              const struct parsed *right, struct slice in_right) {
    assert_true(slice_equal(in_left, in_right));
    bool inside = in_left.data >= left->bytes && in_left.data < left->bytes + sizeof(left->bytes);
    if (inside) {
        assert_int_equal(in_left.data - left->bytes, in_right.data - right->bytes);
    }
}

static void expect_same(const struct parsed *left, const struct parsed *right) {
    const struct http_head *a = &left->head;
    const struct http_head *b = &right->head;
    assert_int_equal(left->result, right->result);
    assert_int_equal(left->refusal.status, right->refusal.status);
    assert_ptr_equal(left->refusal.detail, right->refusal.detail);
    assert_int_equal(left->head_bytes, right->head_bytes);
    if (left->result != HTTP_PARSE_DONE) {
        return;
    }
    assert_int_equal(a->method, b->method);
    assert_int_equal(a->minor_version, b->minor_version);
    assert_int_equal(a->keep_alive, b->keep_alive);
    assert_int_equal(a->chunked, b->chunked);
    assert_int_equal(a->has_content_length, b->has_content_length);
    assert_int_equal(a->expect_continue, b->expect_continue);
    assert_int_equal(a->content_length, b->content_length);
    assert_int_equal(a->field_count, b->field_count);
    assert_memory_equal(a->first, b->first, sizeof(a->first));
    assert_memory_equal(a->names, b->names, a->field_count);
    expect_same_slice(left, a->method_name, right, b->method_name);
    expect_same_slice(left, a->target, right, b->target);
    expect_same_slice(left, a->path, right, b->path);
    expect_same_slice(left, a->query, right, b->query);
    expect_same_slice(left, a->host, right, b->host);
    for (uint32_t i = 0; i < a->field_count; i++) {
        expect_same_slice(left, a->fields[i].name, right, b->fields[i].name);
        expect_same_slice(left, a->fields[i].value, right, b->fields[i].value);
    }
}

const struct parsed *parse_each_way(const char *text, size_t size) {
    static struct parsed whole;
    static struct parsed pieces;
    assert_true(size <= PARSED_BYTES_MAX);
    run(&whole, text, size, size, 1);
    run(&pieces, text, size, 1, 1);
    expect_same(&whole, &pieces);
    size_t cuts = size < 400 ? size : 0;
    for (size_t cut = 1; cut < cuts; cut++) {
        run(&pieces, text, size, cut, size - cut);
        expect_same(&whole, &pieces);
    }
    return &whole;
}

void expect_refused(const char *text, size_t size, unsigned status, const char *reason) {
    const struct parsed *parsed = parse_each_way(text, size);
    if (parsed->result != HTTP_PARSE_REFUSED) {
        fail_msg("not refused: %.*s", (int)size, text);
    }
    assert_int_equal(parsed->refusal.status, status);
    if (strstr(parsed->refusal.detail, reason) == NULL) {
        fail_msg("refused because \"%s\", not because of \"%s\"", parsed->refusal.detail, reason);
    }
}

const struct http_head *expect_taken(const char *text, size_t size) {
    const struct parsed *parsed = parse_each_way(text, size);
    if (parsed->result != HTTP_PARSE_DONE) {
        fail_msg("not taken (%s): %.*s",
                 parsed->result == HTTP_PARSE_MORE ? "more" : parsed->refusal.detail, (int)size,
                 text);
    }
    return &parsed->head;
}

void expect_slice(struct slice slice, const char *text) {
    if (!slice_equal(slice, slice_from_text(text))) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)slice.size, slice.data, text);
    }
}
