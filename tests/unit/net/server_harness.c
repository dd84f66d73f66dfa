#include "server_harness.h"

#include "fixture_memory.h"
#include "net/http_date.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* How often the loop is driven before a client gives up; each turn may wait a millisecond. */
#define TURNS_MAX 10000

char pattern_byte(size_t at) {
    return (char)('a' + (at * 7 + at / 251) % 26);
}

void fill_pattern(char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        data[i] = pattern_byte(i);
    }
}

void expect_pattern(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] != pattern_byte(i)) {
            fail_msg("byte %zu of %zu differs", i, size);
        }
    }
}

/* The handler */

static struct harness *harness_of(struct http_handler *handler) {
    return CONTAINER_OF(handler, struct harness, handler);
}

static bool path_is(const struct http_head *head, const char *path) {
    return slice_equal(head->path, slice_from_text(path));
}

static void respond(struct http_exchange *exchange, unsigned status, struct slice body) {
    struct http_answer answer = {.status = status, .content_type = SLICE_LITERAL("text/plain")};
    if (!http_respond(exchange, &answer, body)) {
        http_respond_plain(exchange, 503, "no room for the answer");
    }
}

static size_t handle_head(struct http_handler *handler, struct http_exchange *exchange,
                          const struct http_head *head) {
    static const char *const known[] = {"/hello", "/size",   "/aligned", "/echo", "/later",
                                        "/batch", "/stream", "/none",    "/same"};
    struct harness *harness = harness_of(handler);
    harness->heads++;
    assert_null(exchange->user);
    exchange->user = harness;
    if (path_is(head, "/gone-head")) {
        respond(exchange, 200, SLICE_LITERAL("early"));
        return 0;
    }
    if (path_is(head, "/small")) {
        return 16;
    }
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (path_is(head, known[i])) {
            return HTTP_BODY_BYTES_MAX;
        }
    }
    respond(exchange, 404, SLICE_LITERAL("no such path"));
    return 0;
}

static void answer_pattern(struct harness *harness, struct http_exchange *exchange,
                           const struct http_head *head, bool aligned) {
    char digits[16] = "";
    memcpy(digits, head->query.data, bytes_min_size(head->query.size, sizeof(digits) - 1));
    size_t size = strtoul(digits, NULL, 10);
    struct http_answer answer = {.status = 200, .aligned = aligned};
    struct text room;
    if (!http_respond_begin(exchange, &answer, aligned ? size : size * 10, &room)) {
        harness->shortages++;
        http_respond_plain(exchange, 503, "no room for the answer");
        return;
    }
    assert_true(!aligned || (uintptr_t)room.data % 64 == 0);
    fill_pattern(room.data, size);
    http_respond_end(exchange, size);
}

static void keep_waiting(struct harness *harness, struct http_exchange *exchange) {
    assert_true(harness->waiting_count < WAITING_MAX);
    harness->waiting[harness->waiting_count++] = http_exchange_handle(exchange);
}

static void handle_request(struct http_handler *handler, struct http_exchange *exchange,
                           const struct http_head *head, struct slice body) {
    struct harness *harness = harness_of(handler);
    harness->requests++;
    harness->body_address = (uintptr_t)body.data;
    assert_ptr_equal(http_exchange_head(exchange), head);
    assert_ptr_equal(exchange->user, harness);
    if (path_is(head, "/hello")) {
        respond(exchange, 200, SLICE_LITERAL("hello"));
    } else if (path_is(head, "/size") || path_is(head, "/aligned")) {
        answer_pattern(harness, exchange, head, path_is(head, "/aligned"));
    } else if (path_is(head, "/none")) {
        respond(exchange, 204, (struct slice){NULL, 0});
    } else if (path_is(head, "/same")) {
        respond(exchange, 304, SLICE_LITERAL("dropped"));
    } else if (path_is(head, "/later")) {
        keep_waiting(harness, exchange);
    } else if (path_is(head, "/batch")) {
        assert_true(harness->batch_count < WAITING_MAX);
        harness->batch[harness->batch_count++] = http_exchange_handle(exchange);
    } else if (path_is(head, "/stream")) {
        struct http_answer answer = {.status = 200,
                                     .content_type = SLICE_LITERAL("text/event-stream")};
        if (http_stream_begin(exchange, &answer)) {
            keep_waiting(harness, exchange);
        }
    } else {
        respond(exchange, 200, body);
    }
}

static void handle_error(struct http_handler *handler, struct http_exchange *exchange,
                         unsigned status, const char *detail) {
    struct harness *harness = harness_of(handler);
    harness->errors++;
    respond(exchange, status, slice_from_text(detail));
}

static void handle_room(struct http_handler *handler, struct http_exchange *exchange) {
    struct harness *harness = harness_of(handler);
    harness->room_calls++;
    while (harness->pattern_on_room && harness->pattern_left > 0) {
        char piece[100];
        size_t size = bytes_min_size(sizeof(piece), harness->pattern_left);
        memset(piece, 'p', size);
        if (!http_stream_write(exchange, (struct slice){piece, size})) {
            return;
        }
        harness->pattern_left -= size;
    }
}

static void handle_gone(struct http_handler *handler, struct http_exchange *exchange) {
    struct harness *harness = harness_of(handler);
    struct text room;
    struct http_answer answer = {.status = 200};
    harness->gone++;
    assert_ptr_equal(exchange->user, harness);
    /* It is over: nothing can be said any more. */
    assert_null(http_server_exchange(harness->server, http_exchange_handle(exchange)));
    assert_false(http_respond_begin(exchange, &answer, 10, &room));
    assert_false(http_stream_write(exchange, SLICE_LITERAL("x")));
}

static const struct http_handler_ops handler_ops = {
    .head = handle_head,
    .request = handle_request,
    .error = handle_error,
    .room = handle_room,
    .gone = handle_gone,
};

/** Answers what was collected, as a service does that works in batches. */
static bool answer_batch(struct loop_hook *hook) {
    struct harness *harness = CONTAINER_OF(hook, struct harness, batch_hook);
    size_t count = harness->batch_count;
    harness->batches += count > 0 ? 1 : 0;
    for (size_t i = 0; i < count; i++) {
        struct http_exchange *exchange = http_server_exchange(harness->server, harness->batch[i]);
        assert_non_null(exchange);
        respond(exchange, 200, SLICE_LITERAL("batched"));
    }
    harness->batch_count = 0;
    return false;
}

/* The harness */

static int64_t manual_now(const struct clock *clock) {
    return CONTAINER_OF(clock, const struct manual_clock, clock)->now_us;
}

static void drain(void *context, struct mailbox *mailbox) {
    (void)context;
    assert_null(mailbox_take(mailbox));
}

static void start(struct harness *harness) {
    struct http_server_setup setup = {&harness->loop, harness->options, &harness->handler};
    struct fault fault;
    harness->server = http_server_create(&setup, &fault);
    assert_non_null(harness->server);
    assert_true(http_server_listen(harness->server, "127.0.0.1:0", &fault));
}

int harness_set_up(void **state) {
    struct harness *harness = fixture_allocate(sizeof(*harness));
    struct config_section section = {"http", http_option_table, HTTP_OPTION_COUNT, NULL};
    struct config config = {.sections = &section, .section_count = 1};
    struct fault fault;
    assert_non_null(harness);
    harness->handler.ops = &handler_ops;
    harness->clock = (struct manual_clock){{manual_now}, INT64_C(1000000000)};
    section.values = &harness->options;
    config_set_defaults(&config);
    harness->options.connections_max = 64;
    harness->options.medium_buffers = 4;
    harness->options.large_buffers = 4;
    struct loop_setup setup = {&harness->mailbox, drain, NULL, &harness->clock.clock};
    assert_true(mailbox_init(&harness->mailbox, 4));
    assert_true(loop_init(&harness->loop, &setup, &fault));
    harness->batch_hook.run = answer_batch;
    loop_add_hook(&harness->loop, LOOP_STAGE_BATCH, &harness->batch_hook);
    start(harness);
    *state = harness;
    return 0;
}

int harness_tear_down(void **state) {
    struct harness *harness = *state;
    http_server_destroy(harness->server);
    loop_deinit(&harness->loop);
    mailbox_deinit(&harness->mailbox);
    free(harness);
    return 0;
}

void harness_restart(struct harness *harness) {
    http_server_destroy(harness->server);
    start(harness);
}

void harness_run(struct harness *harness) {
    for (int idle = 0; idle < 3;) {
        idle = loop_step(&harness->loop, 0) > 0 ? 0 : idle + 1;
    }
}

void harness_pass_ms(struct harness *harness, int64_t milliseconds) {
    harness_run(harness);
    harness->clock.now_us += milliseconds * 1000;
    harness_run(harness);
}

struct http_exchange *harness_exchange(struct harness *harness) {
    assert_true(harness->waiting_count > 0);
    return http_server_exchange(harness->server, harness->waiting[harness->waiting_count - 1]);
}

bool harness_answer(struct harness *harness, const char *text) {
    assert_true(harness->waiting_count > 0);
    struct http_exchange *exchange = http_server_exchange(harness->server, harness->waiting[0]);
    harness->waiting_count--;
    memmove(harness->waiting, harness->waiting + 1,
            harness->waiting_count * sizeof(*harness->waiting));
    if (exchange == NULL) {
        return false;
    }
    respond(exchange, 200, slice_from_text(text));
    return true;
}

size_t harness_connections(const struct harness *harness) {
    return harness->server->set.count - harness->server->set.free_count;
}

/* Clients */

struct client client_connect(struct harness *harness) {
    struct client client = {.harness = harness};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(harness->server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    client.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client.fd >= 0);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    harness_run(harness);
    return client;
}

struct client client_pair(struct harness *harness, int type) {
    struct client client = {.harness = harness};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    client.fd = fds[0];
    http_server_adopt(harness->server, fds[1]);
    return client;
}

void client_close(struct client *client) {
    (void)close(client->fd);
    free(client->bytes);
    harness_run(client->harness);
}

void client_reset(struct client *client) {
    struct linger at_once = {1, 0};
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    client_close(client);
}

/** Takes what has arrived; true when that was something, or the end. */
static bool take_bytes(struct client *client) {
    if (client->capacity - client->size < 65536) {
        client->capacity = client->capacity * 2 + 131072;
        client->bytes = realloc(client->bytes, client->capacity);
        assert_non_null(client->bytes);
    }
    ssize_t got = recv(client->fd, client->bytes + client->size, client->capacity - client->size,
                       MSG_DONTWAIT);
    if (got < 0 && (errno == ECONNRESET || errno == EPIPE)) {
        client->reset = true;
    }
    client->ended |= got == 0 || client->reset;
    client->size += got > 0 ? (size_t)got : 0;
    return got >= 0 || client->reset;
}

void client_send(struct client *client, const char *data, size_t size) {
    for (int turn = 0; size > 0 && turn < TURNS_MAX; turn++) {
        ssize_t sent = send(client->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno != EAGAIN) {
            return; /* the server closed: what it said before is what counts */
        } else {
            (void)take_bytes(client);
        }
        harness_run(client->harness);
    }
    assert_int_equal(size, 0);
}

void client_send_slowly(struct client *client, const char *data, size_t size, size_t step) {
    for (size_t at = 0; at < size; at += step) {
        client_send(client, data + at, bytes_min_size(step, size - at));
    }
}

/** Drives the loop until there is more, or the end. */
static bool receive_more(struct client *client) {
    for (int turn = 0; turn < TURNS_MAX && !client->ended; turn++) {
        size_t before = client->size;
        if (take_bytes(client)) {
            return client->size > before;
        }
        (void)loop_step(&client->harness->loop, turn < 10 ? 0 : 1);
    }
    return false;
}

bool client_receive_bytes(struct client *client, size_t count) {
    while (client->size < count) {
        if (!receive_more(client)) {
            return false;
        }
    }
    return true;
}

const char *answer_field(const struct answer *answer, const char *name) {
    static char value[512];
    size_t size = strlen(name);
    for (const char *line = answer->head; (line = strstr(line, "\r\n")) != NULL;) {
        line += 2;
        if (strncasecmp(line, name, size) == 0 && strncmp(line + size, ": ", 2) == 0) {
            size_t length = strcspn(line + size + 2, "\r");
            assert_true(length < sizeof(value));
            memcpy(value, line + size + 2, length);
            value[length] = 0;
            return value;
        }
    }
    return NULL;
}

/** Takes the Date out of the head, which every answer has, so that the rest can be compared. */
static void take_date(char *head) {
    char *date = strstr(head, "\r\nDate: ");
    assert_non_null(date);
    char *end = date + HTTP_DATE_LINE_BYTES;
    assert_memory_equal(end - 3, "GMT", 3);
    memmove(date, end, strlen(end) + 1);
    assert_null(strstr(head, "\r\nDate: "));
}

struct answer client_receive(struct client *client, bool bodiless) {
    struct answer answer = {0};
    static char consumed[4 << 20];
    char *end;
    while (client->size == 0 ||
           (end = memmem(client->bytes, client->size, "\r\n\r\n", 4)) == NULL) {
        if (!receive_more(client)) {
            fail_msg("no answer: \"%.*s\"", (int)client->size, client->bytes);
        }
    }
    size_t head_size = (size_t)(end - client->bytes);
    assert_true(head_size < sizeof(answer.head));
    memcpy(answer.head, client->bytes, head_size);
    assert_int_equal(sscanf(answer.head, "HTTP/1.1 %u ", &answer.status), 1);
    take_date(answer.head);
    const char *length = answer_field(&answer, "Content-Length");
    answer.body_size = length == NULL || bodiless ? 0 : strtoul(length, NULL, 10);
    size_t whole = head_size + 4 + answer.body_size;
    assert_true(client_receive_bytes(client, whole));
    assert_true(whole <= sizeof(consumed));
    memcpy(consumed, client->bytes, whole);
    memmove(client->bytes, client->bytes + whole, client->size - whole);
    client->size -= whole;
    answer.body = consumed + head_size + 4;
    return answer;
}

void client_expect(struct client *client, unsigned status, const char *body) {
    struct answer answer = client_receive(client, false);
    if (answer.status != status) {
        fail_msg("status %u, not %u: %.*s", answer.status, status, (int)answer.body_size,
                 answer.body);
    }
    if (body != NULL &&
        (answer.body_size != strlen(body) || memcmp(answer.body, body, answer.body_size) != 0)) {
        fail_msg("body \"%.*s\", not \"%s\"", (int)answer.body_size, answer.body, body);
    }
}

void client_expect_end(struct client *client) {
    while (receive_more(client)) {
    }
    if (client->size > 0 || !client->ended) {
        fail_msg("not the end: \"%.*s\"", (int)client->size, client->bytes);
    }
}

void client_expect_silence(struct client *client) {
    for (int turn = 0; turn < 20; turn++) {
        (void)loop_step(&client->harness->loop, 1);
        (void)take_bytes(client);
    }
    if (client->size > 0 || client->ended) {
        fail_msg("not silence but %s \"%.*s\"", client->ended ? "the end" : "", (int)client->size,
                 client->bytes);
    }
}
