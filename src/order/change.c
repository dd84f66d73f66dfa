#include "order/change.h"

static bool matches(const struct order_match *match, uint32_t version) {
    if (!match->required || match->any) {
        return true;
    }
    for (size_t i = 0; i < match->count; i++) {
        if (match->versions[i] == version) {
            return true;
        }
    }
    return false;
}

static bool sets_responded_at(unsigned from, unsigned to) {
    return to == ORDER_STATUS_SUCCESS || to == ORDER_STATUS_ERROR ||
           (to == ORDER_STATUS_CANCEL && from == ORDER_STATUS_PROCESSING);
}

/** `given_us` is a time that came with the change, 0 for none. */
static bool is_acceptable(int64_t given_us, bool sets, int64_t created_at_us, int64_t now_us) {
    return given_us == 0 ||
           (sets && given_us >= created_at_us && given_us <= now_us + ORDER_TIME_AHEAD_MAX_US);
}

enum order_verdict order_change_judge(const struct order_record *current,
                                      const struct order_change *change, int64_t now_us,
                                      struct order_record *next) {
    if (!matches(&change->match, current->version)) {
        return ORDER_VERDICT_MISMATCH;
    }
    if (change->status == current->status) {
        return ORDER_VERDICT_UNCHANGED;
    }
    if (!order_status_may_become(current->status, change->status)) {
        return ORDER_VERDICT_ILLEGAL;
    }
    bool requests = change->status == ORDER_STATUS_PROCESSING;
    bool responds = sets_responded_at(current->status, change->status);
    if (!is_acceptable(change->requested_at_us, requests, current->created_at_us, now_us) ||
        !is_acceptable(change->responded_at_us, responds, current->created_at_us, now_us)) {
        return ORDER_VERDICT_BAD_TIME;
    }
    *next = *current;
    next->version = current->version + 1;
    next->status = (uint8_t)change->status;
    next->updated_at_us = now_us > current->updated_at_us ? now_us : current->updated_at_us;
    if (requests && next->requested_at_us == 0) {
        next->requested_at_us = change->requested_at_us != 0 ? change->requested_at_us : now_us;
    }
    if (responds) {
        next->responded_at_us = change->responded_at_us != 0 ? change->responded_at_us : now_us;
    }
    if (change->bank_code[0] != 0) {
        memcpy(next->bank_code, change->bank_code, sizeof(next->bank_code));
    }
    order_record_seal(next);
    return ORDER_VERDICT_CHANGED;
}
