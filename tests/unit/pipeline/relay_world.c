#include "relay_world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t now_us(const struct clock *clock) {
    return ((const struct world *)clock)->now_us;
}

uint32_t world_transaction_of(const char *position) {
    return position[0] == 0 ? 0 : (uint32_t)strtoul(position + strlen("0-1-"), NULL, 10);
}

static void put_position(char position[LEASE_POSITION_MAX], uint32_t transaction) {
    (void)snprintf(position, LEASE_POSITION_MAX, "0-1-%u", transaction);
}

static struct order_record make_order(const struct world_entry *entry) {
    struct order_record order = {
        .order_id = entry->order_id,
        .amount = 100,
        .version = entry->version,
        .status = entry->version == 1 ? ORDER_STATUS_PENDING : ORDER_STATUS_SUCCESS,
        .payment_type = ORDER_PAYMENT_BANK,
        .format = ORDER_RECORD_FORMAT,
        .created_at_us = 1000000,
        .updated_at_us = 1000000,
        .currency = "EUR",
        .partner_code = "acme",
        .partner_order_id = "r",
    };
    order_record_seal(&order);
    return order;
}

void world_commit(struct world *world, uint64_t order_id, uint32_t version, size_t count) {
    world->transactions++;
    for (size_t i = 0; i < count; i++) {
        assert(world->entry_count < WORLD_LOG_MAX);
        world->entries[world->entry_count++] =
            (struct world_entry){order_id + i, version, world->transactions};
    }
}

/* --- What each request comes to. --- */

static void open_log(struct world *world, struct change_source_open *request) {
    world->opens++;
    memcpy(world->opened_at, request->position, sizeof(world->opened_at));
    uint32_t from =
        request->position[0] == 0 ? world->transactions : world_transaction_of(request->position);
    request->result = from < world->purged ? CHANGE_SOURCE_PURGED : world->log_result;
    if (request->result == CHANGE_SOURCE_OK) {
        world->is_open = true;
        world->cursor = 0;
        world->read_up_to = from;
        while (world->cursor < world->entry_count &&
               world->entries[world->cursor].transaction <= from) {
            world->cursor++;
        }
        put_position(request->position, from);
    }
}

static void read_log(struct world *world, struct change_source_read *request) {
    request->count = request->skipped_deletes = request->alarming_deletes = 0;
    request->broken_rows = 0;
    request->position[0] = 0;
    request->result = world->is_open ? world->log_result : CHANGE_SOURCE_UNAVAILABLE;
    if (request->result != CHANGE_SOURCE_OK) {
        world->is_open = false;
        return;
    }
    while (request->count < world->read_most && world->cursor < world->entry_count) {
        const struct world_entry *entry = &world->entries[world->cursor++];
        request->orders[request->count] = make_order(entry);
        request->committed_us[request->count++] = world->now_us;
    }
    uint32_t ended = world->transactions;
    if (world->cursor < world->entry_count) {
        /* The one that the next entry belongs to has not ended, nor any after it. */
        ended = world->entries[world->cursor].transaction - 1;
    }
    if (ended > world->read_up_to) {
        world->read_up_to = ended;
        put_position(request->position, ended);
    }
}

static void publish(struct world *world, struct topic_publish *request, bool fails) {
    world->publishes++;
    for (size_t i = 0; i < request->count; i++) {
        struct order_record order;
        assert(request->messages[i].value.size == sizeof(order));
        memcpy(&order, request->messages[i].value.data, sizeof(order));
        bool lost = fails && (i % 2 == 0 || request->count < 3);
        request->results[i] = lost ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_STORED;
        for (size_t k = 0; !lost && k < world->entry_count; k++) {
            if (world->entries[k].order_id == order.order_id &&
                world->entries[k].version <= order.version) {
                world->delivered[k] = true;
            }
        }
    }
}

static void acquire(struct world *world, struct lease_request *request) {
    request->result = world->lease_is_silent ? ORDER_RESULT_UNAVAILABLE
                      : world->somebody_else ? ORDER_RESULT_BUSY
                                             : ORDER_RESULT_STORED;
    if (request->result == ORDER_RESULT_STORED) {
        world->was_taken_away = false;
        request->held_until_us = world->now_us + request->length_us;
        memcpy(request->position, world->stored, sizeof(request->position));
    }
}

static void store_position(struct world *world, struct lease_position *position) {
    position->result = world->lease_is_silent                          ? ORDER_RESULT_UNKNOWN
                       : world->somebody_else || world->was_taken_away ? ORDER_RESULT_MISMATCH
                                                                       : ORDER_RESULT_STORED;
    if (position->result == ORDER_RESULT_STORED) {
        world->stores++;
        memcpy(world->stored, position->position, sizeof(world->stored));
    }
}

/** The table has every order at its last version; the walk is in slices of two. */
static void scan(struct world *world, struct order_scan_batch *batch) {
    world->scans++;
    batch->count = 0;
    batch->result = world->store_is_down ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_FOUND;
    if (world->store_is_down) {
        return;
    }
    size_t at = (size_t)batch->cursor;
    bool wants_final = batch->kind == ORDER_SCAN_FINAL;
    while (at < world->entry_count && batch->count < 2) {
        const struct world_entry *entry = &world->entries[at++];
        bool is_last = true;
        for (size_t k = at; k < world->entry_count; k++) {
            is_last = is_last && world->entries[k].order_id != entry->order_id;
        }
        if (is_last && (entry->version > 1) == wants_final) {
            batch->orders[batch->count++] = make_order(entry);
        }
    }
    batch->cursor = at < world->entry_count ? at : 0;
}

static void finish(struct world *world, size_t index, bool fails) {
    struct port_request *request = world->pending[index];
    uint32_t kind = world->kinds[index];
    world->pending_count--;
    world->pending[index] = world->pending[world->pending_count];
    world->kinds[index] = world->kinds[world->pending_count];
    enum change_source_result before = world->log_result;
    bool silent = world->lease_is_silent;
    if (fails && world->log_result == CHANGE_SOURCE_OK) {
        world->log_result = CHANGE_SOURCE_UNAVAILABLE;
    }
    world->lease_is_silent = silent || fails;
    switch (kind) {
    case WORLD_OPEN:
        open_log(world, (struct change_source_open *)request);
        break;
    case WORLD_READ:
        read_log(world, (struct change_source_read *)request);
        break;
    case WORLD_PUBLISH:
        if (world->fail_publishes > 0) {
            world->fail_publishes--;
            fails = true;
        }
        publish(world, (struct topic_publish *)request, fails);
        break;
    case WORLD_ACQUIRE:
        acquire(world, (struct lease_request *)request);
        break;
    case WORLD_STORE:
        store_position(world, (struct lease_position *)request);
        break;
    case WORLD_SCAN:
        scan(world, (struct order_scan_batch *)request);
        break;
    default:
        world->releases++;
        break;
    }
    world->log_result = before;
    world->lease_is_silent = silent;
    port_complete(request);
    (void)port_drain(&world->mailbox, SIZE_MAX);
}

bool world_complete(struct world *world, uint32_t kind) {
    for (size_t i = 0; i < world->pending_count; i++) {
        if (world->kinds[i] == kind) {
            finish(world, i, false);
            return true;
        }
    }
    return false;
}

void world_run(struct world *world, unsigned rounds) {
    for (unsigned round = 0; round < rounds; round++) {
        world->now_us += 20000;
        (void)relay_step(world->relay);
        size_t tries = world->pending_count;
        while (tries-- > 0 && world->pending_count > 0) {
            size_t index = (size_t)random_below(&world->random, world->pending_count);
            if (world->kinds[index] == WORLD_PUBLISH && world->hold_publishes) {
                continue;
            }
            finish(world, index, random_chance(&world->random, world->failures, 16));
            (void)relay_step(world->relay);
        }
    }
}

/* --- The ports. --- */

static enum port_submit hold(struct world *world, struct port_request *request, uint32_t kind) {
    assert(world->pending_count < ARRAY_COUNT(world->pending));
    world->pending[world->pending_count] = request;
    world->kinds[world->pending_count++] = kind;
    return PORT_TAKEN;
}

#define WORLD_OF(port_, member_) CONTAINER_OF(port_, struct world, member_)

static enum port_submit submit_open(struct change_source *port,
                                    struct change_source_open *request) {
    return hold(WORLD_OF(port, source), &request->request, WORLD_OPEN);
}

static enum port_submit submit_read(struct change_source *port,
                                    struct change_source_read *request) {
    return hold(WORLD_OF(port, source), &request->request, WORLD_READ);
}

static enum port_submit submit_publish(struct topic_writer *port, struct topic_publish *request) {
    struct world *world = WORLD_OF(port, writer);
    return world->busy_writer ? PORT_BUSY : hold(world, &request->request, WORLD_PUBLISH);
}

static enum port_submit submit_acquire(struct lease_port *port, struct lease_request *request) {
    return hold(WORLD_OF(port, lease), &request->request, WORLD_ACQUIRE);
}

static enum port_submit submit_store(struct lease_port *port, struct lease_position *position) {
    return hold(WORLD_OF(port, lease), &position->request, WORLD_STORE);
}

static enum port_submit submit_release(struct lease_port *port, struct lease_request *request) {
    return hold(WORLD_OF(port, lease), &request->request, WORLD_RELEASE);
}

static enum port_submit submit_scan(struct order_store *port, struct order_scan_batch *batch) {
    return hold(WORLD_OF(port, store), &batch->request, WORLD_SCAN);
}

static const struct change_source_ops source_ops = {.open = submit_open, .read = submit_read};
static const struct topic_writer_ops writer_ops = {.publish = submit_publish};
static const struct lease_ops lease_ops = {
    .acquire = submit_acquire, .store = submit_store, .release = submit_release};
static const struct order_store_ops store_ops = {.scan = submit_scan};

void world_restart(struct world *world) {
    world->pending_count = 0;
    world->is_open = false;
    if (world->relay != NULL) {
        relay_destroy(world->relay);
    }
    struct relay_parts parts = {
        .clock = &world->clock,
        .monotonic = &world->clock,
        .log = &world->log,
        .lease = &world->lease,
        .source = &world->source,
        .store = &world->store,
        .writer = &world->writer,
        .mailbox = &world->mailbox,
        .lease_us = WORLD_LEASE_US,
    };
    world->relay = relay_create(&parts);
    assert(world->relay != NULL);
}

void world_init(struct world *world, uint64_t seed) {
    *world = (struct world){
        .clock = {now_us},
        .now_us = 1000000000,
        .random = {seed},
        .read_most = 3,
        .source = {&source_ops},
        .writer = {&writer_ops},
        .lease = {&lease_ops},
        .store = {&store_ops},
    };
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    bool made = mailbox_init(&world->mailbox, RELAY_OUTSTANDING_MAX);
    assert(made);
    world_restart(world);
}

void world_deinit(struct world *world) {
    relay_destroy(world->relay);
    mailbox_deinit(&world->mailbox);
}

bool world_is_sound(const struct world *world) {
    uint32_t stored = world_transaction_of(world->stored);
    for (size_t i = 0; i < world->entry_count; i++) {
        if (world->entries[i].transaction <= stored && !world->delivered[i]) {
            return false;
        }
    }
    return true;
}

bool world_has_delivered_all(const struct world *world) {
    for (size_t i = 0; i < world->entry_count; i++) {
        if (!world->delivered[i]) {
            return false;
        }
    }
    return true;
}
