#include "net/http_internal.h"

#include <assert.h>

#define STATUS_MAX 505
#define STATUS(code, reason) [code] = SLICE_LITERAL("HTTP/1.1 " #code " " reason "\r\n")

static const struct slice status_lines[STATUS_MAX + 1] = {
    STATUS(200, "OK"),
    STATUS(201, "Created"),
    STATUS(202, "Accepted"),
    STATUS(204, "No Content"),
    STATUS(304, "Not Modified"),
    STATUS(400, "Bad Request"),
    STATUS(401, "Unauthorized"),
    STATUS(403, "Forbidden"),
    STATUS(404, "Not Found"),
    STATUS(405, "Method Not Allowed"),
    STATUS(406, "Not Acceptable"),
    STATUS(408, "Request Timeout"),
    STATUS(409, "Conflict"),
    STATUS(410, "Gone"),
    STATUS(411, "Length Required"),
    STATUS(412, "Precondition Failed"),
    STATUS(413, "Content Too Large"),
    STATUS(414, "URI Too Long"),
    STATUS(415, "Unsupported Media Type"),
    STATUS(417, "Expectation Failed"),
    STATUS(422, "Unprocessable Content"),
    STATUS(428, "Precondition Required"),
    STATUS(429, "Too Many Requests"),
    STATUS(431, "Request Header Fields Too Large"),
    STATUS(500, "Internal Server Error"),
    STATUS(501, "Not Implemented"),
    STATUS(503, "Service Unavailable"),
    STATUS(504, "Gateway Timeout"),
    STATUS(505, "HTTP Version Not Supported"),
};

/* More than all of an answer's head that does not come from the handler. */
#define FRAME_BYTES_MAX 256

static const struct slice line_end = SLICE_LITERAL("\r\n");
static const struct slice last_chunk = SLICE_LITERAL("0\r\n\r\n");

/** Around the data of one http_stream_write: its size in hexadecimal and two line ends; and room
 *  for the last chunk, so that a stream can always be ended. */
#define CHUNK_FRAME_BYTES (16 + 2 + 2 + 5)

/* The output */

bool http_output_reserve(struct http_connection *connection, size_t size) {
    return output_reserve(&connection->base.output, &connection->server->set.pools, size);
}

bool http_output_is_high(const struct http_connection *connection) {
    const struct output *output = &connection->base.output;
    return output->pool != NULL &&
           (output->pool->buffer_bytes != BUFFER_SMALL_BYTES ||
            BUFFER_SMALL_BYTES - output_pending(output) < HTTP_ANSWER_BYTES_SURE + 64);
}

/* The head */

static size_t head_bytes_max(const struct http_answer *answer) {
    size_t size = FRAME_BYTES_MAX + answer->content_type.size;
    for (size_t i = 0; i < answer->field_count; i++) {
        size += answer->fields[i].name.size + answer->fields[i].value.size + 4;
    }
    return size;
}

static void append_line(struct http_connection *connection, struct slice name, struct slice value) {
    output_append(&connection->base.output, name);
    output_append(&connection->base.output, SLICE_LITERAL(": "));
    output_append(&connection->base.output, value);
    output_append(&connection->base.output, line_end);
}

static void count_answer(struct http_metrics *metrics, unsigned status) {
    _Atomic uint64_t *counters[] = {&metrics->answers_2xx_total, &metrics->answers_3xx_total,
                                    &metrics->answers_4xx_total, &metrics->answers_5xx_total};
    connection_count(counters[status / 100 - 2], 1);
}

/** True where bytes of a next request are there, or can be read now. */
static bool has_more_input(struct http_connection *connection) {
    if (connection->base.discard_left > 0 || connection->next < connection->end) {
        return true;
    }
    connection->base.reads_left++;
    return connection->input != NULL && http_input_fill(connection) > 0;
}

/** The lines of every answer, up to its length. The room was reserved. */
static void append_head(struct http_connection *connection, const struct http_answer *answer) {
    assert(answer->status >= 200 && answer->status <= STATUS_MAX &&
           status_lines[answer->status].size > 0);
    count_answer(&connection->server->metrics, answer->status);
    connection->answer_closes |= !connection->head.keep_alive;
    if (connection->server->set.draining && !connection->answer_closes) {
        connection->answer_closes = !has_more_input(connection);
    }
    output_append(&connection->base.output, status_lines[answer->status]);
    output_append(
        &connection->base.output,
        http_date_line(&connection->server->date, loop_now_us(connection->server->set.loop)));
    if (answer->content_type.size > 0) {
        append_line(connection, SLICE_LITERAL("Content-Type"), answer->content_type);
    }
    for (size_t i = 0; i < answer->field_count; i++) {
        append_line(connection, answer->fields[i].name, answer->fields[i].value);
    }
    if (connection->answer_closes) {
        append_line(connection, SLICE_LITERAL("Connection"), SLICE_LITERAL("close"));
    }
}

/* Answers of a known length */

static size_t count_digits(size_t value) {
    size_t digits = 1;
    while (value >= 10) {
        value /= 10;
        digits++;
    }
    return digits;
}

static void write_digits(char *at, size_t digits, size_t value) {
    while (digits > 0) {
        digits--;
        at[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

bool http_respond_begin(struct http_exchange *exchange, const struct http_answer *answer,
                        size_t body_bytes_max, struct text *body) {
    struct http_connection *connection = http_connection_of(exchange);
    struct output *output = &connection->base.output;
    struct http_answer_room *room = &connection->answer;
    size_t alignment = answer->aligned ? CACHE_LINE_BYTES : 1;
    assert(!exchange->streaming && !room->begun);
    if (!exchange->active ||
        !http_output_reserve(connection, head_bytes_max(answer) + alignment + body_bytes_max)) {
        return false;
    }
    append_head(connection, answer);
    bool bodiless = answer->status == 204 || answer->status == 304;
    *room = (struct http_answer_room){.body_bytes_max = body_bytes_max, .begun = true};
    room->body_sent = !bodiless && connection->head.method != HTTP_METHOD_HEAD;
    if (!bodiless) {
        output_append(&connection->base.output, SLICE_LITERAL("Content-Length: "));
        room->digits_at = output->end;
        room->digits = count_digits(body_bytes_max);
        output->end += room->digits;
        output_append(&connection->base.output, line_end);
    }
    output_append(&connection->base.output, line_end);
    room->body_at = bytes_align_up((uintptr_t)(output->data + output->end), alignment) -
                    (uintptr_t)output->data;
    size_t distance = room->body_at - output->end;
    if (distance > 0) {
        output_shift(output, output->end, distance);
        output->end += distance;
        room->digits_at += room->digits > 0 ? distance : 0;
    }
    *body = text_over(output->data + room->body_at, body_bytes_max);
    return true;
}

/** Writes the length into the room for it. Where it has fewer digits than there is room for, what
 *  is before or behind the gap moves, whichever is smaller. */
static void write_length(struct http_connection *connection, size_t length) {
    struct output *output = &connection->base.output;
    struct http_answer_room *room = &connection->answer;
    size_t digits = count_digits(length);
    size_t gap = room->digits - digits;
    if (gap > 0) {
        size_t before = room->digits_at - output->begin;
        size_t behind_at = room->digits_at + room->digits;
        if (before < output->end - behind_at) {
            output_shift(output, room->digits_at, gap);
            room->digits_at += gap;
        } else {
            memmove(output->data + behind_at - gap, output->data + behind_at,
                    output->end - behind_at);
            output->end -= gap;
        }
    }
    write_digits(output->data + room->digits_at, digits, length);
}

void http_respond_end(struct http_exchange *exchange, size_t body_bytes) {
    struct http_connection *connection = http_connection_of(exchange);
    struct http_answer_room *room = &connection->answer;
    if (!exchange->active) {
        return;
    }
    assert(room->begun && body_bytes <= room->body_bytes_max);
    if (room->body_sent) {
        connection->base.output.end = room->body_at + body_bytes;
    }
    if (room->digits > 0) {
        write_length(connection, body_bytes);
    }
    room->begun = false;
    connection_flush_soon(&connection->base);
    http_connection_exchange_over(connection);
}

bool http_respond(struct http_exchange *exchange, const struct http_answer *answer,
                  struct slice body) {
    struct text room;
    if (!http_respond_begin(exchange, answer, body.size, &room)) {
        return false;
    }
    text_append_slice(&room, body);
    http_respond_end(exchange, room.size);
    return true;
}

void http_respond_plain(struct http_exchange *exchange, unsigned status, const char *detail) {
    struct http_answer answer = {.status = status, .content_type = SLICE_LITERAL("text/plain")};
    bool answered = http_respond(exchange, &answer, slice_from_text(detail));
    assert(answered || !exchange->active); /* HTTP_ANSWER_BYTES_SURE */
}

const struct http_head *http_exchange_head(const struct http_exchange *exchange) {
    return &http_connection_of(exchange)->head;
}

/* Streams */

bool http_stream_begin(struct http_exchange *exchange, const struct http_answer *answer) {
    struct http_connection *connection = http_connection_of(exchange);
    assert(!exchange->streaming);
    if (!exchange->active) {
        return false;
    }
    bool reserved = http_output_reserve(connection, head_bytes_max(answer));
    assert(reserved); /* HTTP_ANSWER_BYTES_SURE */
    append_head(connection, answer);
    if (connection->head.minor_version == 1) {
        append_line(connection, SLICE_LITERAL("Transfer-Encoding"), SLICE_LITERAL("chunked"));
    }
    output_append(&connection->base.output, line_end);
    connection_flush_soon(&connection->base);
    if (connection->head.method == HTTP_METHOD_HEAD) {
        http_connection_exchange_over(connection);
        return false;
    }
    exchange->streaming = true;
    connection->server->stream_count++;
    connection->room_wanted = false;
    connection->room_due = false;
    connection->phase = PHASE_STREAM;
    if (!connection->base.driving) {
        connection_resume_soon(&connection->base);
    }
    return true;
}

size_t http_stream_room(struct http_exchange *exchange) {
    struct http_connection *connection = http_connection_of(exchange);
    if (!exchange->streaming) {
        return 0;
    }
    size_t used = output_pending(&connection->base.output) + CHUNK_FRAME_BYTES;
    size_t room = used < BUFFER_SMALL_BYTES ? BUFFER_SMALL_BYTES - used : 0;
    connection->room_wanted |= room < BUFFER_SMALL_BYTES / 2;
    return room;
}

static void append_chunk_size(struct http_connection *connection, size_t size) {
    char digits[16];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[size % 16];
        size /= 16;
    } while (size > 0);
    output_append(&connection->base.output, (struct slice){digits + at, sizeof(digits) - at});
    output_append(&connection->base.output, line_end);
}

bool http_stream_write(struct http_exchange *exchange, struct slice data) {
    struct http_connection *connection = http_connection_of(exchange);
    if (!exchange->streaming) {
        return false;
    }
    if (data.size > http_stream_room(exchange)) {
        connection->room_wanted = true;
        return false;
    }
    if (data.size == 0) {
        return true; /* an empty chunk would be the last */
    }
    bool reserved = http_output_reserve(connection, data.size + CHUNK_FRAME_BYTES);
    assert(reserved); /* a connection has its output buffer to itself */
    bool chunked = connection->head.minor_version == 1;
    if (chunked) {
        append_chunk_size(connection, data.size);
    }
    output_append(&connection->base.output, data);
    if (chunked) {
        output_append(&connection->base.output, line_end);
    }
    connection_flush_soon(&connection->base);
    return true;
}

void http_stream_end(struct http_exchange *exchange) {
    struct http_connection *connection = http_connection_of(exchange);
    if (!exchange->streaming) {
        return;
    }
    if (connection->head.minor_version == 1) {
        bool reserved = http_output_reserve(connection, last_chunk.size);
        assert(reserved); /* CHUNK_FRAME_BYTES left room */
        output_append(&connection->base.output, last_chunk);
    }
    connection_flush_soon(&connection->base);
    http_connection_exchange_over(connection);
}
