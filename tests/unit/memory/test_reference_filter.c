#include "base/random.h"
#include "memory/reference_filter.h"
#include "unit.h"

#include <pthread.h>

#define KEYS 100000
#define BITS_PER_KEY 12

/** Keys as a reference's hash has them: well mixed, and different for every (seed, number). */
static uint64_t key(uint64_t seed, uint64_t number) {
    return hash_mix(hash_mix(seed) + number);
}

static void add_keys(struct reference_filter *filter, uint64_t seed, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        reference_filter_add(filter, key(seed, i));
    }
}

static uint64_t count_perhaps(const struct reference_filter *filter, uint64_t seed,
                              uint64_t count) {
    uint64_t perhaps = 0;
    for (uint64_t i = 0; i < count; i++) {
        perhaps += reference_filter_may_contain(filter, key(seed, i)) ? 1 : 0;
    }
    return perhaps;
}

static void init(struct reference_filter *filter, uint64_t keys) {
    /* Two generations side by side, each with its bits for the keys of one window. */
    assert_true(reference_filter_init(filter, keys * BITS_PER_KEY / 8 * 2));
}

static void test_an_empty_filter_contains_nothing(void **state) {
    (void)state;
    struct reference_filter filter;
    init(&filter, KEYS);
    assert_int_equal(count_perhaps(&filter, 1, KEYS), 0);
    reference_filter_deinit(&filter);
}

static void test_it_is_empty_only_while_no_key_of_either_generation_is_left(void **state) {
    (void)state;
    struct reference_filter filter;
    init(&filter, KEYS);
    assert_true(reference_filter_is_empty(&filter));
    reference_filter_add(&filter, key(7, 1));
    assert_false(reference_filter_is_empty(&filter));
    reference_filter_rotate(&filter);
    assert_false(reference_filter_is_empty(&filter)); /* the older generation still has it */
    reference_filter_rotate(&filter);
    assert_true(reference_filter_is_empty(&filter));
    reference_filter_deinit(&filter);
}

static void test_what_was_added_is_always_found(void **state) {
    (void)state;
    struct reference_filter filter;
    init(&filter, KEYS);
    for (uint64_t i = 0; i < 3 * KEYS; i++) { /* also far over its size */
        reference_filter_add(&filter, key(2, i));
        assert_true(reference_filter_may_contain(&filter, key(2, i)));
    }
    assert_int_equal(count_perhaps(&filter, 2, 3 * KEYS), 3 * KEYS);
    assert_int_equal(atomic_load(&filter.keys[0]), 3 * KEYS);
    reference_filter_deinit(&filter);
}

static void test_at_12_bits_a_key_one_question_in_200_is_answered_perhaps(void **state) {
    (void)state;
    struct reference_filter filter;
    init(&filter, KEYS);
    add_keys(&filter, 3, KEYS);
    uint64_t wrong = count_perhaps(&filter, 4, 10 * KEYS);
    assert_in_range(wrong, 1, 10 * KEYS / 100);
    assert_true(wrong < 10 * KEYS * 6 / 1000); /* "about 1 in 200" */
    reference_filter_deinit(&filter);
}

static void test_a_key_is_kept_for_one_whole_window_and_gone_after_two(void **state) {
    (void)state;
    struct reference_filter filter;
    init(&filter, KEYS);
    add_keys(&filter, 5, KEYS / 2);
    reference_filter_rotate(&filter);
    assert_int_equal(count_perhaps(&filter, 5, KEYS / 2), KEYS / 2);
    add_keys(&filter, 6, KEYS / 2);
    assert_int_equal(count_perhaps(&filter, 5, KEYS / 2), KEYS / 2);
    reference_filter_rotate(&filter);
    assert_int_equal(count_perhaps(&filter, 6, KEYS / 2), KEYS / 2);
    assert_true(count_perhaps(&filter, 5, KEYS / 2) < KEYS / 2 / 100);
    reference_filter_rotate(&filter);
    assert_int_equal(count_perhaps(&filter, 6, KEYS / 2), 0);
    assert_int_equal(atomic_load(&filter.keys[0]) + atomic_load(&filter.keys[1]), 0);
    reference_filter_deinit(&filter);
}

static void test_the_smallest_filter_has_a_line(void **state) {
    (void)state;
    struct reference_filter filter;
    assert_true(reference_filter_init(&filter, 0));
    assert_int_equal(reference_filter_bytes(&filter), CACHE_LINE_BYTES);
    reference_filter_prefetch(&filter, key(7, 1));
    reference_filter_add(&filter, key(7, 1));
    assert_true(reference_filter_may_contain(&filter, key(7, 1)));
    reference_filter_deinit(&filter);
}

/** A reader asks for keys that are there for the whole time while the writer adds and rotates. */
struct shared {
    struct reference_filter filter;
    _Atomic uint64_t round;
    _Atomic bool stop;
    uint64_t missed;
};

static void *ask(void *context) {
    struct shared *shared = context;
    while (!atomic_load(&shared->stop)) {
        uint64_t round = atomic_load(&shared->round);
        uint64_t found = count_perhaps(&shared->filter, round, 500);
        /* Keys of a round are there until the round after the next one begins. */
        if (found < 500 && atomic_load(&shared->round) == round) {
            shared->missed += 500 - found;
        }
    }
    return NULL;
}

static void test_a_reader_misses_no_key_of_the_window(void **state) {
    (void)state;
    struct shared shared = {.missed = 0};
    pthread_t thread;
    init(&shared.filter, 1000);
    add_keys(&shared.filter, 0, 500);
    assert_int_equal(pthread_create(&thread, NULL, ask, &shared), 0);
    for (uint64_t round = 1; round < 2000; round++) {
        reference_filter_rotate(&shared.filter);
        add_keys(&shared.filter, round, 500);
        atomic_store(&shared.round, round);
    }
    atomic_store(&shared.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(shared.missed, 0);
    reference_filter_deinit(&shared.filter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_filter_contains_nothing),
        cmocka_unit_test(test_it_is_empty_only_while_no_key_of_either_generation_is_left),
        cmocka_unit_test(test_what_was_added_is_always_found),
        cmocka_unit_test(test_at_12_bits_a_key_one_question_in_200_is_answered_perhaps),
        cmocka_unit_test(test_a_key_is_kept_for_one_whole_window_and_gone_after_two),
        cmocka_unit_test(test_the_smallest_filter_has_a_line),
        cmocka_unit_test(test_a_reader_misses_no_key_of_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
