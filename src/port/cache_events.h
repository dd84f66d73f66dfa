/** What the cache tells of entries that it dropped by itself: expired or evicted. It does not
 *  promise to tell; what it does not tell is the checker's work. Implemented by adapter/redis
 *  (keyspace events of every master); simulated in tests.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_CACHE_EVENTS_H
#define ORDERD_PORT_CACHE_EVENTS_H

#include "base/bytes.h"
#include "port/port_request.h"

enum cache_event_kind { CACHE_EVENT_EXPIRED = 1, CACHE_EVENT_EVICTED = 2 };

struct cache_event {
    uint64_t order_id;
    enum cache_event_kind kind;
};

/** Results: FOUND (count may be 0), UNAVAILABLE (no node is listened to). */
struct cache_events_read {
    struct port_request request;
    uint32_t wait_ms;
    size_t limit;
    size_t count; /* out */
    struct cache_event *events;
    uint64_t lost; /* out: events that were dropped since the last read because nobody read */
    uint8_t result;
    void *next; /* the port's, while it has the request */
};

struct cache_events;

struct cache_events_ops {
    enum port_submit (*read)(struct cache_events *events, struct cache_events_read *request);
};

/** First member of every implementation. */
struct cache_events {
    const struct cache_events_ops *ops;
};

#endif
