/** What every request to a port has: who asked, and how it hears that the request is done.
 *
 *  A request is a struct of the caller's that begins with a port_request. The caller fills it in,
 *  hands it to the port, and leaves it alone until `done` is called, on the caller's own thread,
 *  when that thread drains its mailbox with port_drain. A port that took a request always
 *  completes it, with a result for every item: when the tier behind does not answer in time, that
 *  is the result. */
#ifndef ORDERD_PORT_PORT_REQUEST_H
#define ORDERD_PORT_PORT_REQUEST_H

#include "base/mailbox.h"

#include <assert.h>

struct port_request {
    void (*done)(struct port_request *request);
    struct mailbox *mailbox; /* of the submitter, roomy enough for all that it has outstanding */
    uint32_t operation;      /* the port's, while it has the request */
};

/** What a port says when it is handed a request. */
enum port_submit {
    PORT_TAKEN,
    PORT_BUSY /* nothing was taken: the queue is full; answer "busy", or submit again later */
};

/** @thread the port's. */
static inline void port_complete(struct port_request *request) {
    bool sent = mailbox_send(request->mailbox, request);
    assert(sent); /* the submitter sized its box for what it has outstanding */
}

/** Calls `done` for up to `limit` completed requests; returns how many there were.
 *  @thread the submitter's. */
static inline size_t port_drain(struct mailbox *mailbox, size_t limit) {
    size_t count = 0;
    struct port_request *request;
    while (count < limit && (request = mailbox_take(mailbox)) != NULL) {
        request->done(request);
        count++;
    }
    return count;
}

/** The result of one item of a request. */
enum order_result {
    ORDER_RESULT_NONE,        /* not judged yet */
    ORDER_RESULT_CREATED,     /* create: durable now */
    ORDER_RESULT_REPLAYED,    /* create: the reference exists with the same content */
    ORDER_RESULT_CONFLICT,    /* create: the reference exists with another content */
    ORDER_RESULT_CHANGED,     /* change: durable now */
    ORDER_RESULT_UNCHANGED,   /* change: it has that status already */
    ORDER_RESULT_ILLEGAL,     /* change: the state machine has no such move */
    ORDER_RESULT_MISMATCH,    /* change, release: another version than was asked for */
    ORDER_RESULT_BAD_TIME,    /* change: a time that it does not set or that cannot be */
    ORDER_RESULT_FOUND,       /* get, find: the whole order */
    ORDER_RESULT_FOUND_ID,    /* find: the id; the order is in the archive */
    ORDER_RESULT_FOUND_STATE, /* query view: only the order's id, version and status */
    ORDER_RESULT_ABSENT,      /* this tier answered, and does not have it */
    ORDER_RESULT_STORED,      /* put: this or a higher version is there */
    ORDER_RESULT_RELEASED,    /* release: no longer a hot order */
    ORDER_RESULT_BUSY,        /* nothing happened: no room, or the slot is ahead of the clock */
    ORDER_RESULT_UNAVAILABLE, /* nothing happened: the tier does not answer */
    ORDER_RESULT_UNKNOWN,     /* it may or may not have happened; the same request again tells */
    ORDER_RESULT_BROKEN       /* what is stored there is no order: it was not used */
};

/** Look-ups by id, of any tier. */
struct order_get_batch {
    struct port_request request;
    size_t count;
    const uint64_t *order_ids;
    struct order_record *orders; /* out: where FOUND */
    uint8_t *results;            /* out: FOUND, ABSENT, UNAVAILABLE or BROKEN */
    void *next;                  /* the port's, while it has the request */
};

#endif
