#include "pipeline/cluster_archiver.h"

#include "base/text.h"
#include "order/order_id.h"

#include <stdlib.h>

/* Messages of one read, reads of one batch, and how long a read waits for the first message. */
#define READ_MAX 2048
#define READS_MAX 64
#define READ_WAIT_MS 200

/* How long after a backlog, beside the settling of its last orders, the store is scanned again. */
#define BACKLOG_PAUSE_US 10000000

/* Between two slices of a walk over the store: it is in no hurry, the store has other work. */
#define SCAN_PAUSE_MS 20

#define PAUSE_US_MIN 100000
#define PAUSE_US_MAX 10000000

/* Attempts for orders that are not taken while others are. */
#define ATTEMPTS_MAX 5

#define KEY_BYTES 20

const struct config_option cluster_archiver_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct cluster_archiver_options, __VA_ARGS__)
    CLUSTER_ARCHIVER_OPTIONS(X)
#undef X
};
const size_t cluster_archiver_option_count = ARRAY_COUNT(cluster_archiver_option_table);

const struct metric_description cluster_archiver_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct cluster_archiver_metrics, __VA_ARGS__)
    CLUSTER_ARCHIVER_METRICS(X)
#undef X
};
const size_t cluster_archiver_metric_count = ARRAY_COUNT(cluster_archiver_metric_table);

enum archiver_state {
    ARCHIVER_COLLECT,  /* orders are looked for */
    ARCHIVER_FOUND,    /* orders in hand, to be written */
    ARCHIVER_WRITTEN,  /* to be read back */
    ARCHIVER_VERIFIED, /* to be told of */
    ARCHIVER_TOLD      /* what was read is to be committed */
};

struct cluster_archiver {
    struct cluster_archiver_parts parts;
    struct cluster_archiver_metrics metrics;
    struct settling *settling; /* owned */
    struct log_limit limit;
    enum archiver_state state;
    bool busy;
    bool stopping;
    bool from_scan;   /* the orders in hand */
    bool uncommitted; /* something was read since the last commit */
    bool scanned;     /* the last turn was the scan's: the next one is the topic's */
    unsigned reads;   /* of this batch */
    unsigned attempts;
    int64_t wake_at_us;
    int64_t pause_us;
    int64_t scan_at_us;

    struct topic_read read;
    struct topic_commit commit;
    struct topic_publish publish;
    struct order_scan_batch scan;
    struct order_archive_put put;
    struct order_get_batch get;
    size_t count; /* orders in hand */
    struct order_record orders[CLUSTER_ARCHIVER_BATCH_MAX];
    struct order_record copies[CLUSTER_ARCHIVER_BATCH_MAX];
    uint64_t ids[CLUSTER_ARCHIVER_BATCH_MAX];
    uint8_t results[CLUSTER_ARCHIVER_BATCH_MAX];
    char keys[CLUSTER_ARCHIVER_BATCH_MAX][KEY_BYTES];
    struct topic_message out[CLUSTER_ARCHIVER_BATCH_MAX];
    struct topic_message in[READ_MAX];
};

static int64_t monotonic_us(const struct cluster_archiver *archiver) {
    return clock_now_us(archiver->parts.monotonic);
}

static void enter(struct cluster_archiver *archiver, enum archiver_state state) {
    archiver->state = state;
    archiver->attempts = 0;
    archiver->pause_us = 0;
    metric_set(&archiver->metrics.waiting, 0);
}

/** The step again, after a pause that doubles. */
static void try_again(struct cluster_archiver *archiver) {
    int64_t pause_us = archiver->pause_us * 2;
    pause_us = pause_us < PAUSE_US_MIN ? PAUSE_US_MIN : pause_us;
    archiver->pause_us = pause_us > PAUSE_US_MAX ? PAUSE_US_MAX : pause_us;
    archiver->wake_at_us = monotonic_us(archiver) + archiver->pause_us;
    metric_add(&archiver->metrics.retries_total, 1);
}

/** The batch is over. */
static void finish(struct cluster_archiver *archiver) {
    bool commits = !archiver->from_scan && archiver->uncommitted;
    archiver->count = 0;
    archiver->reads = 0;
    archiver->from_scan = false;
    enter(archiver, commits ? ARCHIVER_TOLD : ARCHIVER_COLLECT);
}

/* --- Orders come: from the topic, or from the scan. --- */

/** By id; of one id the highest version first. */
static int compare_orders(const void *left, const void *right) {
    const struct order_record *one = left;
    const struct order_record *other = right;
    if (one->order_id != other->order_id) {
        return one->order_id < other->order_id ? -1 : 1;
    }
    return one->version > other->version ? -1 : one->version < other->version ? 1 : 0;
}

/** Enough was collected. */
static void close_batch(struct cluster_archiver *archiver) {
    size_t kept = 0;
    qsort(archiver->orders, archiver->count, sizeof(archiver->orders[0]), compare_orders);
    for (size_t i = 0; i < archiver->count; i++) {
        if (kept == 0 || archiver->orders[i].order_id != archiver->orders[kept - 1].order_id) {
            archiver->orders[kept++] = archiver->orders[i];
        }
    }
    archiver->count = kept;
    if (kept == 0) {
        finish(archiver);
        return;
    }
    metric_set(&archiver->metrics.batch_orders, kept);
    enter(archiver, ARCHIVER_FOUND);
}

static void take_message(struct cluster_archiver *archiver, const struct topic_message *message) {
    struct order_record *order = &archiver->orders[archiver->count];
    if (message->value.size == sizeof(*order)) {
        memcpy(order, message->value.data, sizeof(*order));
    }
    if (message->value.size != sizeof(*order) || order_record_check(order) != ORDER_RECORD_VALID) {
        metric_add(&archiver->metrics.broken_messages_total, 1);
        log_write_limited(archiver->parts.log, &archiver->limit, LOG_ERROR, "archive",
                          "orders.changes: partition %d, offset %lld, key %.*s: no order; left out",
                          (int)message->partition, (long long)message->offset,
                          (int)bytes_min_size(message->key.size, KEY_BYTES), message->key.data);
    } else if (order_status_is_final(order->status)) {
        archiver->count++;
    }
}

/** While the topic has a backlog, and until what was last read of it has settled, most of what a
 *  scan would find is on its way already. */
static void postpone_scan(struct cluster_archiver *archiver) {
    int64_t settle_us = (int64_t)archiver->parts.options->settle_seconds * 1000000;
    int64_t at_us = monotonic_us(archiver) + settle_us + BACKLOG_PAUSE_US;
    archiver->scan_at_us = archiver->scan_at_us > at_us ? archiver->scan_at_us : at_us;
}

static void read_done(struct port_request *request) {
    struct cluster_archiver *archiver =
        CONTAINER_OF(request, struct cluster_archiver, read.request);
    archiver->busy = false;
    if (archiver->read.result != ORDER_RESULT_FOUND) {
        try_again(archiver);
        metric_set(&archiver->metrics.waiting, 1);
        return;
    }
    archiver->pause_us = 0;
    metric_set(&archiver->metrics.waiting, 0);
    for (size_t i = 0; i < archiver->read.count; i++) {
        take_message(archiver, &archiver->in[i]);
    }
    archiver->uncommitted |= archiver->read.count > 0;
    archiver->reads++;
    bool caught_up = archiver->read.count < archiver->read.limit;
    if (!caught_up) {
        postpone_scan(archiver);
    }
    if (caught_up || archiver->reads >= READS_MAX ||
        archiver->count == CLUSTER_ARCHIVER_BATCH_MAX) {
        close_batch(archiver);
    }
}

static void scan_done(struct port_request *request) {
    struct cluster_archiver *archiver =
        CONTAINER_OF(request, struct cluster_archiver, scan.request);
    int64_t now_us = monotonic_us(archiver);
    archiver->busy = false;
    archiver->scanned = true;
    if (archiver->scan.result != ORDER_RESULT_FOUND) {
        archiver->scan_at_us = now_us + PAUSE_US_MAX;
        return;
    }
    archiver->scan_at_us = now_us + SCAN_PAUSE_MS * 1000;
    if (archiver->scan.cursor == 0) {
        metric_add(&archiver->metrics.rounds_total, 1);
        archiver->scan_at_us =
            now_us + (int64_t)archiver->parts.options->scan_every_seconds * 1000000;
    }
    archiver->count = archiver->scan.count;
    archiver->from_scan = archiver->count > 0;
    if (archiver->count > 0) {
        close_batch(archiver);
    }
}

/** True where it is the scan's turn. */
static bool is_for_scan(const struct cluster_archiver *archiver) {
    return !archiver->scanned && archiver->reads == 0 &&
           monotonic_us(archiver) >= archiver->scan_at_us && !settling_is_late(archiver->settling);
}

static enum port_submit begin_collecting(struct cluster_archiver *archiver) {
    if (is_for_scan(archiver)) {
        const struct cluster_archiver_options *options = archiver->parts.options;
        archiver->scan.thorough = true;
        archiver->scan.limit = CLUSTER_ARCHIVER_BATCH_MAX;
        archiver->scan.before_us =
            clock_now_us(archiver->parts.clock) -
            (int64_t)(options->settle_seconds + options->scan_after_seconds) * 1000000;
        return archiver->parts.store->ops->scan(archiver->parts.store, &archiver->scan);
    }
    archiver->scanned = false;
    archiver->read.wait_ms = archiver->reads > 0          ? 0
                             : archiver->scan.cursor != 0 ? SCAN_PAUSE_MS
                                                          : READ_WAIT_MS;
    archiver->read.limit = bytes_min_size(READ_MAX, CLUSTER_ARCHIVER_BATCH_MAX - archiver->count);
    return archiver->parts.changes->ops->read(archiver->parts.changes, &archiver->read);
}

/* --- Written, read back, compared. --- */

/** What became of one order in a step. */
enum fate { FATE_WELL, FATE_AGAIN, FATE_DROPPED };

/** Goes on with those that went well, or has the step, or that before it, done again. */
static void go_on(struct cluster_archiver *archiver, const uint8_t *fates, bool answered,
                  enum archiver_state well, enum archiver_state again) {
    size_t again_count = 0;
    for (size_t i = 0; i < archiver->count; i++) {
        again_count += fates[i] == FATE_AGAIN ? 1 : 0;
    }
    archiver->attempts += answered && again_count > 0 ? 1 : 0;
    bool gives_up = archiver->attempts >= ATTEMPTS_MAX;
    size_t kept = 0;
    for (size_t i = 0; i < archiver->count; i++) {
        if (fates[i] == FATE_WELL || (fates[i] == FATE_AGAIN && !gives_up)) {
            archiver->orders[kept++] = archiver->orders[i];
        }
    }
    archiver->count = kept;
    metric_set(&archiver->metrics.waiting, !answered);
    if (again_count > 0 && !gives_up) {
        unsigned attempts = archiver->attempts;
        archiver->state = again;
        archiver->attempts = attempts;
        try_again(archiver);
        return;
    }
    if (again_count > 0) {
        metric_add(&archiver->metrics.failures_total, again_count);
        log_write_limited(archiver->parts.log, &archiver->limit, LOG_WARNING, "archive",
                          "%zu orders were not archived; they stay, and the scan finds them",
                          again_count);
    }
    if (kept == 0) {
        finish(archiver);
    } else {
        unsigned attempts = archiver->attempts;
        enter(archiver, well);
        archiver->attempts = well == ARCHIVER_WRITTEN ? attempts : 0; /* both steps together */
    }
}

static void put_done(struct port_request *request) {
    struct cluster_archiver *archiver = CONTAINER_OF(request, struct cluster_archiver, put.request);
    bool answered = false;
    archiver->busy = false;
    for (size_t i = 0; i < archiver->count; i++) {
        bool stored = archiver->results[i] == ORDER_RESULT_STORED;
        archiver->results[i] = stored ? FATE_WELL : FATE_AGAIN;
        answered = answered || stored;
    }
    go_on(archiver, archiver->results, answered, ARCHIVER_WRITTEN, ARCHIVER_FOUND);
}

/** Judges the copy of one order. A higher version was put there by the checker or another instance:
 *  then this one is no longer what counts. */
static enum fate judge_copy(struct cluster_archiver *archiver, size_t number) {
    const struct order_record *order = &archiver->orders[number];
    const struct order_record *copy = &archiver->copies[number];
    bool found = archiver->results[number] == ORDER_RESULT_FOUND;
    if (found && (memcmp(order, copy, sizeof(*order)) == 0 ||
                  (copy->order_id == order->order_id && copy->version > order->version))) {
        return FATE_WELL;
    }
    if (found || archiver->results[number] == ORDER_RESULT_BROKEN) {
        metric_add(&archiver->metrics.mismatches_total, 1);
        log_error(archiver->parts.log, "archive",
                  "order %llu: the archive's copy is not what was written; the order stays",
                  (unsigned long long)order->order_id);
        return FATE_DROPPED;
    }
    return FATE_AGAIN; /* not there though it was stored, or nobody answered */
}

static void read_back(struct port_request *request) {
    struct cluster_archiver *archiver = CONTAINER_OF(request, struct cluster_archiver, get.request);
    bool answered = false;
    archiver->busy = false;
    for (size_t i = 0; i < archiver->count; i++) {
        answered = answered || archiver->results[i] != ORDER_RESULT_UNAVAILABLE;
        archiver->results[i] = (uint8_t)judge_copy(archiver, i);
    }
    go_on(archiver, archiver->results, answered, ARCHIVER_VERIFIED, ARCHIVER_FOUND);
}

static void begin_get(struct cluster_archiver *archiver) {
    for (size_t i = 0; i < archiver->count; i++) {
        archiver->ids[i] = archiver->orders[i].order_id;
    }
    archiver->get.count = archiver->count;
}

/* --- Told of, and committed. --- */

static void begin_publish(struct cluster_archiver *archiver) {
    for (size_t i = 0; i < archiver->count; i++) {
        struct text key = text_over(archiver->keys[i], KEY_BYTES);
        text_append_u64(&key, archiver->orders[i].order_id);
        archiver->out[i] = (struct topic_message){
            .key = text_slice(&key),
            .value = {(const char *)&archiver->orders[i], sizeof(archiver->orders[i])},
            .partition = -1,
        };
    }
    archiver->publish.count = archiver->count;
}

static void publish_done(struct port_request *request) {
    struct cluster_archiver *archiver =
        CONTAINER_OF(request, struct cluster_archiver, publish.request);
    archiver->busy = false;
    for (size_t i = 0; i < archiver->count; i++) {
        if (archiver->results[i] != ORDER_RESULT_STORED) {
            metric_set(&archiver->metrics.waiting, 1);
            try_again(archiver); /* readers do not mind to hear it twice */
            return;
        }
    }
    for (size_t i = 0; i < archiver->count; i++) {
        archiver->ids[i] = archiver->orders[i].order_id;
    }
    settling_add(archiver->settling, archiver->ids, archiver->count);
    metric_add(&archiver->metrics.published_total, archiver->count);
    metric_add(&archiver->metrics.archived_total, archiver->count);
    metric_add(&archiver->metrics.scanned_total, archiver->from_scan ? archiver->count : 0);
    finish(archiver);
}

static void commit_done(struct port_request *request) {
    struct cluster_archiver *archiver =
        CONTAINER_OF(request, struct cluster_archiver, commit.request);
    archiver->busy = false;
    enter(archiver, ARCHIVER_COLLECT);
    if (archiver->commit.result == ORDER_RESULT_UNAVAILABLE) {
        try_again(archiver); /* the next commit covers it */
        return;
    }
    archiver->uncommitted = false;
    metric_add(archiver->commit.result == ORDER_RESULT_STORED
                   ? &archiver->metrics.commits_total
                   : &archiver->metrics.lost_commits_total,
               1);
}

/* --- All of it. --- */

static enum port_submit begin(struct cluster_archiver *archiver) {
    const struct cluster_archiver_parts *parts = &archiver->parts;
    switch (archiver->state) {
    case ARCHIVER_COLLECT:
        return begin_collecting(archiver);
    case ARCHIVER_FOUND:
        archiver->put.count = archiver->count;
        return parts->archive->ops->put(parts->archive, &archiver->put);
    case ARCHIVER_WRITTEN:
        begin_get(archiver);
        return parts->archive->ops->get(parts->archive, &archiver->get);
    case ARCHIVER_VERIFIED:
        begin_publish(archiver);
        return parts->archived->ops->publish(parts->archived, &archiver->publish);
    case ARCHIVER_TOLD:
        break;
    }
    return parts->changes->ops->commit(parts->changes, &archiver->commit);
}

static int64_t step_batch(struct cluster_archiver *archiver) {
    int64_t now_us = monotonic_us(archiver);
    if (archiver->busy || archiver->stopping) {
        return INT64_MAX;
    }
    if (now_us < archiver->wake_at_us) {
        return archiver->wake_at_us;
    }
    if (archiver->state == ARCHIVER_COLLECT &&
        settling_room(archiver->settling) < CLUSTER_ARCHIVER_BATCH_MAX) {
        return now_us + PAUSE_US_MIN; /* until some have left */
    }
    /* The completion may already be in the mailbox when the submission returns. */
    archiver->busy = true;
    if (begin(archiver) == PORT_BUSY) {
        archiver->busy = false;
        archiver->wake_at_us = now_us + PAUSE_US_MIN;
        return archiver->wake_at_us;
    }
    return INT64_MAX;
}

int64_t cluster_archiver_step(struct cluster_archiver *archiver) {
    int64_t batch_us = step_batch(archiver);
    int64_t settling_us = archiver->stopping ? INT64_MAX : settling_step(archiver->settling);
    return batch_us < settling_us ? batch_us : settling_us;
}

void cluster_archiver_stop(struct cluster_archiver *archiver) {
    archiver->stopping = true;
}

bool cluster_archiver_is_busy(const struct cluster_archiver *archiver) {
    return archiver->busy || settling_is_busy(archiver->settling);
}

/* --- Making it. --- */

static void fill_requests(struct cluster_archiver *archiver) {
    struct mailbox *mailbox = archiver->parts.mailbox;
    archiver->read = (struct topic_read){.request = {.done = read_done, .mailbox = mailbox},
                                         .messages = archiver->in};
    archiver->commit = (struct topic_commit){.request = {.done = commit_done, .mailbox = mailbox}};
    archiver->publish = (struct topic_publish){
        .request = {.done = publish_done, .mailbox = mailbox},
        .messages = archiver->out,
        .results = archiver->results,
    };
    archiver->scan = (struct order_scan_batch){
        .request = {.done = scan_done, .mailbox = mailbox},
        .kind = ORDER_SCAN_FINAL,
        .orders = archiver->orders,
    };
    archiver->put = (struct order_archive_put){
        .request = {.done = put_done, .mailbox = mailbox},
        .orders = archiver->orders,
        .results = archiver->results,
    };
    archiver->get = (struct order_get_batch){
        .request = {.done = read_back, .mailbox = mailbox},
        .order_ids = archiver->ids,
        .orders = archiver->copies,
        .results = archiver->results,
    };
}

struct cluster_archiver *cluster_archiver_create(const struct cluster_archiver_parts *parts) {
    const struct cluster_archiver_options *options = parts->options;
    struct cluster_archiver *archiver = aligned_alloc(
        CACHE_LINE_BYTES, bytes_align_up(sizeof(struct cluster_archiver), CACHE_LINE_BYTES));
    if (archiver == NULL) {
        return NULL;
    }
    memset(archiver, 0, sizeof(*archiver));
    archiver->parts = *parts;
    struct settling_parts settling = {
        .monotonic = parts->monotonic,
        .log = parts->log,
        .store = parts->store,
        .archive = parts->archive,
        .mailbox = parts->mailbox,
        .settle_us = (int64_t)options->settle_seconds * 1000000,
        .orders_max = options->settle_orders_max,
    };
    archiver->settling = settling_create(&settling);
    if (archiver->settling == NULL) {
        free(archiver);
        return NULL;
    }
    fill_requests(archiver);
    archiver->scan_at_us = monotonic_us(archiver) + (int64_t)options->scan_every_seconds * 1000000;
    return archiver;
}

void cluster_archiver_destroy(struct cluster_archiver *archiver) {
    settling_destroy(archiver->settling);
    free(archiver);
}

struct cluster_archiver_metrics *cluster_archiver_metrics(struct cluster_archiver *archiver) {
    return &archiver->metrics;
}

struct settling_metrics *cluster_archiver_settling_metrics(struct cluster_archiver *archiver) {
    return settling_metrics(archiver->settling);
}
