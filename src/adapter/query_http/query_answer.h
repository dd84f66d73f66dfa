/** The bodies with which a query instance answers POST /v1/batch/get and /v1/batch/statuses, read
 *  as what anybody may have sent. Pure, any thread. */
#ifndef ORDERD_ADAPTER_QUERY_HTTP_QUERY_ANSWER_H
#define ORDERD_ADAPTER_QUERY_HTTP_QUERY_ANSWER_H

#include "port/query_view.h"

/** The size of a whole answer. */
static inline size_t query_answer_bytes(size_t count, bool whole) {
    return count * (whole ? sizeof(struct order_record) : sizeof(struct order_state));
}

/** Takes whole orders into the batch (FOUND, ABSENT). False where the body is no such answer: it
 *  has not that size, or holds something that is no order with the id that was asked for. */
MUST_CHECK bool query_answer_take_orders(struct slice body, struct order_get_batch *batch);

/** Takes states into the batch (FOUND_STATE, ABSENT, UNKNOWN). False where the body is no such
 *  answer. */
MUST_CHECK bool query_answer_take_states(struct slice body, struct order_get_batch *batch);

#endif
