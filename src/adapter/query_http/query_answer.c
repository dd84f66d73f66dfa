#include "adapter/query_http/query_answer.h"

static bool take_order(const struct order_record *order, uint64_t order_id, uint8_t *result) {
    static const struct order_record none = {0};
    if (memcmp(order, &none, sizeof(none)) == 0) {
        *result = ORDER_RESULT_ABSENT;
        return true;
    }
    *result = ORDER_RESULT_FOUND;
    return order->order_id == order_id && order_record_check(order) == ORDER_RECORD_VALID;
}

bool query_answer_take_orders(struct slice body, struct order_get_batch *batch) {
    if (body.size != query_answer_bytes(batch->count, true)) {
        return false;
    }
    for (size_t i = 0; i < batch->count; i++) {
        memcpy(&batch->orders[i], body.data + i * sizeof(struct order_record),
               sizeof(struct order_record));
        if (!take_order(&batch->orders[i], batch->order_ids[i], &batch->results[i])) {
            return false;
        }
    }
    return true;
}

static bool take_state(struct order_state state, uint64_t order_id, struct order_record *order,
                       uint8_t *result) {
    const uint8_t flags = ORDER_STATE_PROVISIONAL | ORDER_STATE_UNKNOWN;
    *order = (struct order_record){.order_id = 0};
    if (state.zero != 0 || (state.flags & ~flags) != 0) {
        return false;
    }
    if (state.flags != 0) {
        *result = ORDER_RESULT_UNKNOWN;
        return true;
    }
    if (state.version == 0) {
        *result = ORDER_RESULT_ABSENT;
        return state.status == ORDER_STATUS_NONE;
    }
    *result = ORDER_RESULT_FOUND_STATE;
    *order = (struct order_record){
        .order_id = order_id, .version = state.version, .status = state.status};
    return state.version <= ORDER_VERSION_MAX && order_status_is_valid(state.status);
}

bool query_answer_take_states(struct slice body, struct order_get_batch *batch) {
    if (body.size != query_answer_bytes(batch->count, false)) {
        return false;
    }
    for (size_t i = 0; i < batch->count; i++) {
        struct order_state state;
        memcpy(&state, body.data + i * sizeof(state), sizeof(state));
        if (!take_state(state, batch->order_ids[i], &batch->orders[i], &batch->results[i])) {
            return false;
        }
    }
    return true;
}
