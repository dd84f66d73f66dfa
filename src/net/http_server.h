/** The HTTP/1.1 server: one a loop. It knows the protocol (RFC 9112) and nothing of what is served;
 *  a handler does.
 *
 *  The way of a request: the bytes are read into the connection's input buffer and parsed there;
 *  the handler judges the head, and says how large a body it takes; the body is read whole, a large
 *  one straight into a buffer of its own; the handler gets the request and answers at once or
 *  later, on this thread. A connection has one request at a time with the handler; the next one in
 *  its buffer is parsed as soon as that one is answered, and what was answered in one iteration of
 *  the loop leaves with one send.
 *
 *  Memory is bounded and reserved at the start: connections, an input and an output buffer for
 *  each while it is in use, and two pools for large bodies and answers. When a pool is empty the
 *  answer is 503; nothing is ever allocated after the start.
 *
 *  Every byte a peer has not sent yet, or not read yet, has a time limit. A body, and an answer
 *  that waits for its reader, must also move by 64 KiB in each span of its limit, or be done.
 *
 *  Everything here runs on the loop's thread. */
#ifndef ORDERD_NET_HTTP_SERVER_H
#define ORDERD_NET_HTTP_SERVER_H

#include "base/config.h"
#include "base/metrics.h"
#include "base/text.h"
#include "net/http_parser.h"
#include "net/loop.h"

/** The largest body that is taken. */
#define HTTP_BODY_BYTES_MAX ((size_t)1 << 20)

/** The largest body of an answer for which there may be room. */
#define HTTP_ANSWER_BYTES_MAX (((size_t)1 << 20) + ((size_t)56 << 10))

/** An answer of up to this size, head included, always has room. */
#define HTTP_ANSWER_BYTES_SURE 4096

#define HTTP_OPTIONS(X)                                                                            \
    X(uint64, connections_max, "4096", "1..1000000", start,                                        \
      "HTTP connections at once, for each thread; further ones are answered 503")                  \
    X(uint64, backlog, "1024", "1..65535", start,                                                  \
      "Connections that wait in the kernel to be accepted, for each thread")                       \
    X(uint64, head_bytes_max, "8192", "1024..12288", start,                                        \
      "Size of a request line and its header fields; larger is answered 431")                      \
    X(uint64, target_bytes_max, "2048", "64..8192", start,                                         \
      "Size of a request target; longer is answered 414")                                          \
    X(uint64, medium_buffers, "256", "1..65536", start,                                            \
      "Buffers of 72 KiB for bodies and answers, for each thread; none left is answered 503")      \
    X(uint64, large_buffers, "64", "1..65536", start,                                              \
      "Buffers of 1,088 KiB for bodies and answers, for each thread; none left is answered 503")   \
    X(uint64, head_timeout_ms, "10000", "1..3600000", start,                                       \
      "Time for a whole request head, from its first byte")                                        \
    X(uint64, body_timeout_ms, "20000", "1..3600000", start,                                       \
      "Time for a request body, or for each 64 KiB of a large one")                                \
    X(uint64, idle_timeout_ms, "75000", "1..86400000", start,                                      \
      "Time that a connection may be open without a request")                                      \
    X(uint64, write_timeout_ms, "20000", "1..3600000", start,                                      \
      "Time in which a peer must read what is sent to it, or 64 KiB of it")                        \
    X(uint64, linger_timeout_ms, "2000", "1..60000", start,                                        \
      "Time to go on reading after a refusal, so that the peer gets to read it")                   \
    X(uint64, receive_buffer_bytes, "0", "0..67108864", start,                                     \
      "Receive buffer of a socket in the kernel; 0: the system's choice")                          \
    X(uint64, send_buffer_bytes, "0", "0..67108864", start,                                        \
      "Send buffer of a socket in the kernel; 0: the system's choice")

struct http_options {
    HTTP_OPTIONS(CONFIG_FIELD)
};

#define HTTP_COUNT_OPTION(...) +1
enum { HTTP_OPTION_COUNT = 0 HTTP_OPTIONS(HTTP_COUNT_OPTION) };
extern const struct config_option http_option_table[HTTP_OPTION_COUNT];

#define HTTP_METRICS(X)                                                                            \
    X(gauge, connections, "HTTP connections that are open")                                        \
    X(gauge, streams, "HTTP connections that carry a stream of events")                            \
    X(gauge, medium_buffers_taken, "Buffers of 72 KiB in use")                                     \
    X(gauge, large_buffers_taken, "Buffers of 1,088 KiB in use")                                   \
    X(counter, connections_accepted_total, "HTTP connections accepted")                            \
    X(counter, connections_refused_total, "HTTP connections refused because of connections_max")   \
    X(counter, accept_pauses_total, "Times that accepting stopped for want of descriptors")        \
    X(counter, requests_total, "Requests whose head was well-formed")                              \
    X(counter, malformed_total, "Requests refused for their form")                                 \
    X(counter, answers_2xx_total, "Answers with a status of 200 to 299")                           \
    X(counter, answers_3xx_total, "Answers with a status of 300 to 399")                           \
    X(counter, answers_4xx_total, "Answers with a status of 400 to 499")                           \
    X(counter, answers_5xx_total, "Answers with a status of 500 to 599")                           \
    X(counter, received_bytes_total, "Bytes read from HTTP connections")                           \
    X(counter, sent_bytes_total, "Bytes written to HTTP connections")                              \
    X(counter, buffers_exhausted_total, "Bodies and answers for which no buffer was left")         \
    X(counter, head_timeouts_total, "Requests refused because their head took too long")           \
    X(counter, body_timeouts_total, "Requests refused because their body took too long")           \
    X(counter, idle_timeouts_total, "Connections closed because no request came")                  \
    X(counter, write_timeouts_total, "Connections closed because the peer did not read")           \
    X(counter, broken_total, "Connections that broke while an answer was due or being sent")

struct http_metrics {
    HTTP_METRICS(METRIC_FIELD)
};

/** One request and its answer, until the answer is complete or the connection broke. */
struct http_exchange {
    /* The handler's, zeroed for every request. */
    void *user;
    uint64_t user_words[6];
    /* The server's. */
    uint32_t generation;
    bool active;
    bool streaming;
};

/** Names an exchange for as long as one likes: when the exchange is over, it names nothing. */
struct http_handle {
    uint32_t index;
    uint32_t generation;
};

struct http_handler {
    const struct http_handler_ops *ops;
};

/** What serves the requests. An exchange begins with `head`. It is over when its answer is complete
 *  (every exchange that `request` got is to be answered, at once or later), when `error` was called
 *  for it, or when `gone` was: then its pointer, the head and the body are no longer to be used.
 *  For what is wrong with a head `error` is called without `head` before it. */
struct http_handler_ops {
    /** The head is there, the body is not read yet. Returns the largest body that is taken, at most
     *  HTTP_BODY_BYTES_MAX (a larger one is refused with 413); or answers at once, and then
     *  the result is ignored and a body that follows is read over. */
    size_t (*head)(struct http_handler *handler, struct http_exchange *exchange,
                   const struct http_head *head);
    /** The request is whole. The body, if larger than what fits the input buffer beside the head
     *  (some 8 to 16 KiB), is aligned to 64 bytes; a smaller one is not aligned. */
    void (*request)(struct http_handler *handler, struct http_exchange *exchange,
                    const struct http_head *head, struct slice body);
    /** The server found something wrong: answer with `status`, at once, within
     *  HTTP_ANSWER_BYTES_SURE. @param detail a literal that names what was wrong. With a 503
     *  (no buffer is free) belongs a Retry-After. */
    void (*error)(struct http_handler *handler, struct http_exchange *exchange, unsigned status,
                  const char *detail);
    /** A stream that was short of room has room again. May be NULL if there are no streams. */
    void (*room)(struct http_handler *handler, struct http_exchange *exchange);
    /** The connection of an unanswered exchange (its body may still have been on its way) or an
     *  open stream is no more: it broke, the peer left, or the server drains and has ended the
     *  stream. Only `user` and `user_words` may still be looked at, now; the answer, if one is
     *  being made, goes nowhere. */
    void (*gone)(struct http_handler *handler, struct http_exchange *exchange);
};

struct http_server;

struct http_server_setup {
    struct loop *loop;
    struct http_options options;
    struct http_handler *handler;
};

/** NULL with `fault` where memory is short. Everything in `setup` outlives the server. */
struct http_server *http_server_create(const struct http_server_setup *setup, struct fault *fault);

/** Closes what is open (`gone` is called for what was unanswered) and gives the memory back. */
void http_server_destroy(struct http_server *server);

void http_server_register_metrics(struct http_server *server, struct metrics *metrics,
                                  const char *labels);

/** Listens on an address as "127.0.0.1:8080" or "[::1]:8080"; port 0 takes one that is free. */
MUST_CHECK bool http_server_listen(struct http_server *server, const char *address,
                                   struct fault *fault);

/** The port that is listened on. */
uint16_t http_server_port(const struct http_server *server);

/** Serves a connected non-blocking stream socket, and owns it from then on. */
void http_server_adopt(struct http_server *server, int fd);

/** Stops listening, closes idle connections, ends streams, and from now on closes each connection
 *  when what it has sent is answered. */
void http_server_drain(struct http_server *server);

/** True when no connection is left. */
bool http_server_is_idle(const struct http_server *server);

/* Exchanges */

struct http_handle http_exchange_handle(const struct http_exchange *exchange);

/** NULL where that exchange is over. */
struct http_exchange *http_server_exchange(struct http_server *server, struct http_handle handle);

/** The head of the request that is being answered. */
const struct http_head *http_exchange_head(const struct http_exchange *exchange);

/* Answers. Content-Length and Connection are the server's affair; so is leaving the body out where
 * the method is HEAD or the status 204 or 304. On an exchange that is over nothing happens and the
 * result is false. */

struct http_answer {
    unsigned status;
    struct slice content_type; /* empty: none */
    const struct http_field *fields;
    size_t field_count;
    bool aligned; /* the room for the body is to be aligned to 64 bytes */
};

/** Makes room for a body of up to `body_bytes_max` where it will be sent from; write it to
 *  `body->data`, then call http_respond_end before anything else happens to the exchange. False
 *  when no buffer of that size is free now: answer 503 instead, which always has room. */
MUST_CHECK bool http_respond_begin(struct http_exchange *exchange, const struct http_answer *answer,
                                   size_t body_bytes_max, struct text *body);

/** Completes the answer: the body is the first `body_bytes` of the room. */
void http_respond_end(struct http_exchange *exchange, size_t body_bytes);

/** Both at once, for a body that lies elsewhere. */
MUST_CHECK bool http_respond(struct http_exchange *exchange, const struct http_answer *answer,
                             struct slice body);

/** The plain answer to an error, as a handler without `error` would give it. */
void http_respond_plain(struct http_exchange *exchange, unsigned status, const char *detail);

/* Streams: answers of unknown length, written bit by bit (server-sent events). What is written in
 * one iteration of the loop leaves with one send. */

/** Begins one. False when there is nothing more to do: the method was HEAD, so the answer is
 *  complete, or the exchange is over. */
MUST_CHECK bool http_stream_begin(struct http_exchange *exchange, const struct http_answer *answer);

/** How many bytes one http_stream_write takes now. When they are fewer than half of the most there
 *  can be, `room` is called when all that was written has left. */
size_t http_stream_room(struct http_exchange *exchange);

/** Writes all of `data`, or nothing (false) where there is no room: then `room` will be called. */
MUST_CHECK bool http_stream_write(struct http_exchange *exchange, struct slice data);

/** Completes the answer. */
void http_stream_end(struct http_exchange *exchange);

#endif
