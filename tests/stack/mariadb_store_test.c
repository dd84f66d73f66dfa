/** The store on a real MariaDB server: creates, changes, look-ups, scans, releases, expiry. */
#include "mariadb_bed.h"

static struct mariadb_server_process servers[2];

/** A database of its own for a test, on `count` servers. */
static void prepare(struct mysql_options *options, size_t count, const char *database) {
    bed_options(options, servers, count, database);
    bed_apply_schema(options);
}

static void test_a_created_order_is_read_back_as_it_was_answered(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order;
    uint8_t result;
    prepare(&options, 1, "t_create");
    bed_open(&bed, &options);
    struct order_record created = bed_create_one(&bed, sample_draft(1));
    assert_int_equal(order_record_check(&created), ORDER_RECORD_VALID);
    bed_get(&bed, &created.order_id, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_FOUND);
    assert_memory_equal(&order, &created, sizeof(order));
    assert_true(mariadb_may_have_given(bed.mariadb, created.order_id));
    bed_close(&bed);
}

#define MANY 1000

static struct order_record *drafts(size_t count, uint64_t first) {
    struct order_record *orders = calloc(count, sizeof(*orders));
    for (size_t i = 0; i < count; i++) {
        orders[i] = sample_draft(first + i);
    }
    return orders;
}

static void test_the_same_references_from_two_stores_at_once_make_one_order_each(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed beds[2];
    struct bed_create_call calls[2];
    struct order_record *orders[2];
    uint8_t results[2][MANY];
    prepare(&options, 2, "t_same");
    for (size_t i = 0; i < 2; i++) {
        bed_open(&beds[i], &options);
        orders[i] = drafts(MANY, 0);
    }
    for (size_t i = 0; i < 2; i++) {
        bed_create_begin(&beds[i], &calls[i], orders[i], results[i], MANY);
    }
    for (size_t i = 0; i < 2; i++) {
        bed_create_end(&beds[i], &calls[i]);
    }
    for (size_t i = 0; i < MANY; i++) {
        bool first = results[0][i] == ORDER_RESULT_CREATED;
        assert_int_equal(results[first ? 0 : 1][i], ORDER_RESULT_CREATED);
        assert_int_equal(results[first ? 1 : 0][i], ORDER_RESULT_REPLAYED);
        assert_memory_equal(&orders[0][i], &orders[1][i], sizeof(orders[0][i]));
    }
    assert_int_equal(server_number(&servers[0], "t_same", "SELECT COUNT(*) FROM orders") +
                         server_number(&servers[1], "t_same", "SELECT COUNT(*) FROM orders"),
                     MANY);
    for (size_t i = 0; i < 2; i++) {
        bed_close(&beds[i]);
        free(orders[i]);
    }
}

static void test_references_that_differ_in_case_alone_are_different(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record orders[3] = {sample_draft(1), sample_draft(1), sample_draft(1)};
    uint8_t results[3];
    prepare(&options, 1, "t_case");
    bed_open(&bed, &options);
    (void)snprintf(orders[0].partner_order_id, sizeof(orders[0].partner_order_id), "Order-a");
    (void)snprintf(orders[1].partner_order_id, sizeof(orders[1].partner_order_id), "order-A");
    (void)snprintf(orders[2].partner_order_id, sizeof(orders[2].partner_order_id), "Order-a");
    bed_create(&bed, orders, results, 3);
    assert_int_equal(results[0], ORDER_RESULT_CREATED);
    assert_int_equal(results[1], ORDER_RESULT_CREATED);
    assert_int_equal(results[2], ORDER_RESULT_REPLAYED);
    assert_true(orders[0].order_id != orders[1].order_id);
    assert_true(orders[0].order_id == orders[2].order_id);
    bed_close(&bed);
}

static void
test_a_reference_with_another_content_is_a_conflict_with_the_order_that_it_has(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order;
    uint8_t result;
    prepare(&options, 2, "t_conflict");
    bed_open(&bed, &options);
    struct order_record created = bed_create_one(&bed, sample_draft(7));
    assert_int_equal(bed_change_one(&bed, created.order_id, ORDER_STATUS_PROCESSING, &order),
                     ORDER_RESULT_CHANGED);
    struct order_record other = sample_draft(7);
    other.amount = 5;
    bed_create(&bed, &other, &result, 1);
    assert_int_equal(result, ORDER_RESULT_CONFLICT);
    assert_memory_equal(&other, &order, sizeof(order));
    struct order_record wanted = sample_draft(7);
    bed_find(&bed, &wanted, &result, 1);
    assert_int_equal(result, ORDER_RESULT_FOUND);
    assert_memory_equal(&wanted, &order, sizeof(order));
    wanted = sample_draft(8);
    bed_find(&bed, &wanted, &result, 1);
    assert_int_equal(result, ORDER_RESULT_ABSENT);
    bed_close(&bed);
}

static void test_a_thousand_orders_of_a_shard_take_two_inserts(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    uint8_t results[MANY];
    struct order_record *orders = drafts(MANY, 0);
    prepare(&options, 1, "t_inserts");
    bed_open(&bed, &options);
    long long before = server_number(&servers[0], NULL, "SHOW GLOBAL STATUS LIKE 'Com_insert'");
    bed_create(&bed, orders, results, MANY);
    long long after = server_number(&servers[0], NULL, "SHOW GLOBAL STATUS LIKE 'Com_insert'");
    assert_int_equal(bed_count(results, MANY, ORDER_RESULT_CREATED), MANY);
    assert_int_equal(after - before, 2);
    bed_close(&bed);
    free(orders);
}

static void test_changes_are_judged_by_the_state_machine_and_by_version(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record orders[5];
    uint8_t results[5];
    prepare(&options, 2, "t_change");
    bed_open(&bed, &options);
    uint64_t first = bed_create_one(&bed, sample_draft(1)).order_id;
    uint64_t second = bed_create_one(&bed, sample_draft(2)).order_id;
    const struct order_change changes[5] = {
        {.order_id = first, .status = ORDER_STATUS_PROCESSING, .bank_code = "BANK-9"},
        {.order_id = first, .status = ORDER_STATUS_SUCCESS},
        {.order_id = first, .status = ORDER_STATUS_CANCEL},
        {.order_id = second,
         .status = ORDER_STATUS_CANCEL,
         .match = {.required = true, .count = 1, .versions = {2}}},
        {.order_id = second + (UINT64_C(1) << 27), .status = ORDER_STATUS_CANCEL},
    };
    bed_change(&bed, changes, orders, results, 5);
    assert_int_equal(results[0], ORDER_RESULT_CHANGED);
    assert_int_equal(orders[0].version, 2);
    assert_string_equal(orders[0].bank_code, "BANK-9");
    assert_int_equal(results[1], ORDER_RESULT_CHANGED);
    assert_int_equal(orders[1].version, 3);
    assert_int_equal(results[2], ORDER_RESULT_ILLEGAL);
    assert_int_equal(orders[2].status, ORDER_STATUS_SUCCESS);
    assert_int_equal(results[3], ORDER_RESULT_MISMATCH);
    assert_int_equal(orders[3].version, 1);
    assert_int_equal(results[4], ORDER_RESULT_ABSENT);
    struct order_record order;
    bed_get(&bed, &first, &order, results, 1);
    assert_memory_equal(&order, &orders[1], sizeof(order));
    bed_close(&bed);
}

static void test_two_stores_that_race_for_the_same_orders_change_each_once(void **state) {
    (void)state;
    enum { COUNT = 200 };
    struct mysql_options options;
    struct bed beds[2];
    struct order_record orders[2][COUNT];
    struct order_change changes[2][COUNT];
    uint8_t results[2][COUNT];
    struct order_record *created = drafts(COUNT, 0);
    prepare(&options, 1, "t_race");
    bed_open(&beds[0], &options);
    bed_open(&beds[1], &options);
    bed_create(&beds[0], created, results[0], COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        changes[0][i] =
            (struct order_change){.order_id = created[i].order_id, .status = ORDER_STATUS_SUCCESS};
        /* The other way round, so that lock orders would cross if they were the callers'. */
        changes[1][COUNT - 1 - i] =
            (struct order_change){.order_id = created[i].order_id, .status = ORDER_STATUS_CANCEL};
    }
    bool done[2];
    /* Somebody holds the first row until both have begun, so they do meet. */
    void *held = server_hold(&servers[0], "t_race",
                             "SELECT * FROM orders ORDER BY order_id LIMIT 1 FOR UPDATE");
    bed_change_begin(&beds[0], changes[0], orders[0], results[0], COUNT, &done[0]);
    bed_change_begin(&beds[1], changes[1], orders[1], results[1], COUNT, &done[1]);
    bed_sleep_ms(400);
    server_let_go(held);
    bed_wait(&beds[0], &done[0]);
    bed_wait(&beds[1], &done[1]);
    for (size_t i = 0; i < COUNT; i++) {
        size_t other = COUNT - 1 - i;
        bool first = results[0][i] == ORDER_RESULT_CHANGED;
        assert_int_equal(first ? results[1][other] : results[0][i], ORDER_RESULT_ILLEGAL);
        assert_int_equal(first ? results[0][i] : results[1][other], ORDER_RESULT_CHANGED);
        assert_memory_equal(&orders[0][i], &orders[1][other], sizeof(orders[0][i]));
    }
    assert_int_equal(server_number(&servers[0], "t_race", "SELECT SUM(version) FROM orders"),
                     2 * COUNT);
    bed_close(&beds[0]);
    bed_close(&beds[1]);
    free(created);
}

static void test_a_row_that_somebody_made_impossible_is_neither_served_nor_changed(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order;
    struct order_record draft = sample_draft(1);
    uint8_t result;
    prepare(&options, 1, "t_broken");
    bed_open(&bed, &options);
    struct order_record created = bed_create_one(&bed, draft);
    (void)server_query(&servers[0], "t_broken", "UPDATE orders SET currency = 'xx'");
    bed_get(&bed, &created.order_id, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_BROKEN);
    assert_int_equal(bed_metric(&bed, "broken_rows_total"), 1);
    assert_int_equal(bed_change_one(&bed, created.order_id, ORDER_STATUS_CANCEL, &order),
                     ORDER_RESULT_BROKEN);
    bed_create(&bed, &draft, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    assert_string_equal(
        server_query(&servers[0], "t_broken", "SELECT CONCAT(currency, version) FROM orders").text,
        "xx1");
    bed_close(&bed);
}

static void test_final_orders_are_found_released_and_their_references_forgotten(void **state) {
    (void)state;
    enum { COUNT = 60 };
    struct mysql_options options;
    struct bed bed;
    uint8_t results[COUNT];
    struct order_record *orders = drafts(COUNT, 0);
    struct order_record found[COUNT];
    struct order_record *taken = calloc(COUNT, sizeof(*taken));
    prepare(&options, 2, "t_release");
    bed_open(&bed, &options);
    bed_create(&bed, orders, results, COUNT);
    for (size_t i = 0; i < COUNT; i += 2) {
        assert_int_equal(bed_change_one(&bed, orders[i].order_id, ORDER_STATUS_SUCCESS, &orders[i]),
                         ORDER_RESULT_CHANGED);
    }
    /* In slices of seven, over both shards. */
    struct order_scan_batch scan = {
        .kind = ORDER_SCAN_FINAL, .thorough = true, .before_us = INT64_MAX, .limit = 7};
    size_t count = 0;
    size_t slices = 0;
    do {
        scan.orders = found;
        bed_scan(&bed, &scan);
        assert_int_equal(scan.result, ORDER_RESULT_FOUND);
        memcpy(taken + count, found, scan.count * sizeof(found[0]));
        count += scan.count;
    } while (scan.cursor != 0 && ++slices < 100);
    assert_int_equal(count, COUNT / 2);

    struct order_record stale = taken[0];
    stale.version = 1;
    order_record_seal(&stale);
    bed_release(&bed, &stale, results, 1);
    assert_int_equal(results[0], ORDER_RESULT_MISMATCH);
    bed_release(&bed, &orders[1], results, 1); /* as it is, but not final */
    assert_int_equal(results[0], ORDER_RESULT_MISMATCH);
    bed_release(&bed, taken, results, count);
    assert_int_equal(bed_count(results, count, ORDER_RESULT_RELEASED), count);
    bed_release(&bed, taken, results, count);
    assert_int_equal(bed_count(results, count, ORDER_RESULT_RELEASED), count);
    bed_find(&bed, &taken[0], results, 1);
    assert_int_equal(results[0], ORDER_RESULT_FOUND_ID);

    bed_sleep_ms(20); /* the tick of their ids is over */
    struct order_expire_batch expiry = {.before_us = clock_wall_us(), .limit = 1000};
    bed_expire(&bed, &expiry);
    assert_int_equal(expiry.result, ORDER_RESULT_STORED);
    assert_int_equal(expiry.count, count);
    assert_false(expiry.more);
    bed_find(&bed, &taken[0], results, 1);
    assert_int_equal(results[0], ORDER_RESULT_ABSENT);
    bed_find(&bed, &orders[1], results, 1);
    assert_int_equal(results[0], ORDER_RESULT_FOUND);
    bed_close(&bed);
    free(orders);
    free(taken);
}

static void test_a_scan_tells_what_is_overdue_and_when_the_next_will_be(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record found[8];
    prepare(&options, 1, "t_overdue");
    bed_open(&bed, &options);
    struct order_record early = bed_create_one(&bed, sample_draft(1));
    struct order_record final = bed_create_one(&bed, sample_draft(2));
    assert_int_equal(bed_change_one(&bed, final.order_id, ORDER_STATUS_CANCEL, &final),
                     ORDER_RESULT_CHANGED);
    bed_sleep_ms(50);
    int64_t between_us = clock_wall_us();
    bed_sleep_ms(50);
    struct order_record late = bed_create_one(&bed, sample_draft(3));
    struct order_scan_batch scan = {.kind = ORDER_SCAN_OVERDUE,
                                    .thorough = true,
                                    .before_us = between_us,
                                    .limit = 8,
                                    .orders = found};
    bed_scan(&bed, &scan);
    assert_int_equal(scan.result, ORDER_RESULT_FOUND);
    assert_int_equal(scan.count, 1);
    assert_int_equal(scan.cursor, 0);
    assert_memory_equal(&found[0], &early, sizeof(early));
    assert_true(scan.next_us <= late.created_at_us);
    scan.before_us = clock_wall_us() + 1000000;
    bed_scan(&bed, &scan);
    assert_int_equal(scan.count, 2);
    assert_true(scan.next_us == INT64_MAX);
    bed_close(&bed);
}

static void test_a_scan_in_many_small_slices_sees_every_order_once(void **state) {
    (void)state;
    enum { COUNT = 900 };
    struct mysql_options options;
    struct bed bed;
    uint8_t results[COUNT];
    struct order_record *orders = drafts(COUNT, 0);
    struct order_record found[64];
    uint64_t seen = 0;
    size_t count = 0;
    prepare(&options, 2, "t_slices");
    options.scan_rows = 100;
    bed_open(&bed, &options);
    bed_create(&bed, orders, results, COUNT);
    uint64_t wanted = 0;
    for (size_t i = 0; i < COUNT; i++) {
        wanted ^= orders[i].order_id;
    }
    /* On a shard that is not its own an order is nobody's; it must not lead the walk astray. */
    for (size_t shard = 0; shard < 2; shard++) {
        (void)server_query(
            &servers[shard], "t_slices",
            "INSERT INTO orders SELECT order_id ^ (1 << 17), partner_code, "
            "partner_order_id, amount, currency, payment_type, bank_code, status, "
            "version, created_at, updated_at, requested_at, responded_at FROM orders "
            "WHERE order_id MOD 3 = 0");
    }
    struct order_scan_batch scan = {.kind = ORDER_SCAN_OVERDUE,
                                    .thorough = true,
                                    .before_us = clock_wall_us() + 1000000,
                                    .limit = ARRAY_COUNT(found)};
    size_t slices = 0;
    do {
        scan.orders = found;
        bed_scan(&bed, &scan);
        assert_int_equal(scan.result, ORDER_RESULT_FOUND);
        for (size_t i = 0; i < scan.count; i++) {
            seen ^= found[i].order_id;
        }
        count += scan.count;
    } while (scan.cursor != 0 && ++slices < 1000);
    assert_int_equal(count, COUNT);
    assert_true(seen == wanted);
    scan.thorough = false;
    bed_scan(&bed, &scan);
    assert_int_equal(scan.result, ORDER_RESULT_FOUND);
    assert_int_equal(scan.count, 0);
    assert_int_equal(scan.cursor, 0);
    bed_close(&bed);
    free(orders);
}

static void test_a_deadlock_is_tried_again_and_not_for_ever(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct order_record order = sample_draft(1);
    uint8_t result;
    prepare(&options, 1, "t_deadlock");
    /* What a deadlock comes to, for the first three times; the count survives a rollback. */
    (void)server_query(&servers[0], "t_deadlock",
                       "CREATE TABLE tries (n INT) ENGINE = MyISAM; "
                       "INSERT INTO tries VALUES (0); "
                       "CREATE TRIGGER fail BEFORE INSERT ON orders FOR EACH ROW BEGIN "
                       "UPDATE tries SET n = n + 1; "
                       "IF (SELECT n FROM tries) <= 3 THEN "
                       "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF; END");
    bed_open(&bed, &options);
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_CREATED);
    assert_int_equal(bed_metric(&bed, "deadlocks_total"), 3);
    (void)server_query(&servers[0], "t_deadlock", "UPDATE tries SET n = -1000000");
    order = sample_draft(2);
    bed_create(&bed, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    assert_true(bed_metric(&bed, "deadlocks_total") < 50);
    assert_int_equal(server_number(&servers[0], "t_deadlock", "SELECT COUNT(*) FROM order_refs"),
                     1);
    bed_close(&bed);
}

/** A clock that stands still, so that the next id is known. */
struct still_clock {
    struct clock clock;
    int64_t now_us;
};

static int64_t still_now_us(const struct clock *clock) {
    return ((const struct still_clock *)clock)->now_us;
}

static void test_an_id_that_exists_is_refused_alone_and_its_row_stays(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct still_clock still = {.clock = {.now_us = still_now_us}, .now_us = clock_wall_us()};
    struct order_record orders[3] = {sample_draft(1), sample_draft(2), sample_draft(3)};
    uint8_t results[3];
    prepare(&options, 1, "t_collision");
    bed_open_with(&bed, &options, NULL, &still.clock, true);
    uint32_t slot = order_slot_from_hash(order_record_reference_hash(&orders[1]));
    uint64_t taken = order_id_encode((struct order_id_parts){
        .tick = order_tick_from_us(still.now_us), .slot = slot, .node = 0, .sequence = 0});
    (void)server_query(
        &servers[0], "t_collision",
        "INSERT INTO orders VALUES (%llu, 'other', 'order', 1, 'EUR', 1, NULL, 1, 1, "
        "NOW(6), NOW(6), NULL, NULL)",
        (unsigned long long)taken);
    bed_create(&bed, orders, results, 3);
    assert_int_equal(results[0], ORDER_RESULT_CREATED);
    assert_int_equal(results[1], ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(results[2], ORDER_RESULT_CREATED);
    assert_string_equal(server_query(&servers[0], "t_collision",
                                     "SELECT partner_code FROM orders WHERE order_id = %llu",
                                     (unsigned long long)taken)
                            .text,
                        "other");
    (void)bed_create_one(&bed, sample_draft(2)); /* under the next id */
    bed_close(&bed);
}

/* --- An archive that holds one order. --- */

struct small_archive {
    struct order_archive port;
    struct order_record order;
    bool down;
};

static enum port_submit archive_get(struct order_archive *port, struct order_get_batch *batch) {
    const struct small_archive *archive = (const struct small_archive *)port;
    for (size_t i = 0; i < batch->count; i++) {
        bool here = batch->order_ids[i] == archive->order.order_id;
        batch->orders[i] = archive->order;
        batch->results[i] = archive->down ? ORDER_RESULT_UNAVAILABLE
                            : here        ? ORDER_RESULT_FOUND
                                          : ORDER_RESULT_ABSENT;
    }
    port_complete(&batch->request);
    return PORT_TAKEN;
}

static const struct order_archive_ops archive_ops = {.get = archive_get};

static void test_a_create_that_meets_an_archived_order_is_answered_by_the_archive(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    uint8_t result;
    struct small_archive archive = {.port = {.ops = &archive_ops}};
    prepare(&options, 1, "t_archive");
    bed_open_with(&bed, &options, &archive.port, NULL, true);
    uint64_t order_id = bed_create_one(&bed, sample_draft(1)).order_id;
    assert_int_equal(bed_change_one(&bed, order_id, ORDER_STATUS_ERROR, &archive.order),
                     ORDER_RESULT_CHANGED);
    bed_release(&bed, &archive.order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_RELEASED);
    struct order_record again = sample_draft(1);
    bed_create(&bed, &again, &result, 1);
    assert_int_equal(result, ORDER_RESULT_REPLAYED);
    assert_memory_equal(&again, &archive.order, sizeof(again));
    archive.down = true;
    again = sample_draft(1);
    bed_create(&bed, &again, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    archive.down = false;
    archive.order.order_id++;
    again = sample_draft(1);
    bed_create(&bed, &again, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(bed_metric(&bed, "dangling_references_total"), 1);
    bed_close(&bed);
}

static int set_up(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(servers); i++) {
        server_create(&servers[i], NULL);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(servers); i++) {
        server_destroy(&servers[i]);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_created_order_is_read_back_as_it_was_answered),
        cmocka_unit_test(test_the_same_references_from_two_stores_at_once_make_one_order_each),
        cmocka_unit_test(test_references_that_differ_in_case_alone_are_different),
        cmocka_unit_test(
            test_a_reference_with_another_content_is_a_conflict_with_the_order_that_it_has),
        cmocka_unit_test(test_a_thousand_orders_of_a_shard_take_two_inserts),
        cmocka_unit_test(test_changes_are_judged_by_the_state_machine_and_by_version),
        cmocka_unit_test(test_two_stores_that_race_for_the_same_orders_change_each_once),
        cmocka_unit_test(test_a_row_that_somebody_made_impossible_is_neither_served_nor_changed),
        cmocka_unit_test(test_final_orders_are_found_released_and_their_references_forgotten),
        cmocka_unit_test(test_a_scan_tells_what_is_overdue_and_when_the_next_will_be),
        cmocka_unit_test(test_a_scan_in_many_small_slices_sees_every_order_once),
        cmocka_unit_test(test_a_deadlock_is_tried_again_and_not_for_ever),
        cmocka_unit_test(test_an_id_that_exists_is_refused_alone_and_its_row_stays),
        cmocka_unit_test(test_a_create_that_meets_an_archived_order_is_answered_by_the_archive),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
