#include "adapter/mariadb/mariadb_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What the address of a socket holds. */
#define SOCKET_PATH_MAX 107

#define BLANKS " \t"

const struct config_option mysql_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct mysql_options, __VA_ARGS__)
    MYSQL_OPTIONS(X)
#undef X
};
const size_t mysql_option_count = ARRAY_COUNT(mysql_option_table);

static bool read_port(struct slice text, uint16_t *port) {
    uint32_t value = 0;
    for (size_t i = 0; i < text.size && value <= UINT16_MAX; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(text.data[i] - '0');
    }
    *port = (uint16_t)value;
    return value >= 1 && value <= UINT16_MAX;
}

/** Reads `host:port`, where an IPv6 address stands in brackets, or the path of a socket. */
static bool read_server(struct slice text, struct mariadb_server *server) {
    if (text.size > 0 && text.data[0] == '/') {
        if (text.size > SOCKET_PATH_MAX) {
            return false;
        }
        memcpy(server->host, text.data, text.size);
        memcpy(server->name, text.data, text.size);
        return true;
    }
    const char *colon = memrchr(text.data, ':', text.size);
    if (colon == NULL) {
        return false;
    }
    struct slice host = {text.data, (size_t)(colon - text.data)};
    struct slice port = {colon + 1, text.size - host.size - 1};
    if (host.size >= 2 && host.data[0] == '[' && host.data[host.size - 1] == ']') {
        host.data++;
        host.size -= 2;
    } else if (memchr(host.data, ':', host.size) != NULL) {
        return false;
    }
    if (host.size == 0 || host.size >= MARIADB_HOST_MAX || !read_port(port, &server->port)) {
        return false;
    }
    memcpy(server->host, host.data, host.size);
    (void)snprintf(server->name, sizeof(server->name), "%.*s", (int)text.size, text.data);
    return true;
}

/** Adds the next server. */
static bool add_server(struct slice text, struct mariadb_settings *settings, struct fault *fault) {
    if (settings->shard_count == MARIADB_SHARDS_MAX) {
        fault_set(fault, "mysql.shards: expected at most %d servers", MARIADB_SHARDS_MAX);
        return false;
    }
    struct mariadb_server *server = &settings->servers[settings->shard_count];
    server->shard = (uint32_t)settings->shard_count;
    if (!read_server(text, server)) {
        fault_set(fault, "mysql.shards: expected host:port or the path of a socket, got \"%.*s\"",
                  (int)text.size, text.data);
        return false;
    }
    for (size_t i = 0; i < settings->shard_count; i++) {
        if (strcmp(settings->servers[i].name, server->name) == 0) {
            fault_set(fault, "mysql.shards: expected each server once, got %s twice", server->name);
            return false;
        }
    }
    settings->shard_count++;
    return true;
}

/** Between two servers there are blanks, or a comma, or both. */
static bool read_servers(const char *list, struct mariadb_settings *settings, struct fault *fault) {
    const char *at = list;
    for (;;) {
        at += strspn(at, BLANKS);
        size_t size = strcspn(at, BLANKS ",");
        if (!add_server((struct slice){at, size}, settings, fault)) {
            return false;
        }
        at += size;
        at += strspn(at, BLANKS);
        if (*at == 0) {
            return true;
        }
        at += *at == ',' ? 1 : 0;
    }
}

/** The name goes into CREATE DATABASE between backquotes. */
static bool is_plain_name(const char *name) {
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return size > 0 && name[size] == 0 && size <= 64;
}

/** Reads the first line of a file. */
static bool read_password_file(const char *path, struct config_text *password,
                               struct fault *fault) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fault_set_errno(fault, errno, "mysql.password_file: %.200s", path);
        return false;
    }
    bool read = fgets(password->text, sizeof(password->text), file) != NULL;
    bool whole = read && (strchr(password->text, '\n') != NULL || fgetc(file) == EOF);
    (void)fclose(file);
    if (!whole) {
        fault_set(fault,
                  "mysql.password_file: expected one line of at most %d characters in %.200s",
                  CONFIG_TEXT_MAX - 2, path);
        return false;
    }
    password->text[strcspn(password->text, "\r\n")] = 0;
    return true;
}

static bool read_password(const struct mysql_options *options, const char *password,
                          struct mariadb_settings *settings, struct fault *fault) {
    if (settings->password.text[0] != 0) {
        return true;
    }
    if (options->password_file.text[0] != 0) {
        return read_password_file(options->password_file.text, &settings->password, fault);
    }
    if (password == NULL) {
        return true;
    }
    if (strlen(password) >= CONFIG_TEXT_MAX) {
        fault_set(fault, MARIADB_PASSWORD_VARIABLE ": expected at most %d characters",
                  CONFIG_TEXT_MAX - 1);
        return false;
    }
    memcpy(settings->password.text, password, strlen(password) + 1);
    return true;
}

bool mariadb_settings_read(const struct mysql_options *options, const char *password,
                           struct mariadb_settings *settings, struct fault *fault) {
    *settings = (struct mariadb_settings){
        .user = options->user,
        .password = options->password,
        .database = options->database,
        .create_lanes = (size_t)options->create_lanes,
        .change_lanes = (size_t)options->change_lanes,
        .read_lanes = (size_t)options->read_lanes,
        .create_batch = (size_t)options->create_batch,
        .change_batch = (size_t)options->change_batch,
        .read_batch = (size_t)options->read_batch,
        .scan_rows = (size_t)options->scan_rows,
        .queue_orders = (size_t)options->queue_orders,
        .connect_timeout_ms = (int)options->connect_timeout_ms,
        .read_timeout_ms = (int)options->read_timeout_ms,
        .lock_wait_seconds = (uint32_t)options->lock_wait_seconds,
        .deadline_us = (int64_t)options->deadline_ms * 1000,
        .node_lease_us = (int64_t)options->node_lease_ms * 1000,
        .clock_ahead_max_us = (int64_t)options->clock_ahead_max_ms * 1000,
    };
    if (!read_password(options, password, settings, fault)) {
        return false;
    }
    if (!is_plain_name(settings->database.text)) {
        fault_set(fault, "mysql.database: expected letters, digits and _, got \"%.64s\"",
                  settings->database.text);
        return false;
    }
    if ((uint64_t)options->lock_wait_seconds * 1000 >= options->read_timeout_ms) {
        fault_set(fault,
                  "mysql.read_timeout_ms: expected more than mysql.lock_wait_seconds (%llu s), "
                  "got %llu",
                  (unsigned long long)options->lock_wait_seconds,
                  (unsigned long long)options->read_timeout_ms);
        return false;
    }
    return read_servers(options->shards.text, settings, fault);
}
