/** The server for RESP, the Redis protocol: one a loop. It knows the protocol's form and nothing of
 *  what the commands mean; a handler does.
 *
 *  What a peer has sent is parsed as far as it goes, and the handler gets all of its whole commands
 *  together, so that it can look up what they ask for at once. It answers them in order, now or
 *  later; meanwhile that connection is not read. What was answered in one iteration of the loop
 *  leaves with one send.
 *
 *  Memory is bounded and reserved at the start: connections, for each an input and an output buffer
 *  while it is in use, and two pools of larger ones for long commands and long answers. Every byte
 *  that a peer has not sent yet, or not read yet, has a time limit. A peer that breaks the protocol
 *  is told so and its connection ends.
 *
 *  Everything here runs on the loop's thread. */
#ifndef ORDERD_NET_RESP_SERVER_H
#define ORDERD_NET_RESP_SERVER_H

#include "base/config.h"
#include "base/metrics.h"
#include "base/text.h"
#include "net/loop.h"
#include "net/resp_parser.h"

/** Commands that the handler gets at once. */
#define RESP_COMMANDS_AT_ONCE 32

/** An answer of up to this size, or the answers of one call of the handler together, always have
 *  room. */
#define RESP_ANSWER_BYTES_SURE ((size_t)28 << 10)

/** The largest answer for which there may be room. */
#define RESP_ANSWER_BYTES_MAX ((size_t)1 << 20)

#define RESP_NAME_BYTES_MAX 64

#define RESP_OPTIONS(X)                                                                            \
    X(text, listen, "127.0.0.1:6390", "", start,                                                   \
      "Address for clients that speak the Redis protocol; empty: none")                            \
    X(uint64, connections_max, "1024", "1..1000000", start,                                        \
      "RESP connections at once, for each thread; further ones are refused")                       \
    X(uint64, backlog, "1024", "1..65535", start,                                                  \
      "Connections that wait in the kernel to be accepted, for each thread")                       \
    X(uint64, medium_buffers, "128", "1..65536", start,                                            \
      "Buffers of 72 KiB for long commands and answers, for each thread")                          \
    X(uint64, large_buffers, "32", "1..65536", start,                                              \
      "Buffers of 1,088 KiB for long commands and answers, for each thread")                       \
    X(uint64, command_timeout_ms, "10000", "1..3600000", start,                                    \
      "Time for a whole command, from its first byte")                                             \
    X(uint64, idle_timeout_ms, "300000", "1..86400000", start,                                     \
      "Time that a connection may be open without a command")                                      \
    X(uint64, write_timeout_ms, "20000", "1..3600000", start,                                      \
      "Time in which a peer must read what is sent to it, or 64 KiB of it")                        \
    X(uint64, linger_timeout_ms, "2000", "1..60000", start,                                        \
      "Time to go on reading after a refusal, so that the peer gets to read it")                   \
    X(uint64, lookups_max, "256", "1..65536", start,                                               \
      "Connections that may wait for a tier below at once, for each thread")

struct resp_options {
    RESP_OPTIONS(CONFIG_FIELD)
};

#define RESP_COUNT_OPTION(...) +1
enum { RESP_OPTION_COUNT = 0 RESP_OPTIONS(RESP_COUNT_OPTION) };
extern const struct config_option resp_option_table[RESP_OPTION_COUNT];

#define RESP_METRICS(X)                                                                            \
    X(gauge, connections, "RESP connections that are open")                                        \
    X(gauge, large_buffers_taken, "Buffers of 1,088 KiB in use")                                   \
    X(counter, connections_accepted_total, "RESP connections accepted")                            \
    X(counter, connections_refused_total, "RESP connections refused because of connections_max")   \
    X(counter, accept_pauses_total, "Times that accepting stopped for want of descriptors")        \
    X(counter, commands_total, "Commands that were answered")                                      \
    X(counter, malformed_total, "Connections ended because of what they sent")                     \
    X(counter, received_bytes_total, "Bytes read from RESP connections")                           \
    X(counter, sent_bytes_total, "Bytes written to RESP connections")                              \
    X(counter, buffers_exhausted_total, "Commands and answers for which no buffer was left")       \
    X(counter, command_timeouts_total, "Connections ended because a command took too long")        \
    X(counter, idle_timeouts_total, "Connections closed because no command came")                  \
    X(counter, write_timeouts_total, "Connections closed because the peer did not read")           \
    X(counter, broken_total, "Connections that broke while an answer was due or being sent")

struct resp_metrics {
    RESP_METRICS(METRIC_FIELD)
};

/** What the handler sees of a connection. */
struct resp_session {
    /* The handler's; NULL at the beginning. */
    void *user;
    unsigned protocol; /* 2, or 3 after HELLO 3 */
    uint64_t number;   /* of the connection, unlike every other of this server */
    uint32_t name_size;
    char name[RESP_NAME_BYTES_MAX];
};

struct resp_handler {
    const struct resp_handler_ops *ops;
};

struct resp_handler_ops {
    /** `count` whole commands wait, none of them empty. Answers the first ones, in order, and
     *  returns how many; or returns 0, calls resp_session_resume later, and gets the same commands
     *  again then. */
    size_t (*serve)(struct resp_handler *handler, struct resp_session *session,
                    const struct resp_command *commands, size_t count);
    /** The connection is no more. Called only where `user` is not NULL. */
    void (*gone)(struct resp_handler *handler, struct resp_session *session);
};

struct resp_server;

struct resp_server_setup {
    struct loop *loop;
    struct resp_options options;
    struct resp_handler *handler;
};

struct resp_server *resp_server_create(const struct resp_server_setup *setup, struct fault *fault);

/** Ends every connection without delay. */
void resp_server_destroy(struct resp_server *server);

void resp_server_register_metrics(struct resp_server *server, struct metrics *metrics,
                                  const char *labels);

/** Listens on an address as "127.0.0.1:6390" or "[::1]:6390"; port 0 takes one that is free. */
MUST_CHECK bool resp_server_listen(struct resp_server *server, const char *address,
                                   struct fault *fault);

/** The port that is listened on. */
uint16_t resp_server_port(const struct resp_server *server);

/** Serves a connected non-blocking stream socket, and owns it from then on. */
void resp_server_adopt(struct resp_server *server, int fd);

/** Stops listening, closes idle connections, and from now on closes each connection when what it
 *  has sent is answered. */
void resp_server_drain(struct resp_server *server);

/** True when no connection is left. */
bool resp_server_is_idle(const struct resp_server *server);

/** What the handler waited for is there: it gets the commands again, soon. */
void resp_session_resume(struct resp_session *session);

/** Within `serve`: makes room for answers of up to `bytes_max` where they will be sent from. Write
 *  them to `out`, then call resp_answer_end. False when no buffer of that size is free; never for
 *  what is sure (RESP_ANSWER_BYTES_SURE), once in a call. */
MUST_CHECK bool resp_answer_begin(struct resp_session *session, size_t bytes_max, struct text *out);
void resp_answer_end(struct resp_session *session, const struct text *out);

/** The connection ends when the answers have left; commands behind those are not answered. */
void resp_session_close(struct resp_session *session);

#endif
