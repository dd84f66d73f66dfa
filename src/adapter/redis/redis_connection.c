#include "adapter/redis/redis_connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads before other nodes have their turn. */
#define READS_MAX 16

void redis_connection_init(struct redis_connection *connection) {
    *connection = (struct redis_connection){.state = REDIS_CLOSED, .fd = -1};
}

void redis_connection_close(struct redis_connection *connection) {
    if (connection->state == REDIS_CLOSED) {
        return;
    }
    (void)close(connection->fd);
    redis_reader_deinit(&connection->reader);
    free(connection->out);
    redis_connection_init(connection);
}

static socklen_t socket_address(const struct redis_address *address,
                                struct sockaddr_storage *storage) {
    struct sockaddr_in *four = (struct sockaddr_in *)storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)storage;
    memset(storage, 0, sizeof(*storage));
    if (inet_pton(AF_INET, address->host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(address->port);
        return sizeof(*four);
    }
    int parsed = inet_pton(AF_INET6, address->host, &six->sin6_addr);
    assert(parsed == 1); /* redis_address_set takes no other */
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(address->port);
    return sizeof(*six);
}

static int open_socket(const struct redis_address *address, struct fault *fault) {
    struct sockaddr_storage storage;
    int on = 1;
    socklen_t size = socket_address(address, &storage);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fault_set_errno(fault, errno, "no socket");
        return -1;
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) != 0 ||
        (connect(fd, (const struct sockaddr *)&storage, size) != 0 && errno != EINPROGRESS)) {
        fault_set_errno(fault, errno, "not connected");
        (void)close(fd);
        return -1;
    }
    return fd;
}

bool redis_connection_begin(struct redis_connection *connection,
                            const struct redis_address *address, int64_t now_us,
                            struct fault *fault) {
    assert(connection->state == REDIS_CLOSED);
    char *out = malloc(REDIS_OUT_BYTES);
    if (out == NULL || !redis_reader_init(&connection->reader)) {
        fault_set(fault, "no memory for a connection");
        free(out);
        return false;
    }
    int fd = open_socket(address, fault);
    if (fd < 0) {
        redis_reader_deinit(&connection->reader);
        free(out);
        return false;
    }
    connection->fd = fd;
    connection->out = out;
    connection->state = REDIS_CONNECTING;
    connection->begun_us = now_us;
    connection->heard_us = now_us;
    return true;
}

bool redis_connection_finish(struct redis_connection *connection, int64_t now_us,
                             struct fault *fault) {
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    if (error != 0) {
        fault_set_errno(fault, error, "not connected");
        return false;
    }
    connection->state = REDIS_OPEN;
    connection->heard_us = now_us;
    return true;
}

struct text redis_connection_room(struct redis_connection *connection, size_t size) {
    if (connection->out_begin > 0 && size > REDIS_OUT_BYTES - connection->out_end) {
        size_t used = connection->out_end - connection->out_begin;
        memmove(connection->out, connection->out + connection->out_begin, used);
        connection->out_begin = 0;
        connection->out_end = used;
    }
    if (size > REDIS_OUT_BYTES - connection->out_end) {
        return text_over(NULL, 0);
    }
    return text_over(connection->out + connection->out_end, REDIS_OUT_BYTES - connection->out_end);
}

void redis_connection_commit(struct redis_connection *connection, const struct text *text) {
    assert(!text->truncated && text->data == connection->out + connection->out_end);
    connection->out_end += text->size;
}

bool redis_connection_write(struct redis_connection *connection, struct fault *fault) {
    while (connection->out_begin < connection->out_end) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_begin,
                            connection->out_end - connection->out_begin, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (sent < 0) {
            fault_set_errno(fault, errno, "it cannot be written to");
            return false;
        }
        connection->out_begin += (size_t)sent;
    }
    connection->out_begin = 0;
    connection->out_end = 0;
    return true;
}

static bool take_answers(struct redis_connection *connection, redis_answer_function *take,
                         void *context, struct fault *fault) {
    for (;;) {
        const struct redis_value *answer = NULL;
        switch (redis_reader_next(&connection->reader, &answer)) {
        case REDIS_READ_NONE:
            return true;
        case REDIS_READ_BROKEN:
            fault_set(fault, "what it sent is no answer, or too large");
            return false;
        case REDIS_READ_VALUE:
            if (!take(context, answer)) {
                fault_set(fault, "its answer makes no sense here");
                return false;
            }
            break;
        }
    }
}

bool redis_connection_read(struct redis_connection *connection, int64_t now_us,
                           redis_answer_function *take, void *context, struct fault *fault) {
    char bytes[REDIS_FEED_BYTES];
    for (int reads = 0; reads < READS_MAX; reads++) {
        ssize_t got = recv(connection->fd, bytes, sizeof(bytes), 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (got <= 0) {
            if (got == 0) {
                fault_set(fault, "it closed the connection");
            } else {
                fault_set_errno(fault, errno, "it cannot be read from");
            }
            return false;
        }
        connection->heard_us = now_us;
        if (!redis_reader_feed(&connection->reader, bytes, (size_t)got)) {
            fault_set(fault, "what it sent is too large");
            return false;
        }
        if (!take_answers(connection, take, context, fault)) {
            return false;
        }
        if ((size_t)got < sizeof(bytes)) {
            return true;
        }
    }
    return true;
}

void redis_append_array(struct text *text, size_t count) {
    text_append_char(text, '*');
    text_append_u64(text, count);
    text_append_literal(text, "\r\n");
}

void redis_append_bulk(struct text *text, struct slice part) {
    text_append_char(text, '$');
    text_append_u64(text, part.size);
    text_append_literal(text, "\r\n");
    text_append_slice(text, part);
    text_append_literal(text, "\r\n");
}
