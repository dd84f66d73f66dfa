#include "scripted_instance.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define HEAD_BYTES_MAX 4096
#define TICK_MS 20

static bool is_stopping(const struct scripted_instance *instance) {
    return atomic_load(&instance->stopping) != 0;
}

/** True once there is something to read; false where the server is to end. */
static bool wait_readable(const struct scripted_instance *instance, int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    while (!is_stopping(instance)) {
        if (poll(&poller, 1, TICK_MS) > 0) {
            return true;
        }
    }
    return false;
}

static bool receive(const struct scripted_instance *instance, int fd, void *into, size_t size) {
    size_t got = 0;
    while (got < size && wait_readable(instance, fd)) {
        ssize_t more = recv(fd, (char *)into + got, size - got, 0);
        if (more <= 0) {
            return false;
        }
        got += (size_t)more;
    }
    return got == size;
}

/** Reads a head byte by byte, and the ids behind it. */
static bool receive_request(struct scripted_instance *instance, int fd,
                            struct scripted_request *request) {
    char head[HEAD_BYTES_MAX + 1];
    size_t size = 0;
    while (size < 4 || memcmp(head + size - 4, "\r\n\r\n", 4) != 0) {
        if (size == HEAD_BYTES_MAX || !receive(instance, fd, head + size, 1)) {
            return false;
        }
        size++;
    }
    head[size] = 0;
    const char *length = strstr(head, "Content-Length: ");
    bool right_type = strstr(head, "Content-Type: application/octet-stream\r\n") != NULL;
    bool get = strncmp(head, "POST /v1/batch/get HTTP/1.1\r\n", 29) == 0;
    bool states = strncmp(head, "POST /v1/batch/statuses HTTP/1.1\r\n", 34) == 0;
    size_t bytes = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
    if (!right_type || get == states || bytes == 0 || bytes % sizeof(uint64_t) != 0 ||
        bytes > sizeof(request->ids)) {
        atomic_fetch_add(&instance->foreign, 1);
        return false;
    }
    request->whole = get;
    request->count = bytes / sizeof(uint64_t);
    return receive(instance, fd, request->ids, bytes);
}

static void send_all(int fd, struct slice bytes) {
    while (bytes.size > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the other side has had enough */
        }
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
}

static void hang(struct scripted_instance *instance, int fd) {
    char byte;
    while (wait_readable(instance, fd) && recv(fd, &byte, 1, 0) > 0) {
    }
}

static void *serve(void *context) {
    const struct scripted_connection *connection = context;
    struct scripted_instance *instance = connection->instance;
    struct scripted_request request;
    char *memory = malloc(SCRIPTED_BYTES_MAX);
    struct text out = text_over(memory, SCRIPTED_BYTES_MAX);
    enum scripted_deed deed = SCRIPTED_ANSWER;
    while (deed == SCRIPTED_ANSWER && receive_request(instance, connection->fd, &request)) {
        scripted_answer answer = atomic_load(&instance->answer);
        atomic_fetch_add(&instance->requests, 1);
        out.size = 0;
        deed = answer(instance, &request, &out);
        send_all(connection->fd, text_slice(&out));
    }
    if (deed == SCRIPTED_HANG) {
        hang(instance, connection->fd);
    }
    (void)close(connection->fd);
    free(memory);
    return NULL;
}

static void *run(void *context) {
    struct scripted_instance *instance = context;
    while (wait_readable(instance, instance->listener)) {
        int fd = accept(instance->listener, NULL, NULL);
        struct scripted_connection *connection = &instance->served_connections[instance->served];
        if (fd < 0 || instance->served == SCRIPTED_CONNECTIONS_MAX) {
            return NULL; /* the test will miss its answers */
        }
        *connection = (struct scripted_connection){.instance = instance, .fd = fd};
        atomic_fetch_add(&instance->connections, 1);
        if (pthread_create(&connection->thread, NULL, serve, connection) != 0) {
            return NULL;
        }
        instance->served++;
    }
    return NULL;
}

void scripted_start(struct scripted_instance *instance) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    instance->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(instance->listener >= 0);
    assert_int_equal(bind(instance->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(instance->listener, 16), 0);
    assert_int_equal(getsockname(instance->listener, (struct sockaddr *)&address, &size), 0);
    instance->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&instance->thread, NULL, run, instance), 0);
}

void scripted_stop(struct scripted_instance *instance) {
    atomic_store(&instance->stopping, 1);
    assert_int_equal(pthread_join(instance->thread, NULL), 0);
    for (size_t i = 0; i < instance->served; i++) {
        assert_int_equal(pthread_join(instance->served_connections[i].thread, NULL), 0);
    }
    (void)close(instance->listener);
}

void scripted_head(struct text *out, unsigned status, size_t length) {
    text_append_format(out, "HTTP/1.1 %u Said\r\nContent-Length: %zu\r\n\r\n", status, length);
}

void scripted_respond(struct text *out, unsigned status, const void *body, size_t size) {
    scripted_head(out, status, size);
    text_append(out, body, size);
}
