#include "orderctl/bench_connection.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Room behind an answer, so that the next one needs no move. */
#define INPUT_SLACK_BYTES 65536

#define PIECES_MAX 256
#define SOCKET_BUFFER_BYTES (4 << 20)

bool bench_connection_init(struct bench_connection *connection, uint32_t depth,
                           struct bench_workload *workload) {
    *connection = (struct bench_connection){.fd = -1, .depth = depth};
    size_t space_bytes = bytes_align_up(workload->space_bytes, CACHE_LINE_BYTES);
    connection->input_capacity =
        bytes_align_up(workload->answer_bytes_max + INPUT_SLACK_BYTES, CACHE_LINE_BYTES);
    connection->input = malloc(connection->input_capacity);
    connection->requests = calloc(depth, sizeof(*connection->requests));
    connection->spaces =
        space_bytes == 0 ? NULL : aligned_alloc(CACHE_LINE_BYTES, depth * space_bytes);
    if (connection->input == NULL || connection->requests == NULL ||
        (space_bytes > 0 && connection->spaces == NULL)) {
        return false;
    }
    for (uint32_t i = 0; i < depth; i++) {
        struct bench_request *request = &connection->requests[i];
        request->space = space_bytes == 0 ? NULL : connection->spaces + i * space_bytes;
        if (workload->ops->set_up != NULL) {
            workload->ops->set_up(workload, request);
        }
    }
    return true;
}

void bench_connection_deinit(struct bench_connection *connection) {
    bench_connection_reset(connection);
    free(connection->input);
    free(connection->requests);
    free(connection->spaces);
}

void bench_connection_reset(struct bench_connection *connection) {
    if (connection->fd >= 0) {
        (void)close(connection->fd);
    }
    connection->fd = -1;
    connection->first = 0;
    connection->count = 0;
    connection->sent = 0;
    connection->sent_bytes = 0;
    connection->input_begin = 0;
    connection->input_end = 0;
    connection->answer_bytes = 0;
    connection->closing = false;
}

/* --- Connecting. --- */

static bool wait_connected(int fd, uint64_t timeout_ms) {
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof(error);
    int count = poll(&wait, 1, (int)bytes_min_u64(timeout_ms, INT32_MAX));
    if (count <= 0) {
        errno = count == 0 ? ETIMEDOUT : errno;
        return false;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        errno = error != 0 ? error : errno;
        return false;
    }
    return true;
}

static void set_options(int fd) {
    int one = 1;
    int buffer_bytes = SOCKET_BUFFER_BYTES;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    /* Only beyond the system's limit, where the right is there: a plain SO_SNDBUF would end the
     * system's own growing of the buffers and leave them smaller. */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof(buffer_bytes));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof(buffer_bytes));
}

static int connect_to(const struct addrinfo *address, uint64_t timeout_ms) {
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    set_options(fd);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 &&
        (errno != EINPROGRESS || !wait_connected(fd, timeout_ms))) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

bool bench_connection_open(struct bench_connection *connection, const char *host, const char *port,
                           uint64_t timeout_ms, struct fault *fault) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int error = getaddrinfo(host, port, &hints, &addresses);
    if (error != 0) {
        fault_set(fault, "%s:%s: %s", host, port, gai_strerror(error));
        return false;
    }
    bench_connection_reset(connection);
    for (const struct addrinfo *at = addresses; at != NULL && connection->fd < 0;
         at = at->ai_next) {
        connection->fd = connect_to(at, timeout_ms);
    }
    error = errno;
    freeaddrinfo(addresses);
    if (connection->fd < 0) {
        fault_set_errno(fault, error, "%s:%s: cannot be reached", host, port);
    }
    return connection->fd >= 0;
}

/* --- The ring. --- */

void bench_connection_retire(struct bench_connection *connection) {
    assert(connection->count > 0 && connection->sent > 0);
    connection->first = (connection->first + 1) % connection->depth;
    connection->count--;
    connection->sent--;
}

void bench_connection_resend(struct bench_connection *connection) {
    struct bench_request again = *bench_connection_oldest(connection);
    struct bench_request *oldest = bench_connection_oldest(connection);
    bench_connection_retire(connection);
    /* Whole requests change places, so that each keeps memory of its own. */
    struct bench_request *last = bench_connection_next(connection);
    *oldest = *last;
    *last = again;
    last->tries++;
    connection->count++;
}

/* --- Bytes. --- */

/** Lists what is left to send, from the byte on where sending stopped. */
static size_t list_pieces(const struct bench_connection *connection,
                          struct iovec pieces[PIECES_MAX]) {
    size_t skip = connection->sent_bytes;
    size_t count = 0;
    for (uint32_t i = connection->sent; i < connection->count && count + 2 <= PIECES_MAX; i++) {
        const struct bench_request *request =
            &connection->requests[(connection->first + i) % connection->depth];
        const struct slice parts[] = {request->head, request->body};
        for (size_t part = 0; part < ARRAY_COUNT(parts); part++) {
            size_t skipped = bytes_min_size(skip, parts[part].size);
            skip -= skipped;
            if (parts[part].size > skipped) {
                pieces[count].iov_base = (void *)(uintptr_t)(parts[part].data + skipped);
                pieces[count++].iov_len = parts[part].size - skipped;
            }
        }
    }
    return count;
}

static void note_sent(struct bench_connection *connection, size_t size) {
    connection->bytes_sent += size;
    connection->sent_bytes += size;
    while (connection->sent < connection->count) {
        const struct bench_request *request =
            &connection->requests[(connection->first + connection->sent) % connection->depth];
        size_t whole = request->head.size + request->body.size;
        if (connection->sent_bytes < whole) {
            break;
        }
        connection->sent_bytes -= whole;
        connection->sent++;
    }
}

enum bench_socket_state bench_connection_send(struct bench_connection *connection) {
    while (connection->sent < connection->count) {
        struct iovec pieces[PIECES_MAX];
        struct msghdr message = {.msg_iov = pieces};
        message.msg_iovlen = list_pieces(connection, pieces);
        ssize_t size = message.msg_iovlen == 1 ? send(connection->fd, pieces[0].iov_base,
                                                      pieces[0].iov_len, MSG_NOSIGNAL)
                                               : sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return errno == EAGAIN ? BENCH_SOCKET_GOES_ON : BENCH_SOCKET_CLOSED;
        }
        note_sent(connection, (size_t)size);
    }
    return BENCH_SOCKET_GOES_ON;
}

enum bench_socket_state bench_connection_receive(struct bench_connection *connection, bool *more) {
    if (connection->input_begin == connection->input_end) {
        connection->input_begin = 0;
        connection->input_end = 0;
    } else if (connection->input_begin > 0 &&
               connection->input_capacity - connection->input_begin <
                   connection->answer_bytes + INPUT_SLACK_BYTES / 2) {
        size_t left = connection->input_end - connection->input_begin;
        memmove(connection->input, connection->input + connection->input_begin, left);
        connection->input_begin = 0;
        connection->input_end = left;
    }
    size_t room = connection->input_capacity - connection->input_end;
    *more = false;
    ssize_t size = recv(connection->fd, connection->input + connection->input_end, room, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        *more = errno == EINTR;
        return BENCH_SOCKET_GOES_ON;
    }
    if (size <= 0) {
        errno = size == 0 ? 0 : errno;
        return BENCH_SOCKET_CLOSED;
    }
    connection->input_end += (size_t)size;
    connection->bytes_received += (uint64_t)size;
    *more = (size_t)size == room;
    return BENCH_SOCKET_GOES_ON;
}

enum bench_cut bench_connection_cut(struct bench_connection *connection,
                                    const struct bench_workload *workload,
                                    struct bench_answer *answer) {
    struct slice bytes = {connection->input + connection->input_begin,
                          connection->input_end - connection->input_begin};
    if (bytes.size == 0 || bytes.size < connection->answer_bytes) {
        return BENCH_CUT_MORE;
    }
    enum bench_cut cut = workload->ops->cut(bytes, answer);
    connection->answer_bytes = 0;
    if (cut == BENCH_CUT_WHOLE) {
        connection->input_begin += answer->size;
    } else if (cut == BENCH_CUT_MORE) {
        if (answer->size > workload->answer_bytes_max || bytes.size >= workload->answer_bytes_max) {
            return BENCH_CUT_MALFORMED;
        }
        connection->answer_bytes = answer->size;
    }
    return cut;
}
