/** What the check knows of each order: a hash table of 32-byte entries that grows by a quarter at a
 *  time, so that ten million orders take less than a gigabyte even while it grows.
 *
 *  The caller owns it; one thread. */
#ifndef ORDERD_ORDERCTL_VERIFY_ORDERS_H
#define ORDERD_ORDERCTL_VERIFY_ORDERS_H

#include "order/record.h"

enum verify_flag {
    VERIFY_RELEASED = 1,       /* it left for the archive */
    VERIFY_IN_CHECKPOINT = 2,  /* the checkpoint has it */
    VERIFY_NOT_IN_JOURNAL = 4, /* so far only the checkpoint has it */
    VERIFY_OUTSIDE = 8,        /* hot at the checkpoint's position, but not in the checkpoint */
    VERIFY_ARCHIVED = 16       /* the archive has it */
};

struct verify_order {
    uint64_t order_id; /* 0: an empty place */
    uint64_t reference_hash;
    uint32_t crc;      /* of the newest record */
    uint32_t identity; /* of what never changes: see verify_identity */
    uint32_t frame;    /* of the newest record or the release, counted from 1; of what only the
                          checkpoint has, the last one before its position */
    uint16_t version;  /* 0: only its release is known */
    uint8_t status;
    uint8_t flags; /* enum verify_flag */
};

_Static_assert(sizeof(struct verify_order) == 32, "two a cache line");

struct verify_orders {
    struct verify_order *places; /* owned */
    uint64_t place_count;
    uint64_t count;
};

MUST_CHECK bool verify_orders_init(struct verify_orders *orders);
void verify_orders_deinit(struct verify_orders *orders);

/** NULL where it is not there. Valid until the next verify_orders_add. */
struct verify_order *verify_orders_find(const struct verify_orders *orders, uint64_t order_id);

/** Adds an order that is not there, all else zero; NULL where memory is short. */
struct verify_order *verify_orders_add(struct verify_orders *orders, uint64_t order_id);

/** Starts loading the place of an order. */
void verify_orders_prefetch(const struct verify_orders *orders, uint64_t order_id);

/** The next order at or behind place `*at`, which is moved behind it; NULL at the end. */
struct verify_order *verify_orders_each(const struct verify_orders *orders, uint64_t *at);

/** Two halves: a checksum of the reference beside its 64-bit hash, and one of the other members
 *  that no change may touch (amount, creation time, currency, payment type). */
uint32_t verify_identity(const struct order_record *record);

#define VERIFY_IDENTITY_REFERENCE UINT32_C(0xffff0000)

static inline bool verify_order_is_hot(const struct verify_order *order) {
    return order->version > 0 && (order->flags & VERIFY_RELEASED) == 0;
}

#endif
