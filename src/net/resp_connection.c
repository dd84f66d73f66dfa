#include "net/resp_internal.h"

#include "net/resp_reply.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often one connection may read before the others have their turn. */
#define READS_AT_ONCE 8

/* What is read over at most from a peer that was refused. */
#define LINGER_BYTES_MAX ((size_t)4 << 20)

/* In each span of its time limit the peer has to read this much of what it was sent. */
#define PROGRESS_BYTES_MIN (64 << 10)

static void connection_ready(struct loop_source *source, uint32_t events);
static void time_is_up(struct timer *timer);

static struct resp_connection *connection_of(struct resp_session *session) {
    return CONTAINER_OF(session, struct resp_connection, session);
}

/* --- Beginning and end. --- */

struct resp_connection *resp_connection_open(struct resp_server *server, int fd) {
    if (server->free_count == 0) {
        return NULL;
    }
    struct resp_connection *connection = &server->connections[server->free[server->free_count - 1]];
    assert(connection->phase == RESP_PHASE_FREE);
    memset(connection, 0, sizeof(*connection));
    connection->server = server;
    connection->source.fd = fd;
    connection->source.ready = connection_ready;
    connection->timer.expired = time_is_up;
    connection->reads_left = READS_AT_ONCE;
    connection->session.protocol = 2;
    connection->session.number = ++server->opened;
    if (!loop_add(server->loop, &connection->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
        return NULL;
    }
    server->free_count--;
    connection->phase = RESP_PHASE_READ;
    return connection;
}

static void release_input(struct resp_connection *connection) {
    if (connection->input != NULL) {
        buffer_pool_give(connection->input_pool, connection->input);
        connection->input = NULL;
    }
    connection->begin = 0;
    connection->end = 0;
}

static void close_connection(struct resp_connection *connection) {
    struct resp_server *server = connection->server;
    assert(connection->phase != RESP_PHASE_FREE && !connection->driving);
    if (connection->session.user != NULL) {
        connection->driving = true; /* what the handler does now needs no resuming */
        server->handler->ops->gone(server->handler, &connection->session);
        connection->driving = false;
    }
    loop_remove(server->loop, &connection->source);
    (void)close(connection->source.fd);
    timer_stop(&connection->timer);
    list_remove(&connection->resume_node);
    list_remove(&connection->flush_node);
    release_input(connection);
    output_release(&connection->output);
    connection->phase = RESP_PHASE_FREE;
    server->free[server->free_count] = (uint32_t)(connection - server->connections);
    server->free_count++;
}

/* --- Reading. --- */

/** Receives up to `wanted` bytes and notes what the result says about readiness. */
static size_t receive(struct resp_connection *connection, char *data, size_t wanted) {
    if (!connection->readable || connection->reads_left == 0) {
        return 0;
    }
    connection->reads_left--;
    ssize_t got;
    do {
        got = recv(connection->source.fd, data, wanted, 0);
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
    resp_count(&connection->server->metrics.received_bytes_total, (uint64_t)got);
    return (size_t)got;
}

/** Moves what is in the input to the beginning of `buffer`. */
static void move_input(struct resp_connection *connection, char *buffer) {
    size_t size = connection->end - connection->begin;
    if (size > 0) {
        memmove(buffer, connection->input + connection->begin, size);
    }
    if (buffer != connection->input && connection->input != NULL) {
        buffer_pool_give(connection->input_pool, connection->input);
    }
    connection->input = buffer;
    connection->begin = 0;
    connection->end = (uint32_t)size;
}

/** Makes room to read on: true where there is some. */
static bool make_room(struct resp_connection *connection) {
    struct resp_server *server = connection->server;
    if (connection->input == NULL) {
        connection->input = buffer_pool_take(&server->input_pool);
        connection->input_pool = &server->input_pool;
        assert(connection->input != NULL); /* there is one for each connection */
    }
    size_t capacity = connection->input_pool->buffer_bytes;
    if (connection->end < capacity) {
        return true;
    }
    size_t size = connection->end - connection->begin;
    if (connection->input_pool != &server->input_pool && size <= RESP_INPUT_BYTES / 2) {
        char *small = buffer_pool_take(&server->input_pool);
        assert(small != NULL);
        move_input(connection, small);
        connection->input_pool = &server->input_pool;
        return true;
    }
    if (connection->begin > 0) {
        move_input(connection, connection->input);
        return true;
    }
    struct buffer_pool *pool;
    char *larger = buffer_pools_take_large(&server->pools, capacity + 1, &pool);
    if (larger == NULL) {
        return false;
    }
    move_input(connection, larger);
    connection->input_pool = pool;
    return true;
}

/* --- Commands. --- */

/** Tells the peer what is wrong; the connection ends with it. */
static void refuse(struct resp_connection *connection, const char *reason) {
    struct text text;
    connection->phase = RESP_PHASE_CLOSING;
    connection->lingers = true;
    release_input(connection);
    if (!output_reserve(&connection->output, &connection->server->pools, 256)) {
        return; /* it has not read what it was answered before */
    }
    text = text_over(connection->output.data + connection->output.end, 256);
    text_append_literal(&text, "-ERR Protocol error: ");
    text_append_slice(&text, slice_from_text(reason));
    text_append_literal(&text, "\r\n");
    connection->output.end += text.size;
}

/** Whole commands at the beginning of the input. */
struct batch {
    struct resp_command commands[RESP_COMMANDS_AT_ONCE];
    uint32_t ends[RESP_COMMANDS_AT_ONCE]; /* of each, in the input */
    size_t count;
    uint32_t at; /* behind what was parsed whole */
    enum resp_parse last;
};

/** The parser knows the command at `begin`, if it was seen before; it is left within the one at
 *  `batch->at`. */
static void parse_batch(struct resp_connection *connection, struct batch *batch) {
    batch->count = 0;
    batch->at = connection->begin;
    batch->last = RESP_PARSE_DONE;
    while (batch->count < RESP_COMMANDS_AT_ONCE) {
        struct resp_command *command = &batch->commands[batch->count];
        batch->last = resp_parser_run(&connection->parser, connection->input + batch->at,
                                      connection->end - batch->at, command);
        if (batch->last != RESP_PARSE_DONE) {
            return;
        }
        connection->parser = (struct resp_parser){.at = 0};
        batch->at += (uint32_t)command->text.size;
        if (command->argument_count > 0) {
            batch->ends[batch->count++] = batch->at;
        } else if (batch->count == 0) {
            connection->begin = batch->at; /* an empty command: nothing to answer */
        }
    }
}

/** Hands the commands over. True where some were answered. */
static bool hand_over(struct resp_connection *connection, const struct batch *batch) {
    struct resp_server *server = connection->server;
    server->handed++;
    size_t taken = server->handler->ops->serve(server->handler, &connection->session,
                                               batch->commands, batch->count);
    assert(taken <= batch->count);
    if (taken < batch->count) {
        connection->parser = (struct resp_parser){.at = 0}; /* it is behind what is left */
    }
    if (taken == 0) {
        connection->phase = RESP_PHASE_WAIT;
        return false;
    }
    if (connection->limit == RESP_LIMIT_COMMAND) {
        connection->limit = RESP_LIMIT_NONE; /* what is left is another command */
    }
    resp_count(&server->metrics.commands_total, taken);
    connection->begin = taken < batch->count ? batch->ends[taken - 1] : batch->at;
    return connection->phase == RESP_PHASE_READ;
}

static void send_output(struct resp_connection *connection) {
    uint64_t before = connection->output.sent;
    enum output_result result = output_send(&connection->output, connection->source.fd);
    connection->blocked = result == OUTPUT_BLOCKED;
    connection->broken |= result == OUTPUT_BROKEN;
    resp_count(&connection->server->metrics.sent_bytes_total, connection->output.sent - before);
}

/** Reads on. True where bytes came. */
static bool read_more(struct resp_connection *connection) {
    if (connection->readable && connection->reads_left > 0) {
        if (!make_room(connection)) {
            resp_count(&connection->server->metrics.malformed_total, 1);
            refuse(connection, "the command is too large, or no buffer is free for it");
            return false;
        }
        size_t got = receive(connection, connection->input + connection->end,
                             connection->input_pool->buffer_bytes - connection->end);
        connection->end += (uint32_t)got;
        if (got > 0) {
            return true;
        }
    }
    bool idle = connection->begin == connection->end && !connection->readable;
    if (connection->ended || (idle && connection->server->draining)) {
        connection->phase = RESP_PHASE_CLOSING;
    }
    return false;
}

/** One step of reading and answering. True when there may be more to do at once. */
static bool read_step(struct resp_connection *connection) {
    struct batch batch;
    if (output_pending(&connection->output) > BUFFER_SMALL_BYTES - RESP_ANSWER_BYTES_SURE) {
        send_output(connection);
        if (connection->blocked || connection->broken) {
            return false;
        }
    }
    if (connection->begin == connection->end) {
        connection->begin = 0;
        connection->end = 0;
        return read_more(connection);
    }
    parse_batch(connection, &batch);
    if (batch.count > 0) {
        return hand_over(connection, &batch);
    }
    if (batch.last == RESP_PARSE_REFUSED) {
        resp_count(&connection->server->metrics.malformed_total, 1);
        refuse(connection, connection->parser.refusal);
        return false;
    }
    return connection->begin == connection->end || read_more(connection);
}

static bool linger_step(struct resp_connection *connection) {
    struct resp_server *server = connection->server;
    size_t wanted = bytes_min_size(connection->linger_left, RESP_SCRATCH_BYTES);
    size_t got = wanted == 0 ? 0 : receive(connection, server->scratch, wanted);
    connection->linger_left -= got;
    return got > 0;
}

void resp_connection_drive(struct resp_connection *connection) {
    assert(!connection->driving);
    connection->driving = true;
    connection->reads_left = READS_AT_ONCE;
    bool more = true;
    while (more && !connection->broken) {
        switch ((enum resp_phase)connection->phase) {
        case RESP_PHASE_READ:
            more = read_step(connection);
            break;
        case RESP_PHASE_LINGER:
            more = linger_step(connection);
            break;
        default:
            more = false;
            break;
        }
    }
    connection->driving = false;
    resp_connection_settle(connection);
}

static void flush_soon(struct resp_connection *connection) {
    if (!list_is_linked(&connection->flush_node)) {
        list_append(&connection->server->flush, &connection->flush_node);
        loop_want_hooks(connection->server->loop);
    }
}

static void connection_ready(struct loop_source *source, uint32_t events) {
    struct resp_connection *connection = CONTAINER_OF(source, struct resp_connection, source);
    bool reading = connection->phase == RESP_PHASE_READ || connection->phase == RESP_PHASE_LINGER;
    if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && !reading)) {
        connection->broken = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
        connection->readable = !connection->ended;
    }
    connection->peer_closing |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    if (connection->blocked && (events & EPOLLOUT) != 0) {
        flush_soon(connection);
    }
    resp_connection_drive(connection);
}

void resp_connection_resume_soon(struct resp_connection *connection) {
    struct resp_server *server = connection->server;
    if (!list_is_linked(&connection->resume_node)) {
        list_append(&server->resume, &connection->resume_node);
        loop_want_hooks(server->loop);
    }
}

void resp_connection_flush(struct resp_connection *connection) {
    bool was_blocked = connection->blocked;
    send_output(connection);
    if (was_blocked && !connection->blocked && connection->phase == RESP_PHASE_READ) {
        resp_connection_resume_soon(connection);
    }
    resp_connection_settle(connection);
}

/* --- The handler's calls. --- */

void resp_session_resume(struct resp_session *session) {
    struct resp_connection *connection = connection_of(session);
    assert(connection->phase == RESP_PHASE_WAIT && !connection->driving);
    connection->phase = RESP_PHASE_READ;
    resp_connection_resume_soon(connection);
}

bool resp_answer_begin(struct resp_session *session, size_t bytes_max, struct text *out) {
    struct resp_connection *connection = connection_of(session);
    struct output *output = &connection->output;
    assert(bytes_max <= RESP_ANSWER_BYTES_MAX);
    if (!output_reserve(output, &connection->server->pools, bytes_max)) {
        return false;
    }
    *out = text_over(output->data + output->end, output->pool->buffer_bytes - output->end);
    return true;
}

void resp_answer_end(struct resp_session *session, const struct text *out) {
    assert(!out->truncated);
    connection_of(session)->output.end += out->size;
}

void resp_session_close(struct resp_session *session) {
    struct resp_connection *connection = connection_of(session);
    connection->phase = RESP_PHASE_CLOSING;
    connection->lingers = true;
}

/* --- Settling. --- */

static void begin_limit(struct resp_connection *connection, enum resp_limit limit) {
    const struct resp_options *options = &connection->server->options;
    const uint64_t timeouts_ms[] = {
        [RESP_LIMIT_IDLE] = options->idle_timeout_ms,
        [RESP_LIMIT_COMMAND] = options->command_timeout_ms,
        [RESP_LIMIT_WRITE] = options->write_timeout_ms,
        [RESP_LIMIT_LINGER] = options->linger_timeout_ms,
    };
    connection->limit = (uint8_t)limit;
    if (limit == RESP_LIMIT_WRITE) {
        connection->progress_mark = output_acknowledged(&connection->output, connection->source.fd);
    }
    loop_timer_start(connection->server->loop, &connection->timer,
                     (int64_t)timeouts_ms[limit] * 1000);
}

static enum resp_limit limit_of(const struct resp_connection *connection) {
    if (connection->blocked) {
        return RESP_LIMIT_WRITE;
    }
    switch ((enum resp_phase)connection->phase) {
    case RESP_PHASE_READ:
        return connection->begin < connection->end ? RESP_LIMIT_COMMAND : RESP_LIMIT_IDLE;
    case RESP_PHASE_LINGER:
        return RESP_LIMIT_LINGER;
    default:
        return RESP_LIMIT_NONE;
    }
}

/** A limit runs from when it began to apply; any sign of life moves the idle one, and a command
 *  that was answered the one of the next. */
static void see_to_limit(struct resp_connection *connection) {
    enum resp_limit limit = limit_of(connection);
    if (limit == RESP_LIMIT_NONE) {
        connection->limit = RESP_LIMIT_NONE;
    } else if (limit != connection->limit || limit == RESP_LIMIT_IDLE) {
        begin_limit(connection, limit);
    }
}

/** Everything was sent and nothing more will be. */
static void finish(struct resp_connection *connection) {
    bool unread = connection->readable || connection->begin < connection->end;
    release_input(connection);
    if (connection->ended || !(connection->lingers || unread) ||
        shutdown(connection->source.fd, SHUT_WR) != 0) {
        close_connection(connection);
        return;
    }
    /* Closing with unread bytes would reset the connection, and the peer might never see the
     * answer. */
    connection->phase = RESP_PHASE_LINGER;
    connection->linger_left = LINGER_BYTES_MAX;
    resp_connection_resume_soon(connection);
    see_to_limit(connection);
}

void resp_connection_settle(struct resp_connection *connection) {
    bool pending = output_pending(&connection->output) > 0;
    if (connection->broken) {
        bool due = pending || connection->phase == RESP_PHASE_WAIT;
        resp_count(&connection->server->metrics.broken_total, due ? 1 : 0);
        close_connection(connection);
        return;
    }
    if (connection->phase == RESP_PHASE_CLOSING && !pending) {
        finish(connection);
        return;
    }
    if (connection->phase == RESP_PHASE_LINGER &&
        (connection->ended || connection->linger_left == 0)) {
        close_connection(connection);
        return;
    }
    if (pending && !connection->blocked) {
        flush_soon(connection);
    }
    if (connection->readable && connection->reads_left == 0 &&
        connection->phase != RESP_PHASE_WAIT && !list_is_linked(&connection->resume_node)) {
        list_append(&connection->server->later, &connection->resume_node);
    }
    if (connection->phase == RESP_PHASE_READ && connection->begin == connection->end) {
        release_input(connection);
    }
    see_to_limit(connection);
}

/* --- Time limits. --- */

static bool has_moved(struct resp_connection *connection) {
    return connection->limit == RESP_LIMIT_WRITE &&
           output_acknowledged(&connection->output, connection->source.fd) -
                   connection->progress_mark >=
               PROGRESS_BYTES_MIN;
}

static void time_is_up(struct timer *timer) {
    struct resp_connection *connection = CONTAINER_OF(timer, struct resp_connection, timer);
    struct resp_metrics *metrics = &connection->server->metrics;
    enum resp_limit limit = connection->limit;
    if (limit == RESP_LIMIT_NONE) {
        return;
    }
    if (has_moved(connection)) {
        begin_limit(connection, limit);
        return;
    }
    connection->limit = RESP_LIMIT_NONE;
    if (limit == RESP_LIMIT_COMMAND) {
        resp_count(&metrics->command_timeouts_total, 1);
        refuse(connection, "the command took too long");
    } else {
        resp_count(&metrics->idle_timeouts_total, limit == RESP_LIMIT_IDLE ? 1 : 0);
        resp_count(&metrics->write_timeouts_total, limit == RESP_LIMIT_WRITE ? 1 : 0);
        connection->broken = true;
    }
    resp_connection_settle(connection);
}
