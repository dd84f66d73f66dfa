#include "adapter/embedded/embedded_store.h"

#include "adapter/embedded/store_items.h"

#include <stdlib.h>

/* After this time without a frame the journal is ended with an empty one, so that what was
 * acknowledged is proven not to be a torn tail. */
#define SEAL_AFTER_US 100000

#define PUBLISH_AHEAD 16

const struct metric_description embedded_store_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct embedded_store_metrics, __VA_ARGS__)
    EMBEDDED_STORE_METRICS(X)
#undef X
};
const size_t embedded_store_metric_count = ARRAY_COUNT(embedded_store_metric_table);

/* --- Submission: any thread. --- */

static struct embedded_store *store_of(struct order_store *store) {
    return (struct embedded_store *)store;
}

static enum port_submit submit(struct embedded_store *store, struct port_request *request,
                               enum store_operation operation) {
    request->operation = operation;
    return mailbox_send(&store->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_create(struct order_store *store, struct order_create_batch *batch) {
    batch->progress = 0;
    return submit(store_of(store), &batch->request, STORE_CREATE);
}

static enum port_submit submit_change(struct order_store *store, struct order_change_batch *batch) {
    batch->progress = 0;
    return submit(store_of(store), &batch->request, STORE_CHANGE);
}

static enum port_submit submit_release(struct order_store *store,
                                       struct order_release_batch *batch) {
    batch->progress = 0;
    return submit(store_of(store), &batch->request, STORE_RELEASE);
}

static enum port_submit submit_expire(struct order_store *store, struct order_expire_batch *batch) {
    return submit(store_of(store), &batch->request, STORE_EXPIRE);
}

/** The RAM table as a cache: an archived order that was read stays, and may leave again. */
static enum port_submit submit_fill(struct order_cache *cache, struct order_cache_put *batch) {
    struct embedded_store *store = CONTAINER_OF(cache, struct embedded_store, cache);
    return submit(store, &batch->request, STORE_FILL);
}

static enum port_submit get(struct order_store *port, struct order_get_batch *batch) {
    struct embedded_store *store = store_of(port);
    for (size_t i = 0; i < batch->count; i++) {
        bool found = order_table_get(store->table, batch->order_ids[i], &batch->orders[i]);
        batch->results[i] = found ? ORDER_RESULT_FOUND : ORDER_RESULT_ABSENT;
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

/** Answers a look-up by reference from memory; NONE where the archive has to be asked: an order
 *  that has left may have the reference, even where the table holds one that had it before. */
static enum order_result find_in_memory(const struct embedded_store *store,
                                        struct order_record *order) {
    uint64_t hash = order_record_reference_hash(order);
    struct order_record found;
    bool is_here = order_table_find(store->table, order, hash, &found);
    bool is_its =
        is_here && order_holds_reference(&found, clock_now_us(store->clock), store->window_us);
    if (!is_its && reference_filter_may_contain(store->filter, hash)) {
        return ORDER_RESULT_NONE;
    }
    if (is_here) {
        *order = found;
    }
    return is_here ? ORDER_RESULT_FOUND : ORDER_RESULT_ABSENT;
}

static enum port_submit find(struct order_store *port, struct order_find_batch *batch) {
    struct embedded_store *store = store_of(port);
    bool complete = true;
    for (size_t i = 0; i < batch->count; i++) {
        batch->results[i] = (uint8_t)find_in_memory(store, &batch->orders[i]);
        complete = complete && batch->results[i] != ORDER_RESULT_NONE;
    }
    if (!complete) {
        return store->references->ops->resolve(store->references, batch);
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static enum port_submit scan(struct order_store *port, struct order_scan_batch *batch) {
    store_scan(store_of(port), batch);
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static const struct order_store_ops store_ops = {
    .create = submit_create,
    .change = submit_change,
    .get = get,
    .find = find,
    .scan = scan,
    .release = submit_release,
    .expire = submit_expire,
};

static const struct order_cache_ops cache_ops = {.put = submit_fill};

/* --- The writer. --- */

bool embedded_store_init(struct embedded_store *store, const struct embedded_store_parts *parts) {
    store->store.ops = &store_ops;
    store->cache.ops = &cache_ops;
    store->clock = parts->clock;
    store->log = parts->log;
    store->table = parts->table;
    store->filter = parts->filter;
    store->references = parts->references;
    store->tail = parts->tail;
    store->journal = parts->journal;
    store->window_us = parts->window_us;
    order_id_generator_init(&store->ids, EMBEDDED_NODE);
    store->finals = calloc(EMBEDDED_STORE_FINALS, sizeof(*store->finals));
    return store->finals != NULL && mailbox_init(&store->inbox, EMBEDDED_STORE_INBOX) &&
           store_group_init(&store->group, parts->limits->frame_records_max,
                            parts->limits->frame_releases_max);
}

void embedded_store_deinit(struct embedded_store *store) {
    free(store->finals);
    store_group_deinit(&store->group);
    mailbox_deinit(&store->inbox);
}

static void stop(struct embedded_store *store, const struct fault *fault) {
    atomic_store_explicit(&store->stopped, 1, memory_order_relaxed);
    metric_set(&store->metrics.stopped, 1);
    log_error(store->log, "store",
              "stopped: %s; what this write held is unknown until a restart reads the journal; "
              "creates and changes are refused, reads go on",
              fault->text);
}

/** Notes an order that became final, for the archive pipeline. */
static void note_final(struct embedded_store *store, uint64_t order_id) {
    uint64_t written = atomic_load_explicit(&store->finals_written, memory_order_relaxed);
    uint64_t read = atomic_load_explicit(&store->finals_read, memory_order_acquire);
    if (written - read == EMBEDDED_STORE_FINALS) {
        atomic_store_explicit(&store->finals_overflowed, 1, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&store->finals[written % EMBEDDED_STORE_FINALS], order_id,
                          memory_order_relaxed);
    atomic_store_explicit(&store->finals_written, written + 1, memory_order_release);
}

/** Begins to load what putting the records from `from` on will touch, and returns the first that it
 *  left. In one run, for the reason that prefetch_creates has. */
static uint32_t prefetch_puts(const struct embedded_store *store, uint32_t from) {
    const struct store_group *group = &store->group;
    uint32_t end = (uint32_t)bytes_min_u64(from + PUBLISH_AHEAD, group->record_count);
    for (uint32_t i = from; i < end; i++) {
        order_table_prefetch(store->table, group->records[i].order_id, group->hashes[i]);
    }
    return end;
}

/** Puts what is durable now where readers see it. */
static void publish(struct embedded_store *store) {
    struct store_group *group = &store->group;
    uint32_t loaded = prefetch_puts(store, 0);
    for (uint32_t i = 0; i < group->record_count; i++) {
        if (i + PUBLISH_AHEAD >= loaded && loaded < group->record_count) {
            loaded = prefetch_puts(store, loaded);
        }
        enum order_table_put put =
            order_table_put(store->table, &group->records[i], group->hashes[i], false);
        assert(put != ORDER_TABLE_FULL); /* room was reserved before the order was accepted */
        if (order_status_is_final(group->records[i].status)) {
            note_final(store, group->records[i].order_id);
        }
    }
    for (uint32_t i = 0; i < group->release_count; i++) {
        const struct journal_release *release = &group->releases[i];
        reference_filter_add(store->filter, release->reference_hash);
        (void)order_table_release(store->table, release->order_id, group->release_versions[i]);
    }
    change_tail_add(store->tail, group->records, group->record_count);
    atomic_store_explicit(&store->published_sequence, store->journal->next_sequence - 1,
                          memory_order_release);
    for (size_t i = 0; i < store->watch_count && group->record_count > 0; i++) {
        if (atomic_load_explicit(&store->watches[i]->active, memory_order_relaxed) != 0) {
            mailbox_wake(store->watches[i]->mailbox);
        }
    }
}

/** Appends the group as one frame. False where that failed, and the store has stopped. */
static bool append(struct embedded_store *store, int64_t now_us) {
    struct store_group *group = &store->group;
    struct fault fault;
    size_t bytes;
    int64_t begin_us = clock_monotonic_us();
    if (journal_writer_append(store->journal, group->record_count, group->release_count,
                              group->releases, now_us, &bytes, &fault) != DISK_OK) {
        stop(store, &fault);
        return false;
    }
    histogram_add(&store->metrics.write_microseconds, (uint64_t)(clock_monotonic_us() - begin_us));
    histogram_add(&store->metrics.group_items, group->record_count + group->release_count);
    metric_add(&store->metrics.frames_total, 1);
    metric_add(&store->metrics.journal_bytes_total, bytes);
    atomic_fetch_add_explicit(&store->appended_bytes, bytes, memory_order_relaxed);
    store->last_append_us = now_us;
    store->sealed = store_group_is_empty(group);
    return true;
}

void embedded_store_seal(struct embedded_store *store) {
    if (store->sealed || embedded_store_is_stopped(store)) {
        return;
    }
    enum journal_room room = journal_writer_prepare(store->journal);
    if (room == JOURNAL_ROOM_ANY || room == JOURNAL_ROOM_NO_CREATES) {
        store_group_begin(&store->group, journal_writer_records(store->journal));
        if (append(store, clock_now_us(store->clock))) {
            publish(store);
        }
    }
}

/** Answers the keeper's question for the state to which a checkpoint belongs. */
static void give_snapshot(struct embedded_store *store) {
    if (atomic_load_explicit(&store->snapshot_state, memory_order_acquire) !=
        STORE_SNAPSHOT_WANTED) {
        return;
    }
    store->snapshot.sequence = store->journal->next_sequence - 1;
    store->snapshot.next_change = store->journal->next_change;
    store->snapshot.time_us = clock_now_us(store->clock);
    store->snapshot.filter_rotated_us = store->filter_rotated_us;
    memcpy(store->snapshot.last_ids, store->ids.last, sizeof(store->ids.last));
    atomic_store_explicit(&store->snapshot_state, STORE_SNAPSHOT_TAKEN, memory_order_release);
}

static void take_requests(struct embedded_store *store) {
    struct port_request *request;
    while (store->active_count < EMBEDDED_STORE_ACTIVE &&
           (request = mailbox_take(&store->inbox)) != NULL) {
        store->active[store->active_count++] = request;
    }
}

/** Judges items of the active requests until the group is full. `begins[i]` is where request i
 *  stood before. Returns how many requests were looked at. */
static size_t form_group(struct embedded_store *store, const struct store_judge *judge,
                         size_t *begins) {
    size_t looked_at = 0;
    while (looked_at < store->active_count && !store_group_is_full(&store->group)) {
        struct port_request *request = store->active[looked_at];
        begins[looked_at] = store_request_progress(request);
        store_request_judge(store, judge, request);
        looked_at++;
    }
    return looked_at;
}

/** Completes the requests that are through, and keeps the others in their order. */
static void complete_requests(struct embedded_store *store, size_t looked_at) {
    size_t kept = 0;
    for (size_t i = 0; i < store->active_count; i++) {
        struct port_request *request = store->active[i];
        if (i < looked_at && store_request_is_through(request)) {
            port_complete(request);
        } else {
            store->active[kept++] = request;
        }
    }
    store->active_count = kept;
}

static void note_room(struct embedded_store *store, enum journal_room room) {
    bool full = room == JOURNAL_ROOM_NONE || room == JOURNAL_ROOM_NO_CREATES;
    metric_set(&store->metrics.disk_full, full ? 1 : 0);
    if (full) {
        log_write_limited(store->log, &store->limit, LOG_WARNING, "store",
                          "the disk is full: creates are refused%s",
                          room == JOURNAL_ROOM_NONE ? ", changes too" : "");
    }
}

bool embedded_store_step(struct embedded_store *store) {
    size_t begins[EMBEDDED_STORE_ACTIVE];
    int64_t now_us = clock_now_us(store->clock);
    give_snapshot(store);
    take_requests(store);
    if (store->active_count == 0) {
        if (now_us - store->last_append_us > SEAL_AFTER_US) {
            embedded_store_seal(store);
        }
        return false;
    }
    struct store_judge judge = {.now_us = now_us, .stopped = embedded_store_is_stopped(store)};
    if (!judge.stopped) {
        enum journal_room room = journal_writer_prepare(store->journal);
        if (room == JOURNAL_ROOM_LATER) {
            metric_add(&store->metrics.segment_waits_total, 1);
            return false;
        }
        note_room(store, room);
        judge.refuse_creates = room != JOURNAL_ROOM_ANY;
        judge.refuse_all = room == JOURNAL_ROOM_NONE;
    }
    store_group_begin(&store->group, journal_writer_records(store->journal));
    store->creates_in_group = 0;
    size_t looked_at = form_group(store, &judge, begins);
    bool durable = true;
    if (!store_group_is_empty(&store->group)) {
        durable = append(store, now_us);
        if (durable) {
            publish(store);
        }
    }
    for (size_t i = 0; i < looked_at; i++) {
        store_request_conclude(store, store->active[i], begins[i], durable);
    }
    complete_requests(store, looked_at);
    return true;
}
