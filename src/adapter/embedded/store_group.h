/** One group commit in the making: the records and releases of the next frame, and an index over
 *  them, so that what is judged later in the group sees what came before it: a reference given
 *  twice, an order changed twice. Nothing of it is visible to anybody else before the frame is
 *  durable.
 *
 *  The store's writing thread only. */
#ifndef ORDERD_ADAPTER_EMBEDDED_STORE_GROUP_H
#define ORDERD_ADAPTER_EMBEDDED_STORE_GROUP_H

#include "adapter/embedded/journal_format.h"

struct store_group {
    struct order_record *records; /* the frame's, borrowed from the journal writer */
    uint32_t record_count;
    uint32_t release_count;
    uint32_t records_max;
    uint32_t releases_max;
    uint64_t *hashes;                 /* owned: reference hash of each record */
    struct journal_release *releases; /* owned */
    uint32_t *release_versions;       /* owned: version of each release */
    uint32_t *index;                  /* owned: record number + 1 by key; 0: empty */
    uint32_t index_mask;              /* its slots, a power of two, less one */
    uint32_t *index_slots;            /* owned: the slot that each record took */
};

/** @param records_max, releases_max of one group, at most those of a frame. False where memory is
 *  short. */
MUST_CHECK bool store_group_init(struct store_group *group, uint32_t records_max,
                                 uint32_t releases_max);
void store_group_deinit(struct store_group *group);

/** Begins the next group. @param records where its records go. */
void store_group_begin(struct store_group *group, struct order_record *records);

static inline bool store_group_is_full(const struct store_group *group) {
    return group->record_count == group->records_max || group->release_count == group->releases_max;
}

static inline bool store_group_is_empty(const struct store_group *group) {
    return group->record_count == 0 && group->release_count == 0;
}

/** The order that was created in this group with the reference of `draft`; NULL where none was. */
const struct order_record *store_group_find_reference(const struct store_group *group,
                                                      const struct order_record *draft,
                                                      uint64_t reference_hash);

/** The order as this group last changed it; NULL where it did not. */
const struct order_record *store_group_find_order(const struct store_group *group,
                                                  uint64_t order_id);

/** Adds a created order, already sealed, found from now on by its reference. */
void store_group_add_created(struct store_group *group, const struct order_record *order,
                             uint64_t reference_hash);

/** Adds a changed order, already sealed, found from now on by its id. */
void store_group_add_changed(struct store_group *group, const struct order_record *order,
                             uint64_t reference_hash);

void store_group_add_release(struct store_group *group, uint64_t order_id, uint32_t version,
                             uint64_t reference_hash);

#endif
