#include "orderd/audit_cluster.h"

#include "adapter/kafka/kafka_change_log.h"
#include "pipeline/audit.h"
#include "pipeline/tenure.h"

#include <stdlib.h>

#define LEASE_US INT64_C(10000000)

struct audit_cluster {
    struct pipeline_thread thread;
    struct tenure tenure;
    struct kafka_change_log *changes; /* owned */
    struct audit *audit;              /* owned */
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

/** With a reader of the log of its own: whoever follows the event streams is not held up. */
static bool make_audit(struct audit_cluster *audit, struct backend_cluster *cluster,
                       struct fault *fault) {
    const struct backend_parts *parts = &cluster->parts;
    audit->changes = kafka_change_log_create(&parts->options->kafka, parts->log, fault);
    if (audit->changes == NULL) {
        return false;
    }
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
        .mailbox = &audit->thread.mailbox,
        .settle_us = (int64_t)parts->options->cluster_archiver.settle_seconds * 1000000,
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
    if (audit->changes != NULL) {
        kafka_change_log_destroy(audit->changes);
    }
    if (audit->audit != NULL) {
        audit_destroy(audit->audit);
    }
    pipeline_thread_deinit(&audit->thread);
    free(audit);
}
