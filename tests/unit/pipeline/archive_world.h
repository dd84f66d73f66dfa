/** The tiers around the cluster's archive pipeline, simulated in one thread and virtual time: a
 *  store, the topics, and an archive that acknowledges before it has synced. Each answers after a
 *  while, or is busy, away, or of unknown outcome, as the seed and the switches say.
 *
 *  It watches what must always hold: an order leaves the store only while the archive has the very
 *  same record on its medium. */
#ifndef ORDERD_TESTS_ARCHIVE_WORLD_H
#define ORDERD_TESTS_ARCHIVE_WORLD_H

#include "base/random.h"
#include "pipeline/cluster_archiver.h"

#define WORLD_ORDERS_MAX 65536
#define WORLD_SYNC_US 1000000

struct world_order {
    struct order_record record;
    bool in_store;
    bool in_archive;
    bool altered;       /* the archive spoils it whenever it is written */
    bool is_refused;    /* the archive takes it never */
    int64_t written_us; /* to the archive */
    struct order_record copy;
    uint32_t told; /* messages in orders.archived */
    int64_t told_us;
    int64_t released_us;
};

struct archive_world;

/** A request that the world has, and when it answers. */
struct world_pending {
    struct port_request *request;
    void (*answer)(struct archive_world *world, struct port_request *request);
    int64_t due_us;
};

struct archive_world {
    struct clock clock;
    int64_t now_us;
    struct random_source random;
    struct order_store store;
    struct order_archive archive;
    struct topic_reader changes;
    struct topic_writer archived;
    struct log log;
    struct mailbox mailbox;
    struct cluster_archiver_options options;
    struct cluster_archiver *archiver;
    struct world_pending pending[8];
    size_t pending_count;

    struct world_order *orders; /* owned: WORLD_ORDERS_MAX, ascending by id */
    size_t order_count;
    struct topic_message *messages; /* owned */
    struct order_record *values;    /* owned: of the messages */
    size_t message_count;
    size_t read_to;
    size_t committed;

    /* Switches. */
    uint32_t trouble; /* of 100 requests, those that meet some */
    bool archive_is_away;
    bool store_is_away;
    bool brokers_are_away;
    bool commits_are_refused;

    /* What was seen. */
    uint64_t puts;
    uint64_t reads;
    uint64_t released;
    size_t unsettled_most; /* told of and not released */
};

struct archive_world *archive_world_create(uint64_t seed);
void archive_world_destroy(struct archive_world *world);

/** A final order in the store; `announced`: with a message in orders.changes. */
struct world_order *archive_world_add(struct archive_world *world, bool announced);

/** A message that is no final order. */
void archive_world_add_message(struct archive_world *world, const struct order_record *record,
                               size_t size);

/** Starts the pipeline; again after a crash, where it reads on from what was committed. */
void archive_world_start(struct archive_world *world);
void archive_world_crash(struct archive_world *world);

/** The archive's node loses power: what it has not synced is gone. */
void archive_world_crash_archive(struct archive_world *world);

void archive_world_run(struct archive_world *world, int64_t ms);

/** Runs until every order that is not spoilt has left the store; fails after `seconds`. */
void archive_world_run_until_empty(struct archive_world *world, int64_t seconds);

#define world_metric(world, name_) metric_get(&cluster_archiver_metrics((world)->archiver)->name_)
#define world_settling_metric(world, name_)                                                        \
    metric_get(&cluster_archiver_settling_metrics((world)->archiver)->name_)

#endif
