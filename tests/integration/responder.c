/** A stand-in for orderd that only answers: the requests of `orderctl bench`, with answers that are
 *  right and cost next to nothing. With it the bench itself is measured (its client must never be
 *  the limit) and tested: on request some answers are wrong, refused, or do not come.
 *
 *      responder [--resp] [--fault KIND] [--every N]
 *
 *  It prints its port and serves until it is killed. Faults, in every N-th answer: `wrong`,
 *  `refused`, `close` (the connection ends before the answer), `late` (the answer takes 50 ms),
 *  `malformed`. One thread. */
#include "base/text.h"
#include "order/order_id.h"
#include "order/record.h"
#include "orderctl/bench_answer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)3 << 20)
#define ITEMS_MAX 8192
#define EVENTS_MAX 64
#define LATE_NS 50000000

enum fault_kind {
    FAULT_NONE,
    FAULT_WRONG,
    FAULT_REFUSED,
    FAULT_CLOSE,
    FAULT_LATE,
    FAULT_MALFORMED
};

static const char *const fault_names[] = {"none", "wrong", "refused", "close", "late", "malformed"};

struct peer {
    int fd;
    bool writes; /* EPOLLOUT is asked for */
    char *input;
    size_t input_begin;
    size_t input_end;
    char *output;
    size_t output_begin;
    struct text text; /* over `output` */
};

struct responder {
    int epoll_fd;
    bool resp;
    enum fault_kind fault;
    uint64_t every;
    uint64_t answers;
    uint64_t next_id;
    struct order_state states[ITEMS_MAX];
    struct order_record records[ITEMS_MAX];
};

/** One request of HTTP. */
struct request {
    struct slice method;
    struct slice target;
    struct slice body;
    size_t size;
};

/* --- Answers. --- */

static bool is_faulty(struct responder *responder, enum fault_kind kind) {
    return responder->fault == kind && responder->answers % responder->every == 0;
}

static void append_answer(struct text *out, const char *status, const char *extra, const void *body,
                          size_t size) {
    text_append_format(out,
                       "HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\n%s"
                       "Content-Length: %zu\r\n\r\n",
                       status, extra, size);
    text_append(out, body, size);
}

/** The next id, in the slot of the reference. */
static uint64_t give_id(struct responder *responder, const struct order_record *order) {
    uint64_t number = responder->next_id++;
    return order_id_encode((struct order_id_parts){
        .tick = 1000 + number / ORDER_SEQUENCE_COUNT,
        .slot = order_slot_from_hash(order_record_reference_hash(order)),
        .sequence = (uint32_t)number % ORDER_SEQUENCE_COUNT,
    });
}

static void answer_statuses(struct responder *responder, struct text *out, size_t count) {
    struct order_state states[1] = {{.version = 0}};
    bool wrong = is_faulty(responder, FAULT_WRONG);
    append_answer(out, "200 OK", "", responder->states, count * sizeof(struct order_state));
    if (wrong) {
        memcpy(out->data + out->size - sizeof(states), states, sizeof(states));
    }
}

static void answer_get(struct responder *responder, struct text *out, struct slice ids) {
    size_t count = ids.size / sizeof(uint64_t);
    for (size_t i = 0; i < count; i++) {
        struct order_record *order = &responder->records[i];
        order->order_id = bytes_load_u64(ids.data + i * sizeof(uint64_t));
        order_record_seal(order);
    }
    responder->records[0].crc ^= is_faulty(responder, FAULT_WRONG) ? 1 : 0;
    append_answer(out, "200 OK", "", responder->records, count * sizeof(struct order_record));
}

static void answer_batch(struct responder *responder, struct text *out, struct slice body) {
    size_t count = body.size / sizeof(struct order_record);
    text_append_format(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", count * 16);
    for (size_t i = 0; i < count; i++) {
        struct order_record order;
        char item[16] = {0};
        uint32_t code = is_faulty(responder, FAULT_WRONG) && i == 1 ? 409 : 201;
        memcpy(&order, body.data + i * sizeof(order), sizeof(order));
        bytes_store_u64(item, give_id(responder, &order));
        bytes_store_u32(item + 8, 1);
        bytes_store_u32(item + 12, code | (uint32_t)ORDER_STATUS_PENDING << 16);
        text_append(out, item, sizeof(item));
    }
}

static void answer_one(struct responder *responder, struct text *out, const char *status,
                       uint64_t order_id) {
    char memory[1024];
    char location[96];
    struct text body = text_over(memory, sizeof(memory));
    order_id += is_faulty(responder, FAULT_WRONG) ? 1 : 0;
    (void)snprintf(location, sizeof(location), "Location: /v1/orders/%s%llu\r\nETag: \"1\"\r\n",
                   is_faulty(responder, FAULT_WRONG) ? "x" : "", (unsigned long long)order_id);
    text_append_format(&body,
                       "{\"order_id\":\"%llu\",\"partner_code\":\"bench\",\"partner_order_id\":"
                       "\"b-0123456789abcdef\",\"amount\":1250,\"currency\":\"EUR\","
                       "\"payment_type\":\"pay_with_bank\",\"bank_code\":null,\"status\":"
                       "\"pending\",\"version\":1,\"created_at\":\"2026-01-01T00:00:00.000000Z\"}",
                       (unsigned long long)order_id);
    append_answer(out, status, location, body.data, body.size);
}

/** The number behind the last slash of a target. */
static uint64_t id_in(struct slice target) {
    const char *slash = memrchr(target.data, '/', target.size);
    return slash == NULL ? 0 : strtoull(slash + 1, NULL, 10);
}

static void answer_http(struct responder *responder, struct text *out,
                        const struct request *request) {
    struct slice target = request->target;
    if (is_faulty(responder, FAULT_REFUSED)) {
        append_answer(out, "503 Service Unavailable", "Retry-After: 1\r\n", "{}", 2);
    } else if (slice_equal(target, SLICE_LITERAL("/v1/batch/statuses"))) {
        answer_statuses(responder, out, request->body.size / sizeof(uint64_t));
    } else if (slice_equal(target, SLICE_LITERAL("/v1/batch/get"))) {
        answer_get(responder, out, request->body);
    } else if (slice_equal(target, SLICE_LITERAL("/v1/batch/orders"))) {
        answer_batch(responder, out, request->body);
    } else if (slice_equal(request->method, SLICE_LITERAL("POST"))) {
        answer_one(responder, out, "201 Created", responder->next_id++);
    } else {
        answer_one(responder, out, "200 OK", id_in(target));
    }
}

static void append_value(struct responder *responder, struct text *out, struct slice key) {
    char memory[512];
    struct text value = text_over(memory, sizeof(memory));
    while (key.size > 0 && (*key.data < '0' || *key.data > '9')) {
        key = (struct slice){key.data + 1, key.size - 1};
    }
    text_append_literal(&value, "{\"order_id\":\"");
    text_append_slice(&value, is_faulty(responder, FAULT_WRONG) ? SLICE_LITERAL("7") : key);
    text_append_literal(&value, "\",\"partner_code\":\"bench\",\"partner_order_id\":"
                                "\"b-0123456789abcdef\",\"amount\":1250,\"currency\":\"EUR\","
                                "\"payment_type\":\"pay_with_bank\",\"bank_code\":null,\"status\":"
                                "\"pending\",\"version\":1}");
    text_append_char(out, '$');
    text_append_u64(out, value.size);
    text_append_literal(out, "\r\n");
    text_append_slice(out, text_slice(&value));
    text_append_literal(out, "\r\n");
}

/* --- Requests. --- */

/** Cuts one request off; false where it is not whole. */
static bool cut_request(struct slice bytes, struct request *request) {
    const char *end = memmem(bytes.data, bytes.size, "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    struct slice head = {bytes.data, (size_t)(end - bytes.data) + 2};
    struct slice length = bench_answer_header(head, SLICE_LITERAL("Content-Length"));
    size_t body_size = length.data == NULL ? 0 : strtoull(length.data, NULL, 10);
    const char *space = memchr(head.data, ' ', head.size);
    const char *target_end = memchr(space + 1, ' ', head.size - (size_t)(space + 1 - head.data));
    request->size = head.size + 2 + body_size;
    request->method = (struct slice){head.data, (size_t)(space - head.data)};
    request->target = (struct slice){space + 1, (size_t)(target_end - space - 1)};
    request->body = (struct slice){end + 4, body_size};
    return request->size <= bytes.size;
}

/** Answers one command of RESP, an array of bulk strings; returns its size, 0: not whole. */
static size_t take_command(struct responder *responder, struct text *out, struct slice bytes) {
    struct bench_answer command;
    struct slice word;
    if (bench_cut_resp(bytes, &command) != BENCH_CUT_WHOLE) {
        return 0;
    }
    struct slice left = command.body;
    size_t count = strtoull(left.data + 1, NULL, 10);
    bool good = bench_resp_enter_array(&left, count) && bench_resp_next_bulk(&left, &word);
    assert(good);
    responder->answers++;
    if (is_faulty(responder, FAULT_REFUSED)) {
        text_append_literal(out, "-TRYAGAIN not now\r\n");
        return command.size;
    }
    if (slice_equal(word, SLICE_LITERAL("MGET"))) {
        text_append_format(out, "*%zu\r\n", count - 1);
    }
    for (size_t i = 1; i < count && bench_resp_next_bulk(&left, &word); i++) {
        append_value(responder, out, word);
    }
    return command.size;
}

static bool take_http(struct responder *responder, struct text *out, struct slice bytes,
                      size_t *size) {
    struct request request;
    *size = 0;
    if (!cut_request(bytes, &request)) {
        return true;
    }
    *size = request.size;
    responder->answers++;
    if (is_faulty(responder, FAULT_CLOSE)) {
        return false;
    }
    if (is_faulty(responder, FAULT_MALFORMED)) {
        text_append_literal(out, "HTTP/1.1 200 OK\r\n\r\n");
        return true;
    }
    if (is_faulty(responder, FAULT_LATE)) {
        struct timespec pause = {.tv_nsec = LATE_NS};
        (void)nanosleep(&pause, NULL);
    }
    answer_http(responder, out, &request);
    return true;
}

/** Answers all that is whole and has room. False: the connection is to be closed. */
static bool take_requests(struct responder *responder, struct peer *peer) {
    bool open = true;
    while (open && peer->text.capacity - peer->text.size > (size_t)5 << 18) {
        struct slice bytes = {peer->input + peer->input_begin, peer->input_end - peer->input_begin};
        size_t size = 0;
        if (responder->resp) {
            size = take_command(responder, &peer->text, bytes);
        } else {
            open = take_http(responder, &peer->text, bytes, &size);
        }
        if (size == 0) {
            break;
        }
        peer->input_begin += size;
    }
    return open;
}

/* --- Sockets. --- */

static void watch(struct responder *responder, struct peer *peer, int operation, bool writes) {
    struct epoll_event event = {.events = writes ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = peer};
    peer->writes = writes;
    int status = epoll_ctl(responder->epoll_fd, operation, peer->fd, &event);
    assert(status == 0);
}

static bool write_answers(struct responder *responder, struct peer *peer) {
    while (peer->output_begin < peer->text.size) {
        ssize_t size = send(peer->fd, peer->output + peer->output_begin,
                            peer->text.size - peer->output_begin, MSG_NOSIGNAL);
        if (size < 0 && errno == EAGAIN) {
            if (!peer->writes) {
                watch(responder, peer, EPOLL_CTL_MOD, true);
            }
            return true;
        }
        if (size < 0) {
            return false;
        }
        peer->output_begin += (size_t)size;
    }
    peer->output_begin = 0;
    peer->text.size = 0;
    if (peer->writes) {
        watch(responder, peer, EPOLL_CTL_MOD, false);
    }
    return true;
}

static bool serve(struct responder *responder, struct peer *peer) {
    if (peer->input_begin == peer->input_end) {
        peer->input_begin = 0;
        peer->input_end = 0;
    } else if (BUFFER_BYTES - peer->input_end < BUFFER_BYTES / 2) {
        memmove(peer->input, peer->input + peer->input_begin, peer->input_end - peer->input_begin);
        peer->input_end -= peer->input_begin;
        peer->input_begin = 0;
    }
    ssize_t size = recv(peer->fd, peer->input + peer->input_end, BUFFER_BYTES - peer->input_end, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN)) {
        return false;
    }
    peer->input_end += size > 0 ? (size_t)size : 0;
    bool open = take_requests(responder, peer);
    return write_answers(responder, peer) && open;
}

static void add_peer(struct responder *responder, int listener) {
    int one = 1;
    struct peer *peer = calloc(1, sizeof(*peer));
    assert(peer != NULL);
    peer->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    peer->input = malloc(BUFFER_BYTES);
    peer->output = malloc(BUFFER_BYTES);
    assert(peer->fd >= 0 && peer->input != NULL && peer->output != NULL);
    peer->text = text_over(peer->output, BUFFER_BYTES);
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    watch(responder, peer, EPOLL_CTL_ADD, false);
}

static void remove_peer(struct peer *peer) {
    (void)close(peer->fd);
    free(peer->input);
    free(peer->output);
    free(peer);
}

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 1024) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    assert(good);
    printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return fd;
}

static void fill_answers(struct responder *responder) {
    for (size_t i = 0; i < ITEMS_MAX; i++) {
        struct order_record *order = &responder->records[i];
        responder->states[i] = (struct order_state){.version = 1, .status = ORDER_STATUS_PENDING};
        *order = (struct order_record){.amount = 1250,
                                       .version = 1,
                                       .status = ORDER_STATUS_PENDING,
                                       .payment_type = ORDER_PAYMENT_BANK,
                                       .format = ORDER_RECORD_FORMAT,
                                       .created_at_us = ORDER_EPOCH_US,
                                       .updated_at_us = ORDER_EPOCH_US,
                                       .currency = "EUR"};
        memcpy(order->partner_code, "bench", 5);
        memcpy(order->partner_order_id, "b-1", 3);
    }
}

static void read_arguments(struct responder *responder, int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        responder->resp |= strcmp(arguments[i], "--resp") == 0;
        if (strcmp(arguments[i], "--every") == 0 && i + 1 < count) {
            responder->every = strtoull(arguments[i + 1], NULL, 10);
        }
        for (unsigned kind = 0; kind < ARRAY_COUNT(fault_names); kind++) {
            if (i > 1 && strcmp(arguments[i - 1], "--fault") == 0 &&
                strcmp(arguments[i], fault_names[kind]) == 0) {
                responder->fault = (enum fault_kind)kind;
            }
        }
    }
}

int main(int argument_count, char **arguments) {
    struct responder *responder = calloc(1, sizeof(*responder));
    assert(responder != NULL);
    responder->every = 1;
    responder->next_id = 1;
    read_arguments(responder, argument_count, arguments);
    fill_answers(responder);
    responder->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_anywhere();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int status = epoll_ctl(responder->epoll_fd, EPOLL_CTL_ADD, listener, &event);
    assert(status == 0);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(responder->epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer == NULL) {
                add_peer(responder, listener);
            } else if (!serve(responder, peer)) {
                remove_peer(peer);
            }
        }
    }
}
