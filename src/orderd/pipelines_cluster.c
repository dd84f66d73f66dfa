#include "orderd/pipelines_cluster.h"

#include "adapter/kafka/kafka_reader.h"
#include "adapter/mariadb/mariadb_shard_store.h"
#include "adapter/mariadb_binlog/binlog_source.h"
#include "orderd/audit_cluster.h"
#include "pipeline/cache.h"
#include "pipeline/cluster_archiver.h"
#include "pipeline/expiry.h"
#include "pipeline/refill.h"
#include "pipeline/refresh.h"
#include "pipeline/relay.h"
#include "pipeline/results.h"
#include "pipeline/tenure.h"
#include "pipeline/timeout.h"

#include <stdlib.h>

#define LEASE_US INT64_C(10000000)

/** What one shard has: its relay, and its sweeper of overdue orders. */
struct shard_pipelines {
    struct mariadb_shard_store *relay_store;
    struct mariadb_shard_store *timeout_store;
    struct binlog_server server;
    struct binlog_source *source;
    struct relay *relay;
    struct tenure timeout_tenure;
    struct timeout_pipeline *timeout;
    char labels[40];
};

struct pipelines_cluster {
    struct backend_cluster *cluster;
    struct mariadb_settings settings;
    struct pipeline_thread relay_thread;
    struct pipeline_thread cache_thread;
    struct pipeline_thread archive_thread;
    struct pipeline_thread upkeep_thread;
    struct shard_pipelines shards[MARIADB_SHARDS_MAX];
    struct kafka_reader *changes;
    struct cache_pipeline *cache;
    struct kafka_reader *refreshes;
    struct refresh *refresh;
    struct refill *refill;
    struct kafka_reader *finals;
    struct cluster_archiver *archiver;
    struct kafka_reader *balance;
    struct results_pipeline *results;
    struct tenure expiry_tenure;
    struct expiry_pipeline expiry;
    struct audit_cluster *audit;
};

/* --- The pipelines as units of a thread. --- */

#define UNIT(name, type, step_function, busy_function)                                             \
    static int64_t step_##name(void *context) {                                                    \
        return step_function((struct type *)context);                                              \
    }                                                                                              \
    static bool is_##name##_busy(const void *context) {                                            \
        return busy_function((const struct type *)context);                                        \
    }

UNIT(relay, relay, relay_step, relay_is_busy)
UNIT(cache, cache_pipeline, cache_pipeline_step, cache_pipeline_is_busy)
UNIT(refresh, refresh, refresh_step, refresh_is_busy)
UNIT(refill, refill, refill_step, refill_is_busy)
UNIT(results, results_pipeline, results_pipeline_step, results_pipeline_is_busy)
UNIT(archiver, cluster_archiver, cluster_archiver_step, cluster_archiver_is_busy)
UNIT(tenure, tenure, tenure_step, tenure_is_busy)

static void stop_relay(void *context) {
    relay_stop(context);
}

static void stop_archiver(void *context) {
    cluster_archiver_stop(context);
}

static void stop_tenure(void *context) {
    tenure_stop(context);
}

/** Sweeps only while the lease is held: another instance does otherwise. */
static int64_t step_timeout(void *context) {
    struct shard_pipelines *shard = context;
    return tenure_holds(&shard->timeout_tenure) ? timeout_pipeline_step(shard->timeout) : INT64_MAX;
}

static bool is_timeout_busy(const void *context) {
    return timeout_pipeline_is_busy(((const struct shard_pipelines *)context)->timeout);
}

static int64_t step_expiry(void *context) {
    struct pipelines_cluster *pipelines = context;
    return tenure_holds(&pipelines->expiry_tenure) ? expiry_pipeline_step(&pipelines->expiry)
                                                   : INT64_MAX;
}

static bool is_expiry_busy(const void *context) {
    return ((const struct pipelines_cluster *)context)->expiry.busy;
}

/* --- The relays. --- */

static bool make_relay(struct pipelines_cluster *pipelines, size_t number, struct fault *fault) {
    struct backend_cluster *cluster = pipelines->cluster;
    const struct backend_parts *parts = &cluster->parts;
    struct shard_pipelines *shard = &pipelines->shards[number];
    const struct mariadb_server *server = &pipelines->settings.servers[number];
    shard->server = (struct binlog_server){
        .port = server->port,
        .shard = server->shard,
        .user = pipelines->settings.user,
        .password = pipelines->settings.password,
        .database = pipelines->settings.database,
    };
    memcpy(shard->server.host.text, server->host, sizeof(server->host));
    shard->source =
        binlog_source_create(&parts->options->binlog, &shard->server, parts->log, fault);
    shard->relay_store = mariadb_shard_store_create(cluster->mariadb, number);
    if (shard->source == NULL || shard->relay_store == NULL) {
        return false;
    }
    struct relay_parts relay_parts = {
        .clock = &parts->clock->clock,
        .monotonic = &clock_monotonic,
        .log = parts->log,
        .lease = mariadb_lease_port(cluster->mariadb),
        .source = binlog_source_port(shard->source),
        .store = mariadb_shard_store_port(shard->relay_store),
        .writer = kafka_writer_topic(cluster->kafka, KAFKA_ORDERS_CHANGES),
        .mailbox = &pipelines->relay_thread.mailbox,
        .shard = (uint32_t)number,
        .lease_us = LEASE_US,
    };
    shard->relay = relay_create(&relay_parts);
    if (shard->relay == NULL) {
        return false;
    }
    metrics_register(parts->metrics, "relay", shard->labels, relay_metric_table, relay_metric_count,
                     relay_metrics(shard->relay));
    metrics_register(parts->metrics, "binlog", shard->labels, binlog_metric_table,
                     binlog_metric_count, binlog_source_metrics(shard->source));
    pipeline_thread_add(&pipelines->relay_thread,
                        &(struct pipeline_unit){shard->relay, step_relay, is_relay_busy, stop_relay,
                                                &clock_monotonic});
    return true;
}

/* --- The cache. --- */

static struct kafka_reader *make_reader(struct pipelines_cluster *pipelines,
                                        enum kafka_topic_number topic, const char *group,
                                        const char *labels, struct fault *fault) {
    const struct backend_parts *parts = &pipelines->cluster->parts;
    struct kafka_reader *reader =
        kafka_reader_create(&parts->options->kafka, topic, group, parts->log, fault);
    if (reader != NULL) {
        metrics_register(parts->metrics, "kafka_reader", labels, kafka_reader_metric_table,
                         kafka_reader_metric_count, kafka_reader_metrics(reader));
    }
    return reader;
}

static bool make_cache(struct pipelines_cluster *pipelines, struct fault *fault) {
    struct backend_cluster *cluster = pipelines->cluster;
    pipelines->changes =
        make_reader(pipelines, KAFKA_ORDERS_CHANGES, "orderd-cache", "pipeline=\"cache\"", fault);
    if (pipelines->changes == NULL) {
        return false;
    }
    struct cache_pipeline_parts parts = {
        .clock = &cluster->parts.clock->clock,
        .log = cluster->parts.log,
        .reader = kafka_reader_port(pipelines->changes),
        .cache = redis_order_cache(cluster->redis),
        .mailbox = &pipelines->cache_thread.mailbox,
    };
    pipelines->cache = cache_pipeline_create(&parts);
    if (pipelines->cache == NULL) {
        return false;
    }
    metrics_register(cluster->parts.metrics, "cache", NULL, cache_pipeline_metric_table,
                     cache_pipeline_metric_count, cache_pipeline_metrics(pipelines->cache));
    pipeline_thread_add(&pipelines->cache_thread,
                        &(struct pipeline_unit){pipelines->cache, step_cache, is_cache_busy, NULL,
                                                &cluster->parts.clock->clock});
    return true;
}

/* --- The archive. --- */

static bool make_archiver(struct pipelines_cluster *pipelines, struct fault *fault) {
    struct backend_cluster *cluster = pipelines->cluster;
    pipelines->finals = make_reader(pipelines, KAFKA_ORDERS_CHANGES, "orderd-archive",
                                    "pipeline=\"archive\"", fault);
    if (pipelines->finals == NULL) {
        return false;
    }
    struct cluster_archiver_parts parts = {
        .options = &cluster->parts.options->cluster_archiver,
        .clock = &cluster->parts.clock->clock,
        .monotonic = &clock_monotonic,
        .log = cluster->parts.log,
        .store = cluster->backend.store,
        .archive = cluster->backend.archive,
        .changes = kafka_reader_port(pipelines->finals),
        .archived = kafka_writer_topic(cluster->kafka, KAFKA_ORDERS_ARCHIVED),
        .mailbox = &pipelines->archive_thread.mailbox,
    };
    pipelines->archiver = cluster_archiver_create(&parts);
    if (pipelines->archiver == NULL) {
        return false;
    }
    metrics_register(cluster->parts.metrics, "archiver", NULL, cluster_archiver_metric_table,
                     cluster_archiver_metric_count, cluster_archiver_metrics(pipelines->archiver));
    metrics_register(cluster->parts.metrics, "settling", NULL, settling_metric_table,
                     settling_metric_count, cluster_archiver_settling_metrics(pipelines->archiver));
    pipeline_thread_add(&pipelines->archive_thread,
                        &(struct pipeline_unit){pipelines->archiver, step_archiver,
                                                is_archiver_busy, stop_archiver, &clock_monotonic});
    return true;
}

/* --- What keeps the tiers in order. --- */

static bool make_refill(struct pipelines_cluster *pipelines) {
    struct backend_cluster *cluster = pipelines->cluster;
    struct refill_parts parts = {
        .clock = &cluster->parts.clock->clock,
        .log = cluster->parts.log,
        .loss = redis_cache_loss(cluster->redis),
        .store = cluster->backend.store,
        .cache = redis_order_cache(cluster->redis),
        .mailbox = &pipelines->upkeep_thread.mailbox,
        .per_second = cluster->parts.options->refresh.per_second,
    };
    pipelines->refill = refill_create(&parts);
    if (pipelines->refill == NULL) {
        return false;
    }
    metrics_register(cluster->parts.metrics, "refill", NULL, refill_metric_table,
                     refill_metric_count, refill_metrics(pipelines->refill));
    pipeline_thread_add(&pipelines->upkeep_thread,
                        &(struct pipeline_unit){pipelines->refill, step_refill, is_refill_busy,
                                                NULL, &cluster->parts.clock->clock});
    return true;
}

static bool make_refresh(struct pipelines_cluster *pipelines, struct fault *fault) {
    struct backend_cluster *cluster = pipelines->cluster;
    pipelines->refreshes = make_reader(pipelines, KAFKA_ORDERS_REFRESH, "orderd-refresh",
                                       "pipeline=\"refresh\"", fault);
    if (pipelines->refreshes == NULL) {
        return false;
    }
    struct refresh_parts parts = {
        .clock = &cluster->parts.clock->clock,
        .log = cluster->parts.log,
        .events = redis_cache_events(cluster->redis),
        .writer = kafka_writer_topic(cluster->kafka, KAFKA_ORDERS_REFRESH),
        .reader = kafka_reader_port(pipelines->refreshes),
        .store = cluster->backend.store,
        .cache = redis_order_cache(cluster->redis),
        .mailbox = &pipelines->upkeep_thread.mailbox,
        .options = &cluster->parts.options->refresh,
    };
    pipelines->refresh = refresh_create(&parts);
    if (pipelines->refresh == NULL) {
        return false;
    }
    metrics_register(cluster->parts.metrics, "refresh", NULL, refresh_metric_table,
                     refresh_metric_count, refresh_metrics(pipelines->refresh));
    pipeline_thread_add(&pipelines->upkeep_thread,
                        &(struct pipeline_unit){pipelines->refresh, step_refresh, is_refresh_busy,
                                                NULL, &cluster->parts.clock->clock});
    return make_refill(pipelines);
}

static bool make_results(struct pipelines_cluster *pipelines, struct fault *fault) {
    struct backend_cluster *cluster = pipelines->cluster;
    pipelines->balance = make_reader(pipelines, KAFKA_BALANCE_RESULTS, "orderd-results",
                                     "pipeline=\"results\"", fault);
    if (pipelines->balance == NULL) {
        return false;
    }
    struct results_parts parts = {
        .clock = &cluster->parts.clock->clock,
        .log = cluster->parts.log,
        .results = kafka_reader_port(pipelines->balance),
        .dead = kafka_writer_topic(cluster->kafka, KAFKA_BALANCE_RESULTS_DEAD),
        .late = kafka_writer_topic(cluster->kafka, KAFKA_ORDERS_LATE),
        .store = cluster->backend.store,
        .archive = cluster->backend.archive,
        .mailbox = &pipelines->upkeep_thread.mailbox,
    };
    pipelines->results = results_pipeline_create(&parts);
    if (pipelines->results == NULL) {
        return false;
    }
    metrics_register(cluster->parts.metrics, "results", NULL, results_metric_table,
                     results_metric_count, results_pipeline_metrics(pipelines->results));
    pipeline_thread_add(&pipelines->upkeep_thread,
                        &(struct pipeline_unit){pipelines->results, step_results, is_results_busy,
                                                NULL, &cluster->parts.clock->clock});
    return true;
}

static void add_tenure(struct pipelines_cluster *pipelines, struct tenure *tenure,
                       const char *name) {
    tenure_init(tenure, mariadb_lease_port(pipelines->cluster->mariadb), &clock_monotonic,
                &pipelines->upkeep_thread.mailbox, name, LEASE_US);
    pipeline_thread_add(&pipelines->upkeep_thread,
                        &(struct pipeline_unit){tenure, step_tenure, is_tenure_busy, stop_tenure,
                                                &clock_monotonic});
}

static bool make_timeout(struct pipelines_cluster *pipelines, size_t number) {
    struct backend_cluster *cluster = pipelines->cluster;
    struct shard_pipelines *shard = &pipelines->shards[number];
    char name[32];
    shard->timeout_store = mariadb_shard_store_create(cluster->mariadb, number);
    if (shard->timeout_store == NULL) {
        return false;
    }
    struct timeout_parts parts = {
        .clock = &cluster->parts.clock->clock,
        .log = cluster->parts.log,
        .store = mariadb_shard_store_port(shard->timeout_store),
        .mailbox = &pipelines->upkeep_thread.mailbox,
        .timeout_us = cluster->parts.terms->timeout_us,
    };
    shard->timeout = timeout_pipeline_create(&parts);
    if (shard->timeout == NULL) {
        return false;
    }
    (void)snprintf(name, sizeof(name), "timeout/%zu", number);
    add_tenure(pipelines, &shard->timeout_tenure, name);
    metrics_register(cluster->parts.metrics, "timeout", shard->labels, timeout_metric_table,
                     timeout_metric_count, timeout_pipeline_metrics(shard->timeout));
    pipeline_thread_add(&pipelines->upkeep_thread,
                        &(struct pipeline_unit){shard, step_timeout, is_timeout_busy, NULL,
                                                &cluster->parts.clock->clock});
    return true;
}

static void make_expiry(struct pipelines_cluster *pipelines) {
    struct backend_cluster *cluster = pipelines->cluster;
    const struct clock *clock = &cluster->parts.clock->clock;
    expiry_pipeline_init(&pipelines->expiry, clock, cluster->backend.store,
                         &pipelines->upkeep_thread.mailbox, cluster->parts.terms->window_us);
    add_tenure(pipelines, &pipelines->expiry_tenure, "expiry");
    metrics_register(cluster->parts.metrics, "expiry", NULL, expiry_metric_table,
                     expiry_metric_count, &pipelines->expiry.metrics);
    pipeline_thread_add(
        &pipelines->upkeep_thread,
        &(struct pipeline_unit){pipelines, step_expiry, is_expiry_busy, NULL, clock});
}

/* --- The whole. --- */

static bool make_shards(struct pipelines_cluster *pipelines, struct fault *fault) {
    const struct roles *roles = &pipelines->cluster->roles;
    for (size_t i = 0; i < pipelines->settings.shard_count; i++) {
        struct shard_pipelines *shard = &pipelines->shards[i];
        (void)snprintf(shard->labels, sizeof(shard->labels), "shard=\"%zu\"", i);
        if ((roles->has[ROLE_RELAY] && !make_relay(pipelines, i, fault)) ||
            (roles->has[ROLE_TIMEOUT] && !make_timeout(pipelines, i))) {
            return false;
        }
    }
    return true;
}

static bool make_all(struct pipelines_cluster *pipelines, struct fault *fault) {
    const struct roles *roles = &pipelines->cluster->roles;
    if (!make_shards(pipelines, fault) ||
        (roles->has[ROLE_CACHE] && !make_cache(pipelines, fault)) ||
        (roles->has[ROLE_ARCHIVE] && !make_archiver(pipelines, fault)) ||
        (roles->has[ROLE_REFRESH] && !make_refresh(pipelines, fault)) ||
        (roles->has[ROLE_RESULTS] && !make_results(pipelines, fault))) {
        return false;
    }
    if (roles->has[ROLE_EXPIRY]) {
        make_expiry(pipelines);
    }
    return true;
}

static bool make_threads(struct pipelines_cluster *pipelines) {
    size_t shards = pipelines->settings.shard_count;
    return pipeline_thread_init(&pipelines->relay_thread, shards * RELAY_OUTSTANDING_MAX) &&
           pipeline_thread_init(&pipelines->cache_thread, CACHE_PIPELINE_OUTSTANDING_MAX) &&
           pipeline_thread_init(&pipelines->archive_thread, CLUSTER_ARCHIVER_OUTSTANDING_MAX) &&
           pipeline_thread_init(&pipelines->upkeep_thread,
                                REFRESH_OUTSTANDING_MAX + REFILL_OUTSTANDING_MAX +
                                    RESULTS_OUTSTANDING_MAX + EXPIRY_OUTSTANDING_MAX +
                                    TENURE_OUTSTANDING_MAX +
                                    shards * (TIMEOUT_OUTSTANDING_MAX + TENURE_OUTSTANDING_MAX));
}

static bool start_threads(struct pipelines_cluster *pipelines, struct fault *fault) {
    struct pipeline_thread *threads[] = {&pipelines->relay_thread, &pipelines->cache_thread,
                                         &pipelines->archive_thread, &pipelines->upkeep_thread};
    static const char *const names[] = {"relay", "cache", "archive", "upkeep"};
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        if (threads[i]->unit_count > 0 && !pipeline_thread_start(threads[i], names[i], fault)) {
            return false;
        }
    }
    return true;
}

static void release_shard(struct shard_pipelines *shard) {
    if (shard->relay != NULL) {
        relay_destroy(shard->relay);
    }
    if (shard->source != NULL) {
        binlog_source_destroy(shard->source);
    }
    if (shard->timeout != NULL) {
        timeout_pipeline_destroy(shard->timeout);
    }
    mariadb_shard_store_destroy(shard->relay_store);
    mariadb_shard_store_destroy(shard->timeout_store);
}

static void release_reader(struct kafka_reader *reader) {
    if (reader != NULL) {
        kafka_reader_destroy(reader);
    }
}

static void release(struct pipelines_cluster *pipelines) {
    for (size_t i = 0; i < pipelines->settings.shard_count; i++) {
        release_shard(&pipelines->shards[i]);
    }
    release_reader(pipelines->changes);
    release_reader(pipelines->refreshes);
    release_reader(pipelines->finals);
    release_reader(pipelines->balance);
    if (pipelines->cache != NULL) {
        cache_pipeline_destroy(pipelines->cache);
    }
    if (pipelines->archiver != NULL) {
        cluster_archiver_destroy(pipelines->archiver);
    }
    if (pipelines->refresh != NULL) {
        refresh_destroy(pipelines->refresh);
    }
    if (pipelines->refill != NULL) {
        refill_destroy(pipelines->refill);
    }
    if (pipelines->results != NULL) {
        results_pipeline_destroy(pipelines->results);
    }
    pipeline_thread_deinit(&pipelines->relay_thread);
    pipeline_thread_deinit(&pipelines->cache_thread);
    pipeline_thread_deinit(&pipelines->archive_thread);
    pipeline_thread_deinit(&pipelines->upkeep_thread);
    free(pipelines);
}

static bool start_audit(struct pipelines_cluster *pipelines, struct fault *fault) {
    if (!pipelines->cluster->roles.has[ROLE_AUDIT]) {
        return true;
    }
    pipelines->audit = audit_cluster_start(pipelines->cluster, fault);
    return pipelines->audit != NULL;
}

struct pipelines_cluster *pipelines_cluster_start(struct backend_cluster *cluster,
                                                  struct fault *fault) {
    struct pipelines_cluster *pipelines = aligned_alloc(CACHE_LINE_BYTES, sizeof(*pipelines));
    fault_set(fault, "no memory for the pipelines");
    if (pipelines == NULL) {
        return NULL;
    }
    memset(pipelines, 0, sizeof(*pipelines));
    pipelines->cluster = cluster;
    if (!mariadb_settings_read(&cluster->parts.options->mysql, getenv(MARIADB_PASSWORD_VARIABLE),
                               &pipelines->settings, fault)) {
        free(pipelines);
        return NULL;
    }
    if (!make_threads(pipelines) || !make_all(pipelines, fault) ||
        !start_threads(pipelines, fault) || !start_audit(pipelines, fault)) {
        pipelines_cluster_stop(pipelines);
        return NULL;
    }
    return pipelines;
}

void pipelines_cluster_stop(struct pipelines_cluster *pipelines) {
    if (pipelines == NULL) {
        return;
    }
    audit_cluster_stop(pipelines->audit);
    pipeline_thread_stop(&pipelines->relay_thread);
    pipeline_thread_stop(&pipelines->cache_thread);
    pipeline_thread_stop(&pipelines->archive_thread);
    pipeline_thread_stop(&pipelines->upkeep_thread);
    pipeline_thread_join(&pipelines->relay_thread);
    pipeline_thread_join(&pipelines->cache_thread);
    pipeline_thread_join(&pipelines->archive_thread);
    pipeline_thread_join(&pipelines->upkeep_thread);
    release(pipelines);
}

bool pipelines_cluster_are_ready(const struct pipelines_cluster *pipelines, struct text *reason) {
    for (size_t i = 0; i < pipelines->settings.shard_count; i++) {
        const struct relay *relay = pipelines->shards[i].relay;
        if (relay != NULL && !relay_is_ready(relay)) {
            text_append_slice(reason, SLICE_LITERAL("relay: halted, a re-snapshot is needed"));
            return false;
        }
    }
    return true;
}
