/** How the embedded store judges the items of its requests, one kind after the other. Part of
 *  embedded_store.c, apart for its length. The store's writing thread, but for store_scan. */
#ifndef ORDERD_ADAPTER_EMBEDDED_STORE_ITEMS_H
#define ORDERD_ADAPTER_EMBEDDED_STORE_ITEMS_H

#include "adapter/embedded/embedded_store.h"

/** What a request in the inbox asks for (port_request.operation). */
enum store_operation { STORE_CREATE, STORE_CHANGE, STORE_RELEASE, STORE_EXPIRE, STORE_FILL };

/** What holds for a whole group. */
struct store_judge {
    int64_t now_us;
    bool stopped;        /* every item is UNAVAILABLE */
    bool refuse_creates; /* creates of new orders are BUSY */
    bool refuse_all;     /* whatever needs the journal is BUSY */
};

/** Judges items of the request, from its progress on, until it is through or the group is full.
 *  Results that hold only once the frame is durable are marked as in flight. */
void store_request_judge(struct embedded_store *store, const struct store_judge *judge,
                         struct port_request *request);

/** Settles what was in flight among the items from `begin` to the request's progress: it holds, or
 *  where the frame is not `durable` nobody knows. */
void store_request_conclude(struct embedded_store *store, struct port_request *request,
                            size_t begin, bool durable);

size_t store_request_progress(const struct port_request *request);

/** True where every item has its result. */
MUST_CHECK bool store_request_is_through(const struct port_request *request);

/** One slice of a scan over the RAM table, or what was noticed. @thread any; for what was noticed
 *  always the same one. */
void store_scan(struct embedded_store *store, struct order_scan_batch *batch);

#endif
