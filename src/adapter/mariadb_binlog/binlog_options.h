/** Options of the relay's way to the binlogs, section `[binlog]`, and the server that one source
 *  reads. Read once at the start. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_OPTIONS_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_OPTIONS_H

#include "base/config.h"

#define BINLOG_OPTIONS(X)                                                                          \
    X(uint64, server_id, "4000000", "1..4294967000", start,                                        \
      "Number of shard 0's relay among the replicas of its server; shard n's is n more")           \
    X(uint64, heartbeat_ms, "1000", "100..60000", start,                                           \
      "How often a server that has nothing to tell is to say so")                                  \
    X(uint64, silence_ms, "5000", "500..300000", start,                                            \
      "A server that says nothing for so long is taken for gone")                                  \
    X(uint64, connect_timeout_ms, "2000", "100..60000", start,                                     \
      "Limit for a connection to be made; the client library counts in whole seconds")             \
    X(uint64, query_timeout_ms, "3000", "100..60000", start,                                       \
      "Limit for the answer to each question before the log begins")                               \
    X(uint64, buffer_kb, "4096", "1024..262144", start,                                            \
      "Memory for what was received; an event of `orders` must fit in")

struct binlog_options {
    BINLOG_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option binlog_option_table[];
extern const size_t binlog_option_count;

/** What the password of a server is taken from, and the rest: as the store's section has it. */
struct binlog_server {
    struct config_text host;
    uint16_t port;
    uint32_t shard;
    struct config_text user;
    struct config_text password;
    struct config_text database;
};

#endif
