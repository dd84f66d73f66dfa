/** The embedded store without its threads: RAM table, journal, keeper and change log, put together
 *  over a disk and a reference archive that the caller provides. The program runs its steps on
 *  threads (embedded.h), the simulator one after the other on virtual time.
 *
 *  The caller owns the struct; it does not move once it is open. */
#ifndef ORDERD_ADAPTER_EMBEDDED_EMBEDDED_CORE_H
#define ORDERD_ADAPTER_EMBEDDED_EMBEDDED_CORE_H

#include "adapter/embedded/embedded_change_log.h"
#include "adapter/embedded/keeper.h"
#include "adapter/embedded/recovery.h"
#include "memory/memory_options.h"

struct embedded_core {
    struct order_table *table; /* owned */
    struct reference_filter filter;
    struct change_tail tail;
    struct segment_list segments;
    struct segment_supply supply;
    struct journal_writer journal;
    struct embedded_store store;
    struct keeper keeper;
    struct embedded_change_log change_log;
    struct recovery_result recovered;
};

struct embedded_core_parts {
    struct disk *disk;
    struct log *log;
    const struct clock *clock;
    struct reference_archive *references;
    struct mailbox *reads; /* of the thread that reads the journal for the change log */
    const struct memory_shares *memory;
    const struct journal_limits *limits; /* sound ones */
    int64_t window_us;                   /* idempotency window */
    int64_t now_us;                      /* for what is out of the window at the start */
};

/** Reserves the memory, reads what is stored, and stands ready. The clock must be at least at
 *  core->recovered.newest_time_us before the first step. False, with one line in `fault`, where the
 *  store must not start; everything is released then. */
MUST_CHECK bool embedded_core_open(struct embedded_core *core,
                                   const struct embedded_core_parts *parts, struct fault *fault);

/** Releases everything, without writing anything. */
void embedded_core_close(struct embedded_core *core);

#endif
