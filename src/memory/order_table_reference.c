#include "memory/order_table_layout.h"

#include <assert.h>

static void begin_write(struct reference_bucket *bucket) {
    RELAXED_STORE(bucket->sequence, (uint16_t)(RELAXED_LOAD(bucket->sequence) + 1));
    atomic_thread_fence(memory_order_release);
}

static void end_write(struct reference_bucket *bucket) {
    atomic_store_explicit(&bucket->sequence, (uint16_t)(RELAXED_LOAD(bucket->sequence) + 1),
                          memory_order_release);
}

static int slot_with(const struct reference_bucket *bucket, uint16_t tag, uint32_t position) {
    for (int slot = 0; slot < REFERENCE_BUCKET_SLOTS; slot++) {
        if (RELAXED_LOAD(bucket->tags[slot]) == tag &&
            (tag == 0 || RELAXED_LOAD(bucket->positions[slot]) == position)) {
            return slot;
        }
    }
    return -1;
}

static void change_passed(struct reference_bucket *bucket, int change) {
    uint16_t passed = RELAXED_LOAD(bucket->passed);
    assert(change > 0 ? passed < UINT16_MAX : passed > 0);
    begin_write(bucket);
    RELAXED_STORE(bucket->passed, (uint16_t)(passed + change));
    end_write(bucket);
}

/** Changes the `passed` count of every bucket from the one where the search begins to the one
 *  before `last`. */
static void change_path(struct order_table *table, uint64_t hash, uint64_t last, int change) {
    uint64_t at = reference_bucket_of(table, hash);
    while (at != last) {
        change_passed(&table->references[at], change);
        at = next_bucket(at, table->reference_bucket_count);
    }
}

void order_table_add_reference(struct order_table *table, uint64_t hash, uint32_t position) {
    uint64_t at = reference_bucket_of(table, hash);
    int slot = slot_with(&table->references[at], 0, 0);
    while (slot < 0) {
        at = next_bucket(at, table->reference_bucket_count);
        slot = slot_with(&table->references[at], 0, 0);
    }
    change_path(table, hash, at, +1);
    struct reference_bucket *bucket = &table->references[at];
    begin_write(bucket);
    RELAXED_STORE(bucket->tags[slot], reference_tag(table, hash));
    RELAXED_STORE(bucket->positions[slot], position);
    end_write(bucket);
}

void order_table_drop_reference(struct order_table *table, uint64_t hash, uint32_t position) {
    uint16_t tag = reference_tag(table, hash);
    uint64_t at = reference_bucket_of(table, hash);
    for (uint64_t looks = 0; looks < table->reference_bucket_count; looks++) {
        struct reference_bucket *bucket = &table->references[at];
        int slot = slot_with(bucket, tag, position);
        if (slot >= 0) {
            begin_write(bucket);
            RELAXED_STORE(bucket->tags[slot], 0);
            end_write(bucket);
            change_path(table, hash, at, -1);
            return;
        }
        if (RELAXED_LOAD(bucket->passed) == 0) {
            return; /* forgotten before */
        }
        at = next_bucket(at, table->reference_bucket_count);
    }
}

void order_table_forget_reference(struct order_table *table, uint64_t order_id,
                                  uint64_t reference_hash) {
    struct id_place place = order_table_place(table, order_id);
    if (place.slot >= 0) {
        uint64_t bucket = (uint64_t)(place.bucket - table->buckets);
        order_table_drop_reference(table, reference_hash,
                                   (uint32_t)(bucket * ID_BUCKET_SLOTS + (unsigned)place.slot));
    }
}
