/** A server over real sockets, its loop and its clients in one thread: a client's call drives the
 *  loop until what it waits for is there. Time is virtual, so that time limits pass when a test
 *  says so. Shared by the tests of the HTTP server.
 *
 *  The handler's paths:
 *      /hello        GET: 200 "hello"
 *      /size?N       GET: 200, N bytes of pattern, room for 10 times as many
 *      /aligned?N    as /size, aligned, exact room
 *      /echo         POST: 200, the body
 *      /small        POST: as /echo, at most 16 bytes
 *      /later        any: remembered, answered by harness_answer
 *      /batch        any: answered "batched" by a hook of the loop, with all that came with it
 *      /stream       GET: begins a stream that the test writes
 *      /none /same   204, 304
 *      /gone-head    200 at once when the head is there, whatever body is announced
 *      else          404 when the head is there */
#ifndef ORDERD_TESTS_SERVER_HARNESS_H
#define ORDERD_TESTS_SERVER_HARNESS_H

#include "net/http_internal.h"

#define WAITING_MAX 16

struct manual_clock {
    struct clock clock;
    int64_t now_us;
};

struct harness {
    struct http_handler handler;
    struct manual_clock clock;
    struct loop loop;
    struct mailbox mailbox;
    struct http_options options;
    struct http_server *server;
    struct http_handle waiting[WAITING_MAX]; /* of /later and /stream, oldest first */
    size_t waiting_count;
    struct loop_hook batch_hook;
    struct http_handle batch[WAITING_MAX]; /* of /batch */
    size_t batch_count;
    /* What the handler saw. */
    unsigned heads;
    unsigned requests;
    unsigned errors;
    unsigned gone;
    unsigned room_calls;
    unsigned batches;   /* the hook found something to do */
    unsigned shortages; /* http_respond_begin had no buffer */
    uintptr_t body_address;
    bool pattern_on_room; /* `room` writes pattern until there is none */
    size_t pattern_left;
};

struct client {
    struct harness *harness;
    int fd;
    char *bytes; /* received and not yet looked at */
    size_t size;
    size_t capacity;
    bool ended;
    bool reset;
};

struct answer {
    unsigned status;
    char head[4096]; /* a string, without the empty line */
    char *body;      /* the client's; valid until its next call */
    size_t body_size;
};

/** cmocka set-up and tear-down; the state is a struct harness. */
int harness_set_up(void **state);
int harness_tear_down(void **state);

/** Starts again with `options`. */
void harness_restart(struct harness *harness);

/** Lets the loop do all that it can do now. */
void harness_run(struct harness *harness);

/** Moves time and lets the timers ring. */
void harness_pass_ms(struct harness *harness, int64_t milliseconds);

/** Answers the oldest of those that wait, with 200 and `text`. False if its connection is gone. */
bool harness_answer(struct harness *harness, const char *text);

/** The newest exchange that waits or streams; NULL when it is over. */
struct http_exchange *harness_exchange(struct harness *harness);

size_t harness_connections(const struct harness *harness);

/** Byte `at` of every pattern here. */
char pattern_byte(size_t at);
void fill_pattern(char *data, size_t size);
void expect_pattern(const char *data, size_t size);

/** A client over TCP, or over a pair of local sockets of the given type. */
struct client client_connect(struct harness *harness);
struct client client_pair(struct harness *harness, int type);
void client_close(struct client *client);

/** Closes so that the server sees a reset. */
void client_reset(struct client *client);

void client_send(struct client *client, const char *data, size_t size);
#define client_say(client, literal) client_send((client), (literal), sizeof(literal) - 1)

/** Sends, driving the loop after each `step` bytes. */
void client_send_slowly(struct client *client, const char *data, size_t size, size_t step);

/** The next answer. Fails the test when none comes. @param bodiless as to HEAD. */
struct answer client_receive(struct client *client, bool bodiless);

/** Expects an answer with that status and body (NULL: any). */
void client_expect(struct client *client, unsigned status, const char *body);

/** Expects that the server closes, without sending anything more. */
void client_expect_end(struct client *client);

/** Expects that nothing comes and the connection stays. */
void client_expect_silence(struct client *client);

/** Drives the loop until `count` more bytes were received; false at the end of the connection. */
bool client_receive_bytes(struct client *client, size_t count);

/** The value of a header field as a string; NULL where there is none. */
const char *answer_field(const struct answer *answer, const char *name);

#define SERVER_TEST(test) cmocka_unit_test_setup_teardown(test, harness_set_up, harness_tear_down)

#endif
