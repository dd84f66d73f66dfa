#include "service/lookup_cluster.h"

#include "base/hash.h"
#include "order/order_id.h"

#include <stdlib.h>

#define INDEX_SLOTS 16384 /* chains of one on the average, at most half full */

/* An order that the archive does not have is in the store, and stays there for a second at least
 * (archive.settle_seconds) once the archive has it. What the store says later than this after the
 * archive was asked proves nothing. */
#define ARCHIVE_BELIEVED_US 500000

const struct config_option lookup_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct lookup_options, __VA_ARGS__)
    LOOKUP_OPTIONS(X)
#undef X
};
const size_t lookup_option_count = ARRAY_COUNT(lookup_option_table);

const struct metric_description lookup_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct lookup_metrics, __VA_ARGS__)
    LOOKUP_METRICS(X)
#undef X
};
const size_t lookup_metric_count = ARRAY_COUNT(lookup_metric_table);

enum tier { TIER_CACHE, TIER_STORE, TIER_ARCHIVE, TIER_COUNT };

/** One item of a batch that waits for an entry. */
struct reader {
    struct lookup_batch *batch;
    size_t item;
    bool late; /* it came after a database was asked: what is written by now may not be told */
    struct reader *next;
};

/** An order on its way. */
struct entry {
    struct order_cache_fill lock; /* first; of the lock, then of the fill */
    struct lookup_cluster *cluster;
    struct entry *chain; /* in the index, or the list of free ones */
    struct entry *next;  /* in a queue */
    struct reader *readers;
    uint64_t order_id;
    uint32_t min_version;  /* the highest that a reader wants */
    int64_t wait_until_us; /* 0: it has not waited yet */
    int64_t look_at_us;    /* while it waits */
    bool locked;
    bool asked[TIER_COUNT];
    bool archive_is_last;     /* the store was asked before it */
    int64_t archive_asked_us; /* not before this */
    bool failed;              /* a tier that may hold it did not answer */
};

struct entry_queue {
    struct entry *first;
    struct entry **last;
};

/** Orders on their way to one tier. */
struct tier_batch {
    struct order_get_batch batch; /* first */
    struct lookup_cluster *cluster;
    enum tier tier;
    struct tier_batch *next;
    struct entry *entries[LOOKUP_TIER_ITEMS];
    uint64_t ids[LOOKUP_TIER_ITEMS];
    struct order_record orders[LOOKUP_TIER_ITEMS];
    uint8_t results[LOOKUP_TIER_ITEMS];
};

struct lookup_cluster {
    struct lookup lookup; /* first */
    const struct clock *clock;
    struct order_cache *cache;
    struct order_store *store;
    struct order_archive *archive;
    struct lookup_options options;
    int64_t open_us;
    bool (*was_given)(void *, uint64_t order_id);
    void *was_given_context;
    uint64_t next_token;
    struct mailbox *mailbox;
    _Atomic uint32_t submitted; /* batches */
    size_t busy_entries;
    struct entry_queue queues[TIER_COUNT];
    struct entry_queue waiting; /* for an entry of somebody else's look-up, by look_at_us */
    struct tier_batch *free_batches[TIER_COUNT];
    struct entry *free_entries;
    struct reader *free_readers;
    struct lookup_metrics metrics;
    struct entry *index[INDEX_SLOTS];
    struct tier_batch batches[TIER_COUNT * LOOKUP_TIER_BATCHES];
    struct entry entries[LOOKUP_ENTRIES];
    struct reader readers[LOOKUP_READERS];
};

/* --- Queues and the index of entries. --- */

static void queue_init(struct entry_queue *queue) {
    queue->first = NULL;
    queue->last = &queue->first;
}

static void enqueue(struct entry_queue *queue, struct entry *entry) {
    entry->next = NULL;
    *queue->last = entry;
    queue->last = &entry->next;
}

static struct entry *dequeue(struct entry_queue *queue) {
    struct entry *entry = queue->first;
    if (entry != NULL) {
        queue->first = entry->next;
        if (queue->first == NULL) {
            queue->last = &queue->first;
        }
    }
    return entry;
}

static struct entry **index_slot(struct lookup_cluster *cluster, uint64_t order_id) {
    struct entry **slot = &cluster->index[hash_mix(order_id) & (INDEX_SLOTS - 1)];
    while (*slot != NULL && (*slot)->order_id != order_id) {
        slot = &(*slot)->chain;
    }
    return slot;
}

static void free_entry(struct entry *entry) {
    struct lookup_cluster *cluster = entry->cluster;
    cluster->busy_entries--;
    entry->chain = cluster->free_entries;
    cluster->free_entries = entry;
}

/* --- Answers. --- */

static void complete_item(struct lookup_cluster *cluster, struct lookup_batch *batch) {
    if (--batch->open == 0) {
        atomic_fetch_sub_explicit(&cluster->submitted, 1, memory_order_relaxed);
        port_complete(&batch->get.request);
    }
}

static uint32_t min_version_of(const struct reader *reader) {
    const uint32_t *min_versions = reader->batch->min_versions;
    return min_versions != NULL ? min_versions[reader->item] : 0;
}

static void answer_reader(struct lookup_cluster *cluster, struct reader *reader,
                          enum order_result result, const struct order_record *order) {
    struct lookup_batch *batch = reader->batch;
    if (order != NULL) {
        batch->get.orders[reader->item] = *order;
    }
    batch->get.results[reader->item] = (uint8_t)result;
    reader->next = cluster->free_readers;
    cluster->free_readers = reader;
    complete_item(cluster, batch);
}

/** True where a reader came too late to be told this: what it knows of may have been written since
 *  the databases were asked. */
static bool is_outdated(const struct reader *reader, enum order_result result,
                        const struct order_record *order) {
    return reader->late &&
           (result == ORDER_RESULT_ABSENT ||
            (result == ORDER_RESULT_FOUND && order->version < min_version_of(reader)));
}

static bool join(struct lookup_cluster *cluster, struct reader *reader);

/** Answers everybody who waits, and takes the entry out of the index: whoever asks from now on
 *  begins anew, as do those for whom the answer is outdated. */
static void answer(struct entry *entry, enum order_result result,
                   const struct order_record *order) {
    struct lookup_cluster *cluster = entry->cluster;
    *index_slot(cluster, entry->order_id) = entry->chain;
    for (struct reader *reader = entry->readers; reader != NULL;) {
        struct reader *next = reader->next;
        if (!is_outdated(reader, result, order)) {
            answer_reader(cluster, reader, result, order);
        } else if (!join(cluster, reader)) {
            metric_add(&cluster->metrics.refused_total, 1);
            answer_reader(cluster, reader, ORDER_RESULT_UNAVAILABLE, NULL);
        }
        reader = next;
    }
    entry->readers = NULL;
}

/* --- The fill. --- */

static void fill_done(struct port_request *request) {
    struct entry *entry = (struct entry *)request;
    struct lookup_metrics *metrics = &entry->cluster->metrics;
    if (entry->lock.order.order_id != 0 && entry->lock.result == ORDER_RESULT_STORED) {
        metric_add(&metrics->fills_total, 1);
    } else if (entry->lock.order.order_id != 0 && entry->lock.result == ORDER_RESULT_MISMATCH) {
        metric_add(&metrics->fills_void_total, 1);
    }
    free_entry(entry);
}

/** Gives what was found to the cache where the lock is still ours, or only the lock back. */
static void fill(struct entry *entry, const struct order_record *order) {
    struct order_cache *cache = entry->cluster->cache;
    if (!entry->locked) {
        free_entry(entry);
        return;
    }
    entry->lock.order = order != NULL ? *order : (struct order_record){0};
    entry->lock.request.done = fill_done;
    if (cache->ops->fill(cache, &entry->lock) != PORT_TAKEN) {
        free_entry(entry); /* the lock ends by itself */
    }
}

static void conclude(struct entry *entry, enum order_result result,
                     const struct order_record *order) {
    struct lookup_metrics *metrics = &entry->cluster->metrics;
    if (result == ORDER_RESULT_ABSENT) {
        metric_add(&metrics->absent_total, 1);
    } else if (result == ORDER_RESULT_UNAVAILABLE) {
        metric_add(&metrics->unavailable_total, 1);
    }
    answer(entry, result, order);
    fill(entry, order);
}

/* --- The store and the archive. --- */

static void ask(struct entry *entry, enum tier tier) {
    if (tier == TIER_ARCHIVE) {
        entry->archive_is_last = entry->asked[TIER_STORE];
        entry->archive_asked_us = clock_now_us(entry->cluster->clock);
    }
    entry->asked[tier] = true;
    enqueue(&entry->cluster->queues[tier], entry);
}

/** The tier that probably has the order: by its age it is open, or final and archived. */
static void ask_first(struct entry *entry) {
    struct lookup_cluster *cluster = entry->cluster;
    int64_t created_us = order_tick_to_us(order_id_tick(entry->order_id));
    bool may_be_open = clock_now_us(cluster->clock) - created_us < cluster->open_us;
    ask(entry, may_be_open || cluster->archive == NULL ? TIER_STORE : TIER_ARCHIVE);
}

/** True where the archive was asked so long before the store answered that the order may have moved
 *  there in between. */
static bool may_have_moved(const struct entry *entry) {
    return !entry->archive_is_last && !entry->failed &&
           clock_now_us(entry->cluster->clock) - entry->archive_asked_us > ARCHIVE_BELIEVED_US;
}

/** After a tier that does not have the order, or did not answer: the other one, or the end. */
static void ask_next(struct entry *entry) {
    struct lookup_cluster *cluster = entry->cluster;
    if (!entry->asked[TIER_STORE]) {
        metric_add(&cluster->metrics.second_asked_total, 1);
        ask(entry, TIER_STORE);
    } else if (cluster->archive != NULL && (!entry->asked[TIER_ARCHIVE] || may_have_moved(entry))) {
        metric_add(&cluster->metrics.second_asked_total, 1);
        ask(entry, TIER_ARCHIVE);
    } else {
        conclude(entry, entry->failed ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_ABSENT, NULL);
    }
}

static void take_database_result(struct entry *entry, enum tier tier, uint8_t result,
                                 const struct order_record *order) {
    struct lookup_metrics *metrics = &entry->cluster->metrics;
    if (result == ORDER_RESULT_FOUND) {
        metric_add(tier == TIER_STORE ? &metrics->store_found_total : &metrics->archive_found_total,
                   1);
        conclude(entry, ORDER_RESULT_FOUND, order);
        return;
    }
    entry->failed = entry->failed || result != ORDER_RESULT_ABSENT;
    ask_next(entry);
}

/* --- The lock. --- */

/** Somebody else looks the order up: it is soon in the cache. */
static void wait_for_other(struct entry *entry) {
    struct lookup_cluster *cluster = entry->cluster;
    int64_t now_us = clock_now_us(cluster->clock);
    metric_add(&cluster->metrics.locks_met_total, 1);
    if (entry->wait_until_us == 0) {
        entry->wait_until_us = now_us + (int64_t)cluster->options.wait_ms * 1000;
    }
    entry->look_at_us = now_us + (int64_t)cluster->options.poll_ms * 1000;
    if (entry->look_at_us > entry->wait_until_us) {
        metric_add(&cluster->metrics.provisional_total, 1);
        conclude(entry, ORDER_RESULT_BUSY, NULL);
        return;
    }
    enqueue(&cluster->waiting, entry);
}

static void lock_done(struct port_request *request) {
    struct entry *entry = (struct entry *)request;
    switch (entry->lock.result) {
    case ORDER_RESULT_STORED:
        metric_add(&entry->cluster->metrics.locks_total, 1);
        entry->locked = true;
        ask(entry, TIER_CACHE); /* who had the lock before may have filled it since we looked */
        break;
    case ORDER_RESULT_MISMATCH:
        wait_for_other(entry);
        break;
    default:
        ask_first(entry); /* no lock across processes while the cache does not answer */
        break;
    }
}

static void take_lock(struct entry *entry) {
    struct lookup_cluster *cluster = entry->cluster;
    entry->lock.order_id = entry->order_id;
    entry->lock.token = hash_mix(cluster->next_token++);
    entry->lock.request.done = lock_done;
    if (cluster->cache->ops->lock(cluster->cache, &entry->lock) != PORT_TAKEN) {
        ask_first(entry);
    }
}

/* --- The cache. --- */

static void take_cache_result(struct entry *entry, uint8_t result,
                              const struct order_record *order) {
    struct lookup_metrics *metrics = &entry->cluster->metrics;
    if (result == ORDER_RESULT_FOUND && order->version >= entry->min_version) {
        metric_add(&metrics->cache_hits_total, 1);
        answer(entry, ORDER_RESULT_FOUND, order);
        fill(entry, NULL); /* the cache has it: only the lock goes back */
        return;
    }
    if (entry->locked) {
        ask_first(entry);
        return;
    }
    switch (result) {
    case ORDER_RESULT_FOUND:
    case ORDER_RESULT_ABSENT:
        metric_add(&metrics->cache_misses_total, 1);
        take_lock(entry);
        break;
    case ORDER_RESULT_BROKEN:
        metric_add(&metrics->cache_broken_total, 1);
        take_lock(entry);
        break;
    default:
        metric_add(&metrics->cache_failures_total, 1);
        ask_first(entry);
        break;
    }
}

/* --- Batches to and from the tiers. --- */

static void take_result(struct entry *entry, enum tier tier, uint8_t result,
                        const struct order_record *order) {
    if (tier == TIER_CACHE) {
        take_cache_result(entry, result, order);
    } else {
        take_database_result(entry, tier, result, order);
    }
}

static void tier_done(struct port_request *request) {
    struct tier_batch *batch = (struct tier_batch *)request;
    for (size_t i = 0; i < batch->batch.count; i++) {
        take_result(batch->entries[i], batch->tier, batch->results[i], &batch->orders[i]);
    }
    batch->next = batch->cluster->free_batches[batch->tier];
    batch->cluster->free_batches[batch->tier] = batch;
}

static enum port_submit submit(struct lookup_cluster *cluster, enum tier tier,
                               struct order_get_batch *batch) {
    switch (tier) {
    case TIER_CACHE:
        return cluster->cache->ops->get(cluster->cache, batch);
    case TIER_STORE:
        metric_add(&cluster->metrics.store_asked_total, batch->count);
        return cluster->store->ops->get(cluster->store, batch);
    default:
        metric_add(&cluster->metrics.archive_asked_total, batch->count);
        return cluster->archive->ops->get(cluster->archive, batch);
    }
}

/** Sends what waits for a tier, as far as batches may be under way there. */
static void send(struct lookup_cluster *cluster, enum tier tier) {
    while (cluster->queues[tier].first != NULL && cluster->free_batches[tier] != NULL) {
        struct tier_batch *batch = cluster->free_batches[tier];
        struct entry *entry;
        cluster->free_batches[tier] = batch->next;
        batch->batch.count = 0;
        while (batch->batch.count < LOOKUP_TIER_ITEMS &&
               (entry = dequeue(&cluster->queues[tier])) != NULL) {
            batch->entries[batch->batch.count] = entry;
            batch->ids[batch->batch.count++] = entry->order_id;
        }
        if (submit(cluster, tier, &batch->batch) != PORT_TAKEN) {
            memset(batch->results, ORDER_RESULT_UNAVAILABLE, batch->batch.count);
            tier_done(&batch->batch.request);
        }
    }
}

/* --- Requests come in. --- */

/** Takes a free entry for an order; there must be one. */
static struct entry *begin_entry(struct lookup_cluster *cluster, uint64_t order_id) {
    struct entry *entry = cluster->free_entries;
    cluster->free_entries = entry->chain;
    cluster->busy_entries++;
    entry->chain = NULL;
    entry->order_id = order_id;
    entry->readers = NULL;
    entry->min_version = 0;
    entry->wait_until_us = 0;
    entry->locked = false;
    entry->failed = false;
    entry->archive_is_last = false;
    memset(entry->asked, 0, sizeof(entry->asked));
    ask(entry, TIER_CACHE);
    return entry;
}

/** Adds a reader, which is on no list, to the entry of its order, or makes one. False where there
 *  is no room. */
static bool join(struct lookup_cluster *cluster, struct reader *reader) {
    uint64_t order_id = reader->batch->get.order_ids[reader->item];
    uint32_t min_version = min_version_of(reader);
    struct entry **slot = index_slot(cluster, order_id);
    struct entry *entry = *slot;
    if (entry != NULL) {
        metric_add(&cluster->metrics.joined_total, 1);
    } else if (cluster->free_entries == NULL) {
        return false;
    } else {
        entry = begin_entry(cluster, order_id);
        *slot = entry;
    }
    entry->min_version = min_version > entry->min_version ? min_version : entry->min_version;
    reader->late = entry->asked[TIER_STORE] || entry->asked[TIER_ARCHIVE];
    reader->next = entry->readers;
    entry->readers = reader;
    return true;
}

/** Has an item of a batch wait for its order. False where there is no room. */
static bool add_reader(struct lookup_cluster *cluster, struct lookup_batch *batch, size_t item) {
    struct reader *reader = cluster->free_readers;
    if (reader == NULL) {
        return false;
    }
    cluster->free_readers = reader->next;
    *reader = (struct reader){.batch = batch, .item = item};
    if (!join(cluster, reader)) {
        reader->next = cluster->free_readers;
        cluster->free_readers = reader;
        return false;
    }
    return true;
}

static void begin(struct port_request *request) {
    struct lookup_batch *batch = CONTAINER_OF(request, struct lookup_batch, intake);
    struct lookup_cluster *cluster = batch->lookup;
    size_t count = batch->get.count;
    batch->open = count + 1; /* one for this loop: nothing completes before its end */
    for (size_t i = 0; i < count; i++) {
        if (!add_reader(cluster, batch, i)) {
            metric_add(&cluster->metrics.refused_total, 1);
            batch->get.results[i] = ORDER_RESULT_UNAVAILABLE;
            batch->open--;
        }
    }
    complete_item(cluster, batch);
}

static enum port_submit get(struct lookup *lookup, struct lookup_batch *batch) {
    struct lookup_cluster *cluster = (struct lookup_cluster *)lookup;
    if (atomic_fetch_add_explicit(&cluster->submitted, 1, memory_order_relaxed) >=
        LOOKUP_SUBMITTED_MAX) {
        atomic_fetch_sub_explicit(&cluster->submitted, 1, memory_order_relaxed);
        return PORT_BUSY;
    }
    batch->lookup = cluster;
    batch->intake = (struct port_request){.done = begin, .mailbox = cluster->mailbox};
    port_complete(&batch->intake);
    return PORT_TAKEN;
}

static bool is_possible(struct lookup *lookup, uint64_t order_id, int64_t now_us) {
    const struct lookup_cluster *cluster = (const struct lookup_cluster *)lookup;
    return order_id_is_possible(order_id, now_us) &&
           cluster->was_given(cluster->was_given_context, order_id);
}

static const struct lookup_ops cluster_ops = {.get = get, .is_possible = is_possible};

/* --- The whole. --- */

int64_t lookup_cluster_step(struct lookup_cluster *cluster) {
    int64_t now_us = clock_now_us(cluster->clock);
    while (cluster->waiting.first != NULL && cluster->waiting.first->look_at_us <= now_us) {
        ask(dequeue(&cluster->waiting), TIER_CACHE);
    }
    for (enum tier tier = TIER_CACHE; tier < TIER_COUNT; tier++) {
        send(cluster, tier);
    }
    return cluster->waiting.first != NULL ? cluster->waiting.first->look_at_us : INT64_MAX;
}

bool lookup_cluster_is_busy(const struct lookup_cluster *cluster) {
    return cluster->busy_entries > 0 ||
           atomic_load_explicit(&cluster->submitted, memory_order_relaxed) > 0;
}

static void init_tier(struct lookup_cluster *cluster, enum tier tier) {
    queue_init(&cluster->queues[tier]);
    for (size_t i = 0; i < LOOKUP_TIER_BATCHES; i++) {
        struct tier_batch *batch = &cluster->batches[tier * LOOKUP_TIER_BATCHES + i];
        batch->cluster = cluster;
        batch->tier = tier;
        batch->batch = (struct order_get_batch){
            .request = {.done = tier_done, .mailbox = cluster->mailbox},
            .order_ids = batch->ids,
            .orders = batch->orders,
            .results = batch->results,
        };
        batch->next = cluster->free_batches[tier];
        cluster->free_batches[tier] = batch;
    }
}

static void init_pools(struct lookup_cluster *cluster) {
    queue_init(&cluster->waiting);
    for (enum tier tier = TIER_CACHE; tier < TIER_COUNT; tier++) {
        init_tier(cluster, tier);
    }
    for (size_t i = 0; i < LOOKUP_ENTRIES; i++) {
        struct entry *entry = &cluster->entries[i];
        entry->cluster = cluster;
        entry->lock.request.mailbox = cluster->mailbox;
        entry->chain = cluster->free_entries;
        cluster->free_entries = entry;
    }
    for (size_t i = 0; i < LOOKUP_READERS; i++) {
        cluster->readers[i].next = cluster->free_readers;
        cluster->free_readers = &cluster->readers[i];
    }
}

struct lookup_cluster *lookup_cluster_create(const struct lookup_cluster_parts *parts) {
    struct lookup_cluster *cluster = calloc(1, sizeof(*cluster));
    if (cluster == NULL) {
        return NULL;
    }
    cluster->lookup.ops = &cluster_ops;
    cluster->clock = parts->clock;
    cluster->mailbox = parts->mailbox;
    cluster->cache = parts->cache;
    cluster->store = parts->store;
    cluster->archive = parts->archive;
    cluster->options = *parts->options;
    cluster->open_us = parts->open_us;
    cluster->was_given = parts->was_given;
    cluster->was_given_context = parts->was_given_context;
    cluster->next_token = parts->token_seed;
    init_pools(cluster);
    return cluster;
}

void lookup_cluster_destroy(struct lookup_cluster *cluster) {
    free(cluster);
}

struct lookup *lookup_cluster_port(struct lookup_cluster *cluster) {
    return &cluster->lookup;
}

struct lookup_metrics *lookup_cluster_metrics(struct lookup_cluster *cluster) {
    return &cluster->metrics;
}
