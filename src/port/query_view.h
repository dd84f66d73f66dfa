/** What one query instance answers, asked as its clients ask: for the checker.
 *
 *  Implemented by adapter/query_http, over HTTP; simulated in tests.
 *
 *  Both operations take at most QUERY_VIEW_BATCH_MAX ids. Their results:
 *  - FOUND: the whole order, a possible one with this id.
 *  - FOUND_STATE: of the order only id, version and status, the rest is zero. From `states` always;
 *    from `get` where the instance has no whole orders to give just now.
 *  - ABSENT: the instance says that there is no such order.
 *  - UNKNOWN: it says that it does not know now (a look-up goes on, or a tier is down).
 *  - UNAVAILABLE: it did not answer in time, or what it sent is no answer. Then all items are.
 *
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_QUERY_VIEW_H
#define ORDERD_PORT_QUERY_VIEW_H

#include "order/record.h"
#include "port/port_request.h"

#define QUERY_VIEW_BATCH_MAX 256

/** Query instances that one checker looks at. */
#define QUERY_VIEWS_MAX 16

struct query_view;

struct query_view_ops {
    enum port_submit (*get)(struct query_view *view, struct order_get_batch *batch);
    enum port_submit (*states)(struct query_view *view, struct order_get_batch *batch);
};

/** First member of every implementation. */
struct query_view {
    const struct query_view_ops *ops;
    const char *name; /* for people and metrics: host:port. Outlives the view */
};

#endif
