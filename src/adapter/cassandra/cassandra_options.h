/** Options of the Cassandra archive, and what they come to. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_OPTIONS_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_OPTIONS_H

#include "adapter/cassandra/cql_frame.h"
#include "base/config.h"

#include <sys/socket.h>

#define CASSANDRA_HOSTS_MAX 16
#define CASSANDRA_HOST_NAME_MAX 80
#define CASSANDRA_REPLICATION_MAX 512

#define CASSANDRA_OPTIONS(X)                                                                       \
    X(text, hosts, "127.0.0.1:9042", "", start,                                                    \
      "Nodes that are spoken to, all of the near data center: host:port, with spaces between; "    \
      "names are looked up at the start")                                                          \
    X(text, keyspace, "orders", "", start, "Keyspace of the archive")                              \
    X(text, user, "", "", start, "User; empty: the cluster asks for none")                         \
    X(secret, password, "", "", start,                                                             \
      "Password; the environment variable ORDERD_CASSANDRA_PASSWORD goes before it")               \
    X(text, consistency, "LOCAL_QUORUM", "LOCAL_QUORUM|QUORUM|ALL|LOCAL_ONE|ONE", start,           \
      "Replicas that must answer a read or a write; LOCAL_ONE and ONE only where there is one "    \
      "replica, or a read may miss what was written")                                              \
    X(text, replication, "datacenter1:3", "", start,                                               \
      "Replicas in each data center, datacenter:count with spaces between; for orderctl schema "   \
      "apply")                                                                                     \
    X(uint64, connections, "2", "1..16", start, "Connections to each node")                        \
    X(uint64, streams, "64", "4..2048", start, "Requests in flight on each connection")            \
    X(uint64, queue_orders, "32768", "8192..1048576", start,                                       \
      "Orders that may be under way at once; more is refused as busy")                             \
    X(uint64, batch_rows_max, "100", "1..500", start,                                              \
      "Rows of one partition that are written by one request")                                     \
    X(uint64, partition_writes_max, "1", "1..64", start,                                           \
      "Write requests to one partition that are under way at once")                                \
    X(uint64, select_ids_max, "100", "1..500", start,                                              \
      "Orders of one partition that are read by one request")                                      \
    X(uint64, request_timeout_ms, "2400", "10..60000", start,                                      \
      "Time that an order's read or write has in all, waiting and a second try included")          \
    X(uint64, attempt_timeout_ms, "1200", "10..60000", start,                                      \
      "Time that a node has to answer one request")                                                \
    X(uint64, connect_timeout_ms, "2000", "10..60000", start,                                      \
      "Time to connect, log in and prepare the statements")                                        \
    X(uint64, reconnect_ms_max, "10000", "100..600000", start,                                     \
      "Longest pause before a node that does not answer is tried again")

struct cassandra_options {
    CASSANDRA_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option cassandra_option_table[];
extern const size_t cassandra_option_count;

/** A node: its name as it was given, and where that is. */
struct cassandra_address {
    char name[CASSANDRA_HOST_NAME_MAX];
    struct sockaddr_storage socket;
    socklen_t socket_size;
};

/** The options, judged. */
struct cassandra_terms {
    struct cassandra_address hosts[CASSANDRA_HOSTS_MAX];
    size_t host_count;
    char keyspace[64];
    char user[CONFIG_TEXT_MAX];
    char password[CONFIG_TEXT_MAX];
    char replication[CASSANDRA_REPLICATION_MAX]; /* a CQL map */
    enum cql_consistency consistency;
    uint32_t connections;
    uint16_t streams;
    uint32_t queue_orders;
    uint32_t batch_rows_max;
    uint32_t partition_writes_max;
    uint32_t select_ids_max;
    int64_t request_timeout_us;
    int64_t attempt_timeout_us;
    int64_t connect_timeout_us;
    int64_t reconnect_max_us;
};

/** Judges the options, and looks the nodes' names up (which may block). False, with one line in
 *  `fault`, where they cannot be.
 *  @param password what ORDERD_CASSANDRA_PASSWORD holds, or NULL. */
MUST_CHECK bool cassandra_options_read(const struct cassandra_options *options,
                                       const char *password, struct cassandra_terms *terms,
                                       struct fault *fault);

#endif
