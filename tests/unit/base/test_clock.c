#include "base/clock.h"
#include "unit.h"

#include <pthread.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)

static void sleep_us(long duration_us) {
    struct timespec pause = {.tv_sec = 0, .tv_nsec = duration_us * 1000};
    (void)nanosleep(&pause, NULL);
}

static void test_without_a_lead_it_shows_the_wall_clock(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, 0);
    service_clock_adjust(&service);
    int64_t difference_us = clock_now_us(&service.clock) - clock_wall_us();
    assert_true(difference_us > -SECOND_US / 10 && difference_us < SECOND_US / 10);
    assert_true(service_clock_lead_us(&service) < SECOND_US / 10);
}

static void test_it_starts_at_the_newest_stored_time(void **state) {
    (void)state;
    struct service_clock service;
    int64_t floor_us = clock_wall_us() + 3600 * SECOND_US;
    service_clock_init(&service, floor_us);
    assert_true(clock_now_us(&service.clock) >= floor_us);
    assert_true(clock_now_us(&service.clock) < floor_us + SECOND_US);
    int64_t lead_us = service_clock_lead_us(&service);
    assert_true(lead_us > 3599 * SECOND_US && lead_us <= 3600 * SECOND_US);
}

static void test_a_floor_learnt_later_lifts_it(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, 0);
    int64_t before_us = clock_now_us(&service.clock);
    service_clock_raise(&service, before_us - 1);
    assert_true(clock_now_us(&service.clock) < before_us + SECOND_US);
    service_clock_raise(&service, before_us + 100 * SECOND_US);
    assert_true(clock_now_us(&service.clock) >= before_us + 100 * SECOND_US);
    service_clock_adjust(&service);
    assert_true(clock_now_us(&service.clock) >= before_us + 100 * SECOND_US);
    assert_true(service_clock_lead_us(&service) > 99 * SECOND_US);
}

static void test_it_never_goes_back_while_a_lead_is_given_back(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, clock_wall_us() + 10 * SECOND_US);
    int64_t last_us = clock_now_us(&service.clock);
    for (int i = 0; i < 40; i++) {
        sleep_us(5000);
        for (int j = 0; j < 20; j++) {
            int64_t before_us = clock_now_us(&service.clock);
            assert_true(before_us >= last_us);
            if (j == 10) {
                service_clock_adjust(&service);
            }
            last_us = clock_now_us(&service.clock);
            if (last_us < before_us) {
                fail_msg("it went back by %lld us", (long long)(before_us - last_us));
            }
        }
    }
}

static void test_a_lead_is_given_back_at_one_part_in_a_thousand(void **state) {
    (void)state;
    struct service_clock service;
    int64_t wall_us = clock_wall_us();
    service_clock_init(&service, wall_us + 10 * SECOND_US);
    int64_t lead_us = clock_now_us(&service.clock) - clock_wall_us();
    int64_t begin_us = clock_monotonic_us();
    for (int i = 0; i < 10; i++) {
        sleep_us(30000);
        service_clock_adjust(&service);
    }
    int64_t passed_us = clock_monotonic_us() - begin_us;
    int64_t given_back_us = lead_us - (clock_now_us(&service.clock) - clock_wall_us());
    assert_true(given_back_us >= passed_us / 1000 * 8 / 10 - 20);
    assert_true(given_back_us <= passed_us / 1000 * 12 / 10 + 20);
}

static void test_a_small_lead_is_given_back_whole_and_no_more(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, clock_wall_us() + 50);
    for (int i = 0; i < 10; i++) {
        sleep_us(20000);
        service_clock_adjust(&service);
    }
    int64_t difference_us = clock_now_us(&service.clock) - clock_wall_us();
    assert_true(difference_us > -SECOND_US / 100 && difference_us < SECOND_US / 100);
    assert_true(service_clock_lead_us(&service) < SECOND_US / 100);
}

static void test_a_wall_clock_that_jumps_forward_is_followed_at_once(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, 0);
    /* As if the wall clock had been set an hour forward since. */
    atomic_fetch_sub(&service.plans[service.plan % 2].base_us, 3600 * SECOND_US);
    assert_true(clock_now_us(&service.clock) < clock_wall_us() - 3599 * SECOND_US);
    service_clock_adjust(&service);
    int64_t difference_us = clock_now_us(&service.clock) - clock_wall_us();
    assert_true(difference_us > -SECOND_US / 10 && difference_us < SECOND_US / 10);
    assert_int_equal(service_clock_lead_us(&service), 0);
}

static void test_a_wall_clock_that_jumps_back_is_not_followed(void **state) {
    (void)state;
    struct service_clock service;
    service_clock_init(&service, 0);
    atomic_fetch_add(&service.plans[service.plan % 2].base_us, 3600 * SECOND_US);
    int64_t before_us = clock_now_us(&service.clock);
    service_clock_adjust(&service);
    assert_true(clock_now_us(&service.clock) >= before_us);
    assert_true(service_clock_lead_us(&service) > 3599 * SECOND_US);
}

/** One thread adjusts while others read: none of them sees time go back, also not against a time
 *  that another one saw before. */
struct shared {
    struct service_clock service;
    _Atomic int64_t newest_us;
    _Atomic bool stop;
    _Atomic int64_t went_back_us;
};

static void *read_clock(void *context) {
    struct shared *shared = context;
    while (!atomic_load(&shared->stop)) {
        int64_t seen_us = atomic_load(&shared->newest_us);
        int64_t now_us = clock_now_us(&shared->service.clock);
        if (now_us < seen_us) {
            atomic_store(&shared->went_back_us, seen_us - now_us);
        }
        while (seen_us < now_us &&
               !atomic_compare_exchange_weak(&shared->newest_us, &seen_us, now_us)) {
        }
    }
    return NULL;
}

static void test_no_thread_sees_time_go_back(void **state) {
    (void)state;
    struct shared shared = {.newest_us = 0};
    pthread_t threads[2];
    service_clock_init(&shared.service, clock_wall_us() + 3600 * SECOND_US);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_clock, &shared), 0);
    }
    for (int i = 0; i < 60; i++) {
        sleep_us(5000);
        service_clock_adjust(&shared.service);
    }
    atomic_store(&shared.stop, true);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(shared.went_back_us, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_lead_it_shows_the_wall_clock),
        cmocka_unit_test(test_it_starts_at_the_newest_stored_time),
        cmocka_unit_test(test_a_floor_learnt_later_lifts_it),
        cmocka_unit_test(test_it_never_goes_back_while_a_lead_is_given_back),
        cmocka_unit_test(test_a_lead_is_given_back_at_one_part_in_a_thousand),
        cmocka_unit_test(test_a_small_lead_is_given_back_whole_and_no_more),
        cmocka_unit_test(test_a_wall_clock_that_jumps_forward_is_followed_at_once),
        cmocka_unit_test(test_a_wall_clock_that_jumps_back_is_not_followed),
        cmocka_unit_test(test_no_thread_sees_time_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
