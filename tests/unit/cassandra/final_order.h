/** Final orders for the tests of the archive. */
#ifndef ORDERD_TESTS_FINAL_ORDER_H
#define ORDERD_TESTS_FINAL_ORDER_H

#include "adapter/cassandra/cassandra_partition.h"
#include "order/record.h"

#include <stdio.h>
#include <string.h>

/** An order of version 2, with a reference and a slot of its own. Those of one `minute` and one
 *  slot group share a partition. Some lack a bank code, a request or a response. */
static inline struct order_record final_order(uint64_t number, uint64_t minute) {
    struct order_record order = {
        .amount = 100 + number,
        .version = 2,
        .status = number % 3 == 0 ? ORDER_STATUS_SUCCESS : ORDER_STATUS_CANCEL,
        .payment_type = ORDER_PAYMENT_CARD,
        .format = ORDER_RECORD_FORMAT,
        .currency = "EUR",
        .partner_code = "partner",
    };
    if (number % 2 == 0) {
        memcpy(order.bank_code, "BANK-1", sizeof("BANK-1"));
    }
    (void)snprintf(order.partner_order_id, sizeof(order.partner_order_id), "%llu-%llu",
                   (unsigned long long)minute, (unsigned long long)number);
    uint64_t tick = minute * CASSANDRA_TICKS_A_MINUTE + number / ORDER_SEQUENCE_COUNT;
    order.order_id = order_id_encode((struct order_id_parts){
        .tick = tick,
        .slot = order_slot_from_hash(order_record_reference_hash(&order)),
        .node = 1,
        .sequence = (uint32_t)(number % ORDER_SEQUENCE_COUNT),
    });
    order.created_at_us = order_tick_to_us(tick) + 17;
    order.requested_at_us = number % 5 == 0 ? 0 : order.created_at_us + 1000;
    order.responded_at_us = number % 7 == 0 ? 0 : order.created_at_us + 2000;
    order.updated_at_us = order.created_at_us + 3000;
    order_record_seal(&order);
    return order;
}

#endif
