/** What the parts of a cluster's backend share; private to src/orderd. */
#ifndef ORDERD_ORDERD_BACKEND_CLUSTER_H
#define ORDERD_ORDERD_BACKEND_CLUSTER_H

#include "adapter/cassandra/cassandra.h"
#include "adapter/kafka/kafka_writer.h"
#include "adapter/mariadb/mariadb.h"
#include "adapter/redis/redis.h"
#include "orderd/backend.h"
#include "orderd/pipeline_thread.h"

struct backend_cluster {
    struct backend backend; /* first */
    struct backend_parts parts;
    struct roles roles;
    struct cassandra *cassandra; /* owned, as the rest; NULL where no role needs it */
    bool cassandra_runs;
    struct mariadb *mariadb;
    struct redis *redis;
    struct kafka_writer *kafka; /* NULL where no role writes to a topic */
    struct order_table *table;
    struct memory_cluster *memory; /* NULL: no reads are served */
    struct change_log no_changes;
    struct lookup_cluster *lookup;
    struct pipeline_thread lookup_thread;
    struct pipelines_cluster *pipelines;
};

/** True where the process has one of these roles. */
static inline bool cluster_has(const struct backend_cluster *cluster, enum role role) {
    return cluster->roles.has[role];
}

#endif
