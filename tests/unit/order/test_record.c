#include "base/crc32c.h"
#include "base/random.h"
#include "order/record.h"
#include "sample.h"
#include "unit.h"

#include <xxhash.h>

/** The record of API, section 4, byte by byte. */
static const unsigned char documented[128] =
    {
        [0] = 0x08,  0x07, 0x06,       0x05, 0x04, 0x03,      0x02, 0x01, /* order_id */
        [8] = 0x18,  0x17, 0x16,       0x15, 0x14, 0x13,      0x12, 0x11, /* amount */
        [16] = 0x24, 0x13, 0x00,       0x00,                              /* version */
        [20] = 2,                                                         /* status */
        [21] = 3,                                                         /* payment_type */
        [22] = 1,    0,                                                   /* format */
        [24] = 0x38, 0x37, 0x36,       0x35, 0x34, 0x33,      0x32, 0x01, /* created_at */
        [32] = 0x48, 0x47, 0x46,       0x45, 0x44, 0x43,      0x42, 0x01, /* updated_at */
        [40] = 0x58, 0x57, 0x56,       0x55, 0x54, 0x53,      0x52, 0x01, /* requested_at */
        [48] = 0x68, 0x67, 0x66,       0x65, 0x64, 0x63,      0x62, 0x01, /* responded_at */
        [56] = 'J',  'P',  'Y',        0,                                 /* currency */
        [60] = 'B',  'A',  'N',        'K',  '_',  '1',       '2',  '3',  '4',        '5',
        '6',         '7',  [72] = 'p', 'a',  'r',  't',       'n',  'e',  'r',        '-',
        '9',         'a',  'b',        'c',  'd',  'e',       'f',  'g',  [88] = 'o', 'r',
        'd',         'e',  'r',        '.',  '1',  [123] = 0, /* the end of partner_order_id */
};

static void test_every_field_is_where_the_contract_says(void **state) {
    (void)state;
    struct order_record record;
    memcpy(&record, documented, sizeof(record));
    assert_true(record.order_id == UINT64_C(0x0102030405060708));
    assert_true(record.amount == UINT64_C(0x1112131415161718));
    assert_int_equal(record.version, 0x1324);
    assert_int_equal(record.status, ORDER_STATUS_PROCESSING);
    assert_int_equal(record.payment_type, ORDER_PAYMENT_WALLET);
    assert_int_equal(record.format, 1);
    assert_true(record.created_at_us == INT64_C(0x0132333435363738));
    assert_true(record.updated_at_us == INT64_C(0x0142434445464748));
    assert_true(record.requested_at_us == INT64_C(0x0152535455565758));
    assert_true(record.responded_at_us == INT64_C(0x0162636465666768));
    assert_slice_equal(ORDER_TEXT(record.currency), "JPY");
    assert_slice_equal(ORDER_TEXT(record.bank_code), "BANK_1234567");
    assert_slice_equal(ORDER_TEXT(record.partner_code), "partner-9abcdefg");
    assert_slice_equal(ORDER_TEXT(record.partner_order_id), "order.1");
}

static void test_the_crc_covers_everything_before_it(void **state) {
    (void)state;
    struct order_record record;
    memcpy(&record, documented, sizeof(record));
    order_record_seal(&record);
    unsigned char bytes[128];
    memcpy(bytes, &record, sizeof(bytes));
    assert_int_equal(bytes_load_u32(bytes + 124), crc32c(documented, 124));
    assert_int_equal(order_record_check(&record), ORDER_RECORD_VALID);
    for (size_t bit = 0; bit < 128 * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        memcpy(&record, bytes, sizeof(record));
        assert_int_equal(order_record_check(&record), ORDER_RECORD_BAD_CRC);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

/** Seals the record and expects this fault; without the CRC it must be found too. */
static void assert_fault(struct order_record *record, enum order_record_fault expected) {
    order_record_seal(record);
    enum order_record_fault found = order_record_check(record);
    if (found != expected) {
        fail_msg("%s, not %s", order_record_fault_name(found), order_record_fault_name(expected));
    }
    assert_int_equal(order_record_check_fields(record), expected);
}

#define CHECK_WITH(expected, ...)                                                                  \
    do {                                                                                           \
        struct order_record record = sample_order(77);                                             \
        __VA_ARGS__;                                                                               \
        assert_fault(&record, (expected));                                                         \
    } while (0)

static void test_each_number_that_cannot_be_is_found(void **state) {
    (void)state;
    CHECK_WITH(ORDER_RECORD_VALID, (void)0);
    CHECK_WITH(ORDER_RECORD_BAD_FORMAT, record.format = 0);
    CHECK_WITH(ORDER_RECORD_BAD_FORMAT, record.format = 2);
    CHECK_WITH(ORDER_RECORD_BAD_ID, record.order_id = 0);
    CHECK_WITH(ORDER_RECORD_BAD_ID, record.order_id = UINT64_C(1) << 63);
    CHECK_WITH(ORDER_RECORD_VALID, record.order_id = INT64_MAX);
    CHECK_WITH(ORDER_RECORD_BAD_VERSION, record.version = 0);
    CHECK_WITH(ORDER_RECORD_VALID, record.version = ORDER_VERSION_MAX);
    CHECK_WITH(ORDER_RECORD_BAD_VERSION, record.version = ORDER_VERSION_MAX + 1);
    CHECK_WITH(ORDER_RECORD_BAD_STATUS, record.status = 0);
    CHECK_WITH(ORDER_RECORD_BAD_STATUS, record.status = 7);
    CHECK_WITH(ORDER_RECORD_VALID, record.status = 6);
    CHECK_WITH(ORDER_RECORD_BAD_PAYMENT_TYPE, record.payment_type = 0);
    CHECK_WITH(ORDER_RECORD_BAD_PAYMENT_TYPE, record.payment_type = 4);
    CHECK_WITH(ORDER_RECORD_BAD_AMOUNT, record.amount = 0);
    CHECK_WITH(ORDER_RECORD_BAD_AMOUNT, record.amount = UINT64_C(1) << 63);
    CHECK_WITH(ORDER_RECORD_VALID, record.amount = INT64_MAX);
}

static void test_each_time_that_cannot_be_is_found(void **state) {
    (void)state;
    CHECK_WITH(ORDER_RECORD_BAD_TIME, record.created_at_us = 0);
    CHECK_WITH(ORDER_RECORD_BAD_TIME, record.created_at_us = -1);
    CHECK_WITH(ORDER_RECORD_BAD_TIME, record.updated_at_us = record.created_at_us - 1);
    CHECK_WITH(ORDER_RECORD_BAD_TIME, record.requested_at_us = -1);
    CHECK_WITH(ORDER_RECORD_BAD_TIME, record.responded_at_us = -1);
    CHECK_WITH(ORDER_RECORD_VALID, record.responded_at_us = SAMPLE_TIME_US + 1);
}

static void test_each_text_that_cannot_be_is_found(void **state) {
    (void)state;
    CHECK_WITH(ORDER_RECORD_BAD_CURRENCY, record.currency[0] = 'x');
    CHECK_WITH(ORDER_RECORD_BAD_CURRENCY, record.currency[2] = 0);
    CHECK_WITH(ORDER_RECORD_BAD_CURRENCY, record.currency[3] = 'R');
    CHECK_WITH(ORDER_RECORD_VALID, memset(record.bank_code, 0, sizeof(record.bank_code)));
    CHECK_WITH(ORDER_RECORD_VALID, memset(record.bank_code, 'b', sizeof(record.bank_code)));
    CHECK_WITH(ORDER_RECORD_BAD_BANK_CODE, record.bank_code[0] = ' ');
    CHECK_WITH(ORDER_RECORD_BAD_BANK_CODE, record.bank_code[0] = 0);
    CHECK_WITH(ORDER_RECORD_BAD_BANK_CODE, record.bank_code[11] = 'x');
    CHECK_WITH(ORDER_RECORD_VALID, memset(record.partner_code, 'c', sizeof(record.partner_code)));
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_CODE, record.partner_code[0] = 0);
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_CODE, record.partner_code[1] = '.');
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_CODE, record.partner_code[15] = 'x');
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_ORDER_ID, record.partner_order_id[0] = 0);
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_ORDER_ID, record.partner_order_id[0] = '/');
    CHECK_WITH(ORDER_RECORD_BAD_PARTNER_ORDER_ID, record.partner_order_id[35] = 'x');
    CHECK_WITH(ORDER_RECORD_VALID,
               memset(record.partner_order_id, 'd', sizeof(record.partner_order_id)));
}

typedef bool text_rule(struct slice text);

static void assert_rule(text_rule *rule, size_t longest, const char *characters) {
    char text[40];
    memset(text, 'a', sizeof(text));
    assert_false(rule((struct slice){text, 0}));
    for (size_t size = 1; size <= sizeof(text); size++) {
        assert_int_equal(rule((struct slice){text, size}), size <= longest);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        bool allowed = byte != 0 && strchr(characters, (int)byte) != NULL;
        for (size_t at = 0; at < 3; at++) {
            char changed[3] = {'a', 'a', 'a'};
            changed[at] = (char)byte;
            assert_int_equal(rule((struct slice){changed, 3}), allowed);
        }
    }
}

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static void test_texts_take_exactly_the_characters_of_the_contract(void **state) {
    (void)state;
    assert_rule(order_partner_code_is_valid, 16, LETTERS_AND_DIGITS "_-");
    assert_rule(order_partner_order_id_is_valid, 36, LETTERS_AND_DIGITS "._-");
    assert_rule(order_bank_code_is_valid, 12, LETTERS_AND_DIGITS "_-");
}

static void test_a_draft_gets_the_defaults(void **state) {
    (void)state;
    struct order_record draft = sample_draft(1);
    draft.payment_type = 0;
    draft.format = 0;
    memset(draft.currency, 0, sizeof(draft.currency));
    memset(draft.bank_code, 0, sizeof(draft.bank_code));
    assert_int_equal(order_record_accept_draft(&draft, "THB"), ORDER_RECORD_VALID);
    assert_int_equal(draft.payment_type, ORDER_PAYMENT_BANK);
    assert_int_equal(draft.format, ORDER_RECORD_FORMAT);
    assert_slice_equal(ORDER_TEXT(draft.currency), "THB");
    assert_int_equal(draft.bank_code[0], 0);
}

static void test_a_draft_keeps_what_it_says(void **state) {
    (void)state;
    struct order_record draft = sample_draft(1);
    struct order_record before = draft;
    assert_int_equal(order_record_accept_draft(&draft, "THB"), ORDER_RECORD_VALID);
    assert_memory_equal(&draft, &before, sizeof(draft));
}

static void test_a_draft_with_a_field_of_the_service_is_refused(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        size_t size;
    } given[] = {{0, 8}, {16, 4}, {20, 1}, {24, 8}, {32, 8}, {40, 8}, {48, 8}, {124, 4}};
    for (size_t i = 0; i < ARRAY_COUNT(given); i++) {
        for (size_t at = given[i].offset; at < given[i].offset + given[i].size; at++) {
            struct order_record draft = sample_draft(1);
            ((char *)&draft)[at] = (char)0x80;
            assert_int_equal(order_record_accept_draft(&draft, "THB"), ORDER_RECORD_NOT_EMPTY);
        }
    }
}

#define DRAFT_WITH(expected, ...)                                                                  \
    do {                                                                                           \
        struct order_record draft = sample_draft(1);                                               \
        __VA_ARGS__;                                                                               \
        assert_int_equal(order_record_accept_draft(&draft, "THB"), (expected));                    \
    } while (0)

static void test_a_draft_with_a_bad_field_is_refused(void **state) {
    (void)state;
    DRAFT_WITH(ORDER_RECORD_BAD_FORMAT, draft.format = 2);
    DRAFT_WITH(ORDER_RECORD_BAD_PAYMENT_TYPE, draft.payment_type = 4);
    DRAFT_WITH(ORDER_RECORD_BAD_AMOUNT, draft.amount = 0);
    DRAFT_WITH(ORDER_RECORD_BAD_AMOUNT, draft.amount = (uint64_t)INT64_MAX + 1);
    DRAFT_WITH(ORDER_RECORD_BAD_CURRENCY, draft.currency[0] = 0);
    DRAFT_WITH(ORDER_RECORD_BAD_CURRENCY, memcpy(draft.currency, "XAU", 4));
    DRAFT_WITH(ORDER_RECORD_BAD_BANK_CODE, draft.bank_code[0] = 0);
    DRAFT_WITH(ORDER_RECORD_BAD_PARTNER_CODE, draft.partner_code[0] = 0);
    DRAFT_WITH(ORDER_RECORD_BAD_PARTNER_ORDER_ID, draft.partner_order_id[0] = '\n');
}

static void test_the_same_request_is_the_four_fields_of_the_contract(void **state) {
    (void)state;
    struct order_record left = sample_order(1);
    struct order_record right = sample_order(2); /* another reference, id and amount */
    right.amount = left.amount;
    right.version = 5;
    right.status = ORDER_STATUS_SUCCESS;
    assert_true(order_record_same_request(&left, &right));
    right.amount++;
    assert_false(order_record_same_request(&left, &right));
    right.amount = left.amount;
    right.payment_type = ORDER_PAYMENT_BANK;
    assert_false(order_record_same_request(&left, &right));
    right.payment_type = left.payment_type;
    right.currency[2] = 'X';
    assert_false(order_record_same_request(&left, &right));
    memcpy(right.currency, left.currency, sizeof(right.currency));
    right.bank_code[11] = 'X';
    assert_false(order_record_same_request(&left, &right));
}

static void test_the_same_reference_is_both_codes_to_the_last_byte(void **state) {
    (void)state;
    struct order_record left = sample_order(1);
    struct order_record right = left;
    right.amount++;
    right.order_id++;
    assert_true(order_record_same_reference(&left, &right));
    for (size_t at = 72; at < 124; at++) {
        right = left;
        ((char *)&right)[at] ^= 1;
        assert_false(order_record_same_reference(&left, &right));
    }
}

static void test_the_reference_hash_is_xxh3_of_the_joined_codes(void **state) {
    (void)state;
    struct random_source random = {5};
    for (int i = 0; i < 1000; i++) {
        struct order_record record = {.order_id = 0};
        char joined[64];
        size_t code_size = 1 + random_below(&random, 16);
        size_t id_size = 1 + random_below(&random, 36);
        memset(record.partner_code, 'a' + i % 26, code_size);
        memset(record.partner_order_id, 'A' + i % 26, id_size);
        memcpy(joined, record.partner_code, code_size);
        joined[code_size] = 0;
        memcpy(joined + code_size + 1, record.partner_order_id, id_size);
        assert_true(order_record_reference_hash(&record) ==
                    XXH3_64bits(joined, code_size + 1 + id_size));
    }
}

static void test_references_that_only_join_to_the_same_text_differ(void **state) {
    (void)state;
    struct order_record left = {.partner_code = "ab", .partner_order_id = "c"};
    struct order_record right = {.partner_code = "a", .partner_order_id = "bc"};
    assert_true(order_record_reference_hash(&left) != order_record_reference_hash(&right));
    assert_false(order_record_same_reference(&left, &right));
}

static void test_payment_types_have_their_names(void **state) {
    (void)state;
    static const char *const names[] = {"none", "pay_with_bank", "pay_with_card",
                                        "pay_with_wallet"};
    for (unsigned type = 0; type < ARRAY_COUNT(names); type++) {
        assert_string_equal(order_payment_type_name(type), names[type]);
        assert_int_equal(order_payment_type_from_name(slice_from_text(names[type])), type);
    }
    assert_string_equal(order_payment_type_name(4), "none");
    assert_int_equal(order_payment_type_from_name(SLICE_LITERAL("pay_with_")), 0);
    assert_int_equal(order_payment_type_from_name(SLICE_LITERAL("")), 0);
}

static void test_every_fault_has_a_name(void **state) {
    (void)state;
    for (unsigned fault = 0; fault <= ORDER_RECORD_NOT_EMPTY; fault++) {
        assert_true(strlen(order_record_fault_name((enum order_record_fault)fault)) > 0);
    }
    assert_string_equal(order_record_fault_name(ORDER_RECORD_BAD_PARTNER_ORDER_ID),
                        "partner_order_id");
    assert_string_equal(order_record_fault_name(ORDER_RECORD_BAD_TIME), "times");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_is_where_the_contract_says),
        cmocka_unit_test(test_the_crc_covers_everything_before_it),
        cmocka_unit_test(test_each_number_that_cannot_be_is_found),
        cmocka_unit_test(test_each_time_that_cannot_be_is_found),
        cmocka_unit_test(test_each_text_that_cannot_be_is_found),
        cmocka_unit_test(test_texts_take_exactly_the_characters_of_the_contract),
        cmocka_unit_test(test_a_draft_gets_the_defaults),
        cmocka_unit_test(test_a_draft_keeps_what_it_says),
        cmocka_unit_test(test_a_draft_with_a_field_of_the_service_is_refused),
        cmocka_unit_test(test_a_draft_with_a_bad_field_is_refused),
        cmocka_unit_test(test_the_same_request_is_the_four_fields_of_the_contract),
        cmocka_unit_test(test_the_same_reference_is_both_codes_to_the_last_byte),
        cmocka_unit_test(test_the_reference_hash_is_xxh3_of_the_joined_codes),
        cmocka_unit_test(test_references_that_only_join_to_the_same_text_differ),
        cmocka_unit_test(test_payment_types_have_their_names),
        cmocka_unit_test(test_every_fault_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
