#include "adapter/kafka/kafka_schema.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>

struct schema {
    struct kafka_client client; /* first: the library's opaque */
    const struct kafka_options *options;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    struct fault *fault;
};

static int timeout_ms(const struct schema *schema) {
    return (int)schema->options->request_timeout_ms;
}

/** Looks at a topic that is there. */
static bool check_topic(struct schema *schema, const rd_kafka_metadata_topic_t *topic) {
    if ((uint64_t)topic->partition_cnt != schema->options->partitions) {
        fault_set(schema->fault, "topic %s has %d partitions; kafka.partitions is %llu",
                  topic->topic, topic->partition_cnt,
                  (unsigned long long)schema->options->partitions);
        return false;
    }
    return true;
}

/** Finds which topics are there. */
static bool look(struct schema *schema, bool present[KAFKA_TOPIC_COUNT]) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error =
        rd_kafka_metadata(schema->handle, 1, NULL, &metadata, timeout_ms(schema));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fault_set(schema->fault, "kafka %s: %s", schema->options->brokers.text,
                  rd_kafka_err2str(error));
        return false;
    }
    bool good = true;
    for (int i = 0; good && i < metadata->topic_cnt; i++) {
        for (size_t k = 0; k < KAFKA_TOPIC_COUNT; k++) {
            if (strcmp(metadata->topics[i].topic, kafka_topics[k].name) == 0 &&
                metadata->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                present[k] = true;
                good = good && check_topic(schema, &metadata->topics[i]);
            }
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return good;
}

static rd_kafka_NewTopic_t *describe(struct schema *schema, size_t number) {
    const struct kafka_options *options = schema->options;
    char text[FAULT_TEXT_MAX];
    char retention[32];
    uint64_t hours = number == KAFKA_ORDERS_CHANGES ? options->changes_retention_hours
                                                    : options->retention_hours;
    (void)snprintf(retention, sizeof(retention), "%llu", (unsigned long long)hours * 3600000);
    int replication = options->replication == 0 ? -1 : (int)options->replication;
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
        kafka_topics[number].name, (int)options->partitions, replication, text, sizeof(text));
    if (topic == NULL) {
        fault_set(schema->fault, "kafka: topic %s: %s", kafka_topics[number].name, text);
        return NULL;
    }
    if (rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "delete") != 0 ||
        rd_kafka_NewTopic_set_config(topic, "retention.ms", retention) != 0) {
        fault_set(schema->fault, "kafka: no memory for topic %s", kafka_topics[number].name);
        rd_kafka_NewTopic_destroy(topic);
        return NULL;
    }
    return topic;
}

/** Waits for what the brokers say to the creation of all. */
static bool take_answer(struct schema *schema) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(schema->queue, timeout_ms(schema) * 2);
    const rd_kafka_CreateTopics_result_t *result =
        event == NULL ? NULL : rd_kafka_event_CreateTopics_result(event);
    if (result == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fault_set(schema->fault, "kafka: topics were not made: %s",
                  event == NULL ? "no answer" : rd_kafka_event_error_string(event));
        if (event != NULL) {
            rd_kafka_event_destroy(event);
        }
        return false;
    }
    size_t count;
    bool good = true;
    const rd_kafka_topic_result_t **topics = rd_kafka_CreateTopics_result_topics(result, &count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t error = rd_kafka_topic_result_error(topics[i]);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR &&
            error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            fault_set(schema->fault, "kafka: topic %s was not made: %s",
                      rd_kafka_topic_result_name(topics[i]),
                      rd_kafka_topic_result_error_string(topics[i]));
            good = false;
        }
    }
    rd_kafka_event_destroy(event);
    return good;
}

static bool make_topics(struct schema *schema, const bool present[KAFKA_TOPIC_COUNT],
                        size_t *made) {
    rd_kafka_NewTopic_t *topics[KAFKA_TOPIC_COUNT];
    size_t count = 0;
    bool good = true;
    for (size_t i = 0; good && i < KAFKA_TOPIC_COUNT; i++) {
        if (!present[i]) {
            topics[count] = describe(schema, i);
            good = topics[count] != NULL;
            count += good;
        }
    }
    if (good && count > 0) {
        rd_kafka_AdminOptions_t *admin =
            rd_kafka_AdminOptions_new(schema->handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
        rd_kafka_CreateTopics(schema->handle, topics, count, admin, schema->queue);
        good = take_answer(schema);
        rd_kafka_AdminOptions_destroy(admin);
    }
    rd_kafka_NewTopic_destroy_array(topics, count);
    *made = count;
    return good;
}

bool kafka_schema_apply(const struct kafka_options *options, struct log *log, size_t *made,
                        struct fault *fault) {
    char text[FAULT_TEXT_MAX];
    struct schema schema = {.client = {.log = log}, .options = options, .fault = fault};
    *made = 0;
    rd_kafka_conf_t *conf = kafka_conf_create(options, &schema.client, fault);
    if (conf == NULL) {
        return false;
    }
    schema.handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (schema.handle == NULL) {
        fault_set(fault, "kafka: %s", text);
        rd_kafka_conf_destroy(conf);
        return false;
    }
    schema.queue = rd_kafka_queue_new(schema.handle);
    bool present[KAFKA_TOPIC_COUNT] = {false};
    bool good = look(&schema, present) && make_topics(&schema, present, made);
    rd_kafka_queue_destroy(schema.queue);
    rd_kafka_destroy(schema.handle);
    return good;
}
