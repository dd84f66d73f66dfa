/** Conversations with a whole server over a pair of sockets, for the fuzz targets that have one:
 * the input is sent, whole or in pieces, and what the server said is kept to be judged. At the end
 *  the server must have no connection left.
 *
 *  The target gives the memory and sets the first fields; `said` is the conversation's. */
#ifndef ORDERD_TESTS_CONVERSATION_H
#define ORDERD_TESTS_CONVERSATION_H

#include "base/random.h"
#include "fuzz.h"
#include "net/connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONVERSATION_CHECK(condition) FUZZ_CHECK(condition, "see the input")

/** Turns of the loop in which a server has to be done when its peer has said everything. */
#define CONVERSATION_TURNS_MAX 5000

struct conversation {
    void *context;
    void (*adopt)(void *context, int fd);
    void (*turn)(void *context); /* of the loop, and of whatever waits beside it */
    const struct connection_set *set;
    char *said; /* by the server, since conversation_hold began */
    size_t said_size;
    size_t said_capacity;
};

static inline size_t conversation_piece(struct random_source *random, size_t left) {
    size_t most = random_chance(random, 1, 4) ? left : bytes_min_size(left, 24);
    return 1 + (size_t)random_below(random, most);
}

/** Takes what the server said; false at the end of the connection. */
static inline bool conversation_listen(struct conversation *conversation, int fd) {
    for (;;) {
        if (conversation->said_capacity - conversation->said_size < 65536) {
            conversation->said_capacity = conversation->said_capacity * 2 + 65536;
            conversation->said = realloc(conversation->said, conversation->said_capacity);
            CONVERSATION_CHECK(conversation->said != NULL);
        }
        ssize_t got = recv(fd, conversation->said + conversation->said_size, 65536, MSG_DONTWAIT);
        if (got <= 0) {
            return got < 0 && errno == EAGAIN;
        }
        conversation->said_size += (size_t)got;
    }
}

static inline void conversation_say(struct conversation *conversation, int fd, const char *data,
                                    size_t size) {
    while (size > 0 && conversation_listen(conversation, fd)) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        conversation->turn(conversation->context);
    }
}

/** One connection from beginning to end. @param random where the pieces end; NULL: one piece. */
static inline void conversation_hold(struct conversation *conversation, const char *data,
                                     size_t size, struct random_source *random) {
    const struct connection_set *set = conversation->set;
    int fds[2];
    conversation->said_size = 0;
    CONVERSATION_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    conversation->adopt(conversation->context, fds[1]);
    for (size_t at = 0; at < size;) {
        size_t piece = random == NULL ? size : conversation_piece(random, size - at);
        conversation_say(conversation, fds[0], data + at, piece);
        at += piece;
    }
    (void)shutdown(fds[0], SHUT_WR);
    for (int i = 0; i < CONVERSATION_TURNS_MAX && conversation_listen(conversation, fds[0]); i++) {
        conversation->turn(conversation->context);
    }
    CONVERSATION_CHECK(!conversation_listen(conversation, fds[0])); /* nothing is left waiting */
    (void)close(fds[0]);
    while (connection_set_open_count(set) > 0) {
        conversation->turn(conversation->context);
    }
    CONVERSATION_CHECK(buffer_pool_taken(&set->input_pool) == 0);
    CONVERSATION_CHECK(buffer_pool_taken(&set->pools.small) == 0);
    CONVERSATION_CHECK(buffer_pool_taken(&set->pools.medium) == 0);
    CONVERSATION_CHECK(buffer_pool_taken(&set->pools.large) == 0);
}

/** Holds it twice, whole and in pieces: the server has to say the same. @param settle takes out of
 *  `said` what may differ; NULL: nothing may. */
static inline void conversation_compare(struct conversation *conversation, const char *data,
                                        size_t size, struct random_source *random,
                                        void (*settle)(struct conversation *conversation)) {
    struct random_source *ways[] = {NULL, random};
    char *whole = NULL;
    size_t whole_size = 0;
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        conversation_hold(conversation, data, size, ways[i]);
        if (settle != NULL) {
            settle(conversation);
        }
        if (ways[i] == NULL) {
            whole = conversation->said;
            whole_size = conversation->said_size;
            conversation->said = NULL;
            conversation->said_capacity = 0;
        }
    }
    CONVERSATION_CHECK(conversation->said_size == whole_size);
    CONVERSATION_CHECK(whole_size == 0 || memcmp(conversation->said, whole, whole_size) == 0);
    free(whole);
}

#endif
