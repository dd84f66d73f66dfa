#include "adapter/cassandra/cql_connection.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* STARTUP, or the credentials, or OPTIONS: one of them at a time. */
#define CONTROL_BYTES_MAX 1024

#define OUT_BYTES_MIN ((size_t)256 * 1024)
#define OUT_REQUESTS 4

#define NO_STATEMENT 0xff

static size_t control_stream(const struct cql_connection *connection) {
    return connection->setup.streams;
}

static size_t stream_count(const struct cql_connection *connection) {
    return connection->setup.streams + 1U + connection->setup.statement_count;
}

bool cql_connection_init(struct cql_connection *connection,
                         const struct cql_connection_setup *setup) {
    assert(setup->streams >= 1 && setup->streams <= CQL_STREAMS_MAX);
    assert(setup->statement_count <= CQL_STATEMENTS_MAX);
    *connection = (struct cql_connection){.setup = *setup, .state = CQL_CONNECTION_CLOSED};
    connection->out_reserve = CONTROL_BYTES_MAX;
    for (size_t i = 0; i < setup->statement_count; i++) {
        connection->out_reserve +=
            CQL_HEADER_BYTES + sizeof(uint32_t) + setup->statements[i].text.size;
    }
    size_t out_bytes = OUT_REQUESTS * setup->request_bytes;
    out_bytes = connection->out_reserve + (out_bytes > OUT_BYTES_MIN ? out_bytes : OUT_BYTES_MIN);
    char *out = malloc(out_bytes);
    connection->out = text_over(out, out_bytes);
    connection->in = malloc(CQL_HEADER_BYTES + CQL_BODY_BYTES_MAX);
    connection->streams = calloc(stream_count(connection), sizeof(*connection->streams));
    connection->free_streams = calloc(setup->streams, sizeof(*connection->free_streams));
    if (out == NULL || connection->in == NULL || connection->streams == NULL ||
        connection->free_streams == NULL) {
        cql_connection_deinit(connection);
        return false;
    }
    return true;
}

void cql_connection_deinit(struct cql_connection *connection) {
    free(connection->out.data);
    free(connection->in);
    free(connection->streams);
    free(connection->free_streams);
}

/* --- The end of a conversation. --- */

/** Completes every request that is outstanding. */
static void drop_requests(struct cql_connection *connection) {
    for (size_t i = 0; i < connection->setup.streams; i++) {
        struct cql_stream *stream = &connection->streams[i];
        if (stream->state == CQL_STREAM_WAITING) {
            stream->state = CQL_STREAM_FREE;
            (void)connection->setup.done(
                connection->setup.context, stream->tag,
                stream->end_offset > connection->sent_offset ? CQL_NOT_SENT : CQL_LOST, NULL);
        }
    }
}

static bool is_alive(const struct cql_connection *connection) {
    return connection->state != CQL_CONNECTION_CLOSED && connection->state != CQL_CONNECTION_BROKEN;
}

void cql_connection_break(struct cql_connection *connection, const char *format, ...) {
    if (!is_alive(connection)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(connection->fault.text, sizeof(connection->fault.text), format, arguments);
    va_end(arguments);
    connection->state = CQL_CONNECTION_BROKEN;
    drop_requests(connection);
}

void cql_connection_close(struct cql_connection *connection) {
    if (is_alive(connection)) {
        connection->state = CQL_CONNECTION_BROKEN;
        drop_requests(connection);
    }
    connection->state = CQL_CONNECTION_CLOSED;
}

/* --- What the connection itself asks. --- */

/** Moves what waits to the front of the buffer, where the rest is too small. */
static void make_room(struct cql_connection *connection, size_t size) {
    struct text *out = &connection->out;
    if (out->capacity - out->size < size && connection->out_sent > 0) {
        memmove(out->data, out->data + connection->out_sent, out->size - connection->out_sent);
        out->size -= connection->out_sent;
        connection->out_sent = 0;
    }
}

static uint64_t written_offset(const struct cql_connection *connection) {
    return connection->sent_offset + (connection->out.size - connection->out_sent);
}

static void note_deadline(struct cql_connection *connection, int64_t deadline_us) {
    if (deadline_us < connection->earliest_us) {
        connection->earliest_us = deadline_us;
    }
}

/** Begins a frame of the connection's own on `stream`. There is always room for it. */
static size_t begin_own(struct cql_connection *connection, enum cql_opcode opcode, size_t stream,
                        size_t size, int64_t now_us) {
    make_room(connection, size);
    connection->streams[stream] = (struct cql_stream){
        .asked_us = now_us,
        .deadline_us = now_us + connection->setup.answer_wait_us,
        .state = CQL_STREAM_WAITING,
        .statement = NO_STATEMENT,
    };
    note_deadline(connection, now_us + connection->setup.answer_wait_us);
    return cql_request_begin(&connection->out, opcode, (int16_t)stream);
}

static void end_own(struct cql_connection *connection, size_t begin) {
    bool whole = cql_request_end(&connection->out, begin);
    assert(whole); /* out_reserve is for this */
}

static void prepare(struct cql_connection *connection, size_t statement, int64_t now_us) {
    size_t stream = control_stream(connection) + 1 + statement;
    if (connection->streams[stream].state != CQL_STREAM_FREE) {
        return; /* under way */
    }
    connection->prepared[statement].ready = false;
    struct slice text = connection->setup.statements[statement].text;
    size_t begin = begin_own(connection, CQL_PREPARE, stream,
                             CQL_HEADER_BYTES + sizeof(uint32_t) + text.size, now_us);
    cql_write_prepare(&connection->out, text);
    end_own(connection, begin);
}

static void become_ready(struct cql_connection *connection) {
    for (size_t i = 0; i < connection->setup.statement_count; i++) {
        if (!connection->prepared[i].ready) {
            return;
        }
    }
    if (connection->state == CQL_CONNECTION_PREPARING) {
        connection->state = CQL_CONNECTION_READY;
    }
}

static void begin_preparing(struct cql_connection *connection, int64_t now_us) {
    connection->state = CQL_CONNECTION_PREPARING;
    for (size_t i = 0; i < connection->setup.statement_count; i++) {
        prepare(connection, i, now_us);
    }
    become_ready(connection);
}

void cql_connection_open(struct cql_connection *connection, int64_t now_us, int64_t deadline_us) {
    assert(connection->state == CQL_CONNECTION_CLOSED);
    connection->state = CQL_CONNECTION_STARTING;
    memset(connection->prepared, 0, sizeof(connection->prepared));
    memset(connection->streams, 0, stream_count(connection) * sizeof(*connection->streams));
    connection->free_count = connection->setup.streams;
    for (size_t i = 0; i < connection->free_count; i++) {
        connection->free_streams[i] = (uint16_t)(connection->free_count - 1 - i);
    }
    connection->earliest_us = INT64_MAX;
    connection->handshake_deadline_us = deadline_us;
    connection->received_us = now_us;
    connection->in_size = 0;
    connection->out.size = 0;
    connection->out.truncated = false;
    connection->out_sent = 0;
    connection->sent_offset = 0;
    connection->fault.text[0] = 0;
    size_t begin =
        begin_own(connection, CQL_STARTUP, control_stream(connection), CONTROL_BYTES_MAX, now_us);
    cql_write_startup(&connection->out);
    end_own(connection, begin);
}

/* --- Answers to what the connection itself asked. --- */

static bool ends_with(struct slice text, struct slice end) {
    return text.size >= end.size &&
           memcmp(text.data + text.size - end.size, end.data, end.size) == 0;
}

/** Credentials go only to a server whose way of asking is known. */
static void authenticate(struct cql_connection *connection, struct slice authenticator,
                         int64_t now_us) {
    const struct cql_connection_setup *setup = &connection->setup;
    if (!ends_with(authenticator, SLICE_LITERAL("PasswordAuthenticator")) &&
        !ends_with(authenticator, SLICE_LITERAL("PasswordFallbackAuthenticator"))) {
        cql_connection_break(connection, "it wants the authenticator %.*s, which is not known here",
                             (int)bytes_min_size(authenticator.size, 200), authenticator.data);
        return;
    }
    if (setup->user.size == 0) {
        cql_connection_break(connection, "it wants a user and a password: set cassandra.user and "
                                         "cassandra.password");
        return;
    }
    connection->state = CQL_CONNECTION_AUTHENTICATING;
    size_t begin = begin_own(connection, CQL_AUTH_RESPONSE, control_stream(connection),
                             CONTROL_BYTES_MAX, now_us);
    cql_write_credentials(&connection->out, setup->user, setup->password);
    end_own(connection, begin);
}

#define MESSAGE_SHOWN_MAX 300

static void break_with_error(struct cql_connection *connection, const char *what,
                             const struct cql_error *error) {
    cql_connection_break(connection, "%s: %s: %.*s", what, cql_error_name(error->code),
                         (int)bytes_min_size(error->message.size, MESSAGE_SHOWN_MAX),
                         error->message.data);
}

static void handle_control(struct cql_connection *connection, const struct cql_response *response,
                           int64_t now_us) {
    enum cql_connection_state state = connection->state;
    if (response->kind == CQL_RESPONSE_ERROR) {
        break_with_error(connection,
                         state == CQL_CONNECTION_AUTHENTICATING ? "log in"
                         : state == CQL_CONNECTION_READY        ? "OPTIONS"
                                                                : "STARTUP",
                         &response->error);
    } else if (response->kind == CQL_RESPONSE_AUTHENTICATE && state == CQL_CONNECTION_STARTING) {
        authenticate(connection, response->authenticator, now_us);
    } else if ((response->kind == CQL_RESPONSE_READY && state == CQL_CONNECTION_STARTING) ||
               (response->kind == CQL_RESPONSE_AUTH_SUCCESS &&
                state == CQL_CONNECTION_AUTHENTICATING)) {
        begin_preparing(connection, now_us);
    } else if (response->kind != CQL_RESPONSE_SUPPORTED || state != CQL_CONNECTION_READY) {
        cql_connection_break(connection, "protocol: an answer of kind %d to the handshake",
                             (int)response->kind);
    }
}

static bool has_shape(struct cql_columns columns, const struct cql_shape *shapes, size_t count,
                      struct fault *fault) {
    if (columns.count != count || (count > 0 && !columns.described)) {
        fault_set(fault, "%u columns where %zu were expected", columns.count, count);
        return false;
    }
    struct cql_column column;
    for (const struct cql_shape *shape = shapes; cql_columns_next(&columns, &column); shape++) {
        if ((shape->name != NULL && !slice_equal(column.name, slice_from_text(shape->name))) ||
            column.type != shape->type || column.element != shape->element) {
            fault_set(fault,
                      "column %.*s has type 0x%x/0x%x where %s of type 0x%x/0x%x was expected",
                      (int)bytes_min_size(column.name.size, 64), column.name.data, column.type,
                      column.element, shape->name == NULL ? "one" : shape->name, shape->type,
                      shape->element);
            return false;
        }
    }
    return true;
}

static void handle_prepared(struct cql_connection *connection, size_t statement,
                            const struct cql_response *response) {
    const struct cql_statement *expected = &connection->setup.statements[statement];
    struct cql_prepared_statement *prepared = &connection->prepared[statement];
    struct fault fault;
    if (response->kind == CQL_RESPONSE_ERROR) {
        break_with_error(connection, "a statement cannot be prepared", &response->error);
        return;
    }
    if (response->kind != CQL_RESPONSE_PREPARED) {
        cql_connection_break(connection, "protocol: an answer of kind %d to PREPARE",
                             (int)response->kind);
        return;
    }
    struct slice id = response->prepared.id;
    if (id.size == 0 || id.size > sizeof(prepared->id)) {
        cql_connection_break(connection, "protocol: a statement's id of %zu bytes", id.size);
        return;
    }
    if (!has_shape(response->prepared.binds, expected->binds, expected->bind_count, &fault) ||
        !has_shape(response->prepared.results, expected->results, expected->result_count, &fault)) {
        cql_connection_break(connection, "the table is not what this program knows: %s",
                             fault.text);
        return;
    }
    memcpy(prepared->id, id.data, id.size);
    prepared->size = (uint8_t)id.size;
    prepared->ready = true;
    become_ready(connection);
}

/* --- Requests. --- */

struct text *cql_connection_begin(struct cql_connection *connection, enum cql_opcode opcode,
                                  size_t statement, size_t body_bytes) {
    if (connection->state != CQL_CONNECTION_READY || connection->free_count == 0) {
        return NULL;
    }
    size_t wanted = CQL_HEADER_BYTES + body_bytes + connection->out_reserve;
    make_room(connection, wanted);
    if (connection->out.capacity - connection->out.size < wanted) {
        return NULL;
    }
    connection->begun_stream = connection->free_streams[connection->free_count - 1];
    connection->begun_statement = (uint8_t)statement;
    connection->begun_at =
        cql_request_begin(&connection->out, opcode, (int16_t)connection->begun_stream);
    return &connection->out;
}

void cql_connection_commit(struct cql_connection *connection, void *tag, int64_t now_us,
                           int64_t deadline_us) {
    bool whole = cql_request_end(&connection->out, connection->begun_at);
    assert(whole); /* the body is at most what begin was told */
    connection->free_count--;
    connection->streams[connection->begun_stream] = (struct cql_stream){
        .tag = tag,
        .asked_us = now_us,
        .deadline_us = deadline_us,
        .end_offset = written_offset(connection),
        .state = CQL_STREAM_WAITING,
        .statement = connection->begun_statement,
    };
    note_deadline(connection, deadline_us);
}

static void release_stream(struct cql_connection *connection, size_t number) {
    connection->streams[number].state = CQL_STREAM_FREE;
    connection->free_streams[connection->free_count++] = (uint16_t)number;
}

static void handle_request_answer(struct cql_connection *connection, size_t number,
                                  struct cql_response *response, int64_t now_us) {
    struct cql_stream stream = connection->streams[number];
    bool forgotten =
        response->kind == CQL_RESPONSE_ERROR && response->error.code == CQL_ERROR_UNPREPARED;
    release_stream(connection, number);
    if (stream.state == CQL_STREAM_ABANDONED) {
        metric_add(&connection->setup.metrics->late_answers_total, 1);
    }
    if (forgotten && stream.statement < connection->setup.statement_count) {
        metric_add(&connection->setup.metrics->unprepared_total, 1);
        prepare(connection, stream.statement, now_us);
    }
    if (stream.state == CQL_STREAM_WAITING &&
        !connection->setup.done(connection->setup.context, stream.tag, CQL_ANSWERED, response)) {
        cql_connection_break(connection, "protocol: an answer of kind %d to another question",
                             (int)response->kind);
    }
}

/* --- Bytes. --- */

static void handle_frame(struct cql_connection *connection, const struct cql_header *header,
                         struct slice body, int64_t now_us) {
    struct cql_response response;
    struct fault fault;
    if (!cql_response_read(header, body, &response, &fault)) {
        cql_connection_break(connection, "protocol: %s", fault.text);
        return;
    }
    if (header->version != CQL_VERSION) {
        if (response.kind == CQL_RESPONSE_ERROR) {
            break_with_error(connection, "it does not speak protocol version 4", &response.error);
        } else {
            cql_connection_break(connection, "protocol: an answer in version %u", header->version);
        }
        return;
    }
    if (header->stream == CQL_STREAM_EVENT && response.kind == CQL_RESPONSE_EVENT) {
        return; /* nobody asked for events, and nobody minds */
    }
    size_t number = (uint16_t)header->stream;
    if (number >= stream_count(connection) ||
        connection->streams[number].state == CQL_STREAM_FREE) {
        if (response.kind == CQL_RESPONSE_ERROR) {
            break_with_error(connection, "an error without a question", &response.error);
        } else {
            cql_connection_break(connection,
                                 "protocol: an answer on stream %d, which is not in use",
                                 header->stream);
        }
        return;
    }
    metric_add(&connection->setup.metrics->warnings_total, response.warning_count);
    if (number < control_stream(connection)) {
        handle_request_answer(connection, number, &response, now_us);
        return;
    }
    connection->streams[number].state = CQL_STREAM_FREE;
    if (number == control_stream(connection)) {
        handle_control(connection, &response, now_us);
    } else {
        handle_prepared(connection, number - control_stream(connection) - 1, &response);
    }
}

struct slice cql_connection_output(const struct cql_connection *connection) {
    if (!is_alive(connection)) {
        return (struct slice){"", 0};
    }
    return (struct slice){connection->out.data + connection->out_sent,
                          connection->out.size - connection->out_sent};
}

void cql_connection_sent(struct cql_connection *connection, size_t size) {
    connection->out_sent += size;
    connection->sent_offset += size;
    assert(connection->out_sent <= connection->out.size);
    if (connection->out_sent == connection->out.size) {
        connection->out.size = 0;
        connection->out_sent = 0;
    }
}

char *cql_connection_space(struct cql_connection *connection, size_t *size) {
    *size = CQL_HEADER_BYTES + CQL_BODY_BYTES_MAX - connection->in_size;
    return connection->in + connection->in_size;
}

/** Takes one frame out of `bytes`; returns its size, 0 where it is not whole. */
static size_t take_frame(struct cql_connection *connection, struct slice bytes, int64_t now_us) {
    struct cql_header header;
    switch (cql_header_read(bytes, CQL_BODY_BYTES_MAX, &header)) {
    case CQL_HEADER_INCOMPLETE:
        return 0;
    case CQL_HEADER_FOREIGN:
        cql_connection_break(connection,
                             "protocol: it speaks another one: its answer begins with 0x%02x",
                             (unsigned char)bytes.data[0]);
        return 0;
    case CQL_HEADER_BAD_FLAGS:
        cql_connection_break(connection, "protocol: flags 0x%02x that nobody asked for",
                             header.flags);
        return 0;
    case CQL_HEADER_TOO_LONG:
        cql_connection_break(connection, "protocol: a message of %u bytes", header.body_bytes);
        return 0;
    case CQL_HEADER_OK:
        break;
    }
    if (bytes.size - CQL_HEADER_BYTES < header.body_bytes) {
        return 0;
    }
    handle_frame(connection, &header,
                 (struct slice){bytes.data + CQL_HEADER_BYTES, header.body_bytes}, now_us);
    return CQL_HEADER_BYTES + header.body_bytes;
}

void cql_connection_received(struct cql_connection *connection, size_t size, int64_t now_us) {
    connection->in_size += size;
    connection->received_us = now_us;
    size_t at = 0;
    size_t taken;
    do {
        struct slice bytes = {connection->in + at, connection->in_size - at};
        taken = is_alive(connection) ? take_frame(connection, bytes, now_us) : 0;
        at += taken;
    } while (taken > 0);
    memmove(connection->in, connection->in + at, connection->in_size - at);
    connection->in_size -= at;
}

/* --- Time. --- */

/** Gives one request up: its number stays taken until the late answer. */
static void abandon(struct cql_connection *connection, struct cql_stream *stream) {
    stream->state = CQL_STREAM_ABANDONED;
    metric_add(&connection->setup.metrics->time_outs_total, 1);
    (void)connection->setup.done(connection->setup.context, stream->tag, CQL_TIMED_OUT, NULL);
}

/** Gives up what is out of time. A server that had its full time for a request and has said nothing
 *  at all since, or leaves half of the streams unanswered for that long, is not there any more. */
static void expire(struct cql_connection *connection, int64_t now_us) {
    bool silent = false;
    size_t overdue = 0;
    connection->earliest_us = INT64_MAX;
    for (size_t i = 0; i < stream_count(connection); i++) {
        struct cql_stream *stream = &connection->streams[i];
        if (stream->state == CQL_STREAM_WAITING && stream->deadline_us > now_us) {
            note_deadline(connection, stream->deadline_us);
            continue;
        }
        if (stream->state == CQL_STREAM_WAITING && i >= control_stream(connection)) {
            silent = true; /* without these it cannot be worked with */
        } else if (stream->state == CQL_STREAM_WAITING) {
            abandon(connection, stream);
        }
        if (stream->state == CQL_STREAM_ABANDONED) {
            int64_t due_us = stream->asked_us + connection->setup.answer_wait_us;
            if (due_us > now_us) {
                note_deadline(connection, due_us);
            } else {
                overdue++;
                silent = silent || connection->received_us <= stream->asked_us;
            }
        }
    }
    if (silent) {
        cql_connection_break(connection, "it does not answer");
    } else if (overdue > connection->setup.streams / 2) {
        cql_connection_break(connection, "it left %zu requests unanswered", overdue);
    }
}

void cql_connection_tick(struct cql_connection *connection, int64_t now_us) {
    if (is_alive(connection) && connection->state != CQL_CONNECTION_READY &&
        now_us >= connection->handshake_deadline_us) {
        cql_connection_break(connection, "the handshake is not done in time");
    }
    if (is_alive(connection) && now_us >= connection->earliest_us) {
        expire(connection, now_us);
    }
    if (connection->state == CQL_CONNECTION_READY &&
        now_us >= connection->received_us + CQL_HEARTBEAT_US &&
        connection->streams[control_stream(connection)].state == CQL_STREAM_FREE) {
        size_t begin = begin_own(connection, CQL_OPTIONS, control_stream(connection),
                                 CQL_HEADER_BYTES, now_us);
        end_own(connection, begin);
    }
}

int64_t cql_connection_next_us(const struct cql_connection *connection) {
    if (!is_alive(connection)) {
        return INT64_MAX;
    }
    int64_t next_us = connection->earliest_us;
    int64_t other_us = connection->state != CQL_CONNECTION_READY ? connection->handshake_deadline_us
                       : connection->streams[control_stream(connection)].state == CQL_STREAM_FREE
                           ? connection->received_us + CQL_HEARTBEAT_US
                           : INT64_MAX;
    return next_us < other_us ? next_us : other_us;
}
