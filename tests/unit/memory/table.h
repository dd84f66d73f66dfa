/** What the tests of the RAM table share: a small table, and orders whose every field follows from
 *  id and version, so that a mix of two versions or two orders cannot be taken for one. */
#ifndef ORDERD_TESTS_MEMORY_TABLE_H
#define ORDERD_TESTS_MEMORY_TABLE_H

#include "base/hash.h"
#include "memory/order_table.h"
#include "sample.h"

/** A small table; it holds about 1,060 orders. */
#define SMALL_BUDGET_BYTES 160000

/** The id of the order with this number, from 0. */
static inline uint64_t id_of(uint64_t number) {
    return (number + 1) << 7;
}

/** The order `order_id` as it is in this version. The reference stays the same. */
static inline struct order_record order_in_version(uint64_t order_id, uint32_t version) {
    uint64_t mixed = hash_mix(order_id ^ (uint64_t)version << 48);
    struct order_record order = sample_order(order_id);
    order.version = version;
    order.status = (uint8_t)(1 + version % 6);
    order.amount = (mixed >> 2) + 1;
    order.payment_type = (uint8_t)(1 + mixed % 3);
    order.updated_at_us = order.created_at_us + (int64_t)(mixed >> 8 & 0xffffffff);
    order.requested_at_us = (int64_t)(mixed >> 1);
    order.responded_at_us = (int64_t)(mixed >> 3);
    order.bank_code[3] = (char)('A' + mixed % 26);
    order.bank_code[5] = (char)('A' + mixed / 26 % 26);
    order_record_seal(&order);
    return order;
}

static inline enum order_table_put put_order(struct order_table *table, uint64_t order_id,
                                             uint32_t version, bool evictable) {
    struct order_record order = order_in_version(order_id, version);
    return order_table_put(table, &order, order_record_reference_hash(&order), evictable);
}

static inline bool find_order(const struct order_table *table, uint64_t order_id,
                              struct order_record *out) {
    struct order_record reference = sample_order(order_id);
    return order_table_find(table, &reference, order_record_reference_hash(&reference), out);
}

#endif
