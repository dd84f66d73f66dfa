/** A store on real servers for tests: opened, started and asked from one thread, which waits for
 *  each answer. Also what tests of it share. */
#ifndef ORDERD_TESTS_MARIADB_BED_H
#define ORDERD_TESTS_MARIADB_BED_H

#include "adapter/mariadb/mariadb.h"
#include "adapter/mariadb/mariadb_schema.h"
#include "mariadb_server.h"
#include "unit/sample.h"
#include "unit/unit.h"

#include <stdlib.h>

#define BED_MAILBOX 4096

struct bed {
    struct mysql_options options;
    struct log log;
    struct service_clock clock;
    struct mailbox mailbox;
    struct metrics *registry;
    struct mariadb *mariadb;
    struct order_store *store;
    struct lease_port *leases;
};

/** The options for a database on these servers: the defaults, and time-outs for a
 *  machine that is busy with other things. */
void bed_options(struct mysql_options *options, const struct mariadb_server_process *servers,
                 size_t count, const char *database);

/** Makes the tables. Fails the test where that does not work. */
void bed_apply_schema(const struct mysql_options *options);

/** Opens and starts a store, and waits until it is ready to create. */
void bed_open(struct bed *bed, const struct mysql_options *options);

/** As bed_open, with an archive and a clock (NULL: none, the real one). */
void bed_open_with(struct bed *bed, const struct mysql_options *options,
                   struct order_archive *archive, const struct clock *clock, bool gives_ids);
void bed_close(struct bed *bed);

/** Waits until a request is done. */
void bed_wait(struct bed *bed, const bool *done);

/** A create that was handed in. */
struct bed_create_call {
    struct order_create_batch batch; /* first */
    uint64_t *hashes;
    bool done;
};

/** Hands one in; bed_create_end waits for it. */
void bed_create_begin(struct bed *bed, struct bed_create_call *call, struct order_record *orders,
                      uint8_t *results, size_t count);
void bed_create_end(struct bed *bed, struct bed_create_call *call);

/** Hands a change in; `done` becomes true once it is answered. */
void bed_change_begin(struct bed *bed, const struct order_change *changes,
                      struct order_record *orders, uint8_t *results, size_t count, bool *done);

/** Each hands in one request and waits for it. */
void bed_create(struct bed *bed, struct order_record *orders, uint8_t *results, size_t count);
void bed_change(struct bed *bed, const struct order_change *changes, struct order_record *orders,
                uint8_t *results, size_t count);
void bed_get(struct bed *bed, const uint64_t *ids, struct order_record *orders, uint8_t *results,
             size_t count);
void bed_find(struct bed *bed, struct order_record *orders, uint8_t *results, size_t count);
void bed_release(struct bed *bed, const struct order_record *orders, uint8_t *results,
                 size_t count);
void bed_scan(struct bed *bed, struct order_scan_batch *batch);
void bed_expire(struct bed *bed, struct order_expire_batch *batch);

/** One lease operation. */
enum order_result bed_acquire(struct bed *bed, struct lease_request *request);
enum order_result bed_store_position(struct bed *bed, const char *name, const char *position);
enum order_result bed_release_lease(struct bed *bed, const char *name);

/** The value of a metric, as it is rendered. */
uint64_t bed_metric(struct bed *bed, const char *name);

/** Creates one order and returns it; fails the test unless it is CREATED. */
struct order_record bed_create_one(struct bed *bed, struct order_record draft);

/** Changes one order to `status`, as any version; returns the result. */
enum order_result bed_change_one(struct bed *bed, uint64_t order_id, enum order_status status,
                                 struct order_record *order);

/** How many of the results are `wanted`. */
size_t bed_count(const uint8_t *results, size_t count, enum order_result wanted);

void bed_sleep_ms(int time_ms);

#endif
