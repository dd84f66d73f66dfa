/** The relay's ports, simulated: a log of transactions, a topic, a lease with its position, a table
 *  to scan, and a clock that stands still unless it is moved. A request is held until the test, or
 *  world_run, completes it. One thread. */
#ifndef ORDERD_TESTS_RELAY_WORLD_H
#define ORDERD_TESTS_RELAY_WORLD_H

#include "base/random.h"
#include "pipeline/relay.h"

#define WORLD_LOG_MAX 512
#define WORLD_LEASE_US INT64_C(6000000)

struct world_entry {
    uint64_t order_id;
    uint32_t version;
    uint32_t transaction; /* from 1 */
};

struct world {
    struct clock clock;
    int64_t now_us;
    struct log log;
    struct mailbox mailbox;
    struct random_source random;

    struct change_source source;
    struct world_entry entries[WORLD_LOG_MAX];
    size_t entry_count;
    uint32_t transactions;
    size_t cursor;       /* the next entry to be read */
    uint32_t read_up_to; /* the last transaction of which the end was read */
    bool is_open;
    uint32_t purged;                      /* transactions up to this are no longer in the log */
    enum change_source_result log_result; /* not OK: what the source answers */
    size_t read_most;                     /* changes in one read */
    unsigned opens;
    char opened_at[LEASE_POSITION_MAX];

    struct topic_writer writer;
    bool delivered[WORLD_LOG_MAX]; /* entry i is acknowledged */
    unsigned publishes;
    unsigned fail_publishes; /* so many of the next are not acknowledged */
    bool hold_publishes;
    bool busy_writer;

    struct lease_port lease;
    bool somebody_else; /* has the lease */
    bool lease_is_silent;
    bool was_taken_away; /* stores answer MISMATCH */
    char stored[LEASE_POSITION_MAX];
    unsigned stores;
    unsigned releases;

    struct order_store store;
    unsigned scans;
    bool store_is_down;
    size_t scan_at;

    /* Requests that are under way. */
    struct port_request *pending[32];
    uint32_t kinds[32];
    size_t pending_count;
    uint32_t failures; /* out of 16: chance that world_run lets a request fail */

    struct relay *relay;
};

enum {
    WORLD_OPEN,
    WORLD_READ,
    WORLD_PUBLISH,
    WORLD_ACQUIRE,
    WORLD_STORE,
    WORLD_RELEASE,
    WORLD_SCAN
};

void world_init(struct world *world, uint64_t seed);
void world_deinit(struct world *world);

/** Appends a transaction of `count` changes of orders from `order_id` on. */
void world_commit(struct world *world, uint64_t order_id, uint32_t version, size_t count);

/** A new relay; the old one, if any, is gone in the middle of whatever it did. */
void world_restart(struct world *world);

/** Steps the relay and completes what is under way, `rounds` times. */
void world_run(struct world *world, unsigned rounds);

/** Completes one request of a kind, as the world stands; false where none is under way. */
bool world_complete(struct world *world, uint32_t kind);

/** True where everything up to the stored position was delivered, and more generally nothing was
 *  jumped over. */
bool world_is_sound(const struct world *world);
bool world_has_delivered_all(const struct world *world);

/** The transaction of a position "0-1-N". */
uint32_t world_transaction_of(const char *position);

#endif
