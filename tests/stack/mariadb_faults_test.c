/** The store on a real MariaDB server when things go wrong: crashes, hangs, lost connections, full
 *  queues, rows that somebody holds. */
#include "mariadb_bed.h"

static struct mariadb_server_process server;

static void prepare(struct mysql_options *options, const char *database) {
    bed_options(options, &server, 1, database);
    bed_apply_schema(options);
}

/* --- Crashes. --- */

#define BATCH 500
#define PATIENCE_US INT64_C(60000000)
#define BATCHES 24
#define ALL ((size_t)BATCH * BATCHES)

struct load {
    struct order_record *orders;
    uint8_t results[ALL];
    struct bed_create_call calls[BATCHES];
};

static void begin_load(struct bed *bed, struct load *load, uint64_t first) {
    load->orders = calloc(ALL, sizeof(*load->orders));
    for (size_t i = 0; i < ALL; i++) {
        load->orders[i] = sample_draft(first + i);
    }
    for (size_t i = 0; i < BATCHES; i++) {
        bed_create_begin(bed, &load->calls[i], load->orders + i * BATCH, load->results + i * BATCH,
                         BATCH);
    }
}

static void end_load(struct bed *bed, struct load *load) {
    for (size_t i = 0; i < BATCHES; i++) {
        bed_create_end(bed, &load->calls[i]);
    }
}

/** False where an answer only says that now is not the time: a busy machine may give it for
 *  long. */
static bool is_answer(uint8_t result) {
    return result != ORDER_RESULT_UNAVAILABLE && result != ORDER_RESULT_UNKNOWN &&
           result != ORDER_RESULT_BUSY;
}

/** Asks for orders, a batch at a time, until each is answered. */
static void get_surely(struct bed *bed, const uint64_t *ids, struct order_record *got,
                       uint8_t *found, size_t count) {
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (size_t at = 0; at < count && clock_monotonic_us() < until_us;) {
        size_t size = bytes_min_size(BATCH, count - at);
        bed_get(bed, ids + at, got + at, found + at, size);
        at += bed_count(found + at, size, ORDER_RESULT_UNAVAILABLE) == 0 ? size : 0;
    }
}

/** Creates, again and again, until each order is there. What was said of an order when it came to
 *  be there stays in `results`. */
static void create_surely(struct bed *bed, struct order_record *orders, uint8_t *results,
                          size_t count) {
    int64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (size_t at = 0; at < count && clock_monotonic_us() < until_us;) {
        size_t size = bytes_min_size(BATCH, count - at);
        size_t answered = 0;
        for (size_t i = at; i < at + size; i++) {
            /* As a client would: what it has is the reference and the content. */
            orders[i] = sample_draft(orders[i].amount - 1000);
        }
        bed_create(bed, orders + at, results + at, size);
        for (size_t i = at; i < at + size; i++) {
            answered += is_answer(results[i]) ? 1 : 0;
        }
        at += answered == size ? size : 0;
    }
}

/** Everything that was acknowledged is there as it was answered; everything else becomes one order
 *  when it is asked for again, and stays that one. */
static void check_load(struct bed *bed, struct load *load, const char *database) {
    struct order_record *got = calloc(ALL, sizeof(*got));
    uint64_t *ids = calloc(ALL, sizeof(*ids));
    uint8_t *found = calloc(ALL, 1);
    for (size_t i = 0; i < ALL; i++) {
        ids[i] = load->results[i] == ORDER_RESULT_CREATED ? load->orders[i].order_id : 1;
    }
    get_surely(bed, ids, got, found, ALL);
    for (size_t i = 0; i < ALL; i++) {
        if (load->results[i] == ORDER_RESULT_CREATED) {
            assert_int_equal(found[i], ORDER_RESULT_FOUND);
            assert_memory_equal(&got[i], &load->orders[i], sizeof(got[i]));
        }
    }
    for (size_t round = 0; round < 2; round++) {
        create_surely(bed, load->orders, load->results, ALL);
        for (size_t i = 0; i < ALL; i++) {
            if (round == 1 || ids[i] != 1) {
                assert_int_equal(load->results[i], ORDER_RESULT_REPLAYED);
                assert_true(load->orders[i].order_id == ids[i]);
            } else {
                assert_true(load->results[i] == ORDER_RESULT_REPLAYED ||
                            load->results[i] == ORDER_RESULT_CREATED);
            }
            ids[i] = load->orders[i].order_id;
        }
    }
    assert_int_equal(server_number(&server, database,
                                   "SELECT COUNT(*) FROM orders JOIN order_refs USING (order_id)"),
                     server_number(&server, database, "SELECT COUNT(*) FROM orders"));
    free(got);
    free(ids);
    free(found);
    free(load->orders);
}

static void wait_for_commits(struct bed *bed, uint64_t count) {
    uint64_t until = bed_metric(bed, "transactions_total") + count;
    for (int i = 0; i < 5000 && bed_metric(bed, "transactions_total") < until; i++) {
        bed_sleep_ms(1);
    }
}

static void test_a_crash_of_the_server_loses_nothing_that_was_acknowledged(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct load *load = calloc(1, sizeof(*load));
    prepare(&options, "t_crash");
    options.create_batch = BATCH;
    bed_open(&bed, &options);
    for (uint64_t round = 0; round < 4; round++) {
        begin_load(&bed, load, round * ALL);
        wait_for_commits(&bed, 1 + round);
        bed_sleep_ms((int)round);
        server_kill(&server);
        server_start(&server);
        end_load(&bed, load);
        check_load(&bed, load, "t_crash");
    }
    bed_close(&bed);
    assert_int_equal(server_number(&server, "t_crash", "SELECT COUNT(*) FROM orders"), 4 * ALL);
    free(load);
}

static void
test_a_server_that_is_gone_for_longer_than_the_deadline_leaves_no_order_twice(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct load *load = calloc(1, sizeof(*load));
    prepare(&options, "t_gone");
    options.create_batch = BATCH;
    options.deadline_ms = 1000;
    bed_open(&bed, &options);
    begin_load(&bed, load, 0);
    wait_for_commits(&bed, 1);
    server_kill(&server);
    int64_t begin_us = clock_monotonic_us();
    end_load(&bed, load);
    assert_true(clock_monotonic_us() - begin_us < 10 * (int64_t)options.deadline_ms * 1000);
    assert_true(bed_count(load->results, ALL, ORDER_RESULT_CREATED) < ALL);
    server_start(&server);
    const char *reason;
    while (!mariadb_is_ready(bed.mariadb, &reason)) {
        bed_sleep_ms(10);
    }
    check_load(&bed, load, "t_gone");
    bed_close(&bed);
    free(load);
}

static void test_a_server_that_hangs_is_answered_for_in_time(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct load *load = calloc(1, sizeof(*load));
    prepare(&options, "t_hang");
    options.create_batch = BATCH;
    options.deadline_ms = 1500;
    options.read_timeout_ms = 1100;
    bed_open(&bed, &options);
    begin_load(&bed, load, 0);
    wait_for_commits(&bed, 2);
    server_pause(&server);
    int64_t begin_us = clock_monotonic_us();
    end_load(&bed, load);
    assert_true(clock_monotonic_us() - begin_us < 10 * (int64_t)options.deadline_ms * 1000);
    uint64_t order_id = 12345;
    struct order_record order;
    uint8_t result;
    bed_get(&bed, &order_id, &order, &result, 1);
    assert_int_equal(result, ORDER_RESULT_UNAVAILABLE);
    server_resume(&server);
    const char *reason;
    while (!mariadb_is_ready(bed.mariadb, &reason)) {
        bed_sleep_ms(10);
    }
    check_load(&bed, load, "t_hang");
    bed_close(&bed);
    free(load);
}

static void test_lost_connections_are_no_ones_trouble(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct load *load = calloc(1, sizeof(*load));
    prepare(&options, "t_lost");
    options.create_batch = BATCH;
    bed_open(&bed, &options);
    begin_load(&bed, load, 0);
    for (int i = 0; i < 5; i++) {
        (void)server_query(
            &server, NULL,
            "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; "
            "FOR one IN (SELECT id FROM information_schema.processlist WHERE db = 't_lost') DO "
            "EXECUTE IMMEDIATE CONCAT('KILL ', one.id); END FOR; END");
        bed_sleep_ms(3);
    }
    end_load(&bed, load);
    assert_true(bed_metric(&bed, "losses_total") > 0);
    assert_int_equal(bed_count(load->results, ALL, ORDER_RESULT_CREATED), ALL);
    check_load(&bed, load, "t_lost");
    bed_close(&bed);
    free(load);
}

static void test_changes_under_a_crash_happen_once_or_are_not_claimed(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    struct mysql_options options;
    struct bed bed;
    struct order_record *orders = calloc(COUNT, sizeof(*orders));
    struct order_record *got = calloc(COUNT, sizeof(*got));
    struct order_change *changes = calloc(COUNT, sizeof(*changes));
    uint64_t *ids = calloc(COUNT, sizeof(*ids));
    uint8_t results[COUNT];
    uint8_t found[COUNT];
    prepare(&options, "t_changes");
    options.change_batch = 200;
    bed_open(&bed, &options);
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = sample_draft(i);
    }
    bed_create(&bed, orders, results, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ids[i] = orders[i].order_id;
        changes[i] =
            (struct order_change){.order_id = ids[i],
                                  .status = ORDER_STATUS_PROCESSING,
                                  .match = {.required = true, .count = 1, .versions = {1}}};
    }
    bool done;
    bed_change_begin(&bed, changes, orders, results, COUNT, &done);
    wait_for_commits(&bed, 2);
    server_kill(&server);
    server_start(&server);
    bed_wait(&bed, &done);
    get_surely(&bed, ids, got, found, COUNT);
    size_t changed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(found[i], ORDER_RESULT_FOUND);
        assert_true(got[i].version <= 2);
        if (results[i] == ORDER_RESULT_CHANGED) {
            assert_memory_equal(&got[i], &orders[i], sizeof(got[i]));
            changed++;
        } else {
            /* Never a mismatch with what was written by this very change. */
            assert_true(results[i] == ORDER_RESULT_UNAVAILABLE ||
                        results[i] == ORDER_RESULT_UNKNOWN);
        }
    }
    assert_true(changed > 0);
    bed_close(&bed);
    free(orders);
    free(got);
    free(changes);
    free(ids);
}

static void test_what_does_not_fit_into_the_queues_is_refused_at_once(void **state) {
    (void)state;
    struct mysql_options options;
    struct bed bed;
    struct load *load = calloc(1, sizeof(*load));
    prepare(&options, "t_full");
    options.create_batch = BATCH;
    options.queue_orders = 2 * BATCH;
    bed_open(&bed, &options);
    server_pause(&server);
    begin_load(&bed, load, 0);
    /* Three lanes have taken a batch each at most, and two batches wait. */
    size_t busy = 0;
    for (int i = 0; i < 2000 && busy < BATCHES - 5; i++) {
        busy = 0;
        (void)port_drain(&bed.mailbox, 64);
        for (size_t j = 0; j < BATCHES; j++) {
            busy += load->calls[j].done &&
                            bed_count(load->results + j * BATCH, BATCH, ORDER_RESULT_BUSY) == BATCH
                        ? 1
                        : 0;
        }
        bed_sleep_ms(5);
    }
    assert_true(busy >= BATCHES - 5);
    server_resume(&server);
    end_load(&bed, load);
    check_load(&bed, load, "t_full");
    bed_close(&bed);
    free(load);
}

/* --- Rows that somebody holds. --- */

static void test_one_row_that_stays_locked_costs_no_other_order_its_change(void **state) {
    (void)state;
    enum { COUNT = 600, LOCKED = 333 };
    struct mysql_options options;
    struct bed bed;
    struct order_record *orders = calloc(COUNT, sizeof(*orders));
    struct order_change *changes = calloc(COUNT, sizeof(*changes));
    uint8_t results[COUNT];
    char sql[128];
    prepare(&options, "t_locked");
    options.deadline_ms = 9000;
    bed_open(&bed, &options);
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = sample_draft(i);
    }
    bed_create(&bed, orders, results, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        changes[i] = (struct order_change){.order_id = orders[i].order_id,
                                           .status = ORDER_STATUS_PROCESSING};
    }
    (void)snprintf(sql, sizeof(sql), "SELECT * FROM orders WHERE order_id = %llu FOR UPDATE",
                   (unsigned long long)orders[LOCKED].order_id);
    void *held = server_hold(&server, "t_locked", sql);
    bed_change(&bed, changes, orders, results, COUNT);
    assert_int_equal(results[LOCKED], ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_CHANGED), COUNT - 1);
    server_let_go(held);
    assert_int_equal(
        bed_change_one(&bed, changes[LOCKED].order_id, ORDER_STATUS_PROCESSING, &orders[LOCKED]),
        ORDER_RESULT_CHANGED);
    /* And for creates: a reference that somebody is just writing, and then does not. */
    held = server_hold(&server, "t_locked", "INSERT INTO order_refs VALUES ('partner', '5333', 1)");
    for (size_t i = 0; i < COUNT; i++) {
        orders[i] = sample_draft(5000 + i);
    }
    bed_create(&bed, orders, results, COUNT);
    assert_int_equal(results[LOCKED], ORDER_RESULT_UNAVAILABLE);
    assert_int_equal(bed_count(results, COUNT, ORDER_RESULT_CREATED), COUNT - 1);
    server_let_go(held);
    (void)bed_create_one(&bed, sample_draft(5333));
    bed_close(&bed);
    free(orders);
    free(changes);
}

static int set_up(void **state) {
    (void)state;
    server_create(&server, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    server_destroy(&server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_of_the_server_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(
            test_a_server_that_is_gone_for_longer_than_the_deadline_leaves_no_order_twice),
        cmocka_unit_test(test_a_server_that_hangs_is_answered_for_in_time),
        cmocka_unit_test(test_lost_connections_are_no_ones_trouble),
        cmocka_unit_test(test_changes_under_a_crash_happen_once_or_are_not_claimed),
        cmocka_unit_test(test_what_does_not_fit_into_the_queues_is_refused_at_once),
        cmocka_unit_test(test_one_row_that_stays_locked_costs_no_other_order_its_change),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
