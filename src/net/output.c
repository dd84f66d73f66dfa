#include "net/output.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void output_release(struct output *output) {
    if (output->pool != NULL) {
        buffer_pool_give(output->pool, output->data);
        output->pool = NULL;
        output->data = NULL;
        output->begin = 0;
        output->end = 0;
    }
}

/** Moves what is pending into a buffer that has room for `size` bytes more. */
static bool move_to_larger(struct output *output, struct buffer_pools *pools, size_t size) {
    size_t pending = output_pending(output);
    struct buffer_pool *pool;
    char *data = buffer_pools_take_large(pools, pending + size, &pool);
    if (data == NULL) {
        return false;
    }
    if (pending > 0) {
        memcpy(data, output->data + output->begin, pending);
    }
    output_release(output);
    output->pool = pool;
    output->data = data;
    output->end = pending;
    return true;
}

bool output_reserve(struct output *output, struct buffer_pools *pools, size_t size) {
    if (output->pool == NULL) {
        char *data = size <= BUFFER_SMALL_BYTES ? buffer_pool_take(&pools->small) : NULL;
        if (data == NULL) {
            return move_to_larger(output, pools, size);
        }
        output->pool = &pools->small;
        output->data = data;
        return true;
    }
    size_t capacity = output->pool->buffer_bytes;
    if (capacity - output->end >= size) {
        return true;
    }
    size_t pending = output_pending(output);
    if (capacity - pending < size) {
        return move_to_larger(output, pools, size);
    }
    memmove(output->data, output->data + output->begin, pending);
    output->begin = 0;
    output->end = pending;
    return true;
}

void output_append(struct output *output, struct slice data) {
    assert(output->pool != NULL && output->pool->buffer_bytes - output->end >= data.size);
    memcpy(output->data + output->end, data.data, data.size);
    output->end += data.size;
}

void output_shift(struct output *output, size_t upto, size_t distance) {
    assert(output->pool != NULL && upto >= output->begin &&
           output->pool->buffer_bytes - upto >= distance);
    memmove(output->data + output->begin + distance, output->data + output->begin,
            upto - output->begin);
    output->begin += distance;
}

enum output_result output_send(struct output *output, int fd) {
    while (output->begin < output->end) {
        ssize_t sent = send(fd, output->data + output->begin, output_pending(output), MSG_NOSIGNAL);
        if (sent >= 0) {
            output->begin += (size_t)sent;
            output->sent += (uint64_t)sent;
        } else if (errno == EAGAIN) {
            return OUTPUT_BLOCKED;
        } else if (errno != EINTR) {
            return OUTPUT_BROKEN;
        }
    }
    output_release(output);
    return OUTPUT_SENT;
}

int64_t output_acknowledged(const struct output *output, int fd) {
    int waiting = 0;
    if (ioctl(fd, SIOCOUTQ, &waiting) != 0) {
        waiting = 0;
    }
    return (int64_t)output->sent - waiting;
}
