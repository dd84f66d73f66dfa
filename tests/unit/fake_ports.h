/** Ports that take what they are handed and leave the answer to the test. Each keeps the requests
 *  in the order in which they came; fake_complete hands one back. The clock stands where the test
 *  puts it. One thread. */
#ifndef ORDERD_TESTS_FAKE_PORTS_H
#define ORDERD_TESTS_FAKE_PORTS_H

#include "base/clock.h"
#include "base/log.h"
#include "port/lease.h"
#include "port/order_archive.h"
#include "port/order_cache.h"
#include "port/order_store.h"
#include "sample.h"
#include "unit.h"

#include <unistd.h>

#define FAKE_TAKEN_MAX 512

enum fake_operation {
    FAKE_NONE,
    FAKE_CREATE,
    FAKE_CHANGE,
    FAKE_FIND,
    FAKE_SCAN,
    FAKE_RELEASE,
    FAKE_EXPIRE,
    FAKE_ARCHIVE_PUT,
    FAKE_ARCHIVE_GET,
    FAKE_CACHE_PUT,
    FAKE_CACHE_GET,
    FAKE_CACHE_REMOVE,
    FAKE_CACHE_LOCK,
    FAKE_CACHE_FILL,
    FAKE_STORE_GET,
    FAKE_LEASE,
    FAKE_LEASE_RELEASE
};

struct fake_ports {
    struct order_store store;
    struct order_archive archive;
    struct order_cache cache;
    struct lease_port lease;
    struct clock clock;
    int64_t now_us;
    struct log log;
    struct mailbox mailbox;
    bool busy; /* nothing is taken */
    struct port_request *taken[FAKE_TAKEN_MAX];
    enum fake_operation operations[FAKE_TAKEN_MAX];
    size_t taken_count;
};

static inline enum port_submit fake_take(struct fake_ports *fake, struct port_request *request,
                                         enum fake_operation operation) {
    if (fake->busy) {
        return PORT_BUSY;
    }
    assert_true(fake->taken_count < FAKE_TAKEN_MAX);
    fake->taken[fake->taken_count] = request;
    fake->operations[fake->taken_count++] = operation;
    return PORT_TAKEN;
}

#define FAKE_OF(pointer, member) CONTAINER_OF(pointer, struct fake_ports, member)

#define FAKE_OPERATION(name, port, batch_type, member, operation)                                  \
    static inline enum port_submit name(struct port *port_, struct batch_type *batch) {            \
        return fake_take(FAKE_OF(port_, member), &batch->request, operation);                      \
    }

FAKE_OPERATION(fake_create, order_store, order_create_batch, store, FAKE_CREATE)
FAKE_OPERATION(fake_change, order_store, order_change_batch, store, FAKE_CHANGE)
FAKE_OPERATION(fake_find, order_store, order_find_batch, store, FAKE_FIND)
FAKE_OPERATION(fake_scan, order_store, order_scan_batch, store, FAKE_SCAN)
FAKE_OPERATION(fake_release, order_store, order_release_batch, store, FAKE_RELEASE)
FAKE_OPERATION(fake_expire, order_store, order_expire_batch, store, FAKE_EXPIRE)
FAKE_OPERATION(fake_archive_put, order_archive, order_archive_put, archive, FAKE_ARCHIVE_PUT)
FAKE_OPERATION(fake_archive_get, order_archive, order_get_batch, archive, FAKE_ARCHIVE_GET)
FAKE_OPERATION(fake_cache_put, order_cache, order_cache_put, cache, FAKE_CACHE_PUT)
FAKE_OPERATION(fake_cache_get, order_cache, order_get_batch, cache, FAKE_CACHE_GET)
FAKE_OPERATION(fake_cache_remove, order_cache, order_cache_put, cache, FAKE_CACHE_REMOVE)
FAKE_OPERATION(fake_cache_lock, order_cache, order_cache_fill, cache, FAKE_CACHE_LOCK)
FAKE_OPERATION(fake_cache_fill, order_cache, order_cache_fill, cache, FAKE_CACHE_FILL)
FAKE_OPERATION(fake_store_get, order_store, order_get_batch, store, FAKE_STORE_GET)
FAKE_OPERATION(fake_lease_acquire, lease_port, lease_request, lease, FAKE_LEASE)
FAKE_OPERATION(fake_lease_release, lease_port, lease_request, lease, FAKE_LEASE_RELEASE)

static inline int64_t fake_now(const struct clock *clock) {
    return (CONTAINER_OF(clock, const struct fake_ports, clock))->now_us;
}

static inline void fake_init(struct fake_ports *fake) {
    static const struct order_store_ops store_ops = {
        .create = fake_create,
        .change = fake_change,
        .get = fake_store_get,
        .find = fake_find,
        .scan = fake_scan,
        .release = fake_release,
        .expire = fake_expire,
    };
    static const struct order_archive_ops archive_ops = {fake_archive_put, fake_archive_get};
    static const struct order_cache_ops cache_ops = {
        .get = fake_cache_get,
        .put = fake_cache_put,
        .remove = fake_cache_remove,
        .lock = fake_cache_lock,
        .fill = fake_cache_fill,
    };
    static const struct lease_ops lease_ops = {
        .acquire = fake_lease_acquire,
        .release = fake_lease_release,
    };
    memset(fake, 0, sizeof(*fake));
    fake->store.ops = &store_ops;
    fake->archive.ops = &archive_ops;
    fake->cache.ops = &cache_ops;
    fake->lease.ops = &lease_ops;
    fake->clock.now_us = fake_now;
    fake->now_us = SAMPLE_TIME_US;
    log_init(&fake->log, STDERR_FILENO, LOG_ERROR + 1);
    assert_true(mailbox_init(&fake->mailbox, FAKE_TAKEN_MAX));
}

static inline void fake_deinit(struct fake_ports *fake) {
    mailbox_deinit(&fake->mailbox);
}

/** What waits there longest; NULL where nothing does. */
static inline void *fake_first(const struct fake_ports *fake) {
    return fake->taken_count == 0 ? NULL : fake->taken[0];
}

static inline enum fake_operation fake_first_operation(const struct fake_ports *fake) {
    return fake->taken_count == 0 ? FAKE_NONE : fake->operations[0];
}

/** Completes what waits longest. */
static inline void fake_complete(struct fake_ports *fake) {
    struct port_request *request = fake->taken[0];
    assert_true(fake->taken_count > 0);
    fake->taken_count--;
    memmove(fake->taken, fake->taken + 1, fake->taken_count * sizeof(fake->taken[0]));
    memmove(fake->operations, fake->operations + 1,
            fake->taken_count * sizeof(fake->operations[0]));
    port_complete(request);
    assert_int_equal(port_drain(&fake->mailbox, 10), 1);
}

/** What waits longest, which is of this kind. */
static inline void *fake_expect(const struct fake_ports *fake, enum fake_operation operation) {
    assert_int_equal(fake_first_operation(fake), operation);
    return fake_first(fake);
}

#endif
