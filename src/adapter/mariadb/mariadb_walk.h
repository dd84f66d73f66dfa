/** Where a scan is: which shard, which ids. The port's cursor is one number for all shards: the
 * last id that was looked at, whose slot says on which shard that is. A shard begins behind an id
 * of tick 0, which no order has. Pure, any thread.
 *
 *  A walk ends where no order can have what is looked for: ids rise with time, at most
 *  ORDER_TICKS_AHEAD_MAX ahead of the clock. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_WALK_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_WALK_H

#include "order/order_id.h"
#include "port/order_store.h"

/** The last microsecond that a DATETIME(6) can hold and that rfc3339_format can write. */
#define MARIADB_TIME_MAX_US INT64_C(253402300799999999)

struct mariadb_walk {
    uint64_t shards;
    uint64_t shard;
    uint64_t begin;         /* ids of the slice are above it */
    uint64_t last_possible; /* the walk goes no further */
    uint64_t end;           /* and, of this slice, no further than this */
    uint64_t reached;       /* the slice went this far */
    bool at_end;            /* of the shard */
};

/** The nearest time that can be written into a statement. */
static inline int64_t mariadb_walk_clamp(int64_t time_us) {
    return time_us < 0 ? 0 : time_us < MARIADB_TIME_MAX_US ? time_us : MARIADB_TIME_MAX_US;
}

/** Begins a slice where the batch's cursor says. */
void mariadb_walk_begin(struct mariadb_walk *walk, const struct order_scan_batch *batch,
                        size_t shards);

/** The slice ends with the row `last_id`, or, where that is not `found`, with the shard. */
void mariadb_walk_bound(struct mariadb_walk *walk, bool found, uint64_t last_id);

/** The slice was read, or, where it was `cut`, up to `last_id`. */
void mariadb_walk_read(struct mariadb_walk *walk, bool cut, uint64_t last_id);

/** Where the next slice begins; 0 after the last. */
uint64_t mariadb_walk_cursor(const struct mariadb_walk *walk);

/** The shard that a cursor stands on. */
size_t mariadb_walk_shard(uint64_t cursor, size_t shards);

/** The lowest id of an order that is created at `time_us` or later: every order with a lower id was
 *  created before. */
uint64_t mariadb_walk_first_id_at(int64_t time_us);

/** A time before which no order with this id or a higher one was created. */
int64_t mariadb_walk_created_after(uint64_t order_id);

#endif
