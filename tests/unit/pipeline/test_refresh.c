#include "pipeline/refresh.h"

#include "sim_ports.h"

static struct refresh *refresh_on(struct sim *sim, uint64_t per_second) {
    struct refresh_options options = {.per_second = per_second, .eviction_pause_ms = 10000};
    struct refresh_parts parts = {
        .clock = &sim->clock,
        .log = &sim->log,
        .events = &sim->events,
        .writer = &sim->writer,
        .reader = &sim->reader,
        .store = &sim->store,
        .cache = &sim->cache,
        .mailbox = &sim->mailbox,
        .options = &options,
    };
    struct refresh *refresh = refresh_create(&parts);
    assert_non_null(refresh);
    return refresh;
}

static void drive(struct sim *sim, struct refresh *refresh, int64_t us) {
    for (int64_t end_us = sim->now_us + us; sim->now_us < end_us; sim->now_us += 1000) {
        (void)refresh_step(refresh);
        (void)port_drain(&sim->mailbox, SIZE_MAX);
    }
}

static void add_stored(struct sim *sim, uint64_t order_id, enum order_status status) {
    sim->orders[order_id] = sim_order(order_id, 2, status);
}

static void test_events_become_messages(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 1000);
    sim->told[0] = (struct cache_event){123456789, CACHE_EVENT_EXPIRED};
    sim->told[1] = (struct cache_event){INT64_MAX, CACHE_EVENT_EVICTED};
    sim->told_count = 2;
    sim->told_lost = 5;
    drive(sim, refresh, 10000);
    assert_int_equal(sim->published, 2);
    assert_slice_equal(((struct slice){sim->outbox[0].key, sim->outbox[0].key_size}), "123456789");
    assert_string_equal(sim->outbox[0].header, "refresh");
    assert_slice_equal(((struct slice){sim->outbox[1].key, sim->outbox[1].key_size}),
                       "9223372036854775807");
    assert_string_equal(sim->outbox[1].header, "refresh");
    assert_int_equal(metric_get(&refresh_metrics(refresh)->events_lost_total), 5);
    refresh_destroy(refresh);
    sim_destroy(sim);
}

static void test_events_stay_until_the_topic_has_them(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 1000);
    sim->told[0] = (struct cache_event){7, CACHE_EVENT_EXPIRED};
    sim->told_count = 1;
    sim->publish_result = ORDER_RESULT_UNKNOWN;
    drive(sim, refresh, 1200000);
    assert_int_equal(sim->published, 0);
    sim->publish_result = ORDER_RESULT_STORED;
    drive(sim, refresh, 1200000);
    assert_int_equal(sim->published, 1);
    refresh_destroy(refresh);
    sim_destroy(sim);
}

static void test_open_orders_come_back_and_final_ones_do_not(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 1000);
    add_stored(sim, 1, ORDER_STATUS_PENDING);
    add_stored(sim, 2, ORDER_STATUS_SUCCESS);
    add_stored(sim, 4, ORDER_STATUS_PROCESSING);
    add_stored(sim, 5, ORDER_STATUS_PENDING);
    sim->broken_id = 6; /* its row is no order */
    (void)sim_add(sim, "1", NULL, "refresh");
    (void)sim_add(sim, "2", NULL, "refresh");
    (void)sim_add(sim, "3", NULL, "refresh"); /* archived: the store has it no more */
    (void)sim_add(sim, "4", NULL, "refresh");
    (void)sim_add(sim, "5", NULL, "repair"); /* the checker's, for the query instances */
    (void)sim_add(sim, "6", NULL, "refresh");
    (void)sim_add(sim, "05", NULL, "refresh");
    (void)sim_add(sim, "o:{1}", NULL, "refresh");
    drive(sim, refresh, 300000);
    assert_int_equal(sim->versions[1], 2);
    assert_int_equal(sim->versions[2], 0);
    assert_int_equal(sim->versions[4], 2);
    assert_int_equal(sim->versions[5], 0);
    assert_int_equal(sim->committed, 8);
    struct refresh_metrics *metrics = refresh_metrics(refresh);
    assert_int_equal(metric_get(&metrics->broken_total), 1);
    assert_int_equal(metric_get(&metrics->refreshed_total), 2);
    assert_int_equal(metric_get(&metrics->skipped_total), 2);
    assert_int_equal(metric_get(&metrics->invalid_total), 2);
    refresh_destroy(refresh);
    sim_destroy(sim);
}

static void test_nothing_is_committed_before_store_and_cache_answered(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 1000);
    for (uint64_t id = 1; id <= 10; id++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%u", (unsigned)id);
        add_stored(sim, id, ORDER_STATUS_PENDING);
        (void)sim_add(sim, key, NULL, "refresh");
    }
    sim->refuse_gets = 15;
    sim->refuse_puts = 4;
    drive(sim, refresh, 1100000);
    assert_int_equal(sim->committed, 0);
    drive(sim, refresh, 2000000);
    assert_int_equal(sim->committed, 10);
    assert_int_equal(sim->puts, 10);
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(sim->versions[id], 2);
    }
    refresh_destroy(refresh);
    sim_destroy(sim);
}

static void test_it_keeps_to_its_rate(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 100);
    for (uint64_t id = 1; id <= 1000; id++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%u", (unsigned)id);
        (void)sim_add(sim, key, NULL, "refresh");
    }
    drive(sim, refresh, 5000000);
    assert_in_range(sim->gets, 450, 510);
    drive(sim, refresh, 6000000);
    assert_int_equal(sim->gets, 1000);
    refresh_destroy(refresh);
    sim_destroy(sim);
}

static void test_it_rests_while_evictions_go_on(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refresh *refresh = refresh_on(sim, 1000);
    add_stored(sim, 1, ORDER_STATUS_PENDING);
    for (int i = 0; i < 10; i++) {
        sim->told[0] = (struct cache_event){99, CACHE_EVENT_EVICTED};
        sim->told_count = 1;
        drive(sim, refresh, 1000000);
        if (i == 0) {
            (void)sim_add(sim, "1", NULL, "refresh");
        }
    }
    assert_int_equal(sim->versions[1], 0);
    assert_int_equal(metric_get(&refresh_metrics(refresh)->paused), 1);
    assert_int_equal(sim->published, 10); /* telling goes on */
    drive(sim, refresh, 8000000);
    assert_int_equal(sim->versions[1], 0);
    drive(sim, refresh, 3000000);
    assert_int_equal(sim->versions[1], 2);
    assert_int_equal(metric_get(&refresh_metrics(refresh)->paused), 0);
    refresh_destroy(refresh);
    sim_destroy(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_become_messages),
        cmocka_unit_test(test_events_stay_until_the_topic_has_them),
        cmocka_unit_test(test_open_orders_come_back_and_final_ones_do_not),
        cmocka_unit_test(test_nothing_is_committed_before_store_and_cache_answered),
        cmocka_unit_test(test_it_keeps_to_its_rate),
        cmocka_unit_test(test_it_rests_while_evictions_go_on),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
