#include "orderd/backend.h"

#include "base/pages.h"
#include "orderd/pipelines_embedded.h"

#include <stdlib.h>

struct backend_embedded {
    struct backend backend;
    struct embedded *embedded; /* owned */
    struct lookup_embedded lookup;
    struct backend_parts parts;
    struct pipelines_embedded *pipelines; /* owned */
};

static bool is_ready(const struct api_readiness *readiness, struct text *reason) {
    const struct backend_embedded *backend =
        CONTAINER_OF(readiness, const struct backend_embedded, backend.readiness);
    const char *why;
    if (embedded_is_ready(backend->embedded, &why)) {
        return true;
    }
    text_append_slice(reason, slice_from_text(why));
    return false;
}

static void close_backend(struct backend *backend) {
    struct backend_embedded *opened = (struct backend_embedded *)backend;
    pipelines_embedded_stop(opened->pipelines);
    embedded_close(opened->embedded);
    free(opened);
}

static bool start_backend(struct backend *backend, struct fault *fault) {
    struct backend_embedded *opened = (struct backend_embedded *)backend;
    if (!embedded_start(opened->embedded, fault)) {
        return false;
    }
    opened->pipelines = pipelines_embedded_start(&opened->parts, backend, fault);
    return opened->pipelines != NULL;
}

static const struct backend_ops backend_ops = {.start = start_backend, .close = close_backend};

static void log_memory(struct log *log, const struct order_table *table) {
    struct order_table_usage usage;
    order_table_usage(table, &usage);
    uint64_t bytes = usage.id_index_bytes + usage.slab_bytes + usage.reference_index_bytes +
                     usage.eviction_bytes;
    log_info(log, "memory", "room for %llu orders of %.1f bytes, both indices included; %s",
             (unsigned long long)usage.capacity, (double)bytes / (double)usage.capacity,
             pages_huge_available() ? "huge pages asked for" : "the system gives no huge pages");
}

struct backend *backend_embedded_open(const struct backend_parts *parts, struct fault *fault) {
    struct backend_embedded *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        fault_set(fault, "no memory for the embedded store");
        return NULL;
    }
    struct embedded_parts embedded_parts = {
        .data_dir = parts->options->server.data_dir.text,
        .log = parts->log,
        .clock = parts->clock,
        .metrics = parts->metrics,
        .memory = &parts->options->memory,
        .journal = &parts->options->journal,
        .archive = &parts->options->archive,
        .window_us = parts->terms->window_us,
    };
    opened->embedded = embedded_open(&embedded_parts, fault);
    if (opened->embedded == NULL) {
        free(opened);
        return NULL;
    }
    opened->parts = *parts;
    struct backend *backend = &opened->backend;
    backend->ops = &backend_ops;
    backend->store = embedded_order_store(opened->embedded);
    backend->archive = embedded_order_archive(opened->embedded);
    backend->cache = embedded_order_cache(opened->embedded);
    backend->changes = embedded_changes(opened->embedded);
    backend->table = embedded_table(opened->embedded);
    backend->readiness.is_ready = is_ready;
    backend->has_commands = true;
    backend->has_queries = true;
    lookup_embedded_init(&opened->lookup, backend->archive, EMBEDDED_NODE);
    backend->lookup = &opened->lookup.lookup;
    log_memory(parts->log, backend->table);
    return backend;
}
