#include "net/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* New connections are taken in bounded numbers, so that a flood of them leaves the others their
 * turn. */
#define ACCEPTS_AT_ONCE 64
#define PAUSE_US 100000

struct socket_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t size;
};

static bool parse_port(const char *text, uint16_t *port) {
    unsigned value = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != 0) {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

static bool parse_address(const char *text, struct socket_address *address) {
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    uint16_t port;
    if (colon == NULL || !parse_port(colon + 1, &port)) {
        return false;
    }
    size_t host_size = (size_t)(colon - text);
    bool bracketed = host_size >= 2 && text[0] == '[' && text[host_size - 1] == ']';
    if (bracketed) {
        text++;
        host_size -= 2;
    }
    if (host_size >= sizeof(host)) {
        return false;
    }
    memcpy(host, text, host_size);
    host[host_size] = 0;
    memset(address, 0, sizeof(*address));
    if (bracketed) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(port);
        address->size = sizeof(address->v6);
        return inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1;
    }
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    address->size = sizeof(address->v4);
    return inet_pton(AF_INET, host, &address->v4.sin_addr) == 1;
}

static bool set_option(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

static bool prepare(int fd, const struct listener_setup *setup,
                    const struct socket_address *address) {
    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
           set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           (setup->receive_buffer_bytes == 0 ||
            set_option(fd, SOL_SOCKET, SO_RCVBUF, setup->receive_buffer_bytes)) &&
           (setup->send_buffer_bytes == 0 ||
            set_option(fd, SOL_SOCKET, SO_SNDBUF, setup->send_buffer_bytes)) &&
           (setup->lost_after_ms == 0 ||
            set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)setup->lost_after_ms)) &&
           bind(fd, &address->any, address->size) == 0 && listen(fd, setup->backlog) == 0;
}

static uint16_t bound_port(int fd) {
    struct socket_address address;
    address.size = sizeof(address.v6);
    if (getsockname(fd, &address.any, &address.size) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/** Out of descriptors or memory: the connection stays in the queue, so asking again at once would
 *  spin. */
static bool is_shortage(int error_number) {
    return error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
           error_number == ENOMEM;
}

/** Accepts up to `limit`; false when nothing more is to be had now. */
static bool accept_some(struct listener *listener, size_t limit) {
    for (size_t i = 0; i < limit; i++) {
        int fd = accept4(listener->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->accepted(listener, fd);
        } else if (is_shortage(errno)) {
            listener->pauses++;
            loop_timer_start(listener->loop, &listener->pause, PAUSE_US);
            bool paused = loop_modify(listener->loop, &listener->source, 0);
            assert(paused);
            return false;
        } else if (errno == EAGAIN) {
            return false;
        } /* else that one connection failed before it was taken */
    }
    return true;
}

static void listener_ready(struct loop_source *source, uint32_t events) {
    (void)events;
    (void)accept_some(CONTAINER_OF(source, struct listener, source), ACCEPTS_AT_ONCE);
}

static void pause_ended(struct timer *timer) {
    struct listener *listener = CONTAINER_OF(timer, struct listener, pause);
    bool resumed = loop_modify(listener->loop, &listener->source, EPOLLIN);
    assert(resumed);
}

bool listener_open(struct listener *listener, const struct listener_setup *setup,
                   struct fault *fault) {
    struct socket_address address;
    if (!parse_address(setup->address, &address)) {
        fault_set(fault,
                  "%.80s: expected an IP address and a port, as 127.0.0.1:8080 or [::1]:8080",
                  setup->address);
        return false;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fault_set_errno(fault, errno, "%s: no socket", setup->address);
        return false;
    }
    memset(listener, 0, sizeof(*listener));
    listener->loop = setup->loop;
    listener->accepted = setup->accepted;
    listener->pause.expired = pause_ended;
    listener->source.fd = fd;
    listener->source.ready = listener_ready;
    if (!prepare(fd, setup, &address) || !loop_add(setup->loop, &listener->source, EPOLLIN)) {
        fault_set_errno(fault, errno, "%s: cannot listen", setup->address);
        (void)close(fd);
        return false;
    }
    listener->port = bound_port(fd);
    listener->open = true;
    return true;
}

void listener_close(struct listener *listener) {
    if (!listener->open) {
        return;
    }
    listener->open = false;
    timer_stop(&listener->pause);
    /* Closing the socket would reset what waits in its queue. New connections may keep coming while
     * this goes on, hence the limit. */
    (void)accept_some(listener, SOMAXCONN);
    timer_stop(&listener->pause);
    loop_remove(listener->loop, &listener->source);
    (void)close(listener->source.fd);
}
