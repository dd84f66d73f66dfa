#include "api/api_internal.h"
#include "api/parameters.h"

/* One order: create, read, find, change. */

#define ETAG_BYTES_MAX 16
#define LOCATION_BYTES_MAX 40

/** A header field made on the stack of whoever answers. */
struct made_field {
    char bytes[LOCATION_BYTES_MAX];
    struct http_field field;
};

static void make_etag(struct made_field *made, uint32_t version) {
    struct text text = text_over(made->bytes, sizeof(made->bytes));
    text_append_char(&text, '"');
    text_append_u64(&text, version);
    text_append_char(&text, '"');
    made->field = (struct http_field){SLICE_LITERAL("ETag"), text_slice(&text)};
}

static void make_location(struct made_field *made, uint64_t order_id) {
    struct text text = text_over(made->bytes, sizeof(made->bytes));
    text_append_literal(&text, "/v1/orders/");
    text_append_u64(&text, order_id);
    made->field = (struct http_field){SLICE_LITERAL("Location"), text_slice(&text)};
}

void api_respond_order(struct api *api, struct http_exchange *exchange, unsigned status,
                       const struct order_record *order, const struct http_field *fields,
                       size_t field_count) {
    struct made_field etag;
    struct http_field all[3];
    struct text body;
    make_etag(&etag, order->version);
    all[0] = etag.field;
    assert(field_count < ARRAY_COUNT(all));
    for (size_t i = 0; i < field_count; i++) {
        all[i + 1] = fields[i];
    }
    struct http_answer answer = {
        .status = status,
        .content_type = SLICE_LITERAL("application/json"),
        .fields = all,
        .field_count = field_count + 1,
    };
    if (http_respond_begin(exchange, &answer, ORDER_JSON_BYTES_MAX, &body)) {
        order_write_json(&body, order, api->terms->timeout_us);
        http_respond_end(exchange, body.size);
    }
}

/** Answers with problem `status`, which carries the order as it is. */
static void respond_conflict(struct api *api, struct http_exchange *exchange, const char *detail,
                             const struct order_record *order) {
    struct problem problem = {
        .status = 409,
        .detail = detail,
        .order_id = order->order_id,
        .order = order,
        .timeout_us = api->terms->timeout_us,
    };
    problem_respond(exchange, &problem);
}

static void respond_mismatch(struct http_exchange *exchange, const char *detail,
                             const struct order_record *order) {
    struct problem problem = {
        .status = 412,
        .detail = detail,
        .order_id = order->order_id,
        .version = order->version,
    };
    problem_respond(exchange, &problem);
}

/** The answer while another one looks for the order. */
static void respond_provisional(struct http_exchange *exchange, uint64_t order_id) {
    struct http_field retry = {SLICE_LITERAL("Retry-After"), SLICE_LITERAL("1")};
    struct http_answer answer = {
        .status = 202,
        .content_type = SLICE_LITERAL("application/json"),
        .fields = &retry,
        .field_count = 1,
    };
    struct text body;
    if (http_respond_begin(exchange, &answer, ORDER_JSON_BYTES_MAX, &body)) {
        text_append_literal(&body, "{\"order_id\":\"");
        text_append_u64(&body, order_id);
        text_append_literal(&body, "\",\"status\":\"pending\",\"provisional\":true}");
        http_respond_end(exchange, body.size);
    }
}

void api_respond_unsettled(struct http_exchange *exchange, enum order_result result,
                           uint64_t order_id) {
    switch (result) {
    case ORDER_RESULT_ABSENT:
        problem_respond_plain(exchange, 404, "there is no such order");
        return;
    case ORDER_RESULT_BUSY:
        respond_provisional(exchange, order_id);
        return;
    case ORDER_RESULT_UNKNOWN:
        problem_respond_plain(exchange, 504,
                              "the outcome is not known; the same request again tells it");
        return;
    default:
        problem_respond_plain(exchange, 503, "a tier that may hold the order did not answer");
        return;
    }
}

/* --- What the scanner found wrong. --- */

static void respond_scan(struct api *api, struct http_exchange *exchange,
                         enum order_scan_status status) {
    struct order_scanner *scanner = &api->scanner;
    if (status == ORDER_SCAN_MALFORMED) {
        char detail[128];
        (void)snprintf(detail, sizeof(detail), "the body is no JSON: %s, at byte %zu",
                       scanner->malformed, scanner->malformed_at);
        problem_respond_plain(exchange, 400, detail);
        return;
    }
    struct problem problem = {
        .status = 422,
        .detail = "the body has members that are missing, unknown or invalid",
        .errors = &scanner->errors,
    };
    problem_respond(exchange, &problem);
}

/* --- Create. --- */

static void respond_created(struct api *api, struct http_exchange *exchange,
                            const struct command_create *create) {
    const struct order_record *order = &create->order;
    struct made_field location;
    struct http_field replay = {SLICE_LITERAL("Idempotent-Replay"), SLICE_LITERAL("true")};
    switch (create->result) {
    case ORDER_RESULT_CREATED:
        make_location(&location, order->order_id);
        api_respond_order(api, exchange, 201, order, &location.field, 1);
        return;
    case ORDER_RESULT_REPLAYED:
        api_respond_order(api, exchange, 200, order, &replay, 1);
        return;
    case ORDER_RESULT_CONFLICT: {
        struct problem problem = {
            .status = 409,
            .detail = "this reference has an order with another content",
            .order_id = order->order_id,
        };
        problem_respond(exchange, &problem);
        return;
    }
    case ORDER_RESULT_BUSY:
        problem_respond_plain(exchange, 503, "the store has no room for another order now");
        return;
    default:
        api_respond_unsettled(exchange, create->result, 0);
        return;
    }
}

static void created(struct command_create *create) {
    struct api_task *task = CONTAINER_OF(create, struct api_task, create);
    struct api *api = task->api;
    struct http_exchange *exchange = api_exchange(api, task->handle);
    histogram_add(&api->metrics.create_microseconds,
                  (uint64_t)(clock_monotonic_us() - task->begun_us));
    if (exchange != NULL) {
        respond_created(api, exchange, create);
    }
    api_task_give_back(task);
}

void api_create_order(struct api *api, struct http_exchange *exchange, struct slice body) {
    struct order_record draft;
    enum order_scan_status status =
        order_scan_create(&api->scanner, body, api->terms->currency, &draft);
    metric_add(&api->metrics.creates_total, 1);
    if (status != ORDER_SCAN_OK) {
        respond_scan(api, exchange, status);
        return;
    }
    struct api_task *task = api_task_take(api, exchange);
    if (task == NULL) {
        return;
    }
    task->create.order = draft;
    task->create.done = created;
    if (!command_create(api->command, &task->create)) {
        problem_respond_plain(exchange, 503, "too many creates are in work");
        api_task_give_back(task);
    }
}

/* --- Read. --- */

/** Answers with the order, or 304 where the reader has that version. */
static void respond_read(struct api *api, struct http_exchange *exchange,
                         const struct order_record *order) {
    const struct http_head *head = http_exchange_head(exchange);
    switch (parameter_none_match(head, order->version)) {
    case NONE_MATCH_MALFORMED:
        problem_respond_plain(exchange, 400, "If-None-Match: expected \"version\", a list, or *");
        return;
    case NONE_MATCH_SAME: {
        struct made_field etag;
        make_etag(&etag, order->version);
        struct http_answer answer = {.status = 304, .fields = &etag.field, .field_count = 1};
        if (!http_respond(exchange, &answer, (struct slice){NULL, 0})) {
            return; /* the exchange is over */
        }
        return;
    }
    case NONE_MATCH_ABSENT:
    case NONE_MATCH_OTHER:
        break;
    }
    api_respond_order(api, exchange, 200, order, NULL, 0);
}

static void respond_got(struct api *api, struct http_exchange *exchange,
                        const struct query_get *get) {
    if (get->result == ORDER_RESULT_FOUND) {
        respond_read(api, exchange, &get->order);
    } else if (get->result == ORDER_RESULT_MISMATCH) {
        respond_mismatch(exchange, "no version as high as min_version is known", &get->order);
    } else {
        api_respond_unsettled(exchange, get->result, get->order_id);
    }
}

static void got(struct query_get *get) {
    struct api_task *task = CONTAINER_OF(get, struct api_task, get);
    struct api *api = task->api;
    struct http_exchange *exchange = api_exchange(api, task->handle);
    if (exchange != NULL) {
        if (exchange->user != NULL && get->result == ORDER_RESULT_FOUND) {
            api_streams_begin_order(api->streams, exchange, &get->order);
        } else {
            api_streams_abandon(api->streams, exchange->user);
            respond_got(api, exchange, get);
        }
    }
    api_task_give_back(task);
}

/** Reads the order, and answers with it or begins the event stream of the exchange. */
static void read_order(struct api *api, struct http_exchange *exchange, uint64_t order_id,
                       uint32_t min_version) {
    struct query_get get = {.order_id = order_id, .min_version = min_version};
    void *stream = exchange->user;
    struct api_task *task = api_task_take(api, exchange);
    if (task == NULL) {
        api_streams_abandon(api->streams, stream);
        return;
    }
    get.done = got;
    task->get = get;
    metric_add(&api->metrics.gets_total, 1);
    if (query_get(api->query, &task->get)) {
        got(&task->get);
    }
}

void api_get_order(struct api *api, struct http_exchange *exchange, const struct http_head *head,
                   uint64_t order_id) {
    char decoded[16];
    struct slice value;
    uint32_t min_version = 0;
    enum parameter_status status =
        parameter_find(head->query, "min_version", decoded, sizeof(decoded), &value);
    if (status == PARAMETER_MALFORMED ||
        (status == PARAMETER_PRESENT && !parameter_parse_u32(value, &min_version))) {
        problem_respond_plain(exchange, 400, "min_version: expected a version, up to 4294967295");
        return;
    }
    read_order(api, exchange, order_id, min_version);
}

void api_order_events(struct api *api, struct http_exchange *exchange, uint64_t order_id) {
    /* The stream listens before the order is read, so that no change falls between. */
    if (api_streams_open_order(api->streams, exchange, order_id)) {
        read_order(api, exchange, order_id, 0);
    }
}

/* --- Find. --- */

static void respond_found(struct api *api, struct http_exchange *exchange,
                          const struct query_find *find) {
    if (find->result == ORDER_RESULT_FOUND) {
        respond_read(api, exchange, &find->order);
    } else {
        api_respond_unsettled(exchange, find->result, find->order.order_id);
    }
}

static void found(struct query_find *find) {
    struct api_task *task = CONTAINER_OF(find, struct api_task, find);
    struct api *api = task->api;
    struct http_exchange *exchange = api_exchange(api, task->handle);
    if (exchange != NULL) {
        respond_found(api, exchange, find);
    }
    api_task_give_back(task);
}

/** Reads one half of the reference from the query. Answers and returns false where it is none. */
static bool take_reference_part(struct http_exchange *exchange, struct slice query,
                                const char *name, bool (*is_valid)(struct slice), char *field,
                                size_t size) {
    char decoded[ORDER_PARTNER_ORDER_ID_BYTES + 1];
    struct slice value = {NULL, 0};
    enum parameter_status status = parameter_find(query, name, decoded, sizeof(decoded), &value);
    if (status == PARAMETER_PRESENT && is_valid(value)) {
        order_text_set(field, size, value);
        return true;
    }
    char detail[96];
    (void)snprintf(detail, sizeof(detail), "%s: %s", name,
                   status == PARAMETER_ABSENT ? "is required" : "is no part of a reference");
    problem_respond_plain(exchange, 400, detail);
    return false;
}

void api_find_order(struct api *api, struct http_exchange *exchange, const struct http_head *head) {
    struct order_record reference = {.order_id = 0};
    metric_add(&api->metrics.finds_total, 1);
    if (!take_reference_part(exchange, head->query, "partner_code", order_partner_code_is_valid,
                             reference.partner_code, sizeof(reference.partner_code)) ||
        !take_reference_part(exchange, head->query, "partner_order_id",
                             order_partner_order_id_is_valid, reference.partner_order_id,
                             sizeof(reference.partner_order_id))) {
        return;
    }
    struct api_task *task = api_task_take(api, exchange);
    if (task == NULL) {
        return;
    }
    task->find.order = reference;
    task->find.done = found;
    if (query_find(api->query, &task->find)) {
        found(&task->find);
    }
}

/* --- Change. --- */

static void respond_bad_time(struct http_exchange *exchange, const struct order_change *change) {
    struct order_errors errors = {.count = 1};
    errors.items[0].field = change->requested_at_us != 0 ? SLICE_LITERAL("requested_at")
                                                         : SLICE_LITERAL("responded_at");
    errors.items[0].detail =
        "is not set by this change, lies before the creation, or more than 60 s ahead";
    struct problem problem = {
        .status = 422,
        .detail = "the change has a time that it cannot have",
        .errors = &errors,
    };
    problem_respond(exchange, &problem);
}

static void respond_changed(struct api *api, struct http_exchange *exchange,
                            const struct command_change *change) {
    switch (change->result) {
    case ORDER_RESULT_CHANGED:
    case ORDER_RESULT_UNCHANGED:
        api_respond_order(api, exchange, 200, &change->order, NULL, 0);
        return;
    case ORDER_RESULT_ILLEGAL:
        respond_conflict(api, exchange, "the order cannot change to this status", &change->order);
        return;
    case ORDER_RESULT_MISMATCH:
        respond_mismatch(exchange, "the order has another version than If-Match names",
                         &change->order);
        return;
    case ORDER_RESULT_BAD_TIME:
        respond_bad_time(exchange, &change->change);
        return;
    case ORDER_RESULT_BUSY:
        problem_respond_plain(exchange, 503, "the store has no room for another change now");
        return;
    default:
        api_respond_unsettled(exchange, change->result, change->change.order_id);
        return;
    }
}

static void changed(struct command_change *change) {
    struct api_task *task = CONTAINER_OF(change, struct api_task, change);
    struct api *api = task->api;
    struct http_exchange *exchange = api_exchange(api, task->handle);
    histogram_add(&api->metrics.change_microseconds,
                  (uint64_t)(clock_monotonic_us() - task->begun_us));
    if (exchange != NULL) {
        respond_changed(api, exchange, change);
    }
    api_task_give_back(task);
}

/** A malformed If-Match is judged after the order's existence, which only the change itself finds
 *  out where this process has no role for queries. It was made with a condition that no version
 *  meets. */
static void if_match_refused(struct command_change *change) {
    struct api_task *task = CONTAINER_OF(change, struct api_task, change);
    struct http_exchange *exchange = api_exchange(task->api, task->handle);
    if (exchange != NULL && change->result == ORDER_RESULT_ABSENT) {
        api_respond_unsettled(exchange, change->result, change->change.order_id);
    } else if (exchange != NULL) {
        problem_respond_plain(exchange, 400, "If-Match: expected \"version\", a list, or *");
    }
    api_task_give_back(task);
}

void api_change_order(struct api *api, struct http_exchange *exchange, const struct http_head *head,
                      uint64_t order_id, struct slice body) {
    struct order_change change = {.order_id = order_id};
    metric_add(&api->metrics.changes_total, 1);
    enum order_scan_status status =
        order_scan_change(&api->scanner, body, clock_now_us(api->clock), &change);
    if (status != ORDER_SCAN_OK) {
        respond_scan(api, exchange, status);
        return;
    }
    bool well_formed = parameter_read_if_match(head, &change.match);
    if (!well_formed) {
        change.match = (struct order_match){.required = true};
    }
    struct api_task *task = api_task_take(api, exchange);
    if (task == NULL) {
        return;
    }
    task->change.change = change;
    task->change.done = well_formed ? changed : if_match_refused;
    if (!command_change(api->command, &task->change)) {
        problem_respond_plain(exchange, 503, "too many changes are in work");
        api_task_give_back(task);
    }
}
