/** What a local memory lives among, simulated: a log of changes of two parts, repairs, the tiers
 *  below, and a query service that reads it. The test says what the log can be read to, where it
 *  says that it ends, and whether it answers. One thread. */
#ifndef ORDERD_TESTS_MEMORY_WORLD_H
#define ORDERD_TESTS_MEMORY_WORLD_H

#include "fake_ports.h"
#include "service/local_memory.h"
#include "service/query.h"

#define WORLD_LOG_MAX 256
#define WORLD_PARTS 2
#define WORLD_TABLE_BYTES 16000000 /* more than one step sweeps */
#define WORLD_TRUST_US INT64_C(1000000)
#define WORLD_LAG_US INT64_C(2000000)

struct world_log {
    struct change_log port; /* first */
    struct order_record orders[WORLD_PARTS][WORLD_LOG_MAX];
    uint64_t written[WORLD_PARTS]; /* the log's own end */
    uint64_t heard[WORLD_PARTS];   /* what of it came to this process */
    enum change_read_result read_result;
    bool end_hangs; /* the question for the end is kept */
    bool end_fails;
    struct change_end *asked;
    size_t end_count;
};

struct world_repairs {
    struct topic_reader port; /* first */
    struct topic_read *waiting;
};

/** The tiers below: one answer for every id, with `truth` where a version is asked for that the
 *  cache does not have. */
struct world_below {
    struct lookup port; /* first */
    struct order_record cached;
    struct order_record truth;
    size_t asked;
};

struct world {
    struct fake_ports fake; /* clock, log, store */
    struct mailbox loop;    /* of the query service */
    struct mailbox thread;  /* of the local memory */
    struct world_log log;
    struct world_repairs repairs;
    struct world_below below;
    struct memory_options options;
    struct order_table *table;
    struct local_memory *memory;
    struct query_service *query;
};

void world_init(struct world *world);
void world_deinit(struct world *world);

/** Lets everything happen that can happen now. */
void world_run(struct world *world);

/** The question for the end that is kept is answered; the next one is kept again. */
void world_tell_end(struct world *world);

/** Lets time pass, with everything that is due meanwhile. */
void world_wait(struct world *world, int64_t time_us);

/** Appends a change to the log's part that the id says; `heard`: it comes to this process. */
void world_change(struct world *world, const struct order_record *order, bool heard);

/** What was written comes to this process. */
void world_hear(struct world *world);

/** A message of orders.refresh. */
void world_refresh(struct world *world, const char *kind, uint64_t order_id);

/** Reads an order as a client does; returns the version that it is told, 0 where it is none. */
uint32_t world_read(struct world *world, uint64_t order_id, uint32_t min_version);

/** An order with this version; a final one from the third on. */
struct order_record world_order(uint64_t number, uint32_t version);

#endif
