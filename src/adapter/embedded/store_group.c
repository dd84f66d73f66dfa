#include "adapter/embedded/store_group.h"

#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>

bool store_group_init(struct store_group *group, uint32_t records_max, uint32_t releases_max) {
    uint32_t slots = 2; /* at most half of them are taken */
    while (slots < records_max * 2) {
        slots *= 2;
    }
    *group = (struct store_group){
        .records_max = records_max,
        .releases_max = releases_max,
        .hashes = calloc(records_max, sizeof(*group->hashes)),
        .releases = calloc(releases_max, sizeof(*group->releases)),
        .release_versions = calloc(releases_max, sizeof(*group->release_versions)),
        .index = calloc(slots, sizeof(*group->index)),
        .index_mask = slots - 1,
        .index_slots = calloc(records_max, sizeof(*group->index_slots)),
    };
    return group->hashes != NULL && group->releases != NULL && group->release_versions != NULL &&
           group->index != NULL && group->index_slots != NULL;
}

void store_group_deinit(struct store_group *group) {
    free(group->hashes);
    free(group->releases);
    free(group->release_versions);
    free(group->index);
    free(group->index_slots);
}

void store_group_begin(struct store_group *group, struct order_record *records) {
    for (uint32_t i = 0; i < group->record_count; i++) {
        group->index[group->index_slots[i]] = 0;
    }
    group->records = records;
    group->record_count = 0;
    group->release_count = 0;
}

/* Created orders are indexed by their reference, changed ones by their id. Both kinds share the
 * index: a key of one kind that meets an entry of the other is told apart by comparing, as every
 * match is compared in full. */
static size_t reference_slot(const struct store_group *group, uint64_t reference_hash) {
    return (size_t)(reference_hash >> 16) & group->index_mask;
}

static size_t order_slot(const struct store_group *group, uint64_t order_id) {
    return (size_t)hash_mix(order_id) & group->index_mask;
}

const struct order_record *store_group_find_reference(const struct store_group *group,
                                                      const struct order_record *draft,
                                                      uint64_t reference_hash) {
    for (size_t slot = reference_slot(group, reference_hash); group->index[slot] != 0;
         slot = (slot + 1) & group->index_mask) {
        uint32_t number = group->index[slot] - 1;
        const struct order_record *order = &group->records[number];
        if (group->hashes[number] == reference_hash && order->version == 1 &&
            order_record_same_reference(order, draft)) {
            return order;
        }
    }
    return NULL;
}

/** The index slot of the changed order, or the empty one where it would go. */
static size_t find_order_slot(const struct store_group *group, uint64_t order_id) {
    size_t slot = order_slot(group, order_id);
    while (group->index[slot] != 0) {
        const struct order_record *order = &group->records[group->index[slot] - 1];
        if (order->order_id == order_id && order->version > 1) {
            break;
        }
        slot = (slot + 1) & group->index_mask;
    }
    return slot;
}

const struct order_record *store_group_find_order(const struct store_group *group,
                                                  uint64_t order_id) {
    uint32_t entry = group->index[find_order_slot(group, order_id)];
    return entry == 0 ? NULL : &group->records[entry - 1];
}

/** Appends the record, and notes it in index slot `slot`. */
static void add(struct store_group *group, const struct order_record *order,
                uint64_t reference_hash, size_t slot) {
    assert(group->record_count < group->records_max);
    uint32_t number = group->record_count++;
    group->records[number] = *order;
    group->hashes[number] = reference_hash;
    group->index[slot] = number + 1;
    group->index_slots[number] = (uint32_t)slot;
}

void store_group_add_created(struct store_group *group, const struct order_record *order,
                             uint64_t reference_hash) {
    size_t slot = reference_slot(group, reference_hash);
    while (group->index[slot] != 0) {
        slot = (slot + 1) & group->index_mask;
    }
    add(group, order, reference_hash, slot);
}

void store_group_add_changed(struct store_group *group, const struct order_record *order,
                             uint64_t reference_hash) {
    add(group, order, reference_hash, find_order_slot(group, order->order_id));
}

void store_group_add_release(struct store_group *group, uint64_t order_id, uint32_t version,
                             uint64_t reference_hash) {
    assert(group->release_count < group->releases_max);
    uint32_t number = group->release_count++;
    group->releases[number] = (struct journal_release){order_id, reference_hash};
    group->release_versions[number] = version;
}
