/** A listening TCP socket on a loop. Several loops may listen on the same address, each with a
 *  listener of its own: the kernel spreads the connections (SO_REUSEPORT).
 *
 *  It knows no protocol: accepted sockets are handed to the owner, non-blocking, without Nagle's
 *  delay, with the socket buffers asked for (all but the first are inherited from the listening
 *  socket, so they cost no calls). The owner gives the memory. The loop's thread only. */
#ifndef ORDERD_NET_LISTENER_H
#define ORDERD_NET_LISTENER_H

#include "net/loop.h"

struct listener;

struct listener_setup {
    struct loop *loop;
    const char *address; /* "127.0.0.1:8080" or "[::1]:8080"; port 0: any that is free */
    int backlog;
    int receive_buffer_bytes; /* 0: the system's own choice */
    int send_buffer_bytes;
    /** How long sent data may stay unacknowledged before the kernel takes the peer for lost. */
    unsigned lost_after_ms; /* 0: the system's own choice */
    /** Takes over the descriptor. */
    void (*accepted)(struct listener *listener, int fd);
};

struct listener {
    struct loop_source source;
    struct timer pause; /* runs while the process is short of descriptors */
    struct loop *loop;
    void (*accepted)(struct listener *listener, int fd);
    uint64_t pauses;
    uint16_t port;
    bool open;
};

MUST_CHECK bool listener_open(struct listener *listener, const struct listener_setup *setup,
                              struct fault *fault);

/** Accepts what the kernel has already connected, then stops listening: later connections are
 *  refused. Nothing happens where it is closed. */
void listener_close(struct listener *listener);

#endif
