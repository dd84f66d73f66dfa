/* The archive against nodes that do what the script says: what is stored and found, and what comes
 * of errors, silence and broken connections. */
#include "cassandra/archive_fixture.h"
#include "unit.h"

#define CELL_status 7

/* After this a connection has worked for a while: when it breaks it is made again at once. */
#define STEADY_MS 3000

static struct archive_fixture *start(void) {
    struct archive_fixture *fixture = archive_fixture_create();
    archive_fixture_start(fixture);
    return fixture;
}

static void expect_copies(const struct archive_fixture *fixture, size_t count) {
    archive_fixture_expect(fixture, count, ORDER_RESULT_FOUND);
    assert_memory_equal(fixture->found, fixture->orders, count * ORDER_RECORD_BYTES);
}

/* --- What is stored. --- */

static void test_what_was_put_is_got_back_byte_for_byte(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 1000, 3);
    archive_fixture_put(fixture, 1000);
    archive_fixture_expect(fixture, 1000, ORDER_RESULT_STORED);
    archive_fixture_get(fixture, 1000);
    expect_copies(fixture, 1000);
    assert_int_equal(archive_metric(fixture, stored_total), 1000);
    assert_int_equal(fixture->nodes[0].consistency, CQL_LOCAL_QUORUM);
    archive_fixture_destroy(fixture);
}

static void test_rows_of_a_partition_travel_in_batches_of_the_configured_size(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    struct scripted_node *node = &fixture->nodes[0];
    archive_fixture_fill(fixture, 1600, 1);
    archive_fixture_put(fixture, 1600);
    archive_fixture_expect(fixture, 1600, ORDER_RESULT_STORED);
    assert_int_equal(node->batch_rows_most, 50);
    /* 16 slot groups with about 100 rows each: two or three batches, seldom a single row more */
    assert_in_range(node->requests, 32, 56);
    archive_fixture_destroy(fixture);
}

static void test_the_version_is_the_timestamp_so_a_lower_one_changes_nothing(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 1, 1);
    struct order_record newer = fixture->orders[0];
    archive_fixture_put(fixture, 1);
    assert_int_equal(scripted_node_row(&fixture->nodes[0], newer.order_id)->timestamp_us, 2);
    fixture->orders[0].version = 1;
    fixture->orders[0].amount++;
    archive_fixture_put(fixture, 1);
    archive_fixture_expect(fixture, 1, ORDER_RESULT_STORED);
    archive_fixture_get(fixture, 1);
    assert_memory_equal(&fixture->found[0], &newer, sizeof(newer));
    archive_fixture_destroy(fixture);
}

static void test_an_order_that_is_not_there_is_absent(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 40, 1);
    struct order_record missing = fixture->orders[39];
    archive_fixture_put(fixture, 39);
    archive_fixture_get(fixture, 40);
    archive_fixture_expect(fixture, 39, ORDER_RESULT_FOUND);
    assert_int_equal(fixture->results[39], ORDER_RESULT_ABSENT);
    assert_int_not_equal(missing.order_id, 0);
    archive_fixture_destroy(fixture);
}

static void test_ids_may_come_in_any_order_and_twice(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 60, 1);
    archive_fixture_put(fixture, 60);
    for (size_t i = 0; i < 60; i++) {
        fixture->ids[i] = fixture->orders[59 - i / 2].order_id;
    }
    archive_fixture_get(fixture, 60);
    archive_fixture_expect(fixture, 60, ORDER_RESULT_FOUND);
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(fixture->found[i].order_id, fixture->ids[i]);
    }
    archive_fixture_destroy(fixture);
}

static void test_nothing_to_put_or_get_is_done_at_once(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_put(fixture, 0);
    archive_fixture_get(fixture, 0);
    assert_int_equal(fixture->nodes[0].requests, 0);
    archive_fixture_destroy(fixture);
}

/* --- Rows that are no order. --- */

static void test_a_row_that_somebody_changed_is_broken_counted_and_never_served(void **state) {
    (void)state;
    static const struct {
        size_t cell;
        const char *bytes;
        int32_t size;
    } changes[] = {
        {1, "other", 5},               /* another partner: another slot */
        {1, "", -1},                   /* no partner */
        {1, "", 0},                    /* an empty one */
        {1, "a partner too long", 18}, /* */
        {2, "other", 5},               /* another reference: another slot */
        {3, "\0\0\0\0\0\0\0\0", 8},    /* amount 0 */
        {3, "\xff\0\0\0\0\0\0\0", 8},  /* amount below 0 */
        {3, "\0\0\0\1", 4},            /* an amount of four bytes */
        {4, "EURO", 4},                /* */
        {5, "barter", 6},              /* */
        {6, "bank\x80", 5},            /* */
        {CELL_status, "pending", 7},   /* not final */
        {CELL_status, "paid", 4},      /* */
        {CELL_status, "", -1},         /* */
        {8, "\0\0\0\0", 4},            /* version 0 */
        {9, "", -1},                   /* never created */
        {10, "\0\0\0\0\0\0\0\1", 8},   /* changed before it was created */
        {11, "\xff\0\0\0\0\0\0\0", 8}, /* requested before 1970 */
    };
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, ARRAY_COUNT(changes) + 1, 1);
    archive_fixture_put(fixture, ARRAY_COUNT(changes) + 1);
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        scripted_node_set(&fixture->nodes[0], fixture->ids[i], changes[i].cell, changes[i].bytes,
                          changes[i].size);
    }
    archive_fixture_get(fixture, ARRAY_COUNT(changes) + 1);
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        char id[24];
        if (fixture->results[i] != ORDER_RESULT_BROKEN) {
            fail_msg("change %zu was not seen: result %u", i, fixture->results[i]);
        }
        assert_int_equal(fixture->found[i].order_id, 0);
        (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)fixture->ids[i]);
        assert_contains(archive_fixture_log(fixture), id);
    }
    assert_int_equal(fixture->results[ARRAY_COUNT(changes)], ORDER_RESULT_FOUND);
    assert_int_equal(archive_metric(fixture, broken_total), ARRAY_COUNT(changes));
    archive_fixture_destroy(fixture);
}

/* --- Answers that are none. --- */

static void test_hostile_answers_end_the_connection_and_the_request_is_tried_again(void **state) {
    (void)state;
    static const enum node_manner manners[] = {NODE_WRONG_STREAM, NODE_TOO_LONG,  NODE_TOO_SHORT,
                                               NODE_HALF,         NODE_GARBAGE,   NODE_WRONG_KIND,
                                               NODE_FOREIGN_ROW,  NODE_ROW_TWICE, NODE_CLOSES};
    for (size_t i = 0; i < ARRAY_COUNT(manners); i++) {
        struct archive_fixture *fixture = start();
        struct scripted_node *node = &fixture->nodes[0];
        archive_fixture_fill(fixture, 30, 1);
        archive_fixture_put(fixture, 30);
        /* one more, so that the last row is not what is asked for */
        fixture->orders[30] = final_order(1000, 7);
        fixture->orders[0] = fixture->orders[30];
        archive_fixture_put(fixture, 1);
        archive_fixture_fill(fixture, 30, 1);
        archive_fixture_run(fixture, STEADY_MS);
        node->manner = manners[i];
        node->manner_times = 1;
        archive_fixture_get(fixture, 1);
        expect_copies(fixture, 1);
        assert_int_equal(archive_metric(fixture, disconnects_total), 1);
        assert_int_equal(archive_metric(fixture, retries_total), 1);
        archive_fixture_destroy(fixture);
    }
}

static void test_a_node_that_never_makes_sense_gives_no_order(void **state) {
    (void)state;
    static const enum node_manner manners[] = {
        NODE_WRONG_STREAM, NODE_TOO_LONG,    NODE_TOO_SHORT, NODE_HALF,   NODE_GARBAGE,
        NODE_WRONG_KIND,   NODE_FOREIGN_ROW, NODE_ROW_TWICE, NODE_CLOSES, NODE_IS_SILENT};
    for (size_t i = 0; i < ARRAY_COUNT(manners); i++) {
        struct archive_fixture *fixture = start();
        archive_fixture_fill(fixture, 30, 1);
        archive_fixture_put(fixture, 30);
        fixture->nodes[0].manner = manners[i];
        fixture->ids[0] = final_order(2000, 100).order_id;
        int64_t begin_us = fixture->now_us;
        archive_fixture_get(fixture, 20);
        for (size_t j = 0; j < 20; j++) {
            assert_true(
                fixture->results[j] == ORDER_RESULT_UNAVAILABLE ||
                (fixture->results[j] == ORDER_RESULT_FOUND &&
                 memcmp(&fixture->found[j], &fixture->orders[j], ORDER_RECORD_BYTES) == 0) ||
                (fixture->results[j] == ORDER_RESULT_ABSENT && j == 0));
        }
        assert_in_range(fixture->now_us - begin_us, 0, fixture->terms.request_timeout_us + 2000);
        archive_fixture_destroy(fixture);
    }
}

/* --- Errors. --- */

static void test_each_error_says_what_became_of_a_write_and_of_a_read(void **state) {
    (void)state;
    static const struct {
        uint32_t code;
        enum order_result put;
    } errors[] = {
        {CQL_ERROR_UNAVAILABLE, ORDER_RESULT_UNAVAILABLE},
        {CQL_ERROR_BOOTSTRAPPING, ORDER_RESULT_UNAVAILABLE},
        {CQL_ERROR_INVALID, ORDER_RESULT_UNAVAILABLE},
        {CQL_ERROR_UNAUTHORIZED, ORDER_RESULT_UNAVAILABLE},
        {CQL_ERROR_UNPREPARED, ORDER_RESULT_UNAVAILABLE},
        {CQL_ERROR_WRITE_TIMEOUT, ORDER_RESULT_UNKNOWN},
        {CQL_ERROR_OVERLOADED, ORDER_RESULT_UNKNOWN},
        {CQL_ERROR_SERVER, ORDER_RESULT_UNKNOWN},
        {0x9999, ORDER_RESULT_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        struct archive_fixture *fixture = start();
        archive_fixture_fill(fixture, 3, 1);
        fixture->nodes[0].manner = NODE_SAYS_ERROR;
        fixture->nodes[0].error_code = errors[i].code;
        archive_fixture_put(fixture, 3);
        archive_fixture_expect(fixture, 3, errors[i].put);
        archive_fixture_get(fixture, 3);
        archive_fixture_expect(fixture, 3, ORDER_RESULT_UNAVAILABLE);
        assert_true(archive_metric(fixture, errors_total) > 0);
        assert_true(fixture->nodes[0].requests <= 6 * 4);
        archive_fixture_destroy(fixture);
    }
}

static void test_a_write_of_unknown_outcome_is_repeated_and_then_stored(void **state) {
    (void)state;
    static const enum node_manner manners[] = {NODE_DOES_BUT_SILENT, NODE_DOES_BUT_CLOSES,
                                               NODE_DOES_BUT_ERROR};
    for (size_t i = 0; i < ARRAY_COUNT(manners); i++) {
        struct archive_fixture *fixture = start();
        archive_fixture_fill(fixture, 1, 1);
        archive_fixture_run(fixture, STEADY_MS);
        fixture->nodes[0].manner = manners[i];
        fixture->nodes[0].manner_times = 1;
        fixture->nodes[0].error_code = CQL_ERROR_WRITE_TIMEOUT;
        archive_fixture_put(fixture, 1);
        archive_fixture_expect(fixture, 1, ORDER_RESULT_STORED);
        assert_int_equal(archive_metric(fixture, retries_total), 1);
        archive_fixture_get(fixture, 1);
        expect_copies(fixture, 1);
        archive_fixture_destroy(fixture);
    }
}

static void test_a_write_that_stays_unanswered_is_unknown_within_its_time(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 100, 2);
    fixture->nodes[0].manner = NODE_DOES_BUT_SILENT;
    int64_t begin_us = fixture->now_us;
    archive_fixture_put(fixture, 100);
    assert_in_range(fixture->now_us - begin_us, 0, fixture->terms.request_timeout_us + 2000);
    for (size_t i = 0; i < 100; i++) {
        bool is_there = scripted_node_row(&fixture->nodes[0], fixture->ids[i]) != NULL;
        assert_int_equal(fixture->results[i],
                         is_there ? ORDER_RESULT_UNKNOWN : ORDER_RESULT_UNAVAILABLE);
    }
    fixture->nodes[0].manner = NODE_ANSWERS;
    archive_fixture_put(fixture, 100);
    archive_fixture_expect(fixture, 100, ORDER_RESULT_STORED);
    archive_fixture_destroy(fixture);
}

static void test_a_late_answer_reaches_no_other_request(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    struct scripted_node *node = &fixture->nodes[0];
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    archive_fixture_fill(fixture, 40, 1);
    archive_fixture_put(fixture, 40);
    uint8_t result = 0;
    struct order_record found;
    struct order_get_batch slow = {.request = fixture->put.request,
                                   .count = 1,
                                   .order_ids = &fixture->orders[1].order_id,
                                   .orders = &found,
                                   .results = &result};
    node->manner = NODE_HOLDS_BACK;
    node->manner_times = 1;
    assert_int_equal(port->ops->get(port, &slow), PORT_TAKEN);
    archive_fixture_run(fixture, 100);
    archive_fixture_get(fixture, 40); /* so the node is not taken for dead */
    expect_copies(fixture, 40);
    assert_int_equal(result, 0);
    archive_fixture_run(fixture, 1000); /* a second attempt is answered */
    assert_int_equal(result, ORDER_RESULT_FOUND);
    assert_memory_equal(&found, &fixture->orders[1], sizeof(found));
    scripted_node_let_go(node);
    archive_fixture_get(fixture, 40);
    expect_copies(fixture, 40);
    assert_int_equal(archive_metric(fixture, time_outs_total), 1);
    assert_int_equal(archive_metric(fixture, late_answers_total), 1);
    assert_int_equal(archive_metric(fixture, disconnects_total), 0);
    archive_fixture_destroy(fixture);
}

static void test_a_forgotten_statement_is_prepared_again(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    archive_fixture_fill(fixture, 1, 1);
    fixture->nodes[0].statement_forgotten = CASSANDRA_INSERT;
    archive_fixture_put(fixture, 1);
    archive_fixture_expect(fixture, 1, ORDER_RESULT_STORED);
    fixture->nodes[0].statement_forgotten = CASSANDRA_SELECT_ONE;
    archive_fixture_get(fixture, 1);
    expect_copies(fixture, 1);
    assert_int_equal(archive_metric(fixture, unprepared_total), 2);
    assert_int_equal(archive_metric(fixture, disconnects_total), 0);
    archive_fixture_destroy(fixture);
}

/* --- Bounds. --- */

static void test_more_than_the_queue_takes_is_busy_and_later_taken(void **state) {
    (void)state;
    struct archive_fixture *fixture = archive_fixture_create();
    fixture->terms.queue_orders = 100;
    archive_fixture_start(fixture);
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    archive_fixture_fill(fixture, 101, 1);
    archive_fixture_put(fixture, 60);
    fixture->put.count = 60;
    fixture->get.request = fixture->put.request;
    fixture->get.count = 41;
    fixture->get.order_ids = fixture->ids;
    fixture->get.orders = fixture->found;
    fixture->get.results = fixture->results + 60;
    assert_int_equal(port->ops->put(port, &fixture->put), PORT_TAKEN);
    assert_int_equal(port->ops->get(port, &fixture->get), PORT_BUSY);
    archive_fixture_await(fixture, 2);
    assert_int_equal(port->ops->get(port, &fixture->get), PORT_TAKEN);
    archive_fixture_await(fixture, 3);
    archive_fixture_expect(fixture, 60, ORDER_RESULT_STORED);
    archive_fixture_destroy(fixture);
}

static void test_reads_find_a_stream_while_writes_are_stuck(void **state) {
    (void)state;
    struct archive_fixture *fixture = start();
    struct scripted_node *node = &fixture->nodes[0];
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    archive_fixture_fill(fixture, 500, 4);
    archive_fixture_put(fixture, 500);
    size_t before = node->requests;
    node->manner = NODE_IS_SILENT;
    memset(fixture->results, 0, sizeof(fixture->results));
    assert_int_equal(port->ops->put(port, &fixture->put), PORT_TAKEN);
    archive_fixture_run(fixture, 2);
    assert_int_equal(node->requests - before, 6); /* of 8 streams */
    node->manner = NODE_ANSWERS;
    uint8_t result = 0;
    struct order_get_batch get = fixture->get;
    get = (struct order_get_batch){.request = fixture->put.request,
                                   .count = 1,
                                   .order_ids = fixture->ids,
                                   .orders = fixture->found,
                                   .results = &result};
    size_t done = fixture->done;
    assert_int_equal(port->ops->get(port, &get), PORT_TAKEN);
    archive_fixture_run(fixture, 5);
    assert_int_equal(fixture->done, done + 1);
    assert_int_equal(result, ORDER_RESULT_FOUND);
    archive_fixture_await(fixture, done + 2);
    archive_fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_put_is_got_back_byte_for_byte),
        cmocka_unit_test(test_rows_of_a_partition_travel_in_batches_of_the_configured_size),
        cmocka_unit_test(test_the_version_is_the_timestamp_so_a_lower_one_changes_nothing),
        cmocka_unit_test(test_an_order_that_is_not_there_is_absent),
        cmocka_unit_test(test_ids_may_come_in_any_order_and_twice),
        cmocka_unit_test(test_nothing_to_put_or_get_is_done_at_once),
        cmocka_unit_test(test_a_row_that_somebody_changed_is_broken_counted_and_never_served),
        cmocka_unit_test(test_hostile_answers_end_the_connection_and_the_request_is_tried_again),
        cmocka_unit_test(test_a_node_that_never_makes_sense_gives_no_order),
        cmocka_unit_test(test_each_error_says_what_became_of_a_write_and_of_a_read),
        cmocka_unit_test(test_a_write_of_unknown_outcome_is_repeated_and_then_stored),
        cmocka_unit_test(test_a_write_that_stays_unanswered_is_unknown_within_its_time),
        cmocka_unit_test(test_a_late_answer_reaches_no_other_request),
        cmocka_unit_test(test_a_forgotten_statement_is_prepared_again),
        cmocka_unit_test(test_more_than_the_queue_takes_is_busy_and_later_taken),
        cmocka_unit_test(test_reads_find_a_stream_while_writes_are_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
