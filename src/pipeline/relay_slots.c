#include "pipeline/relay_internal.h"

#include <assert.h>

/* The log is asked again at once, so the wait only bounds how long a stop takes. */
#define READ_WAIT_MS 200
#define BUSY_PAUSE_US 1000
#define RETRY_PAUSE_US 200000

/* Ids may be a minute ahead of the clock. */
#define SCAN_AHEAD_US INT64_C(3600000000)

static struct relay_slot *take_slot(struct relay *relay) {
    struct relay_slot *slot = relay_slot_at(relay, relay->used);
    assert(slot->state == RELAY_SLOT_FREE);
    slot->state = RELAY_SLOT_FILLING;
    slot->count = 0;
    slot->position[0] = 0;
    slot->retry_us = 0;
    relay->used++;
    return slot;
}

static struct relay_slot *newest_slot(struct relay *relay) {
    return relay_slot_at(relay, relay->used - 1);
}

/** Gives the slot that was being filled back. */
static void return_slot(struct relay *relay) {
    newest_slot(relay)->state = RELAY_SLOT_FREE;
    relay->used--;
}

/* --- What is acknowledged. --- */

/** Frees the oldest slots that are done, in order, and moves the position past them. */
static void advance(struct relay *relay) {
    while (relay->used > 0 && relay_slot_at(relay, 0)->state == RELAY_SLOT_DONE) {
        struct relay_slot *slot = relay_slot_at(relay, 0);
        if (slot->position[0] != 0) {
            memcpy(relay->acknowledged, slot->position, sizeof(relay->acknowledged));
        }
        relay->has_unstored = relay->has_unstored || slot->count > 0;
        slot->state = RELAY_SLOT_FREE;
        relay->first = (relay->first + 1) % RELAY_SLOTS_MAX;
        relay->used--;
    }
    metric_set(&relay->metrics.in_flight, relay->used);
}

/** Puts the messages that were not acknowledged to the front of the publish. */
static size_t keep_open(struct topic_publish *publish, struct relay_slot *slot) {
    size_t open = 0;
    for (size_t i = 0; i < publish->count; i++) {
        if (slot->results[i] != ORDER_RESULT_STORED) {
            slot->messages[open++] = slot->messages[i];
        }
    }
    return open;
}

static void published(struct port_request *request) {
    struct relay_slot *slot = CONTAINER_OF(request, struct relay_slot, publish.request);
    struct relay *relay = slot->relay;
    size_t open = keep_open(&slot->publish, slot);
    metric_add(&relay->metrics.published_total, slot->publish.count - open);
    relay->publishing--;
    slot->publish.count = open;
    if (open > 0) {
        metric_add(&relay->metrics.retried_total, open);
        slot->state = RELAY_SLOT_FULL;
        slot->retry_us = relay_now_us(relay) + RETRY_PAUSE_US;
        log_warning(relay->parts.log, "relay",
                    "shard %u: %zu of %zu changes were not acknowledged; published again",
                    relay->parts.shard, open, slot->count);
        return;
    }
    int64_t lag_us = clock_now_us(relay->parts.clock) - slot->read_us;
    histogram_add(&relay->metrics.read_to_acknowledged_microseconds,
                  lag_us > 0 ? (uint64_t)lag_us : 0);
    slot->state = RELAY_SLOT_DONE;
    advance(relay);
}

int64_t relay_publish_due(struct relay *relay) {
    int64_t now_us = relay_now_us(relay);
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < relay->used; i++) {
        struct relay_slot *slot = relay_slot_at(relay, i);
        if (slot->state != RELAY_SLOT_FULL) {
            continue;
        }
        if (slot->retry_us <= now_us) {
            slot->state = RELAY_SLOT_PUBLISHING;
            relay->publishing++;
            if (relay->parts.writer->ops->publish(relay->parts.writer, &slot->publish) ==
                PORT_TAKEN) {
                continue;
            }
            slot->state = RELAY_SLOT_FULL;
            relay->publishing--;
            slot->retry_us = now_us + BUSY_PAUSE_US;
        }
        /* A later batch does not overtake one that waits. */
        return slot->retry_us;
    }
    return next_us;
}

/* --- Filling. --- */

/** Makes messages of the slot's orders. */
static void prepare(struct relay_slot *slot, size_t count) {
    static const struct slice created = SLICE_LITERAL("created");
    static const struct slice changed = SLICE_LITERAL("changed");
    slot->count = count;
    slot->publish.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct order_record *order = &slot->orders[i];
        struct text key = text_over(slot->keys[i], RELAY_KEY_BYTES);
        text_append_u64(&key, order->order_id);
        slot->messages[i] = (struct topic_message){
            .key = text_slice(&key),
            .value = {(const char *)order, sizeof(*order)},
            .header = order->version == 1 ? created : changed,
            .partition = -1,
        };
    }
    slot->state = count > 0 ? RELAY_SLOT_FULL : RELAY_SLOT_DONE;
}

static void note_counts(struct relay *relay) {
    metric_add(&relay->metrics.skipped_deletes_total, relay->read.skipped_deletes);
    metric_add(&relay->metrics.alarming_deletes_total, relay->read.alarming_deletes);
    metric_add(&relay->metrics.broken_rows_total, relay->read.broken_rows);
}

static void read_done(struct port_request *request) {
    struct relay *relay = CONTAINER_OF(request, struct relay, read.request);
    struct change_source_read *read = &relay->read;
    relay->filling = false;
    if (read->result != CHANGE_SOURCE_OK) {
        return_slot(relay);
        relay_note_failure(relay, read->result);
        return;
    }
    struct relay_slot *slot = newest_slot(relay);
    note_counts(relay);
    slot->read_us = clock_now_us(relay->parts.clock);
    memcpy(slot->position, read->position, sizeof(slot->position));
    if (read->position[0] != 0) {
        memcpy(relay->read_position, read->position, sizeof(relay->read_position));
    }
    for (size_t i = 0; i < read->count; i++) {
        int64_t lag_us = slot->read_us - read->committed_us[i];
        histogram_add(&relay->metrics.commit_to_read_microseconds,
                      lag_us > 0 ? (uint64_t)lag_us : 0);
    }
    prepare(slot, read->count);
    advance(relay);
}

static void scanned(struct port_request *request) {
    struct relay *relay = CONTAINER_OF(request, struct relay, scan.request);
    relay->filling = false;
    if (relay->scan.result != ORDER_RESULT_FOUND) {
        return_slot(relay);
        relay_note_failure(relay, CHANGE_SOURCE_UNAVAILABLE);
        return;
    }
    struct relay_slot *slot = newest_slot(relay);
    slot->read_us = clock_now_us(relay->parts.clock);
    prepare(slot, relay->scan.count);
    metric_add(&relay->metrics.snapshot_orders_total, relay->scan.count);
    if (relay->scan.cursor == 0) {
        /* First those that are not final: what ends meanwhile is seen by the second walk. */
        if (relay->scan.kind == ORDER_SCAN_OVERDUE) {
            relay->scan.kind = ORDER_SCAN_FINAL;
        } else {
            relay_end_scan(relay);
        }
    }
    advance(relay);
}

static enum port_submit begin_fill(struct relay *relay, struct relay_slot *slot) {
    if (relay->state == RELAY_SCANNING) {
        relay->scan.before_us = clock_now_us(relay->parts.clock) + SCAN_AHEAD_US;
        relay->scan.orders = slot->orders;
        return relay->parts.store->ops->scan(relay->parts.store, &relay->scan);
    }
    relay->read.orders = slot->orders;
    relay->read.committed_us = slot->committed_us;
    return relay->parts.source->ops->read(relay->parts.source, &relay->read);
}

void relay_fill(struct relay *relay) {
    if (relay->filling || relay->used == RELAY_SLOTS_MAX) {
        return;
    }
    struct relay_slot *slot = take_slot(relay);
    relay->filling = true;
    if (begin_fill(relay, slot) == PORT_BUSY) {
        relay->filling = false;
        return_slot(relay);
        relay->wake_at_us = relay_now_us(relay) + BUSY_PAUSE_US;
    }
}

/* --- Life. --- */

void relay_slots_clear(struct relay *relay) {
    assert(!relay->filling && relay->publishing == 0);
    for (size_t i = 0; i < RELAY_SLOTS_MAX; i++) {
        relay->slots[i].state = RELAY_SLOT_FREE;
    }
    relay->used = 0;
    metric_set(&relay->metrics.in_flight, 0);
}

void relay_slots_init(struct relay *relay) {
    for (size_t i = 0; i < RELAY_SLOTS_MAX; i++) {
        struct relay_slot *slot = &relay->slots[i];
        slot->relay = relay;
        slot->publish = (struct topic_publish){
            .request = {.done = published, .mailbox = relay->parts.mailbox},
            .messages = slot->messages,
            .results = slot->results,
        };
    }
    relay->read = (struct change_source_read){
        .request = {.done = read_done, .mailbox = relay->parts.mailbox},
        .wait_ms = READ_WAIT_MS,
        .limit = RELAY_BATCH_MAX,
    };
    relay->scan = (struct order_scan_batch){
        .request = {.done = scanned, .mailbox = relay->parts.mailbox},
        .thorough = true,
        .limit = RELAY_BATCH_MAX,
    };
}
