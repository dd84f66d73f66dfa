/** Options of the MariaDB cluster, section `[mysql]`, and what they come to. Read once at the
 * start; read-only from then on. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_OPTIONS_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_OPTIONS_H

#include "base/config.h"
#include "order/order_id.h"

#define MYSQL_OPTIONS(X)                                                                           \
    X(text, shards, "127.0.0.1:3306", "", start,                                                   \
      "Servers, host:port or the path of a socket, with commas between, in the order of their "    \
      "shards")                                                                                    \
    X(text, user, "orderd", "", start, "User of every server")                                     \
    X(secret, password, "", "", start,                                                             \
      "Password of that user; where empty, that of password_file, else of the environment's "      \
      "ORDERD_MYSQL_PASSWORD")                                                                     \
    X(text, password_file, "", "", start, "File whose first line is the password")                 \
    X(text, database, "orders", "", start, "Database with the tables")                             \
    X(uint64, create_lanes, "4", "1..64", start, "Connections a shard for creates")                \
    X(uint64, change_lanes, "2", "1..64", start, "Connections a shard for changes")                \
    X(uint64, read_lanes, "2", "1..64", start, "Connections a shard for look-ups")                 \
    X(uint64, create_batch, "2000", "1..8192", start, "Most orders that one transaction creates")  \
    X(uint64, change_batch, "1000", "1..4096", start, "Most orders that one transaction changes")  \
    X(uint64, read_batch, "1000", "1..4096", start, "Most orders that one query looks up")         \
    X(uint64, scan_rows, "20000", "100..1000000", start,                                           \
      "Rows that one slice of a scan looks at, at most")                                           \
    X(uint64, queue_orders, "32768", "1024..1048576", start,                                       \
      "Orders that may wait a shard for each kind of lane; more are refused")                      \
    X(uint64, connect_timeout_ms, "2000", "100..60000", start,                                     \
      "Limit for a connection to be made; the client library counts in whole seconds")             \
    X(uint64, read_timeout_ms, "3000", "100..60000", start,                                        \
      "Limit for the answer to one statement, and for a look-up as a whole")                       \
    X(uint64, deadline_ms, "6000", "500..120000", start,                                           \
      "After this a create or change is not tried again; half of it at most is spent waiting")     \
    X(uint64, lock_wait_seconds, "1", "1..60", start,                                              \
      "How long the server waits for a row that another transaction holds")                        \
    X(uint64, node_lease_ms, "15000", "1000..3600000", start,                                      \
      "Length of the lease of a node number, which is renewed three times as often")               \
    X(uint64, clock_ahead_max_ms, "20000", "1000..30000", start,                                   \
      "An instance whose clock is this far ahead of the database's gives no ids")

struct mysql_options {
    MYSQL_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option mysql_option_table[];
extern const size_t mysql_option_count;

#define MARIADB_SHARDS_MAX 32
#define MARIADB_HOST_MAX 128
#define MARIADB_PASSWORD_VARIABLE "ORDERD_MYSQL_PASSWORD"

/** One server. */
struct mariadb_server {
    uint32_t shard;
    uint16_t port; /* 0: `host` is the path of a socket */
    char host[MARIADB_HOST_MAX];
    char name[MARIADB_HOST_MAX + 8]; /* host:port, for messages */
};

struct mariadb_settings {
    size_t shard_count;
    struct mariadb_server servers[MARIADB_SHARDS_MAX];
    struct config_text user;
    struct config_text password;
    struct config_text database;
    size_t create_lanes;
    size_t change_lanes;
    size_t read_lanes;
    size_t create_batch;
    size_t change_batch;
    size_t read_batch;
    size_t scan_rows;
    size_t queue_orders;
    int connect_timeout_ms;
    int read_timeout_ms;
    uint32_t lock_wait_seconds;
    int64_t deadline_us;
    int64_t node_lease_us;
    int64_t clock_ahead_max_us;
};

/** The shard of a slot. */
static inline size_t mariadb_shard_of_slot(const struct mariadb_settings *settings, uint32_t slot) {
    return slot % settings->shard_count;
}

static inline size_t mariadb_shard_of_id(const struct mariadb_settings *settings,
                                         uint64_t order_id) {
    return mariadb_shard_of_slot(settings, order_id_decode(order_id).slot);
}

/** False, with one line in `fault`, where the options are wrong or contradict each other.
 *  @param password what the environment has under MARIADB_PASSWORD_VARIABLE, or NULL. */
MUST_CHECK bool mariadb_settings_read(const struct mysql_options *options, const char *password,
                                      struct mariadb_settings *settings, struct fault *fault);

#endif
