#include "orderd/listen_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

static bool parse_port(const char *text, in_port_t *port) {
    size_t digits = strspn(text, "0123456789");
    unsigned long value = strtoul(text, NULL, 10);
    *port = htons((uint16_t)value);
    return digits > 0 && digits <= 5 && text[digits] == 0 && value <= UINT16_MAX;
}

bool listen_address_parse(const char *text, struct listen_address *address) {
    char host[INET6_ADDRSTRLEN + 2];
    in_port_t port;
    const char *colon = strrchr(text, ':');
    memset(address, 0, sizeof(*address));
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host) || !parse_port(colon + 1, &port)) {
        return false;
    }
    size_t size = (size_t)(colon - text);
    memcpy(host, text, size);
    host[size] = 0;
    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->address;
        host[size - 1] = 0;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        address->size = sizeof(*v6);
        bool parsed = inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
        address->loopback = parsed && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
        return parsed;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address->address;
    v4->sin_family = AF_INET;
    v4->sin_port = port;
    address->size = sizeof(*v4);
    bool parsed = inet_pton(AF_INET, host, &v4->sin_addr) == 1;
    address->loopback = parsed && ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return parsed;
}

/** The address as one of IPv6, and its port. */
static struct in6_addr widened(const struct listen_address *address, in_port_t *port) {
    if (address->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->address;
        *port = v6->sin6_port;
        return v6->sin6_addr;
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->address;
    struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&mapped.s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
    *port = v4->sin_port;
    return mapped;
}

/** True where whoever listens on `any` gets what is sent to `address` too. */
static bool covers(const struct in6_addr *any, const struct in6_addr *address) {
    static const struct in6_addr any_v4 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    return IN6_IS_ADDR_UNSPECIFIED(any) ||
           (IN6_ARE_ADDR_EQUAL(any, &any_v4) && IN6_IS_ADDR_V4MAPPED(address));
}

bool listen_address_overlaps(const struct listen_address *left,
                             const struct listen_address *right) {
    in_port_t left_port;
    in_port_t right_port;
    struct in6_addr one = widened(left, &left_port);
    struct in6_addr other = widened(right, &right_port);
    return left_port != 0 && left_port == right_port &&
           (IN6_ARE_ADDR_EQUAL(&one, &other) || covers(&one, &other) || covers(&other, &one));
}

bool listen_address_is_free(const struct listen_address *address, struct fault *fault) {
    int on = 1;
    int probe = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        fault_set_errno(fault, errno, "no socket");
        return false;
    }
    /* Connections that have ended do not count; whoever listens does, as the port is not shared. */
    bool is_free = setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                   bind(probe, (const struct sockaddr *)&address->address, address->size) == 0;
    if (!is_free) {
        fault_set_errno(fault, errno, "cannot listen");
    }
    (void)close(probe);
    return is_free;
}
