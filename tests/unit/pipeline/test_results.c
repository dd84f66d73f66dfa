/* The results pipeline on simulated ports: a topic, a store that judges as the real ones do, an
 * archive, and two topics for what is put aside. */
#include "unit.h"

#include "base/random.h"
#include "pipeline/results.h"
#include "sample.h"

#include <stdlib.h>
#include <unistd.h>

#define MESSAGES_MAX 64
#define ORDERS_MAX 16
#define ASIDE_MAX 256

struct aside {
    struct topic_writer port;
    unsigned fail;
    size_t count;
    char values[ASIDE_MAX][200];
    char reasons[ASIDE_MAX][100];
};

struct world {
    struct clock clock;
    int64_t now_us;
    struct log log;
    struct mailbox mailbox;
    struct random_source random;
    struct topic_reader topic;
    size_t message_count;
    char messages[MESSAGES_MAX][200];
    size_t read_at;
    size_t committed;
    unsigned fail_commits;
    bool taken_away; /* the next commit is too late */
    struct order_store store;
    size_t order_count;
    struct order_record orders[ORDERS_MAX];
    enum order_result store_fails; /* NONE: it works */
    uint64_t broken_id;            /* what the store has of this order is no order */
    unsigned store_requests;
    struct order_archive archive;
    size_t archived_count;
    struct order_record archived[ORDERS_MAX];
    enum order_result archive_fails;
    struct aside dead;
    struct aside late;
    struct port_request *pending;
    uint32_t pending_kind;
    struct results_pipeline *pipeline;
};

enum { READ, COMMIT, CHANGE, GET, DEAD, LATE };

static int64_t now_us(const struct clock *clock) {
    return ((const struct world *)clock)->now_us;
}

/* --- What each request comes to. --- */

static void answer_read(struct world *world, struct topic_read *read) {
    read->result = ORDER_RESULT_FOUND;
    read->count = 0;
    while (world->read_at < world->message_count && read->count < read->limit) {
        read->messages[read->count++] = (struct topic_message){
            .key = SLICE_LITERAL("1"),
            .value = slice_from_text(world->messages[world->read_at]),
            .offset = (int64_t)world->read_at,
        };
        world->read_at++;
    }
}

static void answer_commit(struct world *world, struct topic_commit *commit) {
    commit->result = ORDER_RESULT_STORED;
    if (world->fail_commits > 0) {
        world->fail_commits--;
        commit->result = ORDER_RESULT_UNAVAILABLE;
    } else if (world->taken_away) {
        world->taken_away = false;
        world->read_at = world->committed; /* and it comes again */
        commit->result = ORDER_RESULT_MISMATCH;
    } else {
        world->committed = world->read_at;
    }
}

static struct order_record *find(struct order_record *orders, size_t count, uint64_t id) {
    for (size_t i = 0; i < count; i++) {
        if (orders[i].order_id == id) {
            return &orders[i];
        }
    }
    return NULL;
}

static enum order_result change_one(struct world *world, const struct order_change *change,
                                    struct order_record *out) {
    static const enum order_result results[] = {
        [ORDER_VERDICT_MISMATCH] = ORDER_RESULT_MISMATCH,
        [ORDER_VERDICT_UNCHANGED] = ORDER_RESULT_UNCHANGED,
        [ORDER_VERDICT_ILLEGAL] = ORDER_RESULT_ILLEGAL,
        [ORDER_VERDICT_BAD_TIME] = ORDER_RESULT_BAD_TIME,
        [ORDER_VERDICT_CHANGED] = ORDER_RESULT_CHANGED,
    };
    struct order_record *order = find(world->orders, world->order_count, change->order_id);
    if (order == NULL) {
        return ORDER_RESULT_ABSENT;
    }
    if (change->order_id == world->broken_id) {
        return ORDER_RESULT_BROKEN;
    }
    enum order_verdict verdict = order_change_judge(order, change, world->now_us, out);
    if (verdict == ORDER_VERDICT_CHANGED) {
        *order = *out;
    } else {
        *out = *order;
    }
    return results[verdict];
}

static void answer_change(struct world *world, struct order_change_batch *batch) {
    world->store_requests++;
    for (size_t i = 0; i < batch->count; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_true(batch->changes[k].order_id != batch->changes[i].order_id);
        }
        bool fails = world->store_fails != ORDER_RESULT_NONE;
        batch->results[i] =
            (uint8_t)(fails ? world->store_fails
                            : change_one(world, &batch->changes[i], &batch->orders[i]));
    }
}

static void answer_get(struct world *world, struct order_get_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        struct order_record *order =
            find(world->archived, world->archived_count, batch->order_ids[i]);
        batch->results[i] =
            (uint8_t)(world->archive_fails != ORDER_RESULT_NONE ? world->archive_fails
                      : order == NULL                           ? ORDER_RESULT_ABSENT
                                                                : ORDER_RESULT_FOUND);
        if (batch->results[i] == ORDER_RESULT_FOUND) {
            batch->orders[i] = *order;
        }
    }
}

static void answer_publish(struct aside *aside, struct topic_publish *publish) {
    for (size_t i = 0; i < publish->count; i++) {
        publish->results[i] = ORDER_RESULT_UNAVAILABLE;
        if (aside->fail > 0) {
            aside->fail--;
            continue;
        }
        const struct topic_message *message = &publish->messages[i];
        assert_true(aside->count < ASIDE_MAX);
        (void)snprintf(aside->values[aside->count], sizeof(aside->values[0]), "%.*s",
                       (int)message->value.size, message->value.data);
        (void)snprintf(aside->reasons[aside->count++], sizeof(aside->reasons[0]), "%.*s",
                       (int)message->header.size, message->header.data);
        publish->results[i] = ORDER_RESULT_STORED;
    }
}

static void answer(struct world *world) {
    struct port_request *request = world->pending;
    world->pending = NULL;
    switch (world->pending_kind) {
    case READ:
        answer_read(world, (struct topic_read *)request);
        break;
    case COMMIT:
        answer_commit(world, (struct topic_commit *)request);
        break;
    case CHANGE:
        answer_change(world, (struct order_change_batch *)request);
        break;
    case GET:
        answer_get(world, (struct order_get_batch *)request);
        break;
    case DEAD:
        answer_publish(&world->dead, (struct topic_publish *)request);
        break;
    default:
        answer_publish(&world->late, (struct topic_publish *)request);
        break;
    }
    port_complete(request);
    (void)port_drain(&world->mailbox, SIZE_MAX);
}

static void run(struct world *world, unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) {
        world->now_us += 20000;
        (void)results_pipeline_step(world->pipeline);
        if (world->pending != NULL) {
            answer(world);
        }
    }
}

/* --- The ports. --- */

static enum port_submit hold(struct world *world, struct port_request *request, uint32_t kind) {
    assert_null(world->pending);
    world->pending = request;
    world->pending_kind = kind;
    return PORT_TAKEN;
}

#define WORLD_OF(port_, member_) CONTAINER_OF(port_, struct world, member_)

static enum port_submit submit_read(struct topic_reader *port, struct topic_read *request) {
    return hold(WORLD_OF(port, topic), &request->request, READ);
}

static enum port_submit submit_commit(struct topic_reader *port, struct topic_commit *request) {
    return hold(WORLD_OF(port, topic), &request->request, COMMIT);
}

static enum port_submit submit_change(struct order_store *port, struct order_change_batch *batch) {
    return hold(WORLD_OF(port, store), &batch->request, CHANGE);
}

static enum port_submit submit_get(struct order_archive *port, struct order_get_batch *batch) {
    return hold(WORLD_OF(port, archive), &batch->request, GET);
}

static enum port_submit submit_dead(struct topic_writer *port, struct topic_publish *request) {
    return hold(WORLD_OF(port, dead.port), &request->request, DEAD);
}

static enum port_submit submit_late(struct topic_writer *port, struct topic_publish *request) {
    return hold(WORLD_OF(port, late.port), &request->request, LATE);
}

static const struct topic_reader_ops topic_ops = {.read = submit_read, .commit = submit_commit};
static const struct order_store_ops store_ops = {.change = submit_change};
static const struct order_archive_ops archive_ops = {.get = submit_get};
static const struct topic_writer_ops dead_ops = {.publish = submit_dead};
static const struct topic_writer_ops late_ops = {.publish = submit_late};

static void restart(struct world *world) {
    if (world->pipeline != NULL) {
        results_pipeline_destroy(world->pipeline);
    }
    world->pending = NULL;
    world->read_at = world->committed;
    struct results_parts parts = {
        .clock = &world->clock,
        .log = &world->log,
        .results = &world->topic,
        .dead = &world->dead.port,
        .late = &world->late.port,
        .store = &world->store,
        .archive = &world->archive,
        .mailbox = &world->mailbox,
    };
    world->pipeline = results_pipeline_create(&parts);
    assert_non_null(world->pipeline);
}

static struct world *new_world(void) {
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->clock.now_us = now_us;
    world->now_us = SAMPLE_TIME_US + 10000000;
    world->topic.ops = &topic_ops;
    world->store.ops = &store_ops;
    world->archive.ops = &archive_ops;
    world->dead.port.ops = &dead_ops;
    world->late.port.ops = &late_ops;
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    assert_true(mailbox_init(&world->mailbox, RESULTS_OUTSTANDING_MAX));
    restart(world);
    return world;
}

static void end_world(struct world *world) {
    results_pipeline_destroy(world->pipeline);
    mailbox_deinit(&world->mailbox);
    free(world);
}

static struct order_record *put_order(struct world *world, uint64_t order_id,
                                      enum order_status status) {
    struct order_record *order = &world->orders[world->order_count++];
    *order = sample_order(order_id);
    order->status = (uint8_t)status;
    order_record_seal(order);
    return order;
}

static void archive_order(struct world *world, uint64_t order_id, enum order_status status) {
    struct order_record *order = &world->archived[world->archived_count++];
    *order = sample_order(order_id);
    order->status = (uint8_t)status;
    order_record_seal(order);
}

static void say(struct world *world, const char *message) {
    (void)snprintf(world->messages[world->message_count++], sizeof(world->messages[0]), "%s",
                   message);
}

static void say_result(struct world *world, uint64_t order_id, const char *result) {
    char text[200];
    (void)snprintf(text, sizeof(text), "{\"order_id\": \"%llu\", \"result\": \"%s\"}",
                   (unsigned long long)order_id, result);
    say(world, text);
}

static uint64_t count_of(struct world *world, const char *which) {
    const struct results_metrics *metrics = results_pipeline_metrics(world->pipeline);
    for (size_t i = 0; i < results_metric_count; i++) {
        if (strcmp(results_metric_table[i].name, which) == 0) {
            const char *at = (const char *)metrics + results_metric_table[i].offset;
            return metric_get((const _Atomic uint64_t *)(const void *)at);
        }
    }
    fail_msg("no metric %s", which);
    return 0;
}

/* --- Tests. --- */

static void test_results_become_the_orders_status(void **state) {
    (void)state;
    struct world *world = new_world();
    struct order_record *first = put_order(world, 11, ORDER_STATUS_PENDING);
    struct order_record *second = put_order(world, 12, ORDER_STATUS_PROCESSING);
    say(world, "{\"order_id\":\"11\",\"result\":\"success\",\"bank_code\":\"NB-7\","
               "\"responded_at\":\"2026-01-01T00:00:09Z\",\"new_member\":[1,{}]}");
    say(world, "{\"order_id\":\"12\",\"result\":\"cancel\",\"bank_code\":null}");
    run(world, 20);
    assert_int_equal(first->status, ORDER_STATUS_SUCCESS);
    assert_slice_equal(ORDER_TEXT(first->bank_code), "NB-7");
    assert_int_equal(first->responded_at_us, ORDER_EPOCH_US + 9000000);
    assert_int_equal(second->status, ORDER_STATUS_CANCEL);
    assert_int_equal(world->committed, 2);
    assert_int_equal(count_of(world, "changed_total"), 2);
    end_world(world);
}

static void test_messages_of_one_order_keep_their_order(void **state) {
    (void)state;
    struct world *world = new_world();
    struct order_record *order = put_order(world, 11, ORDER_STATUS_PENDING);
    say_result(world, 11, "processing");
    say_result(world, 11, "success");
    say_result(world, 11, "success");
    say_result(world, 11, "error");
    run(world, 30);
    assert_int_equal(order->status, ORDER_STATUS_SUCCESS);
    assert_int_equal(order->version, 3);
    assert_int_equal(count_of(world, "repeated_total"), 1);
    assert_int_equal(world->late.count, 1);
    assert_int_equal(world->committed, 4);
    end_world(world);
}

static void test_what_cannot_be_used_is_put_aside_with_the_reason(void **state) {
    (void)state;
    struct world *world = new_world();
    static const struct {
        const char *message;
        const char *reason;
    } cases[] = {
        {"", "no JSON"},
        {"not json", "no JSON"},
        {"[]", "no JSON object"},
        {"{}", "order_id is missing"},
        {"{\"order_id\":\"11\"}", "result is missing"},
        {"{\"order_id\":11,\"result\":\"success\"}", "order_id is no text"},
        {"{\"order_id\":\"011\",\"result\":\"success\"}", "order_id is no order id"},
        {"{\"order_id\":\"11\",\"result\":\"timeout\"}", "result is none of"},
        {"{\"order_id\":\"11\",\"result\":\"success\",\"bank_code\":\"\"}", "bank_code is no bank"},
        {"{\"order_id\":\"11\",\"result\":\"success\",\"responded_at\":\"now\"}", "responded_at"},
        {"{\"order_id\":\"11\",\"result\":\"success\",\"result\":\"error\"}", "no JSON"},
        {"{\"order_id\":\"77\",\"result\":\"success\"}", "no such order"},
    };
    struct order_record *order = put_order(world, 11, ORDER_STATUS_PENDING);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        say(world, cases[i].message);
    }
    run(world, 30);
    assert_int_equal(world->dead.count, ARRAY_COUNT(cases));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_string_equal(world->dead.values[i], cases[i].message);
        assert_contains(world->dead.reasons[i], cases[i].reason);
    }
    assert_int_equal(order->version, 1);
    assert_int_equal(world->committed, ARRAY_COUNT(cases));
    end_world(world);
}

static void test_an_order_that_is_broken_in_the_store_holds_nothing_up(void **state) {
    (void)state;
    struct world *world = new_world();
    struct order_record *broken = put_order(world, 11, ORDER_STATUS_PENDING);
    struct order_record *sound = put_order(world, 12, ORDER_STATUS_PENDING);
    world->broken_id = 11;
    say_result(world, 11, "success");
    say_result(world, 12, "success");
    run(world, 30);
    assert_int_equal(broken->version, 1);
    assert_int_equal(sound->status, ORDER_STATUS_SUCCESS);
    assert_int_equal(world->dead.count, 1);
    assert_contains(world->dead.values[0], "\"11\"");
    assert_contains(world->dead.reasons[0], "broken");
    assert_int_equal(world->committed, 2);
    end_world(world);
}

static void test_a_result_that_disagrees_with_a_final_order_is_late(void **state) {
    (void)state;
    struct world *world = new_world();
    (void)put_order(world, 11, ORDER_STATUS_TIMEOUT);
    archive_order(world, 12, ORDER_STATUS_TIMEOUT);
    archive_order(world, 13, ORDER_STATUS_SUCCESS);
    say_result(world, 11, "success");
    say_result(world, 11, "processing"); /* only out of order */
    say_result(world, 12, "success");
    say_result(world, 13, "success");
    run(world, 30);
    assert_int_equal(world->late.count, 2);
    assert_contains(world->late.reasons[0], "success, but the order is timeout");
    assert_int_equal(count_of(world, "late_total"), 2);
    assert_int_equal(count_of(world, "repeated_total"), 2);
    assert_int_equal(world->dead.count, 0);
    assert_int_equal(world->committed, 4);
    end_world(world);
}

static void test_a_tier_that_does_not_answer_is_waited_for(void **state) {
    (void)state;
    static const enum order_result failures[] = {ORDER_RESULT_UNAVAILABLE, ORDER_RESULT_UNKNOWN,
                                                 ORDER_RESULT_BUSY};
    for (size_t i = 0; i < ARRAY_COUNT(failures); i++) {
        struct world *world = new_world();
        struct order_record *order = put_order(world, 11, ORDER_STATUS_PENDING);
        archive_order(world, 12, ORDER_STATUS_SUCCESS);
        say_result(world, 11, "success");
        say_result(world, 12, "success");
        world->store_fails = failures[i];
        world->archive_fails = ORDER_RESULT_UNAVAILABLE;
        run(world, 1000);                        /* 20 s */
        assert_true(world->store_requests < 25); /* the pace is bounded */
        assert_int_equal(world->committed, 0);
        world->store_fails = ORDER_RESULT_NONE;
        run(world, 1000);
        assert_int_equal(order->status, ORDER_STATUS_SUCCESS);
        assert_int_equal(world->committed, 0);
        world->archive_fails = ORDER_RESULT_NONE;
        run(world, 300);
        assert_int_equal(world->committed, 2);
        assert_int_equal(world->dead.count, 0);
        end_world(world);
    }
}

static void test_a_time_that_cannot_be_does_not_lose_the_result(void **state) {
    (void)state;
    struct world *world = new_world();
    struct order_record *order = put_order(world, 11, ORDER_STATUS_PENDING);
    say(world,
        "{\"order_id\":\"11\",\"result\":\"success\",\"responded_at\":\"1999-01-01T00:00:00Z\"}");
    run(world, 30);
    assert_int_equal(order->status, ORDER_STATUS_SUCCESS);
    assert_true(order->responded_at_us > SAMPLE_TIME_US);
    assert_int_equal(count_of(world, "bad_times_total"), 1);
    end_world(world);
}

static void test_positions_move_only_when_all_is_put_aside(void **state) {
    (void)state;
    struct world *world = new_world();
    (void)put_order(world, 11, ORDER_STATUS_TIMEOUT);
    say(world, "x");
    say_result(world, 11, "error");
    world->dead.fail = 3;
    world->late.fail = 2;
    for (unsigned i = 0; i < 200; i++) {
        run(world, 1);
        assert_true(world->committed == 0 || world->dead.count + world->late.count == 2);
    }
    assert_int_equal(world->committed, 2);
    end_world(world);
}

static void test_a_commit_that_fails_is_tried_again(void **state) {
    (void)state;
    struct world *world = new_world();
    (void)put_order(world, 11, ORDER_STATUS_PENDING);
    say_result(world, 11, "success");
    world->fail_commits = 3;
    run(world, 200);
    assert_int_equal(world->committed, 1);
    assert_int_equal(count_of(world, "commit_failures_total"), 3);
    end_world(world);
}

static void test_messages_that_come_again_change_nothing(void **state) {
    (void)state;
    struct world *world = new_world();
    struct order_record *order = put_order(world, 11, ORDER_STATUS_PENDING);
    say_result(world, 11, "success");
    world->taken_away = true;
    run(world, 100);
    assert_int_equal(world->committed, 1);
    assert_int_equal(order->version, 2);
    assert_int_equal(count_of(world, "repeated_total"), 1);
    assert_int_equal(world->late.count, 0);
    end_world(world);
}

static void test_a_crash_anywhere_loses_no_result(void **state) {
    (void)state;
    for (unsigned step = 0; step < 40; step++) {
        struct world *world = new_world();
        struct order_record *first = put_order(world, 11, ORDER_STATUS_PENDING);
        (void)put_order(world, 12, ORDER_STATUS_TIMEOUT);
        say_result(world, 11, "processing");
        say_result(world, 11, "success");
        say_result(world, 12, "error");
        say(world, "dead");
        for (unsigned crash = 0; crash < 4; crash++) {
            run(world, step);
            if (step % 2 == 0) {
                (void)results_pipeline_step(world->pipeline); /* a request is under way */
            }
            restart(world);
        }
        run(world, 100);
        assert_int_equal(first->status, ORDER_STATUS_SUCCESS);
        assert_int_equal(first->version, 3);
        assert_true(world->late.count >= 1 && world->dead.count >= 1);
        assert_int_equal(world->committed, 4);
        end_world(world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_become_the_orders_status),
        cmocka_unit_test(test_messages_of_one_order_keep_their_order),
        cmocka_unit_test(test_what_cannot_be_used_is_put_aside_with_the_reason),
        cmocka_unit_test(test_an_order_that_is_broken_in_the_store_holds_nothing_up),
        cmocka_unit_test(test_a_result_that_disagrees_with_a_final_order_is_late),
        cmocka_unit_test(test_a_tier_that_does_not_answer_is_waited_for),
        cmocka_unit_test(test_a_time_that_cannot_be_does_not_lose_the_result),
        cmocka_unit_test(test_positions_move_only_when_all_is_put_aside),
        cmocka_unit_test(test_a_commit_that_fails_is_tried_again),
        cmocka_unit_test(test_messages_that_come_again_change_nothing),
        cmocka_unit_test(test_a_crash_anywhere_loses_no_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
