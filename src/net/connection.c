#include "net/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often one connection may read before the others have their turn. */
#define READS_AT_ONCE 8

/* What is read over at most from a peer that was told that the connection ends. */
#define LINGER_BYTES_MAX ((size_t)4 << 20)

/* Sets. */

bool connection_set_init(struct connection_set *set, const struct connection_set_setup *setup) {
    uint32_t count = setup->count;
    set->loop = setup->loop;
    set->count = count;
    memcpy(set->timeouts_ms, setup->timeouts_ms, sizeof(set->timeouts_ms));
    list_init(&set->resume);
    list_init(&set->later);
    list_init(&set->flush);
    set->batch_hook.run = setup->run_batch;
    set->flush_hook.run = setup->run_flush;
    loop_add_hook(set->loop, LOOP_STAGE_BATCH, &set->batch_hook);
    loop_add_hook(set->loop, LOOP_STAGE_FLUSH, &set->flush_hook);
    if (!buffer_pool_init(&set->input_pool, setup->input_bytes, count) ||
        !buffer_pools_init(&set->pools, count, setup->medium_buffers, setup->large_buffers)) {
        return false;
    }
    set->free = malloc(count * sizeof(*set->free));
    set->scratch = malloc(CONNECTION_SCRATCH_BYTES);
    if (set->free == NULL || set->scratch == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        set->free[i] = count - 1 - i;
    }
    set->free_count = count;
    return true;
}

void connection_set_deinit(struct connection_set *set) {
    loop_remove_hook(&set->batch_hook);
    loop_remove_hook(&set->flush_hook);
    buffer_pool_deinit(&set->input_pool);
    buffer_pools_deinit(&set->pools);
    free(set->free);
    free(set->scratch);
}

void connection_set_end_flush(struct connection_set *set) {
    if (!list_is_empty(&set->later)) {
        list_move_all(&set->later, &set->resume);
        loop_keep_awake(set->loop);
    }
}

/* Beginning and end. */

bool connection_set_next_free(const struct connection_set *set, uint32_t *index) {
    if (set->free_count == 0) {
        return false;
    }
    *index = set->free[set->free_count - 1];
    return true;
}

bool connection_open(struct connection *connection, struct connection_set *set, int fd,
                     const struct connection_callbacks *callbacks) {
    assert(set->free_count > 0);
    connection->set = set;
    connection->source.fd = fd;
    connection->source.ready = callbacks->ready;
    connection->timer.expired = callbacks->expired;
    connection->reads_left = READS_AT_ONCE;
    if (!loop_add(set->loop, &connection->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
        return false;
    }
    set->free_count--;
    return true;
}

void connection_close(struct connection *connection, uint32_t index) {
    struct connection_set *set = connection->set;
    loop_remove(set->loop, &connection->source);
    (void)close(connection->source.fd);
    timer_stop(&connection->timer);
    list_remove(&connection->resume_node);
    list_remove(&connection->flush_node);
    output_release(&connection->output);
    set->free[set->free_count] = index;
    set->free_count++;
}

/* Turns. */

void connection_note_events(struct connection *connection, uint32_t events, bool reading) {
    if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && !reading)) {
        connection->broken = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
        connection->readable = !connection->ended;
    }
    connection->peer_closing |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    if (connection->blocked && (events & EPOLLOUT) != 0) {
        connection_flush_soon(connection);
    }
}

void connection_begin_turn(struct connection *connection) {
    assert(!connection->driving);
    connection->driving = true;
    connection->reads_left = READS_AT_ONCE;
}

void connection_resume_soon(struct connection *connection) {
    if (!list_is_linked(&connection->resume_node)) {
        list_append(&connection->set->resume, &connection->resume_node);
        loop_want_hooks(connection->set->loop);
    }
}

void connection_resume_later(struct connection *connection) {
    if (!list_is_linked(&connection->resume_node)) {
        list_append(&connection->set->later, &connection->resume_node);
    }
}

void connection_flush_soon(struct connection *connection) {
    if (!list_is_linked(&connection->flush_node)) {
        list_append(&connection->set->flush, &connection->flush_node);
        loop_want_hooks(connection->set->loop);
    }
}

/* Bytes. */

size_t connection_receive_parts(struct connection *connection, struct iovec *parts, size_t count,
                                size_t wanted) {
    if (!connection->readable || connection->reads_left == 0 || wanted == 0) {
        return 0;
    }
    connection->reads_left--;
    ssize_t got;
    do {
        got = count == 1 ? recv(connection->source.fd, parts[0].iov_base, wanted, 0)
                         : readv(connection->source.fd, parts, (int)count);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        connection->readable = false;
        connection->ended = got == 0;
        connection->broken |= got < 0 && errno != EAGAIN;
        return 0;
    }
    if ((size_t)got < wanted && !connection->peer_closing) {
        connection->readable = false; /* it is empty; what comes later is a new edge */
    }
    connection->received += (uint64_t)got;
    connection->set->received_bytes += (uint64_t)got;
    return (size_t)got;
}

size_t connection_receive(struct connection *connection, char *data, size_t wanted) {
    struct iovec part = {data, wanted};
    return connection_receive_parts(connection, &part, 1, wanted);
}

size_t connection_discard(struct connection *connection) {
    size_t got =
        connection_receive(connection, connection->set->scratch,
                           bytes_min_size(connection->discard_left, CONNECTION_SCRATCH_BYTES));
    connection->discard_left -= got;
    return got;
}

void connection_send(struct connection *connection) {
    uint64_t before = connection->output.sent;
    enum output_result result = output_send(&connection->output, connection->source.fd);
    connection->blocked = result == OUTPUT_BLOCKED;
    connection->broken |= result == OUTPUT_BROKEN;
    connection->set->sent_bytes += connection->output.sent - before;
}

bool connection_linger(struct connection *connection, bool unread) {
    if (connection->ended || !(connection->lingers || unread || connection->readable) ||
        shutdown(connection->source.fd, SHUT_WR) != 0) {
        return false;
    }
    /* Closing with unread bytes would reset the connection, and the peer might never see the
     * answer. */
    connection->discard_left = LINGER_BYTES_MAX;
    connection_resume_soon(connection);
    connection_see_to_limit(connection, LIMIT_LINGER);
    return true;
}

/* Time limits. */

/** What has to move within a span of the limit. */
static int64_t progress_of(const struct connection *connection, enum connection_limit limit) {
    return limit == LIMIT_WRITE ? output_acknowledged(&connection->output, connection->source.fd)
                                : (int64_t)connection->received;
}

void connection_begin_limit(struct connection *connection, enum connection_limit limit) {
    connection->limit = (uint8_t)limit;
    connection->progress_mark = progress_of(connection, limit);
    loop_timer_start(connection->set->loop, &connection->timer,
                     (int64_t)connection->set->timeouts_ms[limit] * 1000);
}

void connection_see_to_limit(struct connection *connection, enum connection_limit limit) {
    if (limit == LIMIT_NONE) {
        connection->limit = LIMIT_NONE;
    } else if (limit != connection->limit || limit == LIMIT_IDLE) {
        connection_begin_limit(connection, limit);
    }
}

enum connection_limit connection_limit_expired(struct connection *connection,
                                               int64_t progress_bytes_min) {
    enum connection_limit limit = connection->limit;
    bool may_move = limit == LIMIT_WRITE || limit == LIMIT_BODY;
    if (may_move &&
        progress_of(connection, limit) - connection->progress_mark >= progress_bytes_min) {
        connection_begin_limit(connection, limit);
        return LIMIT_NONE;
    }
    connection->limit = LIMIT_NONE;
    return limit;
}
