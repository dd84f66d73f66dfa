#include "fake_ports.h"
#include "pipeline/archiver.h"

struct bench {
    struct fake_ports fake;
    struct archiver *archiver;
};

static void setup(struct bench *bench) {
    fake_init(&bench->fake);
    bench->archiver = archiver_create(&(struct archiver_parts){
        .clock = &bench->fake.clock,
        .log = &bench->fake.log,
        .store = &bench->fake.store,
        .archive = &bench->fake.archive,
        .mailbox = &bench->fake.mailbox,
    });
    assert_non_null(bench->archiver);
}

static void teardown(struct bench *bench) {
    archiver_destroy(bench->archiver);
    fake_deinit(&bench->fake);
}

static struct order_record final_order(uint64_t order_id) {
    struct order_record order = sample_order(order_id);
    order.version = 2;
    order.status = ORDER_STATUS_SUCCESS;
    order_record_seal(&order);
    return order;
}

/** A slice of a round, in which the store shows orders 3, 1 and 2. */
static void show_three_at(struct bench *bench, uint64_t cursor) {
    static const uint64_t ids[] = {3, 1, 2};
    (void)archiver_step(bench->archiver);
    struct order_scan_batch *scan = fake_expect(&bench->fake, FAKE_SCAN);
    assert_int_equal(scan->kind, ORDER_SCAN_FINAL);
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        scan->orders[i] = final_order(ids[i]);
    }
    scan->count = ARRAY_COUNT(ids);
    scan->cursor = cursor;
    scan->result = ORDER_RESULT_FOUND;
    fake_complete(&bench->fake);
    (void)archiver_step(bench->archiver);
}

/** The last slice of a round. */
static void show_three(struct bench *bench) {
    show_three_at(bench, 0);
}

static void put_with(struct bench *bench, const uint8_t results[3]) {
    struct order_archive_put *put = fake_expect(&bench->fake, FAKE_ARCHIVE_PUT);
    assert_int_equal(put->count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(put->orders[i].order_id, i + 1); /* in id order, as the port wants it */
    }
    memcpy(put->results, results, 3);
    fake_complete(&bench->fake);
    (void)archiver_step(bench->archiver);
}

static const uint8_t all_stored[] = {ORDER_RESULT_STORED, ORDER_RESULT_STORED, ORDER_RESULT_STORED};

/** Reads back what the archiver asks for, and spoils order `spoilt`. */
static void read_back(struct bench *bench, uint64_t spoilt) {
    struct order_get_batch *get = fake_expect(&bench->fake, FAKE_ARCHIVE_GET);
    for (size_t i = 0; i < get->count; i++) {
        get->orders[i] = final_order(get->order_ids[i]);
        get->results[i] = ORDER_RESULT_FOUND;
        if (get->order_ids[i] == spoilt) {
            get->orders[i].amount++;
            order_record_seal(&get->orders[i]);
        }
    }
    fake_complete(&bench->fake);
    (void)archiver_step(bench->archiver);
}

static void test_orders_are_released_after_they_were_stored_and_read_back(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    show_three(&bench);
    put_with(&bench, all_stored);
    read_back(&bench, 0);
    struct order_release_batch *release = fake_expect(&bench.fake, FAKE_RELEASE);
    assert_int_equal(release->count, 3);
    memset(release->results, ORDER_RESULT_RELEASED, 3);
    fake_complete(&bench.fake);
    assert_int_equal(metric_get(&archiver_metrics(bench.archiver)->archived_total), 3);
    assert_int_equal(metric_get(&archiver_metrics(bench.archiver)->failures_total), 0);
    teardown(&bench);
}

static void test_an_order_whose_copy_differs_stays_and_is_found_again_by_a_walk(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    show_three(&bench);
    put_with(&bench, all_stored);
    read_back(&bench, 2);
    struct order_release_batch *release = fake_expect(&bench.fake, FAKE_RELEASE);
    assert_int_equal(release->count, 2);
    assert_int_equal(release->orders[0].order_id, 1);
    assert_int_equal(release->orders[1].order_id, 3);
    memset(release->results, ORDER_RESULT_RELEASED, 2);
    fake_complete(&bench.fake);
    assert_int_equal(metric_get(&archiver_metrics(bench.archiver)->mismatches_total), 1);
    assert_int_equal(metric_get(&archiver_metrics(bench.archiver)->archived_total), 2);
    /* Not at once, but soon, and by a walk: the store has told of it already. */
    int64_t at_us = archiver_step(bench.archiver);
    assert_true(at_us > bench.fake.now_us && at_us <= bench.fake.now_us + 10000000);
    bench.fake.now_us = at_us;
    (void)archiver_step(bench.archiver);
    assert_true(((struct order_scan_batch *)fake_expect(&bench.fake, FAKE_SCAN))->thorough);
    teardown(&bench);
}

static void test_what_failed_early_in_a_walk_is_found_by_another_one_soon(void **state) {
    (void)state;
    static const uint8_t refused[] = {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_UNAVAILABLE,
                                      ORDER_RESULT_UNAVAILABLE};
    struct bench bench;
    setup(&bench);
    show_three_at(&bench, 7);
    put_with(&bench, refused);
    bench.fake.now_us = archiver_step(bench.archiver);
    (void)archiver_step(bench.archiver);
    struct order_scan_batch *scan = fake_expect(&bench.fake, FAKE_SCAN);
    assert_int_equal(scan->cursor, 7);
    scan->count = 0;
    scan->cursor = 0; /* nothing more: the walk is over */
    scan->result = ORDER_RESULT_FOUND;
    fake_complete(&bench.fake);
    int64_t end_us = bench.fake.now_us;
    do {
        bench.fake.now_us = archiver_step(bench.archiver);
        (void)archiver_step(bench.archiver);
        scan = fake_expect(&bench.fake, FAKE_SCAN);
        scan->count = 0;
        scan->result = ORDER_RESULT_FOUND;
        if (!scan->thorough) {
            fake_complete(&bench.fake);
        }
    } while (!scan->thorough && bench.fake.now_us < end_us + 60000000);
    assert_true(scan->thorough);
    assert_true(bench.fake.now_us <= end_us + 5000000);
    teardown(&bench);
}

static void test_only_what_was_stored_is_read_back(void **state) {
    (void)state;
    static const uint8_t results[] = {ORDER_RESULT_UNKNOWN, ORDER_RESULT_STORED,
                                      ORDER_RESULT_UNAVAILABLE};
    struct bench bench;
    setup(&bench);
    show_three(&bench);
    put_with(&bench, results);
    struct order_get_batch *get = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    assert_int_equal(get->count, 1);
    assert_int_equal(get->order_ids[0], 2);
    assert_int_equal(metric_get(&archiver_metrics(bench.archiver)->failures_total), 2);
    teardown(&bench);
}

static void test_nothing_is_released_where_nothing_reads_back(void **state) {
    (void)state;
    static const uint8_t answers[] = {ORDER_RESULT_ABSENT, ORDER_RESULT_UNAVAILABLE,
                                      ORDER_RESULT_BROKEN};
    struct bench bench;
    setup(&bench);
    show_three(&bench);
    put_with(&bench, all_stored);
    struct order_get_batch *get = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    memcpy(get->results, answers, sizeof(answers));
    fake_complete(&bench.fake);
    int64_t at_us = archiver_step(bench.archiver);
    assert_int_equal(fake_first_operation(&bench.fake), FAKE_NONE);
    assert_true(at_us > bench.fake.now_us);
    assert_false(archiver_is_busy(bench.archiver));
    teardown(&bench);
}

static void test_a_busy_port_is_asked_again_with_the_same_orders(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    bench.fake.busy = true;
    int64_t at_us = archiver_step(bench.archiver);
    assert_true(at_us > bench.fake.now_us);
    bench.fake.busy = false;
    bench.fake.now_us = at_us;
    show_three(&bench);
    put_with(&bench, all_stored);
    struct order_get_batch *get = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    for (size_t i = 0; i < 3; i++) {
        get->orders[i] = final_order(get->order_ids[i]);
        get->results[i] = ORDER_RESULT_FOUND;
    }
    fake_complete(&bench.fake);
    bench.fake.busy = true;
    at_us = archiver_step(bench.archiver);
    assert_true(at_us > bench.fake.now_us);
    bench.fake.busy = false;
    bench.fake.now_us = at_us;
    (void)archiver_step(bench.archiver);
    assert_int_equal(((struct order_release_batch *)fake_expect(&bench.fake, FAKE_RELEASE))->count,
                     3);
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders_are_released_after_they_were_stored_and_read_back),
        cmocka_unit_test(test_an_order_whose_copy_differs_stays_and_is_found_again_by_a_walk),
        cmocka_unit_test(test_what_failed_early_in_a_walk_is_found_by_another_one_soon),
        cmocka_unit_test(test_only_what_was_stored_is_read_back),
        cmocka_unit_test(test_nothing_is_released_where_nothing_reads_back),
        cmocka_unit_test(test_a_busy_port_is_asked_again_with_the_same_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
