#include "net/http_parser.h"

#include "net/http_target.h"
#include "net/http_text.h"

#include <assert.h>

void http_parser_init(struct http_parser *parser, const struct http_limits *limits) {
    assert(limits->head_bytes_max >= 64 && limits->head_bytes_max < UINT16_MAX);
    memset(parser, 0, sizeof(*parser));
    parser->limits = *limits;
}

static bool refuse(struct http_parser *parser, unsigned status, const char *detail) {
    parser->refusal = (struct http_refusal){status, detail};
    return false;
}

/** Keeps the first refusal that only counts when the rest of the head is well-formed. */
static void defer(struct http_parser *parser, unsigned status, const char *detail) {
    if (parser->deferred.status == 0) {
        parser->deferred = (struct http_refusal){status, detail};
    }
}

/* Methods and versions */

static enum http_method method_from_name(struct slice name) {
    static const struct slice names[] = {
        [HTTP_METHOD_GET] = SLICE_LITERAL("GET"),
        [HTTP_METHOD_HEAD] = SLICE_LITERAL("HEAD"),
        [HTTP_METHOD_POST] = SLICE_LITERAL("POST"),
        [HTTP_METHOD_PUT] = SLICE_LITERAL("PUT"),
        [HTTP_METHOD_PATCH] = SLICE_LITERAL("PATCH"),
        [HTTP_METHOD_DELETE] = SLICE_LITERAL("DELETE"),
        [HTTP_METHOD_OPTIONS] = SLICE_LITERAL("OPTIONS"),
    };
    for (size_t i = HTTP_METHOD_GET; i < ARRAY_COUNT(names); i++) {
        if (slice_equal(name, names[i])) {
            return (enum http_method)i;
        }
    }
    return HTTP_METHOD_UNKNOWN;
}

static bool parse_version(struct http_parser *parser, struct http_head *head,
                          struct slice version) {
    const char *at = version.data;
    if (version.size != 8 || memcmp(at, "HTTP/", 5) != 0 || !http_is_digit(at[5]) || at[6] != '.' ||
        !http_is_digit(at[7])) {
        return refuse(parser, 400, "the HTTP version is malformed");
    }
    if (at[5] != '1' || at[7] > '1') {
        return refuse(parser, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    head->minor_version = (uint8_t)(at[7] - '0');
    head->keep_alive = head->minor_version == 1;
    return true;
}

static size_t token_size(struct slice text) {
    size_t size = 0;
    while (size < text.size && http_character_is(text.data[size], HTTP_CHARACTER_TOKEN)) {
        size++;
    }
    return size;
}

static bool parse_request_line(struct http_parser *parser, struct http_head *head,
                               struct slice line) {
    size_t method = token_size(line);
    if (method == 0 || method == line.size || line.data[method] != ' ') {
        return refuse(parser, 400, "the request line does not begin with a method and a blank");
    }
    head->method_name = (struct slice){line.data, method};
    head->method = method_from_name(head->method_name);
    struct slice rest = {line.data + method + 1, line.size - method - 1};
    const char *blank = memchr(rest.data, ' ', rest.size);
    size_t target = blank == NULL ? rest.size : (size_t)(blank - rest.data);
    if (target > parser->limits.target_bytes_max) {
        return refuse(parser, 414, "the request target is too long");
    }
    if (target == 0 || blank == NULL) {
        return refuse(parser, 400, "the request line is not a method, a target and a version");
    }
    head->target = (struct slice){rest.data, target};
    const char *wrong = http_target_parse(head);
    if (wrong != NULL) {
        return refuse(parser, 400, wrong);
    }
    struct slice version = {blank + 1, rest.size - target - 1};
    if (!parse_version(parser, head, version)) {
        return false;
    }
    if (head->path.data[0] != '/' && head->path.data[0] != '*') {
        defer(parser, 501, "the method is not known here"); /* as CONNECT: it has no path */
    }
    return true;
}

/* Header fields */

static enum http_field_name name_from_text(struct slice text) {
    static const struct {
        struct slice text;
        enum http_field_name name;
    } known[] = {
        {SLICE_LITERAL("host"), HTTP_FIELD_HOST},
        {SLICE_LITERAL("accept"), HTTP_FIELD_ACCEPT},
        {SLICE_LITERAL("expect"), HTTP_FIELD_EXPECT},
        {SLICE_LITERAL("if-match"), HTTP_FIELD_IF_MATCH},
        {SLICE_LITERAL("connection"), HTTP_FIELD_CONNECTION},
        {SLICE_LITERAL("content-type"), HTTP_FIELD_CONTENT_TYPE},
        {SLICE_LITERAL("if-none-match"), HTTP_FIELD_IF_NONE_MATCH},
        {SLICE_LITERAL("authorization"), HTTP_FIELD_AUTHORIZATION},
        {SLICE_LITERAL("last-event-id"), HTTP_FIELD_LAST_EVENT_ID},
        {SLICE_LITERAL("content-length"), HTTP_FIELD_CONTENT_LENGTH},
        {SLICE_LITERAL("transfer-encoding"), HTTP_FIELD_TRANSFER_ENCODING},
    };
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (known[i].text.size == text.size && http_equal_ignoring_case(text, known[i].text)) {
            return known[i].name;
        }
    }
    return HTTP_FIELD_OTHER;
}

static bool take_content_length(struct http_parser *parser, struct http_head *head,
                                struct slice value) {
    uint64_t length = 0;
    if (value.size == 0) {
        return refuse(parser, 400, "Content-Length is empty");
    }
    for (size_t i = 0; i < value.size; i++) {
        uint64_t digit = (uint64_t)(value.data[i] - '0');
        if (!http_is_digit(value.data[i])) {
            return refuse(parser, 400, "Content-Length is not a number in plain digits");
        }
        if (__builtin_mul_overflow(length, 10, &length) ||
            __builtin_add_overflow(length, digit, &length)) {
            return refuse(parser, 400, "Content-Length does not fit 64 bits");
        }
    }
    head->has_content_length = true;
    head->content_length = length;
    return true;
}

static void take_connection(struct http_head *head, struct slice value) {
    struct slice option;
    while (http_list_next(&value, &option)) {
        if (http_equal_ignoring_case(option, SLICE_LITERAL("close"))) {
            head->keep_alive = false;
        }
    }
}

static void take_expect(struct http_parser *parser, struct http_head *head, struct slice value) {
    if (head->minor_version == 0) {
        return; /* RFC 9110, 10.1.1: ignored in HTTP/1.0 */
    }
    if (http_equal_ignoring_case(value, SLICE_LITERAL("100-continue"))) {
        head->expect_continue = true;
    } else {
        defer(parser, 417, "only Expect: 100-continue can be met");
    }
}

/** Acts on the fields that decide how the message is read. @param first no field of that name was
 *  there before. */
static bool take_known_field(struct http_parser *parser, struct http_head *head,
                             enum http_field_name name, struct slice value, bool first) {
    switch (name) {
    case HTTP_FIELD_CONTENT_LENGTH:
        return first ? take_content_length(parser, head, value)
                     : refuse(parser, 400, "Content-Length is there twice");
    case HTTP_FIELD_TRANSFER_ENCODING:
        if (first && http_equal_ignoring_case(value, SLICE_LITERAL("chunked"))) {
            head->chunked = true;
        } else {
            parser->foreign_coding = true;
        }
        return true;
    case HTTP_FIELD_HOST:
        head->host = value;
        if (!first) {
            return refuse(parser, 400, "Host is there twice");
        }
        return http_host_is_valid(value) || refuse(parser, 400, "Host is invalid");
    case HTTP_FIELD_CONNECTION:
        take_connection(head, value);
        return true;
    case HTTP_FIELD_EXPECT:
        take_expect(parser, head, value);
        return true;
    case HTTP_FIELD_CONTENT_TYPE:
        return first || refuse(parser, 400, "Content-Type is there twice");
    case HTTP_FIELD_AUTHORIZATION:
        return first || refuse(parser, 400, "Authorization is there twice");
    default:
        return true;
    }
}

static bool parse_field(struct http_parser *parser, struct http_head *head, struct slice line) {
    if (http_is_blank(line.data[0])) {
        return refuse(parser, 400, "a header line begins with a blank");
    }
    size_t name_bytes = token_size(line);
    if (name_bytes == 0 || name_bytes == line.size || line.data[name_bytes] != ':') {
        return refuse(parser, 400, "a header line is not a name, a colon and a value");
    }
    if (head->field_count == HTTP_FIELDS_MAX) {
        return refuse(parser, 431, "there are too many header fields");
    }
    struct http_field *field = &head->fields[head->field_count];
    field->name = (struct slice){line.data, name_bytes};
    field->value =
        http_trim((struct slice){line.data + name_bytes + 1, line.size - name_bytes - 1});
    enum http_field_name name = name_from_text(field->name);
    head->names[head->field_count] = (uint8_t)name;
    head->field_count++;
    bool first = head->first[name] == 0;
    if (first) {
        head->first[name] = (uint8_t)head->field_count;
    }
    return take_known_field(parser, head, name, field->value, first);
}

/** What can only be judged when every field was seen. */
static bool finish_head(struct http_parser *parser, struct http_head *head) {
    bool has_coding = head->first[HTTP_FIELD_TRANSFER_ENCODING] != 0;
    if (head->minor_version == 1 && head->first[HTTP_FIELD_HOST] == 0) {
        return refuse(parser, 400, "Host is missing");
    }
    if (has_coding && head->has_content_length) {
        return refuse(parser, 400, "Transfer-Encoding and Content-Length are both there");
    }
    if (has_coding && head->minor_version == 0) {
        return refuse(parser, 400, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (parser->foreign_coding) {
        return refuse(parser, 501, "the only transfer coding known here is chunked, once");
    }
    if (parser->deferred.status != 0) {
        parser->refusal = parser->deferred;
        return false;
    }
    return true;
}

/* Lines */

enum line_search { LINE_FOUND, LINE_MORE, LINE_REFUSED };

static enum line_search refuse_line(struct http_parser *parser, unsigned status,
                                    const char *detail) {
    (void)refuse(parser, status, detail);
    return LINE_REFUSED;
}

static enum line_search line_not_ended(struct http_parser *parser, size_t size) {
    if (size < parser->limits.head_bytes_max) {
        return LINE_MORE;
    }
    return parser->in_fields ? refuse_line(parser, 431, "the header is too large")
                             : refuse_line(parser, 414, "the request line is too long");
}

/** Looks for the end of the line from where the last look ended. On LINE_FOUND `scanned` is where
 *  its CRLF begins. */
static enum line_search find_line_end(struct http_parser *parser, const char *data, size_t size) {
    size = bytes_min_size(size, parser->limits.head_bytes_max);
    size_t at = http_find_control(data, parser->scanned, size);
    parser->scanned = (uint32_t)at;
    if (at == size || (data[at] == '\r' && at + 1 == size)) {
        return line_not_ended(parser, size);
    }
    if (data[at] == '\r') {
        return data[at + 1] == '\n'
                   ? LINE_FOUND
                   : refuse_line(parser, 400, "a carriage return without a line feed");
    }
    return data[at] == '\n' ? refuse_line(parser, 400, "a line feed without a carriage return")
                            : refuse_line(parser, 400, "a control character in the header");
}

/** Parses one line. Sets `*ended` at the empty one that ends the head. */
static bool parse_line(struct http_parser *parser, struct http_head *head, struct slice line,
                       bool *ended) {
    if (parser->in_fields) {
        *ended = line.size == 0;
        return *ended ? finish_head(parser, head) : parse_field(parser, head, line);
    }
    if (line.size == 0 && !parser->skipped_empty_line) {
        parser->skipped_empty_line = true; /* RFC 9112, 2.2 */
        return true;
    }
    parser->in_fields = true;
    return parse_request_line(parser, head, line);
}

enum http_parse http_parser_run(struct http_parser *parser, struct http_head *head,
                                const char *data, size_t size) {
    assert(parser->refusal.status == 0 && parser->head_bytes == 0);
    if (parser->scanned == 0) {
        memset(head, 0, offsetof(struct http_head, names));
    }
    for (;;) {
        enum line_search search = find_line_end(parser, data, size);
        if (search != LINE_FOUND) {
            return search == LINE_MORE ? HTTP_PARSE_MORE : HTTP_PARSE_REFUSED;
        }
        struct slice line = {data + parser->line_at, parser->scanned - parser->line_at};
        parser->line_at = parser->scanned + 2;
        parser->scanned = parser->line_at;
        bool ended = false;
        if (!parse_line(parser, head, line, &ended)) {
            return HTTP_PARSE_REFUSED;
        }
        if (ended) {
            parser->head_bytes = parser->line_at;
            return HTTP_PARSE_DONE;
        }
    }
}

/* Access */

static void rebase(struct slice *slice, ptrdiff_t distance) {
    if (slice->data != NULL) {
        slice->data += distance;
    }
}

void http_head_rebase(struct http_head *head, ptrdiff_t distance) {
    /* An absolute target without a path got one that is not in the buffer. */
    if (head->target.data != NULL && head->path.data >= head->target.data &&
        head->path.data <= head->target.data + head->target.size) {
        rebase(&head->path, distance);
    }
    rebase(&head->query, distance);
    rebase(&head->method_name, distance);
    rebase(&head->target, distance);
    rebase(&head->host, distance);
    for (uint32_t i = 0; i < head->field_count; i++) {
        rebase(&head->fields[i].name, distance);
        rebase(&head->fields[i].value, distance);
    }
}

bool http_head_next(const struct http_head *head, enum http_field_name name, uint32_t *at,
                    struct slice *value) {
    while (*at < head->field_count) {
        uint32_t index = (*at)++;
        if (head->names[index] == name) {
            *value = head->fields[index].value;
            return true;
        }
    }
    return false;
}
