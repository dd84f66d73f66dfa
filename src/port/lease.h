/** A named lease: at most one holder at a time, across processes. Implemented by adapter/mariadb
 *  (a row of `positions`, timed by the database's clock); simulated in tests.
 *
 *  The holder counts on its own monotonic clock, from before it asked, and stops in time.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_LEASE_H
#define ORDERD_PORT_LEASE_H

#include "base/bytes.h"
#include "port/port_request.h"

#define LEASE_NAME_MAX 64
#define LEASE_POSITION_MAX 1024

/** Takes or renews the lease, and reads the position that is stored with it.
 *  Results: STORED (held until held_until_us), BUSY (somebody else has it), UNAVAILABLE. */
struct lease_request {
    struct port_request request;
    char name[LEASE_NAME_MAX];
    int64_t length_us;
    int64_t held_until_us;             /* out: on this process's monotonic clock */
    char position[LEASE_POSITION_MAX]; /* out: zero-terminated; empty: none */
    uint8_t result;
    void *next; /* the port's, while it has the request */
};

/** Stores a position, if the lease is still ours. Results: STORED, MISMATCH (it is not),
 *  UNAVAILABLE, UNKNOWN. */
struct lease_position {
    struct port_request request;
    char name[LEASE_NAME_MAX];
    char position[LEASE_POSITION_MAX];
    uint8_t result;
    void *next; /* the port's, while it has the request */
};

struct lease_port;

struct lease_ops {
    enum port_submit (*acquire)(struct lease_port *port, struct lease_request *request);
    enum port_submit (*store)(struct lease_port *port, struct lease_position *position);
    /** Gives a lease back, so that the next one need not wait for its end. Best effort. */
    enum port_submit (*release)(struct lease_port *port, struct lease_request *request);
};

/** First member of every implementation. */
struct lease_port {
    const struct lease_ops *ops;
};

#endif
