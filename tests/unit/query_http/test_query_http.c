/** The query instances as the adapter asks them over HTTP: real sockets, and instances that are
 *  played by a script. */
#include "../sample.h"
#include "adapter/query_http/query_http.h"
#include "base/clock.h"
#include "scripted_instance.h"

#include <stdlib.h>

#define WITHIN_US INT64_C(20000000)
#define REQUESTS_MAX 8

/* --- A request and its answer. --- */

struct request {
    struct order_get_batch batch;
    bool done;
    uint64_t ids[QUERY_VIEW_BATCH_MAX];
    struct order_record orders[QUERY_VIEW_BATCH_MAX];
    uint8_t results[QUERY_VIEW_BATCH_MAX];
};

struct fixture {
    struct scripted_instance instances[2];
    struct query_http *http;
    struct mailbox mailbox;
    struct log log;
    struct request requests[REQUESTS_MAX];
};

static void done(struct port_request *port_request) {
    struct order_get_batch *batch = CONTAINER_OF(port_request, struct order_get_batch, request);
    (CONTAINER_OF(batch, struct request, batch))->done = true;
}

/** Hands a request to an instance; the answer comes later. */
static struct request *submit(struct fixture *fixture, size_t number, size_t instance, bool whole,
                              size_t count) {
    struct request *request = &fixture->requests[number];
    struct query_view *view = query_http_view(fixture->http, instance);
    request->done = false;
    request->batch = (struct order_get_batch){
        .request = {.done = done, .mailbox = &fixture->mailbox},
        .count = count,
        .order_ids = request->ids,
        .orders = request->orders,
        .results = request->results,
    };
    for (size_t i = 0; i < count; i++) {
        request->ids[i] = 1 + i;
    }
    memset(request->results, ORDER_RESULT_NONE, sizeof(request->results));
    assert_int_equal(whole ? view->ops->get(view, &request->batch)
                           : view->ops->states(view, &request->batch),
                     PORT_TAKEN);
    return request;
}

static void wait_done(struct fixture *fixture, const struct request *request) {
    int64_t end_us = clock_monotonic_us() + WITHIN_US;
    while (!request->done) {
        assert_true(clock_monotonic_us() < end_us);
        (void)port_drain(&fixture->mailbox, SIZE_MAX);
        if (!request->done) {
            mailbox_wait(&fixture->mailbox, 100);
        }
    }
}

static struct request *ask(struct fixture *fixture, size_t instance, bool whole, size_t count) {
    struct request *request = submit(fixture, 0, instance, whole, count);
    wait_done(fixture, request);
    return request;
}

static bool is_unavailable(const struct request *request) {
    for (size_t i = 0; i < request->batch.count; i++) {
        if (request->results[i] != ORDER_RESULT_UNAVAILABLE) {
            return false;
        }
    }
    return true;
}

/* --- What instances say. --- */

/** Of every third id there is no order. */
static enum scripted_deed tell_the_truth(struct scripted_instance *instance,
                                         const struct scripted_request *request, struct text *out) {
    (void)instance;
    size_t item = request->whole ? sizeof(struct order_record) : sizeof(struct order_state);
    scripted_head(out, 200, request->count * item);
    for (size_t i = 0; i < request->count; i++) {
        struct order_record order = {.order_id = 0};
        if (request->ids[i] % 3 != 0) {
            order = sample_order(request->ids[i]);
        }
        struct order_state state = {.version = order.version, .status = order.status};
        text_append(out, request->whole ? (const void *)&order : (const void *)&state, item);
    }
    return SCRIPTED_ANSWER;
}

static enum scripted_deed hang(struct scripted_instance *instance,
                               const struct scripted_request *request, struct text *out) {
    (void)instance;
    (void)request;
    (void)out;
    return SCRIPTED_HANG;
}

/** Some orders cannot be known now: 503 for whole ones, with a body that is longer than theirs. */
static enum scripted_deed give_only_states(struct scripted_instance *instance,
                                           const struct scripted_request *request,
                                           struct text *out) {
    static const char problem[512];
    if (!request->whole) {
        return tell_the_truth(instance, request, out);
    }
    scripted_respond(out, 503, problem, sizeof(problem));
    return SCRIPTED_ANSWER;
}

static enum scripted_deed be_uncertain(struct scripted_instance *instance,
                                       const struct scripted_request *request, struct text *out) {
    static const struct order_state states[] = {
        {.flags = ORDER_STATE_PROVISIONAL}, {.flags = ORDER_STATE_UNKNOWN}, {0, 0, 0, 0}};
    (void)instance;
    assert_int_equal(request->count, ARRAY_COUNT(states));
    scripted_respond(out, 200, states, sizeof(states));
    return SCRIPTED_ANSWER;
}

/** The bytes that the test wants sent. */
static enum scripted_deed say(struct scripted_instance *instance,
                              const struct scripted_request *request, struct text *out) {
    (void)request;
    text_append_slice(out, *(const struct slice *)atomic_load(&instance->context));
    return SCRIPTED_CLOSE;
}

/** The same, and the answer goes on after that. */
static enum scripted_deed say_on(struct scripted_instance *instance,
                                 const struct scripted_request *request, struct text *out) {
    (void)say(instance, request, out);
    return SCRIPTED_HANG;
}

/* --- The fixture. --- */

static struct fixture *begin(size_t instances, uint64_t timeout_ms) {
    struct fixture *fixture = aligned_alloc(CACHE_LINE_BYTES, sizeof(*fixture));
    char list[128];
    struct text text = text_over(list, sizeof(list) - 1);
    struct query_http_settings settings;
    struct fault fault = {""};
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    log_init(&fixture->log, STDERR_FILENO, LOG_ERROR + 1);
    assert_true(mailbox_init(&fixture->mailbox, REQUESTS_MAX));
    for (size_t i = 0; i < instances; i++) {
        fixture->instances[i].answer = tell_the_truth;
        scripted_start(&fixture->instances[i]);
        text_append_format(&text, "%s127.0.0.1:%u", i > 0 ? "," : "", fixture->instances[i].port);
    }
    list[text.size] = 0;
    assert_true(query_http_settings_read(list, timeout_ms, &settings, &fault));
    fixture->http =
        query_http_create(&(struct query_http_parts){&settings, &fixture->log, NULL}, &fault);
    assert_non_null(fixture->http);
    return fixture;
}

static void end(struct fixture *fixture) {
    query_http_destroy(fixture->http);
    for (size_t i = 0; i < ARRAY_COUNT(fixture->instances); i++) {
        if (fixture->instances[i].port != 0) {
            scripted_stop(&fixture->instances[i]);
            assert_int_equal(fixture->instances[i].foreign, 0);
        }
    }
    mailbox_deinit(&fixture->mailbox);
    free(fixture);
}

/* --- Tests. --- */

static void test_whole_orders_are_asked_for_over_one_connection(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    for (size_t count = 1; count <= QUERY_VIEW_BATCH_MAX; count += 51) {
        const struct request *request = ask(fixture, 0, true, count);
        for (size_t i = 0; i < count; i++) {
            struct order_record order = sample_order(1 + i);
            bool none = (1 + i) % 3 == 0;
            assert_int_equal(request->results[i], none ? ORDER_RESULT_ABSENT : ORDER_RESULT_FOUND);
            assert_true(none || memcmp(&request->orders[i], &order, sizeof(order)) == 0);
        }
    }
    assert_int_equal(fixture->instances[0].connections, 1);
    assert_int_equal(metric_get(&query_http_metrics(fixture->http, 0)->up), 1);
    end(fixture);
}

static void test_states_are_asked_for(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    const struct request *request = ask(fixture, 0, false, 3);
    assert_int_equal(request->results[0], ORDER_RESULT_FOUND_STATE);
    assert_int_equal(request->orders[0].order_id, 1);
    assert_int_equal(request->orders[0].version, sample_order(1).version);
    assert_int_equal(request->orders[0].status, sample_order(1).status);
    assert_int_equal(request->orders[0].amount, 0);
    assert_int_equal(request->results[2], ORDER_RESULT_ABSENT);
    fixture->instances[0].answer = be_uncertain;
    request = ask(fixture, 0, false, 3);
    assert_int_equal(request->results[0], ORDER_RESULT_UNKNOWN);
    assert_int_equal(request->results[1], ORDER_RESULT_UNKNOWN);
    assert_int_equal(request->results[2], ORDER_RESULT_ABSENT);
    end(fixture);
}

static void test_who_has_no_whole_orders_now_is_asked_for_states(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    fixture->instances[0].answer = give_only_states;
    const struct request *request = ask(fixture, 0, true, 1);
    assert_int_equal(request->results[0], ORDER_RESULT_FOUND_STATE);
    const struct query_http_metrics *metrics = query_http_metrics(fixture->http, 0);
    assert_int_equal(metric_get(&metrics->states_only_total), 1);
    assert_int_equal(metric_get(&metrics->failures_total), 0);
    fixture->instances[0].answer = tell_the_truth;
    assert_int_equal(ask(fixture, 0, true, 1)->results[0], ORDER_RESULT_FOUND); /* it rests not */
    end(fixture);
}

static void test_what_is_no_answer_counts_as_none(void **state) {
    (void)state;
    struct order_record other = sample_order(2);
    struct order_record torn = sample_order(1);
    torn.amount++;
    char bytes[16][512];
    struct text text[16];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(text); i++) {
        text[i] = text_over(bytes[i], sizeof(bytes[i]));
    }
    scripted_respond(&text[count++], 200, &other, sizeof(other));     /* not the one asked for */
    scripted_respond(&text[count++], 200, &torn, sizeof(torn));       /* its checksum is wrong */
    scripted_respond(&text[count++], 200, &other, sizeof(other) - 1); /* too short */
    scripted_respond(&text[count++], 200, "", 0);
    scripted_respond(&text[count++], 200, bytes[15], 200); /* too long */
    scripted_head(&text[count], 200, sizeof(other));       /* broken off */
    text_append(&text[count++], &other, 50);
    scripted_respond(&text[count++], 404, &other, sizeof(other));
    scripted_respond(&text[count++], 500, "", 0);
    text_append_literal(&text[count++], "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n"
                                        "Content-Length: 0\r\n\r\n");
    text_append_literal(&text[count++], "220 mail ESMTP\r\n");
    text_append_literal(&text[count++], "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n");
    text_append_literal(&text[count++],
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    count++; /* nothing at all */
    for (size_t i = 0; i < count; i++) {
        struct fixture *fixture = begin(1, 10000);
        struct slice says = text_slice(&text[i]);
        fixture->instances[0].context = &says;
        fixture->instances[0].answer = say;
        assert_true(is_unavailable(ask(fixture, 0, true, 1)));
        const struct query_http_metrics *metrics = query_http_metrics(fixture->http, 0);
        assert_int_equal(metric_get(&metrics->failures_total), 1);
        assert_int_equal(metric_get(&metrics->malformed_total), i < 5 ? 1 : 0);
        assert_int_equal(metric_get(&metrics->up), 0);
        end(fixture);
    }
}

static void test_an_answer_without_end_is_cut_off(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 3000);
    char *bytes = calloc(1, SCRIPTED_BYTES_MAX);
    struct text text = text_over(bytes, SCRIPTED_BYTES_MAX);
    text_append_literal(&text, "HTTP/1.1 200 OK\r\n\r\n"); /* until it closes */
    struct slice says = {bytes, SCRIPTED_BYTES_MAX};
    fixture->instances[0].context = &says;
    fixture->instances[0].answer = say_on;
    assert_true(is_unavailable(ask(fixture, 0, true, 2)));
    assert_int_equal(metric_get(&query_http_metrics(fixture->http, 0)->malformed_total), 1);
    end(fixture);
    free(bytes);
}

static void test_a_hanging_instance_ends_with_its_time_and_holds_nobody_up(void **state) {
    (void)state;
    struct fixture *fixture = begin(2, 1000);
    fixture->instances[0].answer = hang;
    struct request *hanging = submit(fixture, 1, 0, true, 3);
    assert_int_equal(ask(fixture, 1, true, 1)->results[0], ORDER_RESULT_FOUND);
    wait_done(fixture, hanging);
    assert_true(is_unavailable(hanging));
    end(fixture);
}

static void test_who_did_not_answer_rests_and_is_asked_again(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    struct slice nothing = {"", 0};
    fixture->instances[0].context = &nothing;
    fixture->instances[0].answer = say;
    assert_true(is_unavailable(ask(fixture, 0, true, 1)));
    const struct query_http_metrics *metrics = query_http_metrics(fixture->http, 0);
    uint64_t sent = metric_get(&metrics->requests_total);
    fixture->instances[0].answer = tell_the_truth;
    int64_t end_us = clock_monotonic_us() + WITHIN_US;
    size_t refused = 0;
    while (is_unavailable(ask(fixture, 0, true, 1))) {
        assert_true(clock_monotonic_us() < end_us);
        refused++;
    }
    assert_true(refused > 0);
    assert_int_equal(metric_get(&metrics->requests_total),
                     sent + 1); /* nobody was asked meanwhile */
    assert_int_equal(metric_get(&metrics->up), 1);
    end(fixture);
}

static void test_where_nobody_listens_is_no_answer(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    scripted_stop(&fixture->instances[0]);
    fixture->instances[0].port = 0;
    assert_true(is_unavailable(ask(fixture, 0, false, 2)));
    end(fixture);
}

static void test_more_requests_than_can_be_under_way_wait_for_their_turn(void **state) {
    (void)state;
    struct fixture *fixture = begin(1, 10000);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        (void)submit(fixture, i, 0, i % 2 == 0, 1 + i);
    }
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        wait_done(fixture, &fixture->requests[i]);
        assert_int_equal(fixture->requests[i].results[0],
                         i % 2 == 0 ? ORDER_RESULT_FOUND : ORDER_RESULT_FOUND_STATE);
    }
    assert_in_range(fixture->instances[0].connections, 1, 2);
    end(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_orders_are_asked_for_over_one_connection),
        cmocka_unit_test(test_states_are_asked_for),
        cmocka_unit_test(test_who_has_no_whole_orders_now_is_asked_for_states),
        cmocka_unit_test(test_what_is_no_answer_counts_as_none),
        cmocka_unit_test(test_an_answer_without_end_is_cut_off),
        cmocka_unit_test(test_a_hanging_instance_ends_with_its_time_and_holds_nobody_up),
        cmocka_unit_test(test_who_did_not_answer_rests_and_is_asked_again),
        cmocka_unit_test(test_where_nobody_listens_is_no_answer),
        cmocka_unit_test(test_more_requests_than_can_be_under_way_wait_for_their_turn),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
