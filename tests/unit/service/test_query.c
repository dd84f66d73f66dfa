#include "fake_ports.h"
#include "memory/order_table.h"
#include "service/lookup.h"
#include "service/query.h"

#define FIRST_TICK 100

struct bench {
    struct fake_ports fake;
    struct order_table *table;
    struct lookup_embedded lookup;
    struct query_service *service;
};

static void setup(struct bench *bench) {
    struct fault fault;
    fake_init(&bench->fake);
    bench->table = order_table_create(100000, &fault);
    assert_non_null(bench->table);
    lookup_embedded_init(&bench->lookup, &bench->fake.archive, 0);
    bench->service = query_service_create(&(struct query_parts){
        .clock = &bench->fake.clock,
        .table = bench->table,
        .store = &bench->fake.store,
        .cache = &bench->fake.cache,
        .lookup = &bench->lookup.lookup,
        .mailbox = &bench->fake.mailbox,
        .window_us = INT64_C(3600000000),
    });
    assert_non_null(bench->service);
}

static void teardown(struct bench *bench) {
    query_service_destroy(bench->service);
    order_table_destroy(bench->table);
    fake_deinit(&bench->fake);
}

/** An id that may have been given: of node 0, a little in the past. */
static uint64_t id_at(uint64_t number) {
    return (FIRST_TICK + number) << 27;
}

static void hold(struct bench *bench, const struct order_record *order) {
    assert_int_equal(
        order_table_put(bench->table, order, order_record_reference_hash(order), false),
        ORDER_TABLE_INSERTED);
}

static void get_done(struct query_get *get) {
    assert_int_not_equal(get->result, ORDER_RESULT_NONE);
}

static struct query_get get_of(uint64_t order_id) {
    return (struct query_get){.order_id = order_id, .done = get_done};
}

static void test_what_memory_has_is_answered_at_once(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    struct order_record order = sample_order(id_at(1));
    struct query_get get = get_of(order.order_id);
    hold(&bench, &order);
    assert_true(query_get(bench.service, &get));
    assert_int_equal(get.result, ORDER_RESULT_FOUND);
    assert_memory_equal(&get.order, &order, sizeof(order));
    get.min_version = 2;
    assert_true(query_get(bench.service, &get));
    assert_int_equal(get.result, ORDER_RESULT_MISMATCH);
    assert_int_equal(get.order.version, 1);
    query_flush(bench.service);
    assert_null(fake_first(&bench.fake));
    teardown(&bench);
}

static void test_readers_of_one_order_share_one_look_up_and_the_cache_is_told(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    struct query_get gets[] = {get_of(id_at(1)), get_of(id_at(2)), get_of(id_at(1))};
    for (size_t i = 0; i < 3; i++) {
        assert_false(query_get(bench.service, &gets[i]));
    }
    assert_null(fake_first(&bench.fake));
    query_flush(bench.service);
    struct query_get late = get_of(id_at(1));
    assert_false(query_get(bench.service, &late));
    struct order_get_batch *batch = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    assert_int_equal(batch->count, 2);
    batch->orders[0] = sample_order(id_at(1));
    batch->results[0] = ORDER_RESULT_FOUND;
    batch->results[1] = ORDER_RESULT_ABSENT;
    fake_complete(&bench.fake);
    assert_int_equal(gets[0].result, ORDER_RESULT_FOUND);
    assert_int_equal(gets[1].result, ORDER_RESULT_ABSENT);
    assert_int_equal(gets[2].result, ORDER_RESULT_FOUND);
    assert_int_equal(late.result, ORDER_RESULT_FOUND);
    assert_int_equal(late.order.order_id, id_at(1));
    assert_int_equal(metric_get(&query_service_metrics(bench.service)->joined_total), 2);
    struct order_cache_put *put = fake_expect(&bench.fake, FAKE_CACHE_PUT);
    assert_int_equal(put->count, 1);
    assert_int_equal(put->orders[0].order_id, id_at(1));
    fake_complete(&bench.fake);
    teardown(&bench);
}

static void test_a_tier_that_does_not_answer_is_no_404(void **state) {
    (void)state;
    static const uint8_t answers[] = {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_BROKEN};
    struct bench bench;
    setup(&bench);
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        struct query_get get = get_of(id_at(1));
        assert_false(query_get(bench.service, &get));
        query_flush(bench.service);
        struct order_get_batch *batch = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
        batch->results[0] = answers[i];
        fake_complete(&bench.fake);
        assert_int_equal(get.result, ORDER_RESULT_UNAVAILABLE);
        assert_null(fake_first(&bench.fake)); /* nothing for the cache */
    }
    struct query_get get = get_of(id_at(1));
    bench.fake.busy = true;
    assert_false(query_get(bench.service, &get));
    query_flush(bench.service);
    assert_int_equal(get.result, ORDER_RESULT_UNAVAILABLE);
    teardown(&bench);
}

static void test_an_impossible_id_is_absent_without_a_look_up(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    const uint64_t ids[] = {0, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        struct query_get get = get_of(ids[i]);
        assert_true(query_get(bench.service, &get));
        assert_int_equal(get.result, ORDER_RESULT_ABSENT);
    }
    query_flush(bench.service);
    assert_null(fake_first(&bench.fake));
    assert_int_equal(metric_get(&query_service_metrics(bench.service)->impossible_total), 3);
    teardown(&bench);
}

static void test_look_ups_are_bounded(void **state) {
    (void)state;
    static struct query_get gets[QUERY_BATCH_MAX * QUERY_BATCHES + 1];
    struct bench bench;
    setup(&bench);
    bench.fake.now_us += 3600000000; /* room for so many ids */
    for (size_t i = 0; i < ARRAY_COUNT(gets); i++) {
        bool refused = i + 1 == ARRAY_COUNT(gets);
        gets[i] = get_of(id_at(i));
        assert_int_equal(query_get(bench.service, &gets[i]), refused);
    }
    assert_int_equal(gets[ARRAY_COUNT(gets) - 1].result, ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(bench.fake.taken_count, QUERY_BATCHES);
    /* Answers make room, and every reader gets his own. */
    struct order_get_batch *batch = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    memset(batch->results, ORDER_RESULT_ABSENT, batch->count);
    fake_complete(&bench.fake);
    assert_int_equal(gets[QUERY_BATCH_MAX - 1].result, ORDER_RESULT_ABSENT);
    assert_int_equal(gets[QUERY_BATCH_MAX].result, ORDER_RESULT_NONE);
    assert_false(query_get(bench.service, &gets[ARRAY_COUNT(gets) - 1]));
    teardown(&bench);
}

static void find_done(struct query_find *find) {
    assert_int_not_equal(find->result, ORDER_RESULT_NONE);
}

static void test_a_reference_is_found_in_memory_or_by_the_store_and_then_by_its_id(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    struct order_record order = sample_order(id_at(1));
    struct query_find find = {.order = sample_draft(id_at(1)), .done = find_done};
    hold(&bench, &order);
    assert_true(query_find(bench.service, &find));
    assert_int_equal(find.result, ORDER_RESULT_FOUND);
    find = (struct query_find){.order = sample_draft(7), .done = find_done};
    assert_false(query_find(bench.service, &find));
    struct order_find_batch *batch = fake_expect(&bench.fake, FAKE_FIND);
    batch->orders[0].order_id = id_at(2);
    batch->results[0] = ORDER_RESULT_FOUND_ID;
    fake_complete(&bench.fake);
    assert_int_equal(find.result, ORDER_RESULT_FOUND_ID); /* the second half is on its way */
    query_flush(bench.service);
    struct order_get_batch *get = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    get->orders[0] = sample_order(id_at(2));
    get->results[0] = ORDER_RESULT_FOUND;
    fake_complete(&bench.fake);
    assert_int_equal(find.result, ORDER_RESULT_FOUND);
    assert_int_equal(find.order.order_id, id_at(2));
    teardown(&bench);
}

static void many_done(struct query_many *many) {
    many->ids = NULL; /* a mark */
}

static void test_many_are_put_together_from_memory_and_below(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    struct order_record order = sample_order(id_at(1));
    const uint64_t ids[] = {id_at(2), id_at(1), INT64_MAX, id_at(3)};
    struct order_state states[4];
    struct query_many many = {.ids = ids, .count = 4, .states = states, .done = many_done};
    hold(&bench, &order);
    assert_false(query_many(bench.service, &many));
    struct order_get_batch *batch = fake_expect(&bench.fake, FAKE_ARCHIVE_GET);
    assert_int_equal(batch->count, 2);
    batch->orders[0] = sample_order(id_at(2));
    batch->orders[0].version = 2;
    batch->orders[0].status = ORDER_STATUS_SUCCESS;
    batch->results[0] = ORDER_RESULT_FOUND;
    batch->results[1] = ORDER_RESULT_UNAVAILABLE;
    fake_complete(&bench.fake);
    assert_null(many.ids);
    assert_int_equal(many.unknown, 1);
    assert_int_equal(states[0].version, 2);
    assert_int_equal(states[0].status, ORDER_STATUS_SUCCESS);
    assert_int_equal(states[1].version, 1);
    assert_int_equal(states[2].version, 0);
    assert_int_equal(states[2].flags, 0); /* known not to be */
    assert_int_equal(states[3].version, 0);
    assert_int_not_equal(states[3].flags, 0); /* not known now */
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_memory_has_is_answered_at_once),
        cmocka_unit_test(test_readers_of_one_order_share_one_look_up_and_the_cache_is_told),
        cmocka_unit_test(test_a_tier_that_does_not_answer_is_no_404),
        cmocka_unit_test(test_an_impossible_id_is_absent_without_a_look_up),
        cmocka_unit_test(test_look_ups_are_bounded),
        cmocka_unit_test(test_a_reference_is_found_in_memory_or_by_the_store_and_then_by_its_id),
        cmocka_unit_test(test_many_are_put_together_from_memory_and_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
