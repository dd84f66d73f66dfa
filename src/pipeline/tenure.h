/** Keeps one named lease for work that one instance of a cluster does at a time: takes it when it
 *  is free, renews it, and counts on its own monotonic clock how long it holds.
 *
 *  What is done under it must be harmless when done twice (changes compare versions): a lease that
 *  ends in the middle of a step only means that somebody else begins the same.
 *
 *  A plain state machine, driven like archiver.h, but on the monotonic clock. */
#ifndef ORDERD_PIPELINE_TENURE_H
#define ORDERD_PIPELINE_TENURE_H

#include "base/clock.h"
#include "port/lease.h"

struct tenure {
    struct lease_port *port;
    const struct clock *monotonic;
    struct lease_request request;
    int64_t held_until_us; /* 0: not held */
    int64_t ask_at_us;     /* when it is to be taken or renewed */
    bool busy;
    bool stopping;
};

/** Completions that may be in the mailbox at once. */
#define TENURE_OUTSTANDING_MAX 1

/** @param name below LEASE_NAME_MAX characters. The tenure must not move afterwards. */
void tenure_init(struct tenure *tenure, struct lease_port *port, const struct clock *monotonic,
                 struct mailbox *mailbox, const char *name, int64_t length_us);

/** Takes or renews where that is due. Returns when it is to be called again, at the latest. */
int64_t tenure_step(struct tenure *tenure);

/** True while the lease is ours. */
MUST_CHECK bool tenure_holds(const struct tenure *tenure);

/** Gives it back, so that the next one need not wait for its end. */
void tenure_stop(struct tenure *tenure);

MUST_CHECK bool tenure_is_busy(const struct tenure *tenure);

#endif
