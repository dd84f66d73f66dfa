#include "adapter/cassandra/cassandra.h"

#include <stdlib.h>

struct cassandra {
    struct cassandra_archive *archive; /* owned */
};

/** An order leaves the store only when what the archive acknowledged is on its medium. */
static bool settles(const struct cassandra_parts *parts, const struct cassandra_terms *terms,
                    struct fault *fault) {
    int64_t period_us;
    if (parts->settle_us == 0) {
        return true;
    }
    if (!cassandra_schema_sync_period(terms, parts->log, &period_us, fault)) {
        return false;
    }
    if (parts->settle_us < period_us) {
        fault_set(
            fault,
            "archive.settle_seconds: expected at least %lld, the time for which a node of "
            "Cassandra may acknowledge what is not on its medium (commitlog_sync_period), got "
            "%lld",
            (long long)((period_us + 999999) / 1000000), (long long)(parts->settle_us / 1000000));
        return false;
    }
    return true;
}

/** Looks at the schema. A process that only reads may start while no node answers, as it goes on
 *  when they stop to: what it asks for is then unavailable, and never absent. */
static bool has_schema(const struct cassandra_parts *parts, const struct cassandra_terms *terms,
                       struct fault *fault) {
    enum cassandra_schema_status status = cassandra_schema_check(terms, parts->log, fault);
    if (status == CASSANDRA_SCHEMA_UNREACHABLE && parts->settle_us == 0) {
        log_warning(parts->log, "cassandra", "%s; its schema was not looked at", fault->text);
        return true;
    }
    return status == CASSANDRA_SCHEMA_CURRENT && settles(parts, terms, fault);
}

struct cassandra *cassandra_open(const struct cassandra_parts *parts, struct fault *fault) {
    struct cassandra_terms terms;
    if (!cassandra_options_read(parts->options, parts->password, &terms, fault) ||
        !has_schema(parts, &terms, fault)) {
        return NULL;
    }
    struct cassandra *cassandra = calloc(1, sizeof(*cassandra));
    if (cassandra == NULL) {
        fault_set(fault, "no memory for the Cassandra archive");
        return NULL;
    }
    struct cassandra_archive_parts archive = {&terms, &cassandra_dialer_tcp, parts->log,
                                              parts->seed};
    cassandra->archive = cassandra_archive_create(&archive, fault);
    if (cassandra->archive == NULL) {
        free(cassandra);
        return NULL;
    }
    if (parts->metrics != NULL) {
        metrics_register(parts->metrics, "cassandra", NULL, cassandra_metric_table,
                         cassandra_metric_count, cassandra_archive_metrics(cassandra->archive));
    }
    return cassandra;
}

bool cassandra_start(struct cassandra *cassandra, struct fault *fault) {
    return cassandra_archive_start(cassandra->archive, fault);
}

void cassandra_stop(struct cassandra *cassandra) {
    cassandra_archive_stop(cassandra->archive);
}

void cassandra_close(struct cassandra *cassandra) {
    cassandra_archive_destroy(cassandra->archive);
    free(cassandra);
}

struct order_archive *cassandra_order_archive(struct cassandra *cassandra) {
    return cassandra_archive_port(cassandra->archive);
}

struct cassandra_archive *cassandra_repairs(struct cassandra *cassandra) {
    return cassandra->archive;
}

bool cassandra_is_ready(struct cassandra *cassandra, struct fault *fault) {
    return cassandra_archive_is_ready(cassandra->archive, fault);
}
