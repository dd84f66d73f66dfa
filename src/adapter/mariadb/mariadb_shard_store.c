#include "adapter/mariadb/mariadb_shard_store.h"

#include "adapter/mariadb/mariadb_walk.h"

#include <stdlib.h>

struct mariadb_shard_store {
    struct order_store store; /* first */
    struct order_store *whole;
    size_t shard;
    size_t shards;
    struct order_scan_batch scan;   /* what the whole store is asked */
    struct order_scan_batch *asker; /* for whom */
};

static struct order_store *whole_of(struct order_store *store) {
    return ((struct mariadb_shard_store *)store)->whole;
}

static enum port_submit create(struct order_store *store, struct order_create_batch *batch) {
    return whole_of(store)->ops->create(whole_of(store), batch);
}

static enum port_submit change(struct order_store *store, struct order_change_batch *batch) {
    return whole_of(store)->ops->change(whole_of(store), batch);
}

static enum port_submit get(struct order_store *store, struct order_get_batch *batch) {
    return whole_of(store)->ops->get(whole_of(store), batch);
}

static enum port_submit find(struct order_store *store, struct order_find_batch *batch) {
    return whole_of(store)->ops->find(whole_of(store), batch);
}

static enum port_submit release(struct order_store *store, struct order_release_batch *batch) {
    return whole_of(store)->ops->release(whole_of(store), batch);
}

static enum port_submit expire(struct order_store *store, struct order_expire_batch *batch) {
    return whole_of(store)->ops->expire(whole_of(store), batch);
}

/** The submitter's thread: hands back what was found. Where the walk has gone on to the next shard,
 *  it is at its end here. */
static void scanned(struct port_request *request) {
    struct mariadb_shard_store *store =
        CONTAINER_OF(request, struct mariadb_shard_store, scan.request);
    struct order_scan_batch *asker = store->asker;
    struct port_request kept = asker->request;
    *asker = store->scan;
    asker->request = kept;
    if (asker->cursor != 0 && mariadb_walk_shard(asker->cursor, store->shards) != store->shard) {
        asker->cursor = 0;
    }
    store->asker = NULL;
    kept.done(&asker->request);
}

/** Where the walk over a shard begins: behind an id that no order has, but of this shard. */
static uint64_t first_cursor(const struct mariadb_shard_store *store) {
    return order_id_encode((struct order_id_parts){.slot = (uint32_t)store->shard});
}

static enum port_submit scan(struct order_store *port, struct order_scan_batch *batch) {
    struct mariadb_shard_store *store = (struct mariadb_shard_store *)port;
    if (store->asker != NULL) {
        return PORT_BUSY;
    }
    store->scan = *batch;
    store->scan.request.done = scanned;
    if (batch->cursor == 0) {
        store->scan.cursor = first_cursor(store);
    }
    store->asker = batch;
    enum port_submit submit = store->whole->ops->scan(store->whole, &store->scan);
    if (submit != PORT_TAKEN) {
        store->asker = NULL;
    }
    return submit;
}

static const struct order_store_ops shard_ops = {create, change, get, find, scan, release, expire};

struct mariadb_shard_store *mariadb_shard_store_create(struct mariadb *mariadb, size_t shard) {
    struct mariadb_shard_store *store = calloc(1, sizeof(*store));
    if (store != NULL) {
        store->store.ops = &shard_ops;
        store->whole = mariadb_order_store(mariadb);
        store->shard = shard;
        store->shards = mariadb_shard_count(mariadb);
    }
    return store;
}

void mariadb_shard_store_destroy(struct mariadb_shard_store *store) {
    free(store);
}

struct order_store *mariadb_shard_store_port(struct mariadb_shard_store *store) {
    return &store->store;
}
