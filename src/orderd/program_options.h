/** Every option of the program, section by section, and the command line that sets them. */
#ifndef ORDERD_ORDERD_PROGRAM_OPTIONS_H
#define ORDERD_ORDERD_PROGRAM_OPTIONS_H

#include "adapter/cassandra/cassandra_options.h"
#include "adapter/embedded/embedded.h"
#include "adapter/kafka/kafka_options.h"
#include "adapter/mariadb/mariadb_options.h"
#include "adapter/mariadb_binlog/binlog_options.h"
#include "adapter/redis/redis_options.h"
#include "api/api.h"
#include "memory/memory_options.h"
#include "net/http_server.h"
#include "net/resp_server.h"
#include "orderd/roles.h"
#include "pipeline/audit.h"
#include "pipeline/cluster_archiver.h"
#include "pipeline/refresh.h"
#include "service/lookup_cluster.h"
#include "service/order_options.h"

#define SERVER_OPTIONS(X)                                                                          \
    X(text, listen, "127.0.0.1:8080", "", start,                                                   \
      "Address of the HTTP API; anything but a loopback address needs insecure = yes")             \
    X(text, data_dir, "./data", "", start, "Directory of the embedded store")                      \
    X(text, roles, "all", "", start, "What this process does: all, or a list of roles")            \
    X(flag, insecure, "no", "", start, "Listen on any address without authentication")             \
    X(uint64, threads, "0", "0..256", start, "Network threads; 0: as many as processors")          \
    X(text, log_level, "info", "debug|info|warning|error", live, "Least level that is logged")     \
    X(uint64, drain_delay_ms, "0", "0..600000", start,                                             \
      "Time after SIGTERM in which everything is still served while /readyz already says 503, so " \
      "that a load balancer sends nothing more; a second SIGTERM ends it")                         \
    X(uint64, drain_timeout_ms, "10000", "0..600000", start,                                       \
      "Time that requests in flight have to end after SIGTERM")

struct server_options {
    SERVER_OPTIONS(CONFIG_FIELD)
};

#define STORE_OPTIONS(X)                                                                           \
    X(text, hot, "embedded", "embedded|mysql", start,                                              \
      "Where hot orders are: in this process's data_dir, or in a cluster with MariaDB, Redis, "    \
      "Kafka and Cassandra")

struct store_options {
    STORE_OPTIONS(CONFIG_FIELD)
};

#define PROGRAM_SECTIONS 18

struct program_options {
    struct server_options server;
    struct store_options store;
    struct order_options order;
    struct memory_options memory;
    struct journal_options journal;
    struct archive_options archive;
    struct http_options http;
    struct api_options api;
    struct resp_options resp;
    struct lookup_options lookup;
    struct refresh_options refresh;
    struct audit_options audit;
    struct cluster_archiver_options cluster_archiver; /* more of [archive] */
    struct mysql_options mysql;
    struct binlog_options binlog;
    struct redis_options redis;
    struct kafka_options kafka;
    struct cassandra_options cassandra;
    struct config_section sections[PROGRAM_SECTIONS];
    struct config config;
};

/** What the command line asks for beside options. */
struct command_line {
    const char *config_path; /* NULL: none */
    char **settings;         /* owned: `section.key=value`, in order */
    size_t setting_count;
    bool check_config;
    bool print_config;
    bool show_version;
    bool show_help;
};

/** False with one line in `fault` for a usage error. */
MUST_CHECK bool command_line_read(int argc, char **argv, struct command_line *line,
                                  struct fault *fault);
void command_line_free(struct command_line *line);

/** What --help prints. */
extern const char program_help[];

/** Defaults, then the file, then the settings. The struct must not move afterwards. */
MUST_CHECK bool program_options_load(struct program_options *options,
                                     const struct command_line *line, struct fault *fault);

/** Judges combinations that no single option's rule can. */
MUST_CHECK bool program_options_check(const struct program_options *options,
                                      struct order_terms *terms, struct fault *fault);

/** True where hot orders are in a cluster. */
bool program_options_is_cluster(const struct program_options *options);

enum log_level program_options_log_level(const struct program_options *options);

#endif
