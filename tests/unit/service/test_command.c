#include "fake_ports.h"
#include "service/command.h"

/* An id of the first seconds of the ids' time: one that may have been given. */
#define SOME_ID (UINT64_C(100) << 27)

struct bench {
    struct fake_ports fake;
    struct command_service *service;
};

static void setup(struct bench *bench) {
    fake_init(&bench->fake);
    bench->service = command_service_create(&(struct command_parts){
        .clock = &bench->fake.clock,
        .store = &bench->fake.store,
        .archive = &bench->fake.archive,
        .mailbox = &bench->fake.mailbox,
    });
    assert_non_null(bench->service);
}

static void teardown(struct bench *bench) {
    command_service_destroy(bench->service);
    fake_deinit(&bench->fake);
}

static void create_done(struct command_create *create) {
    assert_int_not_equal(create->result, ORDER_RESULT_NONE);
}

static void change_done(struct command_change *change) {
    assert_int_not_equal(change->result, ORDER_RESULT_NONE);
}

static struct command_create draft(uint64_t number) {
    return (struct command_create){.order = sample_draft(number), .done = create_done};
}

static void test_creates_of_one_turn_go_as_one_batch(void **state) {
    (void)state;
    struct bench bench;
    struct command_create creates[3];
    setup(&bench);
    for (size_t i = 0; i < 3; i++) {
        creates[i] = draft(i);
        assert_true(command_create(bench.service, &creates[i]));
        assert_null(fake_first(&bench.fake));
    }
    command_flush(bench.service);
    struct order_create_batch *batch = fake_expect(&bench.fake, FAKE_CREATE);
    assert_int_equal(batch->count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(batch->reference_hashes[i],
                         order_record_reference_hash(&creates[i].order));
        batch->orders[i].order_id = 100 + i;
        batch->results[i] = (uint8_t)(ORDER_RESULT_CREATED + i);
    }
    fake_complete(&bench.fake);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(creates[i].order.order_id, 100 + i);
        assert_int_equal(creates[i].result, ORDER_RESULT_CREATED + i);
    }
    teardown(&bench);
}

static void test_while_enough_is_at_the_store_creates_gather(void **state) {
    (void)state;
    struct bench bench;
    struct command_create creates[COMMAND_IN_FLIGHT + 5];
    setup(&bench);
    for (size_t i = 0; i < ARRAY_COUNT(creates); i++) {
        creates[i] = draft(i);
        assert_true(command_create(bench.service, &creates[i]));
        command_flush(bench.service);
    }
    assert_int_equal(bench.fake.taken_count, COMMAND_IN_FLIGHT);
    struct order_create_batch *batch = fake_expect(&bench.fake, FAKE_CREATE);
    batch->results[0] = ORDER_RESULT_CREATED;
    fake_complete(&bench.fake);
    command_flush(bench.service);
    assert_int_equal(bench.fake.taken_count, COMMAND_IN_FLIGHT);
    batch = (struct order_create_batch *)bench.fake.taken[COMMAND_IN_FLIGHT - 1];
    assert_int_equal(batch->count, 5);
    teardown(&bench);
}

static void test_what_is_outstanding_is_bounded(void **state) {
    (void)state;
    struct bench bench;
    static struct command_create creates[COMMAND_BATCH_MAX * COMMAND_BATCHES + 1];
    static struct command_change changes[COMMAND_BATCH_MAX * COMMAND_BATCHES + 1];
    setup(&bench);
    for (size_t i = 0; i < ARRAY_COUNT(creates); i++) {
        bool fits = i + 1 < ARRAY_COUNT(creates);
        creates[i] = draft(i);
        changes[i] = (struct command_change){.done = change_done};
        assert_int_equal(command_create(bench.service, &creates[i]), fits);
        assert_int_equal(command_change(bench.service, &changes[i]), fits);
    }
    assert_int_equal(bench.fake.taken_count, 2 * COMMAND_BATCHES);
    assert_int_equal(metric_get(&command_service_metrics(bench.service)->refused_total), 2);
    teardown(&bench);
}

static void test_a_busy_store_is_an_answer(void **state) {
    (void)state;
    struct bench bench;
    struct command_create create = draft(1);
    struct command_change change = {.done = change_done};
    setup(&bench);
    bench.fake.busy = true;
    assert_true(command_create(bench.service, &create));
    assert_true(command_change(bench.service, &change));
    command_flush(bench.service);
    assert_int_equal(create.result, ORDER_RESULT_BUSY);
    assert_int_equal(change.result, ORDER_RESULT_BUSY);
    assert_int_equal(metric_get(&command_service_metrics(bench.service)->refused_total), 2);
    /* The batches are free again. */
    bench.fake.busy = false;
    assert_true(command_create(bench.service, &create));
    command_flush(bench.service);
    assert_int_equal(fake_first_operation(&bench.fake), FAKE_CREATE);
    teardown(&bench);
}

/** Sends a change that the store does not have; the archive's request waits then. */
static struct order_get_batch *change_absent(struct bench *bench, struct command_change *change) {
    change->done = change_done;
    change->change.order_id = SOME_ID;
    bench->fake.now_us = order_tick_to_us(order_id_tick(SOME_ID)) + 1000000;
    assert_true(command_change(bench->service, change));
    command_flush(bench->service);
    struct order_change_batch *batch = fake_expect(&bench->fake, FAKE_CHANGE);
    batch->results[0] = ORDER_RESULT_ABSENT;
    fake_complete(&bench->fake);
    struct order_get_batch *get = fake_expect(&bench->fake, FAKE_ARCHIVE_GET);
    assert_int_equal(get->count, 1);
    assert_int_equal(get->order_ids[0], SOME_ID);
    return get;
}

static void test_a_change_of_an_archived_order_is_judged_by_its_copy(void **state) {
    (void)state;
    static const struct {
        enum order_status status;
        uint32_t version; /* that the change names; 0: none */
        enum order_result result;
    } cases[] = {
        {ORDER_STATUS_SUCCESS, 0, ORDER_RESULT_UNCHANGED},
        {ORDER_STATUS_CANCEL, 0, ORDER_RESULT_ILLEGAL},
        {ORDER_STATUS_CANCEL, 2, ORDER_RESULT_ILLEGAL},
        {ORDER_STATUS_CANCEL, 1, ORDER_RESULT_MISMATCH},
        {ORDER_STATUS_SUCCESS, 1, ORDER_RESULT_MISMATCH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bench bench;
        struct command_change change = {.change = {.status = cases[i].status}};
        setup(&bench);
        if (cases[i].version > 0) {
            change.change.match =
                (struct order_match){.required = true, .count = 1, .versions = {cases[i].version}};
        }
        struct order_get_batch *get = change_absent(&bench, &change);
        get->orders[0] = sample_order(SOME_ID);
        get->orders[0].version = 2;
        get->orders[0].status = ORDER_STATUS_SUCCESS;
        get->results[0] = ORDER_RESULT_FOUND;
        fake_complete(&bench.fake);
        assert_int_equal(change.result, cases[i].result);
        assert_int_equal(change.order.version, 2);
        teardown(&bench);
    }
}

static void test_an_archive_that_does_not_know_is_no_404(void **state) {
    (void)state;
    static const uint8_t answers[][2] = {
        {ORDER_RESULT_ABSENT, ORDER_RESULT_ABSENT},
        {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_UNAVAILABLE},
        {ORDER_RESULT_BROKEN, ORDER_RESULT_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(answers); i++) {
        struct bench bench;
        struct command_change change = {.change = {.status = ORDER_STATUS_CANCEL}};
        setup(&bench);
        struct order_get_batch *get = change_absent(&bench, &change);
        get->results[0] = answers[i][0];
        fake_complete(&bench.fake);
        assert_int_equal(change.result, answers[i][1]);
        teardown(&bench);
    }
}

static void test_an_id_that_nobody_can_have_given_is_absent_without_asking(void **state) {
    (void)state;
    struct bench bench;
    struct command_change change = {.change = {.order_id = INT64_MAX}, .done = change_done};
    setup(&bench);
    assert_true(command_change(bench.service, &change));
    command_flush(bench.service);
    struct order_change_batch *batch = fake_expect(&bench.fake, FAKE_CHANGE);
    batch->results[0] = ORDER_RESULT_ABSENT;
    fake_complete(&bench.fake);
    assert_null(fake_first(&bench.fake));
    assert_int_equal(change.result, ORDER_RESULT_ABSENT);
    teardown(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creates_of_one_turn_go_as_one_batch),
        cmocka_unit_test(test_while_enough_is_at_the_store_creates_gather),
        cmocka_unit_test(test_what_is_outstanding_is_bounded),
        cmocka_unit_test(test_a_busy_store_is_an_answer),
        cmocka_unit_test(test_a_change_of_an_archived_order_is_judged_by_its_copy),
        cmocka_unit_test(test_an_archive_that_does_not_know_is_no_404),
        cmocka_unit_test(test_an_id_that_nobody_can_have_given_is_absent_without_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
