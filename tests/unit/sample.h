/** Orders for tests: valid and sealed, each with a reference of its own. */
#ifndef ORDERD_TESTS_SAMPLE_H
#define ORDERD_TESTS_SAMPLE_H

#include "base/text.h"
#include "order/order_id.h"
#include "order/record.h"

#define SAMPLE_TIME_US (ORDER_EPOCH_US + INT64_C(5000000))

/** A draft as order_record_accept_draft leaves it: the reference is `partner` and the number. */
static inline struct order_record sample_draft(uint64_t number) {
    struct order_record draft = {
        .amount = 1000 + number,
        .payment_type = ORDER_PAYMENT_CARD,
        .format = ORDER_RECORD_FORMAT,
        .currency = "EUR",
        .bank_code = "BANK-1",
        .partner_code = "partner",
    };
    struct text text = text_over(draft.partner_order_id, sizeof(draft.partner_order_id));
    text_append_u64(&text, number);
    return draft;
}

/** A pending order of version 1. */
static inline struct order_record sample_order(uint64_t order_id) {
    struct order_record order = sample_draft(order_id);
    order.order_id = order_id;
    order.version = 1;
    order.status = ORDER_STATUS_PENDING;
    order.created_at_us = SAMPLE_TIME_US;
    order.updated_at_us = SAMPLE_TIME_US;
    order_record_seal(&order);
    return order;
}

#endif
