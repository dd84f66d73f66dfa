#include "fake_ports.h"
#include "service/lookup_cluster.h"

#define OPEN_US INT64_C(900000000)
#define TICK 1000

/** A look-up by somebody, of up to 4 orders. */
struct asker {
    struct lookup_batch batch;
    uint64_t ids[4];
    uint32_t min_versions[4];
    struct order_record orders[4];
    uint8_t results[4];
    bool done;
};

struct bench {
    struct fake_ports fake;
    struct mailbox answers; /* of the askers */
    struct lookup_options options;
    struct lookup_cluster *cluster;
};

static bool was_given(void *context, uint64_t order_id) {
    (void)context;
    return order_id_decode(order_id).node == 0;
}

static void setup(struct bench *bench) {
    memset(bench, 0, sizeof(*bench));
    fake_init(&bench->fake);
    assert_true(mailbox_init(&bench->answers, 64));
    bench->fake.now_us = order_tick_to_us(TICK) + 1000000;
    bench->options = (struct lookup_options){.wait_ms = 100, .poll_ms = 20};
    bench->cluster = lookup_cluster_create(&(struct lookup_cluster_parts){
        .clock = &bench->fake.clock,
        .cache = &bench->fake.cache,
        .store = &bench->fake.store,
        .archive = &bench->fake.archive,
        .options = &bench->options,
        .open_us = OPEN_US,
        .mailbox = &bench->fake.mailbox,
        .token_seed = 1,
        .was_given = was_given,
    });
    assert_non_null(bench->cluster);
}

static void teardown(struct bench *bench) {
    assert_false(lookup_cluster_is_busy(bench->cluster));
    lookup_cluster_destroy(bench->cluster);
    mailbox_deinit(&bench->answers);
    fake_deinit(&bench->fake);
}

static uint64_t id_of(uint64_t number) {
    return order_id_encode((struct order_id_parts){.tick = TICK, .slot = (uint32_t)number});
}

static void asker_done(struct port_request *request) {
    ((struct asker *)request)->done = true;
}

/** Hands a look-up in, and lets it come as far as the first tier. */
static void ask(struct bench *bench, struct asker *asker, size_t count, uint64_t first) {
    struct lookup *lookup = lookup_cluster_port(bench->cluster);
    memset(asker, 0, sizeof(*asker));
    for (size_t i = 0; i < count; i++) {
        asker->ids[i] = id_of(first + i);
    }
    asker->batch = (struct lookup_batch){
        .get = {.request = {.done = asker_done, .mailbox = &bench->answers},
                .count = count,
                .order_ids = asker->ids,
                .orders = asker->orders,
                .results = asker->results},
        .min_versions = asker->min_versions,
    };
    assert_int_equal(lookup->ops->get(lookup, &asker->batch), PORT_TAKEN);
}

static void run(struct bench *bench) {
    (void)port_drain(&bench->fake.mailbox, 100);
    (void)lookup_cluster_step(bench->cluster);
    (void)port_drain(&bench->answers, 100);
}

/** The tier that is asked first says this of every order. */
static void tier_says(struct bench *bench, enum fake_operation tier, enum order_result result,
                      uint32_t version) {
    struct order_get_batch *get = fake_expect(&bench->fake, tier);
    for (size_t i = 0; i < get->count; i++) {
        get->results[i] = (uint8_t)result;
        if (result == ORDER_RESULT_FOUND) {
            get->orders[i] = sample_order(get->order_ids[i]);
            get->orders[i].version = version;
            order_record_seal(&get->orders[i]);
        }
    }
    fake_complete(&bench->fake);
    run(bench);
}

static void lock_says(struct bench *bench, enum order_result result) {
    struct order_cache_fill *lock = fake_expect(&bench->fake, FAKE_CACHE_LOCK);
    lock->result = (uint8_t)result;
    fake_complete(&bench->fake);
    run(bench);
}

/** The lock is ours, and the cache still has nothing. */
static void lock_is_taken(struct bench *bench) {
    lock_says(bench, ORDER_RESULT_STORED);
    tier_says(bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
}

/** What the fill has; completes it. */
static struct order_cache_fill fill_of(struct bench *bench) {
    struct order_cache_fill *fill = fake_expect(&bench->fake, FAKE_CACHE_FILL);
    struct order_cache_fill copy = *fill;
    fill->result = ORDER_RESULT_STORED;
    fake_complete(&bench->fake);
    run(bench);
    return copy;
}

static const struct lookup_metrics *metrics_of(const struct bench *bench) {
    return lookup_cluster_metrics(bench->cluster);
}

static void test_what_the_cache_has_is_the_answer(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 3, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 2);
    assert_true(asker.done);
    assert_int_equal(asker.results[2], ORDER_RESULT_FOUND);
    assert_int_equal(asker.orders[2].order_id, id_of(3));
    assert_int_equal(metric_get(&metrics_of(&bench)->cache_hits_total), 3);
    teardown(&bench);
}

static void test_a_young_order_is_asked_of_the_store_and_fills_the_cache(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    assert_true(asker.done);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    struct order_cache_fill fill = fill_of(&bench);
    assert_int_equal(fill.order.order_id, id_of(1));
    assert_int_not_equal(fill.token, 0);
    assert_int_equal(metric_get(&metrics_of(&bench)->archive_asked_total), 0);
    teardown(&bench);
}

static void test_an_old_order_is_asked_of_the_archive_first_then_of_the_store(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    bench.fake.now_us += OPEN_US;
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 3);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    assert_int_equal(metric_get(&metrics_of(&bench)->second_asked_total), 1);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void test_an_order_that_moved_while_the_store_hung_is_found_in_the_archive(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    bench.fake.now_us += OPEN_US;
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    bench.fake.now_us += 1000000; /* it was archived meanwhile, settled, and left the store */
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_ABSENT, 0);
    assert_false(asker.done);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_FOUND, 3);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    (void)fill_of(&bench);
    /* And one that is in neither is asked for no further. */
    ask(&bench, &asker, 1, 2);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    bench.fake.now_us += 1000000;
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_ABSENT, 0);
    bench.fake.now_us += 1000000;
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    assert_int_equal(asker.results[0], ORDER_RESULT_ABSENT);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void test_an_order_in_no_tier_asks_each_once_and_gives_the_lock_back(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_ABSENT, 0);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    assert_int_equal(asker.results[0], ORDER_RESULT_ABSENT);
    struct order_cache_fill fill = fill_of(&bench);
    assert_int_equal(fill.order.order_id, 0);
    teardown(&bench);
}

static void test_nothing_is_absent_while_a_tier_is_silent(void **state) {
    (void)state;
    static const enum order_result silent[] = {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_BROKEN};
    for (size_t i = 0; i < ARRAY_COUNT(silent); i++) {
        for (int first_is_silent = 0; first_is_silent < 2; first_is_silent++) {
            struct bench bench;
            struct asker asker;
            setup(&bench);
            ask(&bench, &asker, 1, 1);
            run(&bench);
            tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_UNAVAILABLE, 0);
            tier_says(&bench, FAKE_STORE_GET, first_is_silent ? silent[i] : ORDER_RESULT_ABSENT, 0);
            tier_says(&bench, FAKE_ARCHIVE_GET, first_is_silent ? ORDER_RESULT_ABSENT : silent[i],
                      0);
            assert_int_equal(asker.results[0], ORDER_RESULT_UNAVAILABLE);
            assert_null(fake_first(&bench.fake)); /* no lock was taken: none is given back */
            teardown(&bench);
        }
    }
}

static void test_a_silent_tier_does_not_hide_what_the_other_one_has(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_UNAVAILABLE, 0);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_UNAVAILABLE, 0);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_FOUND, 4);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    teardown(&bench);
}

static void test_many_readers_are_one_look_up(void **state) {
    (void)state;
    struct bench bench;
    struct asker askers[8];
    setup(&bench);
    for (size_t i = 0; i < ARRAY_COUNT(askers); i++) {
        ask(&bench, &askers[i], 2, 1);
    }
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_says(&bench, ORDER_RESULT_STORED);
    lock_says(&bench, ORDER_RESULT_STORED);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    struct asker late;
    ask(&bench, &late, 1, 2);
    run(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    for (size_t i = 0; i < ARRAY_COUNT(askers); i++) {
        assert_true(askers[i].done);
        assert_int_equal(askers[i].orders[1].order_id, id_of(2));
    }
    assert_true(late.done);
    assert_int_equal(metric_get(&metrics_of(&bench)->store_asked_total), 2);
    (void)fill_of(&bench);
    (void)fill_of(&bench);
    teardown(&bench);
}

/** A look-up that has asked the store, and one that joins it then and wants a version. */
static void join_late(struct bench *bench, struct asker *early, struct asker *late,
                      uint32_t min_version) {
    ask(bench, early, 1, 1);
    run(bench);
    tier_says(bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(bench);
    ask(bench, late, 1, 1);
    late->min_versions[0] = min_version;
    run(bench);
}

static void test_who_joins_late_is_not_told_an_older_version_than_it_wants(void **state) {
    (void)state;
    struct bench bench;
    struct asker early;
    struct asker late;
    setup(&bench);
    join_late(&bench, &early, &late, 2);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(early.orders[0].version, 1);
    assert_false(late.done);
    (void)fill_of(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 1);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 2);
    assert_int_equal(late.results[0], ORDER_RESULT_FOUND);
    assert_int_equal(late.orders[0].version, 2);
    (void)fill_of(&bench);
    /* Where it is new enough, one look-up does for both. */
    join_late(&bench, &early, &late, 2);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 2);
    assert_int_equal(late.orders[0].version, 2);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void test_who_joins_late_is_not_told_of_an_absence_from_before_it_asked(void **state) {
    (void)state;
    struct bench bench;
    struct asker early;
    struct asker late;
    setup(&bench);
    join_late(&bench, &early, &late, 0);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_ABSENT, 0);
    tier_says(&bench, FAKE_ARCHIVE_GET, ORDER_RESULT_ABSENT, 0);
    assert_int_equal(early.results[0], ORDER_RESULT_ABSENT);
    assert_false(late.done);
    (void)fill_of(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(late.results[0], ORDER_RESULT_FOUND);
    teardown(&bench);
}

static void test_somebody_elses_look_up_is_waited_for(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_says(&bench, ORDER_RESULT_MISMATCH);
    assert_null(fake_first(&bench.fake));
    assert_int_equal(lookup_cluster_step(bench.cluster), bench.fake.now_us + 20000);
    bench.fake.now_us += 20000;
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    assert_int_equal(metric_get(&metrics_of(&bench)->store_asked_total), 0);
    teardown(&bench);
}

static void test_the_wait_is_bounded(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    for (int i = 0; i < 6; i++) {
        assert_false(asker.done);
        tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
        lock_says(&bench, ORDER_RESULT_MISMATCH);
        bench.fake.now_us += 20000;
        run(&bench);
    }
    assert_true(asker.done);
    assert_int_equal(asker.results[0], ORDER_RESULT_BUSY);
    assert_int_equal(metric_get(&metrics_of(&bench)->provisional_total), 1);
    teardown(&bench);
}

static void test_a_lock_whose_holder_is_gone_becomes_ours(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_says(&bench, ORDER_RESULT_MISMATCH);
    bench.fake.now_us += 20000;
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void
test_what_another_one_filled_before_the_lock_was_ours_is_not_asked_for_again(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_ABSENT, 0);
    lock_says(&bench, ORDER_RESULT_STORED);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    assert_int_equal(metric_get(&metrics_of(&bench)->store_asked_total), 0);
    struct order_cache_fill fill = fill_of(&bench);
    assert_int_equal(fill.order.order_id, 0); /* only the lock goes back */
    teardown(&bench);
}

static void test_an_older_version_than_is_wanted_is_no_hit(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    asker.min_versions[0] = 2;
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_FOUND, 1);
    assert_false(asker.done);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 2);
    assert_int_equal(asker.orders[0].version, 2);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void test_a_foreign_value_in_the_cache_is_no_hit(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 1, 1);
    run(&bench);
    tier_says(&bench, FAKE_CACHE_GET, ORDER_RESULT_BROKEN, 0);
    lock_is_taken(&bench);
    tier_says(&bench, FAKE_STORE_GET, ORDER_RESULT_FOUND, 1);
    assert_int_equal(asker.results[0], ORDER_RESULT_FOUND);
    (void)fill_of(&bench);
    teardown(&bench);
}

static void test_busy_tiers_leave_nothing_waiting(void **state) {
    (void)state;
    struct bench bench;
    struct asker asker;
    setup(&bench);
    ask(&bench, &asker, 4, 1);
    bench.fake.busy = true;
    run(&bench);
    run(&bench);
    assert_true(asker.done);
    assert_int_equal(asker.results[3], ORDER_RESULT_UNAVAILABLE);
    teardown(&bench);
}

static void test_ids_that_nobody_can_have_given_are_known(void **state) {
    (void)state;
    struct bench bench;
    setup(&bench);
    struct lookup *lookup = lookup_cluster_port(bench.cluster);
    uint64_t other_node = order_id_encode((struct order_id_parts){.tick = TICK, .node = 9});
    uint64_t future = order_id_encode((struct order_id_parts){.tick = TICK + 1000000});
    assert_true(lookup->ops->is_possible(lookup, id_of(1), bench.fake.now_us));
    assert_false(lookup->ops->is_possible(lookup, other_node, bench.fake.now_us));
    assert_false(lookup->ops->is_possible(lookup, future, bench.fake.now_us));
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_cache_has_is_the_answer),
        cmocka_unit_test(test_a_young_order_is_asked_of_the_store_and_fills_the_cache),
        cmocka_unit_test(test_an_old_order_is_asked_of_the_archive_first_then_of_the_store),
        cmocka_unit_test(test_an_order_that_moved_while_the_store_hung_is_found_in_the_archive),
        cmocka_unit_test(test_an_order_in_no_tier_asks_each_once_and_gives_the_lock_back),
        cmocka_unit_test(test_nothing_is_absent_while_a_tier_is_silent),
        cmocka_unit_test(test_a_silent_tier_does_not_hide_what_the_other_one_has),
        cmocka_unit_test(test_many_readers_are_one_look_up),
        cmocka_unit_test(test_who_joins_late_is_not_told_an_older_version_than_it_wants),
        cmocka_unit_test(test_who_joins_late_is_not_told_of_an_absence_from_before_it_asked),
        cmocka_unit_test(test_somebody_elses_look_up_is_waited_for),
        cmocka_unit_test(test_the_wait_is_bounded),
        cmocka_unit_test(test_a_lock_whose_holder_is_gone_becomes_ours),
        cmocka_unit_test(
            test_what_another_one_filled_before_the_lock_was_ours_is_not_asked_for_again),
        cmocka_unit_test(test_an_older_version_than_is_wanted_is_no_hit),
        cmocka_unit_test(test_a_foreign_value_in_the_cache_is_no_hit),
        cmocka_unit_test(test_busy_tiers_leave_nothing_waiting),
        cmocka_unit_test(test_ids_that_nobody_can_have_given_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
