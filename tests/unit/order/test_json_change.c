#include "base/rfc3339.h"
#include "order/json.h"
#include "sample.h"
#include "unit.h"

#include <jansson.h>
#include <stdlib.h>

#define NOW_US (ORDER_EPOCH_US + INT64_C(100000000))
#define TIMEOUT_US INT64_C(900000000)

static int setup(void **state) {
    *state = malloc(sizeof(struct order_scanner));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state) {
    free(*state);
    return 0;
}

static enum order_scan_status scan(struct order_scanner *scanner, const char *body,
                                   struct order_change *change) {
    memset(change, 0xee, sizeof(*change));
    change->order_id = 7;
    return order_scan_change(scanner, slice_from_text(body), NOW_US, change);
}

static struct order_change assert_change(struct order_scanner *scanner, const char *body) {
    struct order_change change;
    if (scan(scanner, body, &change) != ORDER_SCAN_OK) {
        fail_msg("refused: %s", body);
    }
    assert_int_equal(change.order_id, 7);
    return change;
}

static void assert_invalid(struct order_scanner *scanner, const char *body, const char *field,
                           const char *detail) {
    struct order_change change;
    assert_int_equal(scan(scanner, body, &change), ORDER_SCAN_INVALID);
    assert_int_equal(scanner->errors.count, 1);
    assert_slice_equal(scanner->errors.items[0].field, field);
    assert_contains(scanner->errors.items[0].detail, detail);
}

static void test_a_status_is_read(void **state) {
    static const char *const names[] = {"pending", "processing", "success",
                                        "cancel",  "timeout",    "error"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        char body[64];
        (void)snprintf(body, sizeof(body), "{\"status\":\"%s\"}", names[i]);
        struct order_change change = assert_change(*state, body);
        assert_int_equal(change.status, i + 1);
        assert_int_equal(change.requested_at_us, 0);
        assert_int_equal(change.responded_at_us, 0);
        assert_int_equal(change.bank_code[0], 0);
    }
}

static void test_times_are_read_with_any_offset(void **state) {
    struct order_change change = assert_change(
        *state, "{\"requested_at\":\"2026-01-01T01:00:01.5+01:00\",\"status\":\"processing\"}");
    assert_true(change.requested_at_us == ORDER_EPOCH_US + 1500000);
    change =
        assert_change(*state, "{\"status\":\"error\",\"responded_at\":\"2026-01-01T00:00:02Z\"}");
    assert_true(change.responded_at_us == ORDER_EPOCH_US + 2000000);
    change = assert_change(*state, "{\"status\":\"error\",\"responded_at\":null}");
    assert_int_equal(change.responded_at_us, 0);
}

static void test_a_status_is_required_and_must_be_one(void **state) {
    static const char expected[] = "expected pending, processing";
    assert_invalid(*state, "{}", "status", "is required");
    assert_invalid(*state, "{\"status\":null}", "status", "is required");
    assert_invalid(*state, "{\"status\":\"none\"}", "status", expected);
    assert_invalid(*state, "{\"status\":\"SUCCESS\"}", "status", expected);
    assert_invalid(*state, "{\"status\":3}", "status", expected);
    assert_invalid(*state, "{\"status\":[\"success\"]}", "status", expected);
}

static void test_members_that_cannot_change_and_unknown_ones_are_refused(void **state) {
    static const char *const fixed[] = {"order_id",  "version",      "amount",     "currency",
                                        "bank_code", "partner_code", "created_at", "expires_at"};
    for (size_t i = 0; i < ARRAY_COUNT(fixed); i++) {
        char body[96];
        (void)snprintf(body, sizeof(body), "{\"status\":\"success\",\"%s\":null}", fixed[i]);
        assert_invalid(*state, body, fixed[i], "cannot be changed");
    }
    assert_invalid(*state, "{\"status\":\"success\",\"state\":1}", "state", "is not a member");
}

static void test_a_time_that_no_such_change_sets_is_refused(void **state) {
    static const char time[] = "\"2026-01-01T00:00:02Z\"";
    static const struct {
        const char *status;
        bool requested;
        bool responded;
    } rules[] = {{"pending", false, false}, {"processing", true, false}, {"success", false, true},
                 {"cancel", false, true},   {"timeout", false, false},   {"error", false, true}};
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
        for (int responded = 0; responded < 2; responded++) {
            char body[128];
            const char *field = responded ? "responded_at" : "requested_at";
            (void)snprintf(body, sizeof(body), "{\"status\":\"%s\",\"%s\":%s}", rules[i].status,
                           field, time);
            if (responded ? rules[i].responded : rules[i].requested) {
                (void)assert_change(*state, body);
            } else {
                assert_invalid(*state, body, field, "is not set by this change");
            }
        }
    }
}

static void test_a_time_that_is_none_or_too_far_ahead_is_refused(void **state) {
    static const char *const wrong[] = {
        "\"\"", "5", "\"2026-01-01\"", "\"1970-01-01T00:00:00Z\"", "\"2026-01-01T00:00:00\"",
        "true"};
    char body[128];
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        (void)snprintf(body, sizeof(body), "{\"status\":\"success\",\"responded_at\":%s}",
                       wrong[i]);
        assert_invalid(*state, body, "responded_at", "expected a time");
    }
    char time[RFC3339_TEXT_BYTES];
    (void)rfc3339_format(NOW_US + 60000001, time);
    (void)snprintf(body, sizeof(body), "{\"status\":\"success\",\"responded_at\":\"%.27s\"}", time);
    assert_invalid(*state, body, "responded_at", "more than 60 s ahead");
    (void)rfc3339_format(NOW_US + 60000000, time);
    (void)snprintf(body, sizeof(body), "{\"status\":\"success\",\"responded_at\":\"%.27s\"}", time);
    (void)assert_change(*state, body);
}

static void test_the_condition_is_left_alone(void **state) {
    struct order_change change;
    change.match = (struct order_match){.required = true, .count = 1, .versions = {9}};
    assert_int_equal(
        order_scan_change(*state, SLICE_LITERAL("{\"status\":\"success\"}"), NOW_US, &change),
        ORDER_SCAN_OK);
    assert_true(change.match.required && change.match.count == 1 && change.match.versions[0] == 9);
}

static void test_a_malformed_change_is_malformed(void **state) {
    struct order_change change;
    assert_int_equal(scan(*state, "{\"status\":\"success\"", &change), ORDER_SCAN_MALFORMED);
    assert_int_equal(scan(*state, "", &change), ORDER_SCAN_MALFORMED);
    assert_int_equal(scan(*state, "{\"status\":\"success\",\"status\":\"success\"}", &change),
                     ORDER_SCAN_MALFORMED);
    assert_int_equal(scan(*state, "[]", &change), ORDER_SCAN_INVALID);
}

/** The value of `key` is this text, or null where `expected` is NULL. */
static void assert_text(const json_t *order, const char *key, const char *expected) {
    const json_t *value = json_object_get(order, key);
    assert_non_null(value);
    if (expected == NULL) {
        assert_true(json_is_null(value));
    } else {
        assert_true(json_is_string(value));
        assert_string_equal(json_string_value(value), expected);
    }
}

static json_t *written(const struct order_record *record) {
    char memory[ORDER_JSON_BYTES_MAX];
    struct text out = text_over(memory, sizeof(memory));
    json_error_t error;
    order_write_json(&out, record, TIMEOUT_US);
    assert_false(out.truncated);
    json_t *order = json_loadb(memory, out.size, JSON_REJECT_DUPLICATES, &error);
    if (order == NULL) {
        fail_msg("%s: %.*s", error.text, (int)out.size, memory);
    }
    assert_int_equal(json_object_size(order), 14);
    return order;
}

static void test_a_new_order_is_written_with_every_member(void **state) {
    (void)state;
    struct order_record record = sample_order(123);
    memset(record.bank_code, 0, sizeof(record.bank_code));
    json_t *order = written(&record);
    assert_text(order, "order_id", "123");
    assert_text(order, "partner_code", "partner");
    assert_text(order, "partner_order_id", "123");
    assert_int_equal(json_integer_value(json_object_get(order, "amount")), 1123);
    assert_text(order, "currency", "EUR");
    assert_text(order, "payment_type", "pay_with_card");
    assert_text(order, "bank_code", NULL);
    assert_text(order, "status", "pending");
    assert_int_equal(json_integer_value(json_object_get(order, "version")), 1);
    assert_text(order, "created_at", "2026-01-01T00:00:05.000000Z");
    assert_text(order, "updated_at", "2026-01-01T00:00:05.000000Z");
    assert_text(order, "requested_at", NULL);
    assert_text(order, "responded_at", NULL);
    assert_text(order, "expires_at", "2026-01-01T00:15:05.000000Z");
    json_decref(order);
}

static void test_the_longest_order_fits_the_promised_size(void **state) {
    (void)state;
    struct order_record record = sample_order(INT64_MAX);
    record.amount = INT64_MAX;
    record.version = ORDER_VERSION_MAX;
    record.status = ORDER_STATUS_PROCESSING;
    record.payment_type = ORDER_PAYMENT_WALLET;
    record.requested_at_us = SAMPLE_TIME_US + 1;
    record.responded_at_us = SAMPLE_TIME_US + 2;
    memset(record.bank_code, 'B', sizeof(record.bank_code));
    memset(record.partner_code, 'P', sizeof(record.partner_code));
    memset(record.partner_order_id, 'O', sizeof(record.partner_order_id));
    json_t *order = written(&record);
    assert_text(order, "order_id", "9223372036854775807");
    assert_true(json_integer_value(json_object_get(order, "amount")) == INT64_MAX);
    assert_text(order, "bank_code", "BBBBBBBBBBBB");
    assert_text(order, "partner_code", "PPPPPPPPPPPPPPPP");
    assert_text(order, "partner_order_id", "OOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO");
    assert_text(order, "payment_type", "pay_with_wallet");
    assert_text(order, "status", "processing");
    assert_text(order, "requested_at", "2026-01-01T00:00:05.000001Z");
    assert_text(order, "responded_at", "2026-01-01T00:00:05.000002Z");
    json_decref(order);
}

static void test_what_is_written_can_be_created_again(void **state) {
    struct order_record record = sample_order(5);
    json_t *order = written(&record);
    static const char *const given[] = {"order_id",   "status",       "version",      "created_at",
                                        "updated_at", "requested_at", "responded_at", "expires_at"};
    for (size_t i = 0; i < ARRAY_COUNT(given); i++) {
        assert_int_equal(json_object_del(order, given[i]), 0);
    }
    char *body = json_dumps(order, JSON_COMPACT);
    struct order_record draft;
    assert_int_equal(order_scan_create(*state, slice_from_text(body), "USD", &draft),
                     ORDER_SCAN_OK);
    struct order_record expected = sample_draft(5);
    assert_memory_equal(&draft, &expected, sizeof(draft));
    free(body);
    json_decref(order);
}

#define change_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        change_test(test_a_status_is_read),
        change_test(test_times_are_read_with_any_offset),
        change_test(test_a_status_is_required_and_must_be_one),
        change_test(test_members_that_cannot_change_and_unknown_ones_are_refused),
        change_test(test_a_time_that_no_such_change_sets_is_refused),
        change_test(test_a_time_that_is_none_or_too_far_ahead_is_refused),
        change_test(test_the_condition_is_left_alone),
        change_test(test_a_malformed_change_is_malformed),
        change_test(test_a_new_order_is_written_with_every_member),
        change_test(test_the_longest_order_fits_the_promised_size),
        change_test(test_what_is_written_can_be_created_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
