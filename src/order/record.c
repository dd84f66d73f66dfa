#include "order/record.h"

#include "base/crc32c.h"
#include "base/hash.h"
#include "base/text_masks.h"
#include "order/currency.h"

/* Which characters a text field may hold. */
enum { CODE_CHARACTER = 1, REFERENCE_CHARACTER = 2 };

#define BOTH (CODE_CHARACTER | REFERENCE_CHARACTER)
static const unsigned char character_classes[256] = {
    ['-'] = BOTH,         ['_'] = BOTH,         ['.'] = REFERENCE_CHARACTER,
    ['0' ... '9'] = BOTH, ['A' ... 'Z'] = BOTH, ['a' ... 'z'] = BOTH,
};
#undef BOTH

static const char *const payment_names[] = {
    "none",
    "pay_with_bank",
    "pay_with_card",
    "pay_with_wallet",
};

const char *order_record_fault_name(enum order_record_fault fault) {
    static const char *const names[] = {
        "nothing",
        "crc",
        "format",
        "order_id",
        "version",
        "status",
        "payment_type",
        "amount",
        "times",
        "currency",
        "bank_code",
        "partner_code",
        "partner_order_id",
        "a field that the service gives",
    };
    return names[fault];
}

void order_record_seal(struct order_record *record) {
    record->crc = crc32c(record, ORDER_RECORD_CRC_OFFSET);
}

static bool has_only(struct slice text, size_t limit, unsigned char class) {
    if (text.size == 0 || text.size > limit) {
        return false;
    }
    unsigned char common = class;
    for (size_t i = 0; i < text.size; i++) {
        common &= character_classes[(unsigned char)text.data[i]];
    }
    return common != 0;
}

bool order_partner_code_is_valid(struct slice text) {
    return has_only(text, ORDER_PARTNER_CODE_BYTES, CODE_CHARACTER);
}

bool order_partner_order_id_is_valid(struct slice text) {
    return has_only(text, ORDER_PARTNER_ORDER_ID_BYTES, REFERENCE_CHARACTER);
}

bool order_bank_code_is_valid(struct slice text) {
    return has_only(text, ORDER_BANK_CODE_BYTES, CODE_CHARACTER);
}

_Static_assert(offsetof(struct order_record, partner_code) ==
                       offsetof(struct order_record, bank_code) + ORDER_BANK_CODE_BYTES &&
                   offsetof(struct order_record, partner_order_id) ==
                       offsetof(struct order_record, partner_code) + ORDER_PARTNER_CODE_BYTES &&
                   ORDER_BANK_CODE_BYTES + ORDER_PARTNER_CODE_BYTES +
                           ORDER_PARTNER_ORDER_ID_BYTES ==
                       TEXT_MASKS_BYTES,
               "the texts lie side by side, and their masks are as long as they are");

/* Where the texts are in their masks. The first may be empty. */
#define PARTNER_CODE_AT ORDER_BANK_CODE_BYTES
#define PARTNER_ORDER_ID_AT (ORDER_BANK_CODE_BYTES + ORDER_PARTNER_CODE_BYTES)

static enum order_record_fault check_texts(const struct order_record *record) {
    struct text_masks masks =
        text_masks_of((const char *)record + offsetof(struct order_record, bank_code));
    if (!text_is_padded(masks.code, masks.zero, 0, ORDER_BANK_CODE_BYTES)) {
        return ORDER_RECORD_BAD_BANK_CODE;
    }
    if (record->partner_code[0] == 0 ||
        !text_is_padded(masks.code, masks.zero, PARTNER_CODE_AT, ORDER_PARTNER_CODE_BYTES)) {
        return ORDER_RECORD_BAD_PARTNER_CODE;
    }
    if (record->partner_order_id[0] == 0 ||
        !text_is_padded(masks.code | masks.dot, masks.zero, PARTNER_ORDER_ID_AT,
                        ORDER_PARTNER_ORDER_ID_BYTES)) {
        return ORDER_RECORD_BAD_PARTNER_ORDER_ID;
    }
    return ORDER_RECORD_VALID;
}

static bool has_valid_amount(const struct order_record *record) {
    return record->amount >= 1 && record->amount <= INT64_MAX;
}

static bool has_valid_payment_type(const struct order_record *record) {
    return record->payment_type >= ORDER_PAYMENT_BANK &&
           record->payment_type <= ORDER_PAYMENT_WALLET;
}

enum order_record_fault order_record_check_fields(const struct order_record *record) {
    if (record->format != ORDER_RECORD_FORMAT) {
        return ORDER_RECORD_BAD_FORMAT;
    }
    if (record->order_id == 0 || record->order_id > INT64_MAX) {
        return ORDER_RECORD_BAD_ID;
    }
    if (record->version == 0 || record->version > ORDER_VERSION_MAX) {
        return ORDER_RECORD_BAD_VERSION;
    }
    if (!order_status_is_valid(record->status)) {
        return ORDER_RECORD_BAD_STATUS;
    }
    if (!has_valid_payment_type(record)) {
        return ORDER_RECORD_BAD_PAYMENT_TYPE;
    }
    if (!has_valid_amount(record)) {
        return ORDER_RECORD_BAD_AMOUNT;
    }
    if (record->created_at_us <= 0 || record->updated_at_us < record->created_at_us ||
        record->requested_at_us < 0 || record->responded_at_us < 0) {
        return ORDER_RECORD_BAD_TIME;
    }
    if (!order_currency_is_valid(record->currency)) {
        return ORDER_RECORD_BAD_CURRENCY;
    }
    return check_texts(record);
}

enum order_record_fault order_record_check(const struct order_record *record) {
    if (record->crc != crc32c(record, ORDER_RECORD_CRC_OFFSET)) {
        return ORDER_RECORD_BAD_CRC;
    }
    return order_record_check_fields(record);
}

enum order_record_fault order_record_accept_draft(struct order_record *draft,
                                                  const char currency[4]) {
    uint64_t given = draft->order_id | draft->version | draft->status |
                     (uint64_t)draft->created_at_us | (uint64_t)draft->updated_at_us |
                     (uint64_t)draft->requested_at_us | (uint64_t)draft->responded_at_us |
                     draft->crc;
    if (given != 0) {
        return ORDER_RECORD_NOT_EMPTY;
    }
    if (draft->format == 0) {
        draft->format = ORDER_RECORD_FORMAT;
    }
    if (draft->payment_type == ORDER_PAYMENT_NONE) {
        draft->payment_type = ORDER_PAYMENT_BANK;
    }
    if (bytes_load_u32(draft->currency) == 0) {
        memcpy(draft->currency, currency, sizeof(draft->currency));
    }
    if (draft->format != ORDER_RECORD_FORMAT) {
        return ORDER_RECORD_BAD_FORMAT;
    }
    if (!has_valid_payment_type(draft)) {
        return ORDER_RECORD_BAD_PAYMENT_TYPE;
    }
    if (!has_valid_amount(draft)) {
        return ORDER_RECORD_BAD_AMOUNT;
    }
    if (!order_currency_is_valid(draft->currency)) {
        return ORDER_RECORD_BAD_CURRENCY;
    }
    return check_texts(draft);
}

bool order_record_same_request(const struct order_record *left, const struct order_record *right) {
    return left->amount == right->amount && left->payment_type == right->payment_type &&
           memcmp(left->currency, right->currency, sizeof(left->currency)) == 0 &&
           memcmp(left->bank_code, right->bank_code, sizeof(left->bank_code)) == 0;
}

bool order_record_same_reference(const struct order_record *left,
                                 const struct order_record *right) {
    _Static_assert(offsetof(struct order_record, partner_order_id) ==
                       offsetof(struct order_record, partner_code) + ORDER_PARTNER_CODE_BYTES,
                   "both parts of the reference are compared at once");
    return memcmp(left->partner_code, right->partner_code,
                  ORDER_PARTNER_CODE_BYTES + ORDER_PARTNER_ORDER_ID_BYTES) == 0;
}

uint64_t order_record_reference_hash(const struct order_record *record) {
    char joined[ORDER_PARTNER_CODE_BYTES + 1 + ORDER_PARTNER_ORDER_ID_BYTES];
    size_t code_size = strnlen(record->partner_code, sizeof(record->partner_code));
    size_t id_size = strnlen(record->partner_order_id, sizeof(record->partner_order_id));
    memcpy(joined, record->partner_code, sizeof(record->partner_code));
    joined[code_size] = 0;
    memcpy(joined + code_size + 1, record->partner_order_id, sizeof(record->partner_order_id));
    return hash_bytes(joined, code_size + 1 + id_size);
}

const char *order_payment_type_name(unsigned payment_type) {
    return payment_type < ARRAY_COUNT(payment_names) ? payment_names[payment_type]
                                                     : payment_names[0];
}

enum order_payment_type order_payment_type_from_name(struct slice name) {
    for (unsigned type = ORDER_PAYMENT_BANK; type < ARRAY_COUNT(payment_names); type++) {
        if (slice_equal(name, slice_from_text(payment_names[type]))) {
            return (enum order_payment_type)type;
        }
    }
    return ORDER_PAYMENT_NONE;
}
