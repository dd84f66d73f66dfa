#include "mariadb_proxy.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

struct link {
    struct proxy *proxy;
    int client;
};

static bool send_all(int to, const char *data, ssize_t size) {
    while (size > 0) {
        ssize_t sent = send(to, data, (size_t)size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        data += sent;
        size -= sent;
    }
    return true;
}

/** True where this is a COMMIT that is to be cut. A COMMIT is a packet of its own: 4 bytes of
 *  header, one for the command (3: a query), the text. */
static bool is_cut(struct proxy *proxy, const char *data, ssize_t size) {
    if (size != 11 || memcmp(data + 4, "\3COMMIT", 7) != 0) {
        return false;
    }
    int left = atomic_load(&proxy->cuts);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&proxy->cuts, &left, left - 1)) {
            return true;
        }
    }
    return false;
}

/** Passes on what `from` sent. False at the end. */
static bool pass_on(struct proxy *proxy, int from, int to, bool from_client) {
    char data[BUFFER_BYTES];
    ssize_t size = recv(from, data, sizeof(data), 0);
    if (size <= 0) {
        return false;
    }
    if (from_client && is_cut(proxy, data, size)) {
        if (atomic_load(&proxy->kind) == PROXY_CUT_ANSWER) {
            (void)send_all(to, data, size);
            (void)recv(to, data, sizeof(data), 0); /* the server has committed */
        }
        return false;
    }
    return send_all(to, data, size);
}

static int connect_server(const struct proxy *proxy) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)proxy->server_port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server >= 0 && connect(server, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(server);
        server = -1;
    }
    return server;
}

static void *run_link(void *context) {
    struct link link = *(struct link *)context;
    free(context);
    int server = connect_server(link.proxy);
    bool open = server >= 0;
    while (open) {
        struct pollfd pollers[2] = {{link.client, POLLIN, 0}, {server, POLLIN, 0}};
        open = poll(pollers, 2, -1) > 0;
        if (open && pollers[0].revents != 0) {
            open = pass_on(link.proxy, link.client, server, true);
        }
        if (open && pollers[1].revents != 0) {
            open = pass_on(link.proxy, server, link.client, false);
        }
    }
    (void)close(link.client);
    if (server >= 0) {
        (void)close(server);
    }
    atomic_fetch_sub(&link.proxy->open, 1);
    return NULL;
}

static void *run(void *context) {
    struct proxy *proxy = context;
    int client;
    while ((client = accept(proxy->listener, NULL, NULL)) >= 0) {
        struct link *link = malloc(sizeof(*link));
        pthread_t thread;
        *link = (struct link){proxy, client};
        atomic_fetch_add(&proxy->open, 1);
        if (pthread_create(&thread, NULL, run_link, link) != 0) {
            abort();
        }
        (void)pthread_detach(thread);
    }
    return NULL;
}

bool proxy_start(struct proxy *proxy, unsigned server_port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    *proxy = (struct proxy){.server_port = server_port};
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (proxy->listener < 0 || bind(proxy->listener, (struct sockaddr *)&address, size) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&address, &size) != 0 ||
        listen(proxy->listener, 64) != 0) {
        return false;
    }
    proxy->port = ntohs(address.sin_port);
    return pthread_create(&proxy->thread, NULL, run, proxy) == 0;
}

void proxy_stop(struct proxy *proxy) {
    (void)shutdown(proxy->listener, SHUT_RDWR);
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->listener);
    while (atomic_load(&proxy->open) > 0) {
        (void)usleep(1000);
    }
}

void proxy_cut(struct proxy *proxy, enum proxy_cut kind, int count) {
    atomic_store(&proxy->kind, (int)kind);
    atomic_store(&proxy->cuts, count);
}
