#include "adapter/mariadb/order_columns.h"

void order_columns_append(struct sql_builder *sql, const struct order_record *record) {
    sql_append_char(sql, '(');
    sql_append_u64(sql, record->order_id);
    sql_append_char(sql, ',');
    sql_append_text(sql, ORDER_TEXT(record->partner_code));
    sql_append_char(sql, ',');
    sql_append_text(sql, ORDER_TEXT(record->partner_order_id));
    sql_append_char(sql, ',');
    sql_append_u64(sql, record->amount);
    sql_append_char(sql, ',');
    sql_append_text(sql, ORDER_TEXT(record->currency));
    sql_append_char(sql, ',');
    sql_append_u64(sql, record->payment_type);
    sql_append_char(sql, ',');
    sql_append_text_or_null(sql, ORDER_TEXT(record->bank_code));
    sql_append_char(sql, ',');
    sql_append_u64(sql, record->status);
    sql_append_char(sql, ',');
    sql_append_u64(sql, record->version);
    sql_append_char(sql, ',');
    sql_append_time(sql, record->created_at_us);
    sql_append_char(sql, ',');
    sql_append_time(sql, record->updated_at_us);
    sql_append_char(sql, ',');
    sql_append_time_or_null(sql, record->requested_at_us);
    sql_append_char(sql, ',');
    sql_append_time_or_null(sql, record->responded_at_us);
    sql_append_char(sql, ')');
}

void order_columns_append_reference(struct sql_builder *sql, const struct order_record *record) {
    sql_append_char(sql, '(');
    sql_append_text(sql, ORDER_TEXT(record->partner_code));
    sql_append_char(sql, ',');
    sql_append_text(sql, ORDER_TEXT(record->partner_order_id));
    sql_append_char(sql, ',');
    sql_append_u64(sql, record->order_id);
    sql_append_char(sql, ')');
}

void order_columns_append_condition(struct sql_builder *sql,
                                    const struct order_record *const *references, size_t count) {
    const struct order_record *before = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct order_record *reference = references[i];
        if (before != NULL && memcmp(before->partner_code, reference->partner_code,
                                     sizeof(reference->partner_code)) == 0) {
            sql_append_char(sql, ',');
        } else {
            sql_append(sql, ") OR ", before != NULL ? 5 : 0);
            sql_append_literal(sql, "order_refs.partner_code = ");
            sql_append_text(sql, ORDER_TEXT(reference->partner_code));
            sql_append_literal(sql, " AND order_refs.partner_order_id IN (");
        }
        sql_append_text(sql, ORDER_TEXT(reference->partner_order_id));
        before = reference;
    }
    sql_append_char(sql, ')');
}

/** Reads a number up to `max`. */
static bool read_number(struct slice field, uint64_t max, uint64_t *value) {
    return field.data != NULL && sql_parse_u64(field, value) && *value <= max;
}

/** Copies a text that fits. */
static bool read_text(struct slice field, char *text, size_t size) {
    if (field.data == NULL || field.size > size) {
        return false;
    }
    order_text_set(text, size, field);
    return true;
}

bool order_columns_read_reference(const struct slice fields[3], struct order_record *record) {
    *record = (struct order_record){0};
    return read_text(fields[0], record->partner_code, sizeof(record->partner_code)) &&
           read_text(fields[1], record->partner_order_id, sizeof(record->partner_order_id)) &&
           read_number(fields[2], UINT64_MAX, &record->order_id);
}

static bool read_time_or_null(struct slice field, int64_t *time_us) {
    *time_us = 0;
    return field.data == NULL || sql_parse_time(field, time_us);
}

static enum order_record_fault read_numbers(const struct slice *fields,
                                            struct order_record *record) {
    uint64_t payment_type;
    uint64_t status;
    uint64_t version;
    if (!read_number(fields[8], UINT32_MAX, &version)) {
        return ORDER_RECORD_BAD_VERSION;
    }
    if (!read_number(fields[7], UINT8_MAX, &status)) {
        return ORDER_RECORD_BAD_STATUS;
    }
    if (!read_number(fields[5], UINT8_MAX, &payment_type)) {
        return ORDER_RECORD_BAD_PAYMENT_TYPE;
    }
    if (!read_number(fields[3], UINT64_MAX, &record->amount)) {
        return ORDER_RECORD_BAD_AMOUNT;
    }
    record->version = (uint32_t)version;
    record->status = (uint8_t)status;
    record->payment_type = (uint8_t)payment_type;
    return ORDER_RECORD_VALID;
}

static enum order_record_fault read_texts(const struct slice *fields, struct order_record *record) {
    if (!read_text(fields[4], record->currency, sizeof(record->currency))) {
        return ORDER_RECORD_BAD_CURRENCY;
    }
    /* NULL says that there is none; an empty text would say it a second way. */
    if (fields[6].data != NULL && (fields[6].size == 0 || !read_text(fields[6], record->bank_code,
                                                                     sizeof(record->bank_code)))) {
        return ORDER_RECORD_BAD_BANK_CODE;
    }
    if (!read_text(fields[1], record->partner_code, sizeof(record->partner_code))) {
        return ORDER_RECORD_BAD_PARTNER_CODE;
    }
    if (!read_text(fields[2], record->partner_order_id, sizeof(record->partner_order_id))) {
        return ORDER_RECORD_BAD_PARTNER_ORDER_ID;
    }
    return ORDER_RECORD_VALID;
}

enum order_record_fault order_columns_read(const struct slice fields[ORDER_COLUMN_COUNT],
                                           struct order_record *record) {
    *record = (struct order_record){.format = ORDER_RECORD_FORMAT};
    if (!read_number(fields[0], UINT64_MAX, &record->order_id)) {
        return ORDER_RECORD_BAD_ID;
    }
    enum order_record_fault fault = read_numbers(fields, record);
    if (fault == ORDER_RECORD_VALID) {
        fault = read_texts(fields, record);
    }
    if (fault != ORDER_RECORD_VALID) {
        return fault;
    }
    if (!sql_parse_time(fields[9].data != NULL ? fields[9] : SLICE_LITERAL(""),
                        &record->created_at_us) ||
        !sql_parse_time(fields[10].data != NULL ? fields[10] : SLICE_LITERAL(""),
                        &record->updated_at_us) ||
        !read_time_or_null(fields[11], &record->requested_at_us) ||
        !read_time_or_null(fields[12], &record->responded_at_us)) {
        return ORDER_RECORD_BAD_TIME;
    }
    fault = order_record_check_fields(record);
    if (fault == ORDER_RECORD_VALID) {
        order_record_seal(record);
    }
    return fault;
}
