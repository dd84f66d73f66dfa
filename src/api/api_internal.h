/** What the parts of the API share; private to src/api. Every function is called on the loop that
 *  owns the API. */
#ifndef ORDERD_API_API_INTERNAL_H
#define ORDERD_API_API_INTERNAL_H

#include "api/api.h"
#include "api/problem.h"

#define API_BATCH_RECORDS_MAX 8192
#define API_BATCH_LINES_MAX 1000
#define API_ORDER_BODY_BYTES_MAX ((size_t)16 * 1024)
#define API_BATCH_BODY_BYTES_MAX ((size_t)1024 * 1024)

/** One request that waits for a service. */
struct api_task {
    struct api *api;
    struct api_task *next; /* in the list of free ones */
    struct http_handle handle;
    int64_t begun_us;
    union {
        struct command_create create;
        struct command_change change;
        struct query_get get;
        struct query_find find;
    };
};

/** The outcome of one line or record of a batch. */
struct api_item {
    uint16_t code; /* HTTP status; 0: it went to the store, as item `place` of the batch */
    uint16_t place;
    uint32_t text_at; /* of its problem in the bulk's texts, for lines */
    uint32_t text_size;
};

/** The memory of one batch in work. */
struct api_bulk {
    struct api *api;
    struct api_bulk *next; /* in the list of free ones */
    struct http_handle handle;
    size_t count; /* items of the request */
    union {
        struct order_create_batch create;
        struct query_many many;
    };
    struct api_item *items;      /* API_BATCH_RECORDS_MAX */
    struct order_record *orders; /* API_BATCH_RECORDS_MAX, aligned */
    uint64_t *hashes;            /* API_BATCH_RECORDS_MAX; ids of a look-up */
    uint8_t *results;            /* API_BATCH_RECORDS_MAX */
    struct text texts;           /* problems of lines */
    size_t spare_bytes;          /* what longer problems may take of the answer */
};

struct api_streams;

struct api {
    struct http_handler handler;
    struct http_server *server;
    const struct clock *clock;
    const struct order_terms *terms;
    struct command_service *command;
    struct query_service *query;
    struct change_log *changes;
    struct mailbox *mailbox;
    struct loop *loop;
    const struct metrics *metric_registry;
    const struct api_readiness *readiness;
    struct loop_hook hook;
    struct api_task *free_tasks;
    struct api_bulk *free_bulks;
    struct api_streams *streams; /* owned */
    struct order_scanner scanner;
    struct api_metrics metrics;
    struct api_task *tasks; /* owned */
    struct api_bulk *bulks; /* owned */
    char *bulk_memory;      /* owned: what the bulks point to */
    size_t bulk_memory_bytes;
    struct order_state states[API_BATCH_RECORDS_MAX];
};

/** Takes a task for the exchange; NULL, answered with 503, where none is left. */
struct api_task *api_task_take(struct api *api, struct http_exchange *exchange);
void api_task_give_back(struct api_task *task);

/** Takes the memory of a batch; NULL, answered with 503, where none is left. */
struct api_bulk *api_bulk_take(struct api *api, struct http_exchange *exchange);
void api_bulk_give_back(struct api_bulk *bulk);

/** The exchange that waits; NULL where its connection is gone. */
static inline struct http_exchange *api_exchange(struct api *api, struct http_handle handle) {
    return http_server_exchange(api->server, handle);
}

/** What the path of a request names. */
enum api_resource {
    API_NOTHING,
    API_BAD_ORDER_ID,
    API_ORDERS,
    API_ORDER,
    API_ORDER_EVENTS,
    API_CHANGES,
    API_BATCH_ORDERS,
    API_BATCH_STATUSES,
    API_BATCH_GET,
    API_HEALTH,
    API_READY,
    API_METRICS_TEXT,
    API_OPENAPI,
    API_SERVER /* `*` */
};

struct api_target {
    enum api_resource resource;
    uint64_t order_id; /* of API_ORDER and API_ORDER_EVENTS */
};

struct api_target api_route(struct slice path);

/** One handler for each request that there is. The body is whole. */
void api_create_order(struct api *api, struct http_exchange *exchange, struct slice body);
void api_get_order(struct api *api, struct http_exchange *exchange, const struct http_head *head,
                   uint64_t order_id);
void api_find_order(struct api *api, struct http_exchange *exchange, const struct http_head *head);
void api_change_order(struct api *api, struct http_exchange *exchange, const struct http_head *head,
                      uint64_t order_id, struct slice body);
void api_batch_records(struct api *api, struct http_exchange *exchange, struct slice body);
void api_batch_lines(struct api *api, struct http_exchange *exchange, struct slice body);
void api_batch_statuses(struct api *api, struct http_exchange *exchange, struct slice body);
void api_batch_get(struct api *api, struct http_exchange *exchange, struct slice body);
void api_order_events(struct api *api, struct http_exchange *exchange, uint64_t order_id);
void api_change_events(struct api *api, struct http_exchange *exchange,
                       const struct http_head *head);
void api_health(struct http_exchange *exchange);
void api_ready(struct api *api, struct http_exchange *exchange);
void api_metrics_text(struct api *api, struct http_exchange *exchange);
void api_openapi(struct http_exchange *exchange);

/** Answers with an order and its ETag. @param fields more header fields; @param field_count at most
 *  2. */
void api_respond_order(struct api *api, struct http_exchange *exchange, unsigned status,
                       const struct order_record *order, const struct http_field *fields,
                       size_t field_count);

/** Answers a read or a change that no tier could settle. */
void api_respond_unsettled(struct http_exchange *exchange, enum order_result result,
                           uint64_t order_id);

/** The event streams (stream.c). */
struct api_streams *api_streams_create(struct api *api, const struct api_options *options);
void api_streams_destroy(struct api_streams *streams);
/** Room again, or gone; exchange->user is the stream, NULL where it has none. */
void api_streams_room(struct api_streams *streams, struct http_exchange *exchange);
void api_streams_gone(struct api_streams *streams, struct http_exchange *exchange);
/** Gives a stream back that did not begin; NULL is fine. */
void api_streams_abandon(struct api_streams *streams, void *stream);
/** Takes a stream for the changes of an order, which from now on waits for the order itself.
 *  False, and answered with 503, where none is left. */
MUST_CHECK bool api_streams_open_order(struct api_streams *streams, struct http_exchange *exchange,
                                       uint64_t order_id);
/** The order was read: the stream begins with it. */
void api_streams_begin_order(struct api_streams *streams, struct http_exchange *exchange,
                             const struct order_record *order);
/** Opens a stream of all changes. */
void api_streams_open_changes(struct api_streams *streams, struct http_exchange *exchange,
                              const struct change_cursor *after);
/** Goes on with the streams that may have something to read. True where work was begun. */
bool api_streams_run(struct api_streams *streams);
size_t api_streams_outstanding(void);

#endif
