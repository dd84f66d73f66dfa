#include "sim_client.h"

#include <stdlib.h>

/* A request that waits this long, on both scales, waits for ever. */
#define WAIT_MAX_US INT64_C(60000000)
#define WAIT_MAX_STEPS 20000

void sim_clients_init(struct sim *sim) {
    sim->clients = calloc(SIM_CLIENTS_MAX, sizeof(*sim->clients));
    assert(sim->clients != NULL);
    for (uint32_t i = 0; i < sim->regime.client_count; i++) {
        sim->clients[i].number = i;
        sim->clients[i].follows = i < 3;
    }
}

void sim_clients_deinit(struct sim *sim) {
    free(sim->clients);
}

struct sim_operation *sim_operation_begin(struct sim *sim, struct sim_loop *loop,
                                          struct sim_client *client, enum sim_kind kind) {
    struct sim_operation *operation = calloc(1, sizeof(*operation));
    assert(operation != NULL && client->operation == NULL);
    operation->kind = kind;
    operation->sim = sim;
    operation->loop = loop;
    operation->client = client;
    operation->begun_us = sim->clock.now_us;
    operation->begun_step = sim->step;
    operation->next = loop->operations;
    loop->operations = operation;
    client->operation = operation;
    return operation;
}

void sim_operation_end(struct sim_operation *operation, uint64_t outcome) {
    struct sim_operation **link = &operation->loop->operations;
    while (*link != operation) {
        link = &(*link)->next;
    }
    *link = operation->next;
    operation->client->operation = NULL;
    sim_note(operation->sim, (uint64_t)operation->kind << 32 | outcome);
    if (operation->kind == SIM_MANY) {
        free(operation->many.items);
    }
    free(operation);
}

void sim_count_answer(struct sim *sim, enum order_result result) {
    struct sim_counters *counters = &sim->counters;
    switch (result) {
    case ORDER_RESULT_CREATED:
        counters->answers_created++;
        break;
    case ORDER_RESULT_REPLAYED:
        counters->answers_replayed++;
        break;
    case ORDER_RESULT_CONFLICT:
        counters->answers_conflict++;
        break;
    case ORDER_RESULT_CHANGED:
        counters->answers_changed++;
        break;
    case ORDER_RESULT_UNCHANGED:
        counters->answers_unchanged++;
        break;
    case ORDER_RESULT_ILLEGAL:
        counters->answers_illegal++;
        break;
    case ORDER_RESULT_MISMATCH:
        counters->answers_mismatch++;
        break;
    case ORDER_RESULT_BAD_TIME:
        counters->answers_bad_time++;
        break;
    case ORDER_RESULT_FOUND:
        counters->answers_found++;
        break;
    case ORDER_RESULT_ABSENT:
        counters->answers_absent++;
        break;
    case ORDER_RESULT_BUSY:
        counters->answers_busy++;
        break;
    case ORDER_RESULT_UNAVAILABLE:
        counters->answers_unavailable++;
        break;
    case ORDER_RESULT_UNKNOWN:
        counters->answers_unknown++;
        break;
    default:
        sim_fail(sim, "a client got result %d", (int)result);
    }
}

struct sim_order *sim_pick_order(struct sim *sim) {
    const struct sim_model *model = &sim->model;
    if (model->count == 0) {
        return NULL;
    }
    uint64_t range = (uint64_t)model->count;
    if (sim_below(sim, 4) != 0) {
        range = bytes_min_u64(range, 64); /* mostly one of the newest */
    }
    return &model->orders[(uint64_t)model->count - 1 - sim_below(sim, range)];
}

static void begin_something(struct sim *sim, struct sim_loop *loop, struct sim_client *client) {
    static void (*const begins[])(struct sim_operation *) = {
        [SIM_CREATE] = sim_begin_create, [SIM_CREATE_BATCH] = sim_begin_create_batch,
        [SIM_CHANGE] = sim_begin_change, [SIM_GET] = sim_begin_get,
        [SIM_MANY] = sim_begin_many,     [SIM_FIND] = sim_begin_find,
        [SIM_FOLLOW] = sim_begin_follow,
    };
    static const enum sim_kind mix[] = {
        SIM_CREATE, SIM_CREATE, SIM_CREATE, SIM_CREATE_BATCH, SIM_CHANGE, SIM_CHANGE,
        SIM_CHANGE, SIM_CHANGE, SIM_GET,    SIM_GET,          SIM_MANY,   SIM_FIND,
    };
    enum sim_kind kind = client->follows ? SIM_FOLLOW : mix[sim_below(sim, ARRAY_COUNT(mix))];
    begins[kind](sim_operation_begin(sim, loop, client, kind));
}

bool sim_clients_run_loop(struct sim *sim, size_t number) {
    struct sim_loop *loop = &sim->process->loops[number];
    bool busy = port_drain(&loop->mailbox, 1 + (size_t)sim_below(sim, 64)) > 0;
    size_t begins = (size_t)sim_below(sim, 6);
    for (size_t i = 0; i < begins; i++) {
        struct sim_client *client = &sim->clients[sim_below(sim, sim->regime.client_count)];
        /* The first of the followers is slow. */
        bool comes = client->follows ? sim->quiet || client->number > 0 || sim_below(sim, 32) == 0
                                     : !sim->quiet;
        if (client->number % SIM_LOOPS == number && client->operation == NULL && comes) {
            begin_something(sim, loop, client);
            busy = true;
        }
    }
    command_flush(loop->command);
    query_flush(loop->query);
    return busy;
}

void sim_clients_cut_off(struct sim *sim, struct sim_loop *loop) {
    while (loop->operations != NULL) {
        sim->counters.operations_cut_off++;
        sim_operation_end(loop->operations, UINT32_MAX);
    }
}

bool sim_clients_are_through(const struct sim *sim) {
    for (size_t i = 0; i < sim->regime.client_count; i++) {
        const struct sim_client *client = &sim->clients[i];
        if (client->follows ? client->position + 1 != sim->model.next_change
                            : client->operation != NULL) {
            return false;
        }
    }
    return true;
}

void sim_clients_check_waits(const struct sim *sim) {
    for (size_t i = 0; i < sim->regime.client_count; i++) {
        const struct sim_operation *operation = sim->clients[i].operation;
        SIM_CHECK(sim,
                  operation == NULL || sim->clock.now_us - operation->begun_us < WAIT_MAX_US ||
                      sim->step - operation->begun_step < WAIT_MAX_STEPS,
                  "client %zu waits for ever for an answer of kind %d", i, (int)operation->kind);
    }
}
