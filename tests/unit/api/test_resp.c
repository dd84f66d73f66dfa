/* The commands of the Redis protocol over the query service, with a tier below that the test
 * drives: what it says of an id, and when. Orders 1 to 9 are in memory. */
#include "api/resp.h"
#include "net/resp_internal.h"

#include "memory/order_table.h"
#include "order/json.h"
#include "order/order_id.h"
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_MEMORY 9
#define NOW_US (ORDER_EPOCH_US + INT64_C(3600000000))
#define BATCHES_MAX 16

struct stage {
    struct clock clock;
    struct loop loop;
    struct mailbox mailbox;
    struct order_table *table;
    struct lookup lookup;
    struct lookup_batch *asked[BATCHES_MAX]; /* and not answered yet */
    size_t asked_count;
    size_t ids_asked;
    bool below_is_full;
    struct query_service *query;
    struct order_terms terms;
    struct api_resp *api;
    struct resp_server *server;
    char said[1 << 20];
};

static int64_t read_clock(const struct clock *clock) {
    (void)clock;
    return NOW_US;
}

static void make_order(struct order_record *order, uint64_t order_id) {
    memset(order, 0, sizeof(*order));
    order->order_id = order_id;
    order->amount = 100 + order_id;
    order->version = 1;
    order->status = ORDER_STATUS_PROCESSING;
    order->payment_type = ORDER_PAYMENT_BANK;
    order->format = ORDER_RECORD_FORMAT;
    order->created_at_us = NOW_US;
    order->updated_at_us = NOW_US;
    memcpy(order->currency, "VND", 3);
    memcpy(order->partner_code, "ACME", 4);
    memcpy(order->partner_order_id, "r-1", 3);
    order_record_seal(order);
}

static enum port_submit look_up(struct lookup *lookup, struct lookup_batch *batch) {
    struct stage *stage = CONTAINER_OF(lookup, struct stage, lookup);
    if (stage->below_is_full) {
        return PORT_BUSY;
    }
    assert_true(stage->asked_count < BATCHES_MAX);
    stage->asked[stage->asked_count++] = batch;
    stage->ids_asked += batch->get.count;
    return PORT_TAKEN;
}

static bool is_possible(struct lookup *lookup, uint64_t order_id, int64_t now_us) {
    (void)lookup;
    return order_id_is_possible(order_id, now_us);
}

static const struct lookup_ops lookup_ops = {.get = look_up, .is_possible = is_possible};

/** Answers all that was asked for, the same for each id. */
static void answer_below(struct stage *stage, enum order_result result) {
    for (size_t i = 0; i < stage->asked_count; i++) {
        struct order_get_batch *batch = &stage->asked[i]->get;
        for (size_t item = 0; item < batch->count; item++) {
            make_order(&batch->orders[item], batch->order_ids[item]);
            batch->results[item] = (uint8_t)result;
        }
        port_complete(&batch->request);
    }
    stage->asked_count = 0;
}

static void drain(void *context, struct mailbox *mailbox) {
    (void)context;
    (void)port_drain(mailbox, 64);
}

static void open_table(struct stage *stage) {
    stage->table = order_table_create((uint64_t)16 << 20, NULL);
    assert_non_null(stage->table);
    assert_true(order_table_reserve(stage->table, IN_MEMORY));
    for (uint64_t order_id = 1; order_id <= IN_MEMORY; order_id++) {
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
    options.connections_max = 4;
    options.large_buffers = 1;
    struct api_resp_parts parts = {
        .terms = &stage->terms,
        .query = stage->query,
        .loop = &stage->loop,
        .lookups_max = 2,
        .version = "0",
    };
    stage->api = api_resp_create(&parts);
    assert_non_null(stage->api);
    struct resp_server_setup setup = {&stage->loop, options, api_resp_handler(stage->api)};
    stage->server = resp_server_create(&setup, NULL);
    assert_non_null(stage->server);
}

static int set_up(void **state) {
    size_t bytes = bytes_align_up(sizeof(struct stage), CACHE_LINE_BYTES);
    struct stage *stage = aligned_alloc(CACHE_LINE_BYTES, bytes);
    assert_non_null(stage);
    memset(stage, 0, bytes);
    stage->clock.now_us = read_clock;
    stage->lookup.ops = &lookup_ops;
    stage->terms.timeout_us = INT64_C(900000000);
    struct loop_setup loop_setup = {&stage->mailbox, drain, NULL, NULL};
    assert_true(mailbox_init(&stage->mailbox, QUERY_OUTSTANDING_MAX));
    assert_true(loop_init(&stage->loop, &loop_setup, NULL));
    open_table(stage);
    struct query_parts parts = {
        .clock = &stage->clock,
        .table = stage->table,
        .lookup = &stage->lookup,
        .mailbox = &stage->mailbox,
    };
    stage->query = query_service_create(&parts);
    assert_non_null(stage->query);
    open_server(stage);
    *state = stage;
    return 0;
}

static int tear_down(void **state) {
    struct stage *stage = *state;
    resp_server_destroy(stage->server);
    api_resp_destroy(stage->api);
    query_service_destroy(stage->query);
    order_table_destroy(stage->table);
    loop_deinit(&stage->loop);
    mailbox_deinit(&stage->mailbox);
    free(stage);
    return 0;
}

static void turn(struct stage *stage) {
    for (int i = 0; i < 4; i++) {
        (void)loop_step(&stage->loop, 0);
    }
}

static int connect_peer(struct stage *stage) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    resp_server_adopt(stage->server, fds[1]);
    return fds[0];
}

static void say(struct stage *stage, int fd, const char *text) {
    size_t size = strlen(text);
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
    turn(stage);
}

static const char *hear(struct stage *stage, int fd) {
    size_t size = 0;
    for (int quiet = 0; quiet < 4;) {
        ssize_t got = recv(fd, stage->said + size, sizeof(stage->said) - 1 - size, 0);
        quiet = got > 0 ? 0 : quiet + 1;
        size += got > 0 ? (size_t)got : 0;
        turn(stage);
    }
    stage->said[size] = 0;
    return stage->said;
}

/** The reply with this order; the test's until the next call. */
static const char *order_reply(const struct stage *stage, uint64_t order_id, char reply[1024]) {
    char json[ORDER_JSON_BYTES_MAX];
    struct order_record order;
    struct text text = text_over(json, sizeof(json));
    make_order(&order, order_id);
    order_write_json(&text, &order, stage->terms.timeout_us);
    (void)snprintf(reply, 1024, "$%zu\r\n%.*s\r\n", text.size, (int)text.size, text.data);
    return reply;
}

static void expect(struct stage *stage, int fd, const char *text) {
    assert_string_equal(hear(stage, fd), text);
}

static void test_memory_answers_at_once(void **state) {
    struct stage *stage = *state;
    char reply[1024];
    int fd = connect_peer(stage);
    say(stage, fd, "GET 3\r\n");
    expect(stage, fd, order_reply(stage, 3, reply));
    say(stage, fd, "MSTATUS 1 x 9\r\n");
    expect(stage, fd, "*3\r\n$10\r\nprocessing\r\n$-1\r\n$10\r\nprocessing\r\n");
    assert_int_equal(stage->asked_count, 0);
    (void)close(fd);
}

static void test_an_id_that_nobody_can_have_given_asks_nobody(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    say(stage, fd, "MGET 9223372036854775807 0 -5\r\n");
    expect(stage, fd, "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
    assert_int_equal(stage->asked_count, 0);
    (void)close(fd);
}

static void test_a_pipeline_waits_for_the_tier_below_with_one_batch(void **state) {
    struct stage *stage = *state;
    char reply[1024];
    int fd = connect_peer(stage);
    say(stage, fd, "STATUS 1\r\nGET 100\r\nSTATUS 101\r\nMSTATUS 2 102\r\nPING\r\n");
    expect(stage, fd, "");
    assert_int_equal(stage->asked_count, 1);
    assert_int_equal(stage->ids_asked, 3);
    answer_below(stage, ORDER_RESULT_FOUND);
    const char *said = hear(stage, fd);
    assert_int_equal(strncmp(said, "$10\r\nprocessing\r\n", 17), 0);
    order_reply(stage, 100, reply);
    assert_int_equal(strncmp(said + 17, reply, strlen(reply)), 0);
    assert_string_equal(said + 17 + strlen(reply),
                        "$10\r\nprocessing\r\n*2\r\n$10\r\nprocessing\r\n"
                        "$10\r\nprocessing\r\n+PONG\r\n");
    (void)close(fd);
}

static void test_absent_below_is_nil(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    say(stage, fd, "GET 100\r\nHELLO 3\r\nGET 101\r\n");
    answer_below(stage, ORDER_RESULT_ABSENT);
    const char *said = hear(stage, fd);
    assert_int_equal(strncmp(said, "$-1\r\n%7\r\n", 9), 0);
    assert_string_equal(said + strlen(said) - 3, "_\r\n");
    (void)close(fd);
}

static void test_what_cannot_be_known_now_is_never_nil(void **state) {
    static const enum order_result results[] = {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_BUSY,
                                                ORDER_RESULT_BROKEN};
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    for (size_t i = 0; i < ARRAY_COUNT(results); i++) {
        say(stage, fd, "STATUS 1\r\nGET 100\r\nMSTATUS 2 100 3\r\n");
        answer_below(stage, results[i]);
        const char *said = hear(stage, fd);
        assert_int_equal(strncmp(said, "$10\r\nprocessing\r\n-TRYAGAIN ", 27), 0);
        const char *second = strstr(said + 27, "\r\n");
        assert_int_equal(strncmp(second, "\r\n-TRYAGAIN ", 12), 0);
    }
    (void)close(fd);
}

static void test_a_full_tier_below_is_told_at_once(void **state) {
    struct stage *stage = *state;
    int fd = connect_peer(stage);
    stage->below_is_full = true;
    say(stage, fd, "GET 100\r\nSTATUS 1\r\n");
    assert_contains(hear(stage, fd), "-TRYAGAIN ");
    assert_contains(stage->said, "processing");
    (void)close(fd);
}

static void test_connections_without_memory_for_a_look_up_are_told_to_try_again(void **state) {
    struct stage *stage = *state;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_peer(stage);
        say(stage, fds[i], "GET 100\r\nSTATUS 1\r\n");
    }
    assert_contains(hear(stage, fds[2]), "-TRYAGAIN ");
    assert_contains(stage->said, "processing");
    expect(stage, fds[0], "");
    answer_below(stage, ORDER_RESULT_ABSENT);
    for (int i = 0; i < 2; i++) {
        expect(stage, fds[i], "$-1\r\n$10\r\nprocessing\r\n");
    }
    say(stage, fds[2], "GET 100\r\n"); /* the memory of the others is free again */
    answer_below(stage, ORDER_RESULT_ABSENT);
    expect(stage, fds[2], "$-1\r\n");
    for (int i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
}

static void test_a_peer_that_left_gives_its_look_up_back_when_it_is_answered(void **state) {
    struct stage *stage = *state;
    for (int i = 0; i < 5; i++) {
        int gone = connect_peer(stage);
        say(stage, gone, "MGET 100 101\r\n");
        (void)close(gone);
        turn(stage);
        assert_true(resp_server_is_idle(stage->server));
        answer_below(stage, ORDER_RESULT_FOUND);
        turn(stage);
    }
    int fd = connect_peer(stage);
    say(stage, fd, "STATUS 100\r\n");
    answer_below(stage, ORDER_RESULT_FOUND);
    expect(stage, fd, "$10\r\nprocessing\r\n");
    (void)close(fd);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_memory_answers_at_once),
        TEST(test_an_id_that_nobody_can_have_given_asks_nobody),
        TEST(test_a_pipeline_waits_for_the_tier_below_with_one_batch),
        TEST(test_absent_below_is_nil),
        TEST(test_what_cannot_be_known_now_is_never_nil),
        TEST(test_a_full_tier_below_is_told_at_once),
        TEST(test_connections_without_memory_for_a_look_up_are_told_to_try_again),
        TEST(test_a_peer_that_left_gives_its_look_up_back_when_it_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
