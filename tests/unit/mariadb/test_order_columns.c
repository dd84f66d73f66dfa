#include "adapter/mariadb/order_columns.h"
#include "sample.h"
#include "unit.h"

/** A row as the server would send it. */
struct row {
    struct slice fields[ORDER_COLUMN_COUNT];
};

static struct row good_row(void) {
    static const char *const texts[ORDER_COLUMN_COUNT] = {"12345",
                                                          "partner",
                                                          "17",
                                                          "1017",
                                                          "EUR",
                                                          "2",
                                                          "BANK-1",
                                                          "1",
                                                          "1",
                                                          "2026-01-01 00:00:05.000000",
                                                          "2026-01-01 00:00:05.000000",
                                                          NULL,
                                                          NULL};
    struct row row;
    for (size_t i = 0; i < ORDER_COLUMN_COUNT; i++) {
        row.fields[i] = texts[i] != NULL ? slice_from_text(texts[i]) : (struct slice){NULL, 0};
    }
    return row;
}

static void test_a_row_becomes_a_sealed_record(void **state) {
    (void)state;
    struct row row = good_row();
    struct order_record record;
    assert_int_equal(order_columns_read(row.fields, &record), ORDER_RECORD_VALID);
    assert_int_equal(order_record_check(&record), ORDER_RECORD_VALID);
    assert_int_equal(record.order_id, 12345);
    assert_int_equal(record.amount, 1017);
    assert_string_equal(record.partner_order_id, "17");
    assert_int_equal(record.created_at_us, SAMPLE_TIME_US);
    assert_int_equal(record.responded_at_us, 0);
    row.fields[6] = (struct slice){NULL, 0};
    assert_int_equal(order_columns_read(row.fields, &record), ORDER_RECORD_VALID);
    assert_string_equal(record.bank_code, "");
}

static void test_impossible_values_are_named_and_the_id_is_kept(void **state) {
    (void)state;
    static const struct {
        size_t column;
        const char *text; /* NULL: NULL */
        enum order_record_fault fault;
    } cases[] = {
        {0, "0", ORDER_RECORD_BAD_ID},
        {0, "9223372036854775808", ORDER_RECORD_BAD_ID},
        {1, "", ORDER_RECORD_BAD_PARTNER_CODE},
        {1, "partner partner 1", ORDER_RECORD_BAD_PARTNER_CODE},
        {2, "", ORDER_RECORD_BAD_PARTNER_ORDER_ID},
        {2, "1234567890123456789012345678901234567", ORDER_RECORD_BAD_PARTNER_ORDER_ID},
        {3, "0", ORDER_RECORD_BAD_AMOUNT},
        {3, "9223372036854775808", ORDER_RECORD_BAD_AMOUNT},
        {3, NULL, ORDER_RECORD_BAD_AMOUNT},
        {4, "eur", ORDER_RECORD_BAD_CURRENCY},
        {4, "EURO", ORDER_RECORD_BAD_CURRENCY},
        {4, "EUROS", ORDER_RECORD_BAD_CURRENCY},
        {5, "0", ORDER_RECORD_BAD_PAYMENT_TYPE},
        {5, "4", ORDER_RECORD_BAD_PAYMENT_TYPE},
        {5, "258", ORDER_RECORD_BAD_PAYMENT_TYPE},
        {6, "", ORDER_RECORD_BAD_BANK_CODE},
        {6, "1234567890123", ORDER_RECORD_BAD_BANK_CODE},
        {6, "a b", ORDER_RECORD_BAD_BANK_CODE},
        {7, "0", ORDER_RECORD_BAD_STATUS},
        {7, "7", ORDER_RECORD_BAD_STATUS},
        {7, "257", ORDER_RECORD_BAD_STATUS},
        {8, "0", ORDER_RECORD_BAD_VERSION},
        {8, "8191", ORDER_RECORD_BAD_VERSION},
        {8, "4294967297", ORDER_RECORD_BAD_VERSION},
        {9, NULL, ORDER_RECORD_BAD_TIME},
        {9, "0000-00-00 00:00:00.000000", ORDER_RECORD_BAD_TIME},
        {10, "2026-01-01 00:00:04.999999", ORDER_RECORD_BAD_TIME},
        {11, "never", ORDER_RECORD_BAD_TIME},
        {12, "", ORDER_RECORD_BAD_TIME},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct row row = good_row();
        struct order_record record;
        row.fields[cases[i].column] =
            cases[i].text != NULL ? slice_from_text(cases[i].text) : (struct slice){NULL, 0};
        enum order_record_fault fault = order_columns_read(row.fields, &record);
        if (fault != cases[i].fault) {
            fail_msg("case %zu: %s", i, order_record_fault_name(fault));
        }
        if (cases[i].column != 0) {
            assert_int_equal(record.order_id, 12345);
        }
    }
}

static void test_a_record_becomes_a_tuple_no_longer_than_is_promised(void **state) {
    (void)state;
    struct sql_builder sql;
    struct order_record order = sample_order(7);
    sql_builder_init(&sql, 4096);
    order_columns_append(&sql, &order);
    assert_slice_equal(sql_builder_slice(&sql),
                       "(7,'partner','7',1007,'EUR',2,'BANK-1',1,1,'2026-01-01 00:00:05.000000',"
                       "'2026-01-01 00:00:05.000000',NULL,NULL)");
    order.order_id = INT64_MAX;
    order.amount = INT64_MAX;
    order.version = UINT32_MAX;
    order.requested_at_us = order.responded_at_us = order.created_at_us;
    memset(order.partner_code, '\'', sizeof(order.partner_code));
    memset(order.partner_order_id, '\'', sizeof(order.partner_order_id));
    memset(order.bank_code, '\'', sizeof(order.bank_code));
    memset(order.currency, '\'', sizeof(order.currency));
    sql_builder_reset(&sql);
    order_columns_append(&sql, &order);
    assert_true(sql.size <= ORDER_COLUMNS_BYTES_MAX);
    sql_builder_deinit(&sql);
}

static void test_references_of_one_partner_share_a_condition(void **state) {
    (void)state;
    struct sql_builder sql;
    struct order_record orders[3] = {sample_draft(1), sample_draft(2), sample_draft(3)};
    memcpy(orders[2].partner_code, "zeta", 5);
    memset(orders[2].partner_code + 4, 0, sizeof(orders[2].partner_code) - 4);
    const struct order_record *const references[3] = {&orders[0], &orders[1], &orders[2]};
    sql_builder_init(&sql, 4096);
    order_columns_append_condition(&sql, references, 3);
    assert_slice_equal(sql_builder_slice(&sql),
                       "order_refs.partner_code = 'partner' AND order_refs.partner_order_id IN "
                       "('1','2') OR order_refs.partner_code = 'zeta' AND "
                       "order_refs.partner_order_id IN ('3')");
    sql_builder_deinit(&sql);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_becomes_a_sealed_record),
        cmocka_unit_test(test_impossible_values_are_named_and_the_id_is_kept),
        cmocka_unit_test(test_a_record_becomes_a_tuple_no_longer_than_is_promised),
        cmocka_unit_test(test_references_of_one_partner_share_a_condition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
