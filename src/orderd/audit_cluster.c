#include "orderd/audit_cluster.h"

#include "adapter/kafka/kafka_change_log.h"
#include "adapter/query_http/query_http.h"
#include "pipeline/audit.h"
#include "pipeline/tenure.h"

#include <stdlib.h>

#define LEASE_US INT64_C(10000000)

struct audit_cluster {
    struct pipeline_thread thread;
    struct tenure tenure;
    struct kafka_change_log *changes; /* owned */
    struct query_http *instances;     /* owned; NULL: none is looked at */
    struct query_view *views[QUERY_VIEWS_MAX];
    size_t view_count;
    struct audit *audit; /* owned */
};

static int64_t step_tenure(void *context) {
    return tenure_step(context);
}

static bool is_tenure_busy(const void *context) {
    return tenure_is_busy(context);
}

static void stop_tenure(void *context) {
    tenure_stop(context);
}

/** Works only while the lease is held: another instance does otherwise. */
static int64_t step_audit(void *context) {
    struct audit_cluster *cluster = context;
    if (tenure_holds(&cluster->tenure)) {
        return audit_step(cluster->audit);
    }
    audit_rest(cluster->audit);
    return INT64_MAX;
}

static bool is_audit_busy(const void *context) {
    return audit_is_busy(((const struct audit_cluster *)context)->audit);
}

/** Asks the query instances that are configured. */
static bool make_views(struct audit_cluster *audit, struct backend_cluster *cluster,
                       struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    const struct audit_options *options = &parts->options->audit;
    struct query_http_settings settings;
    if (!query_http_settings_read(options->query_instances.text, options->query_timeout_ms,
                                  &settings, fault)) {
        return false;
    }
    if (settings.count == 0) {
        return true;
    }
    audit->instances =
        query_http_create(&(struct query_http_parts){&settings, parts->log, parts->metrics}, fault);
    if (audit->instances == NULL) {
        return false;
    }
    for (; audit->view_count < settings.count; audit->view_count++) {
        audit->views[audit->view_count] = query_http_view(audit->instances, audit->view_count);
    }
    return true;
}

/** With a reader of the log of its own: whoever follows the event streams is not held up. */
static bool make_audit(struct audit_cluster *audit, struct backend_cluster *cluster,
                       struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    audit->changes = kafka_change_log_create(&parts->options->kafka, parts->log, fault);
    if (audit->changes == NULL || !make_views(audit, cluster, fault)) {
        return false;
    }
    const struct memory_options *memory = &parts->options->memory;
    struct audit_parts audit_parts = {
        .options = &parts->options->audit,
        .clock = &parts->clock->clock,
        .log = parts->log,
        .store = cluster->backend.store,
        .cache = redis_order_cache(cluster->redis),
        .archive = cluster->backend.archive,
        .repair = cassandra_archive_repair(cassandra_repairs(cluster->cassandra)),
        .changes = kafka_change_log_port(audit->changes),
        .refresh = kafka_writer_topic(cluster->kafka, KAFKA_ORDERS_REFRESH),
        .views = audit->views,
        .view_count = audit->view_count,
        .mailbox = &audit->thread.mailbox,
        .settle_us = (int64_t)parts->options->cluster_archiver.settle_seconds * 1000000,
        .view_lag_us = (int64_t)(memory->fill_trust_ms + memory->lag_max_ms) * 1000,
    };
    fault_set(fault, "no memory for the checker");
    audit->audit = audit_create(&audit_parts);
    if (audit->audit == NULL) {
        return false;
    }
    audit_register_metrics(audit->audit, parts->metrics);
    metrics_register(parts->metrics, "kafka_changes", "pipeline=\"audit\"",
                     kafka_changes_metric_table, kafka_changes_metric_count,
                     kafka_change_log_metrics(audit->changes));
    return true;
}

static void add_units(struct audit_cluster *audit, struct backend_cluster *cluster) {
    tenure_init(&audit->tenure, mariadb_lease_port(cluster->mariadb), &clock_monotonic,
                &audit->thread.mailbox, "audit", LEASE_US);
    pipeline_thread_add(&audit->thread,
                        &(struct pipeline_unit){&audit->tenure, step_tenure, is_tenure_busy,
                                                stop_tenure, &clock_monotonic});
    pipeline_thread_add(&audit->thread,
                        &(struct pipeline_unit){audit, step_audit, is_audit_busy, NULL,
                                                &cluster->parts.clock->clock});
}

struct audit_cluster *audit_cluster_start(struct backend_cluster *cluster, struct fault *fault) {
    struct audit_cluster *audit = aligned_alloc(CACHE_LINE_BYTES, sizeof(*audit));
    fault_set(fault, "no memory for the checker");
    if (audit == NULL) {
        return NULL;
    }
    memset(audit, 0, sizeof(*audit));
    if (!pipeline_thread_init(&audit->thread, AUDIT_OUTSTANDING_MAX + TENURE_OUTSTANDING_MAX)) {
        free(audit);
        return NULL;
    }
    if (make_audit(audit, cluster, fault)) {
        add_units(audit, cluster);
        if (pipeline_thread_start(&audit->thread, "audit", fault)) {
            return audit;
        }
    }
    audit_cluster_stop(audit);
    return NULL;
}

void audit_cluster_stop(struct audit_cluster *audit) {
    if (audit == NULL) {
        return;
    }
    pipeline_thread_join(&audit->thread);
    query_http_destroy(audit->instances);
    if (audit->changes != NULL) {
        kafka_change_log_destroy(audit->changes);
    }
    if (audit->audit != NULL) {
        audit_destroy(audit->audit);
    }
    pipeline_thread_deinit(&audit->thread);
    free(audit);
}
