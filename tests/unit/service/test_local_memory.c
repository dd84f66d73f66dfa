#include "memory_world.h"

static const struct local_memory_metrics *metrics_of(const struct world *world) {
    return local_memory_metrics(world->memory);
}

/** How often the tiers below were asked since the last time. */
static size_t asked(struct world *world) {
    size_t count = world->below.asked;
    world->below.asked = 0;
    return count;
}

static void test_every_change_is_put_whether_the_order_was_held_or_not(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record first = world_order(1, 1);
    struct order_record second = world_order(2, 2);
    world_change(&world, &first, true);
    world_change(&world, &second, true);
    world_run(&world);
    assert_int_equal(world_read(&world, first.order_id, 0), 1);
    assert_int_equal(world_read(&world, second.order_id, 0), 2);
    struct order_record next = world_order(1, 2);
    world_change(&world, &next, true);
    world_change(&world, &first, true); /* again: at least once */
    world_run(&world);
    assert_int_equal(world_read(&world, first.order_id, 0), 2);
    world_wait(&world, 10 * WORLD_TRUST_US);
    assert_int_equal(world_read(&world, first.order_id, 2), 2);
    assert_int_equal(asked(&world), 0);
    assert_int_equal(metric_get(&metrics_of(&world)->changes_total), 4);
    assert_int_equal(metric_get(&metrics_of(&world)->changes_put_total), 3);
    world_deinit(&world);
}

/** v2 passed on the log before this instance began; the cache below has v1 still. */
static void test_a_stale_fill_is_served_no_longer_than_it_is_trusted(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t order_id = world_order(1, 1).order_id;
    world.below.cached = world_order(1, 1);
    world.below.truth = world_order(1, 2);
    assert_int_equal(world_read(&world, order_id, 0), 1);
    assert_int_equal(asked(&world), 1);
    world.below.cached = world_order(1, 2);
    world_wait(&world, WORLD_TRUST_US - 100000);
    assert_int_equal(world_read(&world, order_id, 0), 1);
    assert_int_equal(asked(&world), 0);
    world_wait(&world, 100000);
    assert_int_equal(metric_get(&metrics_of(&world)->revalidations_total), 1);
    assert_int_equal(world_read(&world, order_id, 0), 2);
    assert_int_equal(asked(&world), 1);
    world_deinit(&world);
}

static void test_a_stale_fill_is_never_the_answer_to_a_higher_version(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t order_id = world_order(1, 1).order_id;
    world.below.cached = world_order(1, 1);
    world.below.truth = world_order(1, 2);
    assert_int_equal(world_read(&world, order_id, 0), 1);
    assert_int_equal(world_read(&world, order_id, 2), 2);
    assert_int_equal(world_read(&world, order_id, 0), 2); /* it was offered, and is newer */
    assert_int_equal(asked(&world), 2);
    world_deinit(&world);
}

static void test_a_stale_fill_does_not_win_over_a_change(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record change = world_order(1, 2);
    world.below.cached = world_order(1, 1);
    world.below.truth = world_order(1, 1);
    assert_int_equal(world_read(&world, change.order_id, 0), 1);
    world_change(&world, &change, true);
    world_run(&world);
    /* Another look-up had read v1 before, and offers it only now. */
    struct order_record old = world_order(1, 1);
    uint8_t result;
    struct order_cache_put put = {
        .request.mailbox = &world.fake.mailbox,
        .count = 1,
        .orders = &old,
        .results = &result,
    };
    struct order_cache *cache = local_memory_cache(world.memory);
    assert_int_equal(cache->ops->put(cache, &put), PORT_TAKEN);
    world_run(&world);
    assert_ptr_equal(mailbox_take(&world.fake.mailbox), &put);
    assert_int_equal(world_read(&world, change.order_id, 0), 2);
    world_wait(&world, 2 * WORLD_TRUST_US);
    assert_int_equal(world_read(&world, change.order_id, 0), 2);
    assert_int_equal(asked(&world), 1);
    world_deinit(&world);
}

static void test_a_change_confirms_a_fill(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record order = world_order(1, 1);
    world.below.cached = order;
    assert_int_equal(world_read(&world, order.order_id, 0), 1);
    world_change(&world, &order, true); /* the log was behind the cache */
    world_wait(&world, 5 * WORLD_TRUST_US);
    assert_int_equal(world_read(&world, order.order_id, 0), 1);
    assert_int_equal(asked(&world), 1);
    assert_int_equal(metric_get(&metrics_of(&world)->confirmed_total), 1);
    assert_int_equal(metric_get(&metrics_of(&world)->revalidations_total), 0);
    world_deinit(&world);
}

static void test_a_final_order_stays_for_good(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    world.below.cached = world_order(1, 3);
    assert_int_equal(world_read(&world, world.below.cached.order_id, 0), 3);
    world_wait(&world, 20 * WORLD_TRUST_US);
    assert_int_equal(world_read(&world, world.below.cached.order_id, 0), 3);
    assert_int_equal(asked(&world), 1);
    world_deinit(&world);
}

/** Everything that a process reads with is asked. */
static void check_doubted(struct world *world, uint64_t open_id, uint64_t final_id) {
    struct order_state states[2];
    struct order_record orders[2];
    bool found[2];
    const uint64_t ids[] = {open_id, final_id};
    assert_false(query_states_from_memory(world->query, ids, 2, states));
    assert_int_equal(states[0].version, 0);
    assert_int_equal(states[1].version, 3);
    assert_int_equal(query_orders_from_memory(world->query, ids, 2, orders, found), 1);
    assert_false(found[0]);
    assert_true(found[1]);
    struct query_find find = {.order = world_order(1, 1)};
    assert_false(query_find(world->query, &find)); /* the store is asked */
    fake_expect(&world->fake, FAKE_FIND);
    world->fake.taken_count = 0;
}

static void test_what_is_behind_the_log_is_not_believed_until_it_has_caught_up(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record open = world_order(1, 1);
    struct order_record final = world_order(2, 3);
    struct order_record next = world_order(1, 2);
    world_change(&world, &open, true);
    world_change(&world, &final, true);
    world_run(&world);
    assert_int_equal(metric_get(&metrics_of(&world)->current), 1);
    world_change(&world, &next, false); /* it does not come */
    world_wait(&world, WORLD_LAG_US - 500000);
    assert_int_equal(world_read(&world, open.order_id, 0), 1);
    assert_int_equal(asked(&world), 0);
    world_wait(&world, 1000000);
    assert_int_equal(metric_get(&metrics_of(&world)->behind_total), 1);
    assert_int_equal(metric_get(&metrics_of(&world)->current), 0);
    assert_true(metric_get(&metrics_of(&world)->lag_microseconds) > (uint64_t)WORLD_LAG_US);
    check_doubted(&world, open.order_id, final.order_id);
    world.below.cached = next;
    assert_int_equal(world_read(&world, open.order_id, 0), 2);
    assert_int_equal(world_read(&world, open.order_id, 0), 2);
    assert_int_equal(asked(&world), 2); /* and is not kept */
    assert_int_equal(metric_get(&metrics_of(&world)->fills_refused_total), 2);
    assert_int_equal(world_read(&world, final.order_id, 0), 3);
    assert_int_equal(asked(&world), 0);
    world_hear(&world);
    world_wait(&world, 500000);
    assert_int_equal(metric_get(&metrics_of(&world)->current), 1);
    assert_int_equal(world_read(&world, open.order_id, 0), 2);
    assert_int_equal(asked(&world), 0);
    assert_int_equal(metric_get(&metrics_of(&world)->gaps_total), 0);
    world_deinit(&world);
}

static void test_a_log_that_does_not_answer_is_not_believed(void **state) {
    (void)state;
    struct world world;
    struct order_record order = world_order(1, 1);
    for (int way = 0; way < 2; way++) {
        world_init(&world);
        world_change(&world, &order, true);
        world_run(&world);
        world.log.end_hangs = way == 0;
        world.log.end_fails = way == 1;
        world_wait(&world, WORLD_LAG_US + 500000);
        world.below.cached = order;
        assert_int_equal(world_read(&world, order.order_id, 0), 1);
        assert_int_equal(asked(&world), 1);
        if (way == 0) { /* the answer is of the time of the question, which is long ago */
            world_tell_end(&world);
            world_run(&world);
            assert_int_equal(metric_get(&metrics_of(&world)->current), 0);
        }
        world.log.end_hangs = world.log.end_fails = false;
        world_wait(&world, 500000);
        assert_int_equal(world_read(&world, order.order_id, 0), 1);
        assert_int_equal(asked(&world), 0);
        world_deinit(&world);
    }
}

/** A process that was stopped: no step told anybody that the time had passed. */
static void test_a_process_that_was_stopped_believes_nothing_old(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record order = world_order(1, 1);
    world_change(&world, &order, true);
    world_run(&world);
    world.fake.now_us += INT64_C(3600000000);
    world.below.cached = world_order(1, 2);
    struct query_get get = {.order_id = order.order_id};
    assert_false(query_get(world.query, &get));
    assert_int_equal(metric_get(&query_service_metrics(world.query)->memory_doubted_total), 1);
    world_deinit(&world);
}

static void test_a_lost_position_sweeps_what_may_have_changed(void **state) {
    (void)state;
    static const enum change_read_result ways[] = {CHANGE_READ_GONE, CHANGE_READ_INVALID};
    struct world world;
    for (size_t way = 0; way < ARRAY_COUNT(ways); way++) {
        world_init(&world);
        for (uint64_t number = 0; number < 100; number++) {
            struct order_record order = world_order(number, number % 2 == 0 ? 2 : 3);
            world_change(&world, &order, true);
        }
        world_run(&world);
        uint64_t open_id = world_order(2, 3).order_id;
        assert_int_equal(world_read(&world, open_id, 0), 2);
        /* The third version of order 2 came and went unread. */
        world.log.read_result = ways[way];
        struct order_record any = world_order(500, 1);
        world_change(&world, &any, true);
        world_run(&world);
        world.log.read_result = CHANGE_READ_OK;
        world.below.cached = world_order(2, 3);
        assert_int_equal(world_read(&world, open_id, 0), 3);
        world_wait(&world, 1000000);
        assert_int_equal(metric_get(&metrics_of(&world)->gaps_total), 1);
        assert_int_equal(metric_get(&metrics_of(&world)->swept_total), 50);
        assert_int_equal(metric_get(&metrics_of(&world)->current), 1);
        assert_int_equal(asked(&world), 1);
        assert_int_equal(world_read(&world, world_order(3, 3).order_id, 0), 3);
        assert_int_equal(asked(&world), 0);
        assert_int_equal(world_read(&world, world_order(4, 2).order_id, 0), 0);
        assert_int_equal(asked(&world), 1);
        world_deinit(&world);
    }
}

/** The answer to a question from before the gap comes in the middle of the sweep. */
static void test_nothing_is_believed_while_it_is_swept(void **state) {
    (void)state;
    struct world world;
    struct order_record order = world_order(1, 1);
    world_init(&world);
    const _Atomic int64_t *until_us = local_memory_current_until(world.memory);
    world.log.end_hangs = true;
    world_wait(&world, 300000);
    assert_non_null(world.log.asked);
    world_change(&world, &order, true);
    world.log.read_result = CHANGE_READ_GONE;
    (void)local_memory_step(world.memory);
    (void)port_drain(&world.thread, 10);
    world.log.read_result = CHANGE_READ_OK;
    (void)local_memory_step(world.memory); /* a part of the sweep */
    world_tell_end(&world);
    (void)port_drain(&world.thread, 10);
    assert_true(atomic_load(until_us) < world.fake.now_us);
    world.log.end_hangs = false;
    world_run(&world); /* the rest */
    assert_true(atomic_load(until_us) > world.fake.now_us);
    world_deinit(&world);
}

/** A stream takes the newest position, then reads the order: v2 has come to this process, but is
 * not in the table yet. */
static void test_who_follows_from_the_newest_of_the_view_misses_nothing(void **state) {
    (void)state;
    struct world world;
    struct change_cursor before;
    struct change_cursor after;
    struct order_record order = world_order(1, 1);
    struct order_record next = world_order(1, 2);
    world_init(&world);
    struct mailbox *mailbox = &world.fake.mailbox;
    struct change_watch watch = {.mailbox = mailbox, .active = 1};
    struct change_log *view = local_memory_changes(world.memory);
    view->ops->watch(view, &watch);
    world_change(&world, &order, true);
    world_run(&world);
    mailbox_end_sleep(mailbox);
    world_change(&world, &next, true);
    view->ops->newest(view, &before);
    assert_int_equal(world.log.heard[1], before.positions[1] + 1);
    struct order_record held;
    assert_true(order_table_get(world.table, order.order_id, &held));
    assert_int_equal(held.version, 1);
    /* So what is read from there has v2. */
    struct order_record orders[4];
    uint64_t positions[4];
    uint8_t parts[4];
    struct change_read_batch batch = {
        .request.mailbox = mailbox,
        .after = before,
        .limit = 4,
        .orders = orders,
        .positions = positions,
        .parts = parts,
    };
    assert_int_equal(view->ops->read(view, &batch), PORT_TAKEN);
    assert_ptr_equal(mailbox_take(mailbox), &batch);
    assert_int_equal(batch.count, 1);
    assert_memory_equal(&orders[0], &next, sizeof(next));
    /* And the watch is woken once the table has it. */
    while (!mailbox_prepare_sleep(mailbox)) {
        mailbox_end_sleep(mailbox); /* it was woken before */
    }
    world_run(&world);
    assert_int_equal(atomic_load(&mailbox->sleeping), 0);
    view->ops->newest(view, &after);
    assert_memory_equal(&after, &batch.after, sizeof(after));
    assert_true(order_table_get(world.table, order.order_id, &held));
    assert_int_equal(held.version, 2);
    world_deinit(&world);
}

static void test_a_repair_drops_the_order_and_refuses_it_for_a_while(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    struct order_record forged = world_order(1, 3);
    world.below.cached = forged;
    assert_int_equal(world_read(&world, forged.order_id, 0), 3);
    world_refresh(&world, "refresh", forged.order_id);
    assert_int_equal(world_read(&world, forged.order_id, 0), 3);
    assert_int_equal(asked(&world), 1);
    world_refresh(&world, "repair", forged.order_id);
    assert_int_equal(metric_get(&metrics_of(&world)->repairs_total), 1);
    /* A look-up that read it before the repair. */
    assert_int_equal(world_read(&world, forged.order_id, 0), 3);
    world.below.cached = world_order(1, 2);
    assert_int_equal(world_read(&world, forged.order_id, 0), 2);
    assert_int_equal(asked(&world), 2);
    world_wait(&world, LOCAL_MEMORY_REPAIRED_US + 100000);
    assert_int_equal(world_read(&world, forged.order_id, 0), 2);
    assert_int_equal(world_read(&world, forged.order_id, 0), 2);
    assert_int_equal(asked(&world), 1);
    world_deinit(&world);
}

static void test_more_repairs_than_are_remembered_refuse_everything(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    for (uint64_t number = 1; number <= LOCAL_MEMORY_REPAIRED + 1; number++) {
        world_refresh(&world, "repair", number);
    }
    world.below.cached = world_order(7, 3);
    assert_int_equal(world_read(&world, world.below.cached.order_id, 0), 3);
    assert_int_equal(world_read(&world, world.below.cached.order_id, 0), 3);
    assert_int_equal(asked(&world), 2);
    world_deinit(&world);
}

static void test_offers_are_bounded_and_all_completed(void **state) {
    (void)state;
    struct world world;
    struct mailbox answers;
    static struct order_cache_put puts[LOCAL_MEMORY_OFFERS + 1];
    struct order_record order = world_order(1, 3);
    uint8_t result;
    size_t completed = 0;
    world_init(&world);
    assert_true(mailbox_init(&answers, LOCAL_MEMORY_OFFERS));
    struct order_cache *cache = local_memory_cache(world.memory);
    for (size_t i = 0; i <= LOCAL_MEMORY_OFFERS; i++) {
        puts[i] = (struct order_cache_put){
            .request.mailbox = &answers, .count = 1, .orders = &order, .results = &result};
        assert_int_equal(cache->ops->put(cache, &puts[i]),
                         i < LOCAL_MEMORY_OFFERS ? PORT_TAKEN : PORT_BUSY);
    }
    (void)local_memory_step(world.memory);
    local_memory_destroy(world.memory);
    while (mailbox_take(&answers) != NULL) {
        completed++;
    }
    assert_int_equal(completed, LOCAL_MEMORY_OFFERS);
    world.memory = NULL;
    mailbox_deinit(&answers);
    world_deinit(&world);
}

static void count_answer(struct query_get *get) {
    get->next = get; /* a mark */
}

static void test_a_reader_that_joins_is_not_told_less_than_it_asked_for(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t order_id = world_order(1, 1).order_id;
    struct query_get any = {.order_id = order_id, .done = count_answer};
    struct query_get second = {.order_id = order_id, .min_version = 2, .done = count_answer};
    world.below.cached = world_order(1, 1);
    world.below.truth = world_order(1, 2);
    assert_false(query_get(world.query, &any));
    query_flush(world.query); /* it is under way, for any version */
    assert_false(query_get(world.query, &second));
    world_run(&world);
    query_flush(world.query);
    world_run(&world);
    assert_ptr_equal(any.next, &any);
    assert_int_equal(any.order.version, 1);
    assert_ptr_equal(second.next, &second);
    assert_int_equal(second.result, ORDER_RESULT_FOUND);
    assert_int_equal(second.order.version, 2);
    assert_int_equal(asked(&world), 2);
    world_deinit(&world);
}

static void test_a_reader_that_joins_is_not_told_of_an_absence_from_before_it_asked(void **state) {
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t order_id = world_order(1, 1).order_id;
    struct query_get early = {.order_id = order_id, .done = count_answer};
    struct query_get late = {.order_id = order_id, .done = count_answer};
    assert_false(query_get(world.query, &early));
    query_flush(world.query); /* nobody has it yet */
    world.below.cached = world_order(1, 1);
    assert_false(query_get(world.query, &late));
    world_run(&world);
    query_flush(world.query);
    world_run(&world);
    assert_ptr_equal(early.next, &early);
    assert_int_equal(early.result, ORDER_RESULT_ABSENT);
    assert_ptr_equal(late.next, &late);
    assert_int_equal(late.result, ORDER_RESULT_FOUND);
    world_deinit(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_change_is_put_whether_the_order_was_held_or_not),
        cmocka_unit_test(test_a_stale_fill_is_served_no_longer_than_it_is_trusted),
        cmocka_unit_test(test_a_stale_fill_is_never_the_answer_to_a_higher_version),
        cmocka_unit_test(test_a_stale_fill_does_not_win_over_a_change),
        cmocka_unit_test(test_a_change_confirms_a_fill),
        cmocka_unit_test(test_a_final_order_stays_for_good),
        cmocka_unit_test(test_what_is_behind_the_log_is_not_believed_until_it_has_caught_up),
        cmocka_unit_test(test_a_log_that_does_not_answer_is_not_believed),
        cmocka_unit_test(test_a_process_that_was_stopped_believes_nothing_old),
        cmocka_unit_test(test_a_lost_position_sweeps_what_may_have_changed),
        cmocka_unit_test(test_nothing_is_believed_while_it_is_swept),
        cmocka_unit_test(test_who_follows_from_the_newest_of_the_view_misses_nothing),
        cmocka_unit_test(test_a_repair_drops_the_order_and_refuses_it_for_a_while),
        cmocka_unit_test(test_more_repairs_than_are_remembered_refuse_everything),
        cmocka_unit_test(test_offers_are_bounded_and_all_completed),
        cmocka_unit_test(test_a_reader_that_joins_is_not_told_less_than_it_asked_for),
        cmocka_unit_test(test_a_reader_that_joins_is_not_told_of_an_absence_from_before_it_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
