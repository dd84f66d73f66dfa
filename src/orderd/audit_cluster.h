/** The checker of a cluster (role `audit`): one instance at a time, by the lease `audit`, on a
 *  thread of its own. */
#ifndef ORDERD_ORDERD_AUDIT_CLUSTER_H
#define ORDERD_ORDERD_AUDIT_CLUSTER_H

#include "orderd/backend_cluster.h"

struct audit_cluster;

/** Starts it on the tiers that `cluster` has opened; NULL with the reason in `fault`. */
struct audit_cluster *audit_cluster_start(struct backend_cluster *cluster, struct fault *fault);

/** Lets what is under way end and gives the lease back. NULL will do. */
void audit_cluster_stop(struct audit_cluster *audit);

#endif
