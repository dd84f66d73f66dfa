#include "adapter/mariadb/node_lease.h"
#include "unit.h"

static void test_a_free_number_whose_ids_can_begin_now_is_taken_first(void **state) {
    (void)state;
    const struct node_row rows[] = {{0, false, 900}, {1, true, 1100}, {2, true, 950}, {4, true, 5}};
    struct node_choice choice;
    assert_true(node_lease_choose(rows, 4, 1000, &choice));
    assert_int_equal(choice.node, 2);
    assert_false(choice.is_new);
    assert_int_equal(choice.floor_tick, 950);
    assert_true(node_lease_choose(rows, 2, 1000, &choice));
    assert_int_equal(choice.node, 2);
    assert_true(choice.is_new);
    assert_true(node_lease_choose(NULL, 0, 1000, &choice));
    assert_int_equal(choice.node, 0);
    assert_true(choice.is_new);
}

static void test_where_every_number_was_used_the_soonest_is_taken_above_its_ticks(void **state) {
    (void)state;
    static struct node_row rows[ORDER_NODE_COUNT];
    struct node_choice choice;
    for (uint32_t i = 0; i < ORDER_NODE_COUNT; i++) {
        rows[i] = (struct node_row){i, i == 77 || i == 500, 5000 - i};
    }
    assert_true(node_lease_choose(rows, ORDER_NODE_COUNT, 1000, &choice));
    assert_int_equal(choice.node, 500);
    assert_int_equal(choice.floor_tick, 4500);
    rows[77].expired = rows[500].expired = false;
    assert_false(node_lease_choose(rows, ORDER_NODE_COUNT, 1000, &choice));
}

static void test_ids_are_given_only_within_the_lease_and_the_promise(void **state) {
    (void)state;
    struct node_grant grant = {
        .number = 1, .promised_tick = 1200, .usable_from_us = 50, .held_until_us = 100};
    assert_true(node_grant_is_usable(&grant, 50, 1100));
    assert_false(node_grant_is_usable(&grant, 49, 1100));
    assert_false(node_grant_is_usable(&grant, 100, 1100));
    assert_false(node_grant_is_usable(&grant, 50, 1101)); /* a slot may run 100 ticks ahead */
    grant.clock_ahead = true;
    assert_false(node_grant_is_usable(&grant, 50, 1100));
    grant = (struct node_grant){.number = 0, .promised_tick = 1200, .held_until_us = 100};
    assert_false(node_grant_is_usable(&grant, 50, 1000));
}

static void test_a_lease_ends_for_its_holder_before_it_does_for_the_database(void **state) {
    (void)state;
    assert_true(node_lease_end(1000, 15000000) < 1000 + 15000000);
    int64_t now_us = ORDER_EPOCH_US + INT64_C(1000000000);
    uint64_t promise = node_lease_promise(now_us, 15000000);
    struct node_grant grant = {.number = 1, .promised_tick = promise, .held_until_us = INT64_MAX};
    assert_true(node_grant_is_usable(&grant, 0, order_tick_from_us(now_us + 15000000)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_free_number_whose_ids_can_begin_now_is_taken_first),
        cmocka_unit_test(test_where_every_number_was_used_the_soonest_is_taken_above_its_ticks),
        cmocka_unit_test(test_ids_are_given_only_within_the_lease_and_the_promise),
        cmocka_unit_test(test_a_lease_ends_for_its_holder_before_it_does_for_the_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
