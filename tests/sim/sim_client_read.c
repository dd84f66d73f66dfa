/* Clients that read: by id, many, by reference, and the change log. */
#include "sim_client.h"

#include <stdlib.h>

/* --- By id. --- */

static void get_done(struct query_get *get) {
    struct sim_operation *operation = CONTAINER_OF(get, struct sim_operation, get.service);
    struct sim *sim = operation->sim;
    enum order_result result = get->result;
    unsigned long long id = get->order_id;
    uint32_t known = operation->get.known_version;
    sim_count_answer(sim, result);
    if (result == ORDER_RESULT_FOUND || result == ORDER_RESULT_MISMATCH) {
        (void)sim_model_check_shown(sim, &get->order);
        SIM_CHECK(sim, get->order.order_id == get->order_id, "asked for %llu, got %llu", id,
                  (unsigned long long)get->order.order_id);
        SIM_CHECK(sim, get->order.version >= known,
                  "order %llu was read at version %u, but %u was committed before", id,
                  get->order.version, known);
        SIM_CHECK(sim, (get->order.version >= get->min_version) == (result == ORDER_RESULT_FOUND),
                  "order %llu: version %u, asked for %u: result %d", id, get->order.version,
                  get->min_version, (int)result);
    } else if (result == ORDER_RESULT_ABSENT) {
        SIM_CHECK(sim, known == 0, "order %llu is committed, but was not found", id);
    }
    sim_operation_end(operation, (uint64_t)result);
}

/** An id to ask for; mostly one that is known. `*known` is its committed version, 0 for none. */
static uint64_t draw_id(struct sim *sim, uint32_t *known) {
    const struct sim_order *order = sim_pick_order(sim);
    uint64_t order_id = order == NULL ? 0 : order->order_id;
    if (order == NULL || sim_below(sim, 16) == 0) {
        order_id = order_id + sim_below(sim, 3) - 1;
        if (sim_below(sim, 2) == 0) {
            order_id = sim_below(sim, UINT64_MAX);
        }
        order = sim_model_find(&sim->model, order_id);
    }
    *known = order == NULL ? 0 : order->version;
    return order_id;
}

void sim_begin_get(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    struct query_get *get = &operation->get.service;
    get->done = get_done;
    get->order_id = draw_id(sim, &operation->get.known_version);
    if (sim_below(sim, 4) == 0) {
        get->min_version = (uint32_t)sim_below(sim, 4);
    }
    if (query_get(operation->loop->query, get)) {
        get_done(get);
    }
}

/* --- Many. --- */

static void check_state(struct sim_operation *operation, size_t item) {
    struct sim *sim = operation->sim;
    struct order_state state = operation->many.items->states[item];
    const struct sim_order *order = sim_model_find(&sim->model, operation->many.items->ids[item]);
    unsigned long long id = operation->many.items->ids[item];
    if (state.version != 0) {
        SIM_CHECK(sim,
                  order != NULL && state.version <= order->version &&
                      state.version >= operation->many.items->known_versions[item],
                  "state of order %llu: version %u, but %u was committed before", id, state.version,
                  operation->many.items->known_versions[item]);
        SIM_CHECK(sim, order->records[state.version - 1].status == state.status && state.flags == 0,
                  "state of order %llu at version %u: wrong status %u or flags %u", id,
                  state.version, state.status, state.flags);
    } else {
        SIM_CHECK(sim, state.flags != 0 || operation->many.items->known_versions[item] == 0,
                  "order %llu is committed, but has no state", id);
    }
}

static void check_order_of_many(struct sim_operation *operation, size_t item) {
    struct sim *sim = operation->sim;
    const struct order_record *shown = &operation->many.items->orders[item];
    uint32_t known = operation->many.items->known_versions[item];
    unsigned long long id = operation->many.items->ids[item];
    if (shown->version != 0) {
        (void)sim_model_check_shown(sim, shown);
        SIM_CHECK(sim,
                  shown->order_id == operation->many.items->ids[item] && shown->version >= known,
                  "order %llu was read among many at version %u, but %u was committed before", id,
                  shown->version, known);
    } else {
        SIM_CHECK(sim, operation->many.service.unknown > 0 || known == 0,
                  "order %llu is committed, but was not found among many", id);
    }
}

static void many_done(struct query_many *many) {
    struct sim_operation *operation = CONTAINER_OF(many, struct sim_operation, many.service);
    for (size_t i = 0; i < many->count; i++) {
        if (many->states != NULL) {
            check_state(operation, i);
        } else {
            check_order_of_many(operation, i);
        }
    }
    sim_operation_end(operation, many->unknown);
}

void sim_begin_many(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    struct query_many *many = &operation->many.service;
    operation->many.items = calloc(1, sizeof(*operation->many.items));
    assert(operation->many.items != NULL);
    many->done = many_done;
    many->count = (size_t)sim_below(sim, sim_below(sim, 16) == 0 ? SIM_MANY_MAX : 40) + 1;
    many->ids = operation->many.items->ids;
    for (size_t i = 0; i < many->count; i++) {
        operation->many.items->ids[i] = draw_id(sim, &operation->many.items->known_versions[i]);
    }
    if (sim_below(sim, 2) == 0) {
        many->states = operation->many.items->states;
    } else {
        many->orders = operation->many.items->orders;
    }
    if (query_many(operation->loop->query, many)) {
        many_done(many);
    }
}

/* --- By reference. --- */

static void check_found(struct sim_operation *operation, const struct order_record *shown) {
    struct sim *sim = operation->sim;
    const struct sim_order *order = sim_model_check_shown(sim, shown);
    unsigned long long id = shown->order_id;
    SIM_CHECK(sim, order->reference == operation->find.reference,
              "order %llu was found by another reference", id);
    if (operation->find.newest < 0) {
        return;
    }
    int32_t index = (int32_t)(order - sim->model.orders);
    const struct sim_order *newest = &sim->model.orders[operation->find.newest];
    SIM_CHECK(sim,
              index >= operation->find.newest ||
                  sim_model_is_expired(sim, newest, sim->clock.now_us),
              "reference %u gave order %llu, but %llu has it now (created %.6f, %s)",
              operation->find.reference, id, (unsigned long long)newest->order_id,
              (double)(sim_order_record(newest)->created_at_us - ORDER_EPOCH_US) / 1e6 - 2678400.,
              order_status_name(sim_order_record(newest)->status));
    SIM_CHECK(sim,
              index != operation->find.newest || shown->version >= operation->find.newest_version,
              "reference %u gave version %u of order %llu, but %u was committed before",
              operation->find.reference, shown->version, id, operation->find.newest_version);
}

static void find_done(struct query_find *find) {
    struct sim_operation *operation = CONTAINER_OF(find, struct sim_operation, find.service);
    struct sim *sim = operation->sim;
    enum order_result result = find->result;
    sim_count_answer(sim, result);
    if (result == ORDER_RESULT_FOUND) {
        check_found(operation, &find->order);
    } else if (result == ORDER_RESULT_ABSENT && operation->find.newest >= 0) {
        const struct sim_order *newest = &sim->model.orders[operation->find.newest];
        SIM_CHECK(sim, sim_model_is_expired(sim, newest, sim->clock.now_us),
                  "reference %u has order %llu, but was not found", operation->find.reference,
                  (unsigned long long)newest->order_id);
    }
    sim_operation_end(operation, (uint64_t)result);
}

void sim_begin_find(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    struct query_find *find = &operation->find.service;
    uint32_t reference = (uint32_t)sim_below(sim, sim->regime.reference_count);
    if (sim->model.count > 0 && sim_below(sim, 4) != 0) {
        reference = sim_pick_order(sim)->reference;
    }
    const struct sim_order *newest = sim_model_newest(&sim->model, reference);
    operation->find.reference = reference;
    operation->find.newest = newest == NULL ? -1 : (int32_t)(newest - sim->model.orders);
    operation->find.newest_version = newest == NULL ? 0 : newest->version;
    find->done = find_done;
    sim_reference_set(&sim->model, &find->order, reference);
    if (query_find(operation->loop->query, find)) {
        find_done(find);
    }
}

/* --- The change log. --- */

static void take_changes(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    struct sim_client *client = operation->client;
    const struct change_read_batch *batch = &operation->follow.port;
    for (size_t i = 0; i < batch->count; i++) {
        uint64_t position = batch->positions[i];
        const struct sim_change *change = &sim->model.changes[position];
        SIM_CHECK(sim,
                  position < sim->model.next_change &&
                      (client->position == 0 || position == client->position + 1) &&
                      batch->parts[i] == 0,
                  "client %u: change %llu follows %llu", client->number,
                  (unsigned long long)position, (unsigned long long)client->position);
        SIM_CHECK(sim,
                  memcmp(&batch->orders[i],
                         &sim->model.orders[change->order].records[change->version - 1],
                         sizeof(batch->orders[i])) == 0,
                  "client %u: change %llu came with other bytes than were committed",
                  client->number, (unsigned long long)position);
        client->position = position;
    }
    SIM_CHECK(sim,
              batch->count > 0 || client->position + 1 >= operation->follow.next_change ||
                  client->position == 0,
              "client %u: nothing new behind change %llu, but %llu are committed", client->number,
              (unsigned long long)client->position,
              (unsigned long long)operation->follow.next_change - 1);
    SIM_CHECK(sim, batch->count == 0 || batch->after.positions[0] == client->position,
              "client %u: the cursor is at %llu behind change %llu", client->number,
              (unsigned long long)batch->after.positions[0], (unsigned long long)client->position);
    /* "Nothing yet" moves the cursor too: to the newest change when it stood at the oldest. */
    client->position = batch->after.positions[0];
    sim->counters.changes_followed += batch->count;
}

static void follow_done(struct port_request *request) {
    struct sim_operation *operation =
        CONTAINER_OF(request, struct sim_operation, follow.port.request);
    struct sim *sim = operation->sim;
    struct sim_client *client = operation->client;
    struct segment_entry oldest;
    enum change_read_result result = operation->follow.port.result;
    bool any = segment_list_oldest(&sim->process->core.segments, &oldest);
    switch (result) {
    case CHANGE_READ_OK:
        take_changes(operation);
        break;
    case CHANGE_READ_GONE:
        SIM_CHECK(sim, any && client->position + 1 < oldest.first_change,
                  "client %u: change %llu is called gone, but is kept", client->number,
                  (unsigned long long)client->position + 1);
        sim->counters.change_reads_gone++;
        client->position = 0;
        break;
    case CHANGE_READ_UNAVAILABLE:
        sim->counters.change_reads_unavailable++;
        break;
    case CHANGE_READ_INVALID:
        sim_fail(sim, "client %u: position %llu was given, and is called invalid", client->number,
                 (unsigned long long)client->position);
    }
    sim_operation_end(operation, (uint64_t)result);
}

void sim_begin_follow(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    struct change_log *log = &sim->process->core.change_log.log;
    struct change_read_batch *batch = &operation->follow.port;
    if (!sim->quiet && sim_below(sim, 64) == 0) {
        operation->client->position = 0; /* somebody else, who wants all there is */
    }
    *batch = (struct change_read_batch){
        .request = {.done = follow_done, .mailbox = &operation->loop->mailbox},
        .after = {.parts = 1, .positions = {operation->client->position}},
        .limit = (size_t)sim_below(sim, SIM_FOLLOW_MAX) + 1,
        .orders = operation->follow.orders,
        .positions = operation->follow.positions,
        .parts = operation->follow.parts,
    };
    operation->follow.next_change = sim->model.next_change;
    if (log->ops->read(log, batch) == PORT_BUSY) {
        sim_operation_end(operation, 99);
    }
}
