/** Feeds a request head to the parser whole, byte by byte and in two pieces cut at every place, and
 *  holds that the result is the same. Shared by the tests of the parser. */
#ifndef ORDERD_TESTS_PARSER_HARNESS_H
#define ORDERD_TESTS_PARSER_HARNESS_H

#include "net/http_parser.h"

#define PARSED_BYTES_MAX 32768

struct parsed {
    enum http_parse result;
    struct http_refusal refusal;
    uint32_t head_bytes;
    struct http_head head; /* points into `bytes` */
    char bytes[PARSED_BYTES_MAX];
};

/** The result is overwritten by the next call. */
const struct parsed *parse_each_way(const char *text, size_t size);

/** What is to be refused, with which status, and a word of the reason. */
void expect_refused(const char *text, size_t size, unsigned status, const char *reason);

/** What is to be taken as a whole head. */
const struct http_head *expect_taken(const char *text, size_t size);

#define TAKEN(literal) expect_taken(literal, sizeof(literal) - 1)
#define REFUSED(literal, status, reason)                                                           \
    expect_refused(literal, sizeof(literal) - 1, status, reason)

/** A head of HTTP/1.1 with these header lines. */
#define WITH_FIELDS(lines) "POST /v1/orders HTTP/1.1\r\nHost: a\r\n" lines "\r\n"

void expect_slice(struct slice slice, const char *text);

#endif
