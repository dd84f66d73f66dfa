#include "redis_pipelines.h"

#include "../unit/sample.h"
#include "base/clock.h"
#include "pipeline/cache.h"
#include "pipeline/refill.h"
#include "pipeline/refresh.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LIMIT_US INT64_C(60000000)
#define TOLD_MAX 65536
#define READ_MAX 512

/** A topic and a store of orders first to first + count - 1. */
struct bed {
    struct clock clock;
    struct log log;
    struct mailbox mailbox;
    struct topic_reader changes;   /* version 1 of every order, then version 2 ... */
    struct topic_reader refreshes; /* what was published */
    struct topic_writer writer;
    struct order_store store;
    uint64_t first;
    uint64_t count;
    uint64_t total; /* changes */
    uint64_t position;
    uint64_t committed;
    uint64_t told[TOLD_MAX];
    uint64_t told_count;
    char keys[READ_MAX][ORDER_RECORD_BYTES];
    struct order_record values[READ_MAX];
};

static int64_t now_us(const struct clock *clock) {
    (void)clock;
    return clock_wall_us();
}

static struct topic_message message_of(struct bed *bed, size_t index, uint64_t order_id) {
    struct text key = text_over(bed->keys[index], sizeof(bed->keys[index]));
    text_append_u64(&key, order_id);
    return (struct topic_message){
        .key = text_slice(&key),
        .header = SLICE_LITERAL("refresh"),
        .offset = (int64_t)bed->position++,
        .time_us = clock_wall_us(),
    };
}

static enum port_submit read_changes(struct topic_reader *reader, struct topic_read *request) {
    struct bed *bed = CONTAINER_OF(reader, struct bed, changes);
    request->result = ORDER_RESULT_FOUND;
    request->count = 0;
    while (request->count < request->limit && bed->position < bed->total) {
        size_t at = request->count++;
        struct order_record *order = &bed->values[at];
        *order = sample_order(bed->first + bed->position % bed->count);
        order->version = (uint32_t)(bed->position / bed->count + 1);
        order_record_seal(order);
        request->messages[at] = message_of(bed, at, order->order_id);
        request->messages[at].value = (struct slice){(const char *)order, sizeof(*order)};
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static enum port_submit commit_changes(struct topic_reader *reader, struct topic_commit *request) {
    struct bed *bed = CONTAINER_OF(reader, struct bed, changes);
    bed->committed = bed->position;
    request->result = ORDER_RESULT_STORED;
    port_complete(&request->request);
    return PORT_TAKEN;
}

static enum port_submit read_refreshes(struct topic_reader *reader, struct topic_read *request) {
    struct bed *bed = CONTAINER_OF(reader, struct bed, refreshes);
    request->result = ORDER_RESULT_FOUND;
    request->count = 0;
    while (request->count < request->limit && bed->position < bed->told_count) {
        size_t at = request->count++;
        request->messages[at] = message_of(bed, at, bed->told[bed->position]);
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static enum port_submit commit_refreshes(struct topic_reader *reader,
                                         struct topic_commit *request) {
    (void)reader;
    request->result = ORDER_RESULT_STORED;
    port_complete(&request->request);
    return PORT_TAKEN;
}

static enum port_submit publish(struct topic_writer *writer, struct topic_publish *request) {
    struct bed *bed = CONTAINER_OF(writer, struct bed, writer);
    for (size_t i = 0; i < request->count; i++) {
        bool room = bed->told_count < TOLD_MAX &&
                    order_id_parse(request->messages[i].key, &bed->told[bed->told_count]);
        bed->told_count += room;
        request->results[i] = room ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE;
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static bool has(const struct bed *bed, uint64_t order_id) {
    return order_id >= bed->first && order_id < bed->first + bed->count;
}

static enum port_submit get(struct order_store *store, struct order_get_batch *batch) {
    const struct bed *bed = CONTAINER_OF(store, struct bed, store);
    for (size_t i = 0; i < batch->count; i++) {
        batch->results[i] =
            has(bed, batch->order_ids[i]) ? ORDER_RESULT_FOUND : ORDER_RESULT_ABSENT;
        batch->orders[i] = sample_order(batch->order_ids[i]);
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit scan(struct order_store *store, struct order_scan_batch *batch) {
    const struct bed *bed = CONTAINER_OF(store, struct bed, store);
    uint64_t next = batch->cursor == 0 ? bed->first : batch->cursor + 1;
    batch->result = ORDER_RESULT_FOUND;
    batch->count = 0;
    while (batch->kind == ORDER_SCAN_OVERDUE && batch->count < batch->limit && has(bed, next)) {
        batch->orders[batch->count++] = sample_order(next++);
    }
    batch->cursor = batch->count == batch->limit ? next - 1 : 0;
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static struct bed *bed_create(uint64_t first, uint64_t count) {
    static const struct topic_reader_ops change_ops = {read_changes, commit_changes};
    static const struct topic_reader_ops refresh_ops = {read_refreshes, commit_refreshes};
    static const struct topic_writer_ops writer_ops = {publish};
    static const struct order_store_ops store_ops = {.get = get, .scan = scan};
    struct bed *bed = calloc(1, sizeof(*bed));
    if (bed == NULL || !mailbox_init(&bed->mailbox, 64)) {
        abort();
    }
    bed->clock.now_us = now_us;
    bed->changes.ops = &change_ops;
    bed->refreshes.ops = &refresh_ops;
    bed->writer.ops = &writer_ops;
    bed->store.ops = &store_ops;
    bed->first = first;
    bed->count = count;
    log_init(&bed->log, STDERR_FILENO, LOG_INFO);
    return bed;
}

static void bed_destroy(struct bed *bed) {
    mailbox_deinit(&bed->mailbox);
    free(bed);
}

/** Waits a little where nothing was completed. */
static void rest(struct bed *bed) {
    if (port_drain(&bed->mailbox, SIZE_MAX) == 0) {
        mailbox_wait(&bed->mailbox, 1);
    }
}

void pipelines_follow(struct redis *redis, uint64_t first, uint64_t count, uint64_t versions) {
    struct bed *bed = bed_create(first, count);
    struct cache_pipeline_parts parts = {
        .clock = &bed->clock,
        .log = &bed->log,
        .reader = &bed->changes,
        .cache = redis_order_cache(redis),
        .mailbox = &bed->mailbox,
    };
    struct cache_pipeline *pipeline = cache_pipeline_create(&parts);
    struct cache_pipeline_metrics *metrics = cache_pipeline_metrics(pipeline);
    int64_t begin_us = clock_monotonic_us();
    bed->total = count * versions;
    while (bed->committed < bed->total && clock_monotonic_us() - begin_us < LIMIT_US) {
        (void)cache_pipeline_step(pipeline);
        rest(bed);
    }
    double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
    while (cache_pipeline_is_busy(pipeline)) {
        rest(bed);
    }
    printf("committed=%" PRIu64 " failures=%" PRIu64 " rate=%.0f", bed->committed,
           metric_get(&metrics->failures_total), (double)bed->committed / seconds);
    cache_pipeline_destroy(pipeline);
    bed_destroy(bed);
}

void pipelines_refill(struct redis *redis, uint64_t first, uint64_t count) {
    struct bed *bed = bed_create(first, count);
    struct refill_parts parts = {
        .clock = &bed->clock,
        .log = &bed->log,
        .loss = redis_cache_loss(redis),
        .store = &bed->store,
        .cache = redis_order_cache(redis),
        .mailbox = &bed->mailbox,
        .per_second = 100000,
    };
    struct refill *refill = refill_create(&parts);
    struct refill_metrics *metrics = refill_metrics(refill);
    int64_t begin_us = clock_monotonic_us();
    while ((metric_get(&metrics->rounds_total) == 0 || metric_get(&metrics->slots_lost) > 0) &&
           clock_monotonic_us() - begin_us < LIMIT_US) {
        (void)refill_step(refill);
        rest(bed);
    }
    while (refill_is_busy(refill)) {
        rest(bed);
    }
    printf("rounds=%" PRIu64 " refilled=%" PRIu64 " scanned=%" PRIu64,
           metric_get(&metrics->rounds_total), metric_get(&metrics->refilled_total),
           metric_get(&metrics->scanned_total));
    refill_destroy(refill);
    bed_destroy(bed);
}

void pipelines_refresh(struct redis *redis, uint64_t first, uint64_t count) {
    struct bed *bed = bed_create(first, count);
    struct refresh_options options = {.per_second = 100000, .eviction_pause_ms = 1000};
    struct refresh_parts parts = {
        .clock = &bed->clock,
        .log = &bed->log,
        .events = redis_cache_events(redis),
        .writer = &bed->writer,
        .reader = &bed->refreshes,
        .store = &bed->store,
        .cache = redis_order_cache(redis),
        .mailbox = &bed->mailbox,
        .options = &options,
    };
    struct refresh *refresh = refresh_create(&parts);
    struct refresh_metrics *metrics = refresh_metrics(refresh);
    int64_t begin_us = clock_monotonic_us();
    while (metric_get(&metrics->refreshed_total) < count &&
           clock_monotonic_us() - begin_us < LIMIT_US) {
        (void)refresh_step(refresh);
        rest(bed);
    }
    while (refresh_is_busy(refresh)) {
        rest(bed);
    }
    printf("events=%" PRIu64 " refreshed=%" PRIu64 " skipped=%" PRIu64,
           metric_get(&metrics->events_total), metric_get(&metrics->refreshed_total),
           metric_get(&metrics->skipped_total));
    refresh_destroy(refresh);
    bed_destroy(bed);
}
