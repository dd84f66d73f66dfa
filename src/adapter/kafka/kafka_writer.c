#include "adapter/kafka/kafka_writer.h"

#include "base/clock.h"
#include "order/order_id.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>

const struct metric_description kafka_writer_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct kafka_writer_metrics, __VA_ARGS__)
    KAFKA_WRITER_METRICS(X)
#undef X
};
const size_t kafka_writer_metric_count = ARRAY_COUNT(kafka_writer_metric_table);

/* Publishes that may be under way; a message's opaque is the number of its publish above that of
 * the message. */
#define PUBLISHES_MAX 256
#define MESSAGE_BITS 32

#define POLL_MS 100

/* While no broker answers, one is asked this often, and has so long to answer. */
#define LOOK_EVERY_US 1000000
#define LOOK_TIMEOUT_MS 500

/* Unacknowledged messages may hold so much memory of the library's. */
#define QUEUE_KB "1048576"

struct publish {
    struct topic_publish *request; /* NULL: this entry is free */
    int64_t from_us;
    _Atomic size_t open; /* messages without an answer, and 1 while they are being handed over */
};

struct kafka_topic_writer {
    struct topic_writer port;
    struct kafka_writer *writer;
    const struct kafka_topic *topic;
    rd_kafka_topic_t *handle; /* owned; of the present producer */
};

struct kafka_writer {
    struct kafka_client client; /* first: the library's opaque */
    const struct kafka_options *options;
    struct kafka_topic_writer topics[KAFKA_TOPIC_COUNT];
    pthread_t thread;
    _Atomic uint32_t stopping;
    _Atomic size_t waiting;
    _Atomic uint32_t ready; /* a broker answered, and none was lost since */
    int64_t look_at_us;     /* the thread's */
    struct kafka_writer_metrics metrics;
    pthread_mutex_t lock; /* of what follows; held while messages are handed over */
    rd_kafka_t *producer; /* owned; replaced by the thread after a fatal error */
    size_t free_count;
    uint32_t free_entries[PUBLISHES_MAX];
    struct publish publishes[PUBLISHES_MAX];
};

/* --- Completion. --- */

/** One message fewer is open; the last completes the publish. */
static void close_one(struct kafka_writer *writer, uint32_t number, bool has_lock) {
    struct publish *publish = &writer->publishes[number];
    if (atomic_fetch_sub_explicit(&publish->open, 1, memory_order_acq_rel) != 1) {
        return;
    }
    struct topic_publish *request = publish->request;
    histogram_add(&writer->metrics.publish_microseconds,
                  (uint64_t)(clock_monotonic_us() - publish->from_us));
    if (!has_lock) {
        (void)pthread_mutex_lock(&writer->lock);
    }
    publish->request = NULL;
    writer->free_entries[writer->free_count++] = number;
    if (!has_lock) {
        (void)pthread_mutex_unlock(&writer->lock);
    }
    port_complete(&request->request);
}

static enum order_result result_of(const rd_kafka_message_t *message) {
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return ORDER_RESULT_STORED;
    }
    return rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED
               ? ORDER_RESULT_UNAVAILABLE
               : ORDER_RESULT_UNKNOWN;
}

/** @thread the writer's, in rd_kafka_poll. */
static void take_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque) {
    (void)producer;
    struct kafka_writer *writer = opaque;
    uint64_t number = (uint64_t)(uintptr_t)message->_private;
    struct publish *publish = &writer->publishes[number >> MESSAGE_BITS];
    enum order_result result = result_of(message);
    publish->request->results[number & UINT32_MAX] = (uint8_t)result;
    metric_add(result == ORDER_RESULT_STORED ? &writer->metrics.acknowledged_total
                                             : &writer->metrics.failed_total,
               1);
    size_t left = atomic_fetch_sub_explicit(&writer->waiting, 1, memory_order_relaxed) - 1;
    metric_set(&writer->metrics.waiting, left);
    close_one(writer, (uint32_t)(number >> MESSAGE_BITS), false);
}

/* --- Handing over. --- */

static int32_t partition_of(const struct kafka_writer *writer,
                            const struct topic_message *message) {
    uint64_t order_id;
    if (message->partition >= 0) {
        return message->partition;
    }
    return order_id_parse(message->key, &order_id)
               ? (int32_t)(order_id_decode(order_id).slot % writer->options->partitions)
               : RD_KAFKA_PARTITION_UA;
}

static rd_kafka_resp_err_t produce(struct kafka_topic_writer *topic,
                                   const struct topic_message *message, uint64_t number) {
    rd_kafka_vu_t parts[6] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u = {.rkt = topic->handle}},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u = {.i32 = partition_of(topic->writer, message)}},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u = {.mem = {.ptr = (void *)(uintptr_t)message->key.data, .size = message->key.size}}},
        {.vtype = RD_KAFKA_VTYPE_VALUE,
         .u = {.mem = {.ptr = (void *)(uintptr_t)message->value.data,
                       .size = message->value.size}}},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u = {.ptr = (void *)(uintptr_t)number}},
    };
    size_t count = 5;
    if (topic->topic->header != NULL && message->header.size > 0) {
        parts[count++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADER,
                                         .u = {.header = {.name = topic->topic->header,
                                                          .val = message->header.data,
                                                          .size = (ssize_t)message->header.size}}};
    }
    rd_kafka_error_t *error = rd_kafka_produceva(topic->writer->producer, parts, count);
    if (error == NULL) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    return code;
}

/** @thread any, with the lock. */
static void hand_over(struct kafka_topic_writer *topic, struct topic_publish *request) {
    struct kafka_writer *writer = topic->writer;
    uint32_t entry = writer->free_entries[--writer->free_count];
    struct publish *publish = &writer->publishes[entry];
    publish->request = request;
    publish->from_us = clock_monotonic_us();
    atomic_store_explicit(&publish->open, request->count + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&writer->waiting, request->count, memory_order_relaxed);
    for (size_t i = 0; i < request->count; i++) {
        request->results[i] = ORDER_RESULT_UNKNOWN;
        uint64_t number = (uint64_t)entry << MESSAGE_BITS | i;
        if (produce(topic, &request->messages[i], number) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            request->results[i] = ORDER_RESULT_UNAVAILABLE;
            metric_add(&writer->metrics.failed_total, 1);
            atomic_fetch_sub_explicit(&writer->waiting, 1, memory_order_relaxed);
            close_one(writer, entry, true);
        }
    }
    close_one(writer, entry, true);
}

static enum port_submit publish_messages(struct topic_writer *port, struct topic_publish *request) {
    struct kafka_topic_writer *topic = (struct kafka_topic_writer *)port;
    struct kafka_writer *writer = topic->writer;
    size_t waiting = atomic_load_explicit(&writer->waiting, memory_order_relaxed);
    bool is_broken = atomic_load_explicit(&writer->client.is_broken, memory_order_relaxed) != 0;
    enum port_submit answer = PORT_BUSY;
    (void)pthread_mutex_lock(&writer->lock);
    if (!is_broken && writer->free_count > 0 && writer->producer != NULL &&
        (waiting == 0 || waiting + request->count <= writer->options->queue_messages)) {
        hand_over(topic, request);
        answer = PORT_TAKEN;
    }
    (void)pthread_mutex_unlock(&writer->lock);
    if (answer == PORT_BUSY) {
        metric_add(&writer->metrics.refused_total, 1);
    }
    return answer;
}

static const struct topic_writer_ops writer_ops = {.publish = publish_messages};

/* --- The producer. --- */

static rd_kafka_conf_t *make_conf(struct kafka_writer *writer, struct fault *fault) {
    const struct kafka_options *options = writer->options;
    rd_kafka_conf_t *conf = kafka_conf_create(options, &writer->client, fault);
    if (conf == NULL) {
        return NULL;
    }
    if (!kafka_conf_set(conf, "enable.idempotence", "true", fault) ||
        !kafka_conf_set(conf, "acks", "all", fault) ||
        !kafka_conf_set(conf, "compression.type", options->compression.text, fault) ||
        !kafka_conf_set_number(conf, "linger.ms", options->linger_ms, fault) ||
        !kafka_conf_set_number(conf, "batch.size", options->batch_kb * 1024, fault) ||
        !kafka_conf_set(conf, "batch.num.messages", "100000", fault) ||
        !kafka_conf_set_number(conf, "queue.buffering.max.messages", options->queue_messages * 2,
                               fault) ||
        !kafka_conf_set(conf, "queue.buffering.max.kbytes", QUEUE_KB, fault) ||
        !kafka_conf_set_number(conf, "message.timeout.ms", options->delivery_timeout_ms, fault) ||
        !kafka_conf_set_number(conf, "request.timeout.ms", options->request_timeout_ms, fault)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_dr_msg_cb(conf, take_delivery);
    return conf;
}

static void drop_producer(struct kafka_writer *writer) {
    for (size_t i = 0; i < KAFKA_TOPIC_COUNT; i++) {
        if (writer->topics[i].handle != NULL) {
            rd_kafka_topic_destroy(writer->topics[i].handle);
            writer->topics[i].handle = NULL;
        }
    }
    if (writer->producer != NULL) {
        rd_kafka_destroy(writer->producer);
        writer->producer = NULL;
    }
}

static bool make_producer(struct kafka_writer *writer, struct fault *fault) {
    char text[FAULT_TEXT_MAX];
    rd_kafka_conf_t *conf = make_conf(writer, fault);
    if (conf == NULL) {
        return false;
    }
    writer->producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (writer->producer == NULL) {
        fault_set(fault, "kafka: %s", text);
        rd_kafka_conf_destroy(conf);
        return false;
    }
    for (size_t i = 0; i < KAFKA_TOPIC_COUNT; i++) {
        writer->topics[i].handle = rd_kafka_topic_new(writer->producer, kafka_topics[i].name, NULL);
        if (writer->topics[i].handle == NULL) {
            fault_set(fault, "kafka: no memory for topic %s", kafka_topics[i].name);
            drop_producer(writer);
            return false;
        }
    }
    return true;
}

/** Gives up what is under way: it completes as UNAVAILABLE or UNKNOWN. */
static void purge(struct kafka_writer *writer) {
    (void)rd_kafka_purge(writer->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (atomic_load_explicit(&writer->waiting, memory_order_relaxed) > 0) {
        (void)rd_kafka_poll(writer->producer, POLL_MS);
    }
}

/** After a fatal error the library takes nothing more: a new producer begins. */
static void replace_producer(struct kafka_writer *writer) {
    struct fault fault;
    if (writer->producer != NULL) {
        purge(writer);
    }
    (void)pthread_mutex_lock(&writer->lock);
    drop_producer(writer);
    bool made = make_producer(writer, &fault);
    if (made) {
        atomic_store_explicit(&writer->client.is_broken, 0, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&writer->lock);
    metric_add(&writer->metrics.restarts_total, 1);
    log_error(writer->client.log, "kafka", "%s",
              made ? "the producer was made anew after a fatal error" : fault.text);
}

/** The library says when no broker answers any more, but not when one does again: asks, while
 *  that is so, and once at the start. */
static void look_for_brokers(struct kafka_writer *writer) {
    const struct rd_kafka_metadata *metadata;
    int64_t now_us = clock_monotonic_us();
    bool down =
        atomic_exchange_explicit(&writer->client.brokers_down, 0, memory_order_relaxed) != 0;
    if (down) {
        atomic_store_explicit(&writer->ready, 0, memory_order_relaxed);
    }
    if (atomic_load_explicit(&writer->ready, memory_order_relaxed) != 0 ||
        now_us < writer->look_at_us || writer->producer == NULL) {
        return;
    }
    writer->look_at_us = now_us + LOOK_EVERY_US;
    if (rd_kafka_metadata(writer->producer, 0, NULL, &metadata, LOOK_TIMEOUT_MS) ==
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
        atomic_store_explicit(&writer->ready, 1, memory_order_relaxed);
    }
}

bool kafka_writer_is_ready(const struct kafka_writer *writer) {
    return atomic_load_explicit(&writer->ready, memory_order_relaxed) != 0;
}

static void *run(void *context) {
    struct kafka_writer *writer = context;
    while (atomic_load_explicit(&writer->stopping, memory_order_acquire) == 0) {
        if (writer->producer != NULL) {
            (void)rd_kafka_poll(writer->producer, POLL_MS);
        } else {
            const struct timespec pause = {.tv_sec = 0, .tv_nsec = POLL_MS * 1000000L};
            (void)nanosleep(&pause, NULL);
        }
        if (atomic_load_explicit(&writer->client.is_broken, memory_order_relaxed) != 0) {
            replace_producer(writer);
        }
        look_for_brokers(writer);
    }
    if (writer->producer != NULL) {
        purge(writer);
    }
    return NULL;
}

/* --- Life. --- */

static void release(struct kafka_writer *writer) {
    drop_producer(writer);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer);
}

struct kafka_writer *kafka_writer_create(const struct kafka_options *options, struct log *log,
                                         struct fault *fault) {
    struct kafka_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL) {
        fault_set(fault, "kafka: no memory for the producer");
        return NULL;
    }
    writer->client.log = log;
    writer->options = options;
    (void)pthread_mutex_init(&writer->lock, NULL);
    for (uint32_t i = 0; i < PUBLISHES_MAX; i++) {
        writer->free_entries[writer->free_count++] = i;
    }
    for (size_t i = 0; i < KAFKA_TOPIC_COUNT; i++) {
        writer->topics[i] = (struct kafka_topic_writer){
            .port = {.ops = &writer_ops}, .writer = writer, .topic = &kafka_topics[i]};
    }
    if (!make_producer(writer, fault)) {
        release(writer);
        return NULL;
    }
    int error = pthread_create(&writer->thread, NULL, run, writer);
    if (error != 0) {
        fault_set_errno(fault, error, "kafka: the producer's thread cannot be started");
        release(writer);
        return NULL;
    }
    (void)pthread_setname_np(writer->thread, "kafka-writer");
    return writer;
}

void kafka_writer_destroy(struct kafka_writer *writer) {
    atomic_store_explicit(&writer->stopping, 1, memory_order_release);
    (void)pthread_join(writer->thread, NULL);
    release(writer);
}

struct topic_writer *kafka_writer_topic(struct kafka_writer *writer,
                                        enum kafka_topic_number number) {
    return &writer->topics[number].port;
}

struct kafka_writer_metrics *kafka_writer_metrics(struct kafka_writer *writer) {
    return &writer->metrics;
}
