#include "adapter/mariadb_binlog/order_row.h"

/* Column types of the protocol (https://mariadb.com/kb/en/result-set-packets/#field-types). */
enum column_type {
    TYPE_LONG = 3,
    TYPE_LONGLONG = 8,
    TYPE_VARCHAR = 15,
    TYPE_DATETIME2 = 18,
    TYPE_ENUM = 247,
    TYPE_STRING = 254
};

/* Parts of a table map's optional metadata. */
enum metadata_part { PART_SIGNEDNESS = 1, PART_COLUMN_NAME = 4, PART_ENUM_VALUES = 6 };

/** One column. `size`: the text's maximum, or the number of bytes of a number. */
struct column {
    const char *name;
    uint8_t type; /* as it stands in the table map */
    uint8_t size;
    uint8_t metadata_bytes;
    uint8_t metadata[2];
};

#define TIME_COLUMN(name_)                                                                         \
    {                                                                                              \
        (name_), TYPE_DATETIME2, 8, 1, {                                                           \
            6, 0                                                                                   \
        }                                                                                          \
    }

static const struct column columns[ORDER_ROW_COLUMNS] = {
    {"order_id", TYPE_LONGLONG, 8, 0, {0, 0}},
    {"partner_code", TYPE_VARCHAR, 16, 2, {16, 0}},
    {"partner_order_id", TYPE_VARCHAR, 36, 2, {36, 0}},
    {"amount", TYPE_LONGLONG, 8, 0, {0, 0}},
    {"currency", TYPE_STRING, 3, 2, {TYPE_STRING, 3}},
    {"payment_type", TYPE_STRING, 1, 2, {TYPE_ENUM, 1}},
    {"bank_code", TYPE_VARCHAR, 12, 2, {12, 0}},
    {"status", TYPE_STRING, 1, 2, {TYPE_ENUM, 1}},
    {"version", TYPE_LONG, 4, 0, {0, 0}},
    TIME_COLUMN("created_at"),
    TIME_COLUMN("updated_at"),
    TIME_COLUMN("requested_at"),
    TIME_COLUMN("responded_at"),
};

/* Indices into it. */
enum { COLUMN_CURRENCY = 4, COLUMN_BANK_CODE = 6, COLUMN_CREATED_AT = 9, COLUMN_REQUESTED_AT = 11 };

/* order_id, amount and version are unsigned: a bit each, from the highest. */
#define SIGNEDNESS_EXPECTED 0xe0

/* --- The layout. --- */

static bool check_names(struct binlog_cursor part, struct fault *fault) {
    for (size_t i = 0; i < ORDER_ROW_COLUMNS; i++) {
        struct slice name = binlog_take_slice(&part, binlog_take_length(&part));
        if (part.failed || !slice_equal(name, slice_from_text(columns[i].name))) {
            fault_set(fault, "column %zu is \"%.*s\"; expected \"%s\"", i + 1, (int)name.size,
                      name.data, columns[i].name);
            return false;
        }
    }
    return true;
}

static bool check_words(struct binlog_cursor *part, unsigned count,
                        const char *(*word_of)(unsigned)) {
    if (binlog_take_length(part) != count) {
        return false;
    }
    for (unsigned i = 1; i <= count; i++) {
        struct slice word = binlog_take_slice(part, binlog_take_length(part));
        if (part->failed || !slice_equal(word, slice_from_text(word_of(i)))) {
            return false;
        }
    }
    return true;
}

static bool check_enums(struct binlog_cursor part, struct fault *fault) {
    if (!check_words(&part, ORDER_PAYMENT_WALLET, order_payment_type_name) ||
        !check_words(&part, ORDER_STATUS_ERROR, order_status_name)) {
        fault_set(fault, "the words of payment_type or status are others");
        return false;
    }
    return true;
}

static bool check_optional(struct binlog_cursor *cursor, struct fault *fault) {
    while (cursor->left > 0) {
        uint64_t kind = binlog_take_number(cursor, 1);
        struct slice part = binlog_take_slice(cursor, binlog_take_length(cursor));
        if (cursor->failed) {
            fault_set(fault, "the table map is cut off");
            return false;
        }
        if (kind == PART_SIGNEDNESS &&
            (part.size != 1 ||
             ((uint8_t)part.data[0] & SIGNEDNESS_EXPECTED) != SIGNEDNESS_EXPECTED)) {
            fault_set(fault, "order_id, amount or version is signed");
            return false;
        }
        if (kind == PART_COLUMN_NAME && !check_names(binlog_cursor_over(part), fault)) {
            return false;
        }
        if (kind == PART_ENUM_VALUES && !check_enums(binlog_cursor_over(part), fault)) {
            return false;
        }
    }
    return true;
}

bool order_row_layout_is_known(struct binlog_cursor *cursor, struct fault *fault) {
    uint64_t count = binlog_take_length(cursor);
    if (count != ORDER_ROW_COLUMNS) {
        fault_set(fault, "it has %llu columns; expected %d", (unsigned long long)count,
                  ORDER_ROW_COLUMNS);
        return false;
    }
    const uint8_t *types = binlog_take(cursor, ORDER_ROW_COLUMNS);
    struct slice metadata = binlog_take_slice(cursor, binlog_take_length(cursor));
    const uint8_t *nulls = binlog_take(cursor, ORDER_ROW_BITMAP_BYTES);
    if (types == NULL || nulls == NULL || cursor->failed) {
        fault_set(fault, "the table map is cut off");
        return false;
    }
    struct binlog_cursor parts = binlog_cursor_over(metadata);
    for (size_t i = 0; i < ORDER_ROW_COLUMNS; i++) {
        const uint8_t *part = binlog_take(&parts, columns[i].metadata_bytes);
        if (types[i] != columns[i].type || part == NULL ||
            memcmp(part, columns[i].metadata, columns[i].metadata_bytes) != 0) {
            fault_set(fault, "column %s has another type or size", columns[i].name);
            return false;
        }
    }
    if (parts.left != 0) {
        fault_set(fault, "the columns' metadata is longer than theirs");
        return false;
    }
    return check_optional(cursor, fault);
}

/* --- A row. --- */

/** Days from 1970-01-01 to a date of the Gregorian calendar: years from March on, so that the leap
 *  day is a year's last, in eras of 400 years, which all have 146,097 days. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int64_t days_of_month(int64_t year, int64_t month) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/** DATETIME(6): 40 bits, year × 13 + month, day, hour, minute, second, the sign's bit set; then
 *  the microseconds in three bytes; all big-endian. -1: no time from 1970 on. */
static int64_t take_time(struct binlog_cursor *cursor) {
    uint64_t packed = binlog_take_big_endian(cursor, 5);
    int64_t fraction_us = (int64_t)binlog_take_big_endian(cursor, 3);
    if ((packed >> 39) == 0) {
        return -1;
    }
    packed &= (UINT64_C(1) << 39) - 1;
    int64_t months = (int64_t)(packed >> 22);
    int64_t year = months / 13;
    int64_t month = months % 13;
    int64_t day = (int64_t)(packed >> 17) & 31;
    int64_t hour = (int64_t)(packed >> 12) & 31;
    int64_t minute = (int64_t)(packed >> 6) & 63;
    int64_t second = (int64_t)packed & 63;
    if (year < 1970 || year > 9999 || month < 1 || day < 1 || day > days_of_month(year, month) ||
        hour > 23 || minute > 59 || second > 59 || fraction_us > 999999) {
        return -1;
    }
    int64_t seconds = ((days_from_date(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    return seconds * 1000000 + fraction_us;
}

/** A text behind its length of one byte. Where it does not fit, or has a zero byte, which pads a
 *  field, the field stays empty. */
static void take_text(struct binlog_cursor *cursor, char *field, size_t size) {
    struct slice text = binlog_take_slice(cursor, binlog_take_number(cursor, 1));
    if (text.size <= size && memchr(text.data, 0, text.size) == NULL) {
        order_text_set(field, size, text);
    }
}

/** True where the row has a bank code and the record therefore one too: NULL says that there is
 *  none, and an empty text would say it a second way. */
static bool take_texts_and_numbers(struct binlog_cursor *cursor, bool bank_code_is_null,
                                   struct order_record *record) {
    record->order_id = binlog_take_number(cursor, 8);
    take_text(cursor, record->partner_code, sizeof(record->partner_code));
    take_text(cursor, record->partner_order_id, sizeof(record->partner_order_id));
    record->amount = binlog_take_number(cursor, 8);
    take_text(cursor, record->currency, columns[COLUMN_CURRENCY].size);
    record->payment_type = (uint8_t)binlog_take_number(cursor, 1);
    if (!bank_code_is_null) {
        take_text(cursor, record->bank_code, sizeof(record->bank_code));
    }
    record->status = (uint8_t)binlog_take_number(cursor, 1);
    record->version = (uint32_t)binlog_take_number(cursor, 4);
    return bank_code_is_null || record->bank_code[0] != 0;
}

static bool is_null(const uint8_t *bitmap, size_t column) {
    return (bitmap[column / 8] >> (column % 8) & 1) != 0;
}

/** True where every column that is NOT NULL has a value. */
static bool has_values(const uint8_t *nulls) {
    for (size_t i = 0; i < COLUMN_REQUESTED_AT; i++) {
        if (i != COLUMN_BANK_CODE && is_null(nulls, i)) {
            return false;
        }
    }
    return true;
}

enum order_record_fault order_row_read(struct binlog_cursor *cursor, struct order_record *record) {
    *record = (struct order_record){.format = ORDER_RECORD_FORMAT};
    const uint8_t *nulls = binlog_take(cursor, ORDER_ROW_BITMAP_BYTES);
    if (nulls == NULL || !has_values(nulls)) {
        cursor->failed = true;
        return ORDER_RECORD_BAD_ID;
    }
    bool bank_code_is_valid =
        take_texts_and_numbers(cursor, is_null(nulls, COLUMN_BANK_CODE), record);
    int64_t *times[] = {&record->created_at_us, &record->updated_at_us, &record->requested_at_us,
                        &record->responded_at_us};
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        if (!is_null(nulls, COLUMN_CREATED_AT + i)) {
            *times[i] = take_time(cursor);
        }
    }
    if (cursor->failed) {
        return ORDER_RECORD_BAD_ID;
    }
    enum order_record_fault fault = order_record_check_fields(record);
    if (fault == ORDER_RECORD_VALID && !bank_code_is_valid) {
        fault = ORDER_RECORD_BAD_BANK_CODE;
    }
    if (fault == ORDER_RECORD_VALID) {
        order_record_seal(record);
    }
    return fault;
}
