/** The pipelines that the roles of an instance of a cluster name, on four threads: the relays, the
 *  cache, the archive, and the rest. */
#ifndef ORDERD_ORDERD_PIPELINES_CLUSTER_H
#define ORDERD_ORDERD_PIPELINES_CLUSTER_H

#include "orderd/backend_cluster.h"

struct pipelines_cluster;

/** Starts them, on the tiers that `cluster` has opened; NULL with the reason in `fault`. */
struct pipelines_cluster *pipelines_cluster_start(struct backend_cluster *cluster,
                                                  struct fault *fault);

/** Lets what is under way end, gives leases back, then stops the threads. NULL will do. */
void pipelines_cluster_stop(struct pipelines_cluster *pipelines);

/** False where one of them cannot go on; why is appended to `reason`. @thread any. */
MUST_CHECK bool pipelines_cluster_are_ready(const struct pipelines_cluster *pipelines,
                                            struct text *reason);

#endif
