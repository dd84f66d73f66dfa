/** A stream of orders that are created, end, and go to the archive; what was acknowledged is in the
 *  world's orders. For the unit tests of the journal's life. One thread. */
#ifndef ORDERD_TESTS_UNIT_STREAM_H
#define ORDERD_TESTS_UNIT_STREAM_H

#include "world.h"

#define ROUND_ORDERS 6

/** Creates `count` orders and remembers those that were acknowledged; false where it ended. */
static inline bool stream_create(struct world *world, size_t count) {
    struct order_record orders[ROUND_ORDERS];
    uint64_t hashes[ROUND_ORDERS];
    uint8_t results[ROUND_ORDERS] = {0};
    struct order_create_batch batch = {
        .request = {.done = world_answer, .mailbox = &world->box},
        .count = count,
        .orders = orders,
        .reference_hashes = hashes,
        .results = results,
    };
    size_t first = world->order_count;
    for (size_t i = 0; i < count; i++) {
        orders[i] = sample_draft(first + i);
        hashes[i] = order_record_reference_hash(&orders[i]);
    }
    world->order_count += count;
    struct order_store *store = &world->core->store.store;
    if (store->ops->create(store, &batch) != PORT_TAKEN || !world_wait(world)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (results[i] == ORDER_RESULT_CREATED) {
            world->orders[first + i].record = orders[i];
        }
    }
    return results[count - 1] == ORDER_RESULT_CREATED;
}

/** Ends the orders from `first` on. */
static inline bool stream_finish(struct world *world, size_t first, size_t count) {
    struct order_change changes[ROUND_ORDERS] = {{.order_id = 0}};
    struct order_record orders[ROUND_ORDERS];
    uint8_t results[ROUND_ORDERS] = {0};
    struct order_change_batch batch = {
        .request = {.done = world_answer, .mailbox = &world->box},
        .count = count,
        .changes = changes,
        .orders = orders,
        .results = results,
    };
    for (size_t i = 0; i < count; i++) {
        changes[i].order_id = world->orders[first + i].record.order_id;
        changes[i].status = ORDER_STATUS_SUCCESS;
    }
    struct order_store *store = &world->core->store.store;
    if (store->ops->change(store, &batch) != PORT_TAKEN || !world_wait(world)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (results[i] == ORDER_RESULT_CHANGED) {
            world->orders[first + i].record = orders[i];
        }
    }
    return results[count - 1] == ORDER_RESULT_CHANGED;
}

static inline int stream_compare_ids(const void *left, const void *right) {
    uint64_t first = ((const struct order_record *)left)->order_id;
    uint64_t second = ((const struct order_record *)right)->order_id;
    return first < second ? -1 : first > second ? 1 : 0;
}

/** Moves the orders to the archive, and lets the store release them. */
static inline bool stream_archive(struct world *world, size_t first, size_t count) {
    struct order_record orders[ROUND_ORDERS];
    uint8_t results[ROUND_ORDERS] = {0};
    for (size_t i = 0; i < count; i++) {
        orders[i] = world->orders[first + i].record;
    }
    qsort(orders, count, sizeof(orders[0]), stream_compare_ids);
    struct order_archive_put put = {
        .request = {.done = world_answer, .mailbox = &world->box},
        .count = count,
        .orders = orders,
        .results = results,
    };
    struct order_archive *port = &world->archive.port;
    if (port->ops->put(port, &put) != PORT_TAKEN || !world_wait(world)) {
        /* Nobody may answer on this stack later. */
        world->archive.pending_count = 0;
        return false;
    }
    struct order_release_batch release = {
        .request = {.done = world_answer, .mailbox = &world->box},
        .count = count,
        .orders = orders,
        .results = results,
    };
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(results[i], ORDER_RESULT_STORED);
        world->orders[first + i].release_begun = true;
    }
    struct order_store *store = &world->core->store.store;
    memset(results, 0, sizeof(results));
    if (store->ops->release(store, &release) != PORT_TAKEN || !world_wait(world)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (results[i] == ORDER_RESULT_RELEASED) {
            world->orders[first + i].released = true;
        }
    }
    /* `orders` has the order of the ids; all of a round are released together. */
    return results[count - 1] == ORDER_RESULT_RELEASED;
}

/** One round of the stream; false where the process ended in it. */
static inline bool stream_round(struct world *world) {
    size_t first = world->order_count;
    return stream_create(world, ROUND_ORDERS) && stream_finish(world, first, ROUND_ORDERS) &&
           stream_archive(world, first, ROUND_ORDERS);
}

#endif
