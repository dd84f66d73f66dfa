/** The RAM table: every hot order, and as many archived ones as fit, found by id or by reference.
 *
 *  Layout (order_table_layout.h): an index by id in buckets of one cache line that hold the id,
 *  status and version of four orders, so that a status costs one cache miss; the rest of the
 *  order, 112 bytes, in a slab; an index by reference that points into the first. Entries never
 *  move. Sizes are fixed by the budget at the start.
 *
 *  One writing thread; any number of readers, which never lock and never wait. Each bucket has a
 *  sequence number, odd while its writer is inside, which also guards the slab entries that the
 *  bucket points to. A reader that sees it odd or changed reads that bucket again. A bucket counts
 *  the entries that had to go past it, so "absent" ends at the first bucket that none went past,
 *  and is as reliable as "present": an order that stays in the table is always found.
 *
 *  A put applies only a version that is higher than the one that is there. Only orders marked
 *  evictable ever leave by themselves (S3-FIFO, eviction_queue.h). */
#ifndef ORDERD_MEMORY_ORDER_TABLE_H
#define ORDERD_MEMORY_ORDER_TABLE_H

#include "base/fault.h"
#include "order/record.h"

struct order_table;

/** What a put did. */
enum order_table_put {
    ORDER_TABLE_INSERTED,
    ORDER_TABLE_UPDATED,
    ORDER_TABLE_OLDER, /* the version that is there is as high or higher: nothing changed */
    ORDER_TABLE_FULL   /* every entry holds an order that may not leave */
};

/** Where everything is, in bytes and entries; exact, taken at one moment by any thread. */
struct order_table_usage {
    uint64_t capacity;       /* orders that fit */
    uint64_t orders;         /* held now */
    uint64_t evictable;      /* of them, those that may leave */
    uint64_t evicted;        /* left by themselves since the start */
    uint64_t id_index_bytes; /* reserved, as the three below */
    uint64_t slab_bytes;
    uint64_t reference_index_bytes;
    uint64_t eviction_bytes;
};

/** Reserves everything. @param budget_bytes all of the table's memory stays below it.
 *  NULL, with the reason in `fault`, where the budget is too small or the system refuses. */
struct order_table *order_table_create(uint64_t budget_bytes, struct fault *fault);
void order_table_destroy(struct order_table *table);

/** Takes the memory of every order that fits from the system now. The indices have theirs from the
 *  beginning; the orders themselves, most of the budget, would get theirs page by page as they
 *  come. @thread any. */
void order_table_populate(struct order_table *table);

/** @thread any. */
void order_table_usage(const struct order_table *table, struct order_table_usage *usage);

/* --- Readers: any thread, never blocking. --- */

/** Copies the orders of `ids` that are present into `out` (sealed records), and sets found[i].
 *  Buckets and entries are prefetched in groups. Returns how many were found. */
size_t order_table_get_many(const struct order_table *table, const uint64_t *ids, size_t count,
                            struct order_record *out, bool *found);

/** One order; false where it is absent. */
MUST_CHECK bool order_table_get(const struct order_table *table, uint64_t order_id,
                                struct order_record *out);

/** Writes the state of each of `ids` to `out`, all zero where it is absent. `ids` and `out` need
 *  no alignment: they may be the bytes of a request and of its answer. Returns how many were
 *  found. */
size_t order_table_states(const struct order_table *table, const void *ids, size_t count,
                          void *out);

/** The youngest order with the reference of `reference` (partner_code and partner_order_id), whose
 *  hash is `reference_hash`; false where there is none. A reference that was used again has
 *  several: those that are out of the idempotency window may still be here. `out` may be
 *  `reference`. */
MUST_CHECK bool order_table_find(const struct order_table *table,
                                 const struct order_record *reference, uint64_t reference_hash,
                                 struct order_record *out);

/** One entry as a scan sees it. */
struct order_table_entry {
    uint64_t order_id;
    uint32_t version;
    uint8_t status;
    bool evictable;
};

/** Walks the index: visits every entry of the next `bucket_count` buckets from `*cursor` on (in an
 *  order that spreads over all of it), and moves the cursor; it is 0 again after the last bucket.
 *  An order that is there during a whole round is visited in it. */
void order_table_scan(const struct order_table *table, uint64_t *cursor, uint64_t bucket_count,
                      void (*visit)(void *context, const struct order_table_entry *entry),
                      void *context);

/** Number of buckets of the index, for pacing a scan. */
uint64_t order_table_bucket_count(const struct order_table *table);

/* --- The writer: always the same thread. --- */

/** Empties the table, while nobody reads it. */
void order_table_clear(struct order_table *table);

/** Makes sure that `count` new orders fit, evicting where needed. False where they do not. */
MUST_CHECK bool order_table_reserve(struct order_table *table, size_t count);

/** Starts loading what a put of this order will touch. */
void order_table_prefetch(const struct order_table *table, uint64_t order_id,
                          uint64_t reference_hash);

/** Starts loading what order_table_find will touch. */
void order_table_prefetch_reference(const struct order_table *table, uint64_t reference_hash);

/** Puts one order. @param reference_hash of the record. @param evictable it is also kept elsewhere
 *  and may leave; an order that is there keeps what it was, or becomes evictable. */
enum order_table_put order_table_put(struct order_table *table, const struct order_record *record,
                                     uint64_t reference_hash, bool evictable);

/** Marks an order as kept elsewhere. False where it is absent or has another version. */
bool order_table_release(struct order_table *table, uint64_t order_id, uint32_t version);

/** Takes an order out. False where it is absent. */
bool order_table_remove(struct order_table *table, uint64_t order_id);

/** Forgets the reference of an order that stays, so that the reference may be used again. */
void order_table_forget_reference(struct order_table *table, uint64_t order_id,
                                  uint64_t reference_hash);

#endif
