/** The commands of the Redis protocol (API, section 6): orders and their statuses by id, read-only,
 *  and what client programs send on connecting. One instance a network loop; everything here runs
 *  on that loop's thread.
 *
 *  The ids of all commands that came together are looked up in memory as one batch. What memory
 *  does not have is read through the query service, as a GET over HTTP is; meanwhile that
 *  connection waits, with memory from a pool of the instance. */
#ifndef ORDERD_API_RESP_H
#define ORDERD_API_RESP_H

#include "net/resp_server.h"
#include "service/order_options.h"
#include "service/query.h"

/** Keys of one MGET or MSTATUS. */
#define API_RESP_KEYS_MAX 1024

#define API_RESP_METRICS(X)                                                                        \
    X(counter, resp_keys_total, "Orders asked for by the commands of the Redis protocol")          \
    X(counter, resp_lookups_total, "Times that a RESP connection waited for a tier below")         \
    X(counter, resp_refused_total, "Keys answered with TRYAGAIN")

struct api_resp_metrics {
    API_RESP_METRICS(METRIC_FIELD)
};
extern const struct metric_description api_resp_metric_table[];
extern const size_t api_resp_metric_count;

struct api_resp_parts {
    const struct order_terms *terms;
    struct query_service *query;
    struct loop *loop;
    size_t lookups_max; /* connections that may wait at once */
    const char *version;
};

struct api_resp;

/** NULL where memory is short. */
struct api_resp *api_resp_create(const struct api_resp_parts *parts);

/** The RESP server must be gone, and the query service must have nothing outstanding any more. */
void api_resp_destroy(struct api_resp *api);

/** To be handed to the RESP server. */
struct resp_handler *api_resp_handler(struct api_resp *api);

struct api_resp_metrics *api_resp_metrics(struct api_resp *api);

#endif
