/** The hash slot of a key in a Redis Cluster: CRC-16 (polynomial 0x1021, initial value 0; XMODEM)
 *  of what stands between the key's first `{` and the next `}` where that is not empty, else of the
 *  whole key, modulo 16,384 (Redis Cluster specification, "Key distribution model").
 *  Pure, any thread. */
#ifndef ORDERD_ADAPTER_REDIS_HASH_SLOT_H
#define ORDERD_ADAPTER_REDIS_HASH_SLOT_H

#include "base/bytes.h"

#define HASH_SLOT_COUNT 16384
#define ORDER_DIGITS_MAX 20

uint16_t hash_slot_crc16(struct slice data);
uint16_t hash_slot_of_key(struct slice key);

/** Writes the id in decimal; returns how many digits. */
size_t order_digits(uint64_t order_id, char out[ORDER_DIGITS_MAX]);

/** The slot of `o:{<order_id>}` and `lk:{<order_id>}`. */
uint16_t hash_slot_of_order(uint64_t order_id);

#endif
