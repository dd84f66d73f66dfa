/** The tiers as the checker sees them: a store, a cache, an archive with write times, a log, a
 * topic and query instances, on a clock that the test moves. Every request is done at once, as far
 * as the checker can tell; `meddle` is called before each, so that a test can have something happen
 * in between. */
#ifndef ORDERD_TESTS_AUDIT_WORLD_H
#define ORDERD_TESTS_AUDIT_WORLD_H

#include "../sample.h"
#include "../unit.h"
#include "pipeline/audit.h"

#include <stdlib.h>
#include <unistd.h>

#define WORLD_ORDERS 64
#define WORLD_LOG 4096
#define WORLD_INSTANCES 2

enum world_request {
    WORLD_STORE_GET,
    WORLD_SCAN,
    WORLD_RELEASE,
    WORLD_CACHE_GET,
    WORLD_CACHE_PUT,
    WORLD_CACHE_REMOVE,
    WORLD_ARCHIVE_GET,
    WORLD_LOOK,
    WORLD_WRITE,
    WORLD_PUBLISH,
    WORLD_LOG_READ,
    WORLD_VIEW_GET,
    WORLD_VIEW_STATES,
    WORLD_REQUESTS
};

/** A row of the archive: what is written with a lower time than it, or its deletion, has is lost.
 */
struct world_row {
    bool present;
    bool broken;
    int64_t writetime_us;
    struct order_record order;
};

/** A query instance: it answers what it holds, else what the cache has, else what the store or the
 *  archive has, which it puts into the cache. */
struct world_instance {
    struct query_view view; /* first */
    struct world *world;
    struct order_record held[WORLD_ORDERS]; /* by id; version 0: none */
    bool denied[WORLD_ORDERS];              /* it says that there is none */
    bool unknown[WORLD_ORDERS];             /* it does not know now */
    bool silent;                            /* it does not answer */
    bool behind;                            /* changes do not reach it */
    bool deaf;                              /* messages do not reach it */
    bool gives_states;                      /* it has no whole orders to give */
    size_t asked[WORLD_ORDERS];
    size_t polls; /* for states */
};

struct world {
    struct order_store store;
    struct order_cache cache;
    struct order_archive archive;
    struct archive_repair repair;
    struct change_log changes;
    struct topic_writer refresh;
    struct world_instance instances[WORLD_INSTANCES];
    struct query_view *views[WORLD_INSTANCES];
    struct clock clock;
    int64_t now_us;
    struct log log;
    struct mailbox mailbox;
    struct audit_options options;
    struct audit *audit;

    struct order_record hot[WORLD_ORDERS]; /* by id; version 0: none */
    struct order_record cached[WORLD_ORDERS];
    bool foreign[WORLD_ORDERS]; /* something else is in the cache */
    struct world_row rows[WORLD_ORDERS];
    struct order_record references[WORLD_ORDERS]; /* order_id 0: none */
    struct order_record told[WORLD_LOG];
    size_t told_count;
    size_t messages[WORLD_ORDERS]; /* `repair`, by id */

    bool down[WORLD_REQUESTS]; /* is not answered */
    size_t requests[WORLD_REQUESTS];
    void (*meddle)(struct world *world, enum world_request request);
    void *meddler;
};

#define WORLD_OF(pointer, member)                                                                  \
    ((struct world *)((char *)(pointer)-offsetof(struct world, member)))

struct world *world_create(void);

/** With query instances that are looked at. */
struct world *world_create_watching(void);
void world_destroy(struct world *world);

/** Lets time pass, a millisecond a step. */
void world_drive(struct world *world, int64_t us);

/** A sealed order of this version and status, changed now. */
struct order_record world_order(const struct world *world, uint64_t order_id, uint32_t version,
                                enum order_status status);

/** What the service does at a change: the store has it, the log tells of it, the cache and the
 *  query instances get it. */
void world_commit(struct world *world, const struct order_record *order);
void world_cache_put(struct world *world, const struct order_record *order);

/** What an instance answers, asked for a whole order. */
struct audit_answer world_answer(struct world_instance *instance, uint64_t order_id);

/** What the archive pipeline does: the archive has it, the store has it no more. */
void world_archive(struct world *world, uint64_t order_id);

/** A committed, final, archived order of version 2. */
struct order_record world_ended(struct world *world, uint64_t order_id);

uint64_t world_found(const struct world *world, enum audit_kind kind);
uint64_t world_repaired(const struct world *world, enum audit_kind kind);

/** All kinds together. */
uint64_t world_found_any(const struct world *world);

/** Long enough for a walk, the grace time and a repair. */
#define WORLD_SOON INT64_C(25000000)

void assert_cached(const struct world *world, const struct order_record *order);
void assert_archived(const struct world *world, const struct order_record *order);

/** Lets time pass: found once, repaired once, and nothing else found; it stays so. */
void assert_one(struct world *world, enum audit_kind kind);

#endif
