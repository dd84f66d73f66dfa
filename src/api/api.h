/** The HTTP API (docs/openapi.json): requests to service calls, results to answers. One instance a
 *  network loop; everything here runs on that loop's thread.
 *
 *  A request that cannot be answered at once has a task: memory that lives until the service is
 *  through with it, whether the connection still does or not. Tasks and the larger buffers of
 *  batches come from pools of the instance. */
#ifndef ORDERD_API_API_H
#define ORDERD_API_API_H

#include "net/http_server.h"
#include "port/change_log.h"
#include "service/command.h"
#include "service/order_options.h"
#include "service/query.h"

#define API_OPTIONS(X)                                                                             \
    X(uint64, streams_max, "1024", "1..1000000", start,                                            \
      "Event streams that may be open at once, for each thread")                                   \
    X(uint64, batches_max, "32", "1..1024", start,                                                 \
      "Batches that may be in work at once, for each thread; up to 2.2 MiB each")

struct api_options {
    API_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option api_option_table[];
extern const size_t api_option_count;

#define API_METRICS(X)                                                                             \
    X(counter, creates_total, "Orders asked for by POST /v1/orders")                               \
    X(counter, changes_total, "Changes asked for by PATCH")                                        \
    X(counter, gets_total, "Orders asked for by id")                                               \
    X(counter, finds_total, "Orders asked for by reference")                                       \
    X(counter, batch_items_total, "Items of batches, of any kind")                                 \
    X(counter, events_total, "Events sent on streams")                                             \
    X(gauge, streams, "Event streams that are open")                                               \
    X(counter, streams_dropped_total, "Event streams ended because they could not keep up")        \
    X(counter, refused_total, "Requests refused because a pool was empty")                         \
    X(histogram, create_microseconds, "From request to answer of POST /v1/orders")                 \
    X(histogram, change_microseconds, "From request to answer of PATCH")

struct api_metrics {
    API_METRICS(METRIC_FIELD)
};
extern const struct metric_description api_metric_table[];
extern const size_t api_metric_count;

/** Asked by /readyz: true where every tier that this process needs answers; else which does not is
 *  appended to `reason`. @thread any. */
struct api_readiness {
    bool (*is_ready)(const struct api_readiness *readiness, struct text *reason);
};

struct api_parts {
    const struct clock *clock;
    const struct order_terms *terms;
    struct command_service *command; /* NULL where this process has not that role: 503 */
    struct query_service *query;     /* NULL likewise */
    struct change_log *changes;
    struct mailbox *mailbox; /* of the loop */
    struct loop *loop;
    const struct metrics *metrics;
    const struct api_readiness *readiness;
    const struct api_options *options;
    size_t connections_max; /* of the HTTP server: as many tasks */
};

struct api;

/** NULL where memory is short. */
struct api *api_create(const struct api_parts *parts);
void api_destroy(struct api *api);

/** To be handed to the HTTP server, which is then made known by api_set_server. */
struct http_handler *api_handler(struct api *api);
void api_set_server(struct api *api, struct http_server *server);

struct api_metrics *api_metrics(struct api *api);

/** How many completions the instance itself may have in the loop's mailbox at once. */
size_t api_outstanding_max(const struct api_options *options);

#endif
