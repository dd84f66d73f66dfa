#include "memory/order_table_layout.h"

#include "base/crc32c.h"

/* How many look-ups are under way at once: enough to hide the memory behind each other, few enough
 * that what was fetched is still in the first-level cache when its turn comes. */
#define STATES_GROUP 128
#define RECORDS_GROUP 32
#define SCAN_AHEAD 16

/** Copies the entry at (bucket, slot) whole, if it is `order_id` or `order_id` is 0. False where
 *  the slot holds another one or none. */
static bool read_entry(const struct order_table *table, struct id_bucket *bucket, int slot,
                       uint64_t order_id, struct order_record *out) {
    for (;;) {
        uint32_t sequence = id_bucket_begin_read(bucket);
        uint64_t found = RELAXED_LOAD(bucket->ids[slot]);
        uint16_t state = RELAXED_LOAD(bucket->states[slot]);
        uint32_t entry = RELAXED_LOAD(bucket->entries[slot]);
        bool wanted = found != 0 && (order_id == 0 || found == order_id);
        if (wanted && entry < table->slab.capacity) {
            order_cold_load(&table->slab.entries[entry], out);
        }
        if (!id_bucket_end_read(bucket, sequence)) {
            continue;
        }
        if (wanted) {
            out->order_id = found;
            out->version = state_version(state);
            out->status = state_status(state);
            out->crc = crc32c(out, ORDER_RECORD_CRC_OFFSET);
        }
        return wanted;
    }
}

/** What one look at a bucket says. */
struct bucket_look {
    int slot; /* -1: not here */
    uint16_t state;
    bool go_on; /* an entry that belongs here may be in a later bucket */
};

static inline struct bucket_look look_at(const struct id_bucket *bucket, uint64_t order_id) {
    for (;;) {
        uint32_t sequence = id_bucket_begin_read(bucket);
        struct bucket_look look;
        look.slot = id_bucket_slot(bucket, order_id);
        look.state = RELAXED_LOAD(bucket->states[look.slot & (ID_BUCKET_SLOTS - 1)]);
        look.go_on = RELAXED_LOAD(bucket->passed) != 0;
        if (LIKELY(id_bucket_end_read(bucket, sequence))) {
            return look;
        }
    }
}

/** Searches from `bucket` on, once around at most: in a small table entries may have gone past
 *  every bucket. Returns false where the order is absent. */
static bool search(const struct order_table *table, uint64_t order_id, uint64_t bucket,
                   struct id_bucket **found, struct bucket_look *look) {
    for (uint64_t looks = 0; looks < table->bucket_count; looks++) {
        *found = &table->buckets[bucket];
        *look = look_at(*found, order_id);
        if (look->slot >= 0) {
            return true;
        }
        if (!look->go_on) {
            return false;
        }
        bucket = next_bucket(bucket, table->bucket_count);
    }
    return false;
}

static bool read_from(const struct order_table *table, uint64_t order_id, uint64_t bucket,
                      struct order_record *out) {
    struct id_bucket *found;
    struct bucket_look look;
    while (search(table, order_id, bucket, &found, &look)) {
        if (read_entry(table, found, look.slot, order_id, out)) {
            mark_visited(found, look.slot);
            return true;
        }
        /* It left between the two looks; it may have come back elsewhere, so search again. */
    }
    return false;
}

bool order_table_get(const struct order_table *table, uint64_t order_id, struct order_record *out) {
    return order_id != 0 && read_from(table, order_id, id_bucket_of(table, order_id), out);
}

static size_t get_group(const struct order_table *table, const uint64_t *ids, size_t count,
                        struct order_record *out, bool *found) {
    uint64_t buckets[RECORDS_GROUP];
    for (size_t i = 0; i < count; i++) {
        buckets[i] = id_bucket_of(table, ids[i]);
        __builtin_prefetch(&table->buckets[buckets[i]]);
    }
    for (size_t i = 0; i < count; i++) {
        const struct id_bucket *bucket = &table->buckets[buckets[i]];
        int slot = ids[i] == 0 ? -1 : id_bucket_slot(bucket, ids[i]);
        if (slot >= 0) {
            order_cold_prefetch(&table->slab.entries[RELAXED_LOAD(bucket->entries[slot & 3])]);
        } else {
            __builtin_prefetch(bucket + 1);
        }
    }
    size_t present = 0;
    for (size_t i = 0; i < count; i++) {
        found[i] = ids[i] != 0 && read_from(table, ids[i], buckets[i], &out[i]);
        present += found[i] ? 1 : 0;
    }
    return present;
}

size_t order_table_get_many(const struct order_table *table, const uint64_t *ids, size_t count,
                            struct order_record *out, bool *found) {
    size_t present = 0;
    for (size_t at = 0; at < count; at += RECORDS_GROUP) {
        size_t group = bytes_min_size(count - at, RECORDS_GROUP);
        present += get_group(table, ids + at, group, out + at, found + at);
    }
    return present;
}

static inline void put_state(char *out, uint16_t state) {
    struct order_state answer = {.version = state_version(state), .status = state_status(state)};
    memcpy(out, &answer, sizeof(answer));
}

/** Up to STATES_GROUP look-ups. Orders that are not in the first bucket of their search are left
 *  for a second pass, with that bucket's neighbour already on its way. */
static size_t states_group(const struct order_table *table, const char *ids, size_t count,
                           char *out) {
    uint32_t buckets[STATES_GROUP];
    uint8_t late[STATES_GROUP];
    size_t late_count = 0;
    size_t present = 0;
    for (size_t i = 0; i < count; i++) {
        buckets[i] = (uint32_t)id_bucket_of(table, bytes_load_u64(ids + i * 8));
        __builtin_prefetch(&table->buckets[buckets[i]]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t order_id = bytes_load_u64(ids + i * 8);
        struct id_bucket *bucket = &table->buckets[buckets[i]];
        struct bucket_look look = look_at(bucket, order_id);
        bool here = look.slot >= 0 && order_id != 0;
        put_state(out + i * 8, here ? look.state : 0);
        if (here && RELAXED_LOAD(bucket->evictable) != 0) {
            mark_visited(bucket, look.slot);
        }
        present += here ? 1 : 0;
        late[late_count] = (uint8_t)i;
        if (!here && look.go_on && order_id != 0) {
            __builtin_prefetch(bucket + 1);
            late_count++;
        }
    }
    for (size_t i = 0; i < late_count; i++) {
        uint64_t order_id = bytes_load_u64(ids + (size_t)late[i] * 8);
        struct id_bucket *bucket;
        struct bucket_look look;
        uint64_t next = next_bucket(buckets[late[i]], table->bucket_count);
        if (search(table, order_id, next, &bucket, &look)) {
            put_state(out + (size_t)late[i] * 8, look.state);
            mark_visited(bucket, look.slot);
            present++;
        }
    }
    return present;
}

size_t order_table_states(const struct order_table *table, const void *ids, size_t count,
                          void *out) {
    size_t present = 0;
    for (size_t at = 0; at < count; at += STATES_GROUP) {
        size_t group = bytes_min_size(count - at, STATES_GROUP);
        present += states_group(table, (const char *)ids + at * 8, group, (char *)out + at * 8);
    }
    return present;
}

/** The youngest order with a reference so far. */
struct reference_match {
    struct id_bucket *bucket; /* NULL: none */
    int slot;
    struct order_record *order; /* the caller's, filled where there is one */
};

static void take_candidate(const struct order_table *table, uint32_t position,
                           const struct order_record *reference, struct reference_match *match) {
    struct id_bucket *bucket = &table->buckets[position / ID_BUCKET_SLOTS];
    int slot = (int)(position % ID_BUCKET_SLOTS);
    struct order_record order;
    if (read_entry(table, bucket, slot, 0, &order) &&
        order_record_same_reference(reference, &order) &&
        (match->bucket == NULL || order.order_id > match->order->order_id)) {
        match->bucket = bucket;
        match->slot = slot;
        *match->order = order;
    }
}

/** Looks through one bucket of the index by reference. Returns true where the search must go on in
 *  the next bucket. */
static bool find_in_bucket(const struct order_table *table, const struct reference_bucket *bucket,
                           const struct order_record *reference, uint16_t tag,
                           struct reference_match *match) {
    bool go_on;
    uint16_t sequence;
    uint32_t candidates[REFERENCE_BUCKET_SLOTS];
    size_t count;
    do {
        sequence = atomic_load_explicit(&bucket->sequence, memory_order_acquire);
        count = 0;
        for (size_t slot = 0; slot < REFERENCE_BUCKET_SLOTS; slot++) {
            if (RELAXED_LOAD(bucket->tags[slot]) == tag) {
                candidates[count++] = RELAXED_LOAD(bucket->positions[slot]);
            }
        }
        go_on = RELAXED_LOAD(bucket->passed) != 0;
        atomic_thread_fence(memory_order_acquire);
    } while ((sequence & 1) != 0 || RELAXED_LOAD(bucket->sequence) != sequence);
    for (size_t i = 0; i < count; i++) {
        take_candidate(table, candidates[i], reference, match);
    }
    return go_on;
}

bool order_table_find(const struct order_table *table, const struct order_record *reference,
                      uint64_t reference_hash, struct order_record *out) {
    uint64_t bucket = reference_bucket_of(table, reference_hash);
    uint16_t tag = reference_tag(table, reference_hash);
    struct order_record found;
    struct reference_match match = {.order = &found};
    for (uint64_t looks = 0; looks < table->reference_bucket_count; looks++) {
        if (!find_in_bucket(table, &table->references[bucket], reference, tag, &match)) {
            break;
        }
        bucket = next_bucket(bucket, table->reference_bucket_count);
    }
    if (match.bucket == NULL) {
        return false;
    }
    mark_visited(match.bucket, match.slot);
    *out = found; /* not before: `out` may be `reference` */
    return true;
}

void order_table_prefetch_reference(const struct order_table *table, uint64_t reference_hash) {
    __builtin_prefetch(&table->references[reference_bucket_of(table, reference_hash)]);
}

void order_table_prefetch(const struct order_table *table, uint64_t order_id,
                          uint64_t reference_hash) {
    __builtin_prefetch(&table->buckets[id_bucket_of(table, order_id)], 1);
    order_table_prefetch_reference(table, reference_hash);
}

uint64_t order_table_bucket_count(const struct order_table *table) {
    return table->bucket_count;
}

/** Copies the entries of a bucket as they are at one moment. */
static size_t read_bucket(const struct id_bucket *bucket, struct order_table_entry *entries) {
    for (;;) {
        uint32_t sequence = id_bucket_begin_read(bucket);
        uint8_t evictable = RELAXED_LOAD(bucket->evictable);
        size_t count = 0;
        for (unsigned slot = 0; slot < ID_BUCKET_SLOTS; slot++) {
            uint64_t order_id = RELAXED_LOAD(bucket->ids[slot]);
            uint16_t state = RELAXED_LOAD(bucket->states[slot]);
            if (order_id != 0) {
                entries[count++] = (struct order_table_entry){
                    .order_id = order_id,
                    .version = state_version(state),
                    .status = state_status(state),
                    .evictable = (evictable >> slot & 1) != 0,
                };
            }
        }
        if (id_bucket_end_read(bucket, sequence)) {
            return count;
        }
    }
}

/* The n-th bucket of a scan is not the n-th of the index: what a scan finds leaves the table in the
 * order in which it was found, and a region emptied at once while others are full would make the
 * searches of new orders as long as the full part. */
void order_table_scan(const struct order_table *table, uint64_t *cursor, uint64_t bucket_count,
                      void (*visit)(void *, const struct order_table_entry *), void *context) {
    uint64_t count = table->bucket_count;
    uint64_t stride = table->scan_stride;
    uint64_t end = bytes_min_u64(*cursor + bucket_count, count);
    uint64_t bucket = *cursor * stride % count;
    uint64_t ahead = (*cursor + SCAN_AHEAD) * stride % count;
    for (uint64_t visited = *cursor; visited < end; visited++) {
        struct order_table_entry entries[ID_BUCKET_SLOTS];
        __builtin_prefetch(&table->buckets[ahead]);
        size_t entry_count = read_bucket(&table->buckets[bucket], entries);
        for (size_t i = 0; i < entry_count; i++) {
            visit(context, &entries[i]);
        }
        bucket += bucket + stride < count ? stride : stride - count;
        ahead += ahead + stride < count ? stride : stride - count;
    }
    *cursor = end == count ? 0 : end;
}
