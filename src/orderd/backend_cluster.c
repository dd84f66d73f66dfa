#include "orderd/backend_cluster.h"

#include "base/pages.h"
#include "orderd/change_log_none.h"
#include "orderd/memory_cluster.h"
#include "orderd/pipelines_cluster.h"

#include <stdlib.h>
#include <sys/random.h>

#define MIB ((uint64_t)1 << 20)

/** Local memory of a process that serves no reads. */
#define TABLE_BYTES_MIN (8 * MIB)

#define REDIS_SLOTS 16384

/* --- Which servers a role needs. --- */

static bool needs_cassandra(const struct roles *roles) {
    return roles->has[ROLE_COMMAND] || roles->has[ROLE_QUERY] || roles->has[ROLE_RESULTS] ||
           roles->has[ROLE_ARCHIVE] || roles->has[ROLE_AUDIT];
}

static bool needs_redis(const struct roles *roles) {
    return roles->has[ROLE_QUERY] || roles->has[ROLE_CACHE] || roles->has[ROLE_REFRESH] ||
           roles->has[ROLE_AUDIT];
}

static bool needs_kafka(const struct roles *roles) {
    return roles->has[ROLE_RELAY] || roles->has[ROLE_CACHE] || roles->has[ROLE_REFRESH] ||
           roles->has[ROLE_RESULTS] || roles->has[ROLE_QUERY] || roles->has[ROLE_ARCHIVE] ||
           roles->has[ROLE_AUDIT];
}

/* --- Readiness. --- */

static bool is_mysql_ready(struct backend_cluster *cluster, struct text *reason) {
    const char *why;
    if (mariadb_is_ready(cluster->mariadb, &why)) {
        return true;
    }
    text_append_slice(reason, SLICE_LITERAL("mysql: "));
    text_append_slice(reason, slice_from_text(why));
    return false;
}

static bool is_redis_ready(const struct backend_cluster *cluster, struct text *reason) {
    const struct redis_metrics *metrics = redis_metrics(cluster->redis);
    bool covered = metric_get(&metrics->slots_covered) == REDIS_SLOTS;
    bool connected = metric_get(&metrics->nodes_up) >= metric_get(&metrics->masters);
    if (!needs_redis(&cluster->roles) || (covered && connected)) {
        return true;
    }
    text_append_slice(reason, SLICE_LITERAL("redis: a master does not answer"));
    return false;
}

static bool is_kafka_ready(const struct backend_cluster *cluster, struct text *reason) {
    if (!needs_kafka(&cluster->roles) || kafka_writer_is_ready(cluster->kafka)) {
        return true;
    }
    text_append_slice(reason, SLICE_LITERAL("kafka: no broker answers"));
    return false;
}

static bool is_cassandra_ready(const struct backend_cluster *cluster, struct text *reason) {
    struct fault fault;
    if (cluster->cassandra == NULL || cassandra_is_ready(cluster->cassandra, &fault)) {
        return true;
    }
    text_append_slice(reason, SLICE_LITERAL("cassandra: "));
    text_append_slice(reason, slice_from_text(fault.text));
    return false;
}

static bool is_ready(const struct api_readiness *readiness, struct text *reason) {
    struct backend_cluster *cluster =
        CONTAINER_OF(readiness, struct backend_cluster, backend.readiness);
    return is_mysql_ready(cluster, reason) && is_redis_ready(cluster, reason) &&
           is_kafka_ready(cluster, reason) && is_cassandra_ready(cluster, reason) &&
           (cluster->pipelines == NULL || pipelines_cluster_are_ready(cluster->pipelines, reason));
}

/* --- Opening. --- */

static bool open_cassandra(struct backend_cluster *cluster, struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    uint64_t seed = 0;
    if (!needs_cassandra(&cluster->roles)) {
        return true;
    }
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        fault_set(fault, "the system gave no random number");
        return false;
    }
    struct cassandra_parts cassandra_parts = {
        .options = &parts->options->cassandra,
        .password = getenv("ORDERD_CASSANDRA_PASSWORD"),
        .log = parts->log,
        .metrics = parts->metrics,
        .settle_us = cluster_has(cluster, ROLE_ARCHIVE) || cluster_has(cluster, ROLE_AUDIT)
                         ? (int64_t)parts->options->cluster_archiver.settle_seconds * 1000000
                         : 0,
        .seed = seed,
    };
    cluster->cassandra = cassandra_open(&cassandra_parts, fault);
    if (cluster->cassandra != NULL) {
        cluster->backend.archive = cassandra_order_archive(cluster->cassandra);
    }
    return cluster->cassandra != NULL;
}

static bool open_mariadb(struct backend_cluster *cluster, struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    struct mariadb_parts mariadb_parts = {
        .options = &parts->options->mysql,
        .password = getenv(MARIADB_PASSWORD_VARIABLE),
        .log = parts->log,
        .clock = &parts->clock->clock,
        .metrics = parts->metrics,
        .archive = cluster->backend.archive,
        .gives_ids = cluster_has(cluster, ROLE_COMMAND),
    };
    cluster->mariadb = mariadb_open(&mariadb_parts, fault);
    if (cluster->mariadb != NULL) {
        cluster->backend.store = mariadb_order_store(cluster->mariadb);
    }
    return cluster->mariadb != NULL;
}

static bool open_redis(struct backend_cluster *cluster, struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    struct redis_settings settings;
    if (!redis_settings_read(&parts->options->redis, getenv(REDIS_PASSWORD_VARIABLE), &settings,
                             fault)) {
        return false;
    }
    struct redis_parts redis_parts = {parts->log, parts->metrics, &settings};
    cluster->redis = redis_create(&redis_parts, fault);
    if (cluster->redis != NULL) {
        cluster->backend.beside = redis_order_cache(cluster->redis);
    }
    return cluster->redis != NULL;
}

static bool open_kafka(struct backend_cluster *cluster, struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    if (!needs_kafka(&cluster->roles)) {
        return true;
    }
    cluster->kafka = kafka_writer_create(&parts->options->kafka, parts->log, fault);
    if (cluster->kafka != NULL) {
        metrics_register(parts->metrics, "kafka", NULL, kafka_writer_metric_table,
                         kafka_writer_metric_count, kafka_writer_metrics(cluster->kafka));
    }
    return cluster->kafka != NULL;
}

static bool open_memory(struct backend_cluster *cluster, struct fault *fault) {
    uint64_t bytes = cluster_has(cluster, ROLE_QUERY)
                         ? cluster->parts.options->memory.budget_mb * MIB
                         : TABLE_BYTES_MIN;
    cluster->table = order_table_create(bytes, fault);
    cluster->backend.table = cluster->table;
    if (cluster->table == NULL || !cluster_has(cluster, ROLE_QUERY)) {
        return cluster->table != NULL;
    }
    if (cluster->parts.options->memory.populate) {
        order_table_populate(cluster->table);
    }
    cluster->memory = memory_cluster_open(&cluster->parts, cluster->table, fault);
    if (cluster->memory == NULL) {
        return false;
    }
    cluster->backend.changes = memory_cluster_changes(cluster->memory);
    cluster->backend.cache = memory_cluster_cache(cluster->memory);
    cluster->backend.memory_current_until = memory_cluster_current_until(cluster->memory);
    return true;
}

/* --- The look-up and its thread. --- */

static bool was_given(void *context, uint64_t order_id) {
    return mariadb_may_have_given(context, order_id);
}

static int64_t step_lookup(void *context) {
    return lookup_cluster_step(context);
}

static bool is_lookup_busy(const void *context) {
    return lookup_cluster_is_busy(context);
}

static bool open_lookup(struct backend_cluster *cluster, struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    struct lookup_cluster_parts lookup_parts = {
        .clock = &parts->clock->clock,
        .cache = cluster->backend.beside,
        .store = cluster->backend.store,
        .archive = cluster->backend.archive,
        .options = &parts->options->lookup,
        .open_us = parts->terms->timeout_us,
        .mailbox = &cluster->lookup_thread.mailbox,
        .was_given = was_given,
        .was_given_context = cluster->mariadb,
    };
    if (!cluster->backend.has_queries) {
        return true;
    }
    if (getrandom(&lookup_parts.token_seed, sizeof(lookup_parts.token_seed), 0) !=
        sizeof(lookup_parts.token_seed)) {
        fault_set(fault, "the system gave no random number");
        return false;
    }
    cluster->lookup = lookup_cluster_create(&lookup_parts);
    if (cluster->lookup == NULL) {
        fault_set(fault, "no memory for the look-up");
        return false;
    }
    cluster->backend.lookup = lookup_cluster_port(cluster->lookup);
    metrics_register(parts->metrics, "lookup", NULL, lookup_metric_table, lookup_metric_count,
                     lookup_cluster_metrics(cluster->lookup));
    pipeline_thread_add(&cluster->lookup_thread,
                        &(struct pipeline_unit){.context = cluster->lookup,
                                                .step = step_lookup,
                                                .is_busy = is_lookup_busy,
                                                .clock = &parts->clock->clock});
    return true;
}

/* --- The whole. --- */

/** The order of the end: whoever submits ends before what it submits to. */
static void close_backend(struct backend *backend) {
    struct backend_cluster *cluster = (struct backend_cluster *)backend;
    pipelines_cluster_stop(cluster->pipelines);
    pipeline_thread_join(&cluster->lookup_thread);
    memory_cluster_close(cluster->memory);
    if (cluster->mariadb != NULL) {
        mariadb_close(cluster->mariadb);
    }
    if (cluster->redis != NULL) {
        redis_destroy(cluster->redis);
    }
    if (cluster->kafka != NULL) {
        kafka_writer_destroy(cluster->kafka);
    }
    if (cluster->cassandra != NULL) {
        if (cluster->cassandra_runs) {
            cassandra_stop(cluster->cassandra);
        }
        cassandra_close(cluster->cassandra);
    }
    lookup_cluster_destroy(cluster->lookup);
    pipeline_thread_deinit(&cluster->lookup_thread);
    order_table_destroy(cluster->table);
    free(cluster);
}

static bool start_backend(struct backend *backend, struct fault *fault) {
    struct backend_cluster *cluster = (struct backend_cluster *)backend;
    if (cluster->cassandra != NULL) {
        cluster->cassandra_runs = cassandra_start(cluster->cassandra, fault);
        if (!cluster->cassandra_runs) {
            return false;
        }
    }
    if (!mariadb_start(cluster->mariadb, fault) || !redis_start(cluster->redis, fault) ||
        (cluster->memory != NULL && !memory_cluster_start(cluster->memory, fault)) ||
        (cluster->lookup != NULL &&
         !pipeline_thread_start(&cluster->lookup_thread, "lookup", fault))) {
        return false;
    }
    cluster->pipelines = pipelines_cluster_start(cluster, fault);
    return cluster->pipelines != NULL;
}

static const struct backend_ops backend_ops = {.start = start_backend, .close = close_backend};

struct backend *backend_cluster_open(const struct backend_parts *parts, struct fault *fault) {
    struct backend_cluster *cluster = aligned_alloc(CACHE_LINE_BYTES, sizeof(*cluster));
    fault_set(fault, "no memory for the cluster's tiers");
    if (cluster == NULL) {
        return NULL;
    }
    memset(cluster, 0, sizeof(*cluster));
    if (!pipeline_thread_init(&cluster->lookup_thread, LOOKUP_OUTSTANDING_MAX)) {
        free(cluster);
        return NULL;
    }
    struct backend *backend = &cluster->backend;
    backend->ops = &backend_ops;
    backend->readiness.is_ready = is_ready;
    cluster->parts = *parts;
    bool parsed = roles_parse(parts->options->server.roles.text, &cluster->roles, fault);
    assert(parsed); /* the options were judged */
    backend->has_commands = cluster_has(cluster, ROLE_COMMAND);
    backend->has_queries = cluster_has(cluster, ROLE_QUERY);
    if (!backend->has_commands && !backend->has_queries) {
        pages_keep_small(); /* health and metrics are all that its network threads are asked for */
    }
    backend->memory_may_lag = true;
    change_log_none_init(&cluster->no_changes);
    backend->changes = &cluster->no_changes;
    if (!open_cassandra(cluster, fault) || !open_mariadb(cluster, fault) ||
        !open_redis(cluster, fault) || !open_kafka(cluster, fault) ||
        !open_memory(cluster, fault) || !open_lookup(cluster, fault)) {
        close_backend(backend);
        return NULL;
    }
    return backend;
}
