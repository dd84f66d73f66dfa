/** The order: 128 bytes, two cache lines, the same bytes in the journal, Redis, Kafka and the
 *  batch API (API, section 4). Text fields are padded with zero bytes; all numbers little-endian.
 *  Pure functions, any thread. */
#ifndef ORDERD_ORDER_RECORD_H
#define ORDERD_ORDER_RECORD_H

#include "base/bytes.h"
#include "order/status.h"

#define ORDER_RECORD_BYTES 128
#define ORDER_RECORD_FORMAT 1
#define ORDER_RECORD_CRC_OFFSET 124

#define ORDER_CURRENCY_BYTES 4
#define ORDER_BANK_CODE_BYTES 12
#define ORDER_PARTNER_CODE_BYTES 16
#define ORDER_PARTNER_ORDER_ID_BYTES 36

/** The state machine changes an order at most twice. Room is left for repairs by hand; what is
 *  above is no order, and the RAM table relies on it (13 bits). */
#define ORDER_VERSION_MAX 8190

enum order_payment_type {
    ORDER_PAYMENT_NONE = 0,
    ORDER_PAYMENT_BANK = 1,
    ORDER_PAYMENT_CARD = 2,
    ORDER_PAYMENT_WALLET = 3
};

struct order_record {
    uint64_t order_id;
    uint64_t amount; /* minor units, 1 to 2^63-1 */
    uint32_t version;
    uint8_t status;       /* enum order_status */
    uint8_t payment_type; /* enum order_payment_type */
    uint16_t format;
    int64_t created_at_us; /* microseconds since 1970, as all times; 0 where it has not happened */
    int64_t updated_at_us;
    int64_t requested_at_us;
    int64_t responded_at_us;
    char currency[ORDER_CURRENCY_BYTES];
    char bank_code[ORDER_BANK_CODE_BYTES]; /* all zero where there is none */
    char partner_code[ORDER_PARTNER_CODE_BYTES];
    char partner_order_id[ORDER_PARTNER_ORDER_ID_BYTES];
    uint32_t crc; /* CRC-32C of the bytes before it */
};

_Static_assert(sizeof(struct order_record) == ORDER_RECORD_BYTES, "two cache lines");
_Static_assert(offsetof(struct order_record, amount) == 8, "API, section 4");
_Static_assert(offsetof(struct order_record, version) == 16, "API, section 4");
_Static_assert(offsetof(struct order_record, status) == 20, "API, section 4");
_Static_assert(offsetof(struct order_record, payment_type) == 21, "API, section 4");
_Static_assert(offsetof(struct order_record, format) == 22, "API, section 4");
_Static_assert(offsetof(struct order_record, created_at_us) == 24, "API, section 4");
_Static_assert(offsetof(struct order_record, updated_at_us) == 32, "API, section 4");
_Static_assert(offsetof(struct order_record, requested_at_us) == 40, "API, section 4");
_Static_assert(offsetof(struct order_record, responded_at_us) == 48, "API, section 4");
_Static_assert(offsetof(struct order_record, currency) == 56, "API, section 4");
_Static_assert(offsetof(struct order_record, bank_code) == 60, "API, section 4");
_Static_assert(offsetof(struct order_record, partner_code) == 72, "API, section 4");
_Static_assert(offsetof(struct order_record, partner_order_id) == 88, "API, section 4");
_Static_assert(offsetof(struct order_record, crc) == ORDER_RECORD_CRC_OFFSET, "API, section 4");

/** The answer to "what is its status", 8 bytes, as POST /v1/batch/statuses sends it. Version 0:
 *  there is none. */
struct order_state {
    uint32_t version;
    uint8_t status;
    uint8_t flags; /* ORDER_STATE_... */
    uint16_t zero;
};

#define ORDER_STATE_PROVISIONAL 1 /* a look-up elsewhere is in progress */
#define ORDER_STATE_UNKNOWN 2     /* not known now, ask again */

_Static_assert(sizeof(struct order_state) == 8, "API, section 3");

/** What a record can have wrong, in the order in which it is looked at. */
enum order_record_fault {
    ORDER_RECORD_VALID,
    ORDER_RECORD_BAD_CRC,
    ORDER_RECORD_BAD_FORMAT,
    ORDER_RECORD_BAD_ID,
    ORDER_RECORD_BAD_VERSION,
    ORDER_RECORD_BAD_STATUS,
    ORDER_RECORD_BAD_PAYMENT_TYPE,
    ORDER_RECORD_BAD_AMOUNT,
    ORDER_RECORD_BAD_TIME,
    ORDER_RECORD_BAD_CURRENCY,
    ORDER_RECORD_BAD_BANK_CODE,
    ORDER_RECORD_BAD_PARTNER_CODE,
    ORDER_RECORD_BAD_PARTNER_ORDER_ID,
    ORDER_RECORD_NOT_EMPTY /* a draft with a field that the service gives */
};

/** The name of the field that is wrong, for messages. */
const char *order_record_fault_name(enum order_record_fault fault);

/** Writes the CRC over the rest. */
void order_record_seal(struct order_record *record);

/** Judges a record that comes from outside the process: a file, a topic, a cache, a row. */
MUST_CHECK enum order_record_fault order_record_check(const struct order_record *record);

/** As order_record_check, without the CRC: for a record put together from columns. */
MUST_CHECK enum order_record_fault order_record_check_fields(const struct order_record *record);

/** Judges a record of a create request, and fills the defaults in: payment_type bank, `currency`,
 *  format 1. What the service gives must be zero. */
MUST_CHECK enum order_record_fault order_record_accept_draft(struct order_record *draft,
                                                             const char currency[4]);

/** True where both ask for the same: amount, currency, payment type and bank code. */
MUST_CHECK bool order_record_same_request(const struct order_record *left,
                                          const struct order_record *right);

/** True where both have the same partner_code and partner_order_id. */
MUST_CHECK bool order_record_same_reference(const struct order_record *left,
                                            const struct order_record *right);

/** True where nobody else may use the order's reference yet at `now_us`: it is not final, or was
 *  created within the idempotency window. */
static inline bool order_holds_reference(const struct order_record *record, int64_t now_us,
                                         int64_t window_us) {
    return !order_status_is_final(record->status) || record->created_at_us + window_us >= now_us;
}

/** XXH3-64 of `partner_code 0x00 partner_order_id`; its low 10 bits are the id's slot. */
uint64_t order_record_reference_hash(const struct order_record *record);

static inline struct slice order_text(const char *field, size_t size) {
    return (struct slice){field, strnlen(field, size)};
}

/** The text of a zero-padded field. */
#define ORDER_TEXT(field) order_text((field), sizeof(field))

/** Rules of the text fields (API, section 2), shared by every reader: each true where `text` may
 *  stand in the field. An empty text may not. */
MUST_CHECK bool order_partner_code_is_valid(struct slice text);
MUST_CHECK bool order_partner_order_id_is_valid(struct slice text);
MUST_CHECK bool order_bank_code_is_valid(struct slice text);

/** Copies `text`, which fits, into a zeroed field. */
static inline void order_text_set(char *field, size_t size, struct slice text) {
    memset(field, 0, size);
    memcpy(field, text.data, text.size);
}

const char *order_payment_type_name(unsigned payment_type);
enum order_payment_type order_payment_type_from_name(struct slice name);

#endif
