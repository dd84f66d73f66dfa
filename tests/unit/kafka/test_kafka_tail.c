#include "unit.h"

#include "adapter/kafka/kafka_tail.h"
#include "sample.h"

#include <stdlib.h>

static struct kafka_tail *new_tail(uint64_t offset) {
    struct kafka_tail *tail = calloc(1, sizeof(*tail));
    assert_non_null(tail);
    kafka_tail_begin(tail, offset);
    return tail;
}

static void test_a_tail_finds_the_first_change_at_an_offset_or_later(void **state) {
    (void)state;
    struct kafka_tail *tail = new_tail(100);
    assert_int_equal(kafka_tail_find(tail, 100), tail->added);
    for (uint64_t offset = 100; offset < 200; offset += 2) { /* every other one is missing */
        struct order_record order = sample_order(offset);
        kafka_tail_add(tail, offset, &order);
    }
    for (uint64_t offset = 100; offset < 199; offset++) {
        uint64_t number = kafka_tail_find(tail, offset);
        assert_int_equal(tail->offsets[kafka_tail_slot(number)], offset + offset % 2);
        assert_int_equal(tail->orders[kafka_tail_slot(number)].order_id, offset + offset % 2);
    }
    assert_int_equal(kafka_tail_find(tail, 199), tail->added);
    assert_int_equal(tail->end, 199);
    free(tail);
}

static void test_a_message_that_is_no_order_is_passed(void **state) {
    (void)state;
    struct kafka_tail *tail = new_tail(7);
    kafka_tail_add(tail, 7, NULL);
    assert_int_equal(tail->added, 0);
    assert_int_equal(tail->end, 8);
    assert_int_equal(tail->from, 7);
    free(tail);
}

static void test_what_is_older_than_the_ring_is_said_to_be_gone(void **state) {
    (void)state;
    struct kafka_tail *tail = new_tail(0);
    for (uint64_t offset = 0; offset < 3 * KAFKA_TAIL_CHANGES; offset++) {
        struct order_record order = sample_order(offset + 1);
        kafka_tail_add(tail, offset, &order);
        uint64_t kept = offset + 1 < KAFKA_TAIL_CHANGES ? offset + 1 : KAFKA_TAIL_CHANGES;
        assert_int_equal(tail->from, offset + 1 - kept);
        uint64_t first = kafka_tail_find(tail, tail->from);
        assert_int_equal(tail->offsets[kafka_tail_slot(first)], tail->from);
        assert_int_equal(tail->added - first, kept);
    }
    free(tail);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tail_finds_the_first_change_at_an_offset_or_later),
        cmocka_unit_test(test_a_message_that_is_no_order_is_passed),
        cmocka_unit_test(test_what_is_older_than_the_ring_is_said_to_be_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
