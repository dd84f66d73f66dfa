#include "net/resp_reply.h"

static void put_line(struct text *out, char kind, struct slice line) {
    text_append_char(out, kind);
    text_append_slice(out, line);
    text_append_literal(out, "\r\n");
}

static void put_count(struct text *out, char kind, uint64_t count) {
    text_append_char(out, kind);
    text_append_u64(out, count);
    text_append_literal(out, "\r\n");
}

void resp_put_simple(struct text *out, struct slice line) {
    put_line(out, '+', line);
}

void resp_put_error(struct text *out, struct slice line) {
    put_line(out, '-', line);
}

void resp_put_number(struct text *out, uint64_t number) {
    put_count(out, ':', number);
}

void resp_put_bulk(struct text *out, struct slice bytes) {
    put_count(out, '$', bytes.size);
    text_append_slice(out, bytes);
    text_append_literal(out, "\r\n");
}

void resp_put_null(struct text *out, unsigned protocol) {
    if (protocol >= 3) {
        text_append_literal(out, "_\r\n");
    } else {
        text_append_literal(out, "$-1\r\n");
    }
}

void resp_put_array(struct text *out, size_t count) {
    put_count(out, '*', count);
}

void resp_put_map(struct text *out, size_t count, unsigned protocol) {
    if (protocol >= 3) {
        put_count(out, '%', count);
    } else {
        put_count(out, '*', count * 2);
    }
}
