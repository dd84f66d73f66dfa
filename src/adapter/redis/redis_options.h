/** Options of the Redis Cluster, section `[redis]`, and what they come to. Read once at the start;
 *  read-only from then on. */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_OPTIONS_H
#define ORDERD_ADAPTER_REDIS_REDIS_OPTIONS_H

#include "base/config.h"

#define REDIS_OPTIONS(X)                                                                           \
    X(text, nodes, "127.0.0.1:6379", "", start,                                                    \
      "Nodes that tell the cluster's map at the start, host:port with commas between; names are "  \
      "looked up once")                                                                            \
    X(text, user, "", "", start, "User of every node; empty: the default user")                    \
    X(secret, password, "", "", start,                                                             \
      "Password; where empty, the file's, else the environment's ORDERD_REDIS_PASSWORD")           \
    X(text, password_file, "", "", start, "File whose first line is the password")                 \
    X(uint64, ttl_seconds, "2592000", "1..315360000", start,                                       \
      "How long an entry that nobody changes stays")                                               \
    X(uint64, lock_ms, "8000", "100..60000", start,                                                \
      "How long a look-up lock holds; longer than the databases' time-outs together")              \
    X(uint64, timeout_ms, "1000", "10..60000", start,                                              \
      "Limit for the answer to a request, waiting and redirections included")                      \
    X(uint64, connect_timeout_ms, "500", "10..60000", start, "Limit for a connection to be made")  \
    X(uint64, reconnect_ms_max, "2000", "50..60000", start,                                        \
      "Longest pause before a node that does not answer is tried again")                           \
    X(uint64, redirects_max, "5", "1..16", start,                                                  \
      "How often one command is sent on (MOVED, ASK, TRYAGAIN, a broken connection)")              \
    X(uint64, queue_requests, "1024", "16..65536", start,                                          \
      "Requests that may wait; more are refused as busy")                                          \
    X(uint64, commands, "8192", "64..65536", start, "Commands that may be under way at once")      \
    X(uint64, map_refresh_ms, "5000", "100..600000", start,                                        \
      "How often the cluster's map is read again, besides when something has moved")               \
    X(uint64, watch_ms, "1000", "50..60000", start,                                                \
      "How often every master is asked whether it is still the same one, and still full")          \
    X(uint64, events, "65536", "64..1048576", start,                                               \
      "Events of expired and evicted entries that may wait to be read; more are counted as lost")

struct redis_options {
    REDIS_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option redis_option_table[];
extern const size_t redis_option_count;

#define REDIS_HOST_MAX 46 /* a numeric address of either family, and its end */
#define REDIS_SEEDS_MAX 16
#define REDIS_PASSWORD_VARIABLE "ORDERD_REDIS_PASSWORD"

/** Where a node is: a numeric address, since nothing in the adapter's thread may wait for a name.
 */
struct redis_address {
    char host[REDIS_HOST_MAX];
    uint16_t port;
};

/** The options, judged. */
struct redis_settings {
    struct redis_address seeds[REDIS_SEEDS_MAX];
    size_t seed_count;
    struct config_text user;
    struct config_text password;
    uint64_t ttl_ms;
    uint64_t lock_ms;
    int64_t timeout_us;
    int64_t connect_timeout_us;
    int64_t reconnect_max_us;
    int64_t map_refresh_us;
    int64_t watch_us;
    uint32_t redirects_max;
    size_t queue_requests;
    size_t commands;
    size_t events;
};

/** Judges the options, reads the password file, and looks names up (which may block). False, with
 *  one line in `fault`, where they cannot be.
 *  @param password what the environment has under REDIS_PASSWORD_VARIABLE, or NULL. */
MUST_CHECK bool redis_settings_read(const struct redis_options *options, const char *password,
                                    struct redis_settings *settings, struct fault *fault);

/** True where `host` is a numeric address that fits; it is then in `address`. */
MUST_CHECK bool redis_address_set(struct redis_address *address, struct slice host, uint64_t port);

MUST_CHECK static inline bool redis_address_equal(const struct redis_address *left,
                                                  const struct redis_address *right) {
    return left->port == right->port && strcmp(left->host, right->host) == 0;
}

#endif
