/** One change of an order's status, and its judgement (API, section 3, PATCH): the same rules for
 *  HTTP, the balance service's results and the time-out. Pure, any thread. */
#ifndef ORDERD_ORDER_CHANGE_H
#define ORDERD_ORDER_CHANGE_H

#include "order/record.h"

/** A time given with a change may lie this far ahead of the clock: 60 s. */
#define ORDER_TIME_AHEAD_MAX_US INT64_C(60000000)

/** How many versions a condition holds. An order has two changes at most, so a version above this
 *  is no order's. */
#define ORDER_MATCH_MAX 16

/** The condition of a change: any version, or one of a few. */
struct order_match {
    bool required; /* false: no condition */
    bool any;      /* `*`: the order exists, whatever its version */
    uint8_t count;
    uint32_t versions[ORDER_MATCH_MAX];
};

struct order_change {
    uint64_t order_id;
    enum order_status status;
    struct order_match match;
    int64_t requested_at_us;               /* 0 where not given */
    int64_t responded_at_us;               /* 0 where not given */
    char bank_code[ORDER_BANK_CODE_BYTES]; /* all zero where not given: stays as it is */
};

/** In the order in which a change is judged. */
enum order_verdict {
    ORDER_VERDICT_MISMATCH,  /* another version than the condition names */
    ORDER_VERDICT_UNCHANGED, /* it has that status already */
    ORDER_VERDICT_ILLEGAL,   /* the state machine has no such move */
    ORDER_VERDICT_BAD_TIME,  /* a time that this change does not set, or that cannot be */
    ORDER_VERDICT_CHANGED    /* `next` is the order after it */
};

/** Judges `change` against `current` at `now_us`. On CHANGED, `next` is sealed, one version higher,
 *  and its updated_at is now (never before the current one). */
MUST_CHECK enum order_verdict order_change_judge(const struct order_record *current,
                                                 const struct order_change *change, int64_t now_us,
                                                 struct order_record *next);

#endif
