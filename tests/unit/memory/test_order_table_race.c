/* One writer and two readers on one small, full table: orders that are always there get new
 * versions, while others come and are evicted around them. What a reader must never see: a
 * permanent order absent, a record that mixes two versions or two orders, a version lower than one
 * it has seen. */
#include "unit.h"

#include "table.h"

#include "base/random.h"

#include <pthread.h>
#include <stdatomic.h>

#define PERMANENT 200
#define PASSING 4000 /* come and go: four times as many as fit */
#define READERS 2
#define STEPS 400000

struct race {
    struct order_table *table;
    _Atomic bool stop;
};

/** What one reader saw, looked at after it has ended. */
struct reader {
    struct race *race;
    uint64_t seed;
    uint32_t newest[PERMANENT];
    uint64_t absent;
    uint64_t torn;
    uint64_t backwards;
    uint64_t passing_seen;
    uint64_t rounds;
};

static uint64_t permanent_id(uint64_t number) {
    return id_of(number);
}

static uint64_t passing_id(uint64_t number) {
    return id_of(PERMANENT + number);
}

static void check_version(struct reader *reader, uint64_t number, uint32_t version) {
    reader->backwards += version < reader->newest[number] ? 1 : 0;
    reader->newest[number] = version;
}

static void check_record(struct reader *reader, const struct order_record *record,
                         uint64_t order_id) {
    struct order_record expected = order_in_version(order_id, record->version);
    reader->torn += memcmp(record, &expected, sizeof(expected)) != 0 ? 1 : 0;
}

static void check_permanent(struct reader *reader, uint64_t number, bool found,
                            const struct order_record *record) {
    if (!found) {
        reader->absent++;
        return;
    }
    check_record(reader, record, permanent_id(number));
    check_version(reader, number, record->version);
}

static void read_records(struct reader *reader, struct random_source *random) {
    enum { COUNT = 40 };
    uint64_t numbers[COUNT];
    uint64_t ids[COUNT];
    struct order_record out[COUNT];
    bool found[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = random_below(random, i % 2 == 0 ? PERMANENT : PASSING);
        ids[i] = i % 2 == 0 ? permanent_id(numbers[i]) : passing_id(numbers[i]);
    }
    (void)order_table_get_many(reader->race->table, ids, COUNT, out, found);
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 2 == 0) {
            check_permanent(reader, numbers[i], found[i], &out[i]);
        } else if (found[i]) {
            check_record(reader, &out[i], ids[i]);
            reader->passing_seen++;
        }
    }
}

static void read_states(struct reader *reader, struct random_source *random) {
    enum { COUNT = 150 };
    uint64_t numbers[COUNT];
    uint64_t ids[COUNT];
    struct order_state states[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = random_below(random, i % 2 == 0 ? PERMANENT : PASSING);
        ids[i] = i % 2 == 0 ? permanent_id(numbers[i]) : passing_id(numbers[i]);
    }
    (void)order_table_states(reader->race->table, ids, COUNT, states);
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t version = states[i].version;
        if (version == 0) {
            reader->absent += i % 2 == 0 ? 1 : 0;
            continue;
        }
        reader->torn += states[i].status != 1 + version % 6 ? 1 : 0;
        if (i % 2 == 0) {
            check_version(reader, numbers[i], version);
        }
    }
}

static void *read_all_the_time(void *context) {
    struct reader *reader = context;
    struct random_source random = {reader->seed};
    while (!atomic_load(&reader->race->stop)) {
        struct order_record record;
        uint64_t number = random_below(&random, PERMANENT);
        read_records(reader, &random);
        read_states(reader, &random);
        bool found = find_order(reader->race->table, permanent_id(number), &record);
        check_permanent(reader, number, found, &record);
        number = random_below(&random, PASSING);
        if (find_order(reader->race->table, passing_id(number), &record)) {
            check_record(reader, &record, passing_id(number));
        }
        reader->rounds++;
    }
    return NULL;
}

struct permanent_seen {
    bool present[PERMANENT];
};

static void see(void *context, const struct order_table_entry *entry) {
    struct permanent_seen *seen = context;
    uint64_t number = (entry->order_id >> 7) - 1;
    if (number < PERMANENT) {
        seen->present[number] = true;
    }
}

/** A third reader that scans: every permanent order is in every round. */
static void *scan_all_the_time(void *context) {
    struct reader *reader = context;
    while (!atomic_load(&reader->race->stop)) {
        struct permanent_seen seen = {.present = {false}};
        uint64_t cursor = 0;
        do {
            order_table_scan(reader->race->table, &cursor, 16, see, &seen);
        } while (cursor != 0);
        for (size_t i = 0; i < PERMANENT; i++) {
            reader->absent += seen.present[i] ? 0 : 1;
        }
        reader->rounds++;
    }
    return NULL;
}

/** Updates, inserts over the brim, removes, releases: everything that the writer does. */
static void write_steps(struct order_table *table, struct random_source *random) {
    uint32_t versions[PERMANENT];
    for (uint64_t i = 0; i < PERMANENT; i++) {
        versions[i] = 1;
    }
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t number = random_below(random, PERMANENT);
        uint64_t passing = passing_id(random_below(random, PASSING));
        versions[number] += 1;
        assert_int_equal(put_order(table, permanent_id(number), versions[number], false),
                         ORDER_TABLE_UPDATED);
        assert_int_not_equal(put_order(table, passing, 1 + (uint32_t)step % 100, true),
                             ORDER_TABLE_FULL);
        if (step % 8 == 0) {
            (void)order_table_remove(table, passing_id(random_below(random, PASSING)));
        }
    }
}

static void test_readers_see_whole_orders_that_are_there_and_never_older_ones(void **state) {
    (void)state;
    struct fault fault;
    struct race race = {.table = order_table_create(SMALL_BUDGET_BYTES, &fault)};
    struct reader readers[READERS + 1] = {{.race = NULL}};
    pthread_t threads[READERS + 1];
    struct random_source random = {31};
    assert_non_null(race.table);
    for (uint64_t i = 0; i < PERMANENT; i++) {
        assert_int_equal(put_order(race.table, permanent_id(i), 1, false), ORDER_TABLE_INSERTED);
    }
    for (size_t i = 0; i <= READERS; i++) {
        readers[i].race = &race;
        readers[i].seed = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < READERS ? read_all_the_time : scan_all_the_time,
                                        &readers[i]),
                         0);
    }
    write_steps(race.table, &random);
    atomic_store(&race.stop, true);
    for (size_t i = 0; i <= READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].absent, 0);
        assert_int_equal(readers[i].torn, 0);
        assert_int_equal(readers[i].backwards, 0);
        assert_true(readers[i].rounds > 10);
        assert_true(i == READERS || readers[i].passing_seen > 0);
    }
    struct order_table_usage usage;
    order_table_usage(race.table, &usage);
    assert_true(usage.evicted > STEPS / 4);
    order_table_destroy(race.table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_see_whole_orders_that_are_there_and_never_older_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
