#include "adapter/query_http/query_http.h"

#include <stdlib.h>

#define SEPARATORS " ,"

/* Of a name or an IPv4 address. An IPv6 address has brackets around it. */
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define IPV6_CHARACTERS "abcdefABCDEF0123456789:."

/** 1 to 65535, to the end of the text. */
static bool is_port(const char *text) {
    size_t size = strlen(text);
    if (size < 1 || size > 5 || strspn(text, "0123456789") != size) {
        return false;
    }
    long port = strtol(text, NULL, 10);
    return port >= 1 && port <= 65535;
}

/** True for host:port or [address]:port: it becomes part of a URL as it is. */
static bool is_address(const char *text) {
    if (text[0] == '[') {
        size_t size = strspn(text + 1, IPV6_CHARACTERS);
        return size > 0 && text[size + 1] == ']' && text[size + 2] == ':' &&
               is_port(text + size + 3);
    }
    size_t size = strspn(text, NAME_CHARACTERS);
    return size > 0 && text[size] == ':' && is_port(text + size + 1);
}

static bool add(struct query_http_settings *settings, const char *word, size_t size,
                struct fault *fault) {
    char *name = settings->names[settings->count];
    if (size >= QUERY_HTTP_NAME_MAX) {
        fault_set(fault, "audit.query_instances: expected names of at most %d characters",
                  QUERY_HTTP_NAME_MAX - 1);
        return false;
    }
    memcpy(name, word, size);
    name[size] = 0;
    if (!is_address(name)) {
        fault_set(fault,
                  "audit.query_instances: expected host:port with commas between, got \"%s\"",
                  name);
        return false;
    }
    for (size_t i = 0; i < settings->count; i++) {
        if (strcmp(settings->names[i], name) == 0) {
            fault_set(fault, "audit.query_instances: expected each instance once, got %s again",
                      name);
            return false;
        }
    }
    settings->count++;
    return true;
}

bool query_http_settings_read(const char *instances, uint64_t timeout_ms,
                              struct query_http_settings *settings, struct fault *fault) {
    *settings = (struct query_http_settings){.timeout_us = (int64_t)timeout_ms * 1000};
    for (;;) {
        instances += strspn(instances, SEPARATORS);
        size_t size = strcspn(instances, SEPARATORS);
        if (size == 0) {
            return true;
        }
        if (settings->count == QUERY_VIEWS_MAX) {
            fault_set(fault, "audit.query_instances: expected at most %d instances",
                      QUERY_VIEWS_MAX);
            return false;
        }
        if (!add(settings, instances, size, fault)) {
            return false;
        }
        instances += size;
    }
}
