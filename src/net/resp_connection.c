#include "net/resp_internal.h"

#include "net/resp_reply.h"

#include <assert.h>

static void connection_ready(struct loop_source *source, uint32_t events);
static void time_is_up(struct timer *timer);

static struct resp_connection *connection_of(struct resp_session *session) {
    return CONTAINER_OF(session, struct resp_connection, session);
}

/* --- Beginning and end. --- */

struct resp_connection *resp_connection_open(struct resp_server *server, int fd) {
    static const struct connection_callbacks callbacks = {connection_ready, time_is_up};
    uint32_t index;
    if (!connection_set_next_free(&server->set, &index)) {
        return NULL;
    }
    struct resp_connection *connection = &server->connections[index];
    assert(connection->phase == RESP_PHASE_FREE);
    memset(connection, 0, sizeof(*connection));
    connection->server = server;
    connection->session.protocol = 2;
    connection->session.number = ++server->opened;
    if (!connection_open(&connection->base, &server->set, fd, &callbacks)) {
        return NULL;
    }
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
    assert(connection->phase != RESP_PHASE_FREE && !connection->base.driving);
    if (connection->session.user != NULL) {
        connection->base.driving = true; /* what the handler does now needs no resuming */
        server->handler->ops->gone(server->handler, &connection->session);
        connection->base.driving = false;
    }
    release_input(connection);
    connection_close(&connection->base, (uint32_t)(connection - server->connections));
    connection->phase = RESP_PHASE_FREE;
}

/* --- Reading. --- */

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
        connection->input = buffer_pool_take(&server->set.input_pool);
        connection->input_pool = &server->set.input_pool;
        assert(connection->input != NULL); /* there is one for each connection */
    }
    size_t capacity = connection->input_pool->buffer_bytes;
    if (connection->end < capacity) {
        return true;
    }
    size_t size = connection->end - connection->begin;
    if (connection->input_pool != &server->set.input_pool && size <= RESP_INPUT_BYTES / 2) {
        char *small = buffer_pool_take(&server->set.input_pool);
        assert(small != NULL);
        move_input(connection, small);
        connection->input_pool = &server->set.input_pool;
        return true;
    }
    if (connection->begin > 0) {
        move_input(connection, connection->input);
        return true;
    }
    struct buffer_pool *pool;
    char *larger = buffer_pools_take_large(&server->set.pools, capacity + 1, &pool);
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
    connection->base.lingers = true;
    release_input(connection);
    if (!output_reserve(&connection->base.output, &connection->server->set.pools, 256)) {
        return; /* it has not read what it was answered before */
    }
    text = text_over(connection->base.output.data + connection->base.output.end, 256);
    text_append_literal(&text, "-ERR Protocol error: ");
    text_append_slice(&text, slice_from_text(reason));
    text_append_literal(&text, "\r\n");
    connection->base.output.end += text.size;
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
    server->set.handed++;
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
    if (connection->base.limit == LIMIT_HEAD) {
        connection->base.limit = LIMIT_NONE; /* what is left is another command */
    }
    connection_count(&server->metrics.commands_total, taken);
    connection->begin = taken < batch->count ? batch->ends[taken - 1] : batch->at;
    return connection->phase == RESP_PHASE_READ;
}

/** Reads on. True where bytes came. */
static bool read_more(struct resp_connection *connection) {
    if (connection->base.readable && connection->base.reads_left > 0) {
        if (!make_room(connection)) {
            connection_count(&connection->server->metrics.malformed_total, 1);
            refuse(connection, "the command is too large, or no buffer is free for it");
            return false;
        }
        size_t got = connection_receive(&connection->base, connection->input + connection->end,
                                        connection->input_pool->buffer_bytes - connection->end);
        connection->end += (uint32_t)got;
        if (got > 0) {
            return true;
        }
    }
    bool idle = connection->begin == connection->end && !connection->base.readable;
    if (connection->base.ended || (idle && connection->server->set.draining)) {
        connection->phase = RESP_PHASE_CLOSING;
    }
    return false;
}

/** One step of reading and answering. True when there may be more to do at once. */
static bool read_step(struct resp_connection *connection) {
    struct batch batch;
    if (output_pending(&connection->base.output) > BUFFER_SMALL_BYTES - RESP_ANSWER_BYTES_SURE) {
        connection_send(&connection->base);
        if (connection->base.blocked || connection->base.broken) {
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
        connection_count(&connection->server->metrics.malformed_total, 1);
        refuse(connection, connection->parser.refusal);
        return false;
    }
    return connection->begin == connection->end || read_more(connection);
}

void resp_connection_drive(struct resp_connection *connection) {
    connection_begin_turn(&connection->base);
    bool more = true;
    while (more && !connection->base.broken) {
        switch ((enum resp_phase)connection->phase) {
        case RESP_PHASE_READ:
            more = read_step(connection);
            break;
        case RESP_PHASE_LINGER:
            more = connection_discard(&connection->base) > 0;
            break;
        default:
            more = false;
            break;
        }
    }
    connection->base.driving = false;
    resp_connection_settle(connection);
}

static void connection_ready(struct loop_source *source, uint32_t events) {
    struct resp_connection *connection = CONTAINER_OF(source, struct resp_connection, base.source);
    bool reading = connection->phase == RESP_PHASE_READ || connection->phase == RESP_PHASE_LINGER;
    connection_note_events(&connection->base, events, reading);
    resp_connection_drive(connection);
}

void resp_connection_flush(struct resp_connection *connection) {
    bool was_blocked = connection->base.blocked;
    connection_send(&connection->base);
    if (was_blocked && !connection->base.blocked && connection->phase == RESP_PHASE_READ) {
        connection_resume_soon(&connection->base);
    }
    resp_connection_settle(connection);
}

/* --- The handler's calls. --- */

void resp_session_resume(struct resp_session *session) {
    struct resp_connection *connection = connection_of(session);
    assert(connection->phase == RESP_PHASE_WAIT && !connection->base.driving);
    connection->phase = RESP_PHASE_READ;
    connection_resume_soon(&connection->base);
}

bool resp_answer_begin(struct resp_session *session, size_t bytes_max, struct text *out) {
    struct resp_connection *connection = connection_of(session);
    struct output *output = &connection->base.output;
    assert(bytes_max <= RESP_ANSWER_BYTES_MAX);
    if (!output_reserve(output, &connection->server->set.pools, bytes_max)) {
        return false;
    }
    *out = text_over(output->data + output->end, output->pool->buffer_bytes - output->end);
    return true;
}

void resp_answer_end(struct resp_session *session, const struct text *out) {
    assert(!out->truncated);
    connection_of(session)->base.output.end += out->size;
}

void resp_session_close(struct resp_session *session) {
    struct resp_connection *connection = connection_of(session);
    connection->phase = RESP_PHASE_CLOSING;
    connection->base.lingers = true;
}

/* --- Settling. --- */

static enum connection_limit limit_of(const struct resp_connection *connection) {
    if (connection->base.blocked) {
        return LIMIT_WRITE;
    }
    switch ((enum resp_phase)connection->phase) {
    case RESP_PHASE_READ:
        return connection->begin < connection->end ? LIMIT_HEAD : LIMIT_IDLE;
    case RESP_PHASE_LINGER:
        return LIMIT_LINGER;
    default:
        return LIMIT_NONE;
    }
}

/** Everything was sent and nothing more will be. */
static void finish(struct resp_connection *connection) {
    bool unread = connection->begin < connection->end;
    release_input(connection);
    if (connection_linger(&connection->base, unread)) {
        connection->phase = RESP_PHASE_LINGER;
    } else {
        close_connection(connection);
    }
}

void resp_connection_settle(struct resp_connection *connection) {
    bool pending = output_pending(&connection->base.output) > 0;
    if (connection->base.broken) {
        bool due = pending || connection->phase == RESP_PHASE_WAIT;
        connection_count(&connection->server->metrics.broken_total, due ? 1 : 0);
        close_connection(connection);
        return;
    }
    if (connection->phase == RESP_PHASE_CLOSING && !pending) {
        finish(connection);
        return;
    }
    if (connection->phase == RESP_PHASE_LINGER &&
        (connection->base.ended || connection->base.discard_left == 0)) {
        close_connection(connection);
        return;
    }
    if (pending && !connection->base.blocked) {
        connection_flush_soon(&connection->base);
    }
    if (connection->base.readable && connection->base.reads_left == 0 &&
        connection->phase != RESP_PHASE_WAIT) {
        connection_resume_later(&connection->base);
    }
    if (connection->phase == RESP_PHASE_READ && connection->begin == connection->end) {
        release_input(connection);
    }
    connection_see_to_limit(&connection->base, limit_of(connection));
}

/* --- Time limits. --- */

static void time_is_up(struct timer *timer) {
    struct resp_connection *connection = CONTAINER_OF(timer, struct resp_connection, base.timer);
    struct resp_metrics *metrics = &connection->server->metrics;
    enum connection_limit limit =
        connection_limit_expired(&connection->base, CONNECTION_PROGRESS_BYTES_MIN);
    if (limit == LIMIT_NONE) {
        return;
    }
    if (limit == LIMIT_HEAD) {
        connection_count(&metrics->command_timeouts_total, 1);
        refuse(connection, "the command took too long");
    } else {
        connection_count(&metrics->idle_timeouts_total, limit == LIMIT_IDLE ? 1 : 0);
        connection_count(&metrics->write_timeouts_total, limit == LIMIT_WRITE ? 1 : 0);
        connection->base.broken = true;
    }
    resp_connection_settle(connection);
}
