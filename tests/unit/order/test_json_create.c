#include "order/json.h"
#include "unit.h"

#include <stdlib.h>

#define REQUIRED "\"partner_code\":\"p\",\"partner_order_id\":\"o\",\"amount\":5"

static int setup(void **state) {
    *state = malloc(sizeof(struct order_scanner));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static enum order_scan_status scan(struct order_scanner *scanner, const char *body, size_t size,
                                   struct order_record *draft) {
    char *exact = malloc(size + (size == 0)); /* a sanitizer sees a look past the end */
    assert_non_null(exact);
    memcpy(exact, body, size);
    enum order_scan_status status =
        order_scan_create(scanner, (struct slice){exact, size}, "EUR", draft);
    free(exact);
    return status;
}

static struct order_record assert_draft(struct order_scanner *scanner, const char *body) {
    struct order_record draft;
    enum order_scan_status status = scan(scanner, body, strlen(body), &draft);
    if (status != ORDER_SCAN_OK) {
        fail_msg("%s: %s", body,
                 status == ORDER_SCAN_MALFORMED ? scanner->malformed
                                                : scanner->errors.items[0].detail);
    }
    return draft;
}

static void assert_malformed_bytes(struct order_scanner *scanner, const char *body, size_t size) {
    struct order_record draft;
    if (scan(scanner, body, size, &draft) != ORDER_SCAN_MALFORMED) {
        fail_msg("not taken for malformed: %.*s", (int)size, body);
    }
    assert_non_null(scanner->malformed);
    assert_true(scanner->malformed_at <= size);
}

static void assert_malformed(struct order_scanner *scanner, const char *body) {
    assert_malformed_bytes(scanner, body, strlen(body));
}

/** Exactly these errors, `field: detail`, a line each. */
static void assert_invalid(struct order_scanner *scanner, const char *body, const char *expected) {
    struct order_record draft;
    char text[4096] = "";
    struct text out = text_over(text, sizeof(text) - 1);
    enum order_scan_status status =
        order_scan_create(scanner, slice_from_text(body), "EUR", &draft);
    if (status != ORDER_SCAN_INVALID) {
        fail_msg("%s: %s", status == ORDER_SCAN_OK ? "accepted" : scanner->malformed, body);
    }
    for (size_t i = 0; i < scanner->errors.count; i++) {
        text_append_slice(&out, scanner->errors.items[i].field);
        text_append_format(&out, ": %.15s\n", scanner->errors.items[i].detail);
    }
    assert_string_equal(text, expected);
}

static void test_a_whole_order_becomes_a_draft(void **state) {
    struct order_record draft = assert_draft(
        *state, " {\"partner_code\" : \"par_T-1\",\n\t\"partner_order_id\":\"2026.07-31_A\",\r\n"
                "\"amount\":9223372036854775807,\"currency\":\"THB\","
                "\"payment_type\":\"pay_with_wallet\",\"bank_code\":\"KBANK\"} \n");
    assert_slice_equal(ORDER_TEXT(draft.partner_code), "par_T-1");
    assert_slice_equal(ORDER_TEXT(draft.partner_order_id), "2026.07-31_A");
    assert_true(draft.amount == INT64_MAX);
    assert_slice_equal(ORDER_TEXT(draft.currency), "THB");
    assert_int_equal(draft.payment_type, ORDER_PAYMENT_WALLET);
    assert_slice_equal(ORDER_TEXT(draft.bank_code), "KBANK");
}

static void test_defaults_stand_for_what_is_absent_or_null(void **state) {
    static const char *const bodies[] = {
        "{" REQUIRED "}",
        "{" REQUIRED ",\"currency\":null,\"payment_type\":null,\"bank_code\":null}",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        struct order_record draft = assert_draft(*state, bodies[i]);
        struct order_record expected = {
            .amount = 5,
            .payment_type = ORDER_PAYMENT_BANK,
            .format = ORDER_RECORD_FORMAT,
            .currency = "EUR",
            .partner_code = "p",
            .partner_order_id = "o",
        };
        assert_memory_equal(&draft, &expected, sizeof(draft));
        assert_int_equal(order_record_accept_draft(&draft, "EUR"), ORDER_RECORD_VALID);
    }
}

static void test_escapes_mean_their_characters(void **state) {
    struct order_record draft =
        assert_draft(*state, "{\"partner\\u005Fcode\":\"\\u0070\\u0041\",\"\\u0061mount\":7,"
                             "\"partner_order_id\":\"a\\u002Db\"}");
    assert_slice_equal(ORDER_TEXT(draft.partner_code), "pA");
    assert_slice_equal(ORDER_TEXT(draft.partner_order_id), "a-b");
    assert_int_equal(draft.amount, 7);
}

static void test_the_longest_texts_fit_and_longer_ones_do_not(void **state) {
    char body[256];
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
    (void)snprintf(body, sizeof(body),
                   "{\"partner_code\":\"%.16s\",\"partner_order_id\":\"%.36s\",\"amount\":1,"
                   "\"bank_code\":\"%.12s\"}",
                   letters, letters, letters);
    struct order_record draft = assert_draft(*state, body);
    assert_int_equal(ORDER_TEXT(draft.partner_code).size, 16);
    assert_int_equal(ORDER_TEXT(draft.partner_order_id).size, 36);
    assert_int_equal(ORDER_TEXT(draft.bank_code).size, 12);
    (void)snprintf(body, sizeof(body),
                   "{\"partner_code\":\"%.17s\",\"partner_order_id\":\"%.37s\",\"amount\":1,"
                   "\"bank_code\":\"%.13s\"}",
                   letters, letters, letters);
    assert_invalid(*state, body,
                   "partner_code: expected 1 to 1\npartner_order_id: expected 1 to 3\n"
                   "bank_code: expected 1 to 1\n");
}

static void test_an_amount_is_a_whole_number_from_1_to_the_largest(void **state) {
    static const char *const wrong[] = {
        "0",
        "-1",
        "-0",
        "1.0",
        "1e2",
        "1E2",
        "1.5",
        "0.1",
        "9223372036854775808",
        "18446744073709551617",
        "100000000000000000000000000000000000000",
        "1e400",
        "-1e400",
        "\"5\"",
        "\"\"",
        "true",
        "[5]",
        "{}",
        "-9223372036854775808",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        char body[160];
        (void)snprintf(body, sizeof(body),
                       "{\"partner_code\":\"p\",\"partner_order_id\":\"o\",\"amount\":%s}",
                       wrong[i]);
        assert_invalid(*state, body, "amount: expected a whol\n");
    }
}

static void test_numbers_that_are_none_are_malformed(void **state) {
    static const char *const wrong[] = {"01",       "00",  "+1",  ".5", "5.",  "1.e2",
                                        "1e",       "1e+", "--1", "-",  "0x1", "1_0",
                                        "Infinity", "NaN", "-.1", "1,5"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        char body[160];
        (void)snprintf(body, sizeof(body), "{\"amount\":%s}", wrong[i]);
        assert_malformed(*state, body);
    }
}

static void test_texts_must_be_strings_that_their_rules_allow(void **state) {
    static const char *const values[] = {"5",        "true",        "[]",      "{}",
                                         "\"\"",     "\"a b\"",     "\"a/b\"", "\"\\u00e9\"",
                                         "\"a\\n\"", "\"\xc3\xa9\""};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        char body[160];
        (void)snprintf(body, sizeof(body), "{" REQUIRED ",\"bank_code\":%s}", values[i]);
        assert_invalid(*state, body, "bank_code: expected 1 to 1\n");
        (void)snprintf(body, sizeof(body), "{" REQUIRED ",\"currency\":%s}", values[i]);
        assert_invalid(*state, body, "currency: expected a curr\n");
        (void)snprintf(body, sizeof(body), "{" REQUIRED ",\"payment_type\":%s}", values[i]);
        assert_invalid(*state, body, "payment_type: expected pay_wi\n");
    }
    assert_invalid(*state, "{" REQUIRED ",\"currency\":\"eur\"}", "currency: expected a curr\n");
    assert_invalid(*state, "{" REQUIRED ",\"currency\":\"XXX\"}", "currency: expected a curr\n");
    assert_invalid(*state, "{" REQUIRED ",\"currency\":\"EUR\\u0041\"}",
                   "currency: expected a curr\n");
    assert_invalid(*state, "{" REQUIRED ",\"payment_type\":\"none\"}",
                   "payment_type: expected pay_wi\n");
}

static void test_all_required_members_are_asked_for(void **state) {
    static const char all[] = "partner_code: is required\npartner_order_id: is required\n"
                              "amount: is required\n";
    assert_invalid(*state, "{}", all);
    assert_invalid(*state, "{\"partner_code\":null,\"partner_order_id\":null,\"amount\":null}",
                   all);
    assert_invalid(*state, "{\"partner_order_id\":\"o\",\"amount\":1}",
                   "partner_code: is required\n");
}

static void test_a_bad_member_is_not_also_missing(void **state) {
    assert_invalid(*state, "{\"partner_code\":5,\"partner_order_id\":\"o\",\"amount\":1}",
                   "partner_code: expected 1 to 1\n");
}

static void test_members_that_the_service_gives_are_refused_even_as_null(void **state) {
    static const char *const given[] = {"order_id",   "status",       "version",      "created_at",
                                        "updated_at", "requested_at", "responded_at", "expires_at"};
    for (size_t i = 0; i < ARRAY_COUNT(given); i++) {
        static const char *const values[] = {"null", "1", "\"pending\""};
        for (size_t j = 0; j < ARRAY_COUNT(values); j++) {
            char body[160];
            char expected[64];
            (void)snprintf(body, sizeof(body), "{" REQUIRED ",\"%s\":%s}", given[i], values[j]);
            (void)snprintf(expected, sizeof(expected), "%s: is given by the\n", given[i]);
            assert_invalid(*state, body, expected);
        }
    }
}

static void test_unknown_members_are_refused_and_named_as_they_stand(void **state) {
    assert_invalid(*state, "{" REQUIRED ",\"amounts\":1}", "amounts: is not a member\n");
    assert_invalid(*state, "{" REQUIRED ",\"Amount\":1}", "Amount: is not a member\n");
    assert_invalid(*state, "{" REQUIRED ",\"\":null}", ": is not a member\n");
    assert_invalid(*state, "{" REQUIRED ",\"a\\n\\\"\":{\"b\":[1]}}",
                   "a\\n\\\": is not a member\n");
    assert_invalid(*state, "{" REQUIRED ",\"partner_order_id_\":1}",
                   "partner_order_id_: is not a member\n");
}

static void test_a_very_long_name_is_unknown(void **state) {
    char name[1001];
    char body[1200];
    char expected[1200];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    (void)snprintf(body, sizeof(body), "{" REQUIRED ",\"%s\":1}", name);
    (void)snprintf(expected, sizeof(expected), "%s: is not a member\n", name);
    assert_invalid(*state, body, expected);
}

static void test_a_known_member_is_named_as_it_is_called_however_it_is_spelt(void **state) {
    assert_invalid(*state,
                   "{\"partner_code\":\"p\",\"partner_order_id\":\"o\","
                   "\"\\u0061m\\u006funt\":0}",
                   "amount: expected a whol\n");
}

/** Every wrong member that an order has is told, whatever else stands before it. */
static void test_many_unknown_members_leave_room_for_the_known_ones(void **state) {
    struct order_scanner *scanner = *state;
    char body[2048] = "{";
    for (unsigned i = 0; i < 40; i++) {
        size_t used = strlen(body);
        (void)snprintf(body + used, sizeof(body) - used, "\"x%u\":%u,", i, i);
    }
    size_t used = strlen(body);
    (void)snprintf(body + used, sizeof(body) - used,
                   "\"currency\":0,\"payment_type\":0,\"bank_code\":0,\"order_id\":0,\"status\":0,"
                   "\"version\":0,\"created_at\":0,\"updated_at\":0,\"requested_at\":0,"
                   "\"responded_at\":0,\"expires_at\":0}");
    struct order_record draft;
    assert_int_equal(scan(scanner, body, strlen(body), &draft), ORDER_SCAN_INVALID);
    assert_int_equal(scanner->errors.count, ORDER_ERRORS_MAX);
    assert_string_equal(scanner->errors.items[ORDER_ERRORS_UNKNOWN_MAX - 1].detail,
                        "is not a member of an order");
    assert_string_equal(scanner->errors.items[ORDER_ERRORS_UNKNOWN_MAX].detail,
                        "expected a currency code of ISO 4217, in capitals");
    for (size_t i = ORDER_ERRORS_MAX - 3; i < ORDER_ERRORS_MAX; i++) {
        assert_string_equal(scanner->errors.items[i].detail, "is required");
    }
    (void)assert_draft(scanner, "{" REQUIRED "}");
    assert_int_equal(scanner->errors.count, 0);
}

static void test_json_that_is_no_object_is_invalid(void **state) {
    static const char *const bodies[] = {"[]", "null", "5", "\"a\"", "true", " [{" REQUIRED "}] "};
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        assert_invalid(*state, bodies[i], ": expected a JSON\n");
    }
}

static void test_what_is_malformed_is_told_before_what_is_invalid(void **state) {
    assert_malformed(*state, "{\"amount\":\"x\",\"unknown\":1,");
    assert_malformed(*state, "{" REQUIRED "} x");
}

#define create_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        create_test(test_a_whole_order_becomes_a_draft),
        create_test(test_defaults_stand_for_what_is_absent_or_null),
        create_test(test_escapes_mean_their_characters),
        create_test(test_the_longest_texts_fit_and_longer_ones_do_not),
        create_test(test_an_amount_is_a_whole_number_from_1_to_the_largest),
        create_test(test_numbers_that_are_none_are_malformed),
        create_test(test_texts_must_be_strings_that_their_rules_allow),
        create_test(test_all_required_members_are_asked_for),
        create_test(test_a_bad_member_is_not_also_missing),
        create_test(test_members_that_the_service_gives_are_refused_even_as_null),
        create_test(test_unknown_members_are_refused_and_named_as_they_stand),
        create_test(test_a_very_long_name_is_unknown),
        create_test(test_a_known_member_is_named_as_it_is_called_however_it_is_spelt),
        create_test(test_many_unknown_members_leave_room_for_the_known_ones),
        create_test(test_json_that_is_no_object_is_invalid),
        create_test(test_what_is_malformed_is_told_before_what_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
