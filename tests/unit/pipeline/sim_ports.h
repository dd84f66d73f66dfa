/** Simulated ports for the pipelines: a topic, a cache, a store, events and losses, on a clock that
 *  the test moves. Requests complete in the order of submission unless a test holds them. */
#ifndef ORDERD_TESTS_SIM_PORTS_H
#define ORDERD_TESTS_SIM_PORTS_H

#include "../sample.h"
#include "../unit.h"
#include "base/clock.h"
#include "base/log.h"
#include "port/cache_events.h"
#include "port/cache_loss.h"
#include "port/message_topic.h"
#include "port/order_cache.h"
#include "port/order_store.h"

#include <stdlib.h>
#include <unistd.h>

#define SIM_MESSAGES_MAX 16384
#define SIM_ORDERS_MAX 8192
#define SIM_HELD_MAX 64

struct sim_message {
    char key[24];
    size_t key_size;
    char value[ORDER_RECORD_BYTES + 8];
    size_t value_size;
    const char *header;
};

struct sim {
    struct clock clock;
    int64_t now_us;
    struct log log;
    struct mailbox mailbox;

    /* topic */
    struct topic_reader reader;
    struct topic_writer writer;
    struct sim_message *messages;
    size_t message_count;
    size_t read_position;
    size_t committed;
    size_t reads;
    enum order_result read_result;
    enum order_result commit_result;
    enum order_result publish_result;
    size_t published;
    struct sim_message *outbox;

    /* cache: version by id, ids below SIM_ORDERS_MAX */
    struct order_cache cache;
    uint32_t *versions;
    size_t puts;        /* orders */
    size_t refuse_puts; /* so many orders are refused first */
    bool busy;
    bool hold_puts;
    struct order_cache_put *held[SIM_HELD_MAX];
    size_t held_count;

    /* store */
    struct order_store store;
    uint64_t broken_id;          /* what the store has of this order is no order */
    struct order_record *orders; /* by id; version 0: none */
    size_t gets;
    size_t refuse_gets;
    size_t refuse_scans;
    size_t scans;

    /* events, losses */
    struct cache_events events;
    struct cache_event told[64];
    size_t told_count;
    uint64_t told_lost;
    bool events_unavailable;
    struct cache_loss loss;
    bool lost;
    uint64_t lost_slots[CACHE_LOSS_WORDS];
};

static inline int64_t sim_now(const struct clock *clock) {
    return (CONTAINER_OF(clock, const struct sim, clock))->now_us;
}

/* --- topic --- */

static inline enum port_submit sim_read(struct topic_reader *reader, struct topic_read *request) {
    struct sim *sim = CONTAINER_OF(reader, struct sim, reader);
    request->count = 0;
    request->result = (uint8_t)sim->read_result;
    sim->reads++;
    while (sim->read_result == ORDER_RESULT_FOUND && request->count < request->limit &&
           sim->read_position < sim->message_count) {
        const struct sim_message *message = &sim->messages[sim->read_position];
        request->messages[request->count++] = (struct topic_message){
            .key = {message->key, message->key_size},
            .value = {message->value, message->value_size},
            .header = slice_from_text(message->header),
            .offset = (int64_t)sim->read_position++,
            .time_us = sim->now_us - 1000,
        };
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static inline enum port_submit sim_commit(struct topic_reader *reader,
                                          struct topic_commit *request) {
    struct sim *sim = CONTAINER_OF(reader, struct sim, reader);
    request->result = (uint8_t)sim->commit_result;
    if (sim->commit_result == ORDER_RESULT_STORED) {
        sim->committed = sim->read_position;
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static inline enum port_submit sim_publish(struct topic_writer *writer,
                                           struct topic_publish *request) {
    struct sim *sim = CONTAINER_OF(writer, struct sim, writer);
    for (size_t i = 0; i < request->count; i++) {
        request->results[i] = (uint8_t)sim->publish_result;
        if (sim->publish_result == ORDER_RESULT_STORED) {
            struct sim_message *message = &sim->outbox[sim->published++];
            message->key_size = request->messages[i].key.size;
            memcpy(message->key, request->messages[i].key.data, message->key_size);
            message->value_size = request->messages[i].value.size;
            message->header =
                slice_equal(request->messages[i].header, SLICE_LITERAL("refresh")) ? "refresh" : "";
        }
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

/* --- cache --- */

static inline void sim_apply(struct sim *sim, struct order_cache_put *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        const struct order_record *order = &batch->orders[i];
        assert_true(order->order_id < SIM_ORDERS_MAX);
        if (sim->refuse_puts > 0) {
            sim->refuse_puts--;
            batch->results[i] = ORDER_RESULT_UNAVAILABLE;
            continue;
        }
        sim->puts++;
        if (order->version > sim->versions[order->order_id]) {
            sim->versions[order->order_id] = order->version;
        }
        batch->results[i] = ORDER_RESULT_STORED;
    }
    port_complete(&batch->request);
}

static inline enum port_submit sim_put(struct order_cache *cache, struct order_cache_put *batch) {
    struct sim *sim = CONTAINER_OF(cache, struct sim, cache);
    if (sim->busy) {
        return PORT_BUSY;
    }
    if (sim->hold_puts) {
        sim->held[sim->held_count++] = batch;
    } else {
        sim_apply(sim, batch);
    }
    return PORT_TAKEN;
}

/* --- store --- */

static inline enum port_submit sim_get(struct order_store *store, struct order_get_batch *batch) {
    struct sim *sim = CONTAINER_OF(store, struct sim, store);
    for (size_t i = 0; i < batch->count; i++) {
        sim->gets++;
        if (sim->refuse_gets > 0) {
            sim->refuse_gets--;
            batch->results[i] = ORDER_RESULT_UNAVAILABLE;
            continue;
        }
        if (batch->order_ids[i] == sim->broken_id) {
            batch->results[i] = ORDER_RESULT_BROKEN;
            continue;
        }
        bool known =
            batch->order_ids[i] < SIM_ORDERS_MAX && sim->orders[batch->order_ids[i]].version != 0;
        batch->results[i] = known ? ORDER_RESULT_FOUND : ORDER_RESULT_ABSENT;
        if (known) {
            batch->orders[i] = sim->orders[batch->order_ids[i]];
        }
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static inline enum port_submit sim_scan(struct order_store *store, struct order_scan_batch *batch) {
    struct sim *sim = CONTAINER_OF(store, struct sim, store);
    sim->scans++;
    batch->count = 0;
    batch->result = ORDER_RESULT_FOUND;
    if (sim->refuse_scans > 0) {
        sim->refuse_scans--;
        batch->result = ORDER_RESULT_UNAVAILABLE;
        port_complete(&batch->request);
        return PORT_TAKEN;
    }
    uint64_t id = batch->cursor;
    for (id++; id < SIM_ORDERS_MAX && batch->count < batch->limit; id++) {
        const struct order_record *order = &sim->orders[id];
        bool final = order_status_is_final(order->status);
        bool wanted = batch->kind == ORDER_SCAN_FINAL ? final : !final;
        if (order->version != 0 && wanted && order->created_at_us < batch->before_us) {
            batch->orders[batch->count++] = *order;
        }
    }
    batch->cursor = id == SIM_ORDERS_MAX ? 0 : id - 1;
    port_complete(&batch->request);
    return PORT_TAKEN;
}

/* --- events and losses: what a wait would give is given at once --- */

static inline enum port_submit sim_events(struct cache_events *events,
                                          struct cache_events_read *request) {
    struct sim *sim = CONTAINER_OF(events, struct sim, events);
    request->count = 0;
    request->lost = 0;
    request->result = ORDER_RESULT_UNAVAILABLE;
    if (!sim->events_unavailable) {
        request->result = ORDER_RESULT_FOUND;
        request->count = sim->told_count;
        request->lost = sim->told_lost;
        memcpy(request->events, sim->told, sim->told_count * sizeof(sim->told[0]));
        sim->told_count = 0;
        sim->told_lost = 0;
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static inline enum port_submit sim_losses(struct cache_loss *loss,
                                          struct cache_loss_read *request) {
    struct sim *sim = CONTAINER_OF(loss, struct sim, loss);
    memset(request->slots, 0, sizeof(request->slots));
    request->count = sim->lost ? 1 : 0;
    request->result = ORDER_RESULT_FOUND;
    if (sim->lost) {
        memcpy(request->slots, sim->lost_slots, sizeof(request->slots));
        sim->lost = false;
    }
    port_complete(&request->request);
    return PORT_TAKEN;
}

static inline uint32_t sim_slot(const struct cache_loss *loss, uint64_t order_id) {
    (void)loss;
    return (uint32_t)(order_id % CACHE_LOSS_SLOTS_MAX);
}

/* --- the whole --- */

static inline struct sim *sim_create(void) {
    static const struct topic_reader_ops reader_ops = {.read = sim_read, .commit = sim_commit};
    static const struct topic_writer_ops writer_ops = {.publish = sim_publish};
    static const struct order_cache_ops cache_ops = {.put = sim_put};
    static const struct order_store_ops store_ops = {.get = sim_get, .scan = sim_scan};
    static const struct cache_events_ops events_ops = {.read = sim_events};
    static const struct cache_loss_ops loss_ops = {.read = sim_losses, .slot = sim_slot};
    struct sim *sim = calloc(1, sizeof(*sim));
    assert_non_null(sim);
    assert_true(mailbox_init(&sim->mailbox, SIM_HELD_MAX));
    log_init(&sim->log, STDERR_FILENO, LOG_ERROR + 1);
    sim->clock.now_us = sim_now;
    sim->now_us = SAMPLE_TIME_US + 1000000;
    sim->reader.ops = &reader_ops;
    sim->writer.ops = &writer_ops;
    sim->cache.ops = &cache_ops;
    sim->store.ops = &store_ops;
    sim->events.ops = &events_ops;
    sim->loss.ops = &loss_ops;
    sim->read_result = ORDER_RESULT_FOUND;
    sim->commit_result = ORDER_RESULT_STORED;
    sim->publish_result = ORDER_RESULT_STORED;
    sim->messages = calloc(SIM_MESSAGES_MAX, sizeof(sim->messages[0]));
    sim->outbox = calloc(SIM_MESSAGES_MAX, sizeof(sim->outbox[0]));
    sim->versions = calloc(SIM_ORDERS_MAX, sizeof(sim->versions[0]));
    sim->orders = calloc(SIM_ORDERS_MAX, sizeof(sim->orders[0]));
    return sim;
}

static inline void sim_destroy(struct sim *sim) {
    mailbox_deinit(&sim->mailbox);
    free(sim->messages);
    free(sim->outbox);
    free(sim->versions);
    free(sim->orders);
    free(sim);
}

static inline struct order_record sim_order(uint64_t order_id, uint32_t version,
                                            enum order_status status) {
    struct order_record order = sample_order(order_id);
    order.version = version;
    order.status = (uint8_t)status;
    order_record_seal(&order);
    return order;
}

/** A message with `key`, or the id where it is NULL. */
static inline struct sim_message *sim_add(struct sim *sim, const char *key,
                                          const struct order_record *order, const char *header) {
    struct sim_message *message = &sim->messages[sim->message_count++];
    struct text text = text_over(message->key, sizeof(message->key));
    if (key != NULL) {
        text_append_slice(&text, slice_from_text(key));
    } else {
        text_append_u64(&text, order->order_id);
    }
    message->key_size = text.size;
    message->header = header;
    if (order != NULL) {
        memcpy(message->value, order, sizeof(*order));
        message->value_size = sizeof(*order);
    }
    return message;
}

#endif
