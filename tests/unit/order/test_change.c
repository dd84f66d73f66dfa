#include "order/change.h"
#include "order/currency.h"
#include "sample.h"
#include "unit.h"

#define NOW_US (SAMPLE_TIME_US + INT64_C(2000000))
#define GIVEN_US (SAMPLE_TIME_US + INT64_C(1000000))

static const char *const status_names[] = {"none",   "pending", "processing", "success",
                                           "cancel", "timeout", "error"};

static void test_statuses_have_their_names(void **state) {
    (void)state;
    for (unsigned status = 0; status < ORDER_STATUS_COUNT; status++) {
        assert_string_equal(order_status_name(status), status_names[status]);
        assert_int_equal(order_status_from_name(slice_from_text(status_names[status])), status);
        assert_int_equal(order_status_is_valid(status), status != 0);
        assert_int_equal(order_status_is_final(status), status >= 3);
    }
    assert_string_equal(order_status_name(7), "none");
    assert_false(order_status_is_valid(7));
    assert_false(order_status_is_final(7));
    assert_int_equal(order_status_from_name(SLICE_LITERAL("Success")), 0);
    assert_int_equal(order_status_from_name(SLICE_LITERAL("succes")), 0);
    assert_int_equal(order_status_from_name(SLICE_LITERAL("")), 0);
}

static void test_the_state_machine_is_the_table_of_the_contract(void **state) {
    (void)state;
    /* A row for each status from which, a column for each status to which. */
    static const char *const moves[] = {
        ".......", /* none */
        "..xxxxx", /* pending: processing, success, cancel, timeout, error */
        "...xxxx", /* processing: success, cancel, timeout, error */
        ".......", ".......", ".......", ".......",
    };
    for (unsigned from = 0; from < ORDER_STATUS_COUNT; from++) {
        for (unsigned to = 0; to < ORDER_STATUS_COUNT; to++) {
            assert_int_equal(order_status_may_become(from, to), moves[from][to] == 'x');
        }
    }
}

static struct order_record order_with(enum order_status status) {
    struct order_record order = sample_order(42);
    order.version = 3;
    order.status = (uint8_t)status;
    if (status == ORDER_STATUS_PROCESSING) {
        order.requested_at_us = SAMPLE_TIME_US + 5;
    }
    order_record_seal(&order);
    return order;
}

static enum order_verdict judge(enum order_status from, const struct order_change *change,
                                struct order_record *next) {
    struct order_record current = order_with(from);
    memset(next, 0xee, sizeof(*next));
    return order_change_judge(&current, change, NOW_US, next);
}

static void test_every_move_is_judged_by_the_state_machine(void **state) {
    (void)state;
    for (unsigned from = 1; from < ORDER_STATUS_COUNT; from++) {
        for (unsigned to = 1; to < ORDER_STATUS_COUNT; to++) {
            struct order_record next;
            struct order_change change = {.status = (enum order_status)to};
            enum order_verdict expected = from == to ? ORDER_VERDICT_UNCHANGED
                                          : order_status_may_become(from, to)
                                              ? ORDER_VERDICT_CHANGED
                                              : ORDER_VERDICT_ILLEGAL;
            assert_int_equal(judge((enum order_status)from, &change, &next), expected);
        }
    }
}

static void test_a_change_makes_the_next_version_and_keeps_the_rest(void **state) {
    (void)state;
    struct order_record current = order_with(ORDER_STATUS_PENDING);
    struct order_change change = {.status = ORDER_STATUS_TIMEOUT};
    struct order_record next;
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    assert_int_equal(order_record_check(&next), ORDER_RECORD_VALID);
    assert_int_equal(next.version, 4);
    assert_int_equal(next.status, ORDER_STATUS_TIMEOUT);
    assert_true(next.updated_at_us == NOW_US);
    struct order_record expected = current;
    expected.version = 4;
    expected.status = ORDER_STATUS_TIMEOUT;
    expected.updated_at_us = NOW_US;
    order_record_seal(&expected);
    assert_memory_equal(&next, &expected, sizeof(next));
}

static void test_updated_at_never_goes_back(void **state) {
    (void)state;
    struct order_record current = order_with(ORDER_STATUS_PENDING);
    struct order_change change = {.status = ORDER_STATUS_PROCESSING};
    struct order_record next;
    current.updated_at_us = NOW_US + 1000;
    order_record_seal(&current);
    assert_int_equal(order_change_judge(&current, &change, NOW_US, &next), ORDER_VERDICT_CHANGED);
    assert_true(next.updated_at_us == NOW_US + 1000);
}

/** Which times a move sets, when none is given and when one is. */
static void assert_times(enum order_status from, enum order_status to, bool requests,
                         bool responds) {
    struct order_record current = order_with(from);
    struct order_record next;
    struct order_change change = {.status = to};
    assert_int_equal(judge(from, &change, &next), ORDER_VERDICT_CHANGED);
    assert_true(next.requested_at_us == (requests ? NOW_US : current.requested_at_us));
    assert_true(next.responded_at_us == (responds ? NOW_US : 0));

    change.requested_at_us = GIVEN_US;
    assert_int_equal(judge(from, &change, &next),
                     requests ? ORDER_VERDICT_CHANGED : ORDER_VERDICT_BAD_TIME);
    assert_true(!requests || next.requested_at_us == GIVEN_US);

    change.requested_at_us = 0;
    change.responded_at_us = GIVEN_US;
    assert_int_equal(judge(from, &change, &next),
                     responds ? ORDER_VERDICT_CHANGED : ORDER_VERDICT_BAD_TIME);
    assert_true(!responds || next.responded_at_us == GIVEN_US);
}

static void test_each_move_sets_and_takes_the_times_of_the_contract(void **state) {
    (void)state;
    assert_times(ORDER_STATUS_PENDING, ORDER_STATUS_PROCESSING, true, false);
    assert_times(ORDER_STATUS_PENDING, ORDER_STATUS_SUCCESS, false, true);
    assert_times(ORDER_STATUS_PENDING, ORDER_STATUS_ERROR, false, true);
    assert_times(ORDER_STATUS_PENDING, ORDER_STATUS_CANCEL, false, false);
    assert_times(ORDER_STATUS_PENDING, ORDER_STATUS_TIMEOUT, false, false);
    assert_times(ORDER_STATUS_PROCESSING, ORDER_STATUS_SUCCESS, false, true);
    assert_times(ORDER_STATUS_PROCESSING, ORDER_STATUS_ERROR, false, true);
    assert_times(ORDER_STATUS_PROCESSING, ORDER_STATUS_CANCEL, false, true);
    assert_times(ORDER_STATUS_PROCESSING, ORDER_STATUS_TIMEOUT, false, false);
}

static void test_a_given_time_lies_between_the_creation_and_a_minute_ahead(void **state) {
    (void)state;
    static const struct {
        int64_t time_us;
        bool good;
    } cases[] = {
        {SAMPLE_TIME_US - 1, false},        {SAMPLE_TIME_US, true}, {NOW_US + 60 * 1000000, true},
        {NOW_US + 60 * 1000000 + 1, false}, {INT64_MAX, false},     {1, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct order_record next;
        enum order_verdict expected =
            cases[i].good ? ORDER_VERDICT_CHANGED : ORDER_VERDICT_BAD_TIME;
        struct order_change request = {.status = ORDER_STATUS_PROCESSING,
                                       .requested_at_us = cases[i].time_us};
        assert_int_equal(judge(ORDER_STATUS_PENDING, &request, &next), expected);
        struct order_change response = {.status = ORDER_STATUS_SUCCESS,
                                        .responded_at_us = cases[i].time_us};
        assert_int_equal(judge(ORDER_STATUS_PENDING, &response, &next), expected);
    }
}

static void test_a_condition_holds_for_any_of_its_versions(void **state) {
    (void)state;
    struct order_record next;
    struct order_change change = {.status = ORDER_STATUS_PROCESSING};
    change.match = (struct order_match){.required = true, .count = 2, .versions = {1, 3}};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    change.match = (struct order_match){.required = true, .count = 2, .versions = {1, 2, 3}};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_MISMATCH);
    change.match = (struct order_match){.required = true, .count = 0};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_MISMATCH);
    change.match = (struct order_match){.required = true, .any = true};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    change.match = (struct order_match){.required = false, .count = 1, .versions = {9}};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    change.match = (struct order_match){.required = true, .count = ORDER_MATCH_MAX};
    change.match.versions[ORDER_MATCH_MAX - 1] = 3;
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
}

static void test_a_change_is_judged_in_the_order_of_the_contract(void **state) {
    (void)state;
    struct order_record next;
    /* Everything is wrong: another version, an illegal move, a time that it does not set. */
    struct order_change change = {.status = ORDER_STATUS_PENDING, .requested_at_us = GIVEN_US};
    change.match = (struct order_match){.required = true, .count = 1, .versions = {2}};
    assert_int_equal(judge(ORDER_STATUS_SUCCESS, &change, &next), ORDER_VERDICT_MISMATCH);
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_MISMATCH);
    change.match.versions[0] = 3;
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_UNCHANGED);
    assert_int_equal(judge(ORDER_STATUS_SUCCESS, &change, &next), ORDER_VERDICT_ILLEGAL);
    change.status = ORDER_STATUS_TIMEOUT;
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_BAD_TIME);
}

static void test_a_given_bank_code_replaces_the_old_one(void **state) {
    (void)state;
    struct order_record next;
    struct order_change change = {.status = ORDER_STATUS_SUCCESS};
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    assert_slice_equal(ORDER_TEXT(next.bank_code), "BANK-1");
    memcpy(change.bank_code, "B2", 2);
    assert_int_equal(judge(ORDER_STATUS_PENDING, &change, &next), ORDER_VERDICT_CHANGED);
    assert_slice_equal(ORDER_TEXT(next.bank_code), "B2");
    assert_int_equal(order_record_check(&next), ORDER_RECORD_VALID);
}

static void assert_currency(const char *code, bool valid) {
    char field[ORDER_CURRENCY_BYTES] = {0};
    memcpy(field, code, strnlen(code, sizeof(field)));
    if (order_currency_is_valid(field) != valid) {
        fail_msg("%s is %s", code, valid ? "refused" : "accepted");
    }
}

static void test_currencies_in_circulation_are_accepted(void **state) {
    (void)state;
    static const char *const good[] = {"AED", "AFN", "CHF", "EUR", "GBP", "JPY", "SLE", "SVC",
                                       "THB", "USD", "VED", "VES", "XAF", "XCD", "XCG", "XOF",
                                       "XPF", "ZMW", "ZWG", "MRU", "STN", "BYN", "KPW"};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_currency(good[i], true);
    }
}

static void test_metals_funds_tests_and_the_past_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "XAU", "XAG", "XPT", "XPD",                                     /* metals */
        "BOV", "CHE", "CHW", "CLF", "COU",  "MXV", "USN", "UYI", "UYW", /* funds and units */
        "XBA", "XBB", "XBC", "XBD", "XDR",  "XSU", "XUA", "XAD",        /* between banks */
        "XTS", "XXX",                                                   /* tests, none */
        "DEM", "HRK", "BGN", "ANG", "CUC",  "SLL", "ZWL", "VEF", "BYR",
        "MRO", "STD", "LTL", /* gone */
        "eur", "Eur", "EU",  "",    "EURO", "E R", "123", "ZZZ", "AAA",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_currency(bad[i], false);
    }
}

static void test_there_are_as_many_currencies_as_the_list_has(void **state) {
    (void)state;
    size_t count = 0;
    for (unsigned i = 0; i < 26 * 26 * 26; i++) {
        char code[4] = {(char)('A' + i / 676), (char)('A' + i / 26 % 26), (char)('A' + i % 26), 0};
        count += order_currency_is_valid(code) ? 1 : 0;
    }
    assert_int_equal(count, 155);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses_have_their_names),
        cmocka_unit_test(test_the_state_machine_is_the_table_of_the_contract),
        cmocka_unit_test(test_every_move_is_judged_by_the_state_machine),
        cmocka_unit_test(test_a_change_makes_the_next_version_and_keeps_the_rest),
        cmocka_unit_test(test_updated_at_never_goes_back),
        cmocka_unit_test(test_each_move_sets_and_takes_the_times_of_the_contract),
        cmocka_unit_test(test_a_given_time_lies_between_the_creation_and_a_minute_ahead),
        cmocka_unit_test(test_a_condition_holds_for_any_of_its_versions),
        cmocka_unit_test(test_a_change_is_judged_in_the_order_of_the_contract),
        cmocka_unit_test(test_a_given_bank_code_replaces_the_old_one),
        cmocka_unit_test(test_currencies_in_circulation_are_accepted),
        cmocka_unit_test(test_metals_funds_tests_and_the_past_are_refused),
        cmocka_unit_test(test_there_are_as_many_currencies_as_the_list_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
