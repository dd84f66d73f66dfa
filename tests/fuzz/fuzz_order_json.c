/* Any body of a create or a change, held against jansson: both take it or both call it malformed,
 * and what is taken has jansson's values.
 *
 * Known differences, where orderd is stricter or freer on purpose: nesting deeper than 32 and
 * documents over 16 KiB are malformed here; a number that no double holds is JSON here (and then no
 * amount). A zero byte is malformed here; jansson does not see one that follows a number or a word.
 * An escaped NUL is malformed for both. */
#include "fuzz.h"
#include "order/json.h"

#include <jansson.h>

#define NOW_US INT64_C(1800000000000000)

static bool is_deeper_than(const json_t *value, unsigned depth) {
    const char *key;
    json_t *inner;
    size_t index;
    if (depth == 0 && (json_is_object(value) || json_is_array(value))) {
        return true;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, inner) {
        if (is_deeper_than(inner, depth - 1)) {
            return true;
        }
    }
    json_array_foreach(value, index, inner) {
        if (is_deeper_than(inner, depth - 1)) {
            return true;
        }
    }
    return false;
}

/** True where jansson's word about the form of the document counts. */
static bool is_comparable(const json_t *tree, const json_error_t *error, size_t size) {
    if (size > JSON_DOCUMENT_BYTES_MAX) {
        return false;
    }
    if (tree == NULL) {
        enum json_error_code code = json_error_code(error);
        return code != json_error_numeric_overflow && code != json_error_stack_overflow;
    }
    return !is_deeper_than(tree, JSON_DEPTH_MAX);
}

static void check_text(const json_t *tree, const char *key, struct slice found,
                       const char *otherwise) {
    const char *text = json_string_value(json_object_get(tree, key));
    const char *expected = text == NULL ? otherwise : text;
    FUZZ_CHECK(slice_equal(found, slice_from_text(expected)), "%s: %s, not %.*s", key, expected,
               (int)found.size, found.data);
}

static void check_draft(struct order_record *draft, const json_t *tree) {
    FUZZ_CHECK(json_is_object(tree), "a draft from no object");
    FUZZ_CHECK(draft->amount == (uint64_t)json_integer_value(json_object_get(tree, "amount")),
               "%llu", (unsigned long long)draft->amount);
    check_text(tree, "partner_code", ORDER_TEXT(draft->partner_code), "");
    check_text(tree, "partner_order_id", ORDER_TEXT(draft->partner_order_id), "");
    check_text(tree, "currency", ORDER_TEXT(draft->currency), "EUR");
    check_text(tree, "bank_code", ORDER_TEXT(draft->bank_code), "");
    check_text(tree, "payment_type", slice_from_text(order_payment_type_name(draft->payment_type)),
               "pay_with_bank");
    enum order_record_fault fault = order_record_accept_draft(draft, "EUR");
    FUZZ_CHECK(fault == ORDER_RECORD_VALID, "%s", order_record_fault_name(fault));
}

static void check_change(const struct order_change *change, const json_t *tree) {
    check_text(tree, "status", slice_from_text(order_status_name(change->status)), "none");
    FUZZ_CHECK(change->requested_at_us >= 0 &&
                   change->requested_at_us <= NOW_US + ORDER_TIME_AHEAD_MAX_US,
               "%lld", (long long)change->requested_at_us);
    FUZZ_CHECK((change->requested_at_us != 0) ==
                   json_is_string(json_object_get(tree, "requested_at")),
               "requested_at");
    FUZZ_CHECK((change->responded_at_us != 0) ==
                   json_is_string(json_object_get(tree, "responded_at")),
               "responded_at");
}

static void check_errors(const struct order_scanner *scanner, enum order_scan_status status,
                         struct slice body) {
    if (status == ORDER_SCAN_MALFORMED) {
        FUZZ_CHECK(scanner->malformed != NULL && scanner->malformed_at <= body.size, "no reason");
    }
    if (status == ORDER_SCAN_INVALID) {
        FUZZ_CHECK(scanner->errors.count > 0 && scanner->errors.count <= ORDER_ERRORS_MAX,
                   "%zu errors", scanner->errors.count);
        for (size_t i = 0; i < scanner->errors.count; i++) {
            FUZZ_CHECK(strlen(scanner->errors.items[i].detail) > 0, "an error without a word");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct order_scanner *scanner = malloc(sizeof(*scanner));
    FUZZ_CHECK(scanner != NULL, "memory");
    struct slice body = {(const char *)data, size};
    json_error_t error;
    json_t *tree = json_loadb(body.data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    struct order_record draft;
    enum order_scan_status status = order_scan_create(scanner, body, "EUR", &draft);
    check_errors(scanner, status, body);
    if (memchr(data, 0, size) != NULL) {
        FUZZ_CHECK(status == ORDER_SCAN_MALFORMED, "a zero byte");
    } else if (is_comparable(tree, &error, size)) {
        FUZZ_CHECK((status == ORDER_SCAN_MALFORMED) == (tree == NULL), "%s against %s",
                   tree == NULL ? error.text : "taken",
                   status == ORDER_SCAN_MALFORMED ? scanner->malformed : "taken");
    }
    if (status == ORDER_SCAN_OK) {
        check_draft(&draft, tree);
    }
    struct order_change change = {.order_id = 1};
    enum order_scan_status change_status = order_scan_change(scanner, body, NOW_US, &change);
    check_errors(scanner, change_status, body);
    FUZZ_CHECK((status == ORDER_SCAN_MALFORMED) == (change_status == ORDER_SCAN_MALFORMED),
               "malformed for one and not for the other");
    if (change_status == ORDER_SCAN_OK) {
        check_change(&change, tree);
    }
    json_decref(tree);
    free(scanner);
    return 0;
}
