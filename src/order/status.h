/** The states of an order and the moves between them (API, section 2). Pure, any thread. */
#ifndef ORDERD_ORDER_STATUS_H
#define ORDERD_ORDER_STATUS_H

#include "base/bytes.h"

/** The values are part of the record's format. */
enum order_status {
    ORDER_STATUS_NONE = 0,
    ORDER_STATUS_PENDING = 1,
    ORDER_STATUS_PROCESSING = 2,
    ORDER_STATUS_SUCCESS = 3,
    ORDER_STATUS_CANCEL = 4,
    ORDER_STATUS_TIMEOUT = 5,
    ORDER_STATUS_ERROR = 6
};

#define ORDER_STATUS_COUNT 7

static inline bool order_status_is_valid(unsigned status) {
    return status >= ORDER_STATUS_PENDING && status <= ORDER_STATUS_ERROR;
}

/** A final order never changes again. */
static inline bool order_status_is_final(unsigned status) {
    return status >= ORDER_STATUS_SUCCESS && status <= ORDER_STATUS_ERROR;
}

/** True where the state machine has the move. A status to itself is no move. */
static inline bool order_status_may_become(unsigned from, unsigned to) {
    bool onward = order_status_is_final(to);
    return (from == ORDER_STATUS_PENDING && (onward || to == ORDER_STATUS_PROCESSING)) ||
           (from == ORDER_STATUS_PROCESSING && onward);
}

/** The name in JSON; "none" for 0 and for what is no status. */
const char *order_status_name(unsigned status);

/** ORDER_STATUS_NONE where the text names none. */
enum order_status order_status_from_name(struct slice name);

#endif
