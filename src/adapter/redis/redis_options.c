#include "adapter/redis/redis_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

const struct config_option redis_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct redis_options, __VA_ARGS__)
    REDIS_OPTIONS(X)
#undef X
};
const size_t redis_option_count = ARRAY_COUNT(redis_option_table);

bool redis_address_set(struct redis_address *address, struct slice host, uint64_t port) {
    unsigned char binary[sizeof(struct in6_addr)];
    *address = (struct redis_address){.port = (uint16_t)port};
    if (port == 0 || port > UINT16_MAX || host.size == 0 || host.size >= sizeof(address->host) ||
        memchr(host.data, 0, host.size) != NULL) {
        return false;
    }
    memcpy(address->host, host.data, host.size);
    return inet_pton(AF_INET, address->host, binary) == 1 ||
           inet_pton(AF_INET6, address->host, binary) == 1;
}

/** Looks a name up, or takes a numeric address as it is. */
static bool resolve(const char *name, uint16_t port, struct redis_address *address,
                    struct fault *fault) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[NI_MAXHOST];
    int error = getaddrinfo(name, NULL, &hints, &found);
    if (error == 0) {
        error = getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof(host), NULL, 0,
                            NI_NUMERICHOST);
        freeaddrinfo(found);
    }
    if (error != 0) {
        fault_set(fault, "redis.nodes: \"%.128s\" was not found: %s", name, gai_strerror(error));
        return false;
    }
    if (!redis_address_set(address, slice_from_text(host), port)) {
        fault_set(fault, "redis.nodes: \"%.128s\" has an address of a kind that is not used", name);
        return false;
    }
    return true;
}

static bool read_seed(struct slice text, struct redis_address *address, struct fault *fault) {
    char copy[CONFIG_TEXT_MAX];
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    char *colon = strrchr(copy, ':');
    char *end = NULL;
    unsigned long port = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);
    if (colon == NULL || colon == copy || end == colon + 1 || *end != 0 || port == 0 ||
        port > UINT16_MAX || colon[1] < '0' || colon[1] > '9') {
        fault_set(fault, "redis.nodes: expected host:port with commas between, got \"%.64s\"",
                  copy);
        return false;
    }
    *colon = 0;
    char *name = copy;
    size_t size = strlen(copy);
    if (size > 2 && copy[0] == '[' && copy[size - 1] == ']') {
        copy[size - 1] = 0;
        name = copy + 1;
    }
    return resolve(name, (uint16_t)port, address, fault);
}

static bool read_seeds(const char *text, struct redis_settings *settings, struct fault *fault) {
    while (*text != 0) {
        text += strspn(text, " ,");
        size_t size = strcspn(text, " ,");
        if (size == 0) {
            break;
        }
        if (settings->seed_count == REDIS_SEEDS_MAX) {
            fault_set(fault, "redis.nodes: expected at most %d nodes", REDIS_SEEDS_MAX);
            return false;
        }
        if (!read_seed((struct slice){text, size}, &settings->seeds[settings->seed_count], fault)) {
            return false;
        }
        settings->seed_count++;
        text += size;
    }
    if (settings->seed_count == 0) {
        fault_set(fault, "redis.nodes: expected at least one host:port");
        return false;
    }
    return true;
}

static bool read_password_file(const char *path, struct config_text *password,
                               struct fault *fault) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fault_set_errno(fault, errno, "redis.password_file: %.128s cannot be read", path);
        return false;
    }
    bool read = fgets(password->text, sizeof(password->text), file) != NULL;
    size_t size = read ? strcspn(password->text, "\r\n") : 0;
    bool whole = read && (password->text[size] != 0 || feof(file) != 0);
    (void)fclose(file);
    if (!whole || size == 0) {
        fault_set(fault, "redis.password_file: the first line of %.128s is no password of 1 to %d",
                  path, CONFIG_TEXT_MAX - 2);
        return false;
    }
    password->text[size] = 0;
    return true;
}

static bool read_password(const struct redis_options *options, const char *variable,
                          struct redis_settings *settings, struct fault *fault) {
    if (settings->password.text[0] != 0) {
        return true;
    }
    if (options->password_file.text[0] != 0) {
        return read_password_file(options->password_file.text, &settings->password, fault);
    }
    if (variable == NULL) {
        return true;
    }
    if (strlen(variable) >= CONFIG_TEXT_MAX) {
        fault_set(fault, REDIS_PASSWORD_VARIABLE ": expected at most %d characters",
                  CONFIG_TEXT_MAX - 1);
        return false;
    }
    memcpy(settings->password.text, variable, strlen(variable) + 1);
    return true;
}

bool redis_settings_read(const struct redis_options *options, const char *password,
                         struct redis_settings *settings, struct fault *fault) {
    *settings = (struct redis_settings){
        .user = options->user,
        .password = options->password,
        .ttl_ms = options->ttl_seconds * 1000,
        .lock_ms = options->lock_ms,
        .timeout_us = (int64_t)options->timeout_ms * 1000,
        .connect_timeout_us = (int64_t)options->connect_timeout_ms * 1000,
        .reconnect_max_us = (int64_t)options->reconnect_ms_max * 1000,
        .map_refresh_us = (int64_t)options->map_refresh_ms * 1000,
        .watch_us = (int64_t)options->watch_ms * 1000,
        .redirects_max = (uint32_t)options->redirects_max,
        .queue_requests = (size_t)options->queue_requests,
        .commands = (size_t)options->commands,
        .events = (size_t)options->events,
    };
    if (options->timeout_ms >= options->lock_ms) {
        fault_set(fault, "redis.timeout_ms: expected less than redis.lock_ms (%llu), got %llu",
                  (unsigned long long)options->lock_ms, (unsigned long long)options->timeout_ms);
        return false;
    }
    return read_password(options, password, settings, fault) &&
           read_seeds(options->nodes.text, settings, fault);
}
