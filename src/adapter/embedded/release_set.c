#include "adapter/embedded/release_set.h"

#include "base/hash.h"

#include <stdlib.h>

#define SLOTS_FIRST 4096

struct release_set {
    uint64_t *slots;   /* owned; 0: empty */
    size_t slot_count; /* a power of two */
    size_t count;
};

struct release_set *release_set_create(void) {
    struct release_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return NULL;
    }
    set->slot_count = SLOTS_FIRST;
    set->slots = calloc(SLOTS_FIRST, sizeof(*set->slots));
    if (set->slots == NULL) {
        free(set);
        return NULL;
    }
    return set;
}

void release_set_destroy(struct release_set *set) {
    if (set != NULL) {
        free(set->slots);
        free(set);
    }
}

/** The slot that holds the id, or the empty one where it goes. */
static size_t slot_of(const uint64_t *slots, size_t slot_count, uint64_t order_id) {
    size_t slot = (size_t)hash_mix(order_id) & (slot_count - 1);
    while (slots[slot] != 0 && slots[slot] != order_id) {
        slot = (slot + 1) & (slot_count - 1);
    }
    return slot;
}

static bool grow(struct release_set *set) {
    size_t slot_count = set->slot_count * 2;
    uint64_t *slots = calloc(slot_count, sizeof(*slots));
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i] != 0) {
            slots[slot_of(slots, slot_count, set->slots[i])] = set->slots[i];
        }
    }
    free(set->slots);
    set->slots = slots;
    set->slot_count = slot_count;
    return true;
}

bool release_set_add(struct release_set *set, uint64_t order_id) {
    if (set->count * 2 >= set->slot_count && !grow(set)) {
        return false;
    }
    size_t slot = slot_of(set->slots, set->slot_count, order_id);
    set->count += set->slots[slot] == 0 ? 1 : 0;
    set->slots[slot] = order_id;
    return true;
}

bool release_set_contains(const struct release_set *set, uint64_t order_id) {
    return set->slots[slot_of(set->slots, set->slot_count, order_id)] == order_id;
}
