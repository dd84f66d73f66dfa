#include "adapter/mariadb/mariadb_queue.h"
#include "base/clock.h"
#include "unit.h"

#define LIMITS                                                                                     \
    { [MARIADB_CREATE] = 4, [MARIADB_CHANGE] = 4, [MARIADB_RESOLVE] = 2 }

static const size_t limits[MARIADB_RESOLVE + 1] = LIMITS;

static void push(struct mariadb_queue *queue, struct mariadb_ticket *ticket, uint32_t first,
                 size_t count, enum mariadb_kind kind) {
    for (uint32_t i = 0; i < count; i++) {
        struct mariadb_item item = {ticket, first + i, kind};
        assert_int_equal(mariadb_queue_push(queue, &item, 1, 4), 1);
    }
}

static void test_items_leave_in_order_in_batches_of_one_kind(void **state) {
    (void)state;
    struct mariadb_queue queue;
    struct mariadb_ticket ticket = {.submitted_us = 0};
    struct mariadb_item items[8];
    bool stopped;
    assert_true(mariadb_queue_init(&queue, 16, 1));
    push(&queue, &ticket, 0, 6, MARIADB_CREATE);
    push(&queue, &ticket, 6, 3, MARIADB_RESOLVE);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 4);
    assert_int_equal(items[3].index, 3);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 2);
    assert_int_equal(items[0].index, 4);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 2);
    assert_int_equal(items[0].index, 6);
    assert_int_equal(mariadb_queue_count(&queue), 1);
    mariadb_queue_stop(&queue);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 1000, &stopped), 1);
    assert_false(stopped);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 1000, &stopped), 0);
    assert_true(stopped);
    mariadb_queue_deinit(&queue);
}

static void test_a_full_queue_takes_what_has_room(void **state) {
    (void)state;
    struct mariadb_queue queue;
    struct mariadb_ticket ticket = {.submitted_us = 0};
    struct mariadb_item items[8];
    bool stopped;
    for (uint32_t i = 0; i < 8; i++) {
        items[i] = (struct mariadb_item){&ticket, i, MARIADB_CREATE};
    }
    assert_true(mariadb_queue_init(&queue, 5, 1));
    assert_int_equal(mariadb_queue_push(&queue, items, 3, 4), 3);
    assert_int_equal(mariadb_queue_push(&queue, items + 3, 5, 4), 2);
    assert_int_equal(mariadb_queue_push(&queue, items, 1, 4), 0);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 4);
    assert_int_equal(mariadb_queue_push(&queue, items, 4, 4), 4); /* round the end of the ring */
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 4);
    assert_int_equal(items[0].index, 4);
    assert_int_equal(items[3].index, 2);
    mariadb_queue_deinit(&queue);
}

static void test_while_a_lane_is_at_work_others_take_only_what_is_worth_it(void **state) {
    (void)state;
    struct mariadb_queue queue;
    struct mariadb_ticket young = {.submitted_us = clock_monotonic_us() + 60000000};
    struct mariadb_ticket old = {.submitted_us = 0};
    struct mariadb_item items[8];
    bool stopped;
    assert_true(mariadb_queue_init(&queue, 16, 3));
    push(&queue, &young, 0, 1, MARIADB_CREATE);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 1);
    push(&queue, &young, 1, 2, MARIADB_CREATE);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 0);
    push(&queue, &young, 3, 1, MARIADB_CREATE);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 3);
    push(&queue, &young, 4, 1, MARIADB_CREATE);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 0);
    mariadb_queue_done(&queue);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 0);
    mariadb_queue_done(&queue);
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 1);
    push(&queue, &old, 5, 1, MARIADB_CREATE); /* has waited for long enough */
    assert_int_equal(mariadb_queue_take(&queue, items, limits, 0, &stopped), 1);
    mariadb_queue_deinit(&queue);
}

static void test_overdue_items_leave_from_the_front(void **state) {
    (void)state;
    struct mariadb_queue queue;
    struct mariadb_ticket late = {.start_by_us = 100};
    struct mariadb_ticket fresh = {.start_by_us = 300};
    struct mariadb_item items[8];
    assert_true(mariadb_queue_init(&queue, 16, 1));
    push(&queue, &late, 0, 2, MARIADB_CREATE);
    push(&queue, &fresh, 2, 2, MARIADB_CREATE);
    assert_int_equal(mariadb_queue_take_overdue(&queue, 100, items, 8), 0);
    assert_int_equal(mariadb_queue_take_overdue(&queue, 200, items, 8), 2);
    assert_int_equal(items[1].index, 1);
    assert_int_equal(mariadb_queue_count(&queue), 2);
    mariadb_queue_deinit(&queue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_leave_in_order_in_batches_of_one_kind),
        cmocka_unit_test(test_a_full_queue_takes_what_has_room),
        cmocka_unit_test(test_while_a_lane_is_at_work_others_take_only_what_is_worth_it),
        cmocka_unit_test(test_overdue_items_leave_from_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
