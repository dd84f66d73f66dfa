#include "orderctl/problem.h"

#include <ctype.h>

const char *problem_member(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

void problem_write_safe(struct slice text, FILE *out) {
    for (size_t i = 0; i < text.size; i++) {
        bool steers = iscntrl((unsigned char)text.data[i]) != 0 && text.data[i] != '\n';
        fputc(steers ? '?' : text.data[i], out);
    }
}

static void append_text(struct text *out, const char *text) {
    text_append_slice(out, slice_from_text(text));
}

static void append_field(struct text *out, const json_t *error, const char *separator) {
    const char *field = problem_member(error, "field");
    const char *detail = problem_member(error, "detail");
    append_text(out, separator);
    append_text(out, field == NULL ? "?" : field);
    append_text(out, ": ");
    append_text(out, detail == NULL ? "not accepted" : detail);
}

void problem_describe(const json_t *problem, long status, const char *separator, struct text *out) {
    const char *title = problem_member(problem, "title");
    const char *detail = problem_member(problem, "detail");
    const char *order_id = problem_member(problem, "order_id");
    const json_t *code = json_object_get(problem, "status");
    const json_t *errors = json_object_get(problem, "errors");
    text_append_u64(out, (uint64_t)(json_is_integer(code) ? json_integer_value(code) : status));
    if (title != NULL) {
        text_append_char(out, ' ');
        append_text(out, title);
    }
    if (detail != NULL && (title == NULL || strcmp(title, detail) != 0)) {
        append_text(out, ": ");
        append_text(out, detail);
    }
    if (order_id != NULL) {
        append_text(out, " (order ");
        append_text(out, order_id);
        append_text(out, ")");
    }
    for (size_t i = 0; i < json_array_size(errors); i++) {
        append_field(out, json_array_get(errors, i), separator);
    }
}
