#include "net/timer_wheel.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define TICK_US (INT64_C(1) << TIMER_TICK_SHIFT)
#define START_US INT64_C(987654321)

struct alarm {
    struct timer timer;
    struct timer_wheel *wheel;
    int64_t now_us; /* set by the test before each advance */
    int64_t rang_at_us;
    unsigned rings;
    int64_t repeat_us; /* 0: once */
    struct alarm *stops;
};

static void ring(struct timer *timer) {
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_false(timer_is_running(timer));
    alarm->rings++;
    alarm->rang_at_us = alarm->now_us;
    if (alarm->repeat_us > 0) {
        timer_wheel_start(alarm->wheel, timer, alarm->now_us + alarm->repeat_us);
    }
    if (alarm->stops != NULL) {
        timer_stop(&alarm->stops->timer);
    }
}

static void advance(struct timer_wheel *wheel, struct alarm *alarms, size_t count, int64_t now_us) {
    for (size_t i = 0; i < count; i++) {
        alarms[i].now_us = now_us;
    }
    timer_wheel_advance(wheel, now_us);
}

static void prepare(struct timer_wheel *wheel, struct alarm *alarms, size_t count) {
    timer_wheel_init(wheel, START_US);
    memset(alarms, 0, count * sizeof(*alarms));
    for (size_t i = 0; i < count; i++) {
        alarms[i].timer.expired = ring;
        alarms[i].wheel = wheel;
    }
}

static void test_no_timer_is_early_and_none_later_than_a_tick_on_any_level(void **state) {
    (void)state;
    static const int64_t delays_us[] = {
        0,       1,        TICK_US,   255 * TICK_US,       256 * TICK_US,
        3000000, 60000000, 140000000, INT64_C(9000000000), INT64_C(40000000000)};
    for (size_t i = 0; i < ARRAY_COUNT(delays_us); i++) {
        struct timer_wheel wheel;
        struct alarm alarm;
        prepare(&wheel, &alarm, 1);
        timer_wheel_start(&wheel, &alarm.timer, START_US + delays_us[i]);
        int64_t now_us = START_US;
        while (alarm.rings == 0) {
            int64_t next_us = timer_wheel_next_us(&wheel);
            assert_true(next_us > now_us && next_us != INT64_MAX);
            now_us = next_us;
            advance(&wheel, &alarm, 1, now_us);
        }
        assert_true(alarm.rang_at_us >= START_US + delays_us[i]);
        assert_true(alarm.rang_at_us <= START_US + delays_us[i] + 2 * TICK_US);
        assert_int_equal(timer_wheel_next_us(&wheel), INT64_MAX);
    }
}

static void test_a_timer_moved_later_rings_only_then(void **state) {
    (void)state;
    struct timer_wheel wheel;
    struct alarm alarm;
    prepare(&wheel, &alarm, 1);
    int64_t now_us = START_US;
    for (int i = 0; i < 1000; i++) {
        timer_wheel_start(&wheel, &alarm.timer, now_us + 1000000);
        now_us += 50000;
        advance(&wheel, &alarm, 1, now_us);
        assert_int_equal(alarm.rings, 0);
    }
    advance(&wheel, &alarm, 1, now_us + 1000000 + TICK_US);
    assert_int_equal(alarm.rings, 1);
}

static void test_a_timer_moved_earlier_rings_then(void **state) {
    (void)state;
    struct timer_wheel wheel;
    struct alarm alarm;
    prepare(&wheel, &alarm, 1);
    timer_wheel_start(&wheel, &alarm.timer, START_US + 60000000);
    timer_wheel_start(&wheel, &alarm.timer, START_US + 20000);
    advance(&wheel, &alarm, 1, START_US + 20000 + TICK_US);
    assert_int_equal(alarm.rings, 1);
    advance(&wheel, &alarm, 1, START_US + 70000000);
    assert_int_equal(alarm.rings, 1);
}

static void test_a_stopped_timer_never_rings(void **state) {
    (void)state;
    struct timer_wheel wheel;
    struct alarm alarm;
    prepare(&wheel, &alarm, 1);
    timer_wheel_start(&wheel, &alarm.timer, START_US + 20000);
    timer_stop(&alarm.timer);
    timer_stop(&alarm.timer);
    advance(&wheel, &alarm, 1, START_US + 10000000);
    assert_int_equal(alarm.rings, 0);
}

static void test_a_ringing_timer_may_stop_its_neighbour_and_start_again(void **state) {
    (void)state;
    struct timer_wheel wheel;
    struct alarm alarms[2];
    prepare(&wheel, alarms, 2);
    alarms[0].stops = &alarms[1];
    alarms[0].repeat_us = 100000;
    timer_wheel_start(&wheel, &alarms[0].timer, START_US + 20000);
    timer_wheel_start(&wheel, &alarms[1].timer, START_US + 20000);
    for (int64_t now_us = START_US; now_us < START_US + 1000000; now_us += 5000) {
        advance(&wheel, alarms, 2, now_us);
    }
    assert_int_equal(alarms[1].rings, 0);
    assert_in_range(alarms[0].rings, 8, 10);
}

static void test_many_timers_at_random_each_ring_once_and_in_time(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    static struct alarm alarms[COUNT];
    struct timer_wheel wheel;
    struct random_source random = {20260101};
    prepare(&wheel, alarms, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        int64_t due_us = START_US + (int64_t)random_below(&random, 400000000);
        timer_wheel_start(&wheel, &alarms[i].timer, due_us + 5000000);
        if (random_chance(&random, 1, 2)) {
            timer_wheel_start(&wheel, &alarms[i].timer, due_us);
        }
    }
    int64_t now_us = START_US;
    while (now_us < START_US + 410000000) {
        int64_t before_us = now_us;
        now_us += (int64_t)random_below(&random, 30000);
        advance(&wheel, alarms, COUNT, now_us);
        for (size_t i = 0; i < COUNT; i++) {
            if (alarms[i].rings == 1 && alarms[i].rang_at_us == now_us) {
                assert_true(alarms[i].timer.due_us <= now_us);
                assert_true(alarms[i].timer.due_us > before_us - 2 * TICK_US);
            }
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(alarms[i].rings, 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_timer_is_early_and_none_later_than_a_tick_on_any_level),
        cmocka_unit_test(test_a_timer_moved_later_rings_only_then),
        cmocka_unit_test(test_a_timer_moved_earlier_rings_then),
        cmocka_unit_test(test_a_stopped_timer_never_rings),
        cmocka_unit_test(test_a_ringing_timer_may_stop_its_neighbour_and_start_again),
        cmocka_unit_test(test_many_timers_at_random_each_ring_once_and_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
