#include "adapter/mariadb/mariadb_walk.h"
#include "unit.h"

static uint64_t id_of(uint64_t tick, uint32_t slot) {
    return order_id_encode((struct order_id_parts){.tick = tick, .slot = slot, .node = 3});
}

static void begin(struct mariadb_walk *walk, uint64_t cursor, size_t shards) {
    struct order_scan_batch batch = {
        .kind = ORDER_SCAN_FINAL, .before_us = INT64_MAX, .cursor = cursor};
    mariadb_walk_begin(walk, &batch, shards);
}

static void test_a_round_goes_over_every_shard_and_ends(void **state) {
    (void)state;
    uint64_t cursor = 0;
    for (size_t shard = 0; shard < 3; shard++) {
        struct mariadb_walk walk;
        begin(&walk, cursor, 3);
        assert_int_equal(walk.shard, shard);
        assert_int_equal(mariadb_walk_shard(cursor, 3), shard);
        assert_true(walk.begin < id_of(1, 0));
        mariadb_walk_bound(&walk, false, 0);
        mariadb_walk_read(&walk, false, walk.begin);
        cursor = mariadb_walk_cursor(&walk);
    }
    assert_int_equal(cursor, 0);
}

static void test_a_slice_that_was_cut_goes_on_behind_its_last_row(void **state) {
    (void)state;
    struct mariadb_walk walk;
    begin(&walk, id_of(10, 4), 3);
    assert_int_equal(walk.shard, 1);
    mariadb_walk_bound(&walk, true, id_of(20, 7));
    assert_false(walk.at_end);
    mariadb_walk_read(&walk, true, id_of(15, 1));
    assert_true(mariadb_walk_cursor(&walk) == id_of(15, 1));
    begin(&walk, id_of(10, 4), 3);
    mariadb_walk_bound(&walk, false, 0);
    mariadb_walk_read(&walk, true, id_of(15, 1)); /* at the end of the table, and cut */
    assert_true(mariadb_walk_cursor(&walk) == id_of(15, 1));
}

static void test_a_row_on_the_wrong_shard_does_not_lead_the_walk_there(void **state) {
    (void)state;
    struct mariadb_walk walk;
    begin(&walk, id_of(10, 4), 3);
    mariadb_walk_bound(&walk, true, id_of(20, 1023)); /* 1023 % 3 = 0 */
    mariadb_walk_read(&walk, false, walk.begin);
    uint64_t cursor = mariadb_walk_cursor(&walk);
    assert_true(cursor > id_of(20, 1023));
    assert_int_equal(mariadb_walk_shard(cursor, 3), 1);
}

static void test_a_walk_stops_where_no_order_can_be_old_enough(void **state) {
    (void)state;
    int64_t before_us = ORDER_EPOCH_US + INT64_C(5000000) + 1;
    struct order_scan_batch batch = {.kind = ORDER_SCAN_OVERDUE, .before_us = before_us};
    struct mariadb_walk walk;
    mariadb_walk_begin(&walk, &batch, 1);
    uint64_t tick = order_tick_from_us(before_us);
    assert_int_equal(order_id_tick(walk.last_possible), tick);
    assert_int_equal(order_id_tick(walk.last_possible + 1), tick + 1);
    batch.kind = ORDER_SCAN_FINAL; /* an id may be ahead of its order's times */
    mariadb_walk_begin(&walk, &batch, 1);
    assert_int_equal(order_id_tick(walk.last_possible), tick + ORDER_TICKS_AHEAD_MAX);
    mariadb_walk_bound(&walk, true, walk.last_possible);
    assert_true(walk.at_end);
    assert_true(mariadb_walk_created_after(id_of(tick, 1)) <= before_us);
    assert_true(mariadb_walk_first_id_at(before_us) <= id_of(tick, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_round_goes_over_every_shard_and_ends),
        cmocka_unit_test(test_a_slice_that_was_cut_goes_on_behind_its_last_row),
        cmocka_unit_test(test_a_row_on_the_wrong_shard_does_not_lead_the_walk_there),
        cmocka_unit_test(test_a_walk_stops_where_no_order_can_be_old_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
