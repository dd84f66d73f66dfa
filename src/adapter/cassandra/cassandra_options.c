#include "adapter/cassandra/cassandra_options.h"

#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_PORT "9042"
#define KEYSPACE_NAME_MAX 48
#define SEPARATORS " ,"

const struct config_option cassandra_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct cassandra_options, __VA_ARGS__)
    CASSANDRA_OPTIONS(X)
#undef X
};
const size_t cassandra_option_count = ARRAY_COUNT(cassandra_option_table);

/** The next word of a list; empty after the last one. */
static struct slice next_word(const char **at) {
    *at += strspn(*at, SEPARATORS);
    struct slice word = {*at, strcspn(*at, SEPARATORS)};
    *at += word.size;
    return word;
}

static bool copy_text(char *to, size_t size, struct slice from) {
    if (from.size >= size) {
        return false;
    }
    memcpy(to, from.data, from.size);
    to[from.size] = 0;
    return true;
}

/* --- Nodes. --- */

/** 1 to 65535. */
static bool is_port(const char *text) {
    size_t size = strlen(text);
    if (size < 1 || size > 5 || strspn(text, "0123456789") != size) {
        return false;
    }
    long port = strtol(text, NULL, 10);
    return port >= 1 && port <= 65535;
}

/** Splits `host`, `host:port` or `[address]:port`. */
static bool split_address(const char *name, char *host, size_t host_size, const char **port) {
    struct slice part;
    const char *rest;
    if (name[0] == '[') {
        const char *end = strchr(name, ']');
        if (end == NULL) {
            return false;
        }
        part = (struct slice){name + 1, (size_t)(end - name) - 1};
        rest = end + 1;
    } else {
        part = (struct slice){name, strcspn(name, ":")};
        rest = name + part.size;
    }
    *port = *rest == ':' ? rest + 1 : DEFAULT_PORT;
    return (*rest == 0 || *rest == ':') && part.size > 0 && copy_text(host, host_size, part) &&
           is_port(*port);
}

static bool resolve(struct cassandra_address *address, struct fault *fault) {
    char host[CASSANDRA_HOST_NAME_MAX];
    const char *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (!split_address(address->name, host, sizeof(host), &port)) {
        fault_set(fault, "cassandra.hosts: expected host:port, got \"%s\"", address->name);
        return false;
    }
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        fault_set(fault, "cassandra.hosts: %s: %s", address->name, gai_strerror(error));
        return false;
    }
    assert(found->ai_addrlen <= sizeof(address->socket));
    memcpy(&address->socket, found->ai_addr, found->ai_addrlen);
    address->socket_size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool read_hosts(const char *list, struct cassandra_terms *terms, struct fault *fault) {
    terms->host_count = 0;
    for (struct slice word = next_word(&list); word.size > 0; word = next_word(&list)) {
        if (terms->host_count == CASSANDRA_HOSTS_MAX) {
            fault_set(fault, "cassandra.hosts: expected at most %d nodes", CASSANDRA_HOSTS_MAX);
            return false;
        }
        struct cassandra_address *address = &terms->hosts[terms->host_count++];
        if (!copy_text(address->name, sizeof(address->name), word)) {
            fault_set(fault, "cassandra.hosts: expected names of at most %d characters",
                      CASSANDRA_HOST_NAME_MAX - 1);
            return false;
        }
        if (!resolve(address, fault)) {
            return false;
        }
    }
    if (terms->host_count == 0) {
        fault_set(fault, "cassandra.hosts: expected at least one host:port");
    }
    return terms->host_count > 0;
}

/* --- Names that go into statements: nothing that would need quoting. --- */

static bool read_keyspace(const char *name, struct cassandra_terms *terms, struct fault *fault) {
    size_t size = strlen(name);
    if (size == 0 || size > KEYSPACE_NAME_MAX || name[0] < 'a' || name[0] > 'z' ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != size) {
        fault_set(fault,
                  "cassandra.keyspace: expected at most %d of a-z, 0-9 and _, a letter first, got "
                  "\"%.80s\"",
                  KEYSPACE_NAME_MAX, name);
        return false;
    }
    memcpy(terms->keyspace, name, size + 1);
    return true;
}

static bool is_data_center(struct slice name) {
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.')) {
            return false;
        }
    }
    return name.size > 0 && name.size <= 64;
}

/** `near:3 far:2` into `{'class': 'NetworkTopologyStrategy', 'near': 3, 'far': 2}`. */
static bool read_replication(const char *list, struct cassandra_terms *terms, struct fault *fault) {
    const char *given = list;
    struct text map = text_over(terms->replication, sizeof(terms->replication) - 1);
    size_t count = 0;
    text_append_literal(&map, "{'class': 'NetworkTopologyStrategy'");
    for (struct slice word = next_word(&list); word.size > 0; word = next_word(&list)) {
        const char *colon = memchr(word.data, ':', word.size);
        struct slice name = {word.data, colon == NULL ? 0 : (size_t)(colon - word.data)};
        if (!is_data_center(name) || word.size != name.size + 2 || colon[1] < '1' ||
            colon[1] > '9') {
            count = 0;
            break;
        }
        text_append_literal(&map, ", '");
        text_append_slice(&map, name);
        text_append_format(&map, "': %c", colon[1]);
        count++;
    }
    text_append_literal(&map, "}");
    map.data[map.size] = 0;
    if (count == 0 || map.truncated) {
        fault_set(fault,
                  "cassandra.replication: expected datacenter:count, 1 to 9, with spaces between, "
                  "got \"%.80s\"",
                  given);
        return false;
    }
    return true;
}

static enum cql_consistency consistency_from_name(const char *name) {
    static const struct {
        const char *name;
        enum cql_consistency value;
    } known[] = {
        {"LOCAL_QUORUM", CQL_LOCAL_QUORUM}, {"QUORUM", CQL_QUORUM}, {"ALL", CQL_ALL},
        {"LOCAL_ONE", CQL_LOCAL_ONE},       {"ONE", CQL_ONE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (strcmp(name, known[i].name) == 0) {
            return known[i].value;
        }
    }
    return CQL_LOCAL_QUORUM; /* the option's rule names no other */
}

bool cassandra_options_read(const struct cassandra_options *options, const char *password,
                            struct cassandra_terms *terms, struct fault *fault) {
    *terms = (struct cassandra_terms){
        .consistency = consistency_from_name(options->consistency.text),
        .connections = (uint32_t)options->connections,
        .streams = (uint16_t)options->streams,
        .queue_orders = (uint32_t)options->queue_orders,
        .batch_rows_max = (uint32_t)options->batch_rows_max,
        .partition_writes_max = (uint32_t)options->partition_writes_max,
        .select_ids_max = (uint32_t)options->select_ids_max,
        .request_timeout_us = (int64_t)options->request_timeout_ms * 1000,
        .attempt_timeout_us = (int64_t)options->attempt_timeout_ms * 1000,
        .connect_timeout_us = (int64_t)options->connect_timeout_ms * 1000,
        .reconnect_max_us = (int64_t)options->reconnect_ms_max * 1000,
    };
    const char *secret = password != NULL ? password : options->password.text;
    if (!copy_text(terms->password, sizeof(terms->password), slice_from_text(secret))) {
        fault_set(fault, "ORDERD_CASSANDRA_PASSWORD: expected at most %d characters",
                  CONFIG_TEXT_MAX - 1);
        return false;
    }
    memcpy(terms->user, options->user.text, sizeof(terms->user));
    if (terms->attempt_timeout_us > terms->request_timeout_us) {
        fault_set(fault,
                  "cassandra.attempt_timeout_ms: expected at most cassandra.request_timeout_ms "
                  "(%llu), got %llu",
                  (unsigned long long)options->request_timeout_ms,
                  (unsigned long long)options->attempt_timeout_ms);
        return false;
    }
    return read_keyspace(options->keyspace.text, terms, fault) &&
           read_replication(options->replication.text, terms, fault) &&
           read_hosts(options->hosts.text, terms, fault);
}
