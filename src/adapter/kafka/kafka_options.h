/** Options of the Kafka cluster, section `[kafka]`, the topics, and what every client of ours has
 * in common: its configuration and its log lines. Read once at the start. */
#ifndef ORDERD_ADAPTER_KAFKA_KAFKA_OPTIONS_H
#define ORDERD_ADAPTER_KAFKA_KAFKA_OPTIONS_H

#include "base/config.h"
#include "base/log.h"

#define KAFKA_OPTIONS(X)                                                                           \
    X(text, brokers, "127.0.0.1:9092", "", start, "Brokers, host:port with commas between")        \
    X(text, client_id, "orderd", "", start, "Name of this program in the brokers' logs")           \
    X(text, security_protocol, "plaintext", "plaintext|ssl|sasl_plaintext|sasl_ssl", start,        \
      "How connections are made")                                                                  \
    X(text, sasl_mechanism, "SCRAM-SHA-512", "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512", start,           \
      "How the user is proved, with SASL")                                                         \
    X(text, user, "", "", start, "User, with SASL")                                                \
    X(secret, password, "", "", start, "Password of that user")                                    \
    X(text, ca_file, "", "", start, "Certificates of the authorities to trust, with TLS")          \
    X(uint64, partitions, "12", "1..32", start,                                                    \
      "Partitions of every topic; must stay as they were made")                                    \
    X(uint64, replication, "0", "0..16", start, "Copies of a new topic; 0: the brokers' default")  \
    X(uint64, changes_retention_hours, "168", "1..87600", start,                                   \
      "How long orders.changes is kept")                                                           \
    X(uint64, retention_hours, "168", "1..87600", start, "How long the other topics are kept")     \
    X(text, compression, "lz4", "none|lz4|zstd|snappy|gzip", start, "Compression of batches")      \
    X(uint64, linger_ms, "2", "0..1000", start, "How long a batch waits for more messages")        \
    X(uint64, batch_kb, "512", "16..16384", start, "Size at which a batch is sent")                \
    X(uint64, queue_messages, "65536", "1024..1048576", start,                                     \
      "Messages that may wait to be acknowledged; more are refused")                               \
    X(uint64, delivery_timeout_ms, "20000", "1000..600000", start,                                 \
      "A message that is not acknowledged by then has failed")                                     \
    X(uint64, request_timeout_ms, "5000", "500..60000", start, "Limit for one answer of a broker") \
    X(uint64, session_timeout_ms, "10000", "1000..600000", start,                                  \
      "A member that is silent for so long loses its partitions")                                  \
    X(uint64, commit_timeout_ms, "5000", "500..60000", start, "Limit for a commit of positions")   \
    X(uint64, fetch_queue_kb, "16384", "256..1048576", start,                                      \
      "What a reader may have received and not handed out")

struct kafka_options {
    KAFKA_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option kafka_option_table[];
extern const size_t kafka_option_count;

#define KAFKA_PARTITIONS_MAX 32

/** One of the topics (API, section 8). */
struct kafka_topic {
    const char *name;
    const char *header; /* the name of its one header; NULL: it has none */
};

enum kafka_topic_number {
    KAFKA_ORDERS_CHANGES,
    KAFKA_ORDERS_REFRESH,
    KAFKA_BALANCE_RESULTS,
    KAFKA_BALANCE_RESULTS_DEAD,
    KAFKA_ORDERS_ARCHIVED,
    KAFKA_ORDERS_LATE,
    KAFKA_TOPIC_COUNT
};
extern const struct kafka_topic kafka_topics[KAFKA_TOPIC_COUNT];

/** What the library's callbacks get: first member of every client. */
struct kafka_client {
    struct log *log;
    _Atomic uint32_t is_broken;    /* the library says that this client cannot go on */
    _Atomic uint32_t brokers_down; /* none answers; whoever reports it clears it */
};

struct rd_kafka_conf_s;

/** A configuration with what all clients have; its opaque is `client`. The caller owns it until it
 *  makes a client of it. NULL, with a line in `fault`, where the library refuses. */
struct rd_kafka_conf_s *kafka_conf_create(const struct kafka_options *options,
                                          struct kafka_client *client, struct fault *fault);

/** Sets one property; false, with a line in `fault`, where the library refuses it. */
MUST_CHECK bool kafka_conf_set(struct rd_kafka_conf_s *conf, const char *name, const char *value,
                               struct fault *fault);
MUST_CHECK bool kafka_conf_set_number(struct rd_kafka_conf_s *conf, const char *name,
                                      uint64_t value, struct fault *fault);

#endif
