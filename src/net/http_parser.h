/** The head of an HTTP/1 request: request line and header fields, parsed where they lie in the read
 *  buffer. Strict where lenient parsers let two readers of the same bytes disagree (request
 *  smuggling): lines end with CRLF only; folded lines, blanks before a colon, control characters,
 *  repeated or signed Content-Length, Content-Length beside Transfer-Encoding, and codings other
 *  than `chunked` are refused. Grammar: RFC 9110, RFC 9112.
 *
 *  Each byte is looked at once for the end of its line, and once more when the line is whole, no
 *  matter in how many pieces it came; and the result does not depend on the pieces.
 *
 *  The caller owns all memory. Nothing is allocated. One thread at a time. */
#ifndef ORDERD_NET_HTTP_PARSER_H
#define ORDERD_NET_HTTP_PARSER_H

#include "base/bytes.h"

#define HTTP_FIELDS_MAX 64

enum http_method {
    HTTP_METHOD_UNKNOWN, /* whoever knows the paths judges it: a path goes before its methods */
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_PATCH,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
};

/** The header fields that somebody here asks for. */
enum http_field_name {
    HTTP_FIELD_OTHER,
    HTTP_FIELD_ACCEPT,
    HTTP_FIELD_AUTHORIZATION,
    HTTP_FIELD_CONNECTION,
    HTTP_FIELD_CONTENT_LENGTH,
    HTTP_FIELD_CONTENT_TYPE,
    HTTP_FIELD_EXPECT,
    HTTP_FIELD_HOST,
    HTTP_FIELD_IF_MATCH,
    HTTP_FIELD_IF_NONE_MATCH,
    HTTP_FIELD_LAST_EVENT_ID,
    HTTP_FIELD_TRANSFER_ENCODING,
    HTTP_FIELD_COUNT,
};

struct http_field {
    struct slice name;
    struct slice value; /* without the blanks around it */
};

/** Slices point into the buffer that was parsed. */
struct http_head {
    enum http_method method;
    uint8_t minor_version; /* of HTTP/1 */
    bool keep_alive;       /* the client lets the connection live on */
    bool chunked;
    bool has_content_length;
    bool expect_continue;
    uint64_t content_length; /* 0 where there is none */
    struct slice method_name;
    struct slice target; /* as sent */
    struct slice path;   /* begins with "/", or is "*"; not decoded */
    struct slice query;  /* after the "?"; empty where there is none */
    struct slice host;   /* of the Host field; empty where HTTP/1.0 sent none */
    uint32_t field_count;
    uint8_t first[HTTP_FIELD_COUNT]; /* of each name: 1 + the index of the first such field, or 0 */
    uint8_t names[HTTP_FIELDS_MAX];  /* enum http_field_name */
    struct http_field fields[HTTP_FIELDS_MAX];
};

struct http_limits {
    uint32_t head_bytes_max;
    uint32_t target_bytes_max;
};

enum http_parse {
    HTTP_PARSE_MORE, /* well so far; call again when there are more bytes */
    HTTP_PARSE_DONE,
    HTTP_PARSE_REFUSED /* see `refusal` */
};

/** Why a message was refused. */
struct http_refusal {
    unsigned status;    /* to answer with */
    const char *detail; /* a literal that names what was wrong */
};

struct http_parser {
    struct http_limits limits;
    struct http_refusal refusal;
    struct http_refusal deferred; /* to be told only if the rest of the head is well-formed */
    uint32_t line_at;             /* where the line begins that is not yet parsed */
    uint32_t scanned;             /* before here nothing ends that line */
    uint32_t head_bytes;          /* when DONE */
    bool in_fields;
    bool skipped_empty_line;
    bool foreign_coding; /* a Transfer-Encoding other than "chunked" */
};

void http_parser_init(struct http_parser *parser, const struct http_limits *limits);

/** Parses on. @param data the head from its first byte, with whatever follows it; the bytes that
 *  were given before are still there, at the same address (else: http_head_rebase).
 *  @param head filled in when DONE; when REFUSED what came before the fault is filled in.
 *  Not to be called again after DONE or REFUSED. */
MUST_CHECK enum http_parse http_parser_run(struct http_parser *parser, struct http_head *head,
                                           const char *data, size_t size);

/** The buffer moved by `distance` bytes: corrects the slices. */
void http_head_rebase(struct http_head *head, ptrdiff_t distance);

/** The value of the first field of that name; a slice with NULL data where there is none. */
static inline struct slice http_head_value(const struct http_head *head,
                                           enum http_field_name name) {
    uint8_t first = head->first[name];
    return first == 0 ? (struct slice){NULL, 0} : head->fields[first - 1].value;
}

/** As http_head_value, for fields that may be there more than once (lists): the one after `*at`,
 *  which is 0 at first. False at the end. */
bool http_head_next(const struct http_head *head, enum http_field_name name, uint32_t *at,
                    struct slice *value);

#endif
