#include "base/hash.h"
#include "memory/eviction_queue.h"
#include "unit.h"

#define CAPACITY 1000

/** What the table would know of each position. */
struct fixture {
    struct eviction_queue queue;
    bool stale[CAPACITY];
    bool visited[CAPACITY];
    uint64_t ids[CAPACITY];
};

static enum eviction_judgement judge(void *context, uint32_t position) {
    struct fixture *fixture = context;
    if (fixture->stale[position]) {
        return EVICTION_STALE;
    }
    bool visited = fixture->visited[position];
    fixture->visited[position] = false;
    return visited ? EVICTION_VISITED : EVICTION_UNVISITED;
}

static uint64_t hash_of(void *context, uint32_t position) {
    return hash_mix(((struct fixture *)context)->ids[position]);
}

static int setup(void **state) {
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    *state = fixture;
    for (uint32_t i = 0; i < CAPACITY; i++) {
        fixture->ids[i] = i + 1;
    }
    return eviction_queue_init(&fixture->queue, CAPACITY) ? 0 : -1;
}

static int teardown(void **state) {
    struct fixture *fixture = *state;
    eviction_queue_deinit(&fixture->queue);
    test_free(fixture);
    return 0;
}

static void add(struct fixture *fixture, uint32_t position) {
    eviction_queue_add(&fixture->queue, position, hash_of(fixture, position));
}

static uint32_t next(struct fixture *fixture) {
    uint32_t position = UINT32_MAX;
    assert_true(eviction_queue_next(&fixture->queue, judge, hash_of, fixture, &position));
    return position;
}

static void test_an_empty_queue_has_nothing_to_evict(void **state) {
    struct fixture *fixture = *state;
    uint32_t position;
    assert_false(eviction_queue_next(&fixture->queue, judge, hash_of, fixture, &position));
    add(fixture, 5);
    assert_int_equal(next(fixture), 5);
    assert_false(eviction_queue_next(&fixture->queue, judge, hash_of, fixture, &position));
}

static void test_what_was_not_read_leaves_in_the_order_it_came(void **state) {
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < 100; i++) {
        add(fixture, i);
    }
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(next(fixture), i);
    }
}

static void test_what_was_read_gets_another_round(void **state) {
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < 10; i++) {
        add(fixture, i);
        fixture->visited[i] = i % 2 == 0;
    }
    for (uint32_t i = 1; i < 10; i += 2) {
        assert_int_equal(next(fixture), i);
    }
    fixture->visited[2] = true; /* read again: one more round */
    static const uint32_t rest[] = {0, 4, 6, 8, 2};
    for (size_t i = 0; i < ARRAY_COUNT(rest); i++) {
        assert_int_equal(next(fixture), rest[i]);
    }
}

static void test_what_comes_once_does_not_push_out_what_is_read(void **state) {
    struct fixture *fixture = *state;
    enum { WANTED = 100 };
    for (uint32_t i = 0; i < WANTED; i++) {
        add(fixture, i);
        fixture->visited[i] = true;
    }
    /* A long run of orders that nobody reads again goes through. */
    uint32_t last = WANTED;
    for (uint32_t i = 0; i < 800; i++) {
        add(fixture, last++);
        if (i >= 400) {
            assert_true(next(fixture) >= WANTED);
        }
    }
}

static void test_what_comes_back_soon_goes_to_the_main_queue(void **state) {
    struct fixture *fixture = *state;
    add(fixture, 0);
    assert_int_equal(next(fixture), 0); /* it left unread, and is remembered */
    uint32_t in_main = fixture->queue.main.count;
    add(fixture, 0);
    assert_int_equal(fixture->queue.main.count, in_main + 1);
    fixture->ids[1] = 999;
    add(fixture, 1); /* another one is not taken for it */
    assert_int_equal(fixture->queue.main.count, in_main + 1);
}

static void test_positions_that_hold_nothing_any_more_are_forgotten(void **state) {
    struct fixture *fixture = *state;
    uint32_t position;
    for (uint32_t i = 0; i < 50; i++) {
        add(fixture, i);
        fixture->stale[i] = i != 30;
    }
    assert_int_equal(next(fixture), 30);
    assert_false(eviction_queue_next(&fixture->queue, judge, hash_of, fixture, &position));
    assert_int_equal(fixture->queue.small.count + fixture->queue.main.count, 0);
}

static void test_there_is_room_for_every_position_at_once_in_any_history(void **state) {
    struct fixture *fixture = *state;
    for (int round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < CAPACITY; i++) {
            add(fixture, i);
            fixture->visited[i] = (i + (uint32_t)round) % 3 == 0;
        }
        bool out[CAPACITY] = {false};
        for (uint32_t i = 0; i < CAPACITY; i++) {
            uint32_t position = next(fixture);
            assert_false(out[position]);
            out[position] = true;
        }
    }
}

static void test_its_memory_is_what_it_says(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(fixture->queue.bytes, eviction_queue_bytes(CAPACITY));
    assert_int_equal(fixture->queue.bytes,
                     4 * ((uint64_t)fixture->queue.small.capacity + fixture->queue.main.capacity +
                          fixture->queue.ghost_count));
}

#define queue_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        queue_test(test_an_empty_queue_has_nothing_to_evict),
        queue_test(test_what_was_not_read_leaves_in_the_order_it_came),
        queue_test(test_what_was_read_gets_another_round),
        queue_test(test_what_comes_once_does_not_push_out_what_is_read),
        queue_test(test_what_comes_back_soon_goes_to_the_main_queue),
        queue_test(test_positions_that_hold_nothing_any_more_are_forgotten),
        queue_test(test_there_is_room_for_every_position_at_once_in_any_history),
        queue_test(test_its_memory_is_what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
