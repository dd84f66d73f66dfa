/** Which partition of `orders_by_slot` an order is in (API, sections 5 and 8): both columns come
 *  from the id, so an order is found without any look-up. Pure, any thread.
 *
 *  Changing either number means moving every row: the schema stores them, and a program with
 *  others is refused. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_PARTITION_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_PARTITION_H

#include "order/order_id.h"

#define CASSANDRA_SLOTS_A_GROUP 64
#define CASSANDRA_TICKS_A_MINUTE 6000

_Static_assert(CASSANDRA_TICKS_A_MINUTE *ORDER_TICK_US == 60 * 1000000, "a minute");

struct cassandra_partition {
    uint32_t slot_group; /* 0 to 15 */
    uint32_t minute;     /* since 2026-01-01T00:00Z */
};

static inline struct cassandra_partition cassandra_partition_of(uint64_t order_id) {
    struct order_id_parts parts = order_id_decode(order_id);
    return (struct cassandra_partition){
        .slot_group = parts.slot / CASSANDRA_SLOTS_A_GROUP,
        .minute = (uint32_t)(parts.tick / CASSANDRA_TICKS_A_MINUTE),
    };
}

#endif
