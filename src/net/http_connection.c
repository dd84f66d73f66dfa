#include "net/http_internal.h"

#include <assert.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often one connection may read before the others have their turn. */
#define READS_AT_ONCE 8

/* What is read over at most from a peer that was refused. */
#define LINGER_BYTES_MAX ((size_t)4 << 20)

static void connection_ready(struct loop_source *source, uint32_t events);
static void time_is_up(struct timer *timer);

/* Beginning and end */

struct http_connection *http_connection_open(struct http_server *server, int fd) {
    if (server->free_count == 0) {
        return NULL;
    }
    struct http_connection *connection = &server->connections[server->free[server->free_count - 1]];
    assert(connection->phase == PHASE_FREE);
    uint32_t generation = connection->exchange.generation;
    memset(connection, 0, offsetof(struct http_connection, head));
    connection->exchange.generation = generation;
    connection->server = server;
    connection->source.fd = fd;
    connection->source.ready = connection_ready;
    connection->timer.expired = time_is_up;
    connection->reads_left = READS_AT_ONCE;
    if (!loop_add(server->loop, &connection->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)) {
        return NULL;
    }
    server->free_count--;
    connection->phase = PHASE_HEAD;
    http_parser_init(&connection->parser, &server->limits);
    return connection;
}

void http_connection_close(struct http_connection *connection) {
    struct http_server *server = connection->server;
    assert(connection->phase != PHASE_FREE && !connection->exchange.active);
    loop_remove(server->loop, &connection->source);
    (void)close(connection->source.fd);
    timer_stop(&connection->timer);
    list_remove(&connection->resume_node);
    list_remove(&connection->flush_node);
    http_body_release(connection);
    http_input_release(connection);
    output_release(&connection->output);
    connection->phase = PHASE_FREE;
    server->free[server->free_count] = (uint32_t)(connection - server->connections);
    server->free_count++;
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
    connection->limit = LIMIT_NONE;
    connection->discard_left = 0;
}

void http_connection_exchange_over(struct http_connection *connection) {
    assert(connection->exchange.active);
    end_exchange(connection);
    connection->retry_after = false;
    http_body_release(connection);
    if (connection->answer_closes) {
        connection->phase = PHASE_CLOSING;
    } else {
        connection->phase = connection->discard_left > 0 ? PHASE_DISCARD : PHASE_HEAD;
    }
    if (!connection->lingers && connection->phase != PHASE_DISCARD) {
        connection->begin = connection->next;
    }
    http_parser_init(&connection->parser, &connection->server->limits);
    if (!connection->driving) {
        http_connection_resume_soon(connection);
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
    connection->lingers |= closes;
    connection->retry_after = status == 503;
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
    connection->discard_left = length > present ? (size_t)(length - present) : 0;
}

void http_connection_hand_over(struct http_connection *connection, struct slice body) {
    struct http_server *server = connection->server;
    connection->phase = PHASE_WAIT;
    connection->discard_left = 0;
    server->handed++;
    server->handler->ops->request(server->handler, &connection->exchange, &connection->head, body);
}

/** The head is whole: asks the handler, and goes on to the body or the answer. */
static void judge_head(struct http_connection *connection) {
    struct http_handler *handler = connection->server->handler;
    const struct http_head *head = &connection->head;
    bool has_body = head->chunked || head->content_length > 0;
    bool skippable =
        !head->chunked && !head->expect_continue && head->content_length <= HTTP_DISCARD_BYTES_MAX;
    http_count(&connection->server->metrics.requests_total, 1);
    begin_exchange(connection);
    connection->phase = PHASE_WAIT;
    connection->body_at = connection->begin + connection->parser.head_bytes;
    connection->next = connection->body_at;
    connection->answer_closes = has_body && !skippable;
    connection->lingers = connection->answer_closes;
    prepare_discard(connection);
    size_t body_bytes_max = handler->ops->head(handler, &connection->exchange, head);
    if (!connection->exchange.active) {
        return;
    }
    connection->answer_closes = false;
    connection->lingers = false;
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
    if (connection->ended || (idle && !connection->readable && connection->server->draining)) {
        connection->phase = PHASE_CLOSING;
    }
    return false;
}

static bool head_step(struct http_connection *connection) {
    if (http_output_is_high(connection) && !connection->blocked) {
        http_output_send(connection);
    }
    if (connection->blocked || connection->broken) {
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
        http_count(&connection->server->metrics.malformed_total, 1);
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
    if (connection->phase == PHASE_BODY && connection->ended) {
        cut_short(connection);
    }
    return more;
}

static bool stream_step(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (connection->peer_closing && output_pending(&connection->output) == 0) {
        connection->broken = true;
    } else if (connection->room_due) {
        connection->room_due = false;
        server->handed++;
        server->handler->ops->room(server->handler, &connection->exchange);
        return true;
    }
    return false;
}

static bool discard_step(struct http_connection *connection) {
    bool more = http_discard_step(connection);
    if (connection->phase == PHASE_DISCARD && connection->ended) {
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
        return http_linger_step(connection);
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
    assert(!connection->driving);
    connection->driving = true;
    connection->reads_left = READS_AT_ONCE;
    while (!connection->broken && step(connection)) {
    }
    connection->driving = false;
    http_connection_settle(connection);
}

static void connection_ready(struct loop_source *source, uint32_t events) {
    struct http_connection *connection = CONTAINER_OF(source, struct http_connection, source);
    bool reading = connection->phase == PHASE_HEAD || connection->phase == PHASE_BODY ||
                   connection->phase == PHASE_DISCARD;
    if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && !reading)) {
        connection->broken = true;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) {
        connection->readable = !connection->ended;
    }
    connection->peer_closing |= (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    if (connection->blocked && (events & EPOLLOUT) != 0) {
        http_connection_flush_soon(connection);
    }
    http_connection_drive(connection);
}

void http_connection_resume_soon(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (!list_is_linked(&connection->resume_node)) {
        list_append(&server->resume, &connection->resume_node);
        loop_want_hooks(server->loop);
    }
}

void http_connection_flush_soon(struct http_connection *connection) {
    struct http_server *server = connection->server;
    if (!list_is_linked(&connection->flush_node)) {
        list_append(&server->flush, &connection->flush_node);
        loop_want_hooks(server->loop);
    }
}

/* Settling */

static void begin_limit(struct http_connection *connection, enum http_limit limit) {
    const struct http_options *options = &connection->server->options;
    const uint64_t timeouts_ms[] = {
        [LIMIT_IDLE] = options->idle_timeout_ms,     [LIMIT_HEAD] = options->head_timeout_ms,
        [LIMIT_BODY] = options->body_timeout_ms,     [LIMIT_WRITE] = options->write_timeout_ms,
        [LIMIT_LINGER] = options->linger_timeout_ms,
    };
    connection->limit = (uint8_t)limit;
    connection->progress_mark =
        limit == LIMIT_WRITE ? output_acknowledged(&connection->output, connection->source.fd)
                             : (int64_t)connection->received;
    loop_timer_start(connection->server->loop, &connection->timer,
                     (int64_t)timeouts_ms[limit] * 1000);
}

static enum http_limit limit_of(const struct http_connection *connection) {
    if (connection->blocked) {
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

/** A limit runs from when it began to apply, but for the idle one, which any sign of life moves.
 *  The timer of a limit that no longer applies runs on and finds nothing to do. */
static void see_to_limit(struct http_connection *connection) {
    enum http_limit limit = limit_of(connection);
    if (limit == LIMIT_NONE) {
        connection->limit = LIMIT_NONE;
    } else if (limit != connection->limit || limit == LIMIT_IDLE) {
        begin_limit(connection, limit);
    }
}

/** Everything was sent and nothing more will be. */
static void finish(struct http_connection *connection) {
    bool unread = connection->readable || connection->begin < connection->end;
    http_input_release(connection);
    if (connection->ended || !(connection->lingers || unread) ||
        shutdown(connection->source.fd, SHUT_WR) != 0) {
        http_connection_close(connection);
        return;
    }
    /* Closing with unread bytes would reset the connection, and the peer might never see the
     * answer. */
    connection->phase = PHASE_LINGER;
    connection->discard_left = LINGER_BYTES_MAX;
    http_connection_resume_soon(connection);
    see_to_limit(connection);
}

static void break_off(struct http_connection *connection) {
    if (connection->exchange.active || output_pending(&connection->output) > 0) {
        http_count(&connection->server->metrics.broken_total, 1);
    }
    connection->driving = true; /* what the handler does now needs no resuming */
    abandon_exchange(connection);
    http_connection_close(connection);
}

void http_connection_settle(struct http_connection *connection) {
    if (connection->broken) {
        break_off(connection);
        return;
    }
    bool pending = output_pending(&connection->output) > 0;
    if (connection->phase == PHASE_CLOSING && !pending) {
        finish(connection);
        return;
    }
    if (connection->phase == PHASE_LINGER && (connection->ended || connection->discard_left == 0)) {
        http_connection_close(connection);
        return;
    }
    if (pending && !connection->blocked) {
        http_connection_flush_soon(connection);
    }
    if (connection->reads_left == 0 && !list_is_linked(&connection->resume_node)) {
        list_append(&connection->server->later, &connection->resume_node);
    }
    if (connection->phase == PHASE_HEAD && connection->begin == connection->end) {
        http_input_release(connection);
    }
    see_to_limit(connection);
}

/* Time limits */

/** True where a limit that runs again while there is progress does so. */
static bool has_moved(struct http_connection *connection) {
    int64_t wanted = connection->exchange.streaming ? 1 : HTTP_PROGRESS_BYTES_MIN;
    switch ((enum http_limit)connection->limit) {
    case LIMIT_WRITE:
        return output_acknowledged(&connection->output, connection->source.fd) -
                   connection->progress_mark >=
               wanted;
    case LIMIT_BODY:
        return (int64_t)connection->received - connection->progress_mark >= wanted;
    default:
        return false;
    }
}

static void time_is_up(struct timer *timer) {
    struct http_connection *connection = CONTAINER_OF(timer, struct http_connection, timer);
    struct http_metrics *metrics = &connection->server->metrics;
    enum http_limit limit = connection->limit;
    if (limit == LIMIT_NONE) {
        return;
    }
    if (has_moved(connection)) {
        begin_limit(connection, limit);
        return;
    }
    connection->limit = LIMIT_NONE;
    if (limit == LIMIT_HEAD) {
        http_count(&metrics->head_timeouts_total, 1);
        http_connection_refuse(connection, 408, "the header took too long", true);
    } else if (limit == LIMIT_BODY && connection->phase == PHASE_BODY) {
        http_count(&metrics->body_timeouts_total, 1);
        http_connection_refuse(connection, 408, "the body took too long", true);
    } else {
        http_count(&metrics->idle_timeouts_total, limit == LIMIT_IDLE ? 1 : 0);
        http_count(&metrics->write_timeouts_total, limit == LIMIT_WRITE ? 1 : 0);
        connection->broken = true;
    }
    http_connection_settle(connection);
}
