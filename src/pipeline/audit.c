#include "pipeline/audit_internal.h"

#include <stdio.h>
#include <stdlib.h>

const struct config_option audit_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct audit_options, __VA_ARGS__)
    AUDIT_OPTIONS(X)
#undef X
};
const size_t audit_option_count = ARRAY_COUNT(audit_option_table);

static const struct metric_description metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct audit_metrics, __VA_ARGS__)
    AUDIT_METRICS(X)
#undef X
};

static const struct metric_description kind_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct audit_kind_metrics, __VA_ARGS__)
    AUDIT_KIND_METRICS(X)
#undef X
};

static const struct metric_description instance_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct audit_instance_metrics, __VA_ARGS__)
    AUDIT_INSTANCE_METRICS(X)
#undef X
};

static const struct metric_description tier_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct audit_tier_metrics, __VA_ARGS__)
    AUDIT_TIER_METRICS(X)
#undef X
};

/* --- Suspects. --- */

static void count_suspects(struct audit *audit) {
    uint64_t suspects = 0;
    uint64_t alarms = 0;
    for (size_t i = 0; i < AUDIT_SUSPECTS_MAX; i++) {
        suspects += audit->suspects[i].used && !audit->suspects[i].alarmed ? 1 : 0;
        alarms += audit->suspects[i].used && audit->suspects[i].alarmed ? 1 : 0;
    }
    metric_set(&audit->metrics.suspects, suspects);
    metric_set(&audit->metrics.alarms, alarms);
}

struct audit_suspect *audit_suspect_for(struct audit *audit, uint64_t order_id) {
    struct audit_suspect *room = NULL;
    for (size_t i = 0; i < AUDIT_SUSPECTS_MAX; i++) {
        struct audit_suspect *suspect = &audit->suspects[i];
        if (suspect->used && suspect->evidence.order.order_id == order_id) {
            return suspect;
        }
        if (!suspect->used && room == NULL) {
            room = suspect;
        }
    }
    return room;
}

void audit_suspect_free(struct audit *audit, struct audit_suspect *suspect) {
    *suspect = (struct audit_suspect){.used = false};
    count_suspects(audit);
}

void audit_suspect_due(struct audit *audit, struct audit_suspect *suspect, int64_t due_us) {
    suspect->due_us = due_us;
    audit->due_us = due_us < audit->due_us ? due_us : audit->due_us;
    count_suspects(audit);
}

int64_t audit_wait_us(const struct audit *audit, audit_kinds kinds) {
    bool waits_for_view = (kinds & AUDIT_VIEW_KINDS) != 0;
    return waits_for_view && audit->parts.view_lag_us > audit->grace_us ? audit->parts.view_lag_us
                                                                        : audit->grace_us;
}

void audit_note_failure(struct audit *audit) {
    metric_add(&audit->metrics.failures_total, 1);
    audit->wake_at_us = clock_now_us(audit->parts.clock) + AUDIT_FAILURE_PAUSE_US;
}

/* --- The turn of the halves. --- */

static int64_t step_walk(struct audit *audit, int64_t now_us) {
    if (audit->busy) {
        return INT64_MAX;
    }
    if (now_us < audit->wake_at_us) {
        return audit->wake_at_us;
    }
    if (audit->phase == AUDIT_PICK) {
        int64_t again_us = audit_pick(audit, now_us);
        if (audit->phase == AUDIT_PICK) {
            return again_us;
        }
    }
    audit->busy = true; /* it may be done before the submission returns */
    enum port_submit said = audit_look_begin(audit);
    if (audit->phase == AUDIT_PICK) {
        audit->busy = false; /* the batch is done with */
        return now_us;
    }
    if (said == PORT_TAKEN) {
        return INT64_MAX;
    }
    audit->busy = false;
    audit->wake_at_us = now_us + AUDIT_BUSY_PAUSE_US;
    return audit->wake_at_us;
}

int64_t audit_step(struct audit *audit) {
    int64_t now_us = clock_now_us(audit->parts.clock);
    int64_t samples_us = audit_samples_step(audit, now_us);
    int64_t walk_us = step_walk(audit, now_us);
    return samples_us < walk_us ? samples_us : walk_us;
}

void audit_rest(struct audit *audit) {
    audit_samples_rest(audit);
}

bool audit_is_busy(const struct audit *audit) {
    return audit->busy || audit_samples_are_busy(audit);
}

/* --- Making it. --- */

struct audit *audit_create(const struct audit_parts *parts) {
    struct audit *audit = calloc(1, sizeof(*audit));
    assert(parts->view_count <= QUERY_VIEWS_MAX);
    if (audit == NULL) {
        return NULL;
    }
    audit->parts = *parts;
    audit->grace_us = (int64_t)parts->options->grace_ms * 1000;
    audit->two_homes_us = (int64_t)parts->options->two_homes_seconds * 1000000;
    audit->due_us = INT64_MAX;
    audit->phase = AUDIT_PICK;
    audit_walk_prepare(audit);
    audit_look_prepare(audit);
    audit_repair_prepare(audit);
    audit_samples_prepare(audit);
    return audit;
}

void audit_destroy(struct audit *audit) {
    free(audit);
}

/** The next label, kept for as long as the metrics. */
static char *next_label(struct audit *audit, size_t *used) {
    assert(*used < ARRAY_COUNT(audit->labels));
    return audit->labels[(*used)++];
}

static void register_instance(struct audit *audit, struct metrics *metrics, size_t number,
                              size_t *used) {
    const char *name = audit->parts.views[number]->name;
    char *tier = next_label(audit, used);
    (void)snprintf(tier, AUDIT_LABEL_BYTES, "tier=\"query\",instance=\"%s\"", name);
    metrics_register(metrics, "audit", tier, tier_metric_table, ARRAY_COUNT(tier_metric_table),
                     &audit->tiers[AUDIT_TIER_QUERY + number]);
    char *instance = next_label(audit, used);
    (void)snprintf(instance, AUDIT_LABEL_BYTES, "instance=\"%s\"", name);
    metrics_register(metrics, "audit_instance", instance, instance_metric_table,
                     ARRAY_COUNT(instance_metric_table), &audit->instances[number]);
}

void audit_register_metrics(struct audit *audit, struct metrics *metrics) {
    static const char *const tier_names[AUDIT_TIER_QUERY] = {"cache", "archive"};
    size_t used = 0;
    metrics_register(metrics, "audit", NULL, metric_table, ARRAY_COUNT(metric_table),
                     &audit->metrics);
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        char *labels = next_label(audit, &used);
        (void)snprintf(labels, AUDIT_LABEL_BYTES, "kind=\"%s\"",
                       audit_kind_label((enum audit_kind)i));
        metrics_register(metrics, "audit", labels, kind_metric_table,
                         ARRAY_COUNT(kind_metric_table), &audit->kinds[i]);
    }
    for (size_t i = 0; i < AUDIT_TIER_QUERY; i++) {
        char *labels = next_label(audit, &used);
        (void)snprintf(labels, AUDIT_LABEL_BYTES, "tier=\"%s\"", tier_names[i]);
        metrics_register(metrics, "audit", labels, tier_metric_table,
                         ARRAY_COUNT(tier_metric_table), &audit->tiers[i]);
    }
    for (size_t i = 0; i < audit->parts.view_count; i++) {
        register_instance(audit, metrics, i, &used);
    }
}

const struct audit_metrics *audit_metrics(const struct audit *audit) {
    return &audit->metrics;
}

const struct audit_kind_metrics *audit_kind_metrics(const struct audit *audit,
                                                    enum audit_kind kind) {
    return &audit->kinds[kind];
}

const struct audit_tier_metrics *audit_tier_metrics(const struct audit *audit,
                                                    enum audit_tier tier) {
    return &audit->tiers[tier];
}

const struct audit_instance_metrics *audit_instance_metrics(const struct audit *audit,
                                                            size_t instance) {
    return &audit->instances[instance];
}
