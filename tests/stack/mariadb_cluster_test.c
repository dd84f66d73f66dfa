/** What the instances of a cluster must agree on, on a real MariaDB server: what the start refuses,
 *  who has which node number, who holds a lease. */
#include "mariadb_bed.h"

static struct mariadb_server_process server;

static void prepare(struct mysql_options *options, const char *database) {
    bed_options(options, &server, 1, database);
    bed_apply_schema(options);
}

/* --- What the start refuses. --- */

static void assert_refused(const struct mysql_options *options, const char *part) {
    struct fault fault = {""};
    struct log log;
    struct service_clock clock;
    log_init(&log, 2, LOG_ERROR + 1);
    service_clock_init(&clock, 0);
    struct mariadb *mariadb = mariadb_open(
        &(struct mariadb_parts){
            .options = options, .log = &log, .clock = &clock.clock, .gives_ids = true},
        &fault);
    assert_null(mariadb);
    assert_contains(fault.text, part);
}

static void test_a_schema_that_does_not_fit_refuses_the_start(void **state) {
    (void)state;
    struct mysql_options options;
    bed_options(&options, &server, 1, "t_schema");
    assert_refused(&options, "orderctl schema apply");
    bed_apply_schema(&options);
    bed_apply_schema(&options); /* finds everything there */
    (void)server_query(&server, "t_schema",
                       "UPDATE settings SET value = 99 WHERE name = 'schema_version'");
    assert_refused(&options, "start a newer orderd");
    (void)server_query(&server, "t_schema",
                       "UPDATE settings SET value = 0 WHERE name = 'schema_version'");
    assert_refused(&options, "orderctl schema apply");
    bed_apply_schema(&options);
    (void)server_query(&server, "t_schema", "UPDATE settings SET value = 2 WHERE name = 'shards'");
    assert_refused(&options, "mysql.shards");
    struct mariadb_settings settings;
    struct fault fault;
    struct log log;
    log_init(&log, 2, LOG_ERROR + 1);
    assert_true(mariadb_settings_read(&options, NULL, &settings, &fault));
    assert_false(mariadb_schema_apply(&settings, &log, NULL, &fault));
    assert_contains(fault.text, "mysql.shards");
}

static void test_settings_that_may_lose_orders_refuse_the_start_by_name(void **state) {
    (void)state;
    static const char *const settings[][3] = {
        {"innodb_flush_log_at_trx_commit", "2", "1"},
        {"sync_binlog", "0", "1"},
        {"binlog_format", "'STATEMENT'", "'ROW'"},
        {"binlog_row_image", "'MINIMAL'", "'FULL'"},
    };
    struct mysql_options options;
    prepare(&options, "t_settings");
    for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
        (void)server_query(&server, NULL, "SET GLOBAL %s = %s", settings[i][0], settings[i][1]);
        assert_refused(&options, settings[i][0]);
        (void)server_query(&server, NULL, "SET GLOBAL %s = %s", settings[i][0], settings[i][2]);
    }
    (void)snprintf(options.user.text, sizeof(options.user.text), "nobody");
    assert_refused(&options, "Access denied");
}

/* --- Node numbers. --- */

/** A clock that is off. */
struct off_clock {
    struct clock clock;
    int64_t off_us;
};

static int64_t off_now_us(const struct clock *clock) {
    return clock_wall_us() + ((const struct off_clock *)clock)->off_us;
}

static void test_two_instances_have_different_nodes_and_give_them_back(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed beds[2];
    prepare(&options, "t_nodes");
    bed_open(&beds[0], &options);
    bed_open(&beds[1], &options);
    uint64_t first = bed_create_one(&beds[0], sample_draft(1)).order_id;
    uint64_t second = bed_create_one(&beds[1], sample_draft(2)).order_id;
    assert_int_not_equal(order_id_decode(first).node, order_id_decode(second).node);
    assert_true(mariadb_may_have_given(beds[0].mariadb, second));
    struct order_id_parts parts = order_id_decode(first);
    parts.node = 700;
    /* Maybe, until the leases were read; then certainly not. */
    bool may = true;
    for (int i = 0; i < 200 && may; i++) {
        may = mariadb_may_have_given(beds[0].mariadb, order_id_encode(parts));
        bed_sleep_ms(10);
    }
    assert_false(may);
    bed_close(&beds[0]);
    bed_close(&beds[1]);
    assert_int_equal(
        server_number(&server, "t_nodes", "SELECT COUNT(*) FROM nodes WHERE lease_until <= NOW(6)"),
        2);
    assert_true((uint64_t)server_number(&server, "t_nodes",
                                        "SELECT highest_tick FROM nodes WHERE node = 0") >=
                order_id_tick(first));
}

static void test_the_next_holder_with_a_slower_clock_repeats_no_tick(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed beds[2];
    struct off_clock slow = {.clock = {.now_us = off_now_us}, .off_us = -2000000};
    struct order_record order;
    uint8_t result;
    prepare(&options, "t_takeover");
    options.node_lease_ms = 1000;
    bed_open(&beds[0], &options);
    uint64_t first = 0;
    for (uint64_t i = 0; i < 50; i++) {
        first = bytes_max_u64(first, bed_create_one(&beds[0], sample_draft(i)).order_id);
    }
    /* All other numbers are held; the one of the first instance becomes free without its knowing.
     */
    (void)server_query(&server, "t_takeover",
                       "INSERT IGNORE INTO nodes SELECT seq, 'other', NOW(6) + INTERVAL 1 DAY, 0 "
                       "FROM seq_0_to_1023; "
                       "UPDATE nodes SET lease_until = NOW(6) - INTERVAL 1 SECOND, holder = 'gone' "
                       "WHERE node = 0");
    uint64_t floor = (uint64_t)server_number(&server, "t_takeover",
                                             "SELECT highest_tick FROM nodes WHERE node = 0");
    bed_open_with(&beds[1], &options, NULL, &slow.clock, true);
    int64_t until_us = clock_monotonic_us() + 20000000;
    do {
        order = sample_draft(1000);
        bed_create(&beds[1], &order, &result, 1);
        assert_true(result == ORDER_RESULT_CREATED || result == ORDER_RESULT_BUSY ||
                    result == ORDER_RESULT_UNAVAILABLE);
        bed_sleep_ms(20);
    } while (result != ORDER_RESULT_CREATED && clock_monotonic_us() < until_us);
    assert_int_equal(result, ORDER_RESULT_CREATED);
    assert_int_equal(order_id_decode(order.order_id).node, order_id_decode(first).node);
    assert_true(order_id_tick(order.order_id) > floor);
    assert_true(order_id_tick(order.order_id) > order_id_tick(first));
    /* The first one has noticed. */
    order = sample_draft(2000);
    bed_create(&beds[0], &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    bed_close(&beds[0]);
    bed_close(&beds[1]);
}

static void test_an_instance_that_cannot_renew_gives_no_ids(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order = sample_draft(1);
    const char *reason;
    uint8_t result;
    prepare(&options, "t_renew");
    options.node_lease_ms = 1000;
    bed_open(&bed, &options);
    (void)bed_create_one(&bed, order);
    server_pause(&server);
    bed_sleep_ms(1100);
    int64_t begin_us = clock_monotonic_us();
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    assert_true(clock_monotonic_us() - begin_us < 1500000); /* at once: it was never sent */
    assert_false(mariadb_is_ready(bed.mariadb, &reason));
    server_resume(&server);
    while (!mariadb_is_ready(bed.mariadb, &reason)) {
        bed_sleep_ms(10);
    }
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_REPLAYED);
    bed_close(&bed);
}

static void test_an_instance_whose_clock_is_far_ahead_gives_no_ids(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct off_clock fast = {.clock = {.now_us = off_now_us}};
    struct order_record order = sample_draft(1);
    const char *reason;
    uint8_t result;
    prepare(&options, "t_ahead");
    options.node_lease_ms = 1000;
    bed_open_with(&bed, &options, NULL, &fast.clock, true);
    fast.off_us = INT64_C(60000000);
    for (int i = 0; i < 300 && mariadb_is_ready(bed.mariadb, &reason); i++) {
        bed_sleep_ms(10);
    }
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    bed_close(&bed);
}

/* --- Leases and positions. --- */

static void test_a_lease_has_one_holder_and_its_position_goes_to_the_next(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed beds[2];
    struct lease_request request = {.name = "relay:0", .length_us = 600000};
    prepare(&options, "t_lease");
    bed_open_with(&beds[0], &options, NULL, NULL, true);
    bed_open_with(&beds[1], &options, NULL, NULL, true);
    assert_int_equal(bed_acquire(&beds[0], &request), ORDER_RESULT_STORED);
    assert_string_equal(request.position, "");
    assert_true(request.held_until_us > clock_monotonic_us());
    assert_true(request.held_until_us < clock_monotonic_us() + request.length_us);
    assert_int_equal(bed_acquire(&beds[1], &request), ORDER_RESULT_BUSY);
    assert_int_equal(bed_store_position(&beds[0], "relay:0", "0-1-17"), ORDER_RESULT_STORED);
    assert_int_equal(bed_store_position(&beds[0], "relay:0", "0-1-17"), ORDER_RESULT_STORED);
    assert_int_equal(bed_store_position(&beds[1], "relay:0", "0-1-99"), ORDER_RESULT_MISMATCH);
    assert_int_equal(bed_acquire(&beds[0], &request), ORDER_RESULT_STORED);
    assert_string_equal(request.position, "0-1-17");
    bed_sleep_ms(700);
    assert_int_equal(bed_acquire(&beds[1], &request), ORDER_RESULT_STORED);
    assert_string_equal(request.position, "0-1-17");
    assert_int_equal(bed_store_position(&beds[0], "relay:0", "0-1-50"), ORDER_RESULT_MISMATCH);
    assert_int_equal(bed_release_lease(&beds[1], "relay:0"), ORDER_RESULT_STORED);
    assert_int_equal(bed_acquire(&beds[0], &request), ORDER_RESULT_STORED);
    assert_int_equal(bed_release_lease(&beds[1], "relay:0"), ORDER_RESULT_STORED);
    assert_int_equal(bed_store_position(&beds[0], "relay:0", "it's \\ here"), ORDER_RESULT_STORED);
    assert_int_equal(bed_acquire(&beds[0], &request), ORDER_RESULT_STORED);
    assert_string_equal(request.position, "it's \\ here");
    bed_close(&beds[0]);
    bed_close(&beds[1]);
}

static int set_up(void **state) {
    (void)state;
    server_create(&server, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    server_destroy(&server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_schema_that_does_not_fit_refuses_the_start),
        cmocka_unit_test(test_settings_that_may_lose_orders_refuse_the_start_by_name),
        cmocka_unit_test(test_two_instances_have_different_nodes_and_give_them_back),
        cmocka_unit_test(test_the_next_holder_with_a_slower_clock_repeats_no_tick),
        cmocka_unit_test(test_an_instance_that_cannot_renew_gives_no_ids),
        cmocka_unit_test(test_an_instance_whose_clock_is_far_ahead_gives_no_ids),
        cmocka_unit_test(test_a_lease_has_one_holder_and_its_position_goes_to_the_next),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
