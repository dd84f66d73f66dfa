/* Any bytes as what a query instance answers the checker: what is taken are possible orders and
 * states, each with the id that was asked for. The first byte says what was asked, and for how many
 * more than the answer has room for; of a whole order its own id, but for one order where it is
 * another. */
#include "adapter/query_http/query_answer.h"
#include "fuzz.h"

static struct order_record orders[QUERY_VIEW_BATCH_MAX];
static uint8_t results[QUERY_VIEW_BATCH_MAX];
static uint64_t ids[QUERY_VIEW_BATCH_MAX];

static void check_item(size_t item, bool whole) {
    const struct order_record *order = &orders[item];
    switch (results[item]) {
    case ORDER_RESULT_FOUND:
        FUZZ_CHECK(whole && order_record_check(order) == ORDER_RECORD_VALID, "item %zu", item);
        FUZZ_CHECK(order->order_id == ids[item], "item %zu", item);
        break;
    case ORDER_RESULT_FOUND_STATE:
        FUZZ_CHECK(!whole && order_status_is_valid(order->status), "item %zu", item);
        FUZZ_CHECK(order->order_id == ids[item] && order->version > 0, "item %zu", item);
        break;
    case ORDER_RESULT_UNKNOWN:
        FUZZ_CHECK(!whole, "item %zu", item);
        break;
    default:
        FUZZ_CHECK(results[item] == ORDER_RESULT_ABSENT, "item %zu: %u", item, results[item]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    bool whole = (data[0] & 1) != 0;
    size_t item_bytes = query_answer_bytes(1, whole);
    struct slice body = {(const char *)data + 1, size - 1};
    size_t count = body.size / item_bytes + (data[0] >> 1 & 1U);
    if (count > QUERY_VIEW_BATCH_MAX) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        bool same = whole && (i + 1) * item_bytes <= body.size && i != data[0] >> 2;
        ids[i] = same ? bytes_load_u64(body.data + i * item_bytes) : 1 + i;
        results[i] = ORDER_RESULT_NONE;
    }
    struct order_get_batch batch = {
        .count = count, .order_ids = ids, .orders = orders, .results = results};
    bool taken =
        whole ? query_answer_take_orders(body, &batch) : query_answer_take_states(body, &batch);
    FUZZ_CHECK(!taken || body.size == query_answer_bytes(count, whole), "%zu bytes", body.size);
    for (size_t i = 0; taken && i < count; i++) {
        check_item(i, whole);
    }
    return 0;
}
