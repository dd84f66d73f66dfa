/** The checker among changes, losses, forgeries, and tiers and query instances that do not answer,
 *  all at random under a seed: in the end every tier has the truth and every instance answers it,
 * and on the way nothing true was lost. */
#include "audit_world.h"

#define ORDERS 40
#define SEEDS 30
#define MOMENTS 600
#define MOMENT_US 100000

struct chaos {
    struct world *world;
    uint64_t random;
    struct order_record truth[WORLD_ORDERS]; /* as it was last committed; version 0: not created */
    struct order_record former[WORLD_ORDERS];
};

static uint64_t draw(struct chaos *chaos, uint64_t limit) {
    chaos->random ^= chaos->random << 13;
    chaos->random ^= chaos->random >> 7;
    chaos->random ^= chaos->random << 17;
    return chaos->random % limit;
}

/** The order's next state; a final one goes to the archive. */
static void go_on(struct chaos *chaos, uint64_t order_id) {
    struct order_record *truth = &chaos->truth[order_id];
    if (truth->version != 0 && order_status_is_final(truth->status)) {
        if (chaos->world->hot[order_id].version != 0) {
            world_archive(chaos->world, order_id);
        }
        return;
    }
    enum order_status next = truth->version == 0 ? ORDER_STATUS_PENDING
                             : truth->status == ORDER_STATUS_PENDING && draw(chaos, 2) == 0
                                 ? ORDER_STATUS_PROCESSING
                                 : ORDER_STATUS_SUCCESS;
    chaos->former[order_id] = *truth;
    *truth = world_order(chaos->world, order_id, truth->version + 1, next);
    world_commit(chaos->world, truth);
}

static void spoil_cache(struct chaos *chaos, uint64_t order_id) {
    struct order_record *held = &chaos->world->cached[order_id];
    const struct order_record *truth = &chaos->truth[order_id];
    switch (draw(chaos, 4)) {
    case 0:
        *held = chaos->former[order_id]; /* older, or none */
        break;
    case 1:
        memset(held, 0, sizeof(*held));
        break;
    case 2:
        *held = world_order(chaos->world, order_id, truth->version + (uint32_t)draw(chaos, 3),
                            ORDER_STATUS_CANCEL);
        break;
    default:
        chaos->world->foreign[order_id] = true;
        break;
    }
}

static void spoil_instance(struct chaos *chaos, uint64_t order_id) {
    struct world_instance *instance = &chaos->world->instances[draw(chaos, WORLD_INSTANCES)];
    const struct order_record *truth = &chaos->truth[order_id];
    switch (draw(chaos, 6)) {
    case 0:
        instance->silent = !instance->silent;
        break;
    case 1:
        instance->gives_states = !instance->gives_states;
        break;
    case 2:
        instance->unknown[order_id] = !instance->unknown[order_id];
        break;
    case 3:
        instance->held[order_id] = chaos->former[order_id];
        break;
    default:
        instance->held[order_id] = world_order(
            chaos->world, order_id, truth->version + (uint32_t)draw(chaos, 3), ORDER_STATUS_CANCEL);
        break;
    }
}

static void spoil_row(struct chaos *chaos, uint64_t order_id) {
    struct world *world = chaos->world;
    struct world_row *row = &world->rows[order_id];
    if (!row->present) {
        return;
    }
    row->writetime_us = world->now_us;
    row->present = draw(chaos, 3) != 0;
    row->broken = row->present && draw(chaos, 2) == 0;
    if (row->present && !row->broken) {
        row->order = world_order(world, order_id, 1 + (uint32_t)draw(chaos, 9), ORDER_STATUS_ERROR);
        row->writetime_us += (int64_t)draw(chaos, 1000000000);
    }
}

static void act(struct chaos *chaos) {
    uint64_t order_id = 1 + draw(chaos, ORDERS);
    switch (draw(chaos, 11)) {
    case 0:
        if (chaos->truth[order_id].version != 0) {
            spoil_cache(chaos, order_id);
        }
        break;
    case 1:
        spoil_row(chaos, order_id);
        break;
    case 2:
        if (chaos->truth[order_id].version != 0) {
            spoil_instance(chaos, order_id);
        }
        break;
    case 3: {
        enum world_request request = (enum world_request)draw(chaos, WORLD_REQUESTS);
        chaos->world->down[request] = !chaos->world->down[request];
        break;
    }
    default:
        go_on(chaos, order_id);
        break;
    }
}

/** Between the requests of a look or of a repair, too. */
static void meddle(struct world *world, enum world_request request) {
    struct chaos *chaos = world->meddler;
    (void)request;
    if (draw(chaos, 40) == 0) {
        go_on(chaos, 1 + draw(chaos, ORDERS));
    }
}

static void assert_truth(const struct chaos *chaos, uint64_t order_id) {
    const struct world *world = chaos->world;
    const struct order_record *truth = &chaos->truth[order_id];
    const struct world_row *row = &world->rows[order_id];
    if (truth->version == 0) {
        return;
    }
    bool hot = world->hot[order_id].version != 0;
    assert_memory_equal(hot ? &world->hot[order_id] : &row->order, truth, sizeof(*truth));
    assert_true(hot || (row->present && !row->broken));
    assert_false(world->foreign[order_id]);
    if (world->cached[order_id].version != 0 || !order_status_is_final(truth->status)) {
        assert_memory_equal(&world->cached[order_id], truth, sizeof(*truth));
    }
    for (size_t i = 0; i < WORLD_INSTANCES; i++) {
        struct audit_answer answer = world_answer(&chaos->world->instances[i], order_id);
        assert_int_equal(answer.result, ORDER_RESULT_FOUND);
        assert_memory_equal(&answer.order, truth, sizeof(*truth));
    }
}

static void run_seed(uint64_t seed) {
    struct chaos chaos = {.world = world_create_watching(),
                          .random = seed * UINT64_C(0x9e3779b97f4a7c15)};
    chaos.world->meddle = meddle;
    chaos.world->meddler = &chaos;
    for (int i = 0; i < MOMENTS; i++) {
        act(&chaos);
        world_drive(chaos.world, MOMENT_US);
        for (uint64_t id = 1; id <= ORDERS; id++) { /* what is hot is as it was committed */
            const struct order_record *hot = &chaos.world->hot[id];
            assert_true(hot->version == 0 || memcmp(hot, &chaos.truth[id], sizeof(*hot)) == 0);
        }
    }
    chaos.world->meddle = NULL;
    memset(chaos.world->down, 0, sizeof(chaos.world->down));
    for (size_t i = 0; i < WORLD_INSTANCES; i++) {
        struct world_instance *instance = &chaos.world->instances[i];
        memset(instance->unknown, 0, sizeof(instance->unknown));
        instance->silent = false;
        instance->gives_states = false;
    }
    world_drive(chaos.world, INT64_C(700000000)); /* past the pause of an alarm, twice */
    for (uint64_t id = 1; id <= ORDERS; id++) {
        assert_truth(&chaos, id);
    }
    assert_int_equal(metric_get(&audit_metrics(chaos.world->audit)->alarms), 0);
    world_destroy(chaos.world);
}

static void test_whatever_happens_every_tier_has_the_truth_in_the_end(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message("# seed %u\n", (unsigned)seed);
        run_seed(seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_happens_every_tier_has_the_truth_in_the_end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
