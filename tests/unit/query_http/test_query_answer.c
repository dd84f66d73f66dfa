/** The bodies of query instances' answers, and the list of instances. */
#include "../sample.h"
#include "../unit.h"
#include "adapter/query_http/query_answer.h"
#include "adapter/query_http/query_http.h"

#define COUNT 3

static const uint64_t ids[COUNT] = {11, 12, 13};

struct taken {
    struct order_get_batch batch;
    struct order_record orders[COUNT];
    uint8_t results[COUNT];
};

static struct order_get_batch *batch_of(struct taken *taken) {
    *taken = (struct taken){.batch = {.count = COUNT, .order_ids = ids}};
    taken->batch.orders = taken->orders;
    taken->batch.results = taken->results;
    return &taken->batch;
}

static bool take_states(const struct order_state *states, struct taken *taken) {
    struct slice body = {(const char *)states, COUNT * sizeof(*states)};
    return query_answer_take_states(body, batch_of(taken));
}

static void test_orders_are_taken_only_if_every_one_is_what_was_asked_for(void **state) {
    (void)state;
    struct order_record sent[COUNT] = {sample_order(11), {.order_id = 0}, sample_order(13)};
    struct taken taken;
    struct slice body = {(const char *)sent, sizeof(sent)};
    assert_true(query_answer_take_orders(body, batch_of(&taken)));
    assert_int_equal(taken.results[0], ORDER_RESULT_FOUND);
    assert_int_equal(taken.results[1], ORDER_RESULT_ABSENT);
    assert_memory_equal(&taken.orders[2], &sent[2], sizeof(sent[2]));
    assert_false(
        query_answer_take_orders((struct slice){body.data, body.size - 1}, batch_of(&taken)));
    assert_false(query_answer_take_orders((struct slice){body.data, 0}, batch_of(&taken)));
    sent[1].amount = 1; /* neither none nor an order */
    assert_false(query_answer_take_orders(body, batch_of(&taken)));
    sent[1] = sample_order(13); /* another's */
    assert_false(query_answer_take_orders(body, batch_of(&taken)));
    sent[1] = sample_order(12);
    sent[1].status = 9;
    order_record_seal(&sent[1]);
    assert_false(query_answer_take_orders(body, batch_of(&taken)));
}

static void test_states_are_taken_only_if_every_one_is_possible(void **state) {
    (void)state;
    struct order_state states[COUNT] = {
        {2, ORDER_STATUS_SUCCESS, 0, 0}, {0, 0, 0, 0}, {0, 0, 2, 0}};
    struct taken taken;
    assert_true(take_states(states, &taken));
    assert_int_equal(taken.results[0], ORDER_RESULT_FOUND_STATE);
    assert_int_equal(taken.orders[0].order_id, 11);
    assert_int_equal(taken.orders[0].version, 2);
    assert_int_equal(taken.orders[0].status, ORDER_STATUS_SUCCESS);
    assert_int_equal(taken.results[1], ORDER_RESULT_ABSENT);
    assert_int_equal(taken.results[2], ORDER_RESULT_UNKNOWN);
    const struct order_state impossible[] = {
        {1, ORDER_STATUS_NONE, 0, 0},                      /* a version without a status */
        {0, ORDER_STATUS_PENDING, 0, 0},                   /* and the reverse */
        {1, 7, 0, 0},                                      /* no status */
        {ORDER_VERSION_MAX + 1, ORDER_STATUS_ERROR, 0, 0}, /* no version */
        {1, ORDER_STATUS_PENDING, 4, 0},                   /* a flag that there is not */
        {1, ORDER_STATUS_PENDING, 0, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(impossible); i++) {
        states[1] = impossible[i];
        assert_false(take_states(states, &taken));
    }
}

static void test_instances_are_named_by_host_and_port(void **state) {
    (void)state;
    struct query_http_settings settings;
    struct fault fault = {""};
    assert_true(query_http_settings_read("", 2000, &settings, &fault));
    assert_int_equal(settings.count, 0);
    assert_true(query_http_settings_read("10.0.0.1:8080, query-2.example:80,[fe80::1]:9", 2000,
                                         &settings, &fault));
    assert_int_equal(settings.count, 3);
    assert_string_equal(settings.names[0], "10.0.0.1:8080");
    assert_string_equal(settings.names[1], "query-2.example:80");
    assert_string_equal(settings.names[2], "[fe80::1]:9");
    assert_int_equal(settings.timeout_us, 2000000);
    static const char *const wrong[] = {
        "10.0.0.1",   "10.0.0.1:",  "10.0.0.1:0",   "10.0.0.1:65536", "10.0.0.1:80x", ":80",
        "a/b:80",     "user@a:80",  "http://a:80",  "a:80#x",         "[fe80::1]",    "[]:80",
        "[::1:80",    "a:80,a:80",  "fe80::1:80",   "a b:80",         "a:80;b:80",    "a%20:80",
        "a:1,a:2,:3", "\"quote:80", "10.0.0.1:-80", "10.0.0.1: 80",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        fault.text[0] = 0;
        assert_false(query_http_settings_read(wrong[i], 2000, &settings, &fault));
        assert_non_null(strstr(fault.text, "audit.query_instances: expected"));
    }
    char many[256] = "";
    struct text text = text_over(many, sizeof(many) - 1);
    for (unsigned i = 0; i <= QUERY_VIEWS_MAX; i++) {
        text_append_format(&text, "a:%u,", 1 + i);
    }
    assert_false(query_http_settings_read(many, 2000, &settings, &fault));
    char longest[2 * QUERY_HTTP_NAME_MAX] = "";
    memset(longest, 'a', QUERY_HTTP_NAME_MAX);
    assert_false(query_http_settings_read(longest, 2000, &settings, &fault));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders_are_taken_only_if_every_one_is_what_was_asked_for),
        cmocka_unit_test(test_states_are_taken_only_if_every_one_is_possible),
        cmocka_unit_test(test_instances_are_named_by_host_and_port),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
