#include "adapter/kafka/kafka_reader.h"

#include "adapter/kafka/kafka_ends.h"
#include "base/clock.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>

const struct metric_description kafka_reader_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct kafka_reader_metrics, __VA_ARGS__)
    KAFKA_READER_METRICS(X)
#undef X
};
const size_t kafka_reader_metric_count = ARRAY_COUNT(kafka_reader_metric_table);

enum { OPERATION_READ, OPERATION_COMMIT };

/* The library wants a name; nobody joins it, and nothing is committed to it. */
#define GROUP_NONE "orderd-none"

#define INBOX_CAPACITY 4
#define IDLE_WAIT_MS 1000
#define MESSAGES_MAX 8192 /* that one read hands out */
#define WAIT_STEP_MS 50   /* between looks at whether the reader is to stop */

struct kafka_reader {
    struct kafka_client client; /* first: the library's opaque */
    struct topic_reader port;
    const struct kafka_options *options;
    const struct kafka_topic *topic;
    struct mailbox inbox;
    pthread_t thread;
    _Atomic uint32_t stopping;
    struct kafka_reader_metrics metrics;
    /* The thread's. */
    rd_kafka_t *consumer;      /* owned */
    rd_kafka_queue_t *answers; /* owned: to commits */
    uint64_t commit_number;    /* of the commit under way: an answer to an earlier one is late */
    bool was_revoked;          /* something that was read and not committed is no longer ours */
    int64_t next[KAFKA_PARTITIONS_MAX]; /* after what was read and is not committed; -1: nothing */
    size_t held_count;
    rd_kafka_message_t *held[MESSAGES_MAX]; /* what the last read handed out */
};

static bool is_stopping(const struct kafka_reader *reader) {
    return atomic_load_explicit(&reader->stopping, memory_order_acquire) != 0;
}

/* --- Partitions. --- */

static void forget(struct kafka_reader *reader, const rd_kafka_topic_partition_list_t *list) {
    for (int i = 0; i < list->cnt; i++) {
        int32_t partition = list->elems[i].partition;
        if (partition >= 0 && partition < KAFKA_PARTITIONS_MAX && reader->next[partition] >= 0) {
            reader->next[partition] = -1;
            reader->was_revoked = true;
        }
    }
}

/** @thread the reader's, in rd_kafka_consumer_poll. */
static void rebalance(rd_kafka_t *consumer, rd_kafka_resp_err_t error,
                      rd_kafka_topic_partition_list_t *list, void *opaque) {
    struct kafka_reader *reader = opaque;
    bool given = error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    metric_add(&reader->metrics.rebalances_total, 1);
    metric_set(&reader->metrics.partitions, given ? (uint64_t)list->cnt : 0);
    log_info(reader->client.log, "kafka", "%s: %d partitions %s", reader->topic->name, list->cnt,
             given ? "are read from now on" : "are given up");
    if (!given) {
        forget(reader, list);
    }
    rd_kafka_resp_err_t answer = rd_kafka_assign(consumer, given ? list : NULL);
    if (answer != RD_KAFKA_RESP_ERR_NO_ERROR) {
        log_error(reader->client.log, "kafka", "%s: partitions: %s", reader->topic->name,
                  rd_kafka_err2str(answer));
    }
}

/* --- Reading. --- */

static void drop_held(struct kafka_reader *reader) {
    for (size_t i = 0; i < reader->held_count; i++) {
        rd_kafka_message_destroy(reader->held[i]);
    }
    reader->held_count = 0;
}

static struct slice header_of(const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers;
    const char *name;
    const void *value;
    size_t size;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_all(headers, 0, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        value == NULL) {
        return (struct slice){"", 0};
    }
    return (struct slice){value, size};
}

static void hand_out(struct kafka_reader *reader, struct topic_read *request,
                     rd_kafka_message_t *message) {
    rd_kafka_timestamp_type_t kind;
    int64_t time_ms = rd_kafka_message_timestamp(message, &kind);
    request->messages[request->count++] = (struct topic_message){
        .key = {message->key_len > 0 ? message->key : "", message->key_len},
        .value = {message->len > 0 ? message->payload : "", message->len},
        .header = header_of(message),
        .partition = message->partition,
        .offset = message->offset,
        .time_us = time_ms > 0 ? time_ms * 1000 : 0,
    };
    reader->held[reader->held_count++] = message;
    reader->next[message->partition] = message->offset + 1;
}

/** Looks at one that came. False where it says that something is wrong. */
static bool take(struct kafka_reader *reader, struct topic_read *request,
                 rd_kafka_message_t *message) {
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->partition >= 0 &&
        message->partition < KAFKA_PARTITIONS_MAX) {
        hand_out(reader, request, message);
        return true;
    }
    log_warning(reader->client.log, "kafka", "%s: %s", reader->topic->name,
                rd_kafka_message_errstr(message));
    rd_kafka_message_destroy(message);
    return false;
}

static void read_messages(struct kafka_reader *reader, struct topic_read *request) {
    int64_t until_us = clock_monotonic_us() + (int64_t)request->wait_ms * 1000;
    size_t limit = bytes_min_size(request->limit, MESSAGES_MAX);
    bool good = true;
    request->count = 0;
    drop_held(reader);
    while (good && request->count < limit && !is_stopping(reader)) {
        int64_t left_ms = (until_us - clock_monotonic_us()) / 1000;
        int wait_ms = request->count > 0 || left_ms <= 0 ? 0
                      : left_ms < WAIT_STEP_MS           ? (int)left_ms
                                                         : WAIT_STEP_MS;
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->consumer, wait_ms);
        if (message != NULL) {
            good = take(reader, request, message);
        } else if (wait_ms == 0) {
            break;
        }
    }
    metric_add(&reader->metrics.read_total, request->count);
    bool down = request->count == 0 && atomic_exchange_explicit(&reader->client.brokers_down, 0,
                                                                memory_order_relaxed) != 0;
    request->result =
        request->count > 0 || (good && !down) ? ORDER_RESULT_FOUND : ORDER_RESULT_UNAVAILABLE;
}

/* --- Committing. --- */

static enum order_result result_of_commit(rd_kafka_resp_err_t error) {
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR__NO_OFFSET:
        return ORDER_RESULT_STORED;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return ORDER_RESULT_MISMATCH;
    default:
        return ORDER_RESULT_UNAVAILABLE;
    }
}

/** Sends the positions and waits for the answer to exactly this commit. */
static enum order_result commit_positions(struct kafka_reader *reader,
                                          rd_kafka_topic_partition_list_t *list) {
    uint64_t number = ++reader->commit_number;
    int64_t until_us = clock_monotonic_us() + (int64_t)reader->options->commit_timeout_ms * 1000;
    rd_kafka_resp_err_t error = rd_kafka_commit_queue(reader->consumer, list, reader->answers, NULL,
                                                      (void *)(uintptr_t)number);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return result_of_commit(error);
    }
    for (;;) {
        int64_t left_ms = (until_us - clock_monotonic_us()) / 1000;
        if (left_ms <= 0) {
            break;
        }
        rd_kafka_event_t *event = rd_kafka_queue_poll(reader->answers, (int)left_ms);
        if (event == NULL) {
            break;
        }
        bool is_ours = rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT &&
                       (uint64_t)(uintptr_t)rd_kafka_event_opaque(event) == number;
        error = rd_kafka_event_error(event);
        rd_kafka_event_destroy(event);
        if (is_ours) {
            return result_of_commit(error);
        }
    }
    return ORDER_RESULT_UNAVAILABLE;
}

static void commit(struct kafka_reader *reader, struct topic_commit *request) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(KAFKA_PARTITIONS_MAX);
    for (int32_t i = 0; i < KAFKA_PARTITIONS_MAX; i++) {
        if (reader->next[i] >= 0) {
            rd_kafka_topic_partition_list_add(list, reader->topic->name, i)->offset =
                reader->next[i];
        }
    }
    enum order_result result = ORDER_RESULT_STORED;
    if (list->cnt > 0) {
        result = commit_positions(reader, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (result != ORDER_RESULT_UNAVAILABLE) {
        for (size_t i = 0; i < KAFKA_PARTITIONS_MAX; i++) {
            reader->next[i] = -1;
        }
    }
    if (result == ORDER_RESULT_STORED && reader->was_revoked) {
        result = ORDER_RESULT_MISMATCH;
    }
    reader->was_revoked = reader->was_revoked && result == ORDER_RESULT_UNAVAILABLE;
    metric_add(result == ORDER_RESULT_STORED ? &reader->metrics.commits_total
                                             : &reader->metrics.commit_failures_total,
               1);
    request->result = (uint8_t)result;
}

/* --- The thread. --- */

static void serve(struct kafka_reader *reader, struct port_request *request) {
    bool stopping = is_stopping(reader);
    if (request->operation == OPERATION_READ) {
        struct topic_read *read = (struct topic_read *)request;
        read->count = 0;
        read->result = ORDER_RESULT_UNAVAILABLE;
        if (!stopping) {
            read_messages(reader, read);
        }
    } else {
        commit(reader, (struct topic_commit *)request);
    }
    port_complete(request);
}

static void *run(void *context) {
    struct kafka_reader *reader = context;
    for (;;) {
        bool stopping = is_stopping(reader);
        struct port_request *request = mailbox_take(&reader->inbox);
        if (request != NULL) {
            serve(reader, request);
        } else if (stopping) {
            return NULL;
        } else {
            mailbox_wait(&reader->inbox, IDLE_WAIT_MS);
        }
    }
}

static struct kafka_reader *reader_of(struct topic_reader *port) {
    return CONTAINER_OF(port, struct kafka_reader, port);
}

static enum port_submit submit_read(struct topic_reader *port, struct topic_read *request) {
    request->request.operation = OPERATION_READ;
    return mailbox_send(&reader_of(port)->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_commit(struct topic_reader *port, struct topic_commit *request) {
    request->request.operation = OPERATION_COMMIT;
    return mailbox_send(&reader_of(port)->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static const struct topic_reader_ops reader_ops = {.read = submit_read, .commit = submit_commit};

/* --- Life. --- */

static rd_kafka_conf_t *make_conf(struct kafka_reader *reader, const char *group,
                                  struct fault *fault) {
    const struct kafka_options *options = reader->options;
    rd_kafka_conf_t *conf = kafka_conf_create(options, &reader->client, fault);
    if (conf == NULL) {
        return NULL;
    }
    uint64_t heartbeat_ms = options->session_timeout_ms / 4;
    if (!kafka_conf_set(conf, "group.id", group != NULL ? group : GROUP_NONE, fault) ||
        !kafka_conf_set(conf, "enable.auto.commit", "false", fault) ||
        !kafka_conf_set(conf, "enable.auto.offset.store", "false", fault) ||
        !kafka_conf_set(conf, "auto.offset.reset", "earliest", fault) ||
        !kafka_conf_set(conf, "isolation.level", "read_committed", fault) ||
        !kafka_conf_set_number(conf, "session.timeout.ms", options->session_timeout_ms, fault) ||
        !kafka_conf_set_number(conf, "heartbeat.interval.ms", heartbeat_ms, fault) ||
        !kafka_conf_set_number(conf, "queued.max.messages.kbytes", options->fetch_queue_kb,
                               fault)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
    return conf;
}

static bool join(struct kafka_reader *reader, struct fault *fault) {
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    (void)rd_kafka_topic_partition_list_add(topics, reader->topic->name, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(reader->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fault_set(fault, "kafka: %s: %s", reader->topic->name, rd_kafka_err2str(error));
    }
    return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/** Without a group: every partition is ours, from its end on. The end is asked for here, as the
 *  library would find it out some time later, and leave out what is written meanwhile. */
static bool assign_all(struct kafka_reader *reader, struct fault *fault) {
    uint32_t parts = (uint32_t)reader->options->partitions;
    struct change_cursor end;
    if (!kafka_ends_find(reader->consumer, reader->topic->name, parts,
                         reader->options->request_timeout_ms, &end, fault)) {
        return false;
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)parts);
    for (uint32_t i = 0; i < parts; i++) {
        rd_kafka_topic_partition_list_add(list, reader->topic->name, (int32_t)i)->offset =
            (int64_t)end.positions[i];
    }
    rd_kafka_resp_err_t error = rd_kafka_assign(reader->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fault_set(fault, "kafka: %s: %s", reader->topic->name, rd_kafka_err2str(error));
    }
    metric_set(&reader->metrics.partitions, parts);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool make_consumer(struct kafka_reader *reader, const char *group, struct fault *fault) {
    char text[FAULT_TEXT_MAX];
    rd_kafka_conf_t *conf = make_conf(reader, group, fault);
    if (conf == NULL) {
        return false;
    }
    reader->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (reader->consumer == NULL) {
        fault_set(fault, "kafka: %s", text);
        rd_kafka_conf_destroy(conf);
        return false;
    }
    (void)rd_kafka_poll_set_consumer(reader->consumer);
    reader->answers = rd_kafka_queue_new(reader->consumer);
    return group != NULL ? join(reader, fault) : assign_all(reader, fault);
}

static void release(struct kafka_reader *reader) {
    drop_held(reader);
    if (reader->answers != NULL) {
        rd_kafka_queue_destroy(reader->answers);
    }
    if (reader->consumer != NULL) {
        (void)rd_kafka_consumer_close(reader->consumer);
        rd_kafka_destroy(reader->consumer);
    }
    mailbox_deinit(&reader->inbox);
    free(reader);
}

struct kafka_reader *kafka_reader_create(const struct kafka_options *options,
                                         enum kafka_topic_number topic, const char *group,
                                         struct log *log, struct fault *fault) {
    struct kafka_reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL || !mailbox_init(&reader->inbox, INBOX_CAPACITY)) {
        fault_set(fault, "kafka: no memory for a reader of %s", kafka_topics[topic].name);
        free(reader);
        return NULL;
    }
    reader->client.log = log;
    reader->port.ops = &reader_ops;
    reader->options = options;
    reader->topic = &kafka_topics[topic];
    for (size_t i = 0; i < KAFKA_PARTITIONS_MAX; i++) {
        reader->next[i] = -1;
    }
    if (!make_consumer(reader, group, fault)) {
        release(reader);
        return NULL;
    }
    int error = pthread_create(&reader->thread, NULL, run, reader);
    if (error != 0) {
        fault_set_errno(fault, error, "kafka: the thread of a reader cannot be started");
        release(reader);
        return NULL;
    }
    (void)pthread_setname_np(reader->thread, "kafka-reader");
    return reader;
}

void kafka_reader_destroy(struct kafka_reader *reader) {
    atomic_store_explicit(&reader->stopping, 1, memory_order_release);
    mailbox_wake(&reader->inbox);
    (void)pthread_join(reader->thread, NULL);
    release(reader);
}

struct topic_reader *kafka_reader_port(struct kafka_reader *reader) {
    return &reader->port;
}

struct kafka_reader_metrics *kafka_reader_metrics(struct kafka_reader *reader) {
    return &reader->metrics;
}
