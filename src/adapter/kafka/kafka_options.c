#include "adapter/kafka/kafka_options.h"

#include <librdkafka/rdkafka.h>

const struct config_option kafka_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct kafka_options, __VA_ARGS__)
    KAFKA_OPTIONS(X)
#undef X
};
const size_t kafka_option_count = ARRAY_COUNT(kafka_option_table);

const struct kafka_topic kafka_topics[KAFKA_TOPIC_COUNT] = {
    [KAFKA_ORDERS_CHANGES] = {"orders.changes", "event"},
    [KAFKA_ORDERS_REFRESH] = {"orders.refresh", "kind"},
    [KAFKA_BALANCE_RESULTS] = {"balance.results", NULL},
    [KAFKA_BALANCE_RESULTS_DEAD] = {"balance.results.dead", "reason"},
    [KAFKA_ORDERS_ARCHIVED] = {"orders.archived", NULL},
    [KAFKA_ORDERS_LATE] = {"orders.late", "reason"},
};

/* The library's levels are syslog's, whose names base/log.h has for its own. */
#define SYSLOG_WARNING 4

/** @thread any of the library's. */
static void take_log_line(const rd_kafka_t *handle, int level, const char *facility,
                          const char *text) {
    const struct kafka_client *client = rd_kafka_opaque(handle);
    log_write(client->log, level <= SYSLOG_WARNING ? LOG_WARNING : LOG_DEBUG, "kafka", "%s: %s",
              facility, text);
}

/** @thread the one that polls the client. */
static void take_error(rd_kafka_t *handle, int error, const char *text, void *opaque) {
    (void)handle;
    struct kafka_client *client = opaque;
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
        atomic_store_explicit(&client->is_broken, 1, memory_order_relaxed);
    } else if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        atomic_store_explicit(&client->brokers_down, 1, memory_order_relaxed);
    }
    log_write(client->log, LOG_WARNING, "kafka", "%s: %s", rd_kafka_err2name(error), text);
}

bool kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                    struct fault *fault) {
    char text[FAULT_TEXT_MAX];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        fault_set(fault, "kafka: %s", text);
        return false;
    }
    return true;
}

bool kafka_conf_set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value,
                           struct fault *fault) {
    char text[24];
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return kafka_conf_set(conf, name, text, fault);
}

static bool set_security(rd_kafka_conf_t *conf, const struct kafka_options *options,
                         struct fault *fault) {
    const char *protocol = options->security_protocol.text;
    if (!kafka_conf_set(conf, "security.protocol", protocol, fault)) {
        return false;
    }
    if (options->ca_file.text[0] != 0 &&
        !kafka_conf_set(conf, "ssl.ca.location", options->ca_file.text, fault)) {
        return false;
    }
    return strncmp(protocol, "sasl", 4) != 0 ||
           (kafka_conf_set(conf, "sasl.mechanisms", options->sasl_mechanism.text, fault) &&
            kafka_conf_set(conf, "sasl.username", options->user.text, fault) &&
            kafka_conf_set(conf, "sasl.password", options->password.text, fault));
}

rd_kafka_conf_t *kafka_conf_create(const struct kafka_options *options, struct kafka_client *client,
                                   struct fault *fault) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf == NULL) {
        fault_set(fault, "kafka: no memory for a configuration");
        return NULL;
    }
    if (!kafka_conf_set(conf, "bootstrap.servers", options->brokers.text, fault) ||
        !kafka_conf_set(conf, "client.id", options->client_id.text, fault) ||
        !kafka_conf_set(conf, "log.connection.close", "false", fault) ||
        !kafka_conf_set(conf, "reconnect.backoff.ms", "50", fault) ||
        !kafka_conf_set(conf, "reconnect.backoff.max.ms", "2000", fault) ||
        !kafka_conf_set(conf, "allow.auto.create.topics", "false", fault) ||
        !kafka_conf_set_number(conf, "socket.timeout.ms", options->request_timeout_ms * 2, fault) ||
        !set_security(conf, options, fault)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_opaque(conf, client);
    rd_kafka_conf_set_log_cb(conf, take_log_line);
    rd_kafka_conf_set_error_cb(conf, take_error);
    return conf;
}
