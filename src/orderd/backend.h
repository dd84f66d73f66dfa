/** The tiers that a process works on, as the rest of the program sees them: ports, the local
 *  memory, and whether they answer. backend_embedded.c makes those of one machine,
 *  backend_cluster.c those of an instance of a cluster. */
#ifndef ORDERD_ORDERD_BACKEND_H
#define ORDERD_ORDERD_BACKEND_H

#include "api/api.h"
#include "memory/order_table.h"
#include "orderd/program_options.h"

struct backend {
    const struct backend_ops *ops;
    struct order_store *store;
    struct order_archive *archive;
    struct order_cache *cache;
    struct change_log *changes;
    const struct order_table *table;
    struct lookup *lookup;
    bool has_commands;          /* creates and changes are served here */
    bool has_queries;           /* reads are */
    struct order_cache *beside; /* written beside the store; NULL: the cache is its own memory */
    bool memory_may_lag;        /* see query_parts, as the next */
    const _Atomic int64_t *memory_current_until;
    struct api_readiness readiness;
};

struct backend_ops {
    /** Starts its threads and the pipelines, once the workers have been made: what watches the
     *  change log is registered before anything runs. */
    bool (*start)(struct backend *backend, struct fault *fault);
    /** Ends the pipelines and its threads, and closes everything. Nobody uses the ports any
     *  more. */
    void (*close)(struct backend *backend);
};

struct backend_parts {
    const struct program_options *options;
    const struct order_terms *terms;
    struct log *log;
    struct service_clock *clock;
    struct metrics *metrics;
};

/** NULL, with one line in `fault`, where the process must not start. */
struct backend *backend_embedded_open(const struct backend_parts *parts, struct fault *fault);

/** The same for an instance of a cluster (backend_cluster.c). */
struct backend *backend_cluster_open(const struct backend_parts *parts, struct fault *fault);

#endif
