/** The embedded change_log: a cursor over the journal. The newest changes come from the RAM tail,
 *  on the reader's own thread; older ones from the segments, on the thread of the archive's reads.
 *
 *  One part; a position is the number of a change, counted from 1 since the data directory was
 *  made. */
#ifndef ORDERD_ADAPTER_EMBEDDED_EMBEDDED_CHANGE_LOG_H
#define ORDERD_ADAPTER_EMBEDDED_EMBEDDED_CHANGE_LOG_H

#include "adapter/embedded/embedded_store.h"
#include "adapter/embedded/journal_reader.h"

#define CHANGE_LOG_PLACES 32

/** Where a reader stopped, so that the next read goes on there instead of searching the segment. */
struct change_place {
    uint64_t change; /* the next one */
    uint64_t segment;
    uint64_t offset;
};

/** Reads of the journal that wait for the thread that does them. */
struct embedded_change_log {
    struct change_log log;
    struct embedded_store *store;  /* borrowed: its tail and its watches */
    struct segment_list *segments; /* borrowed */
    struct mailbox *reads;         /* borrowed: the box of the thread that calls ..._read_journal */
    /* That thread's: */
    struct journal_reader reader;
    struct change_place places[CHANGE_LOG_PLACES];
    size_t next_place;
};

/** port_request.operation of a read in `reads`, beside those of the archive. */
#define CHANGE_LOG_READ 100

MUST_CHECK bool embedded_change_log_init(struct embedded_change_log *log,
                                         struct embedded_store *store,
                                         struct segment_list *segments, struct disk *disk,
                                         struct mailbox *reads);
void embedded_change_log_deinit(struct embedded_change_log *log);

/** Answers a read from the segments, and completes it. May wait for the disk.
 *  @thread the owner of `reads`. */
void embedded_change_log_read_journal(struct embedded_change_log *log,
                                      struct change_read_batch *batch);

#endif
