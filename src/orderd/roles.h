/** What a process of a cluster does: `server.roles`. Pure functions, any thread. */
#ifndef ORDERD_ORDERD_ROLES_H
#define ORDERD_ORDERD_ROLES_H

#include "base/bytes.h"
#include "base/fault.h"

#define ROLE_LIST(X)                                                                               \
    X(COMMAND, "command") /* creates and changes over HTTP */                                      \
    X(QUERY, "query")     /* reads over HTTP and RESP, and both event streams */                   \
    X(RELAY, "relay")     /* the stores' logs to orders.changes */                                 \
    X(CACHE, "cache")     /* orders.changes to Redis */                                            \
    X(REFRESH, "refresh") /* what Redis dropped comes back */                                      \
    X(RESULTS, "results") /* balance.results to changes */                                         \
    X(TIMEOUT, "timeout") /* orders past their time */                                             \
    X(EXPIRY, "expiry")   /* references past the idempotency window */                             \
    X(ARCHIVE, "archive") /* final orders to Cassandra */                                          \
    X(AUDIT, "audit")     /* compares the tiers and repairs */

enum role {
#define X(name, text) ROLE_##name,
    ROLE_LIST(X)
#undef X
        ROLE_COUNT
};

struct roles {
    bool has[ROLE_COUNT];
};

/** Reads `all`, or names with commas between. False, with one line in `fault`. */
MUST_CHECK bool roles_parse(const char *text, struct roles *roles, struct fault *fault);

#endif
