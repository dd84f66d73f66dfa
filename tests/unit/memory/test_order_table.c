#include "unit.h"

#include "table.h"

#include "memory/order_table_layout.h" /* where references lie */

#include <stdlib.h>

static int setup(void **state) {
    struct fault fault;
    *state = order_table_create(SMALL_BUDGET_BYTES, &fault);
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state) {
    order_table_destroy(*state);
    return 0;
}

static struct order_table_usage usage_of(const struct order_table *table) {
    struct order_table_usage usage;
    order_table_usage(table, &usage);
    return usage;
}

static void assert_holds(const struct order_table *table, uint64_t order_id, uint32_t version) {
    struct order_record expected = order_in_version(order_id, version);
    struct order_record found;
    assert_true(order_table_get(table, order_id, &found));
    assert_memory_equal(&found, &expected, sizeof(found));
    assert_true(find_order(table, order_id, &found));
    assert_memory_equal(&found, &expected, sizeof(found));
}

static void assert_absent(const struct order_table *table, uint64_t order_id) {
    struct order_record found;
    assert_false(order_table_get(table, order_id, &found));
    assert_false(find_order(table, order_id, &found));
}

static uint64_t bytes_of(const struct order_table_usage *usage) {
    return usage->id_index_bytes + usage->slab_bytes + usage->reference_index_bytes +
           usage->eviction_bytes;
}

static void test_everything_stays_within_the_budget(void **state) {
    (void)state;
    static const uint64_t budgets[] = {SMALL_BUDGET_BYTES, 1000000, 123456789, UINT64_C(300) << 20};
    for (size_t i = 0; i < ARRAY_COUNT(budgets); i++) {
        struct fault fault;
        struct order_table *table = order_table_create(budgets[i], &fault);
        assert_non_null(table);
        struct order_table_usage usage = usage_of(table);
        assert_true(bytes_of(&usage) <= budgets[i]);
        /* Another few orders would not have fitted. */
        assert_true(bytes_of(&usage) + 1024 > budgets[i]);
        assert_true(bytes_of(&usage) <= usage.capacity * 150);
        order_table_destroy(table);
    }
}

static void test_a_budget_that_is_too_small_is_refused(void **state) {
    (void)state;
    struct fault fault;
    assert_null(order_table_create(0, &fault));
    assert_null(order_table_create(5000, &fault));
    assert_contains(fault.text, "budget of 5000 bytes is too small");
    order_table_destroy(NULL);
}

static void test_only_a_higher_version_is_applied(void **state) {
    struct order_table *table = *state;
    assert_int_equal(put_order(table, 128, 5, false), ORDER_TABLE_INSERTED);
    assert_int_equal(put_order(table, 128, 5, false), ORDER_TABLE_OLDER);
    assert_int_equal(put_order(table, 128, 4, false), ORDER_TABLE_OLDER);
    assert_holds(table, 128, 5);
    assert_int_equal(put_order(table, 128, 6, false), ORDER_TABLE_UPDATED);
    assert_holds(table, 128, 6);
    assert_int_equal(put_order(table, 128, ORDER_VERSION_MAX, false), ORDER_TABLE_UPDATED);
    assert_holds(table, 128, ORDER_VERSION_MAX);
    assert_int_equal(usage_of(table).orders, 1);
}

static void test_ids_at_the_edges_are_found_and_zero_never_is(void **state) {
    struct order_table *table = *state;
    static const uint64_t ids[] = {1, 2, INT64_MAX, UINT64_MAX};
    assert_absent(table, 0);
    assert_absent(table, UINT64_MAX);
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        assert_int_equal(put_order(table, ids[i], 1, false), ORDER_TABLE_INSERTED);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        assert_holds(table, ids[i], 1);
    }
    assert_absent(table, 0);
    assert_false(order_table_remove(table, 0));
    assert_false(order_table_release(table, 0, 1));
}

static void test_a_removed_order_is_gone_and_can_come_back(void **state) {
    struct order_table *table = *state;
    assert_false(order_table_remove(table, 128));
    (void)put_order(table, 128, 7, false);
    assert_true(order_table_remove(table, 128));
    assert_absent(table, 128);
    assert_false(order_table_remove(table, 128));
    assert_int_equal(put_order(table, 128, 2, false), ORDER_TABLE_INSERTED);
    assert_holds(table, 128, 2);
}

/** Fills the table with orders that may not leave; returns how many there are. */
static uint64_t fill(struct order_table *table, bool evictable) {
    uint64_t capacity = usage_of(table).capacity;
    for (uint64_t i = 0; i < capacity; i++) {
        assert_int_equal(put_order(table, id_of(i), 1, evictable), ORDER_TABLE_INSERTED);
    }
    return capacity;
}

static void test_a_full_table_holds_every_order_and_says_that_it_is_full(void **state) {
    struct order_table *table = *state;
    uint64_t capacity = fill(table, false);
    assert_int_equal(put_order(table, id_of(capacity), 1, false), ORDER_TABLE_FULL);
    assert_int_equal(put_order(table, id_of(capacity), 1, true), ORDER_TABLE_FULL);
    assert_int_equal(put_order(table, id_of(3), 2, false), ORDER_TABLE_UPDATED);
    for (uint64_t i = 0; i < capacity; i++) {
        assert_holds(table, id_of(i), i == 3 ? 2 : 1);
    }
    for (uint64_t i = capacity; i < 3 * capacity; i++) {
        assert_absent(table, id_of(i));
    }
    assert_int_equal(usage_of(table).orders, capacity);
    assert_true(order_table_remove(table, id_of(0)));
    assert_int_equal(put_order(table, id_of(capacity), 1, false), ORDER_TABLE_INSERTED);
    assert_holds(table, id_of(capacity), 1);
}

static void test_a_cleared_table_is_as_new(void **state) {
    struct order_table *table = *state;
    for (int round = 0; round < 2; round++) {
        uint64_t capacity = fill(table, round == 0);
        (void)put_order(table, id_of(capacity), 1, true); /* one may have left already */
        order_table_clear(table);
        assert_int_equal(usage_of(table).orders, 0);
        assert_int_equal(usage_of(table).evictable, 0);
        assert_int_equal(usage_of(table).capacity, capacity);
        for (uint64_t i = 0; i <= capacity; i++) {
            assert_absent(table, id_of(i));
        }
    }
    uint64_t capacity = fill(table, false);
    assert_int_equal(put_order(table, id_of(capacity), 1, true), ORDER_TABLE_FULL);
    assert_holds(table, id_of(capacity / 2), 1);
}

static void test_many_orders_are_looked_up_at_once(void **state) {
    struct order_table *table = *state;
    static const size_t counts[] = {0, 1, 31, 32, 33, 64, 100};
    uint64_t capacity = fill(table, false);
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        uint64_t ids[100];
        struct order_record out[100];
        bool found[100];
        size_t expected = 0;
        for (size_t j = 0; j < counts[i]; j++) {
            /* Present ones, twice in a row, absent ones, and what is no id. */
            ids[j] = j % 5 == 4   ? (j % 2 == 0 ? 0 : UINT64_MAX)
                     : j % 5 == 3 ? id_of(capacity + j)
                                  : id_of(j / 2 * 7 % capacity);
            expected += j % 5 < 3 ? 1 : 0;
        }
        assert_int_equal(order_table_get_many(table, ids, counts[i], out, found), expected);
        for (size_t j = 0; j < counts[i]; j++) {
            assert_int_equal(found[j], j % 5 < 3);
            if (found[j]) {
                struct order_record order = order_in_version(ids[j], 1);
                assert_memory_equal(&out[j], &order, sizeof(order));
            }
        }
    }
}

static void test_many_states_are_looked_up_at_once_at_any_address(void **state) {
    struct order_table *table = *state;
    static const size_t counts[] = {0, 1, 127, 128, 129, 256, 400};
    uint64_t capacity = fill(table, false);
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        char ids[400 * 8 + 1];
        char states[400 * 8 + 1];
        size_t expected = 0;
        memset(states, 0xee, sizeof(states));
        for (size_t j = 0; j < counts[i]; j++) {
            uint64_t id = j % 4 == 3   ? (j % 8 == 3 ? 0 : UINT64_MAX)
                          : j % 4 == 2 ? id_of(capacity + j)
                                       : id_of(j / 2 % capacity);
            bytes_store_u64(ids + 1 + j * 8, id);
            expected += j % 4 < 2 ? 1 : 0;
        }
        assert_int_equal(order_table_states(table, ids + 1, counts[i], states + 1), expected);
        for (size_t j = 0; j < counts[i]; j++) {
            struct order_state answer;
            memcpy(&answer, states + 1 + j * 8, sizeof(answer));
            struct order_state wanted = {.version = 0};
            if (j % 4 < 2) {
                wanted = (struct order_state){.version = 1, .status = 2};
            }
            assert_memory_equal(&answer, &wanted, sizeof(answer));
        }
        assert_int_equal(states[0], (char)0xee);
        assert_true(counts[i] == 400 || states[1 + counts[i] * 8] == (char)0xee);
    }
}

static void test_a_forgotten_reference_is_free_for_another_order(void **state) {
    struct order_table *table = *state;
    struct order_record first = order_in_version(128, 1);
    uint64_t hash = order_record_reference_hash(&first);
    struct order_record second = first;
    struct order_record found;
    second.order_id = 256;
    order_record_seal(&second);
    assert_int_equal(order_table_put(table, &first, hash, false), ORDER_TABLE_INSERTED);
    order_table_forget_reference(table, 128, hash);
    assert_false(find_order(table, 128, &found));
    assert_true(order_table_get(table, 128, &found));
    assert_int_equal(order_table_put(table, &second, hash, false), ORDER_TABLE_INSERTED);
    assert_true(order_table_find(table, &first, hash, &found));
    assert_int_equal(found.order_id, 256);
    /* The first one leaves without taking the second one's reference with it. */
    assert_true(order_table_remove(table, 128));
    assert_true(order_table_find(table, &first, hash, &found));
    assert_int_equal(found.order_id, 256);
    order_table_forget_reference(table, 999, hash); /* nobody: nothing happens */
    assert_true(order_table_remove(table, 256));
    assert_false(order_table_find(table, &first, hash, &found));
}

/** References whose hashes agree in everything that the index keeps, found by trying. */
struct twin {
    uint64_t key; /* bucket and tag */
    uint64_t order_id;
};

static int compare_twins(const void *left, const void *right) {
    uint64_t a = ((const struct twin *)left)->key;
    uint64_t b = ((const struct twin *)right)->key;
    return a < b ? -1 : a > b ? 1 : 0;
}

static void test_references_that_look_alike_in_the_index_are_told_apart(void **state) {
    struct order_table *table = *state;
    enum { TRIED = 60000 };
    struct twin *twins = calloc(TRIED, sizeof(*twins));
    assert_non_null(twins);
    for (uint64_t i = 0; i < TRIED; i++) {
        struct order_record order = sample_order(id_of(i));
        uint64_t hash = order_record_reference_hash(&order);
        uint64_t bucket = reference_bucket_of(table, hash);
        twins[i] = (struct twin){bucket << 16 | reference_tag(table, hash), order.order_id};
    }
    qsort(twins, TRIED, sizeof(*twins), compare_twins);
    size_t pairs = 0;
    for (size_t i = 1; i < TRIED && pairs < 50; i++) {
        if (twins[i].key == twins[i - 1].key) {
            struct order_record found;
            (void)put_order(table, twins[i].order_id, 1, false);
            assert_false(find_order(table, twins[i - 1].order_id, &found));
            (void)put_order(table, twins[i - 1].order_id, 1, false);
            assert_holds(table, twins[i].order_id, 1);
            assert_holds(table, twins[i - 1].order_id, 1);
            (void)order_table_remove(table, twins[i].order_id);
            assert_holds(table, twins[i - 1].order_id, 1);
            assert_absent(table, twins[i].order_id);
            pairs++;
        }
    }
    assert_true(pairs > 10);
    free(twins);
}

static void test_references_that_somebody_aimed_at_one_bucket_are_spread(void **state) {
    (void)state;
    enum { AIMED = 70000 };
    struct fault fault;
    struct order_table *table = order_table_create(UINT64_C(16) << 20, &fault);
    struct order_record found;
    assert_non_null(table);
    for (uint64_t i = 0; i < AIMED; i++) {
        struct order_record order = sample_order(id_of(i));
        /* The high bits, which choose the bucket of a hash, are all the same. */
        uint64_t hash = UINT64_C(0x5555555555) << 24 | i;
        assert_int_equal(order_table_put(table, &order, hash, false), ORDER_TABLE_INSERTED);
        assert_true(order_table_find(table, &order, hash, &found));
    }
    size_t longest = 0;
    for (uint64_t i = 0; i < table->reference_bucket_count; i++) {
        longest = longest < table->references[i].passed ? table->references[i].passed : longest;
    }
    assert_true(longest < 100);
    order_table_destroy(table);
}

static void test_only_what_may_leave_is_evicted(void **state) {
    struct order_table *table = *state;
    uint64_t capacity = usage_of(table).capacity;
    for (uint64_t i = 0; i < capacity; i++) {
        (void)put_order(table, id_of(i), 1, i % 2 == 0);
    }
    for (uint64_t i = 0; i < capacity; i++) {
        bool room = i < (capacity + 1) / 2;
        assert_int_equal(put_order(table, id_of(capacity + i), 1, false),
                         room ? ORDER_TABLE_INSERTED : ORDER_TABLE_FULL);
    }
    for (uint64_t i = 0; i < capacity; i++) {
        struct order_record found;
        assert_int_equal(order_table_get(table, id_of(i), &found), i % 2 == 1);
    }
    struct order_table_usage usage = usage_of(table);
    assert_int_equal(usage.evicted, (capacity + 1) / 2);
    assert_int_equal(usage.evictable, 0);
    assert_int_equal(usage.orders, capacity);
}

static void test_room_is_made_for_what_is_reserved_or_refused(void **state) {
    struct order_table *table = *state;
    uint64_t capacity = fill(table, false);
    assert_true(order_table_reserve(table, 0));
    assert_false(order_table_reserve(table, 1));
    for (uint64_t i = 0; i < 10; i++) {
        assert_true(order_table_release(table, id_of(i), 1));
    }
    assert_int_equal(usage_of(table).evictable, 10);
    assert_true(order_table_reserve(table, 4));
    assert_int_equal(usage_of(table).orders, capacity - 4);
    assert_true(order_table_reserve(table, 4)); /* it is there already */
    assert_int_equal(usage_of(table).orders, capacity - 4);
    assert_false(order_table_reserve(table, 11));
    assert_int_equal(usage_of(table).orders, capacity - 10);
}

static void test_a_release_needs_the_version_that_is_there(void **state) {
    struct order_table *table = *state;
    (void)put_order(table, 128, 3, false);
    assert_false(order_table_release(table, 128, 2));
    assert_false(order_table_release(table, 128, 4));
    assert_false(order_table_release(table, 256, 3));
    assert_int_equal(usage_of(table).evictable, 0);
    assert_true(order_table_release(table, 128, 3));
    assert_true(order_table_release(table, 128, 3));
    assert_int_equal(usage_of(table).evictable, 1);
}

static void test_an_order_becomes_evictable_by_a_put_of_its_version_or_a_higher_one(void **state) {
    struct order_table *table = *state;
    (void)put_order(table, 128, 3, false);
    (void)put_order(table, 128, 2, true);
    assert_int_equal(usage_of(table).evictable, 0);
    (void)put_order(table, 128, 3, true);
    assert_int_equal(usage_of(table).evictable, 1);
    (void)put_order(table, 256, 1, false);
    (void)put_order(table, 256, 2, true);
    assert_int_equal(usage_of(table).evictable, 2);
    (void)put_order(table, 256, 3, false);
    assert_int_equal(usage_of(table).evictable, 2);
}

static void test_what_was_read_since_it_came_outlives_what_was_not(void **state) {
    struct order_table *table = *state;
    uint64_t capacity = fill(table, true);
    enum { READ = 60 };
    uint64_t ids[READ];
    struct order_record out[READ];
    struct order_state states[READ];
    bool found[READ];
    /* Of the newest 120, every second one is read, each way of reading in turn. */
    for (uint64_t i = 0; i < READ; i++) {
        ids[i] = id_of(capacity - 1 - 2 * i);
    }
    assert_int_equal(order_table_get_many(table, ids, 20, out, found), 20);
    assert_int_equal(order_table_states(table, ids + 20, 20, states), 20);
    for (uint64_t i = 40; i < READ; i++) {
        assert_true(find_order(table, ids[i], out));
    }
    for (uint64_t i = 0; i < 3 * READ; i++) {
        assert_int_equal(put_order(table, id_of(capacity + i), 1, true), ORDER_TABLE_INSERTED);
    }
    assert_int_equal(order_table_get_many(table, ids, READ, out, found), READ);
    size_t left = 0;
    for (uint64_t i = 0; i < READ; i++) {
        left += order_table_get(table, id_of(capacity - 2 - 2 * i), out) ? 1 : 0;
    }
    assert_true(left < READ / 2);
}

struct seen {
    size_t count;
    uint64_t capacity;
    unsigned char times[4096];
    bool wrong;
};

static void see(void *context, const struct order_table_entry *entry) {
    struct seen *seen = context;
    uint64_t number = (entry->order_id >> 7) - 1;
    seen->count++;
    seen->times[number]++;
    seen->wrong = seen->wrong || entry->version != 1 || entry->status != 2 ||
                  entry->evictable != (number % 3 == 0);
}

static void test_a_scan_sees_every_order_once_whatever_its_pace(void **state) {
    struct order_table *table = *state;
    uint64_t capacity = usage_of(table).capacity;
    static const uint64_t paces[] = {1, 7, 100, 1000000};
    for (uint64_t i = 0; i < capacity; i++) {
        (void)put_order(table, id_of(i), 1, i % 3 == 0);
    }
    for (size_t i = 0; i < ARRAY_COUNT(paces); i++) {
        struct seen seen = {.count = 0};
        uint64_t cursor = 0;
        do {
            order_table_scan(table, &cursor, paces[i], see, &seen);
        } while (cursor != 0);
        assert_false(seen.wrong);
        assert_int_equal(seen.count, capacity);
        for (uint64_t j = 0; j < capacity; j++) {
            assert_int_equal(seen.times[j], 1);
        }
    }
    assert_true(order_table_bucket_count(table) * 4 >= capacity);
}

#define table_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_stays_within_the_budget),
        cmocka_unit_test(test_a_budget_that_is_too_small_is_refused),
        table_test(test_only_a_higher_version_is_applied),
        table_test(test_ids_at_the_edges_are_found_and_zero_never_is),
        table_test(test_a_removed_order_is_gone_and_can_come_back),
        table_test(test_a_full_table_holds_every_order_and_says_that_it_is_full),
        table_test(test_a_cleared_table_is_as_new),
        table_test(test_many_orders_are_looked_up_at_once),
        table_test(test_many_states_are_looked_up_at_once_at_any_address),
        table_test(test_a_forgotten_reference_is_free_for_another_order),
        table_test(test_references_that_look_alike_in_the_index_are_told_apart),
        cmocka_unit_test(test_references_that_somebody_aimed_at_one_bucket_are_spread),
        table_test(test_only_what_may_leave_is_evicted),
        table_test(test_room_is_made_for_what_is_reserved_or_refused),
        table_test(test_a_release_needs_the_version_that_is_there),
        table_test(test_an_order_becomes_evictable_by_a_put_of_its_version_or_a_higher_one),
        table_test(test_what_was_read_since_it_came_outlives_what_was_not),
        table_test(test_a_scan_sees_every_order_once_whatever_its_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
