/** The RAM table's memory layout, private to src/memory: what a bucket holds, and how a reader
 *  sees it whole. See order_table.h for who may do what. */
#ifndef ORDERD_MEMORY_ORDER_TABLE_LAYOUT_H
#define ORDERD_MEMORY_ORDER_TABLE_LAYOUT_H

#include "base/hash.h"
#include "memory/eviction_queue.h"
#include "memory/order_slab.h"
#include "memory/order_table.h"

#define ID_BUCKET_SLOTS 4
#define REFERENCE_BUCKET_SLOTS 10

/** One cache line of the index by id. Everything but `visited` is guarded by `sequence`; all of it
 *  is atomic, as readers read while the writer writes. */
struct id_bucket {
    _Atomic uint64_t ids[ID_BUCKET_SLOTS];     /* 0: the slot is empty */
    _Atomic uint32_t entries[ID_BUCKET_SLOTS]; /* in the slab */
    _Atomic uint16_t states[ID_BUCKET_SLOTS];  /* version << 3 | status */
    _Atomic uint32_t sequence;                 /* odd: the writer is inside */
    _Atomic uint16_t passed;                   /* entries whose search begins at or before this
                                                  bucket and that are in a later one */
    _Atomic uint8_t evictable;                 /* a bit a slot; the high four bits: queued */
    _Atomic uint8_t visited; /* a bit a slot, set by readers of evictable orders */
};

_Static_assert(sizeof(struct id_bucket) == CACHE_LINE_BYTES, "one line");
_Static_assert(ORDER_VERSION_MAX < 1 << 13, "a version fits beside its status");

/** One cache line of the index by reference, guarded by its sequence. That has 16 bits: a reader
 *  would have to sleep through a multiple of 32,768 changes of one bucket, to the change, to be
 *  misled, and could then only miss an order that came or went meanwhile: what it finds it compares
 *  with the whole reference. */
struct reference_bucket {
    _Atomic uint32_t positions[REFERENCE_BUCKET_SLOTS]; /* in the index by id: bucket * 4 + slot */
    _Atomic uint16_t tags[REFERENCE_BUCKET_SLOTS];      /* 16 bits of the hash; 0: empty */
    _Atomic uint16_t sequence;
    _Atomic uint16_t passed;
};

_Static_assert(sizeof(struct reference_bucket) == CACHE_LINE_BYTES, "one line");

struct order_table {
    struct id_bucket *buckets;           /* owned */
    struct reference_bucket *references; /* owned */
    uint64_t bucket_count;
    uint64_t reference_bucket_count;
    uint64_t
        scan_stride; /* buckets from one that a scan visits to the next; coprime to the count */
    uint64_t reference_seed; /* secret; see reference_spread */
    struct order_slab slab;
    struct eviction_queue eviction;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t orders; /* counts are the writer's, read by all */
    _Atomic uint64_t evictable;
    _Atomic uint64_t evicted;
};

static inline uint64_t id_bucket_of(const struct order_table *table, uint64_t order_id) {
    return hash_to_range(hash_mix(order_id), table->bucket_count);
}

/** Partners choose references, and their hash has no secret in it: without one here somebody could
 *  aim tens of thousands of them at one bucket. */
static inline uint64_t reference_spread(const struct order_table *table, uint64_t hash) {
    return hash_mix(hash ^ table->reference_seed);
}

static inline uint64_t reference_bucket_of(const struct order_table *table, uint64_t hash) {
    return hash_to_range(reference_spread(table, hash), table->reference_bucket_count);
}

/** Bits that the bucket number does not use; never 0. */
static inline uint16_t reference_tag(const struct order_table *table, uint64_t hash) {
    uint16_t tag = (uint16_t)(reference_spread(table, hash) >> 12);
    return tag == 0 ? 1 : tag;
}

static inline uint64_t next_bucket(uint64_t bucket, uint64_t count) {
    return bucket + 1 == count ? 0 : bucket + 1;
}

static inline uint16_t pack_state(uint32_t version, uint8_t status) {
    return (uint16_t)(version << 3 | status);
}

static inline uint32_t state_version(uint16_t state) {
    return state >> 3;
}

static inline uint8_t state_status(uint16_t state) {
    return state & 7;
}

#define RELAXED_LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define RELAXED_STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

/** Begins a look at a bucket: the sequence to compare with at the end. An odd one fails there. */
static inline uint32_t id_bucket_begin_read(const struct id_bucket *bucket) {
    return atomic_load_explicit(&bucket->sequence, memory_order_acquire);
}

/** True where nothing changed since `sequence` was read. The fence keeps the reads before it from
 *  moving past the second look at the sequence. */
static inline bool id_bucket_end_read(const struct id_bucket *bucket, uint32_t sequence) {
    atomic_thread_fence(memory_order_acquire);
    return (sequence & 1) == 0 && RELAXED_LOAD(bucket->sequence) == sequence;
}

static inline void id_bucket_begin_write(struct id_bucket *bucket) {
    RELAXED_STORE(bucket->sequence, RELAXED_LOAD(bucket->sequence) + 1);
    atomic_thread_fence(memory_order_release);
}

static inline void id_bucket_end_write(struct id_bucket *bucket) {
    atomic_store_explicit(&bucket->sequence, RELAXED_LOAD(bucket->sequence) + 1,
                          memory_order_release);
}

/** The slot that holds `order_id`, or -1. Without a branch for each slot, as which one it is cannot
 *  be foreseen. An id stands in one slot at most; the answer means nothing for 0, and nothing while
 *  the writer is inside. */
static inline int id_bucket_slot(const struct id_bucket *bucket, uint64_t order_id) {
    int first = RELAXED_LOAD(bucket->ids[0]) == order_id;
    int second = RELAXED_LOAD(bucket->ids[1]) == order_id;
    int third = RELAXED_LOAD(bucket->ids[2]) == order_id;
    int fourth = RELAXED_LOAD(bucket->ids[3]) == order_id;
    return first + 2 * second + 3 * third + 4 * fourth - 1;
}

/** Notes that an order which may leave was read. */
static inline void mark_visited(struct id_bucket *bucket, int slot) {
    uint8_t bit = (uint8_t)(1u << slot);
    if ((RELAXED_LOAD(bucket->evictable) & bit) != 0 &&
        (RELAXED_LOAD(bucket->visited) & bit) == 0) {
        atomic_fetch_or_explicit(&bucket->visited, bit, memory_order_relaxed);
    }
}

/** Where an order is: its bucket and slot; slot -1 where it is absent. The writer's view. */
struct id_place {
    struct id_bucket *bucket;
    int slot;
};

/** @thread the writer. */
struct id_place order_table_place(struct order_table *table, uint64_t order_id);

/** Index by reference, the writer's side (order_table_reference.c). */
void order_table_add_reference(struct order_table *table, uint64_t hash, uint32_t position);
void order_table_drop_reference(struct order_table *table, uint64_t hash, uint32_t position);

#endif
