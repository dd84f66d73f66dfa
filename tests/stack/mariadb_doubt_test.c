/** The store on a real MariaDB server when a COMMIT is not answered: whatever became of it, the
 *  store finds out, and tells the truth. */
#include "mariadb_bed.h"
#include "mariadb_proxy.h"

static struct mariadb_server_process server;
static struct proxy proxy;

/** A store whose only create, change and upkeep lanes go through the proxy. */
static void open_through_proxy(struct bed *bed, const char *database, uint64_t deadline_ms) {
    struct mysql_options options;
    struct mariadb_server_process front = server;
    front.port = proxy.port;
    bed_options(&options, &front, 1, database);
    options.create_lanes = 1;
    options.change_lanes = 1;
    options.deadline_ms = deadline_ms;
    options.node_lease_ms = 60000; /* so that no renewal's COMMIT is the one that is cut */
    bed_apply_schema(&options);
    bed_open(bed, &options);
}

static long long count_of(const char *database, const char *what) {
    return server_number(&server, database, "SELECT COUNT(*) FROM %s", what);
}

static void check_create(const char *database, enum proxy_cut kind, int cuts) {
    enum { COUNT = 300 };
    struct bed bed;
    struct order_record orders[COUNT];
    struct order_record got[COUNT];
    uint64_t ids[COUNT];
    uint8_t results[COUNT];
    open_through_proxy(&bed, database, 20000);
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = sample_draft(i / 2); /* each reference twice */
    }
    (void)bed_create_one(&bed, sample_draft(COUNT / 2)); /* so the last of them is taken */
    proxy_cut(&proxy, kind, cuts);
    orders[0] = sample_draft(COUNT / 2);
    bed_create(&bed, orders, results, COUNT);
    assert_int_equal(bed_metric(&bed, "unknown_commits_total"), cuts);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_CREATED), COUNT / 2);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_REPLAYED), COUNT / 2);
    for (size_t i = 0; i < COUNT; i++) {
        ids[i] = orders[i].order_id;
    }
    bed_get(&bed, ids, got, results, COUNT);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_FOUND), COUNT);
    assert_memory_equal(got, orders, sizeof(got));
    assert_int_equal(count_of(database, "orders"), COUNT / 2 + 1);
    assert_int_equal(count_of(database, "order_refs"), COUNT / 2 + 1);
    bed_close(&bed);
}

static void test_creates_whose_commit_happened_unheard_are_created_once(void **state) {
    (void)state;
    check_create("d_create", PROXY_CUT_ANSWER, 1);
}

static void test_creates_whose_commit_was_lost_are_sent_again(void **state) {
    (void)state;
    check_create("d_lost", PROXY_CUT_COMMIT, 3);
}

static void
test_a_create_in_doubt_at_the_deadline_is_unknown_and_found_when_asked_again(void **state) {
    (void)state;
    struct bed bed;
    uint8_t result;
    struct order_record order = sample_draft(1);
    open_through_proxy(&bed, "d_unknown", 1000);
    proxy_cut(&proxy, PROXY_CUT_COMMIT, 1000);
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNKNOWN);
    proxy_cut(&proxy, PROXY_CUT_ANSWER, 0);
    order = sample_draft(1);
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_CREATED);
    assert_int_equal(count_of("d_unknown", "orders"), 1);
    bed_close(&bed);
}

static void check_change(const char *database, enum proxy_cut kind, int cuts) {
    enum { COUNT = 100 };
    struct bed bed;
    struct order_record orders[COUNT];
    struct order_record got[COUNT];
    struct order_change changes[COUNT];
    uint64_t ids[COUNT];
    uint8_t results[COUNT];
    open_through_proxy(&bed, database, 20000);
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = sample_draft(i);
    }
    bed_create(&bed, orders, results, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ids[i] = orders[i].order_id;
        changes[i] =
            (struct order_change){.order_id = ids[i],
                                  .status = ORDER_STATUS_PROCESSING,
                                  .match = {.required = true, .count = 1, .versions = {1}}};
    }
    proxy_cut(&proxy, kind, cuts);
    bed_change(&bed, changes, orders, results, COUNT);
    assert_int_equal(bed_metric(&bed, "unknown_commits_total"), cuts);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_CHANGED), COUNT);
    bed_get(&bed, ids, got, results, COUNT);
    assert_memory_equal(got, orders, sizeof(got));
    assert_int_equal(got[0].version, 2);
    bed_close(&bed);
}

static void test_changes_whose_commit_happened_unheard_are_changed_and_no_mismatch(void **state) {
    (void)state;
    check_change("d_change", PROXY_CUT_ANSWER, 1);
}

static void test_changes_whose_commit_was_lost_are_made_again(void **state) {
    (void)state;
    check_change("d_change_lost", PROXY_CUT_COMMIT, 2);
}

static void test_a_change_in_doubt_that_another_one_followed_is_unknown(void **state) {
    (void)state;
    struct bed bed;
    struct order_record order;
    open_through_proxy(&bed, "d_followed", 20000);
    struct order_record created = bed_create_one(&bed, sample_draft(1));
    /* Somebody else changes the order at once, each time that a change of it is committed. */
    (void)server_query(&server, "d_followed",
                       "CREATE TRIGGER follow BEFORE UPDATE ON orders FOR EACH ROW "
                       "SET NEW.version = NEW.version + 1, NEW.status = 3");
    proxy_cut(&proxy, PROXY_CUT_ANSWER, 1);
    assert_int_equal(bed_change_one(&bed, created.order_id, ORDER_STATUS_PROCESSING, &order),
                     ORDER_RESULT_UNKNOWN);
    bed_close(&bed);
}

static void test_a_release_whose_commit_happened_unheard_is_released(void **state) {
    (void)state;
    struct bed bed;
    struct order_record order;
    uint8_t result;
    open_through_proxy(&bed, "d_release", 20000);
    struct order_record created = bed_create_one(&bed, sample_draft(1));
    assert_int_equal(bed_change_one(&bed, created.order_id, ORDER_STATUS_SUCCESS, &order),
                     ORDER_RESULT_CHANGED);
    proxy_cut(&proxy, PROXY_CUT_ANSWER, 1);
    bed_release(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_RELEASED);
    assert_int_equal(count_of("d_release", "orders"), 0);
    bed_close(&bed);
}

static void test_a_position_whose_commit_was_not_answered_is_stored(void **state) {
    (void)state;
    struct bed bed;
    struct lease_request request = {.name = "relay:0", .length_us = 60000000};
    open_through_proxy(&bed, "d_position", 20000);
    assert_int_equal(bed_acquire(&bed, &request), ORDER_RESULT_STORED);
    proxy_cut(&proxy, PROXY_CUT_ANSWER, 1);
    assert_int_equal(bed_store_position(&bed, "relay:0", "0-1-5"), ORDER_RESULT_STORED);
    proxy_cut(&proxy, PROXY_CUT_COMMIT, 1000);
    assert_int_equal(bed_store_position(&bed, "relay:0", "0-1-6"), ORDER_RESULT_UNKNOWN);
    proxy_cut(&proxy, PROXY_CUT_ANSWER, 0);
    assert_int_equal(bed_acquire(&bed, &request), ORDER_RESULT_STORED);
    assert_string_equal(request.position, "0-1-5");
    bed_close(&bed);
}

static int set_up(void **state) {
    (void)state;
    server_create(&server, NULL);
    return proxy_start(&proxy, server.port) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    proxy_stop(&proxy);
    server_destroy(&server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creates_whose_commit_happened_unheard_are_created_once),
        cmocka_unit_test(test_creates_whose_commit_was_lost_are_sent_again),
        cmocka_unit_test(
            test_a_create_in_doubt_at_the_deadline_is_unknown_and_found_when_asked_again),
        cmocka_unit_test(test_changes_whose_commit_happened_unheard_are_changed_and_no_mismatch),
        cmocka_unit_test(test_changes_whose_commit_was_lost_are_made_again),
        cmocka_unit_test(test_a_change_in_doubt_that_another_one_followed_is_unknown),
        cmocka_unit_test(test_a_release_whose_commit_happened_unheard_is_released),
        cmocka_unit_test(test_a_position_whose_commit_was_not_answered_is_stored),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
