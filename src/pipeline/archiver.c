#include "pipeline/archiver.h"

#include <stdlib.h>

/* After nothing was found; after a tier did not answer; between walks over the whole store. */
#define IDLE_PAUSE_US 50000
#define FAILURE_PAUSE_US 1000000
#define ROUND_EVERY_US 60000000

const struct metric_description archiver_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct archiver_metrics, __VA_ARGS__)
    ARCHIVER_METRICS(X)
#undef X
};
const size_t archiver_metric_count = ARRAY_COUNT(archiver_metric_table);

enum archiver_state {
    ARCHIVER_IDLE,    /* nothing under way, no orders in hand */
    ARCHIVER_FOUND,   /* orders in hand, to be written */
    ARCHIVER_WRITTEN, /* to be read back */
    ARCHIVER_VERIFIED /* to be released */
};

struct archiver {
    const struct clock *clock;
    struct log *log;
    struct order_store *store;
    struct order_archive *archive;
    enum archiver_state state;
    bool busy;
    bool failed;      /* in this batch, a tier refused */
    bool walk_failed; /* likewise, since the walk began: what it was is behind the cursor by now */
    int64_t wake_at_us;
    int64_t round_at_us; /* when the next walk over the whole store is due */
    struct log_limit limit;
    struct archiver_metrics metrics;
    struct order_scan_batch scan;
    struct order_archive_put put;
    struct order_get_batch get;
    struct order_release_batch release;
    size_t count;                                   /* orders in hand */
    struct order_record orders[ARCHIVER_BATCH_MAX]; /* ascending by id */
    struct order_record copies[ARCHIVER_BATCH_MAX];
    uint64_t ids[ARCHIVER_BATCH_MAX];
    uint8_t results[ARCHIVER_BATCH_MAX];
};

/** Keeps the orders whose result is `wanted`, and counts the others as failures. */
static void keep_only(struct archiver *archiver, enum order_result wanted, const char *step) {
    size_t kept = 0;
    for (size_t i = 0; i < archiver->count; i++) {
        if (archiver->results[i] == wanted) {
            archiver->orders[kept++] = archiver->orders[i];
        }
    }
    size_t failures = archiver->count - kept;
    if (failures > 0) {
        archiver->failed = true;
        metric_add(&archiver->metrics.failures_total, failures);
        log_write_limited(archiver->log, &archiver->limit, LOG_WARNING, "archiver",
                          "%zu of %zu orders were not %s; they stay, and are tried again", failures,
                          archiver->count, step);
    }
    archiver->count = kept;
}

static void finish_batch(struct archiver *archiver) {
    int64_t now_us = clock_now_us(archiver->clock);
    int64_t soon_us = now_us + FAILURE_PAUSE_US;
    archiver->state = ARCHIVER_IDLE;
    if (archiver->failed) {
        /* What failed was taken from what the store had noticed, or was passed by the walk: only
         * another walk finds it again. */
        archiver->wake_at_us = soon_us;
        archiver->round_at_us = soon_us;
        archiver->walk_failed = archiver->walk_failed || archiver->scan.thorough;
        archiver->failed = false;
    } else if (archiver->scan.overlooked) {
        archiver->round_at_us = now_us;
    }
    if (archiver->scan.thorough && archiver->scan.cursor == 0) {
        metric_add(&archiver->metrics.rounds_total, 1);
        archiver->scan.thorough = false;
        archiver->round_at_us = archiver->walk_failed ? soon_us : now_us + ROUND_EVERY_US;
        archiver->walk_failed = false;
    }
}

static int compare_ids(const void *left, const void *right) {
    uint64_t first = ((const struct order_record *)left)->order_id;
    uint64_t second = ((const struct order_record *)right)->order_id;
    return first < second ? -1 : first > second ? 1 : 0;
}

static void scanned(struct port_request *request) {
    struct archiver *archiver = CONTAINER_OF(request, struct archiver, scan.request);
    archiver->busy = false;
    archiver->count = archiver->scan.count;
    if (archiver->scan.result != ORDER_RESULT_FOUND) {
        archiver->failed = true;
        archiver->count = 0;
    }
    if (archiver->count == 0) {
        bool walking = archiver->scan.thorough && archiver->scan.cursor != 0;
        archiver->wake_at_us = walking ? 0 : clock_now_us(archiver->clock) + IDLE_PAUSE_US;
        finish_batch(archiver);
        return;
    }
    qsort(archiver->orders, archiver->count, sizeof(archiver->orders[0]), compare_ids);
    metric_set(&archiver->metrics.batch_orders, archiver->count);
    archiver->state = ARCHIVER_FOUND;
}

static void put_done(struct port_request *request) {
    struct archiver *archiver = CONTAINER_OF(request, struct archiver, put.request);
    archiver->busy = false;
    keep_only(archiver, ORDER_RESULT_STORED, "written to the archive");
    archiver->state = ARCHIVER_WRITTEN;
    if (archiver->count == 0) {
        finish_batch(archiver);
    }
}

/** Compares what was read back with what was written. */
static void judge_copies(struct archiver *archiver) {
    for (size_t i = 0; i < archiver->count; i++) {
        bool read = archiver->results[i] == ORDER_RESULT_FOUND;
        bool same = read && memcmp(&archiver->orders[i], &archiver->copies[i],
                                   sizeof(archiver->orders[i])) == 0;
        if ((read && !same) || archiver->results[i] == ORDER_RESULT_BROKEN) {
            metric_add(&archiver->metrics.mismatches_total, 1);
            log_error(archiver->log, "archiver",
                      "order %llu: the archive's copy is not what was written; the order stays",
                      (unsigned long long)archiver->orders[i].order_id);
        }
        archiver->results[i] = same ? ORDER_RESULT_FOUND : ORDER_RESULT_BROKEN;
    }
}

static void read_back(struct port_request *request) {
    struct archiver *archiver = CONTAINER_OF(request, struct archiver, get.request);
    archiver->busy = false;
    judge_copies(archiver);
    keep_only(archiver, ORDER_RESULT_FOUND, "read back from the archive as they were");
    archiver->state = ARCHIVER_VERIFIED;
    if (archiver->count == 0) {
        finish_batch(archiver);
    }
}

static void released(struct port_request *request) {
    struct archiver *archiver = CONTAINER_OF(request, struct archiver, release.request);
    archiver->busy = false;
    keep_only(archiver, ORDER_RESULT_RELEASED, "released");
    metric_add(&archiver->metrics.archived_total, archiver->count);
    finish_batch(archiver);
}

/** Begins the step that the state asks for. */
static enum port_submit begin(struct archiver *archiver) {
    switch (archiver->state) {
    case ARCHIVER_IDLE:
        archiver->scan.before_us = INT64_MAX;
        if (clock_now_us(archiver->clock) >= archiver->round_at_us) {
            archiver->scan.thorough = true;
        }
        return archiver->store->ops->scan(archiver->store, &archiver->scan);
    case ARCHIVER_FOUND:
        archiver->put.count = archiver->count;
        return archiver->archive->ops->put(archiver->archive, &archiver->put);
    case ARCHIVER_WRITTEN:
        for (size_t i = 0; i < archiver->count; i++) {
            archiver->ids[i] = archiver->orders[i].order_id;
        }
        archiver->get.count = archiver->count;
        return archiver->archive->ops->get(archiver->archive, &archiver->get);
    case ARCHIVER_VERIFIED:
        break;
    }
    archiver->release.count = archiver->count;
    return archiver->store->ops->release(archiver->store, &archiver->release);
}

int64_t archiver_step(struct archiver *archiver) {
    int64_t now_us = clock_now_us(archiver->clock);
    if (archiver->busy) {
        return INT64_MAX;
    }
    if (now_us < archiver->wake_at_us) {
        return archiver->wake_at_us;
    }
    /* The completion may already be in the mailbox when the submission returns. */
    archiver->busy = true;
    if (begin(archiver) == PORT_BUSY) {
        archiver->busy = false;
        archiver->wake_at_us = now_us + IDLE_PAUSE_US;
        return archiver->wake_at_us;
    }
    return INT64_MAX;
}

bool archiver_is_busy(const struct archiver *archiver) {
    return archiver->busy;
}

struct archiver *archiver_create(const struct archiver_parts *parts) {
    struct archiver *archiver = calloc(1, sizeof(*archiver));
    if (archiver == NULL) {
        return NULL;
    }
    struct mailbox *mailbox = parts->mailbox;
    archiver->clock = parts->clock;
    archiver->log = parts->log;
    archiver->store = parts->store;
    archiver->archive = parts->archive;
    archiver->scan = (struct order_scan_batch){
        .request = {.done = scanned, .mailbox = mailbox},
        .kind = ORDER_SCAN_FINAL,
        .limit = ARCHIVER_BATCH_MAX,
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
    archiver->release = (struct order_release_batch){
        .request = {.done = released, .mailbox = mailbox},
        .orders = archiver->orders,
        .results = archiver->results,
    };
    return archiver;
}

void archiver_destroy(struct archiver *archiver) {
    free(archiver);
}

struct archiver_metrics *archiver_metrics(struct archiver *archiver) {
    return &archiver->metrics;
}
