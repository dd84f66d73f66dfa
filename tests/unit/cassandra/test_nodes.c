/* Nodes that come and go: the handshake, reconnecting, who is asked, what is said about it; and
 * what the checker asks for. */
#include "cassandra/archive_fixture.h"
#include "unit.h"

static struct archive_fixture *start_on(size_t nodes) {
    struct archive_fixture *fixture = archive_fixture_create();
    fixture->terms.host_count = nodes;
    archive_fixture_start(fixture);
    return fixture;
}

/** Starts with a greeting of the first node; returns what is said of it. */
static struct archive_fixture *start_greeted(enum node_greeting greeting, struct fault *fault) {
    struct archive_fixture *fixture = archive_fixture_create();
    fixture->nodes[0].greeting = greeting;
    memcpy(fixture->nodes[0].user, "orders", sizeof("orders"));
    memcpy(fixture->nodes[0].password, "right-secret", sizeof("right-secret"));
    memcpy(fixture->terms.user, "orders", sizeof("orders"));
    memcpy(fixture->terms.password, "wrong-secret", sizeof("wrong-secret"));
    archive_fixture_start(fixture);
    archive_fixture_run(fixture, 1000);
    assert_int_equal(cassandra_archive_is_ready(fixture->archive, fault), false);
    return fixture;
}

/* --- The handshake. --- */

static void test_the_right_password_lets_in(void **state) {
    (void)state;
    struct fault fault;
    struct archive_fixture *fixture = archive_fixture_create();
    fixture->nodes[0].greeting = NODE_WANTS_PASSWORD;
    memcpy(fixture->nodes[0].user, "orders", sizeof("orders"));
    memcpy(fixture->nodes[0].password, "secret", sizeof("secret"));
    memcpy(fixture->terms.user, "orders", sizeof("orders"));
    memcpy(fixture->terms.password, "secret", sizeof("secret"));
    archive_fixture_start(fixture);
    assert_true(cassandra_archive_is_ready(fixture->archive, &fault));
    assert_string_equal(fault.text, "");
    archive_fixture_destroy(fixture);
}

static void test_a_wrong_password_is_told_without_showing_it(void **state) {
    (void)state;
    struct fault fault;
    struct archive_fixture *fixture = start_greeted(NODE_WANTS_PASSWORD, &fault);
    assert_contains(fault.text, "node-0: log in: bad credentials");
    assert_contains(archive_fixture_log(fixture), "bad credentials");
    assert_not_contains(archive_fixture_log(fixture), "secret");
    archive_fixture_fill(fixture, 1, 1);
    int64_t begin_us = fixture->now_us;
    archive_fixture_get(fixture, 1);
    archive_fixture_expect(fixture, 1, ORDER_RESULT_UNAVAILABLE);
    assert_in_range(fixture->now_us - begin_us, 0, 5000); /* nobody waits for a node that is down */
    archive_fixture_destroy(fixture);
}

static void test_a_node_that_cannot_be_worked_with_says_why(void **state) {
    (void)state;
    static const struct {
        enum node_greeting greeting;
        const char *text;
    } greetings[] = {
        {NODE_WANTS_KERBEROS, "authenticator KerberosAuthenticator, which is not known here"},
        {NODE_OLD_VERSION, "does not speak protocol version 4"},
        {NODE_NO_TABLE, "a statement cannot be prepared: invalid"},
        {NODE_OTHER_COLUMNS, "the table is not what this program knows"},
        {NODE_NEVER_GREETS, "the handshake is not done in time"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(greetings); i++) {
        struct fault fault;
        struct archive_fixture *fixture = start_greeted(greetings[i].greeting, &fault);
        assert_contains(fault.text, greetings[i].text);
        assert_int_equal(archive_metric(fixture, nodes_up), 0);
        assert_true(archive_metric(fixture, connect_failures_total) >= 1);
        archive_fixture_destroy(fixture);
    }
}

/* --- Coming and going. --- */

static void test_a_node_that_restarts_is_connected_to_again_and_nothing_is_lost(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    struct scripted_node *node = &fixture->nodes[0];
    archive_fixture_fill(fixture, 200, 2);
    archive_fixture_put(fixture, 200);
    archive_fixture_run(fixture, 5000);
    node->refuses = true;
    scripted_node_hang_up(node);
    archive_fixture_run(fixture, 2000);
    struct fault fault;
    assert_false(cassandra_archive_is_ready(fixture->archive, &fault));
    assert_contains(fault.text, "node-0: connect: Connection refused");
    archive_fixture_get(fixture, 200);
    archive_fixture_expect(fixture, 200, ORDER_RESULT_UNAVAILABLE);
    node->refuses = false;
    archive_fixture_run(fixture, 10000);
    assert_true(cassandra_archive_is_ready(fixture->archive, &fault));
    archive_fixture_get(fixture, 200);
    archive_fixture_expect(fixture, 200, ORDER_RESULT_FOUND);
    assert_memory_equal(fixture->found, fixture->orders, 200 * ORDER_RECORD_BYTES);
    archive_fixture_destroy(fixture);
}

static void test_a_node_that_is_down_is_tried_ever_less_often(void **state) {
    (void)state;
    struct archive_fixture *fixture = archive_fixture_create();
    fixture->nodes[0].refuses = true;
    archive_fixture_start(fixture);
    archive_fixture_run(fixture, 60000);
    size_t first_minute = fixture->nodes[0].dials;
    archive_fixture_run(fixture, 60000);
    size_t second_minute = fixture->nodes[0].dials - first_minute;
    assert_in_range(first_minute, 8, 24);
    assert_in_range(second_minute, 5, 13); /* every 5 to 10 s */
    archive_fixture_destroy(fixture);
}

static void test_the_other_node_does_the_work_of_one_that_is_gone(void **state) {
    (void)state;
    struct fault fault;
    struct archive_fixture *fixture = start_on(2);
    fixture->nodes[0].refuses = true;
    scripted_node_hang_up(&fixture->nodes[0]);
    archive_fixture_run(fixture, 1000);
    archive_fixture_fill(fixture, 300, 1);
    archive_fixture_put(fixture, 300);
    archive_fixture_expect(fixture, 300, ORDER_RESULT_STORED);
    assert_true(cassandra_archive_is_ready(fixture->archive, &fault));
    assert_contains(fault.text, "node-0");
    assert_not_contains(fault.text, "node-1");
    archive_fixture_destroy(fixture);
}

static void test_a_second_attempt_goes_to_another_node(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(2);
    archive_fixture_fill(fixture, 20, 1);
    fixture->nodes[0].manner = NODE_IS_SILENT;
    for (size_t i = 0; i < 4; i++) { /* whichever is asked first */
        archive_fixture_put(fixture, 20);
        archive_fixture_expect(fixture, 20, ORDER_RESULT_STORED);
    }
    assert_true(fixture->nodes[0].requests > 0);
    archive_fixture_destroy(fixture);
}

static void test_an_idle_connection_is_asked_for_a_word_and_left_where_none_comes(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    archive_fixture_run(fixture, 16000);
    assert_in_range(fixture->nodes[0].options, 2, 3);
    assert_int_equal(archive_metric(fixture, disconnects_total), 0);
    fixture->nodes[0].manner = NODE_IS_SILENT;
    archive_fixture_run(fixture, 8000);
    assert_int_equal(archive_metric(fixture, disconnects_total), 1);
    archive_fixture_destroy(fixture);
}

static void test_a_flood_of_silence_does_not_use_up_the_streams_for_ever(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    archive_fixture_fill(fixture, 800, 8);
    fixture->nodes[0].manner = NODE_IS_SILENT;
    archive_fixture_put(fixture, 800);
    fixture->nodes[0].manner = NODE_ANSWERS;
    archive_fixture_run(fixture, 3000);
    archive_fixture_put(fixture, 800);
    archive_fixture_expect(fixture, 800, ORDER_RESULT_STORED);
    assert_true(archive_metric(fixture, disconnects_total) >= 1);
    archive_fixture_destroy(fixture);
}

static void test_what_is_under_way_at_the_end_is_completed(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    archive_fixture_fill(fixture, 600, 3);
    archive_fixture_put(fixture, 600);
    memset(fixture->results, 0, sizeof(fixture->results));
    fixture->nodes[0].manner = NODE_IS_SILENT;
    assert_int_equal(port->ops->put(port, &fixture->put), PORT_TAKEN);
    archive_fixture_run(fixture, 2);
    cassandra_archive_destroy(fixture->archive);
    fixture->archive = NULL;
    assert_int_equal(port_drain(&fixture->mailbox, 8), 1);
    for (size_t i = 0; i < 600; i++) {
        assert_true(fixture->results[i] == ORDER_RESULT_UNKNOWN ||
                    fixture->results[i] == ORDER_RESULT_UNAVAILABLE);
    }
    archive_fixture_destroy(fixture);
}

/* --- The checker's. --- */

static void look(struct archive_fixture *fixture, struct archive_row_look *looked) {
    looked->request = fixture->put.request;
    looked->order_id = fixture->ids[0];
    looked->result = ORDER_RESULT_NONE;
    assert_int_equal(cassandra_archive_look(fixture->archive, looked), PORT_TAKEN);
    archive_fixture_await(fixture, fixture->done + 1);
}

static void test_a_repair_above_the_write_time_replaces_a_row_that_hides_every_put(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    struct scripted_node *node = &fixture->nodes[0];
    struct archive_row_look looked = {.result = ORDER_RESULT_NONE};
    archive_fixture_fill(fixture, 2, 1);
    archive_fixture_put(fixture, 1);
    look(fixture, &looked);
    assert_int_equal(looked.result, ORDER_RESULT_FOUND);
    assert_memory_equal(&looked.order, &fixture->orders[0], ORDER_RECORD_BYTES);
    assert_int_equal(looked.writetime_us, 2);
    scripted_node_set(node, fixture->ids[0], 3, "\0\0\0\0\0\0\0\0", 8);
    scripted_node_row(node, fixture->ids[0])->timestamp_us = 5000;
    archive_fixture_put(fixture, 1); /* its timestamp is too low */
    look(fixture, &looked);
    assert_int_equal(looked.result, ORDER_RESULT_BROKEN);
    assert_int_equal(looked.writetime_us, 5000);
    struct archive_row_write write = {.request = fixture->put.request,
                                      .order = fixture->orders[0],
                                      .timestamp_us = looked.writetime_us + 1};
    assert_int_equal(cassandra_archive_write(fixture->archive, &write), PORT_TAKEN);
    archive_fixture_await(fixture, fixture->done + 1);
    assert_int_equal(write.result, ORDER_RESULT_STORED);
    archive_fixture_get(fixture, 1);
    archive_fixture_expect(fixture, 1, ORDER_RESULT_FOUND);
    assert_memory_equal(&fixture->found[0], &fixture->orders[0], ORDER_RECORD_BYTES);
    archive_fixture_destroy(fixture);
}

static void test_a_look_at_what_is_not_there_is_absent(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    struct archive_row_look looked = {.result = ORDER_RESULT_NONE};
    archive_fixture_fill(fixture, 2, 1);
    archive_fixture_put(fixture, 0);
    look(fixture, &looked);
    assert_int_equal(looked.result, ORDER_RESULT_ABSENT);
    archive_fixture_destroy(fixture);
}

static void test_a_deletion_names_one_row_of_one_partition(void **state) {
    (void)state;
    struct archive_fixture *fixture = start_on(1);
    archive_fixture_fill(fixture, 1, 1);
    archive_fixture_put(fixture, 1);
    struct cassandra_row_delete removal = {
        .request = fixture->put.request, .order_id = fixture->ids[0], .timestamp_us = 77};
    assert_int_equal(cassandra_archive_delete(fixture->archive, &removal), PORT_TAKEN);
    archive_fixture_await(fixture, fixture->done + 1);
    assert_int_equal(removal.result, ORDER_RESULT_STORED);
    struct cassandra_partition partition = cassandra_partition_of(fixture->ids[0]);
    char expected[256];
    (void)snprintf(expected, sizeof(expected),
                   "DELETE FROM k.orders_by_slot USING TIMESTAMP 77 WHERE slot_group = %u AND "
                   "minute = %u AND order_id = %llu",
                   partition.slot_group, partition.minute, (unsigned long long)fixture->ids[0]);
    assert_string_equal(fixture->nodes[0].query, expected);
    archive_fixture_destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_right_password_lets_in),
        cmocka_unit_test(test_a_wrong_password_is_told_without_showing_it),
        cmocka_unit_test(test_a_node_that_cannot_be_worked_with_says_why),
        cmocka_unit_test(test_a_node_that_restarts_is_connected_to_again_and_nothing_is_lost),
        cmocka_unit_test(test_a_node_that_is_down_is_tried_ever_less_often),
        cmocka_unit_test(test_the_other_node_does_the_work_of_one_that_is_gone),
        cmocka_unit_test(test_a_second_attempt_goes_to_another_node),
        cmocka_unit_test(test_an_idle_connection_is_asked_for_a_word_and_left_where_none_comes),
        cmocka_unit_test(test_a_flood_of_silence_does_not_use_up_the_streams_for_ever),
        cmocka_unit_test(test_what_is_under_way_at_the_end_is_completed),
        cmocka_unit_test(test_a_repair_above_the_write_time_replaces_a_row_that_hides_every_put),
        cmocka_unit_test(test_a_look_at_what_is_not_there_is_absent),
        cmocka_unit_test(test_a_deletion_names_one_row_of_one_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
