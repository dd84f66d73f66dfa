#include "api/api_internal.h"

/* Batches of records, lines and ids. Items that are wrong fail alone; the others go to the store as
 * one batch, and the answers come back in the order of the items. */

#define ITEM_ANSWER_BYTES 16

/** A line of an answer: what stands around its order or problem, and an order or a problem that is
 *  no longer than one. Longer problems share what all lines leave of the answer. */
#define LINE_FRAME_BYTES 32
#define LINE_CONTENT_BYTES ORDER_JSON_BYTES_MAX
#define LINE_BYTES_MAX (LINE_FRAME_BYTES + LINE_CONTENT_BYTES)
_Static_assert(API_BATCH_LINES_MAX *LINE_BYTES_MAX < HTTP_ANSWER_BYTES_MAX, "some is left");

/** The answer to one record of a binary create. */
struct record_answer {
    uint64_t order_id;
    uint32_t version;
    uint16_t code;
    uint8_t status;
    uint8_t zero;
};
_Static_assert(sizeof(struct record_answer) == ITEM_ANSWER_BYTES, "API, section 3");

/** The HTTP status of a create's result. */
static uint16_t code_of(enum order_result result) {
    switch (result) {
    case ORDER_RESULT_CREATED:
        return 201;
    case ORDER_RESULT_REPLAYED:
        return 200;
    case ORDER_RESULT_CONFLICT:
        return 409;
    case ORDER_RESULT_UNKNOWN:
        return 504;
    default:
        return 503;
    }
}

static const struct http_answer octet_answer = {
    .status = 200,
    .content_type = SLICE_LITERAL("application/octet-stream"),
    .aligned = true,
};

/** Sends the gathered orders to the store. What the store refuses at once is answered at once. */
static void submit(struct api_bulk *bulk, struct port_request request) {
    bulk->create = (struct order_create_batch){
        .request = request,
        .count = bulk->create.count,
        .orders = bulk->orders,
        .reference_hashes = bulk->hashes,
        .results = bulk->results,
    };
    if (bulk->create.count > 0 &&
        command_create_batch(bulk->api->command, &bulk->create) == PORT_TAKEN) {
        return;
    }
    memset(bulk->results, ORDER_RESULT_BUSY, bulk->create.count);
    request.done(&bulk->create.request);
}

static struct api_bulk *bulk_of_create(struct port_request *request) {
    return CONTAINER_OF(request, struct api_bulk, create.request);
}

/* --- Records. --- */

static struct record_answer answer_record(const struct api_bulk *bulk,
                                          const struct api_item *item) {
    struct record_answer answer = {.code = item->code};
    if (item->code != 0) {
        return answer;
    }
    const struct order_record *order = &bulk->orders[item->place];
    answer.code = code_of((enum order_result)bulk->results[item->place]);
    if (answer.code < 422) {
        answer.order_id = order->order_id;
        answer.version = order->version;
        answer.status = order->status;
    }
    return answer;
}

static void records_created(struct port_request *request) {
    struct api_bulk *bulk = bulk_of_create(request);
    struct http_exchange *exchange = api_exchange(bulk->api, bulk->handle);
    struct text body;
    if (exchange == NULL) {
        api_bulk_give_back(bulk);
        return;
    }
    if (!http_respond_begin(exchange, &octet_answer, bulk->count * ITEM_ANSWER_BYTES, &body)) {
        /* The orders are durable; the same request again tells so. */
        problem_respond_plain(exchange, 503, "no buffer for the answer is free now");
        api_bulk_give_back(bulk);
        return;
    }
    for (size_t i = 0; i < bulk->count; i++) {
        struct record_answer answer = answer_record(bulk, &bulk->items[i]);
        memcpy(body.data + i * ITEM_ANSWER_BYTES, &answer, sizeof(answer));
    }
    http_respond_end(exchange, bulk->count * ITEM_ANSWER_BYTES);
    api_bulk_give_back(bulk);
}

/** Copies and judges the records; those that are orders are gathered. */
static void gather_records(struct api_bulk *bulk, struct slice body) {
    size_t gathered = 0;
    for (size_t i = 0; i < bulk->count; i++) {
        struct order_record *draft = &bulk->orders[gathered];
        memcpy(draft, body.data + i * ORDER_RECORD_BYTES, sizeof(*draft));
        bool valid =
            order_record_accept_draft(draft, bulk->api->terms->currency) == ORDER_RECORD_VALID;
        bulk->items[i] = (struct api_item){.code = valid ? 0 : 422, .place = (uint16_t)gathered};
        if (valid) {
            bulk->hashes[gathered++] = order_record_reference_hash(draft);
        }
    }
    bulk->create.count = gathered;
}

void api_batch_records(struct api *api, struct http_exchange *exchange, struct slice body) {
    if (body.size % ORDER_RECORD_BYTES != 0) {
        problem_respond_plain(exchange, 400, "the body is no multiple of 128 bytes");
        return;
    }
    struct api_bulk *bulk = api_bulk_take(api, exchange);
    if (bulk == NULL) {
        return;
    }
    bulk->count = body.size / ORDER_RECORD_BYTES;
    metric_add(&api->metrics.batch_items_total, bulk->count);
    gather_records(bulk, body);
    submit(bulk, (struct port_request){.done = records_created, .mailbox = api->mailbox});
}

/* --- Lines. --- */

/** Keeps the problem of a line for the answer. */
static void keep_problem(struct api_bulk *bulk, struct api_item *item,
                         const struct problem *problem) {
    size_t at = bulk->texts.size;
    size_t room = LINE_CONTENT_BYTES + bulk->spare_bytes;
    struct text text =
        text_over(bulk->texts.data + at, bytes_min_size(room, bulk->texts.capacity - at));
    problem_write(&text, problem);
    assert(
        !text.truncated); /* LINE_CONTENT_BYTES are enough but for errors, which may be left out */
    if (text.size > LINE_CONTENT_BYTES) {
        bulk->spare_bytes -= text.size - LINE_CONTENT_BYTES;
    }
    bulk->texts.size += text.size;
    *item = (struct api_item){
        .code = (uint16_t)problem->status,
        .text_at = (uint32_t)at,
        .text_size = (uint32_t)text.size,
    };
}

/** Judges one line: an order goes to `draft`, a problem is kept. True for an order. */
static bool gather_line(struct api_bulk *bulk, struct api_item *item, struct slice line,
                        struct order_record *draft) {
    struct order_scanner *scanner = &bulk->api->scanner;
    if (line.size > API_ORDER_BODY_BYTES_MAX) {
        struct problem problem = {.status = 413, .detail = "the line is longer than 16 KiB"};
        keep_problem(bulk, item, &problem);
        return false;
    }
    char detail[128];
    struct problem problem = {.status = 422};
    switch (order_scan_create(scanner, line, bulk->api->terms->currency, draft)) {
    case ORDER_SCAN_OK:
        return true;
    case ORDER_SCAN_MALFORMED:
        (void)snprintf(detail, sizeof(detail), "the line is no JSON: %s, at byte %zu",
                       scanner->malformed, scanner->malformed_at);
        problem.status = 400;
        problem.detail = line.size == 0 ? "the line is empty" : detail;
        break;
    case ORDER_SCAN_INVALID:
        problem.detail = "the line has members that are missing, unknown or invalid";
        problem.errors = &scanner->errors;
        break;
    }
    keep_problem(bulk, item, &problem);
    return false;
}

/** Takes one line off the front, without what ends it: a line feed, and a carriage return before
 *  it. The last line may have neither. */
static struct slice take_line(struct slice *body) {
    const char *end = memchr(body->data, '\n', body->size);
    size_t size = end == NULL ? body->size : (size_t)(end - body->data);
    struct slice line = {body->data, size};
    size_t skipped = end == NULL ? size : size + 1;
    body->data += skipped;
    body->size -= skipped;
    if (line.size > 0 && line.data[line.size - 1] == '\r') {
        line.size--;
    }
    return line;
}

static size_t count_lines(struct slice body) {
    size_t count = 0;
    while (body.size > 0) {
        (void)take_line(&body);
        count++;
    }
    return count;
}

static void write_order_line(struct text *out, struct api *api, unsigned code,
                             const struct order_record *order) {
    text_append_literal(out, "{\"code\":");
    text_append_u64(out, code);
    text_append_literal(out, ",\"order\":");
    order_write_json(out, order, api->terms->timeout_us);
    text_append_literal(out, "}\n");
}

static void write_problem_line(struct text *out, unsigned code, struct slice problem) {
    text_append_literal(out, "{\"code\":");
    text_append_u64(out, code);
    text_append_literal(out, ",\"problem\":");
    text_append_slice(out, problem);
    text_append_literal(out, "}\n");
}

static const char *detail_of(unsigned code) {
    switch (code) {
    case 409:
        return "this reference has an order with another content";
    case 504:
        return "the outcome is not known; the same request again tells it";
    default:
        return "the store does not take another order now";
    }
}

static void write_line(struct text *out, const struct api_bulk *bulk, const struct api_item *item) {
    if (item->code != 0) {
        write_problem_line(out, item->code,
                           (struct slice){bulk->texts.data + item->text_at, item->text_size});
        return;
    }
    const struct order_record *order = &bulk->orders[item->place];
    unsigned code = code_of((enum order_result)bulk->results[item->place]);
    if (code < 300) {
        write_order_line(out, bulk->api, code, order);
        return;
    }
    char memory[512];
    struct text text = text_over(memory, sizeof(memory));
    struct problem problem = {
        .status = code,
        .detail = detail_of(code),
        .order_id = code == 409 ? order->order_id : 0,
    };
    problem_write(&text, &problem);
    write_problem_line(out, code, text_slice(&text));
}

static void lines_created(struct port_request *request) {
    struct api_bulk *bulk = bulk_of_create(request);
    struct http_exchange *exchange = api_exchange(bulk->api, bulk->handle);
    struct http_answer answer = {.status = 200,
                                 .content_type = SLICE_LITERAL("application/x-ndjson")};
    struct text body;
    if (exchange == NULL) {
        api_bulk_give_back(bulk);
        return;
    }
    size_t room = HTTP_ANSWER_BYTES_MAX;
    room = bytes_min_size(room, bulk->texts.size + bulk->count * LINE_BYTES_MAX);
    if (!http_respond_begin(exchange, &answer, room, &body)) {
        problem_respond_plain(exchange, 503, "no buffer for the answer is free now");
        api_bulk_give_back(bulk);
        return;
    }
    for (size_t i = 0; i < bulk->count; i++) {
        write_line(&body, bulk, &bulk->items[i]);
    }
    assert(!body.truncated); /* the problems had their share, any other line has LINE_BYTES_MAX */
    http_respond_end(exchange, body.size);
    api_bulk_give_back(bulk);
}

static void gather_lines(struct api_bulk *bulk, struct slice body) {
    size_t gathered = 0;
    for (size_t i = 0; i < bulk->count; i++) {
        struct slice line = take_line(&body);
        struct order_record *draft = &bulk->orders[gathered];
        if (gather_line(bulk, &bulk->items[i], line, draft)) {
            bulk->items[i] = (struct api_item){.place = (uint16_t)gathered};
            bulk->hashes[gathered++] = order_record_reference_hash(draft);
        }
    }
    bulk->create.count = gathered;
}

void api_batch_lines(struct api *api, struct http_exchange *exchange, struct slice body) {
    size_t count = count_lines(body);
    if (count > API_BATCH_LINES_MAX) {
        problem_respond_plain(exchange, 413, "the batch has more than 1,000 lines");
        return;
    }
    struct api_bulk *bulk = api_bulk_take(api, exchange);
    if (bulk == NULL) {
        return;
    }
    bulk->count = count;
    bulk->spare_bytes = HTTP_ANSWER_BYTES_MAX - count * LINE_BYTES_MAX;
    metric_add(&api->metrics.batch_items_total, count);
    gather_lines(bulk, body);
    submit(bulk, (struct port_request){.done = lines_created, .mailbox = api->mailbox});
}

/* --- Ids. --- */

static void respond_bytes(struct http_exchange *exchange, const void *bytes, size_t size) {
    struct text body;
    if (!http_respond_begin(exchange, &octet_answer, size, &body)) {
        problem_respond_plain(exchange, 503, "no buffer for the answer is free now");
        return;
    }
    memcpy(body.data, bytes, size);
    http_respond_end(exchange, size);
}

static struct api_bulk *bulk_of_many(struct query_many *many) {
    return CONTAINER_OF(many, struct api_bulk, many);
}

static void statuses_done(struct query_many *many) {
    struct api_bulk *bulk = bulk_of_many(many);
    struct http_exchange *exchange = api_exchange(bulk->api, bulk->handle);
    if (exchange != NULL) {
        respond_bytes(exchange, many->states, many->count * sizeof(struct order_state));
    }
    api_bulk_give_back(bulk);
}

static bool are_ids(struct http_exchange *exchange, struct slice body) {
    bool whole = body.size % sizeof(uint64_t) == 0;
    if (!whole) {
        problem_respond_plain(exchange, 400, "the body is no multiple of 8 bytes");
    }
    return whole;
}

/** Looks the ids of a request up. They move to memory that outlives it.
 *  @param many where the answers go, and what is called then. */
static void look_up(struct api_bulk *bulk, struct slice ids, struct query_many many) {
    if (ids.size > 0) {
        memcpy(bulk->hashes, ids.data, ids.size);
    }
    many.ids = bulk->hashes;
    many.count = ids.size / sizeof(uint64_t);
    bulk->many = many;
    if (query_many(bulk->api->query, &bulk->many)) {
        many.done(&bulk->many);
    }
}

void api_batch_statuses(struct api *api, struct http_exchange *exchange, struct slice body) {
    if (!are_ids(exchange, body)) {
        return;
    }
    size_t count = body.size / sizeof(uint64_t);
    metric_add(&api->metrics.batch_items_total, count);
    if (query_states_from_memory(api->query, body.data, count, api->states)) {
        respond_bytes(exchange, api->states, count * sizeof(struct order_state));
        return;
    }
    /* Some are not in memory. */
    struct api_bulk *bulk = api_bulk_take(api, exchange);
    if (bulk == NULL) {
        return;
    }
    look_up(bulk, body, (struct query_many){.states = bulk->orders, .done = statuses_done});
}

static void orders_done(struct query_many *many) {
    struct api_bulk *bulk = bulk_of_many(many);
    struct http_exchange *exchange = api_exchange(bulk->api, bulk->handle);
    if (exchange != NULL && many->unknown > 0) {
        problem_respond_plain(exchange, 503,
                              "a tier that may hold some of the orders did not answer");
    } else if (exchange != NULL) {
        respond_bytes(exchange, many->orders, many->count * sizeof(struct order_record));
    }
    api_bulk_give_back(bulk);
}

void api_batch_get(struct api *api, struct http_exchange *exchange, struct slice body) {
    if (!are_ids(exchange, body)) {
        return;
    }
    struct api_bulk *bulk = api_bulk_take(api, exchange);
    if (bulk == NULL) {
        return;
    }
    metric_add(&api->metrics.batch_items_total, body.size / sizeof(uint64_t));
    look_up(bulk, body, (struct query_many){.orders = bulk->orders, .done = orders_done});
}
