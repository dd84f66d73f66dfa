#include "base/mailbox.h"
#include "unit.h"

#include "base/clock.h"
#include "base/random.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static void test_items_come_out_in_the_order_they_went_in(void **state) {
    (void)state;
    struct ring ring;
    int items[64];
    assert_true(ring_init(&ring, 8));
    size_t pushed = 0;
    size_t popped = 0;
    /* Fill levels from 0 to 8 and back, at every place of the ring. */
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < round % 9; i++) {
            assert_true(ring_push(&ring, &items[pushed++ % 64]));
        }
        assert_int_equal(ring_count(&ring), round % 9);
        for (size_t i = 0; i < round % 9; i++) {
            assert_ptr_equal(ring_pop(&ring), &items[popped++ % 64]);
        }
        assert_null(ring_pop(&ring));
    }
    ring_deinit(&ring);
}

static void test_a_full_ring_refuses_and_loses_nothing(void **state) {
    (void)state;
    struct ring ring;
    int items[5];
    assert_true(ring_init(&ring, 4));
    for (size_t i = 0; i < 4; i++) {
        assert_true(ring_push(&ring, &items[i]));
    }
    assert_false(ring_push(&ring, &items[4]));
    assert_false(ring_push(&ring, &items[4]));
    assert_ptr_equal(ring_pop(&ring), &items[0]);
    assert_true(ring_push(&ring, &items[4]));
    assert_false(ring_push(&ring, &items[0]));
    for (size_t i = 1; i < 5; i++) {
        assert_ptr_equal(ring_pop(&ring), &items[i]);
    }
    assert_null(ring_pop(&ring));
    ring_deinit(&ring);
}

static void test_the_capacity_is_rounded_up_to_a_power_of_two(void **state) {
    (void)state;
    static const size_t wanted[] = {0, 1, 2, 3, 5, 1000};
    static const size_t got[] = {2, 2, 2, 4, 8, 1024};
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        struct ring ring;
        int item;
        size_t count = 0;
        assert_true(ring_init(&ring, wanted[i]));
        while (ring_push(&ring, &item)) {
            count++;
        }
        assert_int_equal(count, got[i]);
        ring_deinit(&ring);
    }
}

#define PRODUCERS 3
#define ITEMS_EACH 200000

/** One producer's items: their addresses say whose they are and which. */
struct producer {
    struct ring *ring;
    struct mailbox *mailbox;
    char items[ITEMS_EACH];
    uint64_t seed;
};

static void *produce(void *context) {
    struct producer *producer = context;
    for (size_t i = 0; i < ITEMS_EACH; i++) {
        while (!ring_push(producer->ring, &producer->items[i])) {
            sched_yield();
        }
    }
    return NULL;
}

/** Whose item it is; checks that it is the next one of that producer. */
static void take_note(struct producer *producers, size_t *next, const char *item) {
    for (size_t i = 0; i < PRODUCERS; i++) {
        if (item >= producers[i].items && item < producers[i].items + ITEMS_EACH) {
            assert_int_equal(item - producers[i].items, next[i]);
            next[i]++;
            return;
        }
    }
    fail_msg("an item that nobody sent");
}

static void test_many_producers_lose_repeat_and_reorder_nothing(void **state) {
    struct producer *producers = *state;
    struct ring ring;
    pthread_t threads[PRODUCERS];
    size_t next[PRODUCERS] = {0};
    assert_true(ring_init(&ring, 64));
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i].ring = &ring;
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (size_t taken = 0; taken < (size_t)PRODUCERS * ITEMS_EACH;) {
        char *item = ring_pop(&ring);
        if (item != NULL) {
            take_note(producers, next, item);
            taken++;
        }
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(next[i], ITEMS_EACH);
    }
    assert_null(ring_pop(&ring));
    ring_deinit(&ring);
}

static bool is_readable(const struct mailbox *mailbox) {
    struct pollfd poller = {.fd = mailbox->event_fd, .events = POLLIN, .revents = 0};
    return poll(&poller, 1, 0) == 1;
}

static void test_an_owner_that_is_awake_costs_no_system_call(void **state) {
    (void)state;
    struct mailbox mailbox;
    int item;
    assert_true(mailbox_init(&mailbox, 4));
    assert_true(mailbox_send(&mailbox, &item));
    mailbox_wake(&mailbox);
    assert_false(is_readable(&mailbox));
    assert_ptr_equal(mailbox_take(&mailbox), &item);
    mailbox_deinit(&mailbox);
}

static void test_a_sleeping_owner_is_woken_once(void **state) {
    (void)state;
    struct mailbox mailbox;
    int item;
    assert_true(mailbox_init(&mailbox, 4));
    assert_true(mailbox_prepare_sleep(&mailbox));
    assert_true(mailbox_send(&mailbox, &item));
    assert_true(is_readable(&mailbox));
    assert_true(mailbox_send(&mailbox, &item));
    uint64_t wakes = 0;
    assert_int_equal(read(mailbox.event_fd, &wakes, sizeof(wakes)), sizeof(wakes));
    assert_int_equal(wakes, 1);
    mailbox_end_sleep(&mailbox);
    assert_false(is_readable(&mailbox));
    mailbox_deinit(&mailbox);
}

static void test_an_owner_with_mail_does_not_sleep(void **state) {
    (void)state;
    struct mailbox mailbox;
    int item;
    assert_true(mailbox_init(&mailbox, 4));
    assert_true(mailbox_send(&mailbox, &item));
    assert_false(mailbox_prepare_sleep(&mailbox));
    mailbox_end_sleep(&mailbox);
    int64_t begin_us = clock_monotonic_us();
    mailbox_wait(&mailbox, 60000);
    assert_true(clock_monotonic_us() - begin_us < 10000000);
    mailbox_deinit(&mailbox);
}

static void test_a_wake_without_an_item_keeps_the_owner_from_its_next_sleep(void **state) {
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox, 4));
    mailbox_wake(&mailbox); /* after the owner's last look, before it sleeps */
    assert_false(mailbox_prepare_sleep(&mailbox));
    mailbox_end_sleep(&mailbox);
    assert_true(mailbox_prepare_sleep(&mailbox));
    mailbox_wake(&mailbox);
    assert_true(is_readable(&mailbox));
    mailbox_end_sleep(&mailbox);
    mailbox_deinit(&mailbox);
}

static void test_a_wait_without_mail_ends_at_its_time(void **state) {
    (void)state;
    struct mailbox mailbox;
    assert_true(mailbox_init(&mailbox, 4));
    int64_t begin_us = clock_monotonic_us();
    mailbox_wait(&mailbox, 20);
    assert_true(clock_monotonic_us() - begin_us >= 19000);
    mailbox_deinit(&mailbox);
}

static void test_a_full_box_says_so(void **state) {
    (void)state;
    struct mailbox mailbox;
    int item;
    assert_true(mailbox_init(&mailbox, 2));
    assert_true(mailbox_send(&mailbox, &item));
    assert_true(mailbox_send(&mailbox, &item));
    assert_false(mailbox_send(&mailbox, &item));
    mailbox_deinit(&mailbox);
}

/** Sends in bursts with pauses of random length, so that the owner falls asleep at every moment. */
static void *send_in_bursts(void *context) {
    struct producer *producer = context;
    struct random_source random = {producer->seed};
    for (size_t i = 0; i < ITEMS_EACH / 20; i++) {
        while (!mailbox_send(producer->mailbox, &producer->items[i])) {
            sched_yield();
        }
        for (volatile uint64_t spin = random_below(&random, 3000); spin > 0; spin--) {
        }
    }
    return NULL;
}

static void test_no_wake_up_is_lost(void **state) {
    struct producer *producers = *state;
    struct mailbox mailbox;
    pthread_t threads[PRODUCERS];
    size_t next[PRODUCERS] = {0};
    assert_true(mailbox_init(&mailbox, 1024));
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i].mailbox = &mailbox;
        producers[i].seed = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, send_in_bursts, &producers[i]), 0);
    }
    for (size_t taken = 0; taken < (size_t)PRODUCERS * (ITEMS_EACH / 20);) {
        char *item = mailbox_take(&mailbox);
        if (item != NULL) {
            take_note(producers, next, item);
            taken++;
            continue;
        }
        int64_t begin_us = clock_monotonic_us();
        mailbox_wait(&mailbox, 20000);
        /* While items are still to come, a sleep to the end of its time is a lost wake-up. */
        assert_true(clock_monotonic_us() - begin_us < 19000000);
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mailbox_deinit(&mailbox);
}

int main(void) {
    struct producer *producers = calloc(PRODUCERS, sizeof(*producers));
    if (producers == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(test_a_full_ring_refuses_and_loses_nothing),
        cmocka_unit_test(test_the_capacity_is_rounded_up_to_a_power_of_two),
        cmocka_unit_test_prestate(test_many_producers_lose_repeat_and_reorder_nothing, producers),
        cmocka_unit_test(test_an_owner_that_is_awake_costs_no_system_call),
        cmocka_unit_test(test_a_sleeping_owner_is_woken_once),
        cmocka_unit_test(test_an_owner_with_mail_does_not_sleep),
        cmocka_unit_test(test_a_wake_without_an_item_keeps_the_owner_from_its_next_sleep),
        cmocka_unit_test(test_a_wait_without_mail_ends_at_its_time),
        cmocka_unit_test(test_a_full_box_says_so),
        cmocka_unit_test_prestate(test_no_wake_up_is_lost, producers),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(producers);
    return failed;
}
