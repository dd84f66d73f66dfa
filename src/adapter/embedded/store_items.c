#include "adapter/embedded/store_items.h"

/** Marks a result that holds only once the frame is durable. */
#define IN_FLIGHT 0x80

#define JUDGE_AHEAD 16

static uint8_t in_flight(enum order_result result) {
    return (uint8_t)(result | IN_FLIGHT);
}

/* --- Creates. --- */

/** The result for a draft whose reference has the order `known` already; it takes the draft's
 *  place. */
static enum order_result meet_existing(struct order_record *draft,
                                       const struct order_record *known) {
    bool same = order_record_same_request(draft, known);
    *draft = *known;
    return same ? ORDER_RESULT_REPLAYED : ORDER_RESULT_CONFLICT;
}

/** Looks in the table for a live order with the draft's reference. Expired ones that are still
 *  there lose theirs. */
static bool find_in_table(struct embedded_store *store, const struct order_record *draft,
                          uint64_t hash, int64_t now_us, struct order_record *known) {
    while (order_table_find(store->table, draft, hash, known)) {
        if (order_holds_reference(known, now_us, store->window_us)) {
            return true;
        }
        order_table_forget_reference(store->table, known->order_id, hash);
    }
    return false;
}

/** Looks for the draft's reference among the archived orders. */
static enum reference_answer find_in_archive(struct embedded_store *store,
                                             const struct order_record *draft, uint64_t hash,
                                             int64_t now_us, struct order_record *known) {
    if (reference_filter_is_empty(store->filter) ||
        !reference_filter_may_contain(store->filter, hash)) {
        return REFERENCE_ABSENT;
    }
    metric_add(&store->metrics.archive_lookups_total, 1);
    return store->references->ops->find(store->references, draft, hash, now_us - store->window_us,
                                        known);
}

/** Gives the draft an id and its first version, and adds it to the group. */
static enum order_result create(struct embedded_store *store, struct order_record *draft,
                                uint64_t hash, int64_t now_us) {
    if (!order_table_reserve(store->table, store->creates_in_group + 1) ||
        !order_id_generator_next(&store->ids, order_slot_from_hash(hash),
                                 order_tick_from_us(now_us), &draft->order_id)) {
        return ORDER_RESULT_BUSY;
    }
    draft->version = 1;
    draft->status = ORDER_STATUS_PENDING;
    draft->created_at_us = now_us;
    draft->updated_at_us = now_us;
    order_record_seal(draft);
    store_group_add_created(&store->group, draft, hash);
    store->creates_in_group++;
    return ORDER_RESULT_CREATED;
}

static uint8_t judge_create(struct embedded_store *store, const struct store_judge *judge,
                            struct order_record *draft, uint64_t hash) {
    struct order_record known;
    if (judge->stopped) {
        return ORDER_RESULT_UNAVAILABLE;
    }
    const struct order_record *mate = store_group_find_reference(&store->group, draft, hash);
    if (mate != NULL) {
        return in_flight(meet_existing(draft, mate));
    }
    if (find_in_table(store, draft, hash, judge->now_us, &known)) {
        return (uint8_t)meet_existing(draft, &known);
    }
    switch (find_in_archive(store, draft, hash, judge->now_us, &known)) {
    case REFERENCE_FOUND:
        return (uint8_t)meet_existing(draft, &known);
    case REFERENCE_UNAVAILABLE:
        return ORDER_RESULT_UNAVAILABLE;
    case REFERENCE_ABSENT:
        break;
    }
    if (judge->refuse_creates) {
        return ORDER_RESULT_BUSY;
    }
    enum order_result result = create(store, draft, hash, judge->now_us);
    return result == ORDER_RESULT_CREATED ? in_flight(result) : (uint8_t)result;
}

/** Begins to load what judging the items from `from` on will touch, and returns the first that it
 *  left. In one run: each look goes to a page of its own, and the processor walks the tables of
 *  several pages at once only where it meets them close together. */
static size_t prefetch_creates(const struct embedded_store *store,
                               const struct order_create_batch *batch, size_t from) {
    size_t end = bytes_min_size(from + JUDGE_AHEAD, batch->count);
    for (size_t item = from; item < end; item++) {
        order_table_prefetch_reference(store->table, batch->reference_hashes[item]);
    }
    if (!reference_filter_is_empty(store->filter)) {
        for (size_t item = from; item < end; item++) {
            reference_filter_prefetch(store->filter, batch->reference_hashes[item]);
        }
    }
    return end;
}

static void judge_creates(struct embedded_store *store, const struct store_judge *judge,
                          struct order_create_batch *batch) {
    size_t loaded = prefetch_creates(store, batch, batch->progress);
    while (batch->progress < batch->count && !store_group_is_full(&store->group)) {
        size_t item = batch->progress++;
        if (item + JUDGE_AHEAD >= loaded && loaded < batch->count) {
            loaded = prefetch_creates(store, batch, loaded);
        }
        batch->results[item] =
            judge_create(store, judge, &batch->orders[item], batch->reference_hashes[item]);
    }
}

/* --- Changes. --- */

static uint8_t judge_change(struct embedded_store *store, const struct store_judge *judge,
                            const struct order_change *change, struct order_record *order) {
    if (judge->stopped) {
        return ORDER_RESULT_UNAVAILABLE;
    }
    const struct order_record *mate = store_group_find_order(&store->group, change->order_id);
    struct order_record current;
    if (mate != NULL) {
        current = *mate;
    } else if (!order_table_get(store->table, change->order_id, &current)) {
        return ORDER_RESULT_ABSENT;
    }
    *order = current;
    enum order_result result =
        order_result_from_verdict(order_change_judge(&current, change, judge->now_us, order));
    if (result == ORDER_RESULT_CHANGED) {
        if (judge->refuse_all) {
            return ORDER_RESULT_BUSY;
        }
        store_group_add_changed(&store->group, order, order_record_reference_hash(order));
        return in_flight(result);
    }
    return mate != NULL ? in_flight(result) : (uint8_t)result;
}

static void judge_changes(struct embedded_store *store, const struct store_judge *judge,
                          struct order_change_batch *batch) {
    while (batch->progress < batch->count && !store_group_is_full(&store->group)) {
        size_t item = batch->progress++;
        batch->results[item] =
            judge_change(store, judge, &batch->changes[item], &batch->orders[item]);
    }
}

/* --- Releases, fills, expiry. --- */

static uint8_t judge_release(struct embedded_store *store, const struct store_judge *judge,
                             const struct order_record *archived) {
    struct order_record current;
    if (judge->stopped) {
        return ORDER_RESULT_UNAVAILABLE;
    }
    if (!order_table_get(store->table, archived->order_id, &current)) {
        return ORDER_RESULT_RELEASED;
    }
    if (current.version != archived->version || !order_status_is_final(current.status)) {
        return ORDER_RESULT_MISMATCH;
    }
    if (judge->refuse_all) {
        return ORDER_RESULT_BUSY;
    }
    store_group_add_release(&store->group, current.order_id, current.version,
                            order_record_reference_hash(&current));
    return in_flight(ORDER_RESULT_RELEASED);
}

static void judge_releases(struct embedded_store *store, const struct store_judge *judge,
                           struct order_release_batch *batch) {
    while (batch->progress < batch->count && !store_group_is_full(&store->group)) {
        size_t item = batch->progress++;
        batch->results[item] = judge_release(store, judge, &batch->orders[item]);
    }
}

/** Keeps archived orders that were read. One that is in the table stays what it is: it may be on
 *  its way to the archive, and must not leave before its release is in the journal. Where there is
 *  no room, nothing is lost. */
static void fill(struct embedded_store *store, struct order_cache_put *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        const struct order_record *order = &batch->orders[i];
        struct order_record present;
        if (!order_table_get(store->table, order->order_id, &present)) {
            (void)order_table_put(store->table, order, order_record_reference_hash(order), true);
        }
        batch->results[i] = ORDER_RESULT_STORED;
    }
}

/** Forgets references that are out of the window: the filter turns to its next generation when the
 *  younger one has taken keys for a whole window, not while a checkpoint copies it. The archive
 *  forgets for good, so only what is out of the window by the newest stored time: after a restart
 *  the clock may go on from there. */
static void expire(struct embedded_store *store, const struct store_judge *judge,
                   struct order_expire_batch *batch) {
    bool idle =
        atomic_load_explicit(&store->snapshot_state, memory_order_acquire) == STORE_SNAPSHOT_NONE;
    if (idle && judge->now_us - store->filter_rotated_us >= store->window_us) {
        reference_filter_rotate(store->filter);
        store->filter_rotated_us = judge->now_us;
    }
    int64_t stored_us = store->last_append_us - store->window_us;
    store->references->ops->expire(store->references,
                                   batch->before_us < stored_us ? batch->before_us : stored_us);
    batch->count = 0;
    batch->more = false;
    batch->result = ORDER_RESULT_STORED;
}

/* --- Requests of any kind. --- */

void store_request_judge(struct embedded_store *store, const struct store_judge *judge,
                         struct port_request *request) {
    switch ((enum store_operation)request->operation) {
    case STORE_CREATE:
        judge_creates(store, judge, (struct order_create_batch *)request);
        break;
    case STORE_CHANGE:
        judge_changes(store, judge, (struct order_change_batch *)request);
        break;
    case STORE_RELEASE:
        judge_releases(store, judge, (struct order_release_batch *)request);
        break;
    case STORE_EXPIRE:
        expire(store, judge, (struct order_expire_batch *)request);
        break;
    case STORE_FILL:
        fill(store, (struct order_cache_put *)request);
        break;
    }
}

/** How far a request is: which items have been judged, of how many. */
struct request_view {
    size_t progress;
    size_t count;
    uint8_t *results; /* NULL where there are none in flight */
};

static struct request_view view_of(const struct port_request *request) {
    switch ((enum store_operation)request->operation) {
    case STORE_CREATE: {
        const struct order_create_batch *batch = (const struct order_create_batch *)request;
        return (struct request_view){batch->progress, batch->count, batch->results};
    }
    case STORE_CHANGE: {
        const struct order_change_batch *batch = (const struct order_change_batch *)request;
        return (struct request_view){batch->progress, batch->count, batch->results};
    }
    case STORE_RELEASE: {
        const struct order_release_batch *batch = (const struct order_release_batch *)request;
        return (struct request_view){batch->progress, batch->count, batch->results};
    }
    case STORE_EXPIRE:
    case STORE_FILL:
        break;
    }
    return (struct request_view){0, 0, NULL};
}

size_t store_request_progress(const struct port_request *request) {
    return view_of(request).progress;
}

bool store_request_is_through(const struct port_request *request) {
    struct request_view view = view_of(request);
    return view.progress == view.count;
}

/** The counter of a result; NULL where none is kept. */
static _Atomic uint64_t *counter_of(struct embedded_store_metrics *metrics,
                                    enum order_result result) {
    switch (result) {
    case ORDER_RESULT_CREATED:
        return &metrics->created_total;
    case ORDER_RESULT_REPLAYED:
        return &metrics->replayed_total;
    case ORDER_RESULT_CONFLICT:
        return &metrics->conflicts_total;
    case ORDER_RESULT_CHANGED:
        return &metrics->changed_total;
    case ORDER_RESULT_RELEASED:
        return &metrics->released_total;
    case ORDER_RESULT_BUSY:
        return &metrics->busy_total;
    case ORDER_RESULT_UNAVAILABLE:
        return &metrics->unavailable_total;
    case ORDER_RESULT_UNKNOWN:
        return &metrics->unknown_total;
    default:
        return NULL;
    }
}

void store_request_conclude(struct embedded_store *store, struct port_request *request,
                            size_t begin, bool durable) {
    struct request_view view = view_of(request);
    uint64_t counts[ORDER_RESULT_BROKEN + 1] = {0};
    for (size_t i = begin; i < view.progress; i++) {
        if ((view.results[i] & IN_FLIGHT) != 0) {
            view.results[i] =
                durable ? (uint8_t)(view.results[i] & ~IN_FLIGHT) : (uint8_t)ORDER_RESULT_UNKNOWN;
        }
        counts[view.results[i]]++;
    }
    for (unsigned result = 0; result < ARRAY_COUNT(counts); result++) {
        _Atomic uint64_t *counter = counter_of(&store->metrics, (enum order_result)result);
        if (counts[result] > 0 && counter != NULL) {
            metric_add(counter, counts[result]);
        }
    }
}

/* --- Scans. --- */

/** Buckets that one slice looks at, at most: 4 MiB of the index. */
#define SCAN_BUCKETS_MAX 65536
#define SCAN_IDS_MAX 4096

struct scan_filter {
    enum order_scan_kind kind;
    uint64_t before_tick;
    uint64_t next_tick; /* the oldest that is open and not overdue */
    uint64_t ids[SCAN_IDS_MAX];
    size_t count;
};

static void pick(void *context, const struct order_table_entry *entry) {
    struct scan_filter *filter = context;
    bool final = order_status_is_final(entry->status);
    uint64_t tick = order_id_tick(entry->order_id);
    bool overdue = !final && tick <= filter->before_tick;
    if (!final && !overdue) {
        filter->next_tick = bytes_min_u64(filter->next_tick, tick);
    }
    if (filter->kind == ORDER_SCAN_FINAL ? final && !entry->evictable : overdue) {
        filter->ids[filter->count++] = entry->order_id;
    }
}

/** Reads what was picked, and keeps what still is as it should be. */
static void read_picked(const struct order_table *table, const struct scan_filter *filter,
                        struct order_scan_batch *batch) {
    for (size_t i = 0; i < filter->count; i++) {
        struct order_record *order = &batch->orders[batch->count];
        if (!order_table_get(table, filter->ids[i], order)) {
            continue;
        }
        bool final = order_status_is_final(order->status);
        int64_t since_us =
            filter->kind == ORDER_SCAN_FINAL ? order->updated_at_us : order->created_at_us;
        if (final == (filter->kind == ORDER_SCAN_FINAL) && since_us < batch->before_us) {
            batch->count++;
        } else if (!final) {
            batch->next_us =
                order->created_at_us < batch->next_us ? order->created_at_us : batch->next_us;
        }
    }
}

/** Picks from the table, from the cursor on. */
static void walk(const struct order_table *table, struct order_scan_batch *batch,
                 struct scan_filter *filter) {
    size_t limit = bytes_min_size(batch->limit, SCAN_IDS_MAX);
    uint64_t seen = 0;
    assert(batch->limit >= 4); /* a bucket's worth */
    do {
        /* Every bucket that is looked at must find room for all it holds. */
        uint64_t stride = (limit - filter->count) / 4;
        order_table_scan(table, &batch->cursor, stride, pick, filter);
        seen += stride;
    } while (batch->cursor != 0 && limit - filter->count >= 4 && seen < SCAN_BUCKETS_MAX);
}

/** Picks what the writer noted. */
static void take_noted(struct embedded_store *store, struct order_scan_batch *batch,
                       struct scan_filter *filter) {
    size_t limit = bytes_min_size(batch->limit, SCAN_IDS_MAX);
    uint64_t read = atomic_load_explicit(&store->finals_read, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&store->finals_written, memory_order_acquire);
    while (read < written && filter->count < limit) {
        filter->ids[filter->count++] = atomic_load_explicit(
            &store->finals[read++ % EMBEDDED_STORE_FINALS], memory_order_relaxed);
    }
    atomic_store_explicit(&store->finals_read, read, memory_order_release);
    batch->overlooked =
        atomic_exchange_explicit(&store->finals_overflowed, 0, memory_order_relaxed) != 0;
}

void store_scan(struct embedded_store *store, struct order_scan_batch *batch) {
    struct scan_filter filter;
    filter.kind = batch->kind;
    filter.before_tick = order_tick_from_us(batch->before_us) + ORDER_TICKS_AHEAD_MAX;
    filter.next_tick = UINT64_MAX;
    filter.count = 0;
    batch->count = 0;
    batch->overlooked = false;
    batch->result = ORDER_RESULT_FOUND;
    if (batch->kind == ORDER_SCAN_REFERENCES) {
        batch->cursor = 0; /* a reference is in the order's own entry here */
        batch->next_us = INT64_MAX;
        return;
    }
    if (batch->thorough || batch->kind == ORDER_SCAN_OVERDUE) {
        walk(store->table, batch, &filter);
    } else {
        take_noted(store, batch, &filter);
    }
    batch->next_us =
        filter.next_tick == UINT64_MAX
            ? INT64_MAX
            : order_tick_to_us(filter.next_tick) - (int64_t)ORDER_TICKS_AHEAD_MAX * ORDER_TICK_US;
    read_picked(store->table, &filter, batch);
}
