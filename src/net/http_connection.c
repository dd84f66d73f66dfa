#include "net/http_internal.h"

#include <assert.h>

static void connection_ready(struct loop_source *source, uint32_t events);
static void time_is_up(struct timer *timer);

/* Beginning and end */

struct http_connection *http_connection_open(struct http_server *server, int fd) {
    static const struct connection_callbacks callbacks = {connection_ready, time_is_up};
    uint32_t index;
    if (!connection_set_next_free(&server->set, &index)) {
        return NULL;
    }
    struct http_connection *connection = &server->connections[index];
    assert(connection->phase == PHASE_FREE);
    uint32_t generation = connection->exchange.generation;
    memset(connection, 0, offsetof(struct http_connection, head));
    connection->exchange.generation = generation;
    connection->server = server;
    if (!connection_open(&connection->base, &server->set, fd, &callbacks)) {
        return NULL;
    }
    connection->phase = PHASE_HEAD;
    http_parser_init(&connection->parser, &server->limits);
    return connection;
}

void http_connection_close(struct http_connection *connection) {
    struct http_server *server = connection->server;
    assert(connection->phase != PHASE_FREE && !connection->exchange.active);
    http_body_release(connection);
    http_input_release(connection);
    connection_close(&connection->base, (uint32_t)(connection - server->connections));
    connection->phase = PHASE_FREE;
}

/** From here on no handle and no call reaches the exchange. */
static void end_exchange(struct http_connection *connection) {
    struct http_exchange *exchange = &connection->exchange;
    connection->server->stream_count -= exchange->streaming ? 1 : 0;
    exchange->active = false;
    exchange->streaming = false;
    exchange->generation++;
}

/** Tells the handler that nobody waits for this answer any more. */
static void abandon_exchange(struct http_connection *connection) {
    struct http_handler *handler = connection->server->handler;
    if (connection->exchange.active) {
        end_exchange(connection);
        handler->ops->gone(handler, &connection->exchange);
    }
}

/* Exchanges */

static void begin_exchange(struct http_connection *connection) {
    struct http_exchange *exchange = &connection->exchange;
    assert(!exchange->active);
    uint32_t generation = exchange->generation + 1;
    memset(exchange, 0, sizeof(*exchange));
    exchange->generation = generation;
    exchange->active = true;
    connection->base.limit = LIMIT_NONE;
    connection->base.discard_left = 0;
}

void http_connection_exchange_over(struct http_connection *connection) {
    assert(connection->exchange.active);
    end_exchange(connection);
    http_body_release(connection);
    if (connection->answer_closes) {
        connection->phase = PHASE_CLOSING;
    } else {
        connection->phase = connection->base.discard_left > 0 ? PHASE_DISCARD : PHASE_HEAD;
    }
    if (!connection->base.lingers && connection->phase != PHASE_DISCARD) {
        connection->begin = connection->next;
    }
    http_parser_init(&connection->parser, &connection->server->limits);
    if (!connection->base.driving) {
        connection_resume_soon(&connection->base);
    }
}

void http_connection_refuse(struct http_connection *connection, unsigned status, const char *detail,
                            bool closes) {
    struct http_handler *handler = connection->server->handler;
    struct http_exchange *exchange = &connection->exchange;
    if (!exchange->active) {
        begin_exchange(connection);
    }
    connection->answer_closes |= closes;
    connection->base.lingers |= closes;
    if (handler->ops->error != NULL) {
        handler->ops->error(handler, exchange, status, detail);
    }
    if (exchange->active) {
        http_respond_plain(exchange, status, detail);
    }
}

/** What of the body is not in the input buffer yet. A refused body ends where `next` is set. */
static void prepare_discard(struct http_connection *connection) {
    uint64_t length = connection->head.content_length;
    size_t present = connection->end - connection->body_at;
    connection->next = connection->body_at + (uint32_t)bytes_min_u64(length, present);
    connection->base.discard_left = length > present ? (size_t)(length - present) : 0;
}

void http_connection_hand_over(struct http_connection *connection, struct slice body) {
    struct http_server *server = connection->server;
    connection->phase = PHASE_WAIT;
    connection->base.discard_left = 0;
    server->set.handed++;
    server->handler->ops->request(server->handler, &connection->exchange, &connection->head, body);
}

/** The head is whole: asks the handler, and goes on to the body or the answer. */
static void judge_head(struct http_connection *connection) {
    struct http_handler *handler = connection->server->handler;
    const struct http_head *head = &connection->head;
    bool has_body = head->chunked || head->content_length > 0;
    bool skippable =
        !head->chunked && !head->expect_continue && head->content_length <= HTTP_DISCARD_BYTES_MAX;
    connection_count(&connection->server->metrics.requests_total, 1);
    begin_exchange(connection);
    connection->phase = PHASE_WAIT;
    connection->body_at = connection->begin + connection->parser.head_bytes;
    connection->next = connection->body_at;
    connection->answer_closes = has_body && !skippable;
    connection->base.lingers = connection->answer_closes;
    prepare_discard(connection);
    size_t body_bytes_max = handler->ops->head(handler, &connection->exchange, head);
    if (!connection->exchange.active) {
        return;
    }
    connection->answer_closes = false;
    connection->base.lingers = false;
    if (has_body) {
        http_body_begin(connection, body_bytes_max);
    } else {
        http_connection_hand_over(connection, (struct slice){NULL, 0});
    }
}

/* Steps. Each returns true when there may be more to do at once. */

/** Nothing to parse is there: reads, or finds that the connection has come to its end. */
static bool read_head(struct http_connection *connection) {
    if (connection->end == HTTP_INPUT_BYTES && connection->begin > 0) {
        http_input_compact(connection);
    }
    if (http_input_fill(connection) > 0) {
        return true;
    }
    bool idle = connection->begin == connection->end;
    if (connection->base.ended ||
        (idle && !connection->base.readable && connection->server->set.draining)) {
        connection->phase = PHASE_CLOSING;
    }
    return false;
}

static bool head_step(struct http_connection *connection) {
    if (http_output_is_high(connection) && !connection->base.blocked) {
        connection_send(&connection->base);
    }
    if (connection->base.blocked || connection->base.broken) {
        connection->stalled = true;
        return false;
    }
    enum http_parse parsed = HTTP_PARSE_MORE;
    if (connection->begin < connection->end) {
        parsed = http_parser_run(&connection->parser, &connection->head,
                                 connection->input + connection->begin,
                                 connection->end - connection->begin);
    } else {
        connection->begin = 0;
        connection->end = 0;
    }
    if (parsed == HTTP_PARSE_MORE) {
        return read_head(connection);
    }
    if (parsed == HTTP_PARSE_REFUSED) {
        const struct http_refusal *refusal = &connection->parser.refusal;
        connection_count(&connection->server->metrics.malformed_total, 1);
        http_connection_refuse(connection, refusal->status, refusal->detail, true);
    } else {
        judge_head(connection);
    }
    return true;
}

/** The peer's bytes ended in the middle of a body. What was answered before still leaves. */
static void cut_short(struct http_connection *connection) {
    connection->phase = PHASE_CLOSING;
    http_body_release(connection);
    abandon_exchange(connection);
}

static bool body_step(struct http_connection *connection) {
    bool more = http_body_step(connection);
    if (connection->phase == PHASE_BODY && connection->base.ended) {
        cut_short(connection);
    }
    return more;
}

static bool stream_step(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (connection->base.peer_closing && output_pending(&connection->base.output) == 0) {
        connection->base.broken = true;
    } else if (connection->room_due) {
        connection->room_due = false;
        server->set.handed++;
        server->handler->ops->room(server->handler, &connection->exchange);
        return true;
    }
    return false;
}

static bool discard_step(struct http_connection *connection) {
    bool more = http_discard_step(connection);
    if (connection->phase == PHASE_DISCARD && connection->base.ended) {
        cut_short(connection);
    }
    return more;
}

static bool step(struct http_connection *connection) {
    switch ((enum http_phase)connection->phase) {
    case PHASE_HEAD:
        return head_step(connection);
    case PHASE_BODY:
        return body_step(connection);
    case PHASE_STREAM:
        return stream_step(connection);
    case PHASE_DISCARD:
        return discard_step(connection);
    case PHASE_LINGER:
        return connection_discard(&connection->base) > 0;
    case PHASE_WAIT:
    case PHASE_CLOSING:
        return false;
    case PHASE_FREE:
        break;
    }
    assert(false);
    return false;
}

void http_connection_drive(struct http_connection *connection) {
    connection_begin_turn(&connection->base);
    while (!connection->base.broken && step(connection)) {
    }
    connection->base.driving = false;
    http_connection_settle(connection);
}

static void connection_ready(struct loop_source *source, uint32_t events) {
    struct http_connection *connection = CONTAINER_OF(source, struct http_connection, base.source);
    bool reading = connection->phase == PHASE_HEAD || connection->phase == PHASE_BODY ||
                   connection->phase == PHASE_DISCARD;
    connection_note_events(&connection->base, events, reading);
    http_connection_drive(connection);
}

/* Settling */

static enum connection_limit limit_of(const struct http_connection *connection) {
    if (connection->base.blocked) {
        return LIMIT_WRITE;
    }
    switch ((enum http_phase)connection->phase) {
    case PHASE_HEAD:
        return connection->begin < connection->end ? LIMIT_HEAD : LIMIT_IDLE;
    case PHASE_BODY:
    case PHASE_DISCARD:
        return LIMIT_BODY;
    case PHASE_LINGER:
        return LIMIT_LINGER;
    default:
        return LIMIT_NONE;
    }
}

/** Everything was sent and nothing more will be. */
static void finish(struct http_connection *connection) {
    bool unread = connection->begin < connection->end;
    http_input_release(connection);
    if (connection_linger(&connection->base, unread)) {
        connection->phase = PHASE_LINGER;
    } else {
        http_connection_close(connection);
    }
}

static void break_off(struct http_connection *connection) {
    if (connection->exchange.active || output_pending(&connection->base.output) > 0) {
        connection_count(&connection->server->metrics.broken_total, 1);
    }
    connection->base.driving = true; /* what the handler does now needs no resuming */
    abandon_exchange(connection);
    http_connection_close(connection);
}

void http_connection_settle(struct http_connection *connection) {
    if (connection->base.broken) {
        break_off(connection);
        return;
    }
    bool pending = output_pending(&connection->base.output) > 0;
    if (connection->phase == PHASE_CLOSING && !pending) {
        finish(connection);
        return;
    }
    if (connection->phase == PHASE_LINGER &&
        (connection->base.ended || connection->base.discard_left == 0)) {
        http_connection_close(connection);
        return;
    }
    if (pending && !connection->base.blocked) {
        connection_flush_soon(&connection->base);
    }
    if (connection->base.reads_left == 0) {
        connection_resume_later(&connection->base);
    }
    if (connection->phase == PHASE_HEAD && connection->begin == connection->end) {
        http_input_release(connection);
    }
    connection_see_to_limit(&connection->base, limit_of(connection));
}

/* Time limits */

static void time_is_up(struct timer *timer) {
    struct http_connection *connection = CONTAINER_OF(timer, struct http_connection, base.timer);
    struct http_metrics *metrics = &connection->server->metrics;
    int64_t wanted = connection->exchange.streaming ? 1 : CONNECTION_PROGRESS_BYTES_MIN;
    enum connection_limit limit = connection_limit_expired(&connection->base, wanted);
    if (limit == LIMIT_NONE) {
        return;
    }
    if (limit == LIMIT_HEAD) {
        connection_count(&metrics->head_timeouts_total, 1);
        http_connection_refuse(connection, 408, "the header took too long", true);
    } else if (limit == LIMIT_BODY && connection->phase == PHASE_BODY) {
        connection_count(&metrics->body_timeouts_total, 1);
        http_connection_refuse(connection, 408, "the body took too long", true);
    } else {
        connection_count(&metrics->idle_timeouts_total, limit == LIMIT_IDLE ? 1 : 0);
        connection_count(&metrics->write_timeouts_total, limit == LIMIT_WRITE ? 1 : 0);
        connection->base.broken = true;
    }
    http_connection_settle(connection);
}
