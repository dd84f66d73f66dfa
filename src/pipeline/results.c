#include "pipeline/results.h"

#include "base/text.h"
#include "pipeline/balance_result.h"

#include <stdlib.h>

#define READ_WAIT_MS 200
#define PAUSE_MIN_US 50000
#define PAUSE_MAX_US 2000000

#define REASON_BYTES 96
#define SEEN_SLOTS (2 * RESULTS_BATCH_MAX) /* a power of two */

const struct metric_description results_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct results_metrics, __VA_ARGS__)
    RESULTS_METRICS(X)
#undef X
};
const size_t results_metric_count = ARRAY_COUNT(results_metric_table);

enum results_state {
    RESULTS_READING,
    RESULTS_CHANGING,  /* the store is asked, for those that are open */
    RESULTS_SEARCHING, /* the archive is asked, for those that the store does not have */
    RESULTS_BURYING,   /* what is dead is put aside */
    RESULTS_LAMENTING, /* what is late is put aside */
    RESULTS_COMMITTING
};

enum item_state {
    ITEM_OPEN,   /* the store is to be asked */
    ITEM_ABSENT, /* the archive is to be asked */
    ITEM_DEAD,
    ITEM_LATE,
    ITEM_DONE
};

struct item {
    enum item_state state;
    struct order_change change;
    char reason[REASON_BYTES];
};

struct results_pipeline {
    struct results_parts parts;
    struct results_metrics metrics;
    enum results_state state;
    bool busy;
    bool tier_failed; /* in this round, some have to be tried again */
    int64_t wake_at_us;
    int64_t pause_us; /* the next one */
    struct log_limit limit;
    struct topic_read read;
    struct topic_commit commit;
    struct topic_publish publish;
    struct order_change_batch change;
    struct order_get_batch get;
    struct json_keys keys;
    struct topic_message messages[RESULTS_BATCH_MAX];
    struct item items[RESULTS_BATCH_MAX];
    /* Of the request under way: whose it is, and its arrays. */
    uint16_t chosen[RESULTS_BATCH_MAX];
    struct order_change changes[RESULTS_BATCH_MAX];
    uint64_t ids[RESULTS_BATCH_MAX];
    struct order_record orders[RESULTS_BATCH_MAX];
    struct topic_message aside[RESULTS_BATCH_MAX];
    uint8_t results[RESULTS_BATCH_MAX];
    uint64_t seen[SEEN_SLOTS];
};

/* --- Verdicts on one message. --- */

static void bury(struct results_pipeline *pipeline, struct item *item, const char *reason) {
    struct text text = text_over(item->reason, sizeof(item->reason) - 1);
    text_append_slice(&text, slice_from_text(reason));
    item->reason[text.size] = 0;
    item->state = ITEM_DEAD;
    metric_add(&pipeline->metrics.dead_total, 1);
    log_write_limited(pipeline->parts.log, &pipeline->limit, LOG_WARNING, "results",
                      "a message for order %llu cannot be used: %s",
                      (unsigned long long)item->change.order_id, reason);
}

/** Compares a result with an order that is final. */
static void compare(struct results_pipeline *pipeline, struct item *item,
                    const struct order_record *order) {
    if (item->change.status == order->status ||
        item->change.status == ORDER_STATUS_PROCESSING) { /* said before it ended */
        item->state = ITEM_DONE;
        metric_add(&pipeline->metrics.repeated_total, 1);
        return;
    }
    struct text text = text_over(item->reason, sizeof(item->reason) - 1);
    text_append_format(&text, "%s, but the order is %s since version %u",
                       order_status_name(item->change.status), order_status_name(order->status),
                       order->version);
    item->reason[text.size] = 0;
    item->state = ITEM_LATE;
    metric_add(&pipeline->metrics.late_total, 1);
    log_warning(pipeline->parts.log, "results", "order %llu: a late result: %s",
                (unsigned long long)item->change.order_id, item->reason);
}

static void judge_change(struct results_pipeline *pipeline, struct item *item,
                         const struct order_record *order, enum order_result result) {
    switch (result) {
    case ORDER_RESULT_CHANGED:
        item->state = ITEM_DONE;
        metric_add(&pipeline->metrics.changed_total, 1);
        break;
    case ORDER_RESULT_UNCHANGED:
        item->state = ITEM_DONE;
        metric_add(&pipeline->metrics.repeated_total, 1);
        break;
    case ORDER_RESULT_ILLEGAL:
        compare(pipeline, item, order);
        break;
    case ORDER_RESULT_ABSENT:
        item->state = ITEM_ABSENT;
        break;
    case ORDER_RESULT_BROKEN:
        bury(pipeline, item, "the store's copy of the order is broken");
        break;
    case ORDER_RESULT_BAD_TIME:
        if (item->change.responded_at_us != 0) {
            /* What was decided about the money counts more than when. */
            item->change.responded_at_us = 0;
            metric_add(&pipeline->metrics.bad_times_total, 1);
            break;
        }
        bury(pipeline, item, "the order does not take a change now");
        break;
    default:
        pipeline->tier_failed = true;
        break;
    }
}

static void judge_search(struct results_pipeline *pipeline, struct item *item,
                         const struct order_record *order, enum order_result result) {
    switch (result) {
    case ORDER_RESULT_FOUND:
        compare(pipeline, item, order);
        break;
    case ORDER_RESULT_ABSENT:
        bury(pipeline, item, "no such order");
        break;
    case ORDER_RESULT_BROKEN:
        bury(pipeline, item, "the archive's copy of the order is broken");
        break;
    default:
        pipeline->tier_failed = true;
        break;
    }
}

/* --- What is next. --- */

static size_t count_items(const struct results_pipeline *pipeline, enum item_state state) {
    size_t count = 0;
    for (size_t i = 0; i < pipeline->read.count; i++) {
        count += pipeline->items[i].state == state;
    }
    return count;
}

static void pause_longer(struct results_pipeline *pipeline) {
    pipeline->wake_at_us = clock_now_us(pipeline->parts.clock) + pipeline->pause_us;
    pipeline->pause_us =
        pipeline->pause_us * 2 < PAUSE_MAX_US ? pipeline->pause_us * 2 : PAUSE_MAX_US;
}

/** Chooses the next step from what the messages still need. */
static void choose(struct results_pipeline *pipeline) {
    if (pipeline->tier_failed) {
        pipeline->tier_failed = false;
        metric_add(&pipeline->metrics.retries_total, 1);
        log_write_limited(pipeline->parts.log, &pipeline->limit, LOG_WARNING, "results",
                          "a tier does not answer; %zu messages wait",
                          count_items(pipeline, ITEM_OPEN) + count_items(pipeline, ITEM_ABSENT));
        pause_longer(pipeline);
    } else {
        pipeline->pause_us = PAUSE_MIN_US;
    }
    /* After a round of the store comes one of the archive: both may fail, each for its own. */
    bool open = count_items(pipeline, ITEM_OPEN) > 0;
    bool absent = count_items(pipeline, ITEM_ABSENT) > 0;
    if (absent && (pipeline->state == RESULTS_CHANGING || !open)) {
        pipeline->state = RESULTS_SEARCHING;
    } else if (open) {
        pipeline->state = RESULTS_CHANGING;
    } else if (count_items(pipeline, ITEM_DEAD) > 0) {
        pipeline->state = RESULTS_BURYING;
    } else if (count_items(pipeline, ITEM_LATE) > 0) {
        pipeline->state = RESULTS_LAMENTING;
    } else {
        pipeline->state = RESULTS_COMMITTING;
    }
}

/* --- Completions. --- */

static void read_done(struct port_request *request) {
    struct results_pipeline *pipeline =
        CONTAINER_OF(request, struct results_pipeline, read.request);
    pipeline->busy = false;
    if (pipeline->read.result != ORDER_RESULT_FOUND) {
        pause_longer(pipeline);
        return;
    }
    if (pipeline->read.count == 0) {
        return;
    }
    metric_add(&pipeline->metrics.read_total, pipeline->read.count);
    for (size_t i = 0; i < pipeline->read.count; i++) {
        struct item *item = &pipeline->items[i];
        *item = (struct item){.state = ITEM_OPEN};
        const char *fault =
            balance_result_read(pipeline->messages[i].value, &pipeline->keys, &item->change);
        if (fault != NULL) {
            bury(pipeline, item, fault);
        }
    }
    choose(pipeline);
}

static void changed(struct port_request *request) {
    struct results_pipeline *pipeline =
        CONTAINER_OF(request, struct results_pipeline, change.request);
    pipeline->busy = false;
    for (size_t i = 0; i < pipeline->change.count; i++) {
        judge_change(pipeline, &pipeline->items[pipeline->chosen[i]], &pipeline->orders[i],
                     pipeline->results[i]);
    }
    choose(pipeline);
}

static void searched(struct port_request *request) {
    struct results_pipeline *pipeline = CONTAINER_OF(request, struct results_pipeline, get.request);
    pipeline->busy = false;
    for (size_t i = 0; i < pipeline->get.count; i++) {
        judge_search(pipeline, &pipeline->items[pipeline->chosen[i]], &pipeline->orders[i],
                     pipeline->results[i]);
    }
    choose(pipeline);
}

static void put_aside(struct port_request *request) {
    struct results_pipeline *pipeline =
        CONTAINER_OF(request, struct results_pipeline, publish.request);
    pipeline->busy = false;
    for (size_t i = 0; i < pipeline->publish.count; i++) {
        if (pipeline->results[i] == ORDER_RESULT_STORED) {
            pipeline->items[pipeline->chosen[i]].state = ITEM_DONE;
        } else {
            pipeline->tier_failed = true;
        }
    }
    choose(pipeline);
}

/** A commit that failed is made good by the next one, which is of everything up to then. */
static void committed(struct port_request *request) {
    struct results_pipeline *pipeline =
        CONTAINER_OF(request, struct results_pipeline, commit.request);
    pipeline->busy = false;
    pipeline->state = RESULTS_READING;
    if (pipeline->commit.result != ORDER_RESULT_STORED) {
        metric_add(&pipeline->metrics.commit_failures_total, 1);
        if (pipeline->commit.result == ORDER_RESULT_UNAVAILABLE) {
            pipeline->state = RESULTS_COMMITTING;
            pause_longer(pipeline);
            return;
        }
    }
    pipeline->pause_us = PAUSE_MIN_US;
}

/* --- Requests. --- */

/** Notes an order id; false where it was noted before in this round. */
static bool note_id(struct results_pipeline *pipeline, uint64_t order_id) {
    size_t at = (size_t)(order_id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (SEEN_SLOTS - 1);
    while (pipeline->seen[at] != 0) {
        if (pipeline->seen[at] == order_id) {
            return false;
        }
        at = (at + 1) & (SEEN_SLOTS - 1);
    }
    pipeline->seen[at] = order_id;
    return true;
}

/** The first open message of each order: the next one of the same order waits for it, whichever
 *  tier it is that it waits for. */
static enum port_submit begin_change(struct results_pipeline *pipeline) {
    size_t count = 0;
    memset(pipeline->seen, 0, sizeof(pipeline->seen));
    for (size_t i = 0; i < pipeline->read.count; i++) {
        const struct item *item = &pipeline->items[i];
        if (item->state != ITEM_OPEN && item->state != ITEM_ABSENT) {
            continue;
        }
        if (note_id(pipeline, item->change.order_id) && item->state == ITEM_OPEN) {
            pipeline->chosen[count] = (uint16_t)i;
            pipeline->changes[count++] = item->change;
        }
    }
    pipeline->change.count = count;
    return pipeline->parts.store->ops->change(pipeline->parts.store, &pipeline->change);
}

static enum port_submit begin_search(struct results_pipeline *pipeline) {
    size_t count = 0;
    for (size_t i = 0; i < pipeline->read.count; i++) {
        if (pipeline->items[i].state == ITEM_ABSENT) {
            pipeline->chosen[count] = (uint16_t)i;
            pipeline->ids[count] = pipeline->items[i].change.order_id;
            pipeline->results[count++] = ORDER_RESULT_ABSENT;
        }
    }
    pipeline->get.count = count;
    if (pipeline->parts.archive == NULL) {
        searched(&pipeline->get.request);
        return PORT_TAKEN;
    }
    return pipeline->parts.archive->ops->get(pipeline->parts.archive, &pipeline->get);
}

static enum port_submit begin_aside(struct results_pipeline *pipeline, enum item_state state,
                                    struct topic_writer *writer) {
    size_t count = 0;
    for (size_t i = 0; i < pipeline->read.count; i++) {
        if (pipeline->items[i].state == state) {
            pipeline->chosen[count] = (uint16_t)i;
            pipeline->aside[count++] = (struct topic_message){
                .key = pipeline->messages[i].key,
                .value = pipeline->messages[i].value,
                .header = slice_from_text(pipeline->items[i].reason),
                .partition = -1,
            };
        }
    }
    pipeline->publish.count = count;
    return writer->ops->publish(writer, &pipeline->publish);
}

static enum port_submit begin(struct results_pipeline *pipeline) {
    switch (pipeline->state) {
    case RESULTS_CHANGING:
        return begin_change(pipeline);
    case RESULTS_SEARCHING:
        return begin_search(pipeline);
    case RESULTS_BURYING:
        return begin_aside(pipeline, ITEM_DEAD, pipeline->parts.dead);
    case RESULTS_LAMENTING:
        return begin_aside(pipeline, ITEM_LATE, pipeline->parts.late);
    case RESULTS_COMMITTING:
        return pipeline->parts.results->ops->commit(pipeline->parts.results, &pipeline->commit);
    case RESULTS_READING:
        break;
    }
    return pipeline->parts.results->ops->read(pipeline->parts.results, &pipeline->read);
}

int64_t results_pipeline_step(struct results_pipeline *pipeline) {
    int64_t now_us = clock_now_us(pipeline->parts.clock);
    if (pipeline->busy) {
        return INT64_MAX;
    }
    if (now_us < pipeline->wake_at_us) {
        return pipeline->wake_at_us;
    }
    pipeline->busy = true;
    if (begin(pipeline) == PORT_BUSY) {
        pipeline->busy = false;
        pipeline->wake_at_us = now_us + PAUSE_MIN_US;
        return pipeline->wake_at_us;
    }
    return pipeline->busy ? INT64_MAX : now_us;
}

bool results_pipeline_is_busy(const struct results_pipeline *pipeline) {
    return pipeline->busy;
}

struct results_pipeline *results_pipeline_create(const struct results_parts *parts) {
    struct results_pipeline *pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL) {
        return NULL;
    }
    struct mailbox *mailbox = parts->mailbox;
    pipeline->parts = *parts;
    pipeline->pause_us = PAUSE_MIN_US;
    pipeline->read = (struct topic_read){
        .request = {.done = read_done, .mailbox = mailbox},
        .wait_ms = READ_WAIT_MS,
        .limit = RESULTS_BATCH_MAX,
        .messages = pipeline->messages,
    };
    pipeline->commit = (struct topic_commit){.request = {.done = committed, .mailbox = mailbox}};
    pipeline->publish = (struct topic_publish){
        .request = {.done = put_aside, .mailbox = mailbox},
        .messages = pipeline->aside,
        .results = pipeline->results,
    };
    pipeline->change = (struct order_change_batch){
        .request = {.done = changed, .mailbox = mailbox},
        .changes = pipeline->changes,
        .orders = pipeline->orders,
        .results = pipeline->results,
    };
    pipeline->get = (struct order_get_batch){
        .request = {.done = searched, .mailbox = mailbox},
        .order_ids = pipeline->ids,
        .orders = pipeline->orders,
        .results = pipeline->results,
    };
    return pipeline;
}

void results_pipeline_destroy(struct results_pipeline *pipeline) {
    free(pipeline);
}

struct results_metrics *results_pipeline_metrics(struct results_pipeline *pipeline) {
    return &pipeline->metrics;
}
