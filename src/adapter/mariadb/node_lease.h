/** The arithmetic of node numbers: which one an instance takes, and when it may give ids with it.
 *  Pure, any thread.
 *
 *  No id is given twice because every holder of a number has a range of ticks of its own, and not
 *  because of any clock: before a holder gives an id of a tick, the number's row promises that tick
 *  to it (`highest_tick`), and the next holder begins above what the row promises. The lease, timed
 *  by the database's clock, only says when a number is free for somebody else.
 *
 *  A holder counts on its own monotonic clock, from before it asked, so it stops before the
 *  database's clock ends the lease. */
#ifndef ORDERD_ADAPTER_MARIADB_NODE_LEASE_H
#define ORDERD_ADAPTER_MARIADB_NODE_LEASE_H

#include "order/order_id.h"

/** A row of `nodes`. */
struct node_row {
    uint32_t node;
    bool expired; /* by the database's clock; or it is the asker's own */
    uint64_t highest_tick;
};

struct node_choice {
    uint32_t node;
    bool is_new;         /* there is no row yet */
    uint64_t floor_tick; /* ids begin above it */
};

/** Chooses among the rows, ascending by node: the lowest number that is free and whose ids can
 * begin now; else one that nobody has had; else the one whose ids can begin soonest. A number whose
 *  holder is alive promises ticks ahead of the clock, so it is the last that is taken even where
 *  the database's clock has jumped and calls its lease ended. False where all are held. */
MUST_CHECK bool node_lease_choose(const struct node_row *rows, size_t count, uint64_t now_tick,
                                  struct node_choice *choice);

/** What an instance holds. Times are of its monotonic clock. */
struct node_grant {
    uint64_t number; /* of the grant: another one means another range of ticks; 0: none yet */
    uint32_t node;
    uint64_t floor_tick;    /* ids are above it */
    uint64_t promised_tick; /* and not above this */
    int64_t usable_from_us;
    int64_t held_until_us;
    bool clock_ahead; /* our clock is too far ahead of the database's to give ids */
};

/** The tick up to which a lease that is asked for at `now_us` lets its holder give ids: as far as a
 *  slot may run ahead at its end, and a second more. */
uint64_t node_lease_promise(int64_t now_us, int64_t length_us);

/** When the holder stops, if it asked at `asked_us`: a fiftieth early, as two clocks do not run
 *  alike. */
static inline int64_t node_lease_end(int64_t asked_us, int64_t length_us) {
    return asked_us + length_us - length_us / 50;
}

/** True where ids may be given. */
MUST_CHECK bool node_grant_is_usable(const struct node_grant *grant, int64_t monotonic_us,
                                     uint64_t now_tick);

#endif
