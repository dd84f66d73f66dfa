#include "net/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void http_output_release(struct http_connection *connection) {
    struct http_output *output = &connection->output;
    if (output->pool != NULL) {
        buffer_pool_give(output->pool, output->data);
        *output = (struct http_output){NULL, NULL, 0, 0};
    }
}

/** Moves what is pending into a buffer that has room for `size` bytes more. */
static bool move_to_larger(struct http_connection *connection, size_t size) {
    struct http_output *output = &connection->output;
    size_t pending = http_output_pending(connection);
    struct buffer_pool *pool;
    char *data = http_server_take_buffer(connection->server, pending + size, &pool);
    if (data == NULL) {
        return false;
    }
    if (pending > 0) {
        memcpy(data, output->data + output->begin, pending);
    }
    http_output_release(connection);
    *output = (struct http_output){pool, data, 0, pending};
    return true;
}

bool http_output_reserve(struct http_connection *connection, size_t size) {
    struct http_output *output = &connection->output;
    if (output->pool == NULL) {
        if (size > HTTP_OUTPUT_BYTES) {
            return move_to_larger(connection, size);
        }
        struct buffer_pool *pool = &connection->server->output_pool;
        char *data = buffer_pool_take(pool);
        assert(data != NULL); /* there is one for each connection */
        *output = (struct http_output){pool, data, 0, 0};
        return true;
    }
    if (output->pool->buffer_bytes - output->end >= size) {
        return true;
    }
    size_t pending = http_output_pending(connection);
    if (output->pool->buffer_bytes - pending < size) {
        return move_to_larger(connection, size);
    }
    memmove(output->data, output->data + output->begin, pending);
    output->begin = 0;
    output->end = pending;
    return true;
}

void http_output_append(struct http_connection *connection, struct slice data) {
    struct http_output *output = &connection->output;
    assert(output->pool != NULL && output->pool->buffer_bytes - output->end >= data.size);
    memcpy(output->data + output->end, data.data, data.size);
    output->end += data.size;
}

void http_output_send(struct http_connection *connection) {
    struct http_output *output = &connection->output;
    while (output->begin < output->end) {
        ssize_t sent = send(connection->source.fd, output->data + output->begin,
                            output->end - output->begin, MSG_NOSIGNAL);
        if (sent >= 0) {
            output->begin += (size_t)sent;
            connection->sent += (uint64_t)sent;
            http_count(&connection->server->metrics.sent_bytes_total, (uint64_t)sent);
        } else if (errno == EAGAIN) {
            connection->blocked = true;
            return;
        } else if (errno != EINTR) {
            connection->broken = true;
            return;
        }
    }
    connection->blocked = false;
    http_output_release(connection);
}

int64_t http_output_acknowledged(const struct http_connection *connection) {
    int waiting = 0;
    if (ioctl(connection->source.fd, SIOCOUTQ, &waiting) != 0) {
        waiting = 0;
    }
    return (int64_t)connection->sent - waiting;
}

bool http_output_is_high(const struct http_connection *connection) {
    const struct http_output *output = &connection->output;
    return output->pool != NULL &&
           (output->pool->buffer_bytes != HTTP_OUTPUT_BYTES ||
            HTTP_OUTPUT_BYTES - http_output_pending(connection) < HTTP_ANSWER_BYTES_SURE + 64);
}
