#include "fake_ports.h"
#include "service/cache_writer.h"

#define COUNT 3

/** The batch of a store that has taken it, and what became of it. */
struct bench {
    struct fake_ports fake;
    struct cache_writer *writer;
    struct order_create_batch batch;
    struct order_record orders[COUNT];
    uint8_t results[COUNT];
    bool answered;
};

static void answered(struct port_request *request) {
    struct bench *bench = CONTAINER_OF(request, struct bench, batch.request);
    bench->answered = true;
}

static void setup(struct bench *bench) {
    memset(bench, 0, sizeof(*bench));
    fake_init(&bench->fake);
    bench->writer = cache_writer_create(&bench->fake.cache, &bench->fake.mailbox);
    assert_non_null(bench->writer);
    bench->batch = (struct order_create_batch){
        .request = {.done = answered, .mailbox = &bench->fake.mailbox},
        .count = COUNT,
        .orders = bench->orders,
        .results = bench->results,
    };
    for (size_t i = 0; i < COUNT; i++) {
        bench->orders[i] = sample_order(1000 + i);
    }
}

static void teardown(struct bench *bench) {
    cache_writer_destroy(bench->writer);
    fake_deinit(&bench->fake);
}

/** What the store does: gives ids, and is through with these results. */
static void store_gives_ids(struct bench *bench) {
    cache_writer_follow(bench->writer, &bench->batch);
    assert_non_null(bench->batch.ids_given);
    bench->batch.ids_given(&bench->batch);
}

static void store_completes(struct bench *bench, enum order_result first) {
    bench->results[0] = (uint8_t)first;
    for (size_t i = 1; i < COUNT; i++) {
        bench->results[i] = ORDER_RESULT_CREATED;
    }
    port_complete(&bench->batch.request);
    assert_int_equal(port_drain(&bench->fake.mailbox, 10), 1);
    assert_true(bench->answered);
}

static void cache_takes(struct bench *bench) {
    struct order_cache_put *put = fake_expect(&bench->fake, FAKE_CACHE_PUT);
    memset(put->results, ORDER_RESULT_STORED, put->count);
    fake_complete(&bench->fake);
}

static const struct cache_writer_metrics *metrics_of(const struct bench *bench) {
    return cache_writer_metrics(bench->writer);
}

static void test_creates_go_to_the_cache_before_the_store_is_through(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    store_gives_ids(&bench);
    struct order_cache_put *put = fake_expect(&bench.fake, FAKE_CACHE_PUT);
    assert_int_equal(put->count, COUNT);
    assert_memory_equal(put->orders, bench.orders, sizeof(bench.orders));
    /* A replay overwrites the batch's record: the cache's own copy stays as it was put. */
    bench.orders[0] = sample_order(7);
    assert_int_equal(put->orders[0].order_id, 1000);
    cache_takes(&bench);
    assert_false(bench.answered);
    store_completes(&bench, ORDER_RESULT_CREATED);
    assert_null(fake_first(&bench.fake));
    assert_int_equal(metric_get(&metrics_of(&bench)->written_total), COUNT);
    teardown(&bench);
}

static void test_the_answer_does_not_wait_for_the_cache(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    store_gives_ids(&bench);
    store_completes(&bench, ORDER_RESULT_CREATED);
    assert_null(bench.batch.cache_write);
    cache_takes(&bench);
    assert_null(fake_first(&bench.fake));
    teardown(&bench);
}

/** @param first how the first order ended, which did not commit. */
static void check_removed(enum order_result first, bool cache_is_first) {
    struct bench bench;
    setup(&bench);
    store_gives_ids(&bench);
    if (cache_is_first) {
        cache_takes(&bench);
        store_completes(&bench, first);
    } else {
        store_completes(&bench, first);
        cache_takes(&bench);
    }
    struct order_record put = sample_order(1000);
    struct order_cache_put *remove = fake_expect(&bench.fake, FAKE_CACHE_REMOVE);
    assert_int_equal(remove->count, 1);
    assert_memory_equal(remove->orders, &put, sizeof(put));
    remove->results[0] = ORDER_RESULT_STORED;
    fake_complete(&bench.fake);
    assert_null(fake_first(&bench.fake));
    assert_int_equal(metric_get(&metrics_of(&bench)->removed_total), 1);
    teardown(&bench);
}

static void test_what_did_not_commit_is_taken_out_again(void **state) {
    (void)state;
    static const enum order_result results[] = {ORDER_RESULT_REPLAYED, ORDER_RESULT_CONFLICT,
                                                ORDER_RESULT_BUSY, ORDER_RESULT_UNAVAILABLE,
                                                ORDER_RESULT_UNKNOWN};
    for (size_t i = 0; i < ARRAY_COUNT(results); i++) {
        check_removed(results[i], true);
        check_removed(results[i], false);
    }
}

static void test_a_cache_that_failed_may_have_written_all_the_same(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    store_gives_ids(&bench);
    struct order_cache_put *put = fake_expect(&bench.fake, FAKE_CACHE_PUT);
    memset(put->results, ORDER_RESULT_UNAVAILABLE, put->count);
    fake_complete(&bench.fake);
    store_completes(&bench, ORDER_RESULT_CONFLICT);
    assert_int_equal(metric_get(&metrics_of(&bench)->failed_total), COUNT);
    /* Tried a few times, then given up and counted. */
    for (int tries = 0; tries < 3; tries++) {
        struct order_cache_put *remove = fake_expect(&bench.fake, FAKE_CACHE_REMOVE);
        remove->results[0] = ORDER_RESULT_UNAVAILABLE;
        fake_complete(&bench.fake);
    }
    assert_null(fake_first(&bench.fake));
    assert_int_equal(metric_get(&metrics_of(&bench)->remove_failures_total), 1);
    teardown(&bench);
}

static void test_an_order_without_an_id_is_left_out(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    bench.orders[1].order_id = 0;
    store_gives_ids(&bench);
    struct order_cache_put *put = fake_expect(&bench.fake, FAKE_CACHE_PUT);
    assert_int_equal(put->count, COUNT - 1);
    assert_int_equal(put->orders[1].order_id, 1002);
    store_completes(&bench, ORDER_RESULT_CREATED);
    bench.answered = false;
    cache_takes(&bench);
    /* The last one of the batch was created: nothing is taken out in its place. */
    assert_null(fake_first(&bench.fake));
    teardown(&bench);
}

static void test_a_store_that_takes_nothing_leaves_nothing(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    for (int i = 0; i < 2 * CACHE_WRITES_SMALL; i++) {
        cache_writer_follow(bench.writer, &bench.batch);
        assert_non_null(bench.batch.ids_given);
        cache_writer_unfollow(&bench.batch);
        assert_ptr_equal(bench.batch.request.done, answered);
        assert_null(bench.batch.ids_given);
    }
    assert_null(fake_first(&bench.fake));
    teardown(&bench);
}

static void test_without_room_the_store_alone_has_the_batch(void **state) {
    (void)state;
    struct bench bench;
    struct order_create_batch others[CACHE_WRITES_SMALL];
    setup(&bench);
    for (size_t i = 0; i < CACHE_WRITES_SMALL; i++) {
        others[i] = bench.batch;
        cache_writer_follow(bench.writer, &others[i]);
    }
    cache_writer_follow(bench.writer, &bench.batch);
    assert_null(bench.batch.ids_given);
    assert_ptr_equal(bench.batch.request.done, answered);
    assert_int_equal(metric_get(&metrics_of(&bench)->skipped_total), COUNT);
    cache_writer_unfollow(&bench.batch);
    teardown(&bench);
}

static void test_a_change_goes_to_the_cache_once_it_is_committed(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    uint8_t results[COUNT] = {ORDER_RESULT_CHANGED, ORDER_RESULT_ILLEGAL, ORDER_RESULT_CHANGED};
    struct order_change_batch changes = {
        .count = COUNT, .orders = bench.orders, .results = results};
    cache_writer_changed(bench.writer, &changes);
    struct order_cache_put *put = fake_expect(&bench.fake, FAKE_CACHE_PUT);
    assert_int_equal(put->count, 2);
    assert_int_equal(put->orders[0].order_id, 1000);
    assert_int_equal(put->orders[1].order_id, 1002);
    cache_takes(&bench);
    assert_null(fake_first(&bench.fake));
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creates_go_to_the_cache_before_the_store_is_through),
        cmocka_unit_test(test_the_answer_does_not_wait_for_the_cache),
        cmocka_unit_test(test_what_did_not_commit_is_taken_out_again),
        cmocka_unit_test(test_a_cache_that_failed_may_have_written_all_the_same),
        cmocka_unit_test(test_an_order_without_an_id_is_left_out),
        cmocka_unit_test(test_a_store_that_takes_nothing_leaves_nothing),
        cmocka_unit_test(test_without_room_the_store_alone_has_the_batch),
        cmocka_unit_test(test_a_change_goes_to_the_cache_once_it_is_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
