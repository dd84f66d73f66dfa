#include "api/problem.h"

#include <assert.h>

/* A longer name of a member is not repeated to whoever sent it. */
#define FIELD_NAME_SHOWN_MAX 64

struct title {
    unsigned status;
    const char *text;
};

static const struct title titles[] = {
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *problem_title(unsigned status) {
    for (size_t i = 0; i < ARRAY_COUNT(titles); i++) {
        if (titles[i].status == status) {
            return titles[i].text;
        }
    }
    return "Error";
}

static void write_field_name(struct text *out, struct slice field) {
    /* The name comes from a document that was valid JSON, so between quotes it is valid again. */
    if (field.size > FIELD_NAME_SHOWN_MAX) {
        text_append_literal(out, "(a long name)");
    } else {
        text_append_slice(out, field);
    }
}

static void write_error(struct text *out, const struct order_field_error *error) {
    text_append_literal(out, "{\"field\":\"");
    write_field_name(out, error->field);
    text_append_literal(out, "\",\"detail\":\"");
    text_append_slice(out, slice_from_text(error->detail));
    text_append_literal(out, "\"}");
}

/** Writes as many as there is room for, and room for what ends the array and the problem. */
static void write_errors(struct text *out, const struct order_errors *errors) {
    size_t capacity = out->capacity;
    text_append_literal(out, ",\"errors\":[");
    if (out->truncated || capacity - out->size < strlen("]}")) {
        out->truncated = true;
        return;
    }
    out->capacity -= strlen("]}");
    for (size_t i = 0; i < errors->count && !out->truncated; i++) {
        size_t whole = out->size;
        if (i > 0) {
            text_append_char(out, ',');
        }
        write_error(out, &errors->items[i]);
        out->size = out->truncated ? whole : out->size;
    }
    out->truncated = false;
    out->capacity = capacity;
    text_append_char(out, ']');
}

void problem_write(struct text *out, const struct problem *problem) {
    text_append_literal(out, "{\"type\":\"about:blank\",\"title\":\"");
    text_append_slice(out, slice_from_text(problem_title(problem->status)));
    text_append_literal(out, "\",\"status\":");
    text_append_u64(out, problem->status);
    text_append_literal(out, ",\"detail\":\"");
    text_append_json_escaped(out, slice_from_text(problem->detail));
    text_append_char(out, '"');
    if (problem->errors != NULL) {
        write_errors(out, problem->errors);
    }
    if (problem->order_id != 0) {
        text_append_literal(out, ",\"order_id\":\"");
        text_append_u64(out, problem->order_id);
        text_append_char(out, '"');
    }
    if (problem->version != 0) {
        text_append_literal(out, ",\"version\":");
        text_append_u64(out, problem->version);
    }
    if (problem->order != NULL) {
        text_append_literal(out, ",\"order\":");
        order_write_json(out, problem->order, problem->timeout_us);
    }
    text_append_char(out, '}');
}

void problem_respond(struct http_exchange *exchange, const struct problem *problem) {
    struct http_field fields[2];
    size_t field_count = 0;
    struct text body;
    if (problem->status == 503) {
        fields[field_count++] =
            (struct http_field){SLICE_LITERAL("Retry-After"), SLICE_LITERAL("1")};
    }
    if (problem->allow != NULL) {
        fields[field_count++] =
            (struct http_field){SLICE_LITERAL("Allow"), slice_from_text(problem->allow)};
    }
    struct http_answer answer = {
        .status = problem->status,
        .content_type = SLICE_LITERAL("application/problem+json"),
        .fields = fields,
        .field_count = field_count,
    };
    if (!http_respond_begin(exchange, &answer, PROBLEM_BYTES_MAX, &body)) {
        return; /* the exchange is over: an answer of this size always has room */
    }
    problem_write(&body, problem);
    assert(!body.truncated);
    http_respond_end(exchange, body.size);
}

void problem_respond_plain(struct http_exchange *exchange, unsigned status, const char *detail) {
    struct problem problem = {.status = status, .detail = detail};
    problem_respond(exchange, &problem);
}
