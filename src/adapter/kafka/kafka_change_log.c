#include "adapter/kafka/kafka_change_log.h"

#include "adapter/kafka/kafka_ends.h"
#include "adapter/kafka/kafka_tail.h"
#include "base/clock.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>

_Static_assert(KAFKA_PARTITIONS_MAX <= CHANGE_LOG_PARTS_MAX, "a partition is a part");

const struct metric_description kafka_changes_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct kafka_changes_metrics, __VA_ARGS__)
    KAFKA_CHANGES_METRICS(X)
#undef X
};
const size_t kafka_changes_metric_count = ARRAY_COUNT(kafka_changes_metric_table);

#define INBOX_CAPACITY 1024
#define WATCHES_MAX 64
#define WAIT_MS 100
#define END_TIMEOUT_MS 1000 /* for where the topic ends: who asks wants to know now */
#define RESTART_PAUSE_US INT64_C(1000000)
#define BATCH_MESSAGES 1024 /* taken off the consumer before requests are looked at again */

/** A consumer with a thread, and what waits for it. */
struct follower {
    struct kafka_client client; /* first: the library's opaque */
    struct kafka_change_log *log;
    rd_kafka_t *consumer; /* owned */
    struct mailbox inbox;
    pthread_t thread;
};

struct kafka_change_log {
    struct change_log port;
    const struct kafka_options *options;
    struct log *log;
    uint32_t parts;
    _Atomic uint32_t stopping;
    _Atomic uint32_t changes_ended; /* nothing is handed on to kafka-history any more */
    _Atomic uint64_t newest[KAFKA_PARTITIONS_MAX];
    struct kafka_changes_metrics metrics;
    _Atomic size_t watch_count; /* raised when the entry is there */
    struct change_watch *watches[WATCHES_MAX];
    struct follower changes;
    struct follower history;
    struct kafka_ends *ends; /* owned */
    /* Of kafka-changes. */
    struct kafka_tail *tails; /* owned */
    bool lost;                /* where the consumer stood is no longer there */
    int64_t restart_at_us;
    struct log_limit changes_limit;
    /* Of kafka-history: the cursor of which the consumer stands. */
    bool stands;
    struct change_cursor place;
    struct log_limit history_limit;
};

static bool is_stopping(const struct kafka_change_log *log) {
    return atomic_load_explicit(&log->stopping, memory_order_acquire) != 0;
}

static void complete(struct change_read_batch *batch, enum change_read_result result) {
    batch->result = result;
    port_complete(&batch->request);
}

/** The order in a message; NULL where there is none. */
static const struct order_record *order_of(struct kafka_change_log *log, struct log_limit *limit,
                                           const rd_kafka_message_t *message,
                                           struct order_record *order) {
    if (message->len == sizeof(*order)) {
        memcpy(order, message->payload, sizeof(*order));
        if (order_record_check(order) == ORDER_RECORD_VALID) {
            return order;
        }
    }
    metric_add(&log->metrics.broken_total, 1);
    log_write_limited(log->log, limit, LOG_ERROR, "kafka",
                      "orders.changes, partition %d, offset %lld: no order", message->partition,
                      (long long)message->offset);
    return NULL;
}

/** Puts a change into a batch that has room. */
static void put(struct change_read_batch *batch, uint32_t part, uint64_t position,
                const struct order_record *order) {
    batch->orders[batch->count] = *order;
    batch->positions[batch->count] = position;
    batch->parts[batch->count++] = (uint8_t)part;
}

/* --- The end of the topic. --- */

/** Copies what a reader has not seen of a partition, up to `limit` changes in the batch. */
static void copy_tail(const struct kafka_tail *tail, uint32_t part, size_t limit,
                      struct change_read_batch *batch) {
    uint64_t number = kafka_tail_find(tail, batch->after.positions[part]);
    while (number < tail->added && batch->count < limit) {
        size_t slot = kafka_tail_slot(number++);
        put(batch, part, tail->offsets[slot] + 1, &tail->orders[slot]);
        batch->after.positions[part] = tail->offsets[slot] + 1;
    }
    if (number == tail->added && batch->after.positions[part] < tail->end) {
        batch->after.positions[part] = tail->end; /* past what is no order */
    }
}

/** True where all that the reader has not seen is in RAM. */
static bool is_in_tail(const struct kafka_change_log *log, const struct change_cursor *after) {
    for (uint32_t i = 0; i < log->parts; i++) {
        uint64_t position = after->positions[i];
        const struct kafka_tail *tail = &log->tails[i];
        if (position > tail->end || position < tail->from || (position == 0 && tail->from > 0)) {
            return false;
        }
    }
    return true;
}

static void answer_from_tail(struct kafka_change_log *log, struct change_read_batch *batch) {
    if (!is_in_tail(log, &batch->after)) {
        if (!mailbox_send(&log->history.inbox, batch)) {
            complete(batch, CHANGE_READ_UNAVAILABLE);
        }
        return;
    }
    /* A fair share for each first, then whatever there is. */
    size_t share = batch->limit / log->parts;
    for (uint32_t i = 0; i < log->parts; i++) {
        size_t limit = bytes_min_size(batch->limit, batch->count + (share > 0 ? share : 1));
        copy_tail(&log->tails[i], i, limit, batch);
    }
    for (uint32_t i = 0; i < log->parts; i++) {
        copy_tail(&log->tails[i], i, batch->limit, batch);
    }
    complete(batch, CHANGE_READ_OK);
}

static void wake_watches(struct kafka_change_log *log) {
    size_t count = atomic_load_explicit(&log->watch_count, memory_order_acquire);
    for (size_t i = 0; i < count; i++) {
        if (atomic_load_explicit(&log->watches[i]->active, memory_order_seq_cst) != 0) {
            mailbox_wake(log->watches[i]->mailbox);
        }
    }
}

static void take_newest(struct kafka_change_log *log, const rd_kafka_message_t *message) {
    struct order_record memory;
    uint32_t part = (uint32_t)message->partition;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR || part >= log->parts) {
        log->lost = log->lost || message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
                    message->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
        log_write_limited(log->log, &log->changes_limit, LOG_WARNING, "kafka", "orders.changes: %s",
                          rd_kafka_message_errstr(message));
        return;
    }
    struct kafka_tail *tail = &log->tails[part];
    if ((uint64_t)message->offset < tail->end) {
        return;
    }
    kafka_tail_add(tail, (uint64_t)message->offset,
                   order_of(log, &log->changes_limit, message, &memory));
    atomic_store_explicit(&log->newest[part], tail->end, memory_order_release);
    metric_add(&log->metrics.followed_total, 1);
}

/** Finds the end of every partition, and follows from there. Nothing changes where it fails. */
static bool follow_from_end(struct kafka_change_log *log, struct fault *fault) {
    const char *topic = kafka_topics[KAFKA_ORDERS_CHANGES].name;
    struct change_cursor end;
    if (!kafka_ends_find(log->changes.consumer, topic, log->parts, log->options->request_timeout_ms,
                         &end, fault)) {
        return false;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)log->parts);
    for (uint32_t i = 0; i < log->parts; i++) {
        rd_kafka_topic_partition_list_add(list, topic, (int32_t)i)->offset =
            (int64_t)end.positions[i];
    }
    rd_kafka_resp_err_t error = rd_kafka_assign(log->changes.consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fault_set(fault, "kafka: %s cannot be followed: %s", topic, rd_kafka_err2str(error));
        return false;
    }
    for (uint32_t i = 0; i < log->parts; i++) {
        kafka_tail_begin(&log->tails[i], end.positions[i]);
        atomic_store_explicit(&log->newest[i], end.positions[i], memory_order_release);
    }
    return true;
}

/** The topic was made anew, or what comes next was removed before it was read. Whoever stood before
 *  the place where this begins is told so by kafka-history. */
static void follow_again(struct kafka_change_log *log) {
    struct fault fault;
    int64_t now_us = clock_monotonic_us();
    if (now_us < log->restart_at_us) {
        return;
    }
    log->restart_at_us = now_us + RESTART_PAUSE_US;
    metric_add(&log->metrics.restarts_total, 1);
    log->lost = !follow_from_end(log, &fault);
    log_write(log->log, LOG_WARNING, "kafka",
              "orders.changes: the place that was followed is gone; from the end again: %s",
              log->lost ? fault.text : "done");
    wake_watches(log);
}

static void *run_changes(void *context) {
    struct kafka_change_log *log = context;
    for (;;) {
        struct port_request *request;
        size_t taken = 0;
        rd_kafka_message_t *message;
        while (taken < BATCH_MESSAGES &&
               (message = rd_kafka_consumer_poll(log->changes.consumer, 0)) != NULL) {
            take_newest(log, message);
            rd_kafka_message_destroy(message);
            taken++;
        }
        if (taken > 0) {
            wake_watches(log);
        }
        if (log->lost) {
            follow_again(log);
        }
        while ((request = mailbox_take(&log->changes.inbox)) != NULL) {
            answer_from_tail(log, (struct change_read_batch *)request);
        }
        if (taken == 0) {
            if (is_stopping(log)) {
                return NULL;
            }
            /* The library writes to the same descriptor when messages come. */
            mailbox_wait(&log->changes.inbox, WAIT_MS);
        }
    }
}

/* --- What is older. --- */

/** Judges a position against what the broker has, and says where to begin. */
static enum change_read_result find_begin(struct kafka_change_log *log, uint32_t part,
                                          uint64_t position, int64_t *begin) {
    int64_t low;
    int64_t high;
    rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
        log->history.consumer, kafka_topics[KAFKA_ORDERS_CHANGES].name, (int32_t)part, &low, &high,
        (int)log->options->request_timeout_ms);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_write_limited(log->log, &log->history_limit, LOG_WARNING, "kafka",
                          "orders.changes, partition %u: %s", part, rd_kafka_err2str(error));
        return CHANGE_READ_UNAVAILABLE;
    }
    *begin = position == 0 ? low : (int64_t)position;
    if (position > INT64_MAX || *begin > high) {
        return CHANGE_READ_INVALID;
    }
    return *begin < low ? CHANGE_READ_GONE : CHANGE_READ_OK;
}

/** Puts the consumer where the reader stands. */
static enum change_read_result move_history(struct kafka_change_log *log,
                                            struct change_cursor *after) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)log->parts);
    enum change_read_result result = CHANGE_READ_OK;
    for (uint32_t i = 0; i < log->parts && result == CHANGE_READ_OK; i++) {
        int64_t begin;
        result = find_begin(log, i, after->positions[i], &begin);
        if (result == CHANGE_READ_OK) {
            after->positions[i] = (uint64_t)begin;
            rd_kafka_topic_partition_list_add(list, kafka_topics[KAFKA_ORDERS_CHANGES].name,
                                              (int32_t)i)
                ->offset = begin;
        }
    }
    if (result == CHANGE_READ_OK &&
        rd_kafka_assign(log->history.consumer, list) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        result = CHANGE_READ_UNAVAILABLE;
    }
    rd_kafka_topic_partition_list_destroy(list);
    log->stands = result == CHANGE_READ_OK;
    log->place = *after;
    return result;
}

/** True where the reader has everything up to the end as kafka-changes saw it. */
static bool is_at_end(const struct kafka_change_log *log, const struct change_cursor *after) {
    for (uint32_t i = 0; i < log->parts; i++) {
        if (after->positions[i] < atomic_load_explicit(&log->newest[i], memory_order_acquire)) {
            return false;
        }
    }
    return true;
}

static void take_old(struct kafka_change_log *log, const rd_kafka_message_t *message,
                     struct change_read_batch *batch) {
    struct order_record memory;
    uint32_t part = (uint32_t)message->partition;
    uint64_t position = (uint64_t)message->offset + 1;
    const struct order_record *order = order_of(log, &log->history_limit, message, &memory);
    if (order != NULL) {
        put(batch, part, position, order);
    }
    batch->after.positions[part] = position;
}

/** Fetches until the batch is full, the end is reached, or nothing comes any more. False where the
 *  brokers fail and there is nothing to show. */
static bool fetch(struct kafka_change_log *log, struct change_read_batch *batch) {
    int64_t until_us = clock_monotonic_us() + (int64_t)log->options->request_timeout_ms * 1000;
    while (batch->count < batch->limit && !is_at_end(log, &batch->after) && !is_stopping(log)) {
        bool has_some = batch->count > 0;
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(log->history.consumer, has_some ? 0 : WAIT_MS);
        if (message == NULL) {
            if (has_some || clock_monotonic_us() >= until_us) {
                return has_some;
            }
            continue;
        }
        bool good =
            message->err == RD_KAFKA_RESP_ERR_NO_ERROR && (uint32_t)message->partition < log->parts;
        if (good) {
            take_old(log, message, batch);
        }
        rd_kafka_message_destroy(message);
        if (!good) {
            log->stands = false; /* the next one asks anew where things are */
            return has_some;
        }
    }
    return true;
}

static bool same_place(const struct kafka_change_log *log, const struct change_cursor *after) {
    return log->stands && memcmp(log->place.positions, after->positions,
                                 log->parts * sizeof(after->positions[0])) == 0;
}

static void answer_from_history(struct kafka_change_log *log, struct change_read_batch *batch) {
    enum change_read_result result = CHANGE_READ_OK;
    if (!same_place(log, &batch->after)) {
        result = move_history(log, &batch->after);
    }
    if (result == CHANGE_READ_OK && !fetch(log, batch)) {
        result = CHANGE_READ_UNAVAILABLE;
    }
    log->place = batch->after;
    metric_add(&log->metrics.history_total, batch->count);
    metric_add(&log->metrics.failures_total, result == CHANGE_READ_UNAVAILABLE);
    complete(batch, result);
}

static void *run_history(void *context) {
    struct kafka_change_log *log = context;
    for (;;) {
        struct port_request *request = mailbox_take(&log->history.inbox);
        if (request != NULL) {
            if (is_stopping(log)) {
                complete((struct change_read_batch *)request, CHANGE_READ_UNAVAILABLE);
            } else {
                answer_from_history(log, (struct change_read_batch *)request);
            }
        } else if (atomic_load_explicit(&log->changes_ended, memory_order_acquire) != 0) {
            return NULL;
        } else {
            mailbox_wait(&log->history.inbox, WAIT_MS);
        }
    }
}

/* --- The port. --- */

static struct kafka_change_log *log_of(struct change_log *port) {
    return (struct kafka_change_log *)port;
}

static enum port_submit submit_read(struct change_log *port, struct change_read_batch *batch) {
    struct kafka_change_log *log = log_of(port);
    batch->count = 0;
    return mailbox_send(&log->changes.inbox, batch) ? PORT_TAKEN : PORT_BUSY;
}

static void newest(struct change_log *port, struct change_cursor *cursor) {
    struct kafka_change_log *log = log_of(port);
    *cursor = (struct change_cursor){.parts = log->parts};
    for (uint32_t i = 0; i < log->parts; i++) {
        cursor->positions[i] = atomic_load_explicit(&log->newest[i], memory_order_acquire);
    }
}

static void watch(struct change_log *port, struct change_watch *watch) {
    struct kafka_change_log *log = log_of(port);
    size_t count = atomic_load_explicit(&log->watch_count, memory_order_relaxed);
    assert(count < WATCHES_MAX);
    log->watches[count] = watch;
    atomic_store_explicit(&log->watch_count, count + 1, memory_order_release);
}

static enum port_submit submit_end(struct change_log *port, struct change_end *request) {
    return kafka_ends_ask(log_of(port)->ends, request);
}

static const struct change_log_ops change_log_ops = {
    .read = submit_read, .newest = newest, .watch = watch, .end = submit_end};

/* --- Life. --- */

static rd_kafka_conf_t *make_conf(struct kafka_change_log *log, struct follower *follower,
                                  struct fault *fault) {
    rd_kafka_conf_t *conf = kafka_conf_create(log->options, &follower->client, fault);
    if (conf == NULL) {
        return NULL;
    }
    /* The library wants a group; nothing is ever committed to it. */
    if (!kafka_conf_set(conf, "group.id", "orderd-changes", fault) ||
        !kafka_conf_set(conf, "enable.auto.commit", "false", fault) ||
        !kafka_conf_set(conf, "auto.offset.reset", "error", fault) ||
        !kafka_conf_set(conf, "fetch.wait.max.ms", "100", fault) ||
        !kafka_conf_set_number(conf, "queued.max.messages.kbytes", log->options->fetch_queue_kb,
                               fault)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    return conf;
}

static bool make_follower(struct kafka_change_log *log, struct follower *follower,
                          struct fault *fault) {
    char text[FAULT_TEXT_MAX];
    follower->client.log = log->log;
    follower->log = log;
    if (!mailbox_init(&follower->inbox, INBOX_CAPACITY)) {
        fault_set(fault, "kafka: no memory for the change log");
        return false;
    }
    rd_kafka_conf_t *conf = make_conf(log, follower, fault);
    if (conf == NULL) {
        return false;
    }
    follower->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (follower->consumer == NULL) {
        fault_set(fault, "kafka: %s", text);
        rd_kafka_conf_destroy(conf);
        return false;
    }
    (void)rd_kafka_poll_set_consumer(follower->consumer);
    return true;
}

/** Begins to follow, and is woken when messages come. */
static bool begin_changes(struct kafka_change_log *log, struct fault *fault) {
    static const uint64_t one = 1;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(log->changes.consumer);
    rd_kafka_queue_io_event_enable(queue, log->changes.inbox.event_fd, &one, sizeof(one));
    rd_kafka_queue_destroy(queue);
    return follow_from_end(log, fault);
}

static void drop_follower(struct follower *follower) {
    if (follower->consumer != NULL) {
        (void)rd_kafka_consumer_close(follower->consumer);
        rd_kafka_destroy(follower->consumer);
    }
    if (follower->log != NULL && follower->inbox.ring.cells != NULL) {
        mailbox_deinit(&follower->inbox);
    }
}

static void release(struct kafka_change_log *log) {
    kafka_ends_destroy(log->ends);
    drop_follower(&log->changes);
    drop_follower(&log->history);
    free(log->tails);
    free(log);
}

static bool start_threads(struct kafka_change_log *log, struct fault *fault) {
    log->ends = kafka_ends_create(log->history.consumer, kafka_topics[KAFKA_ORDERS_CHANGES].name,
                                  log->parts, END_TIMEOUT_MS, fault);
    if (log->ends == NULL) {
        return false;
    }
    int error = pthread_create(&log->changes.thread, NULL, run_changes, log);
    if (error == 0) {
        error = pthread_create(&log->history.thread, NULL, run_history, log);
        if (error != 0) {
            atomic_store_explicit(&log->stopping, 1, memory_order_release);
            (void)pthread_join(log->changes.thread, NULL);
        }
    }
    if (error != 0) {
        fault_set_errno(fault, error, "kafka: the change log's threads cannot be started");
        return false;
    }
    (void)pthread_setname_np(log->changes.thread, "kafka-changes");
    (void)pthread_setname_np(log->history.thread, "kafka-history");
    return true;
}

struct kafka_change_log *kafka_change_log_create(const struct kafka_options *options,
                                                 struct log *log, struct fault *fault) {
    struct kafka_change_log *changes = calloc(1, sizeof(*changes));
    if (changes == NULL) {
        fault_set(fault, "kafka: no memory for the change log");
        return NULL;
    }
    changes->port.ops = &change_log_ops;
    changes->options = options;
    changes->log = log;
    changes->parts = (uint32_t)options->partitions;
    changes->tails = calloc(changes->parts, sizeof(*changes->tails));
    fault_set(fault, "kafka: no memory for the change log");
    if (changes->tails == NULL || !make_follower(changes, &changes->changes, fault) ||
        !make_follower(changes, &changes->history, fault) || !begin_changes(changes, fault) ||
        !start_threads(changes, fault)) {
        release(changes);
        return NULL;
    }
    return changes;
}

void kafka_change_log_destroy(struct kafka_change_log *log) {
    atomic_store_explicit(&log->stopping, 1, memory_order_release);
    mailbox_wake(&log->changes.inbox);
    (void)pthread_join(log->changes.thread, NULL);
    atomic_store_explicit(&log->changes_ended, 1, memory_order_release);
    mailbox_wake(&log->history.inbox);
    (void)pthread_join(log->history.thread, NULL);
    release(log);
}

struct change_log *kafka_change_log_port(struct kafka_change_log *log) {
    return &log->port;
}

struct kafka_changes_metrics *kafka_change_log_metrics(struct kafka_change_log *log) {
    return &log->metrics;
}
