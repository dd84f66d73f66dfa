#include "orderd/memory_cluster.h"

#include "adapter/kafka/kafka_change_log.h"
#include "adapter/kafka/kafka_reader.h"
#include "orderd/pipeline_thread.h"
#include "service/local_memory.h"

#include <stdlib.h>

struct memory_cluster {
    struct backend_parts parts;
    struct kafka_change_log *changes; /* owned, as the rest */
    struct kafka_reader *repairs;
    struct local_memory *memory;
    struct pipeline_thread thread;
};

static int64_t step(void *context) {
    return local_memory_step(context);
}

static bool is_busy(const void *context) {
    return local_memory_is_busy(context);
}

static bool open_kafka(struct memory_cluster *memory, struct fault *fault) {
    const struct backend_parts *parts = &memory->parts;
    const struct kafka_options *options = &parts->options->kafka;
    memory->changes = kafka_change_log_create(options, parts->log, fault);
    if (memory->changes == NULL) {
        return false;
    }
    metrics_register(parts->metrics, "kafka_changes", NULL, kafka_changes_metric_table,
                     kafka_changes_metric_count, kafka_change_log_metrics(memory->changes));
    memory->repairs = kafka_reader_create(options, KAFKA_ORDERS_REFRESH, NULL, parts->log, fault);
    if (memory->repairs == NULL) {
        return false;
    }
    metrics_register(parts->metrics, "kafka_reader", "pipeline=\"repairs\"",
                     kafka_reader_metric_table, kafka_reader_metric_count,
                     kafka_reader_metrics(memory->repairs));
    return true;
}

static bool open_memory(struct memory_cluster *memory, struct order_table *table,
                        struct fault *fault) {
    const struct backend_parts *parts = &memory->parts;
    struct local_memory_parts memory_parts = {
        .clock = &parts->clock->clock,
        .log = parts->log,
        .table = table,
        .changes = kafka_change_log_port(memory->changes),
        .repairs = kafka_reader_port(memory->repairs),
        .mailbox = &memory->thread.mailbox,
        .options = &parts->options->memory,
    };
    memory->memory = local_memory_create(&memory_parts);
    if (memory->memory == NULL) {
        fault_set(fault, "no memory to follow the log of changes");
        return false;
    }
    metrics_register(parts->metrics, "memory", NULL, local_memory_metric_table,
                     local_memory_metric_count, local_memory_metrics(memory->memory));
    pipeline_thread_add(&memory->thread, &(struct pipeline_unit){memory->memory, step, is_busy,
                                                                 NULL, &parts->clock->clock});
    return true;
}

struct memory_cluster *memory_cluster_open(const struct backend_parts *parts,
                                           struct order_table *table, struct fault *fault) {
    struct memory_cluster *memory = aligned_alloc(CACHE_LINE_BYTES, sizeof(*memory));
    fault_set(fault, "no memory to follow the log of changes");
    if (memory == NULL) {
        return NULL;
    }
    memset(memory, 0, sizeof(*memory));
    memory->parts = *parts;
    if (!pipeline_thread_init(&memory->thread, LOCAL_MEMORY_OUTSTANDING_MAX)) {
        free(memory);
        return NULL;
    }
    if (!open_kafka(memory, fault) || !open_memory(memory, table, fault)) {
        memory_cluster_close(memory);
        return NULL;
    }
    return memory;
}

bool memory_cluster_start(struct memory_cluster *memory, struct fault *fault) {
    return pipeline_thread_start(&memory->thread, "memory", fault);
}

void memory_cluster_close(struct memory_cluster *memory) {
    if (memory == NULL) {
        return;
    }
    pipeline_thread_join(&memory->thread);
    if (memory->repairs != NULL) {
        kafka_reader_destroy(memory->repairs);
    }
    if (memory->changes != NULL) {
        kafka_change_log_destroy(memory->changes);
    }
    local_memory_destroy(memory->memory);
    pipeline_thread_deinit(&memory->thread);
    free(memory);
}

struct change_log *memory_cluster_changes(struct memory_cluster *memory) {
    return local_memory_changes(memory->memory);
}

struct order_cache *memory_cluster_cache(struct memory_cluster *memory) {
    return local_memory_cache(memory->memory);
}

const _Atomic int64_t *memory_cluster_current_until(const struct memory_cluster *memory) {
    return local_memory_current_until(memory->memory);
}
