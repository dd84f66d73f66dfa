/** The commands of the Redis protocol, with orders behind them: some in memory, some that a tier
 *  below has, lacks or does not tell. Whatever comes, every command has one well-formed reply, in
 *  order, and nothing is left waiting. */
#include "api/resp.h"
#include "net/resp_internal.h"

#include "conversation.h"
#include "memory/order_table.h"
#include "order/order_id.h"

#define CHECK(condition) FUZZ_CHECK(condition, "see the input")
#define ORDERS 64
#define NOW_US (ORDER_EPOCH_US + INT64_C(3600000000))

struct stage {
    struct clock clock;
    struct loop loop;
    struct mailbox mailbox;
    struct order_table *table;
    struct lookup lookup;
    struct query_service *query;
    struct order_terms terms;
    struct api_resp *api;
    struct resp_server *server;
    struct conversation conversation;
};

static int64_t read_clock(const struct clock *clock) {
    (void)clock;
    return NOW_US;
}

static void make_order(struct order_record *order, uint64_t order_id) {
    memset(order, 0, sizeof(*order));
    order->order_id = order_id;
    order->amount = order_id;
    order->version = 1 + (uint32_t)order_id % 3;
    order->status = (uint8_t)(1 + order_id % 6);
    order->payment_type = ORDER_PAYMENT_BANK;
    order->format = ORDER_RECORD_FORMAT;
    order->created_at_us = NOW_US;
    order->updated_at_us = NOW_US;
    memcpy(order->currency, "VND", 3);
    memcpy(order->partner_code, "ACME", 4);
    memcpy(order->partner_order_id, "r-1", 3);
    order_record_seal(order);
}

/** The tier below: what becomes of an id depends on its last digit. */
static enum port_submit look_up(struct lookup *lookup, struct lookup_batch *asked) {
    static const uint8_t results[] = {ORDER_RESULT_FOUND, ORDER_RESULT_ABSENT,
                                      ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_BUSY};
    struct order_get_batch *batch = &asked->get;
    (void)lookup;
    if (batch->order_ids[0] % 10 == 9) {
        return PORT_BUSY;
    }
    for (size_t i = 0; i < batch->count; i++) {
        make_order(&batch->orders[i], batch->order_ids[i]);
        batch->results[i] = results[batch->order_ids[i] % 4];
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static bool is_possible(struct lookup *lookup, uint64_t order_id, int64_t now_us) {
    (void)lookup;
    return order_id_is_possible(order_id, now_us);
}

static const struct lookup_ops lookup_ops = {.get = look_up, .is_possible = is_possible};

static void drain(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)port_drain(mailbox, 64);
}

static void open_table(struct stage *stage) {
    stage->table = order_table_create((uint64_t)16 << 20, NULL);
    CHECK(stage->table != NULL && order_table_reserve(stage->table, ORDERS));
    for (uint64_t order_id = 1; order_id <= ORDERS; order_id++) {
        struct order_record order;
        make_order(&order, order_id);
        (void)order_table_put(stage->table, &order, order_record_reference_hash(&order), false);
    }
}

static void open_server(struct stage *stage) {
    struct resp_options options;
    struct config_section section = {"resp", resp_option_table, RESP_OPTION_COUNT, &options};
    struct config config = {.sections = &section, .section_count = 1};
    config_set_defaults(&config);
    options.connections_max = 2;
    options.medium_buffers = 1;
    options.large_buffers = 1;
    struct api_resp_parts parts = {
        .terms = &stage->terms,
        .query = stage->query,
        .loop = &stage->loop,
        .lookups_max = 1,
        .version = "0",
    };
    stage->api = api_resp_create(&parts);
    CHECK(stage->api != NULL);
    struct resp_server_setup setup = {&stage->loop, options, api_resp_handler(stage->api)};
    stage->server = resp_server_create(&setup, NULL);
    CHECK(stage->server != NULL);
}

static void adopt(void *context, int fd) {
    struct stage *stage = context;
    resp_server_adopt(stage->server, fd);
}

static void turn(void *context) {
    struct stage *stage = context;
    (void)loop_step(&stage->loop, 0);
}

static struct stage *open_stage(void) {
    size_t bytes = bytes_align_up(sizeof(struct stage), CACHE_LINE_BYTES);
    struct stage *stage = aligned_alloc(CACHE_LINE_BYTES, bytes);
    CHECK(stage != NULL);
    memset(stage, 0, bytes);
    stage->clock.now_us = read_clock;
    stage->lookup.ops = &lookup_ops;
    stage->terms.timeout_us = INT64_C(900000000);
    struct loop_setup loop_setup = {&stage->mailbox, drain, NULL, NULL};
    CHECK(mailbox_init(&stage->mailbox, QUERY_OUTSTANDING_MAX));
    CHECK(loop_init(&stage->loop, &loop_setup, NULL));
    open_table(stage);
    struct query_parts parts = {
        .clock = &stage->clock,
        .table = stage->table,
        .lookup = &stage->lookup,
        .mailbox = &stage->mailbox,
    };
    stage->query = query_service_create(&parts);
    CHECK(stage->query != NULL);
    open_server(stage);
    stage->conversation = (struct conversation){
        .context = stage, .adopt = adopt, .turn = turn, .set = &stage->server->set};
    return stage;
}

/* --- What it said. --- */

/** Takes a line without its end off the front. */
static struct slice take_line(struct slice *said) {
    const char *end = memmem(said->data, said->size, "\r\n", 2);
    CHECK(end != NULL);
    struct slice line = {said->data, (size_t)(end - said->data)};
    *said = (struct slice){end + 2, said->size - line.size - 2};
    return line;
}

/** Takes one reply off the front, of RESP 2 or 3, without what it consists of. Returns how many
 *  replies it consists of. */
static size_t take_reply(struct slice *said) {
    struct slice line = take_line(said);
    CHECK(line.size >= 1);
    long number = line.size > 1 && line.size < 16 ? strtol(line.data + 1, NULL, 10) : 0;
    switch (line.data[0]) {
    case '+':
    case '-':
    case ':':
    case '_':
        return 0;
    case '*':
        CHECK(number >= 0);
        return (size_t)number;
    case '%':
        CHECK(number >= 0);
        return (size_t)number * 2;
    case '$':
        CHECK(number >= -1);
        if (number >= 0) {
            CHECK(said->size >= (size_t)number + 2);
            CHECK(memcmp(said->data + number, "\r\n", 2) == 0);
            *said = (struct slice){said->data + number + 2, said->size - (size_t)number - 2};
        }
        return 0;
    default:
        CHECK(!"a kind of reply that there is");
        return 0;
    }
}

/** Counts the replies; fails where they are malformed. */
static uint64_t count_replies(struct slice said) {
    uint64_t count = 0;
    while (said.size > 0) {
        uint64_t left = 1;
        while (left > 0) {
            left += take_reply(&said);
            left--;
        }
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct stage *stage;
    if (stage == NULL) {
        stage = open_stage();
    }
    struct resp_metrics *metrics = &stage->server->metrics;
    uint64_t before = metric_get(&metrics->commands_total) + metric_get(&metrics->malformed_total);
    conversation_hold(&stage->conversation, (const char *)data, size, NULL);
    uint64_t after = metric_get(&metrics->commands_total) + metric_get(&metrics->malformed_total);
    CHECK(count_replies((struct slice){stage->conversation.said, stage->conversation.said_size}) ==
          after - before);
    return 0;
}
