#include "base/random.h"
#include "order/order_id.h"
#include "unit.h"

#include <stdlib.h>

static void test_an_id_is_its_parts_side_by_side(void **state) {
    (void)state;
    struct order_id_parts ones = {1, 1, 1, 1};
    assert_true(order_id_encode(ones) == (1u << 27 | 1u << 17 | 1u << 7 | 1u));
    struct order_id_parts last = {ORDER_TICK_MAX, 1023, 1023, 127};
    assert_true(order_id_encode(last) == INT64_MAX);
    struct random_source random = {9};
    for (int i = 0; i < 100000; i++) {
        uint64_t id = random_u64(&random) >> 1;
        struct order_id_parts parts = order_id_decode(id);
        assert_true(order_id_encode(parts) == id);
        assert_true(parts.tick <= ORDER_TICK_MAX && order_id_tick(id) == parts.tick);
    }
}

static void test_the_slot_is_the_low_ten_bits_of_the_hash(void **state) {
    (void)state;
    assert_int_equal(order_slot_from_hash(UINT64_C(0xfffffffffffffbff)), 0x3ff);
    assert_int_equal(order_slot_from_hash(UINT64_C(0xfffffffffffffc05)), 5);
}

static void test_a_tick_is_ten_milliseconds_since_2026(void **state) {
    (void)state;
    assert_int_equal(order_tick_from_us(ORDER_EPOCH_US), 0);
    assert_int_equal(order_tick_from_us(ORDER_EPOCH_US + 9999), 0);
    assert_int_equal(order_tick_from_us(ORDER_EPOCH_US + 10000), 1);
    assert_int_equal(order_tick_from_us(0), 0);
    assert_int_equal(order_tick_from_us(INT64_MIN), 0);
    assert_true(order_tick_to_us(100) == ORDER_EPOCH_US + 1000000);
    assert_int_equal(order_tick_from_us(order_tick_to_us(123456789)), 123456789);
}

static void test_an_id_from_far_ahead_is_impossible(void **state) {
    (void)state;
    int64_t now_us = ORDER_EPOCH_US + INT64_C(1000000000);
    uint64_t now_tick = order_tick_from_us(now_us);
    struct order_id_parts parts = {now_tick + 6000, 1023, 1023, 127};
    assert_true(order_id_is_possible(order_id_encode(parts), now_us));
    parts = (struct order_id_parts){now_tick + 6001, 0, 0, 0};
    assert_false(order_id_is_possible(order_id_encode(parts), now_us));
    assert_false(order_id_is_possible(0, now_us));
    assert_false(order_id_is_possible(UINT64_C(1) << 63 | 1, now_us));
    assert_true(order_id_is_possible(1, now_us));
}

static void assert_parsed(const char *text, uint64_t expected) {
    uint64_t order_id;
    if (!order_id_parse(slice_from_text(text), &order_id) || order_id != expected) {
        fail_msg("%s", text);
    }
}

static void test_an_id_is_read_from_its_digits(void **state) {
    (void)state;
    assert_parsed("1", 1);
    assert_parsed("10", 10);
    assert_parsed("999999999999999999", UINT64_C(999999999999999999));
    assert_parsed("9223372036854775807", INT64_MAX);
}

static void test_a_text_that_is_no_id_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "0",
        "00",
        "01",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "a",
        "1a",
        "%31",
        "\xd9\xa1",
        "9223372036854775808",
        "9999999999999999999",
        "10000000000000000000",
        "18446744073709551617",
        "11111111111111111111",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        uint64_t order_id;
        if (order_id_parse(slice_from_text(wrong[i]), &order_id)) {
            fail_msg("taken for an id: \"%s\"", wrong[i]);
        }
    }
    uint64_t order_id;
    assert_false(order_id_parse(SLICE_LITERAL("1\0"), &order_id));
}

static uint64_t next_id(struct order_id_generator *generator, uint32_t slot, uint64_t now_tick) {
    uint64_t order_id = 0;
    assert_true(order_id_generator_next(generator, slot, now_tick, &order_id));
    return order_id;
}

static int compare_ids(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

static void test_a_million_ids_are_all_different_and_carry_their_parts(void **state) {
    (void)state;
    enum { COUNT = 1000000 };
    struct order_id_generator generator;
    struct random_source random = {11};
    uint64_t *ids = calloc(COUNT, sizeof(*ids));
    assert_non_null(ids);
    order_id_generator_init(&generator, 321);
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t slot = (uint32_t)random_below(&random, ORDER_SLOT_COUNT);
        uint64_t now_tick = 1000 + i / 50000;
        ids[i] = next_id(&generator, slot, now_tick);
        struct order_id_parts parts = order_id_decode(ids[i]);
        assert_int_equal(parts.slot, slot);
        assert_int_equal(parts.node, 321);
        assert_in_range(parts.tick, now_tick, now_tick + ORDER_TICKS_AHEAD_MAX);
    }
    qsort(ids, COUNT, sizeof(*ids), compare_ids);
    for (size_t i = 1; i < COUNT; i++) {
        assert_true(ids[i] != ids[i - 1]);
    }
    free(ids);
}

static void test_ids_of_a_slot_always_rise(void **state) {
    (void)state;
    struct order_id_generator generator;
    struct random_source random = {12};
    uint64_t last = 0;
    order_id_generator_init(&generator, 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t order_id;
        uint64_t now_tick = 500 + (uint64_t)i / 100 + random_below(&random, 30);
        if (order_id_generator_next(&generator, 7, now_tick, &order_id)) {
            assert_true(order_id > last);
            last = order_id;
        }
    }
}

static void test_a_slot_borrows_one_second_ahead_and_then_refuses(void **state) {
    (void)state;
    struct order_id_generator generator;
    uint64_t order_id;
    uint64_t last = 0;
    order_id_generator_init(&generator, 5);
    for (int i = 0; i < 128 * 101; i++) {
        last = next_id(&generator, 3, 1000);
    }
    assert_int_equal(order_id_tick(last), 1100);
    assert_int_equal(order_id_decode(last).sequence, 127);
    assert_false(order_id_generator_next(&generator, 3, 1000, &order_id));
    assert_false(order_id_generator_next(&generator, 3, 1000, &order_id));
    /* Another slot is not concerned, and a tick later there is room for one tick's ids. */
    assert_int_equal(order_id_tick(next_id(&generator, 4, 1000)), 1000);
    for (int i = 0; i < 128; i++) {
        assert_int_equal(order_id_tick(next_id(&generator, 3, 1001)), 1101);
    }
    assert_false(order_id_generator_next(&generator, 3, 1001, &order_id));
}

static void test_a_clock_that_steps_back_repeats_no_id(void **state) {
    (void)state;
    struct order_id_generator generator;
    uint64_t order_id;
    order_id_generator_init(&generator, 5);
    uint64_t before = next_id(&generator, 3, 1000);
    assert_true(next_id(&generator, 3, 950) > before);
    assert_true(next_id(&generator, 3, 901) > before);
    assert_false(order_id_generator_next(&generator, 3, 899, &order_id));
}

static void test_an_observed_id_and_all_below_it_are_not_given_again(void **state) {
    (void)state;
    struct order_id_generator generator;
    order_id_generator_init(&generator, 5);
    uint64_t stored = order_id_encode((struct order_id_parts){1050, 3, 5, 17});
    order_id_generator_observe(&generator, stored);
    order_id_generator_observe(&generator,
                               order_id_encode((struct order_id_parts){1010, 3, 5, 99}));
    struct order_id_parts parts = order_id_decode(next_id(&generator, 3, 1000));
    assert_int_equal(parts.tick, 1050);
    assert_int_equal(parts.sequence, 18);
    assert_int_equal(order_id_tick(next_id(&generator, 4, 1000)), 1000);
    /* The last id of a tick leads to the next one. */
    order_id_generator_observe(&generator,
                               order_id_encode((struct order_id_parts){1060, 3, 5, 127}));
    parts = order_id_decode(next_id(&generator, 3, 1000));
    assert_int_equal(parts.tick, 1061);
    assert_int_equal(parts.sequence, 0);
}

static void test_a_raised_tick_holds_for_every_slot(void **state) {
    (void)state;
    struct order_id_generator generator;
    order_id_generator_init(&generator, 5);
    order_id_generator_observe(&generator, order_id_encode((struct order_id_parts){2000, 9, 5, 3}));
    order_id_generator_raise(&generator, 1500);
    for (uint32_t slot = 0; slot < ORDER_SLOT_COUNT; slot++) {
        uint64_t tick = order_id_tick(next_id(&generator, slot, 1950));
        assert_int_equal(tick, slot == 9 ? 2000 : 1950);
    }
    order_id_generator_raise(&generator, 2000);
    assert_int_equal(order_id_tick(next_id(&generator, 0, 1950)), 2001);
}

static void test_the_first_id_of_all_is_not_zero(void **state) {
    (void)state;
    struct order_id_generator generator;
    order_id_generator_init(&generator, 0);
    assert_true(next_id(&generator, 0, 0) != 0);
}

static void test_after_the_last_tick_there_is_no_id(void **state) {
    (void)state;
    struct order_id_generator generator;
    uint64_t order_id;
    order_id_generator_init(&generator, 1023);
    for (int i = 0; i < 128; i++) {
        assert_true(next_id(&generator, 1023, ORDER_TICK_MAX) <= INT64_MAX);
    }
    assert_false(order_id_generator_next(&generator, 1023, ORDER_TICK_MAX, &order_id));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_id_is_its_parts_side_by_side),
        cmocka_unit_test(test_the_slot_is_the_low_ten_bits_of_the_hash),
        cmocka_unit_test(test_a_tick_is_ten_milliseconds_since_2026),
        cmocka_unit_test(test_an_id_from_far_ahead_is_impossible),
        cmocka_unit_test(test_an_id_is_read_from_its_digits),
        cmocka_unit_test(test_a_text_that_is_no_id_is_refused),
        cmocka_unit_test(test_a_million_ids_are_all_different_and_carry_their_parts),
        cmocka_unit_test(test_ids_of_a_slot_always_rise),
        cmocka_unit_test(test_a_slot_borrows_one_second_ahead_and_then_refuses),
        cmocka_unit_test(test_a_clock_that_steps_back_repeats_no_id),
        cmocka_unit_test(test_an_observed_id_and_all_below_it_are_not_given_again),
        cmocka_unit_test(test_a_raised_tick_holds_for_every_slot),
        cmocka_unit_test(test_the_first_id_of_all_is_not_zero),
        cmocka_unit_test(test_after_the_last_tick_there_is_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
