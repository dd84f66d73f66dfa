/** What every connection of a server is, whatever it speaks: a socket on the loop with remembered
 *  readiness, an output, a time limit, and its places in the server's lists; and what a server
 * keeps for all of them. It knows no protocol: the servers for HTTP and RESP stand on it.
 *
 *  The protocol's connection holds a `struct connection`, its server a `struct connection_set`. The
 *  protocol decides what happens when (its functions call these, never the other way round, but for
 *  the callbacks of the loop that it gives). A connection is only ever closed at the end of
 * whatever drove it; deeper down its end is noted (`broken`).
 *
 *  The owners give the memory; what a set reserves itself is its own. The loop's thread only. */
#ifndef ORDERD_NET_CONNECTION_H
#define ORDERD_NET_CONNECTION_H

#include "base/metrics.h"
#include "net/buffer_pool.h"
#include "net/listener.h"
#include "net/output.h"

#include <sys/uio.h>

/** What is read over at once of what nobody wants. */
#define CONNECTION_SCRATCH_BYTES ((size_t)64 << 10)

/** In each span of its time limit a peer that sends or reads something large moves by this much. */
#define CONNECTION_PROGRESS_BYTES_MIN (64 << 10)

/** Time limits. Each runs from when it began to apply, but for the idle one, which any sign of life
 *  moves. */
enum connection_limit {
    LIMIT_NONE,
    LIMIT_IDLE,
    LIMIT_HEAD, /* of a message, or all of a short one */
    LIMIT_BODY,
    LIMIT_WRITE, /* the peer has to read */
    LIMIT_LINGER,
    LIMIT_COUNT
};

struct connection_set {
    struct loop *loop;
    struct listener listener;
    struct loop_hook batch_hook;
    struct loop_hook flush_hook;
    struct list_node resume; /* connections to be driven in this iteration */
    struct list_node later;  /* in the next one: they had their turn */
    struct list_node flush;  /* connections with something to send */
    uint64_t handed;         /* calls of the handler that may have made work for other hooks */
    uint64_t received_bytes;
    uint64_t sent_bytes;
    bool draining;
    uint64_t timeouts_ms[LIMIT_COUNT];
    struct buffer_pool input_pool; /* one for each connection */
    struct buffer_pools pools;     /* the small ones are for output */
    uint32_t count;                /* of connections there can be */
    uint32_t free_count;
    uint32_t *free; /* owned: a stack of the indices of those that are not open */
    char *scratch;  /* owned: CONNECTION_SCRATCH_BYTES, for what is read over */
};

struct connection {
    struct loop_source source;
    struct connection_set *set;
    uint8_t limit; /* enum connection_limit that the timer stands for */
    /* Edge-triggered readiness, remembered. */
    bool readable;
    bool peer_closing; /* the end of the peer's bytes is in sight: read on until it is there */
    bool ended;        /* it was read */
    bool blocked;      /* the socket took less than there was to send */
    bool broken;
    bool lingers;        /* the peer may still be sending when the connection ends */
    bool driving;        /* its protocol is at work and needs no resuming */
    uint32_t reads_left; /* of this turn */
    size_t discard_left; /* bytes that are still read over */
    uint64_t received;
    /* Of `received`, or of what the peer acknowledged, when the span of the limit began. */
    int64_t progress_mark;
    struct list_node resume_node; /* in set->resume or set->later */
    struct list_node flush_node;
    struct timer timer;
    struct output output;
};

/* Sets. */

struct connection_set_setup {
    struct loop *loop;
    uint32_t count;
    size_t input_bytes; /* of each input buffer */
    uint32_t medium_buffers;
    uint32_t large_buffers;
    uint64_t timeouts_ms[LIMIT_COUNT]; /* of each limit */
    /** Drives what connection_set_next_resumed returns; true where that made work for others. */
    bool (*run_batch)(struct loop_hook *hook);
    /** Sends for what connection_set_next_flushed returns, then calls connection_set_end_flush. */
    bool (*run_flush)(struct loop_hook *hook);
};

/** False when memory is short. Needs connection_set_deinit in any case. */
MUST_CHECK bool connection_set_init(struct connection_set *set,
                                    const struct connection_set_setup *setup);

/** Every connection must have been closed. */
void connection_set_deinit(struct connection_set *set);

static inline uint32_t connection_set_open_count(const struct connection_set *set) {
    return set->count - set->free_count;
}

/** The connection that is to be driven next; NULL where there is none left in this iteration. */
static inline struct connection *connection_set_next_resumed(struct connection_set *set) {
    struct list_node *node = list_take_first(&set->resume);
    return node == NULL ? NULL : CONTAINER_OF(node, struct connection, resume_node);
}

/** The connection that is to send next; NULL where there is none left. */
static inline struct connection *connection_set_next_flushed(struct connection_set *set) {
    struct list_node *node = list_take_first(&set->flush);
    return node == NULL ? NULL : CONTAINER_OF(node, struct connection, flush_node);
}

/** Lets those that had their turn go on in the next iteration. */
void connection_set_end_flush(struct connection_set *set);

/** Raises a counter that only this thread raises: no locked instruction is needed. */
static inline void connection_count(_Atomic uint64_t *counter, uint64_t amount) {
    metric_set(counter, metric_get(counter) + amount);
}

/* Connections. */

struct connection_callbacks {
    void (*ready)(struct loop_source *source, uint32_t events);
    void (*expired)(struct timer *timer);
};

/** The index of the connection that connection_open would open; false where all are open. */
MUST_CHECK bool connection_set_next_free(const struct connection_set *set, uint32_t *index);

/** Opens the zeroed connection that is at that index. False when the system refuses; then `fd` is
 *  still the caller's. */
MUST_CHECK bool connection_open(struct connection *connection, struct connection_set *set, int fd,
                                const struct connection_callbacks *callbacks);

/** Closes it without delay; it is the one at `index`. */
void connection_close(struct connection *connection, uint32_t index);

/** The peer gives a sign. @param reading the protocol still reads, and so finds the end itself. */
void connection_note_events(struct connection *connection, uint32_t events, bool reading);

/** It is driven: the next reads are a new turn. */
void connection_begin_turn(struct connection *connection);

void connection_resume_soon(struct connection *connection);

/** It had its turn: goes on in the next iteration. */
void connection_resume_later(struct connection *connection);

void connection_flush_soon(struct connection *connection);

/** Reads into `parts` (`wanted` bytes in all) and notes what the result says about readiness.
 *  Returns the number of bytes; 0: none now, or the end, or broken. */
size_t connection_receive_parts(struct connection *connection, struct iovec *parts, size_t count,
                                size_t wanted);
size_t connection_receive(struct connection *connection, char *data, size_t wanted);

/** Reads over up to `discard_left` bytes. Returns how many. */
size_t connection_discard(struct connection *connection);

/** Sends what the socket takes. */
void connection_send(struct connection *connection);

/** Everything was sent and nothing more will be: true where the peer is told so, and what it still
 *  sends is now to be read over; else the connection is to be closed.
 *  @param unread bytes of the peer lie unread. */
MUST_CHECK bool connection_linger(struct connection *connection, bool unread);

/** Begins a span of `limit`. */
void connection_begin_limit(struct connection *connection, enum connection_limit limit);

/** From now on `limit` applies. The timer of one that no longer does runs on and finds nothing to
 *  do. */
void connection_see_to_limit(struct connection *connection, enum connection_limit limit);

/** The timer expired: the limit that has run out, which no longer applies; LIMIT_NONE where there
 *  is none, or a new span of it began since `progress_bytes_min` have moved. */
MUST_CHECK enum connection_limit connection_limit_expired(struct connection *connection,
                                                          int64_t progress_bytes_min);

#endif
