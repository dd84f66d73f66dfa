/** The local memory of a query instance with all that feeds it: the log of changes in Kafka, the
 *  repairs in `orders.refresh`, and the thread that drives it. */
#ifndef ORDERD_ORDERD_MEMORY_CLUSTER_H
#define ORDERD_ORDERD_MEMORY_CLUSTER_H

#include "orderd/backend.h"

struct memory_cluster;

/** Registers its metrics; starts what reads from Kafka, which must answer. `table` outlives it.
 *  NULL, with a line in `fault`, where that is not possible. */
struct memory_cluster *memory_cluster_open(const struct backend_parts *parts,
                                           struct order_table *table, struct fault *fault);

/** Starts the thread that writes to the table. */
MUST_CHECK bool memory_cluster_start(struct memory_cluster *memory, struct fault *fault);

/** Nobody reads the log or offers anything any more. NULL will do. */
void memory_cluster_close(struct memory_cluster *memory);

/** See local_memory_changes. */
struct change_log *memory_cluster_changes(struct memory_cluster *memory);
struct order_cache *memory_cluster_cache(struct memory_cluster *memory);

/** See local_memory_current_until. */
const _Atomic int64_t *memory_cluster_current_until(const struct memory_cluster *memory);

#endif
