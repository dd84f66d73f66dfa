#include "order/currency.h"
#include "order/json.h"

#include "base/rfc3339.h"

#include <assert.h>

/* Members of both requests and of the order; the position is the bit in `seen`. */
enum member {
    MEMBER_PARTNER_CODE,
    MEMBER_PARTNER_ORDER_ID,
    MEMBER_AMOUNT,
    MEMBER_CURRENCY,
    MEMBER_PAYMENT_TYPE,
    MEMBER_BANK_CODE,
    MEMBER_STATUS,
    MEMBER_REQUESTED_AT,
    MEMBER_RESPONDED_AT,
    MEMBER_ORDER_ID,
    MEMBER_VERSION,
    MEMBER_CREATED_AT,
    MEMBER_UPDATED_AT,
    MEMBER_EXPIRES_AT,
    MEMBER_UNKNOWN
};

static const struct slice member_names[] = {
    [MEMBER_PARTNER_CODE] = SLICE_LITERAL("partner_code"),
    [MEMBER_PARTNER_ORDER_ID] = SLICE_LITERAL("partner_order_id"),
    [MEMBER_AMOUNT] = SLICE_LITERAL("amount"),
    [MEMBER_CURRENCY] = SLICE_LITERAL("currency"),
    [MEMBER_PAYMENT_TYPE] = SLICE_LITERAL("payment_type"),
    [MEMBER_BANK_CODE] = SLICE_LITERAL("bank_code"),
    [MEMBER_STATUS] = SLICE_LITERAL("status"),
    [MEMBER_REQUESTED_AT] = SLICE_LITERAL("requested_at"),
    [MEMBER_RESPONDED_AT] = SLICE_LITERAL("responded_at"),
    [MEMBER_ORDER_ID] = SLICE_LITERAL("order_id"),
    [MEMBER_VERSION] = SLICE_LITERAL("version"),
    [MEMBER_CREATED_AT] = SLICE_LITERAL("created_at"),
    [MEMBER_UPDATED_AT] = SLICE_LITERAL("updated_at"),
    [MEMBER_EXPIRES_AT] = SLICE_LITERAL("expires_at"),
};

_Static_assert(ORDER_ERRORS_KNOWN_MAX == MEMBER_UNKNOWN, "an error for each member");

#define MEMBER_NAME_MAX 16
#define TEXT_VALUE_MAX 48 /* longer than any text that is valid in a member */

static void add_error(struct order_scanner *scanner, struct slice field, const char *detail) {
    struct order_errors *errors = &scanner->errors;
    assert(errors->count < ORDER_ERRORS_MAX);
    errors->items[errors->count++] = (struct order_field_error){field, detail};
}

static void clear_errors(struct order_scanner *scanner) {
    scanner->errors.count = 0;
    scanner->errors.unknown = 0;
}

/** Notes what is wrong with a member that was found. Of the unknown ones only the first are kept.
 */
static void note_wrong(struct order_scanner *scanner, enum member member, struct slice key,
                       const char *wrong) {
    if (member != MEMBER_UNKNOWN) {
        add_error(scanner, member_names[member], wrong);
    } else if (scanner->errors.unknown < ORDER_ERRORS_UNKNOWN_MAX) {
        scanner->errors.unknown++;
        add_error(scanner, key, wrong);
    }
}

static enum member find_member(const struct json_member *found) {
    char decoded[MEMBER_NAME_MAX];
    size_t size;
    if (!json_string_decode(found->key, found->key_escaped, decoded, sizeof(decoded), &size)) {
        return MEMBER_UNKNOWN;
    }
    struct slice name = {decoded, size};
    for (unsigned member = 0; member < MEMBER_UNKNOWN; member++) {
        if (slice_equal(name, member_names[member])) {
            return (enum member)member;
        }
    }
    return MEMBER_UNKNOWN;
}

/** A text value of at most TEXT_VALUE_MAX bytes, decoded; false for any other value. */
struct text_value {
    char bytes[TEXT_VALUE_MAX];
    size_t size;
};

static bool read_text(const struct json_value *value, struct text_value *text) {
    return value->kind == JSON_KIND_STRING &&
           json_string_decode(value->raw, value->escaped, text->bytes, sizeof(text->bytes),
                              &text->size);
}

static struct slice text_value_slice(const struct text_value *text) {
    return (struct slice){text->bytes, text->size};
}

static bool read_amount(const struct json_value *value, uint64_t *amount) {
    if (value->kind != JSON_KIND_NUMBER || value->raw.size > 19) {
        return false;
    }
    *amount = 0;
    for (size_t i = 0; i < value->raw.size; i++) {
        char digit = value->raw.data[i];
        if (digit < '0' || digit > '9') {
            return false;
        }
        *amount = *amount * 10 + (uint64_t)(digit - '0');
    }
    return *amount >= 1 && *amount <= INT64_MAX;
}

static const char *set_partner_code(struct order_record *draft, const struct json_value *value) {
    struct text_value text;
    if (!read_text(value, &text) || !order_partner_code_is_valid(text_value_slice(&text))) {
        return "expected 1 to 16 of A-Z a-z 0-9 _ -";
    }
    order_text_set(draft->partner_code, sizeof(draft->partner_code), text_value_slice(&text));
    return NULL;
}

static const char *set_partner_order_id(struct order_record *draft,
                                        const struct json_value *value) {
    struct text_value text;
    if (!read_text(value, &text) || !order_partner_order_id_is_valid(text_value_slice(&text))) {
        return "expected 1 to 36 of A-Z a-z 0-9 . _ -";
    }
    order_text_set(draft->partner_order_id, sizeof(draft->partner_order_id),
                   text_value_slice(&text));
    return NULL;
}

static const char *set_currency(struct order_record *draft, const struct json_value *value) {
    struct text_value text;
    char code[ORDER_CURRENCY_BYTES] = {0};
    if (read_text(value, &text) && text.size == 3) {
        memcpy(code, text.bytes, 3);
    }
    if (!order_currency_is_valid(code)) {
        return "expected a currency code of ISO 4217, in capitals";
    }
    memcpy(draft->currency, code, sizeof(code));
    return NULL;
}

static const char *set_payment_type(struct order_record *draft, const struct json_value *value) {
    struct text_value text;
    enum order_payment_type type = ORDER_PAYMENT_NONE;
    if (read_text(value, &text)) {
        type = order_payment_type_from_name(text_value_slice(&text));
    }
    if (type == ORDER_PAYMENT_NONE) {
        return "expected pay_with_bank, pay_with_card or pay_with_wallet";
    }
    draft->payment_type = (uint8_t)type;
    return NULL;
}

static const char *set_bank_code(struct order_record *draft, const struct json_value *value) {
    struct text_value text;
    if (!read_text(value, &text) || !order_bank_code_is_valid(text_value_slice(&text))) {
        return "expected 1 to 12 of A-Z a-z 0-9 _ -";
    }
    order_text_set(draft->bank_code, sizeof(draft->bank_code), text_value_slice(&text));
    return NULL;
}

/** Puts one member of a create into the draft; returns what is wrong with it, or NULL. */
static const char *set_create_member(struct order_record *draft, enum member member,
                                     const struct json_value *value) {
    bool is_null = value->kind == JSON_KIND_NULL;
    switch (member) {
    case MEMBER_PARTNER_CODE:
        return is_null ? NULL : set_partner_code(draft, value);
    case MEMBER_PARTNER_ORDER_ID:
        return is_null ? NULL : set_partner_order_id(draft, value);
    case MEMBER_AMOUNT:
        return is_null || read_amount(value, &draft->amount)
                   ? NULL
                   : "expected a whole number of minor units, 1 to 9223372036854775807";
    case MEMBER_CURRENCY:
        return is_null ? NULL : set_currency(draft, value);
    case MEMBER_PAYMENT_TYPE:
        return is_null ? NULL : set_payment_type(draft, value);
    case MEMBER_BANK_CODE:
        return is_null ? NULL : set_bank_code(draft, value);
    case MEMBER_UNKNOWN:
        return "is not a member of an order";
    default:
        return "is given by the service";
    }
}

/** Ends a scan: a malformed document first, then what is wrong with its members. */
static enum order_scan_status conclude(struct order_scanner *scanner,
                                       const struct json_reader *reader) {
    switch (json_reader_status(reader)) {
    case JSON_STATUS_MALFORMED:
        scanner->malformed = reader->reason;
        scanner->malformed_at = reader->at;
        return ORDER_SCAN_MALFORMED;
    case JSON_STATUS_NO_OBJECT:
        clear_errors(scanner);
        add_error(scanner, SLICE_LITERAL(""), "expected a JSON object");
        return ORDER_SCAN_INVALID;
    case JSON_STATUS_OK:
        break;
    }
    return scanner->errors.count == 0 ? ORDER_SCAN_OK : ORDER_SCAN_INVALID;
}

/** Adds an error for each required member that was absent or null. */
static void require(struct order_scanner *scanner, unsigned present, enum member member) {
    if ((present & 1u << member) == 0) {
        add_error(scanner, member_names[member], "is required");
    }
}

enum order_scan_status order_scan_create(struct order_scanner *scanner, struct slice body,
                                         const char currency[4], struct order_record *draft) {
    struct json_reader reader;
    struct json_member found;
    unsigned present = 0;
    clear_errors(scanner);
    *draft = (struct order_record){
        .format = ORDER_RECORD_FORMAT,
        .payment_type = ORDER_PAYMENT_BANK,
    };
    memcpy(draft->currency, currency, sizeof(draft->currency));
    json_reader_init(&reader, body, &scanner->keys);
    while (json_reader_next(&reader, &found)) {
        enum member member = find_member(&found);
        const char *wrong = set_create_member(draft, member, &found.value);
        if (wrong != NULL) {
            note_wrong(scanner, member, found.key, wrong);
        }
        present |= found.value.kind != JSON_KIND_NULL ? 1u << member : 0;
    }
    require(scanner, present, MEMBER_PARTNER_CODE);
    require(scanner, present, MEMBER_PARTNER_ORDER_ID);
    require(scanner, present, MEMBER_AMOUNT);
    return conclude(scanner, &reader);
}

static const char *set_status(struct order_change *change, const struct json_value *value) {
    struct text_value text;
    change->status = ORDER_STATUS_NONE;
    if (read_text(value, &text)) {
        change->status = order_status_from_name(text_value_slice(&text));
    }
    return change->status == ORDER_STATUS_NONE
               ? "expected pending, processing, success, cancel, timeout or error"
               : NULL;
}

static const char *set_time(int64_t *time_us, int64_t now_us, const struct json_value *value) {
    struct text_value text;
    struct slice written = value->raw;
    bool is_text = value->kind == JSON_KIND_STRING;
    if (value->escaped) {
        is_text = read_text(value, &text);
        written = text_value_slice(&text);
    }
    if (!is_text || !rfc3339_parse(written, time_us) || *time_us == 0) {
        *time_us = 0;
        return "expected a time as in RFC 3339";
    }
    if (*time_us > now_us + ORDER_TIME_AHEAD_MAX_US) {
        *time_us = 0; /* one error is enough */
        return "lies more than 60 s ahead";
    }
    return NULL;
}

static const char *set_change_member(struct order_change *change, enum member member,
                                     int64_t now_us, const struct json_value *value) {
    bool is_null = value->kind == JSON_KIND_NULL;
    switch (member) {
    case MEMBER_STATUS:
        return is_null ? NULL : set_status(change, value);
    case MEMBER_REQUESTED_AT:
        return is_null ? NULL : set_time(&change->requested_at_us, now_us, value);
    case MEMBER_RESPONDED_AT:
        return is_null ? NULL : set_time(&change->responded_at_us, now_us, value);
    case MEMBER_UNKNOWN:
        return "is not a member of a change";
    default:
        return "cannot be changed";
    }
}

/** Refuses a time that a change to this status never sets, whatever the order is now. */
static void refuse_useless_times(struct order_scanner *scanner, const struct order_change *change) {
    static const char detail[] = "is not set by this change";
    if (change->status == ORDER_STATUS_NONE) {
        return;
    }
    if (change->requested_at_us != 0 && change->status != ORDER_STATUS_PROCESSING) {
        add_error(scanner, member_names[MEMBER_REQUESTED_AT], detail);
    }
    if (change->responded_at_us != 0 && change->status != ORDER_STATUS_SUCCESS &&
        change->status != ORDER_STATUS_ERROR && change->status != ORDER_STATUS_CANCEL) {
        add_error(scanner, member_names[MEMBER_RESPONDED_AT], detail);
    }
}

enum order_scan_status order_scan_change(struct order_scanner *scanner, struct slice body,
                                         int64_t now_us, struct order_change *change) {
    struct json_reader reader;
    struct json_member found;
    unsigned present = 0;
    clear_errors(scanner);
    change->status = ORDER_STATUS_NONE;
    change->requested_at_us = 0;
    change->responded_at_us = 0;
    memset(change->bank_code, 0, sizeof(change->bank_code));
    json_reader_init(&reader, body, &scanner->keys);
    while (json_reader_next(&reader, &found)) {
        enum member member = find_member(&found);
        const char *wrong = set_change_member(change, member, now_us, &found.value);
        if (wrong != NULL) {
            note_wrong(scanner, member, found.key, wrong);
        }
        present |= found.value.kind != JSON_KIND_NULL ? 1u << member : 0;
    }
    require(scanner, present, MEMBER_STATUS);
    refuse_useless_times(scanner, change);
    return conclude(scanner, &reader);
}
