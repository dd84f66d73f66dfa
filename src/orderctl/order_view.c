#include "orderctl/order_view.h"

#include "orderctl/problem.h"

/* The members in the order in which a person wants them. */
static const char *const members[] = {
    "order_id",     "partner_code", "partner_order_id", "status",     "version",
    "amount",       "currency",     "payment_type",     "bank_code",  "created_at",
    "requested_at", "responded_at", "updated_at",       "expires_at",
};

static void write_text(const char *text, FILE *out) {
    problem_write_safe(slice_from_text(text), out);
}

static void write_value(const json_t *value, FILE *out) {
    if (json_is_string(value)) {
        write_text(json_string_value(value), out);
    } else {
        (void)json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY);
    }
}

void order_view_write(const json_t *order, FILE *out) {
    for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
        const json_t *value = json_object_get(order, members[i]);
        if (value != NULL && !json_is_null(value)) {
            fprintf(out, "%-18s", members[i]);
            write_value(value, out);
            fputc('\n', out);
        }
    }
}

static const char *member_or_dash(const json_t *order, const char *name) {
    const char *text = json_string_value(json_object_get(order, name));
    return text == NULL ? "-" : text;
}

void order_view_write_line(const json_t *order, const char *event, FILE *out) {
    static const char *const columns[] = {"order_id", "status"};
    write_text(member_or_dash(order, "updated_at"), out);
    fputs("  ", out);
    write_text(event, out);
    for (size_t i = 0; i < ARRAY_COUNT(columns); i++) {
        fputs("  ", out);
        write_text(member_or_dash(order, columns[i]), out);
    }
    fprintf(out, "  version %lld  ",
            (long long)json_integer_value(json_object_get(order, "version")));
    write_text(member_or_dash(order, "partner_code"), out);
    fputc(' ', out);
    write_text(member_or_dash(order, "partner_order_id"), out);
    fputc('\n', out);
}
