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
