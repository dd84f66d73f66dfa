/* The RAM table against a plain array that does the same, under random operations in a table that
 * is mostly full. Which orders leave by themselves the array learns from a scan; that only
 * evictable ones do is checked there. */
#include "unit.h"

#include "table.h"

#include "base/random.h"

#include <stdlib.h>

#define NUMBERS 2000 /* about twice as many orders as fit */

struct model_order {
    bool present;
    bool evictable;
    bool findable; /* its reference was not forgotten */
    uint32_t version;
};

struct model {
    struct order_table *table;
    struct random_source random;
    struct order_table_usage usage; /* as it must be */
    struct model_order orders[NUMBERS];
    bool seen[NUMBERS];
};

static void check_usage(struct model *model) {
    struct order_table_usage usage;
    order_table_usage(model->table, &usage);
    assert_int_equal(usage.orders, model->usage.orders);
    assert_int_equal(usage.evictable, model->usage.evictable);
    assert_int_equal(usage.evicted, model->usage.evicted);
}

static void see(void *context, const struct order_table_entry *entry) {
    struct model *model = context;
    uint64_t number = (entry->order_id >> 7) - 1;
    const struct model_order *order = &model->orders[number];
    assert_true(order->present && !model->seen[number]);
    assert_int_equal(entry->version, order->version);
    assert_int_equal(entry->status, 1 + order->version % 6);
    assert_int_equal(entry->evictable, order->evictable);
    model->seen[number] = true;
}

static void scan_all(struct model *model) {
    uint64_t cursor = 0;
    memset(model->seen, 0, sizeof(model->seen));
    do {
        order_table_scan(model->table, &cursor, 1 + random_below(&model->random, 500), see, model);
    } while (cursor != 0);
}

/** Takes those out of the array that left the table by themselves: all of them evictable, and none
 *  of them `kept`. */
static void learn_evictions(struct model *model, uint64_t kept) {
    struct order_table_usage usage;
    order_table_usage(model->table, &usage);
    uint64_t left = usage.evicted - model->usage.evicted;
    if (left == 0) {
        return;
    }
    scan_all(model);
    for (uint64_t number = 0; number < NUMBERS; number++) {
        struct model_order *order = &model->orders[number];
        if (order->present && !model->seen[number]) {
            assert_true(order->evictable && number != kept);
            order->present = false;
            model->usage.orders--;
            model->usage.evictable--;
            model->usage.evicted++;
            left--;
        }
    }
    assert_int_equal(left, 0);
}

static void make_evictable(struct model *model, struct model_order *order) {
    model->usage.evictable += order->evictable ? 0 : 1;
    order->evictable = true;
}

static void put(struct model *model, uint64_t number) {
    struct model_order *order = &model->orders[number];
    uint32_t version = 1 + (uint32_t)random_below(&model->random, 50);
    bool evictable = random_chance(&model->random, 1, 2);
    bool full = model->usage.orders == model->usage.capacity && model->usage.evictable == 0;
    enum order_table_put expected =
        order->present ? (version > order->version ? ORDER_TABLE_UPDATED : ORDER_TABLE_OLDER)
                       : (full ? ORDER_TABLE_FULL : ORDER_TABLE_INSERTED);
    assert_int_equal(put_order(model->table, id_of(number), version, evictable), expected);
    if (expected == ORDER_TABLE_INSERTED) {
        *order = (struct model_order){true, evictable, true, version};
        model->usage.orders++;
        model->usage.evictable += evictable ? 1 : 0;
        learn_evictions(model, number);
    } else if (expected != ORDER_TABLE_FULL) {
        if (evictable && version >= order->version) {
            make_evictable(model, order);
        }
        order->version = version > order->version ? version : order->version;
    }
}

static void remove_order(struct model *model, uint64_t number) {
    struct model_order *order = &model->orders[number];
    assert_int_equal(order_table_remove(model->table, id_of(number)), order->present);
    if (order->present) {
        model->usage.orders--;
        model->usage.evictable -= order->evictable ? 1 : 0;
        order->present = false;
    }
}

static void release(struct model *model, uint64_t number) {
    struct model_order *order = &model->orders[number];
    uint32_t version = order->version + (random_chance(&model->random, 1, 4) ? 1 : 0);
    bool expected = order->present && order->version == version;
    assert_int_equal(order_table_release(model->table, id_of(number), version), expected);
    if (expected) {
        make_evictable(model, order);
    }
}

static void reserve(struct model *model) {
    uint64_t count = random_below(&model->random, 20);
    uint64_t free = model->usage.capacity - model->usage.orders;
    bool expected = count <= free + model->usage.evictable;
    assert_int_equal(order_table_reserve(model->table, count), expected);
    learn_evictions(model, NUMBERS);
    assert_true(!expected || model->usage.capacity - model->usage.orders >= count);
}

static void check_record(struct model *model, uint64_t number, bool found,
                         const struct order_record *record) {
    const struct model_order *order = &model->orders[number];
    assert_int_equal(found, order->present);
    if (found) {
        struct order_record expected = order_in_version(id_of(number), order->version);
        assert_memory_equal(record, &expected, sizeof(expected));
    }
}

static void find(struct model *model, uint64_t number) {
    struct order_record record;
    bool found = find_order(model->table, id_of(number), &record);
    assert_int_equal(found, model->orders[number].present && model->orders[number].findable);
    if (found) {
        check_record(model, number, true, &record);
    }
}

static void forget(struct model *model, uint64_t number) {
    struct order_record reference = sample_order(id_of(number));
    order_table_forget_reference(model->table, id_of(number),
                                 order_record_reference_hash(&reference));
    model->orders[number].findable = false;
}

/** A batch of random numbers, some twice, some that are no id. */
static void get_many(struct model *model) {
    enum { COUNT = 70 };
    uint64_t numbers[COUNT];
    uint64_t ids[COUNT];
    struct order_record out[COUNT];
    struct order_state states[COUNT];
    bool found[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = i > 0 && random_chance(&model->random, 1, 8)
                         ? numbers[i - 1]
                         : random_below(&model->random, NUMBERS);
        ids[i] = id_of(numbers[i]);
    }
    ids[random_below(&model->random, COUNT)] = 0;
    ids[random_below(&model->random, COUNT)] = UINT64_MAX;
    size_t count = random_below(&model->random, COUNT + 1);
    size_t expected = 0;
    size_t present = order_table_get_many(model->table, ids, count, out, found);
    assert_int_equal(order_table_states(model->table, ids, count, states), present);
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == 0 || ids[i] == UINT64_MAX) {
            assert_false(found[i]);
        } else {
            check_record(model, numbers[i], found[i], &out[i]);
        }
        uint32_t version = found[i] ? out[i].version : 0;
        struct order_state state = {.version = version, .status = found[i] ? out[i].status : 0};
        assert_memory_equal(&states[i], &state, sizeof(state));
        expected += found[i] ? 1 : 0;
    }
    assert_int_equal(present, expected);
}

static void check_everything(struct model *model) {
    scan_all(model);
    for (uint64_t number = 0; number < NUMBERS; number++) {
        struct order_record record;
        assert_int_equal(model->seen[number], model->orders[number].present);
        bool found = order_table_get(model->table, id_of(number), &record);
        check_record(model, number, found, &record);
        find(model, number);
    }
}

static void run(struct model *model, size_t operations, unsigned removals) {
    for (size_t i = 0; i < operations; i++) {
        uint64_t number = random_below(&model->random, NUMBERS);
        uint64_t choice = random_below(&model->random, 100);
        if (choice < removals) {
            remove_order(model, number);
        } else if (choice < 60) {
            put(model, number);
        } else if (choice < 75) {
            release(model, number);
        } else if (choice < 80) {
            forget(model, number);
        } else if (choice < 82) {
            reserve(model);
        } else if (choice < 92) {
            find(model, number);
        } else {
            get_many(model);
        }
        check_usage(model);
        if (i % 4000 == 0) {
            check_everything(model);
        }
    }
    check_everything(model);
}

static void run_with_seed(uint64_t seed, unsigned removals) {
    struct fault fault;
    struct model *model = calloc(1, sizeof(*model));
    assert_non_null(model);
    model->random.state = seed;
    model->table = order_table_create(SMALL_BUDGET_BYTES, &fault);
    assert_non_null(model->table);
    order_table_usage(model->table, &model->usage);
    assert_true(model->usage.capacity < NUMBERS * 6 / 10);
    run(model, 30000, removals);
    order_table_destroy(model->table);
    free(model);
}

static void test_a_full_table_does_what_the_model_does(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        run_with_seed(seed, 3);
    }
}

static void test_a_table_that_fills_and_empties_does_what_the_model_does(void **state) {
    (void)state;
    for (uint64_t seed = 11; seed <= 13; seed++) {
        run_with_seed(seed, 30);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_table_does_what_the_model_does),
        cmocka_unit_test(test_a_table_that_fills_and_empties_does_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
