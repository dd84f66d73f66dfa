#include "pipeline/refill.h"

#include "sim_ports.h"

static struct refill *refill_on(struct sim *sim, uint64_t per_second) {
    struct refill_parts parts = {
        .clock = &sim->clock,
        .log = &sim->log,
        .loss = &sim->loss,
        .store = &sim->store,
        .cache = &sim->cache,
        .mailbox = &sim->mailbox,
        .per_second = per_second,
    };
    struct refill *refill = refill_create(&parts);
    assert_non_null(refill);
    return refill;
}

static void drive(struct sim *sim, struct refill *refill, int64_t us) {
    for (int64_t end_us = sim->now_us + us; sim->now_us < end_us; sim->now_us += 1000) {
        (void)refill_step(refill);
        (void)port_drain(&sim->mailbox, SIZE_MAX);
    }
}

static void fill_store(struct sim *sim) {
    for (uint64_t id = 1; id < SIM_ORDERS_MAX; id++) {
        sim->orders[id] =
            sim_order(id, 2, id % 5 == 0 ? ORDER_STATUS_SUCCESS : ORDER_STATUS_PENDING);
    }
}

static void lose(struct sim *sim, uint32_t first, uint32_t count) {
    memset(sim->lost_slots, 0, sizeof(sim->lost_slots));
    for (uint32_t slot = first; slot < first + count; slot++) {
        sim->lost_slots[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    sim->lost = true;
}

static void assert_filled(const struct sim *sim, uint64_t first, uint64_t count) {
    for (uint64_t id = 1; id < SIM_ORDERS_MAX; id++) {
        assert_int_equal(sim->versions[id], id >= first && id < first + count ? 2 : 0);
    }
}

static void test_without_a_loss_the_store_is_left_alone(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refill *refill = refill_on(sim, 100000);
    fill_store(sim);
    drive(sim, refill, 5000000);
    assert_int_equal(sim->scans, 0);
    refill_destroy(refill);
    sim_destroy(sim);
}

static void test_open_and_final_orders_of_lost_slots_come_back(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refill *refill = refill_on(sim, 100000);
    fill_store(sim);
    lose(sim, 1000, 2000);
    drive(sim, refill, 2000000);
    assert_filled(sim, 1000, 2000);
    assert_int_equal(metric_get(&refill_metrics(refill)->rounds_total), 1);
    assert_int_equal(metric_get(&refill_metrics(refill)->slots_lost), 0);
    assert_int_equal(metric_get(&refill_metrics(refill)->refilled_total), 2000);
    refill_destroy(refill);
    sim_destroy(sim);
}

static void test_a_loss_during_a_walk_is_not_forgotten(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refill *refill = refill_on(sim, 2000);
    fill_store(sim);
    lose(sim, 4000, 1000);
    drive(sim, refill, 100000);
    assert_int_equal(metric_get(&refill_metrics(refill)->rounds_total), 0);
    lose(sim, 1, 100); /* the walk has passed these */
    drive(sim, refill, 20000000);
    assert_int_equal(metric_get(&refill_metrics(refill)->rounds_total), 2);
    for (uint64_t id = 1; id <= 100; id++) {
        assert_int_equal(sim->versions[id], 2);
    }
    assert_int_equal(sim->versions[4500], 2);
    refill_destroy(refill);
    sim_destroy(sim);
}

static void test_store_and_cache_that_do_not_answer_are_asked_again(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refill *refill = refill_on(sim, 100000);
    fill_store(sim);
    lose(sim, 0, SIM_ORDERS_MAX);
    sim->refuse_scans = 3;
    sim->refuse_puts = 1000;
    drive(sim, refill, 10000000);
    assert_filled(sim, 1, SIM_ORDERS_MAX - 1);
    assert_int_equal(metric_get(&refill_metrics(refill)->rounds_total), 1);
    refill_destroy(refill);
    sim_destroy(sim);
}

static void test_it_keeps_to_its_rate(void **state) {
    (void)state;
    struct sim *sim = sim_create();
    struct refill *refill = refill_on(sim, 500);
    fill_store(sim);
    lose(sim, 0, SIM_ORDERS_MAX);
    drive(sim, refill, 4000000);
    assert_in_range(sim->puts, 1900, 2110);
    refill_destroy(refill);
    sim_destroy(sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_loss_the_store_is_left_alone),
        cmocka_unit_test(test_open_and_final_orders_of_lost_slots_come_back),
        cmocka_unit_test(test_a_loss_during_a_walk_is_not_forgotten),
        cmocka_unit_test(test_store_and_cache_that_do_not_answer_are_asked_again),
        cmocka_unit_test(test_it_keeps_to_its_rate),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
