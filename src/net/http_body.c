#include "net/http_internal.h"

#include <assert.h>

/* Room for the framing of a chunked body beside its data. */
#define CHUNK_ROOM 512

static const struct slice continue_line = SLICE_LITERAL("HTTP/1.1 100 Continue\r\n\r\n");

/* The input buffer */

void http_input_compact(struct http_connection *connection) {
    uint32_t distance = connection->begin;
    memmove(connection->input, connection->input + distance, connection->end - distance);
    connection->begin = 0;
    connection->body_at -= distance < connection->body_at ? distance : connection->body_at;
    connection->end -= distance;
    http_head_rebase(&connection->head, -(ptrdiff_t)distance);
}

size_t http_input_fill(struct http_connection *connection) {
    if (!connection->base.readable) {
        return 0;
    }
    if (connection->input == NULL) {
        connection->input = buffer_pool_take(&connection->server->set.input_pool);
        assert(connection->input != NULL); /* there is one for each connection */
        connection->begin = 0;
        connection->end = 0;
    }
    size_t got = connection_receive(&connection->base, connection->input + connection->end,
                                    HTTP_INPUT_BYTES - connection->end);
    connection->end += (uint32_t)got;
    return got;
}

void http_input_release(struct http_connection *connection) {
    if (connection->input != NULL) {
        buffer_pool_give(&connection->server->set.input_pool, connection->input);
        connection->input = NULL;
    }
    connection->begin = 0;
    connection->end = 0;
}

/* Bodies */

void http_body_release(struct http_connection *connection) {
    struct http_body *body = &connection->body;
    if (body->pool != NULL) {
        buffer_pool_give(body->pool, body->data);
    }
    memset(body, 0, sizeof(*body));
}

/** Moves the body so far into a buffer for `capacity` bytes. False, and refused, where none is
 *  free. */
static bool take_body_buffer(struct http_connection *connection, size_t capacity) {
    struct http_body *body = &connection->body;
    struct buffer_pool *pool;
    char *data = buffer_pools_take_large(&connection->server->set.pools, capacity, &pool);
    if (data == NULL) {
        http_connection_refuse(connection, 503, "no buffer is free for a body of this size", true);
        return false;
    }
    memcpy(data, body->data, body->size);
    if (body->pool != NULL) {
        buffer_pool_give(body->pool, body->data);
    } else {
        connection->end = connection->body_at; /* the input buffer is free for what follows */
    }
    body->pool = pool;
    body->data = data;
    body->capacity = pool->buffer_bytes;
    return true;
}

/** Places a body of known size: behind its head where it fits, else in a buffer of its own. */
static bool place_body(struct http_connection *connection, size_t length) {
    struct http_body *body = &connection->body;
    size_t head_bytes = connection->body_at - connection->begin;
    if (head_bytes + length <= HTTP_INPUT_BYTES) {
        if (connection->body_at + length > HTTP_INPUT_BYTES) {
            http_input_compact(connection);
            body->data = connection->input + connection->body_at;
        }
        connection->next = connection->body_at + (uint32_t)length;
        return true;
    }
    body->size = connection->end - connection->body_at;
    connection->next = connection->body_at;
    return take_body_buffer(connection, length);
}

void http_body_begin(struct http_connection *connection, size_t size_max) {
    const struct http_head *head = &connection->head;
    struct http_body *body = &connection->body;
    connection->phase = PHASE_BODY;
    body->data = connection->input + connection->body_at;
    body->capacity = HTTP_INPUT_BYTES - connection->body_at;
    body->size_max = bytes_min_size(size_max, HTTP_BODY_BYTES_MAX);
    if (head->chunked) {
        http_chunks_init(&connection->chunks, body->size_max);
    } else if (head->content_length > body->size_max) {
        bool closes = head->expect_continue || head->content_length > HTTP_DISCARD_BYTES_MAX;
        http_connection_refuse(connection, 413, "the body is too large", closes);
        return;
    } else if (!place_body(connection, (size_t)head->content_length)) {
        return;
    }
    if (head->expect_continue && connection->end == connection->body_at && body->size == 0) {
        bool room = http_output_reserve(connection, continue_line.size);
        assert(room); /* http_output_is_high left some over */
        output_append(&connection->base.output, continue_line);
        connection_flush_soon(&connection->base);
    }
}

/** Content-Length, in the input buffer. */
static bool fixed_step_in_input(struct http_connection *connection) {
    if (connection->end < connection->next) {
        return http_input_fill(connection) > 0;
    }
    struct slice body = {connection->body.data, connection->next - connection->body_at};
    http_connection_hand_over(connection, body);
    return true;
}

/** Content-Length, in a buffer of its own: what follows the body lands in the input buffer. */
static bool fixed_step_in_buffer(struct http_connection *connection) {
    struct http_body *body = &connection->body;
    size_t missing = (size_t)connection->head.content_length - body->size;
    if (missing == 0) {
        http_connection_hand_over(connection, (struct slice){body->data, body->size});
        return true;
    }
    size_t room = HTTP_INPUT_BYTES - connection->end;
    struct iovec parts[2] = {{body->data + body->size, missing},
                             {connection->input + connection->end, room}};
    size_t got = connection_receive_parts(&connection->base, parts, 2, missing + room);
    size_t of_body = bytes_min_size(got, missing);
    body->size += of_body;
    connection->end += (uint32_t)(got - of_body);
    return got > 0;
}

/** Decodes `size` bytes that were read to the end of what is decoded. True when the body is whole
 *  or refused; `*taken` is how many of them were its. */
static bool decode(struct http_connection *connection, size_t size, size_t *taken) {
    struct http_body *body = &connection->body;
    char *raw = body->data + body->size;
    size_t made;
    enum http_parse parsed = http_chunks_decode(&connection->chunks, raw, size, raw, taken, &made);
    body->size += made;
    if (parsed == HTTP_PARSE_REFUSED) {
        const struct http_refusal *refusal = &connection->chunks.refusal;
        connection_count(&connection->server->metrics.malformed_total, 1);
        http_connection_refuse(connection, refusal->status, refusal->detail, true);
    }
    return parsed != HTTP_PARSE_MORE;
}

/** Decodes what lies in the input buffer. */
static bool chunked_step_in_input(struct http_connection *connection) {
    struct http_body *body = &connection->body;
    uint32_t raw_at = connection->body_at + (uint32_t)body->size;
    size_t taken;
    bool over = decode(connection, connection->end - raw_at, &taken);
    if (connection->phase != PHASE_BODY) {
        return true; /* refused */
    }
    if (!over) {
        connection->end = connection->body_at + (uint32_t)body->size;
        return false;
    }
    connection->next = raw_at + (uint32_t)taken;
    http_connection_hand_over(connection, (struct slice){body->data, body->size});
    return true;
}

/** Decodes `size` bytes that were read into the body's own buffer; what follows the body is moved
 *  to the input buffer. */
static bool chunked_step_in_buffer(struct http_connection *connection, size_t size) {
    struct http_body *body = &connection->body;
    const char *raw = body->data + body->size;
    size_t taken;
    bool over = decode(connection, size, &taken);
    if (!over || connection->phase != PHASE_BODY) {
        return true;
    }
    assert(size - taken <= HTTP_INPUT_BYTES - connection->end);
    memcpy(connection->input + connection->end, raw + taken, size - taken);
    connection->next = connection->body_at;
    connection->end += (uint32_t)(size - taken);
    http_connection_hand_over(connection, (struct slice){body->data, body->size});
    return true;
}

static bool chunked_step(struct http_connection *connection) {
    struct http_body *body = &connection->body;
    if (body->pool == NULL && connection->end > connection->body_at + body->size) {
        if (chunked_step_in_input(connection)) {
            return true;
        }
    }
    size_t wanted = (size_t)connection->chunks.chunk_left + CHUNK_ROOM;
    if (body->capacity - body->size < wanted &&
        !take_body_buffer(connection, body->size + wanted)) {
        return true;
    }
    if (body->pool == NULL) {
        return http_input_fill(connection) > 0;
    }
    /* No more than what follows the body, if it ends in these bytes, finds room in the input. */
    size_t room = body->capacity - body->size;
    size_t spare = HTTP_INPUT_BYTES - connection->end;
    size_t got =
        connection_receive(&connection->base, body->data + body->size,
                           bytes_min_size(room, (size_t)connection->chunks.chunk_left + spare));
    return got > 0 && chunked_step_in_buffer(connection, got);
}

bool http_body_step(struct http_connection *connection) {
    if (connection->head.chunked) {
        return chunked_step(connection);
    }
    return connection->body.pool == NULL ? fixed_step_in_input(connection)
                                         : fixed_step_in_buffer(connection);
}

/* What is read over */

bool http_discard_step(struct http_connection *connection) {
    if (connection->base.discard_left == 0) {
        connection->begin = connection->next;
        connection->phase = PHASE_HEAD;
        return true;
    }
    return connection_discard(&connection->base) > 0;
}
