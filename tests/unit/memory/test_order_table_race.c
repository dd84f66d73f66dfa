/* One writer and two readers on one small, full table: orders that are always there get new
 * versions, while others come and are evicted around them. What a reader must never see: a
 * permanent order absent, a record that mixes two versions or two orders, a version lower than one
 * it has seen. */
#include "unit.h"

#include "table.h"

#include "base/random.h"

#include <pthread.h>
#include <stdatomic.h>

#define PERMANENT 16
#define PASSING 4000 /* come and go: four times as many as fit */
#define READERS 2
#define STEPS 100000 /* updates in a phase: about 6,250 versions for each permanent order */
#if defined(__SANITIZE_THREAD__)
#define PHASES 3 /* every access costs twenty times as much, and each race shows at once */
#else
#define PHASES 25
#endif

struct race {
    struct order_table *table;
    uint64_t phase;
    pthread_barrier_t all_run; /* before the writer begins */
    _Atomic bool stop;
    uint64_t passing_seen; /* of all phases */
    uint64_t rounds;
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

static uint64_t permanent_id(const struct race *race, uint64_t number) {
    return id_of(PASSING + race->phase * PERMANENT + number);
}

static uint64_t passing_id(uint64_t number) {
    return id_of(number);
}

/** A passing order always comes in the same version, so that its state can be told from
 *  another's. */
static uint32_t passing_version(uint64_t order_id) {
    return 1 + (uint32_t)(hash_mix(order_id) % 5000);
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
    check_record(reader, record, permanent_id(reader->race, number));
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
        ids[i] = i % 2 == 0 ? permanent_id(reader->race, numbers[i]) : passing_id(numbers[i]);
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
        ids[i] = i % 2 == 0 ? permanent_id(reader->race, numbers[i]) : passing_id(numbers[i]);
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
        } else {
            reader->torn += version != passing_version(ids[i]) ? 1 : 0;
        }
    }
}

static void *read_all_the_time(void *context) {
    struct reader *reader = context;
    struct random_source random = {reader->seed};
    (void)pthread_barrier_wait(&reader->race->all_run);
    while (!atomic_load(&reader->race->stop)) {
        struct order_record record;
        uint64_t number = random_below(&random, PERMANENT);
        read_records(reader, &random);
        read_states(reader, &random);
        bool found = find_order(reader->race->table, permanent_id(reader->race, number), &record);
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
    uint64_t first_id;
    bool present[PERMANENT];
};

static void see(void *context, const struct order_table_entry *entry) {
    struct permanent_seen *seen = context;
    uint64_t number = (entry->order_id - seen->first_id) >> 7;
    if (entry->order_id >= seen->first_id && number < PERMANENT) {
        seen->present[number] = true;
    }
}

/** A third reader that scans: every permanent order is in every round. */
static void *scan_all_the_time(void *context) {
    struct reader *reader = context;
    (void)pthread_barrier_wait(&reader->race->all_run);
    while (!atomic_load(&reader->race->stop)) {
        struct permanent_seen seen = {.first_id = permanent_id(reader->race, 0)};
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

/** Updates, inserts over the brim, removes: everything that the writer does. */
static void write_steps(struct race *race, struct random_source *random) {
    uint32_t versions[PERMANENT];
    for (uint64_t i = 0; i < PERMANENT; i++) {
        versions[i] = 1;
    }
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t number = step % PERMANENT;
        uint64_t passing = passing_id(random_below(random, PASSING));
        versions[number] += 1;
        assert_int_equal(
            put_order(race->table, permanent_id(race, number), versions[number], false),
            ORDER_TABLE_UPDATED);
        if (step % 2 == 0) {
            assert_int_not_equal(put_order(race->table, passing, passing_version(passing), true),
                                 ORDER_TABLE_FULL);
        }
        if (step % 16 == 0) {
            (void)order_table_remove(race->table, passing_id(random_below(random, PASSING)));
        }
    }
}

static void run_phase(struct race *race, struct random_source *random) {
    struct reader readers[READERS + 1] = {{.race = NULL}};
    pthread_t threads[READERS + 1];
    atomic_store(&race->stop, false);
    for (uint64_t i = 0; i < PERMANENT; i++) {
        assert_int_equal(put_order(race->table, permanent_id(race, i), 1, false),
                         ORDER_TABLE_INSERTED);
    }
    for (size_t i = 0; i <= READERS; i++) {
        readers[i].race = race;
        readers[i].seed = i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < READERS ? read_all_the_time : scan_all_the_time,
                                        &readers[i]),
                         0);
    }
    (void)pthread_barrier_wait(&race->all_run);
    write_steps(race, random);
    atomic_store(&race->stop, true);
    for (size_t i = 0; i <= READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i <= READERS; i++) {
        assert_int_equal(readers[i].absent, 0);
        assert_int_equal(readers[i].torn, 0);
        assert_int_equal(readers[i].backwards, 0);
        race->rounds += readers[i].rounds;
        race->passing_seen += readers[i].passing_seen;
    }
    for (uint64_t i = 0; i < PERMANENT; i++) {
        assert_true(order_table_remove(race->table, permanent_id(race, i)));
    }
}

static void test_readers_see_whole_orders_that_are_there_and_never_older_ones(void **state) {
    (void)state;
    struct fault fault;
    struct race race = {.table = order_table_create(SMALL_BUDGET_BYTES, &fault)};
    struct random_source random = {31};
    struct order_table_usage usage;
    assert_non_null(race.table);
    assert_int_equal(pthread_barrier_init(&race.all_run, NULL, READERS + 2), 0);
    for (; race.phase < PHASES; race.phase++) {
        run_phase(&race, &random);
    }
    order_table_usage(race.table, &usage);
    assert_true(usage.evicted > (uint64_t)PHASES * STEPS / 8);
    assert_true(race.rounds > 1000 && race.passing_seen > 1000);
    (void)pthread_barrier_destroy(&race.all_run);
    order_table_destroy(race.table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_see_whole_orders_that_are_there_and_never_older_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
