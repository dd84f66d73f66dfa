#include "pipeline/refresh.h"

#include "base/text.h"
#include "order/order_id.h"
#include "pipeline/pace.h"

#include <stdlib.h>

#define FAILURE_PAUSE_US 500000
#define BUSY_PAUSE_US 10000
#define WAIT_MS 1000
#define KEY_SHOWN_MAX 40
#define KEY_BYTES 20
/* The header of the messages that are this pipeline's. */
#define REFRESH_KIND "refresh"

const struct config_option refresh_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct refresh_options, __VA_ARGS__)
    REFRESH_OPTIONS(X)
#undef X
};
const size_t refresh_option_count = ARRAY_COUNT(refresh_option_table);

const struct metric_description refresh_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct refresh_metrics, __VA_ARGS__)
    REFRESH_METRICS(X)
#undef X
};
const size_t refresh_metric_count = ARRAY_COUNT(refresh_metric_table);

/** The half that tells: events in hand become messages. */
struct refresh_teller {
    bool busy;
    int64_t wake_at_us;
    size_t count; /* messages in hand */
    struct cache_events_read read;
    struct topic_publish publish;
    struct cache_event events[REFRESH_BATCH_MAX];
    struct topic_message messages[REFRESH_BATCH_MAX];
    char keys[REFRESH_BATCH_MAX][KEY_BYTES];
    uint8_t results[REFRESH_BATCH_MAX];
};

enum refresh_state {
    REFRESH_IDLE,  /* nothing in hand */
    REFRESH_READ,  /* ids in hand, to be looked up */
    REFRESH_FOUND, /* orders in hand, to be put */
    REFRESH_DONE   /* to be committed */
};

/** The half that does: ids in hand are looked up, then put. */
struct refresh_doer {
    bool busy;
    int64_t wake_at_us;
    enum refresh_state state;
    struct pace pace;
    size_t id_count; /* not looked up yet */
    size_t order_count;
    struct topic_read read;
    struct order_get_batch get;
    struct order_cache_put put;
    struct topic_commit commit;
    struct topic_message messages[REFRESH_BATCH_MAX];
    uint64_t ids[REFRESH_BATCH_MAX];
    struct order_record found[REFRESH_BATCH_MAX];
    struct order_record orders[REFRESH_BATCH_MAX];
    uint8_t results[REFRESH_BATCH_MAX];
};

struct refresh {
    const struct clock *clock;
    struct log *log;
    struct cache_events *events;
    struct topic_writer *writer;
    struct topic_reader *reader;
    struct order_store *store;
    struct order_cache *cache;
    int64_t eviction_pause_us;
    int64_t paused_until_us;
    struct log_limit limit;
    struct log_limit invalid_limit;
    struct refresh_metrics metrics;
    struct refresh_teller teller;
    struct refresh_doer doer;
};

/* --- Telling --- */

static void note_evictions(struct refresh *refresh, int64_t now_us) {
    const struct refresh_teller *teller = &refresh->teller;
    for (size_t i = 0; i < teller->read.count; i++) {
        if (teller->events[i].kind == CACHE_EVENT_EVICTED) {
            refresh->paused_until_us = now_us + refresh->eviction_pause_us;
            return;
        }
    }
}

static void events_read(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, teller.read.request);
    struct refresh_teller *teller = &refresh->teller;
    int64_t now_us = clock_now_us(refresh->clock);
    teller->busy = false;
    if (teller->read.result != ORDER_RESULT_FOUND) {
        teller->wake_at_us = now_us + FAILURE_PAUSE_US;
        return;
    }
    assert(teller->read.count <= REFRESH_BATCH_MAX);
    metric_add(&refresh->metrics.events_total, teller->read.count);
    metric_add(&refresh->metrics.events_lost_total, teller->read.lost);
    note_evictions(refresh, now_us);
    for (size_t i = 0; i < teller->read.count; i++) {
        struct text key = text_over(teller->keys[i], KEY_BYTES);
        text_append_u64(&key, teller->events[i].order_id);
        teller->messages[i] = (struct topic_message){
            .key = text_slice(&key),
            .header = SLICE_LITERAL(REFRESH_KIND),
            .partition = -1,
        };
    }
    teller->count = teller->read.count;
}

/** Keeps what was not acknowledged: a message that is there twice does no harm. */
static void published(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, teller.publish.request);
    struct refresh_teller *teller = &refresh->teller;
    size_t kept = 0;
    for (size_t i = 0; i < teller->count; i++) {
        if (teller->results[i] != ORDER_RESULT_STORED) {
            teller->messages[kept++] = teller->messages[i];
        }
    }
    metric_add(&refresh->metrics.published_total, teller->count - kept);
    teller->busy = false;
    teller->count = kept;
    if (kept > 0) {
        metric_add(&refresh->metrics.publish_failures_total, kept);
        teller->wake_at_us = clock_now_us(refresh->clock) + FAILURE_PAUSE_US;
    }
}

static int64_t step_teller(struct refresh *refresh, int64_t now_us) {
    struct refresh_teller *teller = &refresh->teller;
    if (teller->busy) {
        return INT64_MAX;
    }
    if (now_us < teller->wake_at_us) {
        return teller->wake_at_us;
    }
    enum port_submit said;
    teller->busy = true; /* it may be done before the submission returns */
    if (teller->count > 0) {
        teller->publish.count = teller->count;
        said = refresh->writer->ops->publish(refresh->writer, &teller->publish);
    } else {
        said = refresh->events->ops->read(refresh->events, &teller->read);
    }
    if (said == PORT_TAKEN) {
        return INT64_MAX;
    }
    teller->busy = false;
    teller->wake_at_us = now_us + BUSY_PAUSE_US;
    return teller->wake_at_us;
}

/* --- Doing --- */

static void messages_read(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, doer.read.request);
    struct refresh_doer *doer = &refresh->doer;
    int64_t now_us = clock_now_us(refresh->clock);
    doer->busy = false;
    if (doer->read.result != ORDER_RESULT_FOUND) {
        doer->wake_at_us = now_us + FAILURE_PAUSE_US;
        return;
    }
    if (doer->read.count == 0) {
        return;
    }
    assert(doer->read.count <= REFRESH_BATCH_MAX);
    metric_add(&refresh->metrics.messages_total, doer->read.count);
    doer->id_count = 0;
    doer->order_count = 0;
    for (size_t i = 0; i < doer->read.count; i++) {
        const struct topic_message *message = &doer->messages[i];
        if (!slice_equal(message->header, SLICE_LITERAL(REFRESH_KIND))) {
            continue;
        }
        if (order_id_parse(message->key, &doer->ids[doer->id_count])) {
            doer->id_count++;
            continue;
        }
        metric_add(&refresh->metrics.invalid_total, 1);
        log_write_limited(refresh->log, &refresh->invalid_limit, LOG_ERROR, "refresh",
                          "partition %d, offset %lld, key \"%.*s\": no order id; passed over",
                          message->partition, (long long)message->offset,
                          (int)bytes_min_size(message->key.size, KEY_SHOWN_MAX), message->key.data);
    }
    pace_took(&doer->pace, doer->id_count, now_us);
    doer->state = doer->id_count > 0 ? REFRESH_READ : REFRESH_DONE;
}

/** Something did not answer: pauses, and says so. */
static void note_failures(struct refresh *refresh, size_t count, uint64_t order_id,
                          const char *what) {
    metric_add(&refresh->metrics.failures_total, count);
    refresh->doer.wake_at_us = clock_now_us(refresh->clock) + FAILURE_PAUSE_US;
    log_write_limited(refresh->log, &refresh->limit, LOG_WARNING, "refresh",
                      "order %llu and %zu more were not %s; tried again",
                      (unsigned long long)order_id, count - 1, what);
}

static void looked_up(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, doer.get.request);
    struct refresh_doer *doer = &refresh->doer;
    size_t kept = 0;
    doer->busy = false;
    for (size_t i = 0; i < doer->id_count; i++) {
        if (doer->results[i] == ORDER_RESULT_FOUND &&
            !order_status_is_final(doer->found[i].status)) {
            doer->orders[doer->order_count++] = doer->found[i];
        } else if (doer->results[i] == ORDER_RESULT_FOUND ||
                   doer->results[i] == ORDER_RESULT_ABSENT) {
            metric_add(&refresh->metrics.skipped_total, 1);
        } else if (doer->results[i] == ORDER_RESULT_BROKEN) {
            metric_add(&refresh->metrics.broken_total, 1); /* the store has logged which */
        } else {
            doer->ids[kept++] = doer->ids[i];
        }
    }
    doer->id_count = kept;
    if (kept > 0) {
        note_failures(refresh, kept, doer->ids[0], "looked up");
        return; /* the rest first; what was found is kept */
    }
    doer->state = doer->order_count > 0 ? REFRESH_FOUND : REFRESH_DONE;
}

static void put_done(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, doer.put.request);
    struct refresh_doer *doer = &refresh->doer;
    size_t kept = 0;
    doer->busy = false;
    for (size_t i = 0; i < doer->order_count; i++) {
        if (doer->results[i] != ORDER_RESULT_STORED) {
            doer->orders[kept++] = doer->orders[i];
        }
    }
    metric_add(&refresh->metrics.refreshed_total, doer->order_count - kept);
    doer->order_count = kept;
    if (kept > 0) {
        note_failures(refresh, kept, doer->orders[0].order_id, "stored");
    } else {
        doer->state = REFRESH_DONE;
    }
}

static void committed(struct port_request *request) {
    struct refresh *refresh = CONTAINER_OF(request, struct refresh, doer.commit.request);
    struct refresh_doer *doer = &refresh->doer;
    doer->busy = false;
    if (doer->commit.result != ORDER_RESULT_STORED &&
        doer->commit.result != ORDER_RESULT_MISMATCH) {
        metric_add(&refresh->metrics.commit_failures_total, 1);
        doer->wake_at_us = clock_now_us(refresh->clock) + FAILURE_PAUSE_US;
        return;
    }
    doer->state = REFRESH_IDLE;
}

static enum port_submit begin(struct refresh *refresh) {
    struct refresh_doer *doer = &refresh->doer;
    switch (doer->state) {
    case REFRESH_IDLE:
        doer->read.limit = pace_batch(&doer->pace, REFRESH_BATCH_MAX);
        return refresh->reader->ops->read(refresh->reader, &doer->read);
    case REFRESH_READ:
        doer->get.count = doer->id_count;
        return refresh->store->ops->get(refresh->store, &doer->get);
    case REFRESH_FOUND:
        doer->put.count = doer->order_count;
        return refresh->cache->ops->put(refresh->cache, &doer->put);
    case REFRESH_DONE:
        break;
    }
    return refresh->reader->ops->commit(refresh->reader, &doer->commit);
}

static int64_t step_doer(struct refresh *refresh, int64_t now_us) {
    struct refresh_doer *doer = &refresh->doer;
    if (doer->busy) {
        return INT64_MAX;
    }
    int64_t from_us = doer->wake_at_us;
    if (doer->state == REFRESH_IDLE && doer->pace.next_us > from_us) {
        from_us = doer->pace.next_us;
    }
    if (doer->state != REFRESH_DONE && refresh->paused_until_us > from_us) {
        from_us = refresh->paused_until_us;
    }
    if (now_us < from_us) {
        return from_us;
    }
    doer->busy = true; /* it may be done before the submission returns */
    if (begin(refresh) == PORT_TAKEN) {
        return INT64_MAX;
    }
    doer->busy = false;
    doer->wake_at_us = now_us + BUSY_PAUSE_US;
    return doer->wake_at_us;
}

int64_t refresh_step(struct refresh *refresh) {
    int64_t now_us = clock_now_us(refresh->clock);
    int64_t teller_us = step_teller(refresh, now_us);
    int64_t doer_us = step_doer(refresh, now_us);
    metric_set(&refresh->metrics.paused, now_us < refresh->paused_until_us ? 1 : 0);
    return teller_us < doer_us ? teller_us : doer_us;
}

bool refresh_is_busy(const struct refresh *refresh) {
    return refresh->teller.busy || refresh->doer.busy;
}

static void prepare(struct refresh *refresh, struct mailbox *mailbox) {
    struct refresh_teller *teller = &refresh->teller;
    struct refresh_doer *doer = &refresh->doer;
    teller->read = (struct cache_events_read){
        .request = {.done = events_read, .mailbox = mailbox},
        .wait_ms = WAIT_MS,
        .limit = REFRESH_BATCH_MAX,
        .events = teller->events,
    };
    teller->publish = (struct topic_publish){
        .request = {.done = published, .mailbox = mailbox},
        .messages = teller->messages,
        .results = teller->results,
    };
    doer->read = (struct topic_read){
        .request = {.done = messages_read, .mailbox = mailbox},
        .wait_ms = WAIT_MS,
        .messages = doer->messages,
    };
    doer->get = (struct order_get_batch){
        .request = {.done = looked_up, .mailbox = mailbox},
        .order_ids = doer->ids,
        .orders = doer->found,
        .results = doer->results,
    };
    doer->put = (struct order_cache_put){
        .request = {.done = put_done, .mailbox = mailbox},
        .orders = doer->orders,
        .results = doer->results,
    };
    doer->commit = (struct topic_commit){.request = {.done = committed, .mailbox = mailbox}};
}

struct refresh *refresh_create(const struct refresh_parts *parts) {
    struct refresh *refresh = calloc(1, sizeof(*refresh));
    if (refresh == NULL) {
        return NULL;
    }
    refresh->clock = parts->clock;
    refresh->log = parts->log;
    refresh->events = parts->events;
    refresh->writer = parts->writer;
    refresh->reader = parts->reader;
    refresh->store = parts->store;
    refresh->cache = parts->cache;
    refresh->eviction_pause_us = (int64_t)parts->options->eviction_pause_ms * 1000;
    refresh->doer.pace.per_second = parts->options->per_second;
    prepare(refresh, parts->mailbox);
    return refresh;
}

void refresh_destroy(struct refresh *refresh) {
    free(refresh);
}

struct refresh_metrics *refresh_metrics(struct refresh *refresh) {
    return &refresh->metrics;
}
