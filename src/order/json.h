/** The order's JSON (API, section 2): request bodies into drafts and changes, records out.
 *  Pure functions without allocation, any thread. */
#ifndef ORDERD_ORDER_JSON_H
#define ORDERD_ORDER_JSON_H

#include "base/text.h"
#include "order/change.h"
#include "order/json_reader.h"

/** Of the members that an order has, each can be wrong once; of the others the first are told. */
#define ORDER_ERRORS_KNOWN_MAX 14
#define ORDER_ERRORS_UNKNOWN_MAX 12
#define ORDER_ERRORS_MAX (ORDER_ERRORS_KNOWN_MAX + ORDER_ERRORS_UNKNOWN_MAX)

/** Enough for the JSON of any order. */
#define ORDER_JSON_BYTES_MAX 768

/** One wrong member. `field` is the name of a known one, a literal; an unknown one's is as it
 * stands in the request, escapes and all, so it can be written between quotes again. */
struct order_field_error {
    struct slice field;
    const char *detail;
};

struct order_errors {
    size_t count;
    size_t unknown; /* of them; more than ORDER_ERRORS_UNKNOWN_MAX are not kept */
    struct order_field_error items[ORDER_ERRORS_MAX];
};

enum order_scan_status {
    ORDER_SCAN_OK,
    ORDER_SCAN_MALFORMED, /* no JSON: `malformed` says why, `malformed_at` at which byte */
    ORDER_SCAN_INVALID    /* JSON, but no request: `errors` says which members */
};

/** What the scanners need and leave behind; large, so one a thread, not one a request. */
struct order_scanner {
    struct json_keys keys;
    struct order_errors errors;
    const char *malformed;
    size_t malformed_at;
};

/** Reads the body of a create into a draft. @param currency the default, zero-padded. */
MUST_CHECK enum order_scan_status order_scan_create(struct order_scanner *scanner,
                                                    struct slice body, const char currency[4],
                                                    struct order_record *draft);

/** Reads the body of a PATCH: status, and requested_at or responded_at. Times that no change could
 *  carry are refused here; what depends on the order is judged later. `change` keeps its order_id
 *  and its condition. */
MUST_CHECK enum order_scan_status order_scan_change(struct order_scanner *scanner,
                                                    struct slice body, int64_t now_us,
                                                    struct order_change *change);

/** Appends the order as JSON. @param timeout_us order.timeout_seconds in microseconds, for
 *  expires_at. */
void order_write_json(struct text *out, const struct order_record *record, int64_t timeout_us);

#endif
