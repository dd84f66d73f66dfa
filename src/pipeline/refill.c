#include "pipeline/refill.h"

#include "pipeline/pace.h"

#include <stdlib.h>

#define FAILURE_PAUSE_US 500000
#define BUSY_PAUSE_US 10000
#define WAIT_MS 1000
#define SCAN_LIMIT_MIN 4 /* the port's */

const struct metric_description refill_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct refill_metrics, __VA_ARGS__)
    REFILL_METRICS(X)
#undef X
};
const size_t refill_metric_count = ARRAY_COUNT(refill_metric_table);

struct refill {
    const struct clock *clock;
    struct log *log;
    struct cache_loss *loss;
    struct order_store *store;
    struct order_cache *cache;
    struct refill_metrics metrics;
    struct log_limit limit;

    /* hearing of losses */
    bool listening;
    int64_t listen_at_us;
    struct cache_loss_read read;
    bool next_any;
    uint64_t next[CACHE_LOSS_WORDS]; /* of the next walk */

    /* the walk */
    bool walking;
    bool busy;
    int64_t wake_at_us;
    struct pace pace;
    uint64_t slots[CACHE_LOSS_WORDS]; /* of this walk */
    struct order_scan_batch scan;
    struct order_cache_put put; /* count: orders in hand */
    struct order_record scanned[REFILL_BATCH_MAX];
    struct order_record orders[REFILL_BATCH_MAX];
    uint8_t results[REFILL_BATCH_MAX];
};

static void count_slots(struct refill *refill) {
    uint64_t count = 0;
    for (size_t i = 0; i < CACHE_LOSS_WORDS; i++) {
        uint64_t walked = refill->walking ? refill->slots[i] : 0;
        count += (uint64_t)__builtin_popcountll(walked | refill->next[i]);
    }
    metric_set(&refill->metrics.slots_lost, count);
}

static void heard(struct port_request *request) {
    struct refill *refill = CONTAINER_OF(request, struct refill, read.request);
    refill->listening = false;
    if (refill->read.result != ORDER_RESULT_FOUND) {
        refill->listen_at_us = clock_now_us(refill->clock) + FAILURE_PAUSE_US;
        return;
    }
    if (refill->read.count == 0) {
        return;
    }
    metric_add(&refill->metrics.losses_total, 1);
    for (size_t i = 0; i < CACHE_LOSS_WORDS; i++) {
        refill->next[i] |= refill->read.slots[i];
    }
    refill->next_any = true;
    count_slots(refill);
}

static void begin_walk(struct refill *refill, int64_t now_us) {
    memcpy(refill->slots, refill->next, sizeof(refill->slots));
    memset(refill->next, 0, sizeof(refill->next));
    refill->next_any = false;
    refill->walking = true;
    refill->scan.kind = ORDER_SCAN_OVERDUE;
    refill->scan.cursor = 0;
    /* What is created from now on reaches the cache by itself. */
    refill->scan.before_us = now_us;
}

/** After the last slice of a kind: the other kind, or the end. */
static void conclude_kind(struct refill *refill) {
    if (refill->scan.kind == ORDER_SCAN_OVERDUE) {
        refill->scan.kind = ORDER_SCAN_FINAL;
        refill->scan.before_us = INT64_MAX;
        return;
    }
    refill->walking = false;
    metric_add(&refill->metrics.rounds_total, 1);
    count_slots(refill);
    log_info(refill->log, "refill", "what the cache had lost is written again");
}

static void note_failure(struct refill *refill, const char *who) {
    metric_add(&refill->metrics.failures_total, 1);
    refill->wake_at_us = clock_now_us(refill->clock) + FAILURE_PAUSE_US;
    log_write_limited(refill->log, &refill->limit, LOG_WARNING, "refill",
                      "%s does not answer; tried again", who);
}

static void scan_done(struct port_request *request) {
    struct refill *refill = CONTAINER_OF(request, struct refill, scan.request);
    refill->busy = false;
    if (refill->scan.result != ORDER_RESULT_FOUND) {
        note_failure(refill, "the store");
        return; /* the cursor stands where it stood */
    }
    assert(refill->scan.count <= REFILL_BATCH_MAX);
    metric_add(&refill->metrics.scanned_total, refill->scan.count);
    size_t count = 0;
    for (size_t i = 0; i < refill->scan.count; i++) {
        uint32_t slot = refill->loss->ops->slot(refill->loss, refill->scanned[i].order_id);
        if (cache_loss_has(refill->slots, slot)) {
            refill->orders[count++] = refill->scanned[i];
        }
    }
    refill->put.count = count;
    pace_took(&refill->pace, count, clock_now_us(refill->clock));
    if (count == 0 && refill->scan.cursor == 0) {
        conclude_kind(refill);
    }
}

static void put_done(struct port_request *request) {
    struct refill *refill = CONTAINER_OF(request, struct refill, put.request);
    size_t kept = 0;
    refill->busy = false;
    for (size_t i = 0; i < refill->put.count; i++) {
        if (refill->results[i] != ORDER_RESULT_STORED) {
            refill->orders[kept++] = refill->orders[i];
        }
    }
    metric_add(&refill->metrics.refilled_total, refill->put.count - kept);
    refill->put.count = kept;
    if (kept > 0) {
        note_failure(refill, "the cache");
    } else if (refill->scan.cursor == 0) {
        conclude_kind(refill);
    }
}

static int64_t step_listening(struct refill *refill, int64_t now_us) {
    if (refill->listening) {
        return INT64_MAX;
    }
    if (now_us < refill->listen_at_us) {
        return refill->listen_at_us;
    }
    refill->listening = true; /* it may be done before the submission returns */
    if (refill->loss->ops->read(refill->loss, &refill->read) == PORT_BUSY) {
        refill->listening = false;
        refill->listen_at_us = now_us + BUSY_PAUSE_US;
        return refill->listen_at_us;
    }
    return INT64_MAX;
}

static int64_t step_walk(struct refill *refill, int64_t now_us) {
    if (refill->busy || (!refill->walking && !refill->next_any)) {
        return INT64_MAX;
    }
    bool holds = refill->walking && refill->put.count > 0;
    int64_t from_us = refill->wake_at_us;
    if (!holds && refill->pace.next_us > from_us) {
        from_us = refill->pace.next_us;
    }
    if (now_us < from_us) {
        return from_us;
    }
    if (!refill->walking) {
        begin_walk(refill, now_us);
    }
    refill->busy = true;
    enum port_submit said = holds ? refill->cache->ops->put(refill->cache, &refill->put)
                                  : refill->store->ops->scan(refill->store, &refill->scan);
    if (said == PORT_BUSY) {
        refill->busy = false;
        refill->wake_at_us = now_us + BUSY_PAUSE_US;
        return refill->wake_at_us;
    }
    return INT64_MAX;
}

int64_t refill_step(struct refill *refill) {
    int64_t now_us = clock_now_us(refill->clock);
    int64_t listen_us = step_listening(refill, now_us);
    int64_t walk_us = step_walk(refill, now_us);
    return listen_us < walk_us ? listen_us : walk_us;
}

bool refill_is_busy(const struct refill *refill) {
    return refill->busy || refill->listening;
}

struct refill *refill_create(const struct refill_parts *parts) {
    struct refill *refill = calloc(1, sizeof(*refill));
    if (refill == NULL) {
        return NULL;
    }
    refill->clock = parts->clock;
    refill->log = parts->log;
    refill->loss = parts->loss;
    refill->store = parts->store;
    refill->cache = parts->cache;
    refill->pace.per_second = parts->per_second;
    size_t slice = pace_batch(&refill->pace, REFILL_BATCH_MAX);
    refill->read = (struct cache_loss_read){
        .request = {.done = heard, .mailbox = parts->mailbox},
        .wait_ms = WAIT_MS,
    };
    refill->scan = (struct order_scan_batch){
        .request = {.done = scan_done, .mailbox = parts->mailbox},
        .thorough = true,
        .limit = slice < SCAN_LIMIT_MIN ? SCAN_LIMIT_MIN : slice,
        .orders = refill->scanned,
    };
    refill->put = (struct order_cache_put){
        .request = {.done = put_done, .mailbox = parts->mailbox},
        .orders = refill->orders,
        .results = refill->results,
    };
    return refill;
}

void refill_destroy(struct refill *refill) {
    free(refill);
}

struct refill_metrics *refill_metrics(struct refill *refill) {
    return &refill->metrics;
}
