/** What is still to be sent on one socket: one contiguous buffer, so that it leaves with one call.
 *  Answers are built in it, where they are sent from. It begins in a small buffer; what does not
 *  fit is built in a larger one, if one is free. Empty, it holds none.
 *
 *  The owner gives the memory of the struct and the pools. It knows no protocol. One thread. */
#ifndef ORDERD_NET_OUTPUT_H
#define ORDERD_NET_OUTPUT_H

#include "net/buffer_pool.h"

struct output {
    struct buffer_pool *pool; /* whose `data` is; NULL where there is none */
    char *data;
    size_t begin; /* what is before it has left */
    size_t end;
    uint64_t sent; /* bytes, since the struct was zeroed */
};

static inline size_t output_pending(const struct output *output) {
    return output->end - output->begin;
}

/** Makes room for `size` bytes behind what is there. False when no buffer is free; never where all
 *  that is pending and `size` fit a small buffer together, if there is one for each output. */
MUST_CHECK bool output_reserve(struct output *output, struct buffer_pools *pools, size_t size);

/** The room was reserved. */
void output_append(struct output *output, struct slice data);

/** Moves what is there before the offset `upto` by `distance` towards the end. */
void output_shift(struct output *output, size_t upto, size_t distance);

/** Drops what is pending and gives the buffer back. */
void output_release(struct output *output);

enum output_result {
    OUTPUT_SENT,    /* all of it; the buffer was given back */
    OUTPUT_BLOCKED, /* the socket is full: go on when it is writable */
    OUTPUT_BROKEN   /* the connection is no more */
};

/** Sends what the socket takes. */
MUST_CHECK enum output_result output_send(struct output *output, int fd);

/** How many of the bytes that were sent the peer has acknowledged; less than that, and even less
 *  than 0, where the kernel counts its own overhead as sent and waiting. It rises as the peer
 *  reads. */
int64_t output_acknowledged(const struct output *output, int fd);

#endif
