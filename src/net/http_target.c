#include "net/http_target.h"

#include "net/http_text.h"

#include <arpa/inet.h>

static bool port_is_valid(struct slice port) {
    uint32_t value = 0;
    if (port.size > 5) {
        return false;
    }
    for (size_t i = 0; i < port.size; i++) {
        if (!http_is_digit(port.data[i])) {
            return false;
        }
        value = value * 10 + (uint32_t)(port.data[i] - '0');
    }
    return value <= UINT16_MAX;
}

static bool address_v6_is_valid(struct slice address) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    if (address.size >= sizeof(text)) {
        return false;
    }
    memcpy(text, address.data, address.size);
    text[address.size] = 0;
    return inet_pton(AF_INET6, text, &parsed) == 1;
}

bool http_host_is_valid(struct slice host) {
    struct slice name = host;
    if (host.size > 0 && host.data[0] == '[') {
        const char *end = memchr(host.data, ']', host.size);
        if (end == NULL) {
            return false;
        }
        name = (struct slice){host.data + 1, (size_t)(end - host.data) - 1};
        if (!address_v6_is_valid(name)) {
            return false;
        }
        name.size += 2; /* the brackets */
    } else {
        const char *colon = memchr(host.data, ':', host.size);
        name.size = colon == NULL ? host.size : (size_t)(colon - host.data);
        if (name.size == 0 || !http_is_encoded_text(name, HTTP_CHARACTER_HOST)) {
            return false;
        }
    }
    if (name.size == host.size) {
        return true;
    }
    return host.data[name.size] == ':' &&
           port_is_valid((struct slice){host.data + name.size + 1, host.size - name.size - 1});
}

static void split_query(struct http_head *head, struct slice rest) {
    const char *mark = memchr(rest.data, '?', rest.size);
    head->path = rest;
    head->query = (struct slice){rest.data + rest.size, 0};
    if (mark != NULL) {
        head->path.size = (size_t)(mark - rest.data);
        head->query = (struct slice){mark + 1, rest.size - head->path.size - 1};
    }
}

static const char *parse_absolute(struct http_head *head) {
    static const struct slice scheme = SLICE_LITERAL("http://");
    struct slice rest = head->target;
    if (rest.size < scheme.size ||
        !http_equal_ignoring_case((struct slice){rest.data, scheme.size}, scheme)) {
        return "the request target begins neither with / nor with http://";
    }
    rest.data += scheme.size;
    rest.size -= scheme.size;
    size_t authority = 0;
    while (authority < rest.size && rest.data[authority] != '/' && rest.data[authority] != '?') {
        authority++;
    }
    if (!http_host_is_valid((struct slice){rest.data, authority})) {
        return "the host in the request target is invalid";
    }
    rest.data += authority;
    rest.size -= authority;
    if (!http_is_encoded_text(rest, HTTP_CHARACTER_TARGET)) {
        return "the request target has an invalid character";
    }
    split_query(head, rest);
    if (head->path.size == 0) {
        head->path = head->method == HTTP_METHOD_OPTIONS && head->query.size == 0
                         ? SLICE_LITERAL("*")
                         : SLICE_LITERAL("/");
    }
    return NULL;
}

const char *http_target_parse(struct http_head *head) {
    struct slice target = head->target;
    if (target.data[0] != '/') {
        if (head->method == HTTP_METHOD_OPTIONS && slice_equal(target, SLICE_LITERAL("*"))) {
            split_query(head, target);
            return NULL;
        }
        const char *wrong = parse_absolute(head);
        if (wrong == NULL || head->method != HTTP_METHOD_UNKNOWN) {
            return wrong;
        }
    }
    if (!http_is_encoded_text(target, HTTP_CHARACTER_TARGET)) {
        return "the request target has an invalid character";
    }
    split_query(head, target);
    return NULL;
}
