#include "pipeline/relay_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* After somebody else has the lease or nobody answers; between positions; between log lines of a
 * relay that is halted. */
#define FAILURE_PAUSE_US 500000
#define STORE_PAUSE_US 250000
#define COMPLAIN_EVERY_US 60000000

/* How long relay_stop waits for brokers that do not answer. */
#define STOP_WITHIN_US 5000000

const struct metric_description relay_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct relay_metrics, __VA_ARGS__)
    RELAY_METRICS(X)
#undef X
};
const size_t relay_metric_count = ARRAY_COUNT(relay_metric_table);

static int64_t earlier(int64_t left_us, int64_t right_us) {
    return left_us < right_us ? left_us : right_us;
}

static void pause_for(struct relay *relay, int64_t pause_us) {
    relay->wake_at_us = relay_now_us(relay) + pause_us;
}

static void enter(struct relay *relay, enum relay_state state) {
    relay->state = state;
    relay->wake_at_us = 0;
    atomic_store_explicit(&relay->is_halted, state == RELAY_HALTED, memory_order_relaxed);
    metric_set(&relay->metrics.halted, state == RELAY_HALTED);
}

/** True while it may publish: the lease holds for another while, in which what was handed over is
 *  sent. */
static bool leads(const struct relay *relay) {
    return relay->held_until_us - relay->parts.lease_us / 6 > relay_now_us(relay);
}

/* --- The lease. --- */

/** Somebody else may have the lease by now: what was read counts no more. */
static void leave(struct relay *relay, const char *why) {
    if (!relay->stopping) {
        metric_add(&relay->metrics.lease_losses_total, 1);
        log_warning(relay->parts.log, "relay", "shard %u: the lease is lost: %s",
                    relay->parts.shard, why);
    }
    relay->held_until_us = 0;
    metric_set(&relay->metrics.leads, 0);
    enter(relay, RELAY_LEAVING);
}

/** The first acquisition: where it goes on. */
static void begin_lead(struct relay *relay) {
    memcpy(relay->read_position, relay->lease.position, sizeof(relay->read_position));
    relay->read_position[LEASE_POSITION_MAX - 1] = 0;
    relay->acknowledged[0] = 0;
    relay->has_unstored = false;
    relay->row_has_position = relay->read_position[0] != 0;
    relay->store_at_us = 0;
    metric_set(&relay->metrics.leads, 1);
    log_info(relay->parts.log, "relay", "shard %u: has the lease; position \"%s\"",
             relay->parts.shard, relay->read_position);
    enter(relay, RELAY_OPENING);
}

static void acquired(struct port_request *request) {
    struct relay *relay = CONTAINER_OF(request, struct relay, lease.request);
    int64_t now_us = relay_now_us(relay);
    relay->lease_busy = false;
    if (relay->releasing) {
        enter(relay, RELAY_STOPPED);
        return;
    }
    bool held = relay->held_until_us != 0;
    if (relay->lease.result == ORDER_RESULT_STORED) {
        relay->renew_at_us = now_us + relay->parts.lease_us / 3;
        if (relay->state == RELAY_LEAVING) {
            return; /* it expires by itself, or is given back */
        }
        relay->held_until_us = relay->lease.held_until_us;
        if (!held) {
            begin_lead(relay);
        } else if (relay->row_had_position && relay->lease.position[0] == 0) {
            leave(relay, "its position was emptied: a re-snapshot is asked for");
        }
        return;
    }
    relay->renew_at_us = now_us + earlier(FAILURE_PAUSE_US, relay->parts.lease_us / 6);
    if (held && relay->lease.result == ORDER_RESULT_BUSY) {
        leave(relay, "somebody else has it");
    }
}

/** Takes the lease or renews it when that is due. Returns when it is. */
static int64_t keep_lease(struct relay *relay) {
    int64_t now_us = relay_now_us(relay);
    if (relay->held_until_us != 0 && !leads(relay)) {
        leave(relay, "it was not renewed in time");
    }
    if (relay->lease_busy || relay->state == RELAY_LEAVING || relay->state == RELAY_STOPPED ||
        (relay->stopping && relay->held_until_us == 0)) {
        return INT64_MAX;
    }
    if (now_us >= relay->renew_at_us) {
        relay->lease_busy = true;
        relay->lease.length_us = relay->parts.lease_us;
        relay->row_had_position = relay->held_until_us != 0 && relay->row_has_position;
        if (relay->parts.lease->ops->acquire(relay->parts.lease, &relay->lease) == PORT_TAKEN) {
            return INT64_MAX;
        }
        relay->lease_busy = false;
        relay->renew_at_us = now_us + earlier(FAILURE_PAUSE_US, relay->parts.lease_us / 6);
    }
    return relay->renew_at_us;
}

/* --- The position. --- */

static void position_stored(struct port_request *request) {
    struct relay *relay = CONTAINER_OF(request, struct relay, position.request);
    relay->position_busy = false;
    relay->store_at_us = relay_now_us(relay) + STORE_PAUSE_US;
    if (relay->position.result == ORDER_RESULT_STORED) {
        metric_add(&relay->metrics.positions_total, 1);
        relay->row_has_position = true;
        return;
    }
    relay->has_unstored = true;
    if (relay->position.result == ORDER_RESULT_MISMATCH && relay->held_until_us != 0) {
        leave(relay, "its row has another owner");
    }
}

/** Stores the position where there is a new one that is worth it. Not while the lease is renewed:
 *  where the row was emptied just before, the renewal takes the row again and sees it, and a
 *  position that came right behind it would undo what was asked for. */
static int64_t store_position(struct relay *relay) {
    int64_t now_us = relay_now_us(relay);
    if (relay->position_busy || relay->lease_busy || !relay->has_unstored ||
        relay->acknowledged[0] == 0 || relay->held_until_us == 0) {
        return INT64_MAX;
    }
    if (now_us < relay->store_at_us && !relay->stopping) {
        return relay->store_at_us;
    }
    memcpy(relay->position.position, relay->acknowledged, sizeof(relay->acknowledged));
    relay->position_busy = true;
    relay->has_unstored = false;
    if (relay->parts.lease->ops->store(relay->parts.lease, &relay->position) == PORT_BUSY) {
        relay->position_busy = false;
        relay->has_unstored = true;
        relay->store_at_us = now_us + STORE_PAUSE_US;
        return relay->store_at_us;
    }
    return INT64_MAX;
}

/* --- The log. --- */

void relay_note_failure(struct relay *relay, enum change_source_result result) {
    if (relay->state == RELAY_LEAVING) {
        return;
    }
    if (result == CHANGE_SOURCE_UNAVAILABLE) {
        if (relay->state == RELAY_FOLLOWING) {
            enter(relay, RELAY_OPENING); /* at the last commit that was read */
        }
        pause_for(relay, FAILURE_PAUSE_US);
        return;
    }
    enter(relay, RELAY_HALTED);
    relay->complain_at_us = 0;
}

/** Says why it stands still, again and again. */
static int64_t complain(struct relay *relay) {
    int64_t now_us = relay_now_us(relay);
    if (now_us >= relay->complain_at_us) {
        relay->complain_at_us = now_us + COMPLAIN_EVERY_US;
        log_error(relay->parts.log, "relay",
                  "shard %u: halted: the log cannot be read on from \"%s\"; nothing is published "
                  "until a re-snapshot is asked for (orderctl relay resnapshot)",
                  relay->parts.shard, relay->read_position);
    }
    return relay->complain_at_us;
}

static void opened(struct port_request *request) {
    struct relay *relay = CONTAINER_OF(request, struct relay, open.request);
    bool snapshot = relay->read_position[0] == 0;
    relay->filling = false;
    if (relay->state != RELAY_OPENING) {
        return;
    }
    if (relay->open.result != CHANGE_SOURCE_OK) {
        relay_note_failure(relay, relay->open.result);
        return;
    }
    if (!snapshot) {
        enter(relay, RELAY_FOLLOWING);
        return;
    }
    memcpy(relay->read_position, relay->open.position, sizeof(relay->read_position));
    metric_add(&relay->metrics.snapshots_total, 1);
    log_info(relay->parts.log, "relay", "shard %u: a snapshot begins; the log follows from \"%s\"",
             relay->parts.shard, relay->read_position);
    relay->scan.cursor = 0;
    relay->scan.kind = ORDER_SCAN_OVERDUE;
    enter(relay, RELAY_SCANNING);
}

/** The last slot takes the position with it: once all of the snapshot is acknowledged, it may be
 *  stored, whether anything changes or not. */
void relay_end_scan(struct relay *relay) {
    struct relay_slot *last = relay_slot_at(relay, relay->used - 1);
    memcpy(last->position, relay->read_position, sizeof(last->position));
    relay->has_unstored = true;
    log_info(relay->parts.log, "relay", "shard %u: the snapshot is read", relay->parts.shard);
    enter(relay, RELAY_FOLLOWING);
}

static void begin_open(struct relay *relay) {
    if (relay->filling) {
        return;
    }
    memcpy(relay->open.position, relay->read_position, sizeof(relay->open.position));
    relay->filling = true;
    if (relay->parts.source->ops->open(relay->parts.source, &relay->open) == PORT_BUSY) {
        relay->filling = false;
        pause_for(relay, FAILURE_PAUSE_US);
    }
}

/* --- The end. --- */

/** Nothing is under way any more but what the lease does itself. */
static bool is_quiet(const struct relay *relay) {
    return !relay->filling && relay->publishing == 0 && !relay->position_busy;
}

static void begin_release(struct relay *relay) {
    relay->held_until_us = 0;
    metric_set(&relay->metrics.leads, 0);
    relay->releasing = true;
    relay->lease_busy = true;
    if (relay->parts.lease->ops->release(relay->parts.lease, &relay->lease) == PORT_BUSY) {
        relay->lease_busy = false;
        enter(relay, RELAY_STOPPED); /* it expires by itself */
    }
}

/** Waits until what is under way is done; then the lease may be taken anew. */
static void finish_leaving(struct relay *relay) {
    if (is_quiet(relay) && !relay->lease_busy) {
        relay_slots_clear(relay);
        relay->renew_at_us = relay_now_us(relay) + FAILURE_PAUSE_US;
        enter(relay, relay->stopping ? RELAY_STOPPED : RELAY_WAITING);
    }
}

/** relay_stop: batches that are read are still published, their position stored. */
static int64_t finish_stopping(struct relay *relay) {
    int64_t wake_at_us = relay_publish_due(relay);
    wake_at_us = earlier(wake_at_us, store_position(relay));
    bool stored = !relay->has_unstored || relay->acknowledged[0] == 0;
    bool is_over = relay->held_until_us == 0 || relay_now_us(relay) >= relay->stop_until_us;
    if (is_quiet(relay) && !relay->lease_busy && (is_over || (relay->used == 0 && stored))) {
        begin_release(relay);
    }
    return earlier(wake_at_us, relay->stop_until_us);
}

/* --- The step. --- */

static int64_t work(struct relay *relay) {
    int64_t wake_at_us = store_position(relay);
    if (relay->state == RELAY_HALTED) {
        wake_at_us = earlier(wake_at_us, complain(relay));
        return earlier(wake_at_us, relay_publish_due(relay));
    }
    wake_at_us = earlier(wake_at_us, relay_publish_due(relay));
    if (relay_now_us(relay) < relay->wake_at_us) {
        return earlier(wake_at_us, relay->wake_at_us);
    }
    if (relay->state == RELAY_OPENING) {
        begin_open(relay);
    } else {
        relay_fill(relay);
    }
    return relay->wake_at_us == 0 ? wake_at_us : earlier(wake_at_us, relay->wake_at_us);
}

int64_t relay_step(struct relay *relay) {
    if (relay->state == RELAY_STOPPED) {
        return INT64_MAX;
    }
    int64_t wake_at_us = keep_lease(relay);
    if (relay->state == RELAY_LEAVING) {
        finish_leaving(relay);
        return relay->state == RELAY_WAITING ? relay->renew_at_us : INT64_MAX;
    }
    if (relay->stopping) {
        return earlier(wake_at_us, finish_stopping(relay));
    }
    if (relay->held_until_us != 0) {
        /* The lease may end before anything else is due. */
        wake_at_us = earlier(wake_at_us, relay->held_until_us - relay->parts.lease_us / 6);
        wake_at_us = earlier(wake_at_us, work(relay));
    }
    return wake_at_us;
}

void relay_stop(struct relay *relay) {
    relay->stopping = true;
    relay->stop_until_us = relay_now_us(relay) + STOP_WITHIN_US;
}

bool relay_is_busy(const struct relay *relay) {
    return relay->state != RELAY_STOPPED &&
           (relay->stopping || relay->lease_busy || !is_quiet(relay));
}

bool relay_is_ready(const struct relay *relay) {
    return atomic_load_explicit(&relay->is_halted, memory_order_relaxed) == 0;
}

struct relay *relay_create(const struct relay_parts *parts) {
    struct relay *relay = calloc(1, sizeof(*relay));
    if (relay == NULL) {
        return NULL;
    }
    relay->parts = *parts;
    relay_slots_init(relay);
    relay->lease = (struct lease_request){
        .request = {.done = acquired, .mailbox = parts->mailbox},
    };
    (void)snprintf(relay->lease.name, sizeof(relay->lease.name), "relay/%u", parts->shard);
    relay->position = (struct lease_position){
        .request = {.done = position_stored, .mailbox = parts->mailbox},
    };
    memcpy(relay->position.name, relay->lease.name, sizeof(relay->position.name));
    relay->open = (struct change_source_open){
        .request = {.done = opened, .mailbox = parts->mailbox},
    };
    return relay;
}

void relay_destroy(struct relay *relay) {
    free(relay);
}

struct relay_metrics *relay_metrics(struct relay *relay) {
    return &relay->metrics;
}
