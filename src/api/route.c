#include "api/api_internal.h"
#include "order/order_id.h"

struct fixed_path {
    struct slice path;
    enum api_resource resource;
};

static const struct fixed_path fixed_paths[] = {
    {SLICE_LITERAL("/v1/orders"), API_ORDERS},
    {SLICE_LITERAL("/v1/batch/statuses"), API_BATCH_STATUSES},
    {SLICE_LITERAL("/v1/batch/orders"), API_BATCH_ORDERS},
    {SLICE_LITERAL("/v1/batch/get"), API_BATCH_GET},
    {SLICE_LITERAL("/v1/changes"), API_CHANGES},
    {SLICE_LITERAL("/healthz"), API_HEALTH},
    {SLICE_LITERAL("/readyz"), API_READY},
    {SLICE_LITERAL("/metrics"), API_METRICS_TEXT},
    {SLICE_LITERAL("/openapi.json"), API_OPENAPI},
    {SLICE_LITERAL("*"), API_SERVER},
};

/** What stands behind "/v1/orders/". */
static struct api_target route_order(struct slice rest) {
    struct slice events = SLICE_LITERAL("/events");
    struct api_target target = {.resource = API_ORDER};
    const char *slash = rest.size == 0 ? NULL : memchr(rest.data, '/', rest.size);
    if (slash != NULL) {
        size_t id_size = (size_t)(slash - rest.data);
        if (!slice_equal((struct slice){slash, rest.size - id_size}, events)) {
            return (struct api_target){.resource = API_NOTHING};
        }
        rest.size = id_size;
        target.resource = API_ORDER_EVENTS;
    }
    if (!order_id_parse(rest, &target.order_id)) {
        target.resource = API_BAD_ORDER_ID;
    }
    return target;
}

struct api_target api_route(struct slice path) {
    struct slice orders = SLICE_LITERAL("/v1/orders/");
    if (path.size >= orders.size && memcmp(path.data, orders.data, orders.size) == 0) {
        return route_order((struct slice){path.data + orders.size, path.size - orders.size});
    }
    for (size_t i = 0; i < ARRAY_COUNT(fixed_paths); i++) {
        if (slice_equal(path, fixed_paths[i].path)) {
            return (struct api_target){.resource = fixed_paths[i].resource};
        }
    }
    return (struct api_target){.resource = API_NOTHING};
}
