/** Creates whose reference belongs to an order that has left for the archive: a thread
 *  (`mysql-replays`) asks the archive for it, a batch at a time. Where the archive does not answer,
 *  the create is answered with "unavailable": nothing happened, and the order may be there. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_REPLAYS_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_REPLAYS_H

#include "adapter/mariadb/mariadb_lane.h"

#define MARIADB_REPLAYS_BATCH 1024

struct mariadb_replays {
    struct mariadb_shared *shared; /* whose `replays` is worked off */
    struct mailbox mailbox;
    struct order_get_batch get;
    struct mariadb_item *items; /* owned, as everything below; MARIADB_REPLAYS_BATCH of each */
    uint64_t *order_ids;
    struct order_record *orders;
    uint8_t *results;
    bool answered;
    struct log_limit limit;
    pthread_t thread;
    bool started;
};

/** Starts the thread. Nothing is done where there is no archive. */
MUST_CHECK bool mariadb_replays_start(struct mariadb_replays *replays,
                                      struct mariadb_shared *shared, struct fault *fault);

/** Waits until the queue, which was stopped, is worked off, and releases everything. */
void mariadb_replays_join(struct mariadb_replays *replays);

#endif
