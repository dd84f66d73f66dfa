#include "order/json.h"

#include "base/rfc3339.h"

/** Every text of a record is plain (letters, digits, a few signs), so nothing is escaped. */
static void put_text(struct text *out, struct slice text) {
    text_append_char(out, '"');
    text_append_slice(out, text);
    text_append_char(out, '"');
}

static void put_time(struct text *out, int64_t time_us) {
    if (time_us == 0) {
        text_append_literal(out, "null");
        return;
    }
    char formatted[RFC3339_TEXT_BYTES + 2];
    formatted[0] = '"';
    size_t size = rfc3339_format(time_us, formatted + 1);
    formatted[size + 1] = '"';
    text_append(out, formatted, size + 2);
}

void order_write_json(struct text *out, const struct order_record *record, int64_t timeout_us) {
    struct slice bank_code = ORDER_TEXT(record->bank_code);
    text_append_literal(out, "{\"order_id\":\"");
    text_append_u64(out, record->order_id);
    text_append_literal(out, "\",\"partner_code\":");
    put_text(out, ORDER_TEXT(record->partner_code));
    text_append_literal(out, ",\"partner_order_id\":");
    put_text(out, ORDER_TEXT(record->partner_order_id));
    text_append_literal(out, ",\"amount\":");
    text_append_u64(out, record->amount);
    text_append_literal(out, ",\"currency\":");
    put_text(out, ORDER_TEXT(record->currency));
    text_append_literal(out, ",\"payment_type\":");
    put_text(out, slice_from_text(order_payment_type_name(record->payment_type)));
    text_append_literal(out, ",\"bank_code\":");
    if (bank_code.size > 0) {
        put_text(out, bank_code);
    } else {
        text_append_literal(out, "null");
    }
    text_append_literal(out, ",\"status\":");
    put_text(out, slice_from_text(order_status_name(record->status)));
    text_append_literal(out, ",\"version\":");
    text_append_u64(out, record->version);
    text_append_literal(out, ",\"created_at\":");
    put_time(out, record->created_at_us);
    text_append_literal(out, ",\"updated_at\":");
    put_time(out, record->updated_at_us);
    text_append_literal(out, ",\"requested_at\":");
    put_time(out, record->requested_at_us);
    text_append_literal(out, ",\"responded_at\":");
    put_time(out, record->responded_at_us);
    text_append_literal(out, ",\"expires_at\":");
    put_time(out, record->created_at_us + timeout_us);
    text_append_char(out, '}');
}
