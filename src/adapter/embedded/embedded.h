/** The embedded default, whole: a data directory with the journal and RocksDB, and the threads that
 *  work on them. What the rest of the program sees are the ports.
 *
 *  Threads: `store` forms groups and writes the journal; `keeper` makes segments and checkpoints;
 *  `archive-put` and `archive-read` call RocksDB, the second also reads the journal for the change
 *  log. */
#ifndef ORDERD_ADAPTER_EMBEDDED_EMBEDDED_H
#define ORDERD_ADAPTER_EMBEDDED_EMBEDDED_H

#include "adapter/embedded/archive_rocksdb.h"
#include "adapter/embedded/embedded_core.h"

struct embedded;

struct embedded_parts {
    const char *data_dir;
    struct log *log;
    struct service_clock *clock; /* raised to the newest stored time before anything is written */
    struct metrics *metrics;     /* may be NULL */
    const struct memory_options *memory;
    const struct journal_options *journal;
    const struct archive_options *archive;
    int64_t window_us;
};

/** Judges the options together, before anything is opened. False, with one line in `fault` that
 *  begins with an option's name, where they contradict each other. */
MUST_CHECK bool embedded_options_check(const struct memory_options *memory,
                                       const struct journal_options *journal, struct fault *fault);

/** Opens the data directory for this process alone and recovers. NULL, with one line in `fault`,
 *  where it must not start. */
struct embedded *embedded_open(const struct embedded_parts *parts, struct fault *fault);

/** Starts the threads, once everybody who watches the change log has said so. After a failure the
 *  caller closes. */
MUST_CHECK bool embedded_start(struct embedded *embedded, struct fault *fault);

/** Ends the threads after what was submitted is done, seals the journal and closes everything.
 *  Nobody may submit any more. */
void embedded_close(struct embedded *embedded);

struct order_store *embedded_order_store(struct embedded *embedded);
struct order_archive *embedded_order_archive(struct embedded *embedded);
struct order_cache *embedded_order_cache(struct embedded *embedded);
struct change_log *embedded_changes(struct embedded *embedded);
const struct order_table *embedded_table(const struct embedded *embedded);

/** The state for readiness: true where creates can be durable. Otherwise `reason` says in a few
 *  words why not. @thread any. */
MUST_CHECK bool embedded_is_ready(struct embedded *embedded, const char **reason);

#endif
