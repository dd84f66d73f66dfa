#include "memory/order_table_layout.h"

#include "base/pages.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* Four fifths of the slots are used when the table is full: a search then looks at 1.14 buckets
 * (measured at 10 M orders), and both indices take 28 bytes an order. */
#define LOAD_NUMERATOR 4
#define LOAD_DENOMINATOR 5
#define CAPACITY_MIN 64

static uint64_t buckets_for(uint64_t capacity, uint64_t slots) {
    return capacity * LOAD_DENOMINATOR / (LOAD_NUMERATOR * slots) + 1;
}

static uint64_t bytes_for(uint64_t capacity) {
    uint64_t buckets = buckets_for(capacity, ID_BUCKET_SLOTS);
    uint64_t reference_buckets = buckets_for(capacity, REFERENCE_BUCKET_SLOTS);
    return capacity * sizeof(struct order_cold) + buckets * sizeof(struct id_bucket) +
           reference_buckets * sizeof(struct reference_bucket) +
           eviction_queue_bytes(buckets * ID_BUCKET_SLOTS);
}

/** The largest capacity that stays within the budget; positions must fit 32 bits. */
static uint64_t capacity_for(uint64_t budget_bytes) {
    uint64_t low = 0;
    uint64_t high = UINT64_C(3000000000);
    while (low < high) {
        uint64_t middle = low + (high - low + 1) / 2;
        if (bytes_for(middle) <= budget_bytes) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static uint64_t common_divisor(uint64_t left, uint64_t right) {
    while (right != 0) {
        uint64_t rest = left % right;
        left = right;
        right = rest;
    }
    return left;
}

/** A stride that visits every bucket once, and of any run of visits leaves the same gaps all over
 *  the index: by the golden ratio. */
static uint64_t stride_for(uint64_t bucket_count) {
    uint64_t stride = (uint64_t)((double)bucket_count * 0.6180339887498949);
    while (common_divisor(bucket_count, stride) != 1) {
        stride++;
    }
    return stride;
}

struct order_table *order_table_create(uint64_t budget_bytes, struct fault *fault) {
    uint64_t capacity = capacity_for(budget_bytes);
    if (capacity < CAPACITY_MIN) {
        fault_set(fault,
                  "the RAM table's budget of %llu bytes is too small: it must hold %d orders",
                  (unsigned long long)budget_bytes, CAPACITY_MIN);
        return NULL;
    }
    struct order_table *table = aligned_alloc(CACHE_LINE_BYTES, sizeof(*table));
    if (table == NULL) {
        fault_set(fault, "no memory for the RAM table");
        return NULL;
    }
    memset(table, 0, sizeof(*table));
    /* Where references lie is all that follows from it, so a run can still be repeated. */
    if (getrandom(&table->reference_seed, sizeof(table->reference_seed), 0) !=
        (ssize_t)sizeof(table->reference_seed)) {
        fault_set_errno(fault, errno, "no random number for the RAM table");
        free(table);
        return NULL;
    }
    table->bucket_count = buckets_for(capacity, ID_BUCKET_SLOTS);
    table->reference_bucket_count = buckets_for(capacity, REFERENCE_BUCKET_SLOTS);
    table->scan_stride = stride_for(table->bucket_count);
    table->buckets = pages_reserve(table->bucket_count * sizeof(*table->buckets));
    table->references = pages_reserve(table->reference_bucket_count * sizeof(*table->references));
    uint32_t positions = (uint32_t)(table->bucket_count * ID_BUCKET_SLOTS);
    if (table->buckets == NULL || table->references == NULL ||
        !order_slab_init(&table->slab, (uint32_t)capacity) ||
        !eviction_queue_init(&table->eviction, positions)) {
        fault_set(fault, "the system refuses %llu bytes for the RAM table",
                  (unsigned long long)budget_bytes);
        order_table_destroy(table);
        return NULL;
    }
    pages_populate(table->buckets, table->bucket_count * sizeof(*table->buckets));
    pages_populate(table->references, table->reference_bucket_count * sizeof(*table->references));
    return table;
}

void order_table_populate(struct order_table *table) {
    order_slab_populate(&table->slab);
}

void order_table_destroy(struct order_table *table) {
    if (table == NULL) {
        return;
    }
    pages_release(table->buckets, table->bucket_count * sizeof(*table->buckets));
    pages_release(table->references, table->reference_bucket_count * sizeof(*table->references));
    order_slab_deinit(&table->slab);
    eviction_queue_deinit(&table->eviction);
    free(table);
}

void order_table_clear(struct order_table *table) {
    pages_clear(table->buckets, table->bucket_count * sizeof(*table->buckets));
    pages_clear(table->references, table->reference_bucket_count * sizeof(*table->references));
    order_slab_clear(&table->slab);
    eviction_queue_clear(&table->eviction);
    RELAXED_STORE(table->orders, 0);
    RELAXED_STORE(table->evictable, 0);
}

void order_table_usage(const struct order_table *table, struct order_table_usage *usage) {
    *usage = (struct order_table_usage){
        .capacity = table->slab.capacity,
        .orders = RELAXED_LOAD(table->orders),
        .evictable = RELAXED_LOAD(table->evictable),
        .evicted = RELAXED_LOAD(table->evicted),
        .id_index_bytes = table->bucket_count * sizeof(*table->buckets),
        .slab_bytes = (uint64_t)table->slab.capacity * sizeof(struct order_cold),
        .reference_index_bytes = table->reference_bucket_count * sizeof(*table->references),
        .eviction_bytes = table->eviction.bytes,
    };
}

/** The writer is the only one that adds, so a plain read and write is enough. */
static void count(_Atomic uint64_t *counter, int change) {
    RELAXED_STORE(*counter, RELAXED_LOAD(*counter) + (uint64_t)(int64_t)change);
}

struct id_place order_table_place(struct order_table *table, uint64_t order_id) {
    if (order_id == 0) {
        return (struct id_place){NULL, -1};
    }
    uint64_t at = id_bucket_of(table, order_id);
    for (uint64_t looks = 0; looks < table->bucket_count; looks++) {
        struct id_bucket *bucket = &table->buckets[at];
        int slot = id_bucket_slot(bucket, order_id);
        if (slot >= 0 || RELAXED_LOAD(bucket->passed) == 0) {
            return (struct id_place){bucket, slot};
        }
        at = next_bucket(at, table->bucket_count);
    }
    return (struct id_place){NULL, -1};
}

static uint32_t position_of(const struct order_table *table, struct id_place place) {
    return (uint32_t)((uint64_t)(place.bucket - table->buckets) * ID_BUCKET_SLOTS +
                      (unsigned)place.slot);
}

static struct id_place place_at(const struct order_table *table, uint32_t position) {
    return (struct id_place){&table->buckets[position / ID_BUCKET_SLOTS],
                             (int)(position % ID_BUCKET_SLOTS)};
}

static uint8_t evictable_bit(int slot) {
    return (uint8_t)(1u << slot);
}

static uint8_t queued_bit(int slot) {
    return (uint8_t)(16u << slot);
}

static bool has_bit(const struct id_bucket *bucket, uint8_t bit) {
    return (RELAXED_LOAD(bucket->evictable) & bit) != 0;
}

static void set_bits(struct id_bucket *bucket, uint8_t set, uint8_t cleared) {
    RELAXED_STORE(bucket->evictable, (uint8_t)((RELAXED_LOAD(bucket->evictable) & ~cleared) | set));
}

static void change_passed(struct id_bucket *bucket, int change) {
    uint16_t passed = RELAXED_LOAD(bucket->passed);
    assert(change > 0 ? passed < UINT16_MAX : passed > 0);
    id_bucket_begin_write(bucket);
    RELAXED_STORE(bucket->passed, (uint16_t)(passed + change));
    id_bucket_end_write(bucket);
}

/** Changes the `passed` count of every bucket between the first of the search and `last`. */
static void change_path(struct order_table *table, uint64_t order_id, const struct id_bucket *last,
                        int change) {
    uint64_t at = id_bucket_of(table, order_id);
    while (&table->buckets[at] != last) {
        change_passed(&table->buckets[at], change);
        at = next_bucket(at, table->bucket_count);
    }
}

/** Makes an order that is in the table one that may leave. Inside the bucket's write. */
static void make_evictable(struct order_table *table, struct id_place place, uint64_t order_id) {
    if (has_bit(place.bucket, evictable_bit(place.slot))) {
        return;
    }
    atomic_fetch_and_explicit(&place.bucket->visited, (uint8_t)~evictable_bit(place.slot),
                              memory_order_relaxed);
    bool queued = has_bit(place.bucket, queued_bit(place.slot));
    set_bits(place.bucket, evictable_bit(place.slot) | queued_bit(place.slot), 0);
    if (!queued) {
        eviction_queue_add(&table->eviction, position_of(table, place), hash_mix(order_id));
    }
    count(&table->evictable, +1);
}

static void take_out(struct order_table *table, struct id_place place) {
    uint64_t order_id = RELAXED_LOAD(place.bucket->ids[place.slot]);
    uint32_t entry = RELAXED_LOAD(place.bucket->entries[place.slot]);
    struct order_record record;
    order_cold_load(&table->slab.entries[entry], &record);
    order_table_drop_reference(table, order_record_reference_hash(&record),
                               position_of(table, place));
    count(&table->evictable, has_bit(place.bucket, evictable_bit(place.slot)) ? -1 : 0);
    id_bucket_begin_write(place.bucket);
    RELAXED_STORE(place.bucket->ids[place.slot], 0);
    set_bits(place.bucket, 0, evictable_bit(place.slot));
    id_bucket_end_write(place.bucket);
    change_path(table, order_id, place.bucket, -1);
    order_slab_give_back(&table->slab, entry);
    count(&table->orders, -1);
}

bool order_table_remove(struct order_table *table, uint64_t order_id) {
    struct id_place place = order_table_place(table, order_id);
    if (place.slot < 0) {
        return false;
    }
    take_out(table, place);
    return true;
}

static enum eviction_judgement judge_position(void *context, uint32_t position) {
    struct order_table *table = context;
    struct id_place place = place_at(table, position);
    uint8_t bit = evictable_bit(place.slot);
    if (!has_bit(place.bucket, bit)) {
        set_bits(place.bucket, 0, queued_bit(place.slot));
        return EVICTION_STALE;
    }
    uint8_t before =
        atomic_fetch_and_explicit(&place.bucket->visited, (uint8_t)~bit, memory_order_relaxed);
    return (before & bit) != 0 ? EVICTION_VISITED : EVICTION_UNVISITED;
}

static uint64_t hash_at_position(void *context, uint32_t position) {
    struct id_place place = place_at(context, position);
    return hash_mix(RELAXED_LOAD(place.bucket->ids[place.slot]));
}

static bool evict_one(struct order_table *table) {
    uint32_t position;
    if (!eviction_queue_next(&table->eviction, judge_position, hash_at_position, table,
                             &position)) {
        return false;
    }
    struct id_place place = place_at(table, position);
    set_bits(place.bucket, 0, queued_bit(place.slot));
    take_out(table, place);
    count(&table->evicted, +1);
    return true;
}

bool order_table_reserve(struct order_table *table, size_t count_wanted) {
    while (order_slab_free_count(&table->slab) < count_wanted) {
        if (!evict_one(table)) {
            return false;
        }
    }
    return true;
}

static int empty_slot(const struct id_bucket *bucket) {
    for (int slot = 0; slot < ID_BUCKET_SLOTS; slot++) {
        if (RELAXED_LOAD(bucket->ids[slot]) == 0) {
            return slot;
        }
    }
    return -1;
}

/** Finds an empty slot for an order that is not in the table. There always is one, as the slab is
 *  full long before the index. */
static struct id_place find_empty(struct order_table *table, uint64_t order_id) {
    uint64_t at = id_bucket_of(table, order_id);
    while (empty_slot(&table->buckets[at]) < 0) {
        at = next_bucket(at, table->bucket_count);
    }
    return (struct id_place){&table->buckets[at], empty_slot(&table->buckets[at])};
}

static enum order_table_put insert(struct order_table *table, const struct order_record *record,
                                   uint64_t reference_hash, bool evictable) {
    if (!order_table_reserve(table, 1)) {
        return ORDER_TABLE_FULL;
    }
    uint32_t entry = order_slab_take(&table->slab);
    assert(entry != ORDER_SLAB_NONE);
    struct id_place place = find_empty(table, record->order_id);
    order_cold_store(&table->slab.entries[entry], record);
    change_path(table, record->order_id, place.bucket, +1);
    id_bucket_begin_write(place.bucket);
    RELAXED_STORE(place.bucket->ids[place.slot], record->order_id);
    RELAXED_STORE(place.bucket->entries[place.slot], entry);
    RELAXED_STORE(place.bucket->states[place.slot], pack_state(record->version, record->status));
    if (evictable) {
        make_evictable(table, place, record->order_id);
    }
    id_bucket_end_write(place.bucket);
    order_table_add_reference(table, reference_hash, position_of(table, place));
    count(&table->orders, +1);
    return ORDER_TABLE_INSERTED;
}

enum order_table_put order_table_put(struct order_table *table, const struct order_record *record,
                                     uint64_t reference_hash, bool evictable) {
    assert(record->order_id != 0 && record->version <= ORDER_VERSION_MAX);
    struct id_place place = order_table_place(table, record->order_id);
    if (place.slot < 0) {
        return insert(table, record, reference_hash, evictable);
    }
    uint32_t version = state_version(RELAXED_LOAD(place.bucket->states[place.slot]));
    bool newer = record->version > version;
    id_bucket_begin_write(place.bucket);
    if (newer) {
        uint32_t entry = RELAXED_LOAD(place.bucket->entries[place.slot]);
        order_cold_store(&table->slab.entries[entry], record);
        RELAXED_STORE(place.bucket->states[place.slot],
                      pack_state(record->version, record->status));
    }
    if (evictable && record->version >= version) {
        make_evictable(table, place, record->order_id);
    }
    id_bucket_end_write(place.bucket);
    return newer ? ORDER_TABLE_UPDATED : ORDER_TABLE_OLDER;
}

bool order_table_release(struct order_table *table, uint64_t order_id, uint32_t version) {
    struct id_place place = order_table_place(table, order_id);
    if (place.slot < 0 ||
        state_version(RELAXED_LOAD(place.bucket->states[place.slot])) != version) {
        return false;
    }
    id_bucket_begin_write(place.bucket);
    make_evictable(table, place, order_id);
    id_bucket_end_write(place.bucket);
    return true;
}
