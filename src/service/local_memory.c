#include "service/local_memory.h"

#include "order/order_id.h"
#include "service/fill_ledger.h"

#include <stdlib.h>

/* Between two questions for the log's end; after a failure; after a full queue. */
#define ASK_EVERY_US 250000
#define FAILURE_PAUSE_US 200000
#define BUSY_PAUSE_US 5000
#define REPAIRS_WAIT_MS 200
#define KEY_SHOWN_MAX 40

/* How much of each kind of work one step does, so that none waits for another. */
#define OFFERS_A_STEP 64
#define EXPIRED_A_STEP 4096
#define SWEEP_BUCKETS 256
#define SWEEP_ORDERS ((size_t)SWEEP_BUCKETS * 4)
#define SWEEPS_A_STEP 32

const struct metric_description local_memory_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct local_memory_metrics, __VA_ARGS__)
    LOCAL_MEMORY_METRICS(X)
#undef X
};
const size_t local_memory_metric_count = ARRAY_COUNT(local_memory_metric_table);

/** An order that was repaired a moment ago. */
struct repaired {
    uint64_t order_id;
    int64_t until_us;
};

struct local_memory {
    struct order_cache cache; /* first */
    const struct clock *clock;
    struct log *log;
    struct order_table *table;
    struct change_log *changes;
    struct topic_reader *repairs;
    struct mailbox *mailbox;
    int64_t trust_us;
    int64_t lag_max_us;
    struct ring offers; /* of struct order_cache_put */
    /* The view of the log. */
    struct change_log view;
    uint32_t parts_count;                           /* never changes */
    _Atomic uint64_t applied[CHANGE_LOG_PARTS_MAX]; /* `position`, for any thread */
    _Atomic size_t watch_count;                     /* raised when the entry is there */
    struct change_watch *watches[LOCAL_MEMORY_WATCHES];
    struct change_watch watch;
    _Atomic int64_t current_until_us;
    int64_t current_as_of_us; /* every change that was in the log then is in the table */
    bool was_current;
    /* Following. */
    struct change_read_batch read;
    struct change_cursor position;
    bool reading;
    bool more; /* the last read was full */
    int64_t read_at_us;
    /* The log's end. */
    struct change_end end;
    bool asking;
    bool has_goal; /* `end.end` is to be reached */
    int64_t asked_us;
    int64_t ask_at_us;
    /* After a gap. */
    bool sweeping;
    uint64_t sweep_cursor;
    size_t swept_count;
    uint64_t swept[SWEEP_ORDERS];
    /* Repairs. */
    struct topic_read repair_read;
    bool reading_repairs;
    int64_t repairs_at_us;
    uint64_t repaired_added;
    uint64_t repaired_removed;
    struct repaired repaired[LOCAL_MEMORY_REPAIRED];
    struct fill_ledger ledger;
    struct log_limit limit;
    struct log_limit repair_limit;
    struct local_memory_metrics metrics;
    struct topic_message messages[LOCAL_MEMORY_REPAIRS];
    struct order_record orders[LOCAL_MEMORY_CHANGES];
    uint64_t positions[LOCAL_MEMORY_CHANGES];
    uint8_t parts[LOCAL_MEMORY_CHANGES];
};

static bool is_current(const struct local_memory *memory, int64_t now_us) {
    return now_us <= atomic_load_explicit(&memory->current_until_us, memory_order_relaxed);
}

static int64_t earlier(int64_t left_us, int64_t right_us) {
    return left_us < right_us ? left_us : right_us;
}

/* --- Whether it is current. --- */

/** Everything that was in the log at `as_of_us` is in the table. */
static void set_current(struct local_memory *memory, int64_t as_of_us) {
    memory->current_as_of_us = as_of_us;
    /* Released after the puts before it: whoever sees the time sees the orders. */
    atomic_store_explicit(&memory->current_until_us, as_of_us + memory->lag_max_us,
                          memory_order_release);
}

/** Looks whether the end that was told is reached. */
static void judge_goal(struct local_memory *memory) {
    if (!memory->has_goal || memory->sweeping) {
        return;
    }
    for (uint32_t i = 0; i < memory->position.parts; i++) {
        if (memory->position.positions[i] < memory->end.end.positions[i]) {
            return;
        }
    }
    memory->has_goal = false;
    set_current(memory, memory->asked_us);
}

static void end_told(struct port_request *request) {
    struct local_memory *memory = CONTAINER_OF(request, struct local_memory, end.request);
    memory->asking = false;
    if (memory->end.result != CHANGE_READ_OK || memory->end.end.parts != memory->position.parts) {
        metric_add(&memory->metrics.follow_failures_total, 1);
        return;
    }
    memory->has_goal = true;
    judge_goal(memory);
}

/** One question at a time, and none while an answer is not reached: under load an end that is
 *  always a new one never would be. */
static int64_t step_end(struct local_memory *memory, int64_t now_us) {
    if (memory->asking || memory->has_goal || memory->sweeping) {
        return INT64_MAX;
    }
    if (now_us < memory->ask_at_us) {
        return memory->ask_at_us;
    }
    memory->asked_us = now_us;
    memory->ask_at_us = now_us + ASK_EVERY_US;
    memory->asking = true;
    if (memory->changes->ops->end(memory->changes, &memory->end) != PORT_TAKEN) {
        memory->asking = false;
        memory->ask_at_us = now_us + BUSY_PAUSE_US;
        return memory->ask_at_us;
    }
    return INT64_MAX;
}

/** Says in the log and the metrics when belief ends and begins. */
static int64_t note_current(struct local_memory *memory, int64_t now_us) {
    bool current = is_current(memory, now_us);
    if (memory->was_current && !current) {
        metric_add(&memory->metrics.behind_total, 1);
        log_warning(memory->log, "memory",
                    "more than %lld ms behind the log of changes: only final orders are served "
                    "from memory",
                    (long long)(memory->lag_max_us / 1000));
    } else if (!memory->was_current && current) {
        log_info(memory->log, "memory", "follows the log of changes");
    }
    memory->was_current = current;
    metric_set(&memory->metrics.current, current);
    metric_set(&memory->metrics.lag_microseconds, (uint64_t)(now_us - memory->current_as_of_us));
    return current ? memory->current_as_of_us + memory->lag_max_us + 1 : INT64_MAX;
}

/* --- The view of the log. --- */

/** Says how far the table is. Released after the puts: whoever sees the position sees the orders.
 */
static void set_position(struct local_memory *memory, const struct change_cursor *position) {
    memory->position = *position;
    for (uint32_t i = 0; i < position->parts; i++) {
        atomic_store_explicit(&memory->applied[i], position->positions[i], memory_order_release);
    }
    size_t count = atomic_load_explicit(&memory->watch_count, memory_order_acquire);
    for (size_t i = 0; i < count; i++) {
        if (atomic_load_explicit(&memory->watches[i]->active, memory_order_seq_cst) != 0) {
            mailbox_wake(memory->watches[i]->mailbox);
        }
    }
}

static struct local_memory *memory_of(struct change_log *view) {
    return (struct local_memory *)((char *)view - offsetof(struct local_memory, view));
}

static enum port_submit view_read(struct change_log *view, struct change_read_batch *batch) {
    struct change_log *changes = memory_of(view)->changes;
    return changes->ops->read(changes, batch);
}

static void view_newest(struct change_log *view, struct change_cursor *cursor) {
    struct local_memory *memory = memory_of(view);
    *cursor = (struct change_cursor){.parts = memory->parts_count};
    for (uint32_t i = 0; i < cursor->parts; i++) {
        cursor->positions[i] = atomic_load_explicit(&memory->applied[i], memory_order_acquire);
    }
}

static void view_watch(struct change_log *view, struct change_watch *watch) {
    struct local_memory *memory = memory_of(view);
    size_t count = atomic_load_explicit(&memory->watch_count, memory_order_relaxed);
    assert(count < LOCAL_MEMORY_WATCHES);
    memory->watches[count] = watch;
    atomic_store_explicit(&memory->watch_count, count + 1, memory_order_release);
}

static enum port_submit view_end(struct change_log *view, struct change_end *request) {
    struct change_log *changes = memory_of(view)->changes;
    return changes->ops->end(changes, request);
}

static const struct change_log_ops view_ops = {
    .read = view_read, .newest = view_newest, .watch = view_watch, .end = view_end};

/* --- A gap. --- */

static void note_open(void *context, const struct order_table_entry *entry) {
    struct local_memory *memory = context;
    if (!order_status_is_final(entry->status)) {
        assert(memory->swept_count < SWEEP_ORDERS);
        memory->swept[memory->swept_count++] = entry->order_id;
    }
}

/** Takes out the next orders that are not final. */
static int64_t step_sweep(struct local_memory *memory) {
    for (size_t i = 0; i < SWEEPS_A_STEP && memory->sweeping; i++) {
        memory->swept_count = 0;
        order_table_scan(memory->table, &memory->sweep_cursor, SWEEP_BUCKETS, note_open, memory);
        for (size_t at = 0; at < memory->swept_count; at++) {
            metric_add(&memory->metrics.swept_total,
                       order_table_remove(memory->table, memory->swept[at]));
        }
        memory->sweeping = memory->sweep_cursor != 0;
    }
    judge_goal(memory); /* it waited for this */
    return memory->sweeping ? INT64_MIN : INT64_MAX;
}

/** What comes next in the log is not known to be all: nothing that may have changed is kept. */
static void begin_again(struct local_memory *memory) {
    struct change_cursor newest;
    metric_add(&memory->metrics.gaps_total, 1);
    log_warning(memory->log, "memory",
                "the place in the log of changes is lost: every order that is not final leaves");
    atomic_store_explicit(&memory->current_until_us, INT64_MIN, memory_order_relaxed);
    memory->changes->ops->newest(memory->changes, &newest);
    set_position(memory, &newest);
    memory->has_goal = false;
    memory->sweeping = true;
    memory->sweep_cursor = 0;
}

/* --- Following. --- */

static void put_change(struct local_memory *memory, const struct order_record *order) {
    enum order_table_put put =
        order_table_put(memory->table, order, order_record_reference_hash(order), true);
    metric_add(&memory->metrics.changes_put_total,
               put == ORDER_TABLE_INSERTED || put == ORDER_TABLE_UPDATED);
    metric_add(&memory->metrics.confirmed_total,
               fill_ledger_confirm(&memory->ledger, order->order_id, order->version));
}

static void read_done(struct port_request *request) {
    struct local_memory *memory = CONTAINER_OF(request, struct local_memory, read.request);
    memory->reading = false;
    memory->more = false;
    switch (memory->read.result) {
    case CHANGE_READ_OK:
        for (size_t i = 0; i < memory->read.count; i++) {
            put_change(memory, &memory->orders[i]);
        }
        metric_add(&memory->metrics.changes_total, memory->read.count);
        memory->more = memory->read.count == memory->read.limit;
        set_position(memory, &memory->read.after);
        judge_goal(memory);
        break;
    case CHANGE_READ_GONE:
    case CHANGE_READ_INVALID:
        begin_again(memory);
        memory->read_at_us = clock_now_us(memory->clock) + FAILURE_PAUSE_US;
        break;
    default:
        metric_add(&memory->metrics.follow_failures_total, 1);
        memory->read_at_us = clock_now_us(memory->clock) + FAILURE_PAUSE_US;
        break;
    }
}

static bool has_news(const struct local_memory *memory) {
    struct change_cursor newest;
    memory->changes->ops->newest(memory->changes, &newest);
    return memcmp(newest.positions, memory->position.positions,
                  newest.parts * sizeof(newest.positions[0])) != 0;
}

static int64_t step_read(struct local_memory *memory, int64_t now_us) {
    if (memory->reading || (!memory->more && !has_news(memory))) {
        return INT64_MAX;
    }
    if (now_us < memory->read_at_us) {
        return memory->read_at_us;
    }
    memory->read.after = memory->position;
    memory->reading = true;
    if (memory->changes->ops->read(memory->changes, &memory->read) != PORT_TAKEN) {
        memory->reading = false;
        memory->read_at_us = now_us + BUSY_PAUSE_US;
        return memory->read_at_us;
    }
    return INT64_MAX;
}

/* --- Repairs. --- */

static void remember_repaired(struct local_memory *memory, uint64_t order_id, int64_t until_us) {
    if (memory->repaired_added - memory->repaired_removed == LOCAL_MEMORY_REPAIRED) {
        /* No room: the newest entry stands for every order until it ends. */
        size_t last = (size_t)(memory->repaired_added - 1) % LOCAL_MEMORY_REPAIRED;
        memory->repaired[last] = (struct repaired){0, until_us};
        return;
    }
    memory->repaired[memory->repaired_added++ % LOCAL_MEMORY_REPAIRED] =
        (struct repaired){order_id, until_us};
}

static void forget_repaired(struct local_memory *memory, int64_t now_us) {
    while (memory->repaired_removed < memory->repaired_added &&
           memory->repaired[memory->repaired_removed % LOCAL_MEMORY_REPAIRED].until_us <= now_us) {
        memory->repaired_removed++;
    }
}

static bool was_repaired(const struct local_memory *memory, uint64_t order_id) {
    for (uint64_t i = memory->repaired_removed; i < memory->repaired_added; i++) {
        uint64_t repaired_id = memory->repaired[i % LOCAL_MEMORY_REPAIRED].order_id;
        if (repaired_id == order_id || repaired_id == 0) {
            return true;
        }
    }
    return false;
}

static void take_repair(struct local_memory *memory, const struct topic_message *message) {
    uint64_t order_id;
    if (!slice_equal(message->header, SLICE_LITERAL("repair"))) {
        return; /* of the refresh pipeline */
    }
    if (!order_id_parse(message->key, &order_id)) {
        metric_add(&memory->metrics.repairs_invalid_total, 1);
        log_write_limited(memory->log, &memory->repair_limit, LOG_ERROR, "memory",
                          "partition %d, offset %lld, key \"%.*s\": no repair; passed over",
                          message->partition, (long long)message->offset,
                          (int)bytes_min_size(message->key.size, KEY_SHOWN_MAX), message->key.data);
        return;
    }
    (void)order_table_remove(memory->table, order_id);
    remember_repaired(memory, order_id, clock_now_us(memory->clock) + LOCAL_MEMORY_REPAIRED_US);
    metric_add(&memory->metrics.repairs_total, 1);
}

static void repairs_read(struct port_request *request) {
    struct local_memory *memory = CONTAINER_OF(request, struct local_memory, repair_read.request);
    memory->reading_repairs = false;
    if (memory->repair_read.result != ORDER_RESULT_FOUND) {
        metric_add(&memory->metrics.follow_failures_total, 1);
        memory->repairs_at_us = clock_now_us(memory->clock) + FAILURE_PAUSE_US;
        return;
    }
    for (size_t i = 0; i < memory->repair_read.count; i++) {
        take_repair(memory, &memory->messages[i]);
    }
}

static int64_t step_repairs(struct local_memory *memory, int64_t now_us) {
    if (memory->repairs == NULL || memory->reading_repairs) {
        return INT64_MAX;
    }
    if (now_us < memory->repairs_at_us) {
        return memory->repairs_at_us;
    }
    memory->reading_repairs = true;
    if (memory->repairs->ops->read(memory->repairs, &memory->repair_read) != PORT_TAKEN) {
        memory->reading_repairs = false;
        memory->repairs_at_us = now_us + BUSY_PAUSE_US;
        return memory->repairs_at_us;
    }
    return INT64_MAX;
}

/* --- What look-ups found. --- */

/** True where the order was taken, or something as new is there. */
static bool take_fill(struct local_memory *memory, const struct order_record *order,
                      int64_t now_us) {
    bool final = order_status_is_final(order->status);
    if (was_repaired(memory, order->order_id) ||
        (!final && (memory->trust_us == 0 || !is_current(memory, now_us) ||
                    fill_ledger_is_full(&memory->ledger)))) {
        metric_add(&memory->metrics.fills_refused_total, 1);
        return false;
    }
    enum order_table_put put =
        order_table_put(memory->table, order, order_record_reference_hash(order), true);
    if (put == ORDER_TABLE_INSERTED || put == ORDER_TABLE_UPDATED) {
        metric_add(&memory->metrics.fills_total, 1);
        if (!final) {
            fill_ledger_add(&memory->ledger, order->order_id, order->version,
                            now_us + memory->trust_us);
        }
    }
    return put != ORDER_TABLE_FULL;
}

static int64_t step_offers(struct local_memory *memory, int64_t now_us) {
    struct order_cache_put *offer;
    size_t count = 0;
    while (count < OFFERS_A_STEP && (offer = ring_pop(&memory->offers)) != NULL) {
        for (size_t i = 0; i < offer->count; i++) {
            bool taken = take_fill(memory, &offer->orders[i], now_us);
            offer->results[i] = taken ? ORDER_RESULT_STORED : ORDER_RESULT_UNAVAILABLE;
        }
        port_complete(&offer->request);
        count++;
    }
    return count == OFFERS_A_STEP ? INT64_MIN : INT64_MAX;
}

/** Takes out what was filled long enough ago, if it is still what was filled. */
static int64_t step_trust(struct local_memory *memory, int64_t now_us) {
    struct order_record order;
    const struct fill *fill;
    size_t count = 0;
    while ((fill = fill_ledger_first(&memory->ledger)) != NULL) {
        if (fill->order_id != 0 && fill->until_us > now_us) {
            return fill->until_us;
        }
        if (count++ == EXPIRED_A_STEP) {
            return INT64_MIN;
        }
        if (fill->order_id != 0 && order_table_get(memory->table, fill->order_id, &order) &&
            order.version == fill->version) {
            metric_add(&memory->metrics.revalidations_total,
                       order_table_remove(memory->table, fill->order_id));
        }
        fill_ledger_drop_first(&memory->ledger);
    }
    return INT64_MAX;
}

static enum port_submit offer(struct order_cache *cache, struct order_cache_put *put) {
    struct local_memory *memory = (struct local_memory *)cache;
    if (!ring_push(&memory->offers, put)) {
        return PORT_BUSY;
    }
    mailbox_wake(memory->mailbox);
    return PORT_TAKEN;
}

static const struct order_cache_ops cache_ops = {.put = offer};

/* --- The whole. --- */

int64_t local_memory_step(struct local_memory *memory) {
    int64_t now_us = clock_now_us(memory->clock);
    forget_repaired(memory, now_us);
    /* What is no longer trusted leaves before anything is put. */
    int64_t wake_at_us = step_trust(memory, now_us);
    wake_at_us = earlier(wake_at_us, step_sweep(memory));
    wake_at_us = earlier(wake_at_us, step_offers(memory, now_us));
    wake_at_us = earlier(wake_at_us, step_trust(memory, now_us));
    wake_at_us = earlier(wake_at_us, step_repairs(memory, now_us));
    wake_at_us = earlier(wake_at_us, step_end(memory, now_us));
    wake_at_us = earlier(wake_at_us, step_read(memory, now_us));
    return earlier(wake_at_us, note_current(memory, now_us));
}

bool local_memory_is_busy(const struct local_memory *memory) {
    return memory->reading || memory->asking || memory->reading_repairs;
}

static void init_requests(struct local_memory *memory) {
    memory->read = (struct change_read_batch){
        .request = {.done = read_done, .mailbox = memory->mailbox},
        .limit = LOCAL_MEMORY_CHANGES,
        .orders = memory->orders,
        .positions = memory->positions,
        .parts = memory->parts,
    };
    memory->end = (struct change_end){.request = {.done = end_told, .mailbox = memory->mailbox}};
    memory->repair_read = (struct topic_read){
        .request = {.done = repairs_read, .mailbox = memory->mailbox},
        .wait_ms = REPAIRS_WAIT_MS,
        .limit = LOCAL_MEMORY_REPAIRS,
        .messages = memory->messages,
    };
}

struct local_memory *local_memory_create(const struct local_memory_parts *parts) {
    struct change_cursor newest;
    struct local_memory *memory = aligned_alloc(CACHE_LINE_BYTES, sizeof(*memory));
    if (memory == NULL) {
        return NULL;
    }
    memset(memory, 0, sizeof(*memory));
    memory->cache.ops = &cache_ops;
    memory->clock = parts->clock;
    memory->log = parts->log;
    memory->table = parts->table;
    memory->changes = parts->changes;
    memory->repairs = parts->repairs;
    memory->mailbox = parts->mailbox;
    memory->trust_us = (int64_t)parts->options->fill_trust_ms * 1000;
    memory->lag_max_us = (int64_t)parts->options->lag_max_ms * 1000;
    memory->current_as_of_us = clock_now_us(parts->clock);
    atomic_init(&memory->current_until_us, INT64_MIN);
    init_requests(memory);
    bool has_ledger = fill_ledger_init(&memory->ledger, LOCAL_MEMORY_FILLS);
    if (!ring_init(&memory->offers, LOCAL_MEMORY_OFFERS) || !has_ledger) {
        local_memory_destroy(memory);
        return NULL;
    }
    memory->view.ops = &view_ops;
    memory->changes->ops->newest(memory->changes, &newest);
    memory->parts_count = newest.parts;
    set_position(memory, &newest);
    memory->watch.mailbox = parts->mailbox;
    atomic_init(&memory->watch.active, 1);
    memory->changes->ops->watch(memory->changes, &memory->watch);
    return memory;
}

void local_memory_destroy(struct local_memory *memory) {
    struct order_cache_put *offer;
    if (memory == NULL) {
        return;
    }
    while (memory->offers.cells != NULL && (offer = ring_pop(&memory->offers)) != NULL) {
        memset(offer->results, ORDER_RESULT_UNAVAILABLE, offer->count);
        port_complete(&offer->request);
    }
    if (memory->offers.cells != NULL) {
        ring_deinit(&memory->offers);
    }
    fill_ledger_deinit(&memory->ledger);
    free(memory);
}

struct order_cache *local_memory_cache(struct local_memory *memory) {
    return &memory->cache;
}

const _Atomic int64_t *local_memory_current_until(const struct local_memory *memory) {
    return &memory->current_until_us;
}

struct change_log *local_memory_changes(struct local_memory *memory) {
    return &memory->view;
}

struct local_memory_metrics *local_memory_metrics(struct local_memory *memory) {
    return &memory->metrics;
}
