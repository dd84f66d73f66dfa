#include "pipeline/settling.h"

#include <stdlib.h>

/* Orders that come within this time of each other become due together. */
#define BLOCK_US 1000000
#define BLOCKS 8192

#define LATE_US 2000000

#define PAUSE_US_MIN 100000
#define PAUSE_US_MAX 10000000

const struct metric_description settling_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct settling_metrics, __VA_ARGS__)
    SETTLING_METRICS(X)
#undef X
};
const size_t settling_metric_count = ARRAY_COUNT(settling_metric_table);

/** Orders that become due at the same time. */
struct settle_block {
    int64_t begun_us;
    int64_t due_us;
    size_t count;
};

enum settling_state {
    SETTLING_IDLE, /* the next batch is to be read */
    SETTLING_READ  /* it was, and is to be released */
};

struct settling {
    struct settling_parts parts;
    struct settling_metrics metrics;
    struct log_limit limit;
    enum settling_state state;
    bool busy;
    int64_t wake_at_us;
    int64_t pause_us;

    uint64_t *waiting; /* owned: a ring of parts.orders_max ids */
    size_t first;
    size_t waiting_count;
    struct settle_block blocks[BLOCKS]; /* a ring */
    size_t first_block;
    size_t block_count;

    struct order_get_batch get;
    struct order_release_batch release;
    size_t taken;    /* ids of this batch, still in the ring */
    size_t kept;     /* of them, those that are to be released */
    size_t failures; /* of them, those that nobody answered for */
    uint64_t ids[SETTLING_BATCH_MAX];
    struct order_record orders[SETTLING_BATCH_MAX];
    uint8_t results[SETTLING_BATCH_MAX];
};

/* --- What waits. --- */

size_t settling_room(const struct settling *settling) {
    return settling->parts.orders_max - settling->waiting_count;
}

static struct settle_block *block_at(struct settling *settling, size_t number) {
    return &settling->blocks[(settling->first_block + number) % BLOCKS];
}

bool settling_is_late(const struct settling *settling) {
    return settling->block_count > 0 &&
           clock_now_us(settling->parts.monotonic) >
               settling->blocks[settling->first_block].due_us + LATE_US;
}

void settling_add(struct settling *settling, const uint64_t *order_ids, size_t count) {
    assert(count <= settling_room(settling));
    int64_t now_us = clock_now_us(settling->parts.monotonic);
    struct settle_block *last =
        settling->block_count == 0 ? NULL : block_at(settling, settling->block_count - 1);
    bool joins =
        last != NULL && (now_us - last->begun_us < BLOCK_US || settling->block_count == BLOCKS);
    if (count == 0) {
        return;
    }
    if (!joins) {
        last = block_at(settling, settling->block_count++);
        *last = (struct settle_block){.begun_us = now_us};
    }
    last->due_us = now_us + settling->parts.settle_us;
    last->count += count;
    for (size_t i = 0; i < count; i++) {
        size_t at = (settling->first + settling->waiting_count++) % settling->parts.orders_max;
        settling->waiting[at] = order_ids[i];
    }
    metric_set(&settling->metrics.orders, settling->waiting_count);
}

/** The batch is over: its orders wait no more. */
static void drop_taken(struct settling *settling) {
    struct settle_block *block = block_at(settling, 0);
    settling->first = (settling->first + settling->taken) % settling->parts.orders_max;
    settling->waiting_count -= settling->taken;
    block->count -= settling->taken;
    if (block->count == 0) {
        settling->first_block = (settling->first_block + 1) % BLOCKS;
        settling->block_count--;
    }
    settling->taken = 0;
    settling->state = SETTLING_IDLE;
    settling->pause_us = 0;
    metric_set(&settling->metrics.orders, settling->waiting_count);
    metric_set(&settling->metrics.waiting, 0);
}

/* --- A batch. --- */

/** Nobody answered for any order of the batch: all of it again, after a pause. */
static void try_again(struct settling *settling) {
    int64_t pause_us = settling->pause_us * 2;
    pause_us = pause_us < PAUSE_US_MIN ? PAUSE_US_MIN : pause_us;
    settling->pause_us = pause_us > PAUSE_US_MAX ? PAUSE_US_MAX : pause_us;
    settling->wake_at_us = clock_now_us(settling->parts.monotonic) + settling->pause_us;
    settling->state = SETTLING_IDLE;
    metric_add(&settling->metrics.retries_total, 1);
    metric_set(&settling->metrics.waiting, 1);
}

static void complain(struct settling *settling, uint64_t order_id, const char *what) {
    log_error(settling->parts.log, "archive", "order %llu: %s; it stays in the store",
              (unsigned long long)order_id, what);
}

static void read_done(struct port_request *request) {
    struct settling *settling = CONTAINER_OF(request, struct settling, get.request);
    settling->busy = false;
    settling->kept = 0;
    settling->failures = 0;
    for (size_t i = 0; i < settling->taken; i++) {
        switch ((enum order_result)settling->results[i]) {
        case ORDER_RESULT_FOUND:
            settling->orders[settling->kept++] = settling->orders[i];
            break;
        case ORDER_RESULT_ABSENT:
            metric_add(&settling->metrics.vanished_total, 1);
            complain(settling, settling->ids[i], "the archive has lost it since it was verified");
            break;
        case ORDER_RESULT_BROKEN:
            metric_add(&settling->metrics.broken_total, 1);
            complain(settling, settling->ids[i], "the archive's copy is no order any more");
            break;
        default:
            settling->failures++;
            break;
        }
    }
    if (settling->failures == settling->taken) {
        try_again(settling);
    } else if (settling->kept == 0) {
        metric_add(&settling->metrics.failures_total, settling->failures);
        drop_taken(settling);
    } else {
        settling->state = SETTLING_READ;
    }
}

static void release_done(struct port_request *request) {
    struct settling *settling = CONTAINER_OF(request, struct settling, release.request);
    size_t released = 0;
    size_t unanswered = 0;
    settling->busy = false;
    for (size_t i = 0; i < settling->kept; i++) {
        switch ((enum order_result)settling->results[i]) {
        case ORDER_RESULT_RELEASED:
            released++;
            break;
        case ORDER_RESULT_MISMATCH:
            metric_add(&settling->metrics.mismatches_total, 1);
            complain(settling, settling->orders[i].order_id, "the archive has it otherwise");
            break;
        default:
            unanswered++;
            break;
        }
    }
    if (unanswered == settling->kept) {
        try_again(settling);
        return;
    }
    size_t failures = settling->failures + unanswered;
    if (failures > 0) {
        log_write_limited(settling->parts.log, &settling->limit, LOG_WARNING, "archive",
                          "%zu of %zu orders were not released; the scan finds them again",
                          failures, settling->taken);
    }
    metric_add(&settling->metrics.failures_total, failures);
    metric_add(&settling->metrics.released_total, released);
    drop_taken(settling);
}

static enum port_submit begin(struct settling *settling) {
    if (settling->state == SETTLING_READ) {
        settling->release.count = settling->kept;
        return settling->parts.store->ops->release(settling->parts.store, &settling->release);
    }
    settling->taken = bytes_min_size(block_at(settling, 0)->count, SETTLING_BATCH_MAX);
    for (size_t i = 0; i < settling->taken; i++) {
        settling->ids[i] = settling->waiting[(settling->first + i) % settling->parts.orders_max];
    }
    settling->get.count = settling->taken;
    return settling->parts.archive->ops->get(settling->parts.archive, &settling->get);
}

int64_t settling_step(struct settling *settling) {
    int64_t now_us = clock_now_us(settling->parts.monotonic);
    if (settling->busy || (settling->state == SETTLING_IDLE && settling->block_count == 0)) {
        return INT64_MAX;
    }
    int64_t due_us = settling->wake_at_us;
    if (settling->state == SETTLING_IDLE && block_at(settling, 0)->due_us > due_us) {
        due_us = block_at(settling, 0)->due_us;
    }
    if (now_us < due_us) {
        return due_us;
    }
    /* The completion may already be in the mailbox when the submission returns. */
    settling->busy = true;
    if (begin(settling) == PORT_BUSY) {
        settling->busy = false;
        settling->wake_at_us = now_us + PAUSE_US_MIN;
        return settling->wake_at_us;
    }
    return INT64_MAX;
}

bool settling_is_busy(const struct settling *settling) {
    return settling->busy;
}

/* --- Making it. --- */

struct settling *settling_create(const struct settling_parts *parts) {
    struct settling *settling =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(struct settling), CACHE_LINE_BYTES));
    uint64_t *waiting = calloc(parts->orders_max, sizeof(*waiting));
    if (settling == NULL || waiting == NULL) {
        free(settling);
        free(waiting);
        return NULL;
    }
    memset(settling, 0, sizeof(*settling));
    settling->parts = *parts;
    settling->waiting = waiting;
    settling->get = (struct order_get_batch){
        .request = {.done = read_done, .mailbox = parts->mailbox},
        .order_ids = settling->ids,
        .orders = settling->orders,
        .results = settling->results,
    };
    settling->release = (struct order_release_batch){
        .request = {.done = release_done, .mailbox = parts->mailbox},
        .orders = settling->orders,
        .results = settling->results,
    };
    return settling;
}

void settling_destroy(struct settling *settling) {
    free(settling->waiting);
    free(settling);
}

struct settling_metrics *settling_metrics(struct settling *settling) {
    return &settling->metrics;
}
