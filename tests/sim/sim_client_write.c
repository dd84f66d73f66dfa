/* Clients that create and change. */
#include "sim_client.h"

/* --- Creates. --- */

static int32_t index_of(const struct sim *sim, const struct sim_order *order) {
    return order == NULL ? -1 : (int32_t)(order - sim->model.orders);
}

static void draw_create(struct sim *sim, struct sim_create_view *view) {
    struct order_record draft = {.amount = 0};
    /* Half of them within a few references, so that they meet. */
    uint32_t range = sim->regime.reference_count;
    range = sim_below(sim, 2) == 0 ? range : range / 8 + 1;
    uint32_t reference = (uint32_t)sim_below(sim, range);
    sim_reference_set(&sim->model, &draft, reference);
    view->serial = 0;
    draft.amount = 1000 + reference * 10 + (sim_below(sim, 8) == 0 ? 1 : 0);
    if (sim_below(sim, 4) == 0) {
        view->serial = sim_model_next_serial(&sim->model);
        draft.amount = SIM_SERIAL_AMOUNT + view->serial;
    }
    enum order_record_fault fault = order_record_accept_draft(&draft, "VND");
    assert(fault == ORDER_RECORD_VALID);
    const struct sim_order *newest = sim_model_newest(&sim->model, reference);
    view->draft = draft;
    view->newest = index_of(sim, newest);
    view->newest_version = newest == NULL ? 0 : newest->version;
}

/** The reference has an order: it must be the one that is known, or a younger one. */
static void check_existing(struct sim_operation *operation, const struct sim_create_view *view,
                           const struct order_record *shown) {
    struct sim *sim = operation->sim;
    const struct sim_order *order = sim_model_check_shown(sim, shown);
    unsigned long long id = shown->order_id;
    SIM_CHECK(sim, order_record_same_reference(&view->draft, shown),
              "a create was answered with order %llu, which has another reference", id);
    SIM_CHECK(sim, index_of(sim, order) >= view->newest,
              "a create was answered with order %llu, but its reference had a younger one", id);
    SIM_CHECK(sim, index_of(sim, order) > view->newest || shown->version >= view->newest_version,
              "a create was answered with version %u of order %llu, but %u was known",
              shown->version, id, view->newest_version);
    SIM_CHECK(sim,
              !order_status_is_final(shown->status) ||
                  shown->created_at_us + sim->regime.window_us >= operation->begun_us,
              "a create was answered with order %llu, which is out of the window", id);
}

static void check_created(struct sim_operation *operation, const struct sim_create_view *view,
                          const struct order_record *shown) {
    struct sim *sim = operation->sim;
    const struct sim_order *known = sim_model_check_shown(sim, shown);
    struct sim_order *order = &sim->model.orders[index_of(sim, known)];
    SIM_CHECK(sim,
              shown->version == 1 && order_record_same_reference(&view->draft, shown) &&
                  order_record_same_request(&view->draft, shown),
              "order %llu was created with another content", (unsigned long long)shown->order_id);
    SIM_CHECK(sim,
              index_of(sim, order) > view->newest && shown->created_at_us >= operation->begun_us,
              "order %llu was acknowledged as new, but is older than the request",
              (unsigned long long)shown->order_id);
    SIM_CHECK(sim, !order->acknowledged[0], "order %llu was acknowledged to two creates",
              (unsigned long long)shown->order_id);
    order->acknowledged[0] = true;
}

static void check_create(struct sim_operation *operation, const struct sim_create_view *view,
                         const struct order_record *order, enum order_result result) {
    struct sim *sim = operation->sim;
    sim_count_answer(sim, result);
    switch (result) {
    case ORDER_RESULT_CREATED:
        check_created(operation, view, order);
        break;
    case ORDER_RESULT_REPLAYED:
    case ORDER_RESULT_CONFLICT:
        check_existing(operation, view, order);
        SIM_CHECK(
            sim,
            order_record_same_request(&view->draft, order) == (result == ORDER_RESULT_REPLAYED),
            "order %llu was taken for the wrong content", (unsigned long long)order->order_id);
        break;
    case ORDER_RESULT_BUSY:
    case ORDER_RESULT_UNAVAILABLE:
        sim_model_refuse_serial(sim, view->serial);
        break;
    case ORDER_RESULT_UNKNOWN:
        SIM_CHECK(sim, sim->unknown.is_open, "a create ended as unknown, but no write failed");
        break;
    default:
        sim_fail(sim, "a create ended with result %d", (int)result);
    }
    sim_note(sim, order->order_id);
}

static void create_done(struct command_create *create) {
    struct sim_operation *operation = CONTAINER_OF(create, struct sim_operation, create.service);
    check_create(operation, &operation->create.view, &create->order, create->result);
    sim_operation_end(operation, (uint64_t)create->result);
}

void sim_begin_create(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    draw_create(sim, &operation->create.view);
    operation->create.service =
        (struct command_create){.order = operation->create.view.draft, .done = create_done};
    if (!command_create(operation->loop->command, &operation->create.service)) {
        sim_model_refuse_serial(sim, operation->create.view.serial);
        sim_operation_end(operation, 0);
    }
}

static void batch_done(struct port_request *request) {
    struct sim_operation *operation =
        CONTAINER_OF(request, struct sim_operation, batch.port.request);
    for (size_t i = 0; i < operation->batch.port.count; i++) {
        check_create(operation, &operation->batch.views[i], &operation->batch.orders[i],
                     (enum order_result)operation->batch.results[i]);
    }
    sim_operation_end(operation, operation->batch.port.count);
}

void sim_begin_create_batch(struct sim_operation *operation) {
    struct sim *sim = operation->sim;
    size_t count = (size_t)sim_below(sim, sim_below(sim, 4) == 0 ? SIM_BATCH_MAX : 8) + 1;
    operation->batch.port = (struct order_create_batch){
        .request = {.done = batch_done, .mailbox = &operation->loop->mailbox},
        .count = count,
        .orders = operation->batch.orders,
        .reference_hashes = operation->batch.hashes,
        .results = operation->batch.results,
    };
    for (size_t i = 0; i < count; i++) {
        draw_create(sim, &operation->batch.views[i]);
        operation->batch.orders[i] = operation->batch.views[i].draft;
        operation->batch.hashes[i] = order_record_reference_hash(&operation->batch.orders[i]);
    }
    if (command_create_batch(operation->loop->command, &operation->batch.port) == PORT_BUSY) {
        for (size_t i = 0; i < count; i++) {
            sim_model_refuse_serial(sim, operation->batch.views[i].serial);
        }
        sim_operation_end(operation, 0);
    }
}

/* --- Changes. --- */

static bool names(const struct order_match *match, uint32_t version) {
    for (size_t i = 0; i < match->count; i++) {
        if (match->versions[i] == version) {
            return true;
        }
    }
    return !match->required || match->any;
}

static void check_changed(struct sim_operation *operation, const struct order_record *shown) {
    struct sim *sim = operation->sim;
    const struct order_change *change = &operation->change.service.change;
    struct sim_order *order = sim_model_find(&sim->model, shown->order_id);
    unsigned long long id = shown->order_id;
    SIM_CHECK(sim, shown->status == change->status && names(&change->match, shown->version - 1),
              "order %llu was changed to %s at version %u, which nobody asked for", id,
              order_status_name(shown->status), shown->version);
    SIM_CHECK(sim, shown->version > operation->change.known_version,
              "order %llu: a change gave version %u, but that was there before", id,
              shown->version);
    SIM_CHECK(sim, !order->acknowledged[shown->version - 1],
              "order %llu: version %u was acknowledged to two changes", id, shown->version);
    order->acknowledged[shown->version - 1] = true;
}

/** A change that was answered with the order as it is. */
static void check_refused(struct sim_operation *operation, const struct order_record *shown,
                          enum order_result result) {
    struct sim *sim = operation->sim;
    const struct order_change *change = &operation->change.service.change;
    bool right = true;
    if (result == ORDER_RESULT_UNCHANGED) {
        right = shown->status == change->status;
    } else if (result == ORDER_RESULT_ILLEGAL) {
        right = !order_status_may_become(shown->status, change->status) &&
                shown->status != change->status;
    } else if (result == ORDER_RESULT_MISMATCH) {
        right = !names(&change->match, shown->version);
    } else {
        right = change->requested_at_us != 0 || change->responded_at_us != 0;
    }
    SIM_CHECK(sim, right, "order %llu at version %u, %s: a change to %s ended with result %d",
              (unsigned long long)shown->order_id, shown->version, order_status_name(shown->status),
              order_status_name(change->status), (int)result);
    SIM_CHECK(sim, shown->version >= operation->change.known_version,
              "order %llu: a change was judged by version %u, but %u was known",
              (unsigned long long)shown->order_id, shown->version, operation->change.known_version);
    sim_model_refuse_serial(sim, operation->change.serial);
}

static void change_done(struct command_change *service) {
    struct sim_operation *operation = CONTAINER_OF(service, struct sim_operation, change.service);
    struct sim *sim = operation->sim;
    enum order_result result = service->result;
    sim_count_answer(sim, result);
    switch (result) {
    case ORDER_RESULT_CHANGED:
        (void)sim_model_check_shown(sim, &service->order);
        check_changed(operation, &service->order);
        break;
    case ORDER_RESULT_UNCHANGED:
    case ORDER_RESULT_ILLEGAL:
    case ORDER_RESULT_MISMATCH:
    case ORDER_RESULT_BAD_TIME:
        (void)sim_model_check_shown(sim, &service->order);
        check_refused(operation, &service->order, result);
        break;
    case ORDER_RESULT_ABSENT:
        SIM_CHECK(sim, operation->change.known_version == 0,
                  "order %llu is there, but a change did not find it",
                  (unsigned long long)service->change.order_id);
        break;
    case ORDER_RESULT_BUSY:
    case ORDER_RESULT_UNAVAILABLE:
        sim_model_refuse_serial(sim, operation->change.serial);
        break;
    case ORDER_RESULT_UNKNOWN:
        SIM_CHECK(sim, sim->unknown.is_open, "a change ended as unknown, but no write failed");
        break;
    default:
        sim_fail(sim, "a change ended with result %d", (int)result);
    }
    sim_operation_end(operation, (uint64_t)result);
}

static void draw_match(struct sim *sim, struct order_match *match, uint32_t version) {
    switch (sim_below(sim, 8)) {
    case 0:
    case 1:
        *match = (struct order_match){.required = true, .count = 1, .versions = {version}};
        break;
    case 2:
        *match = (struct order_match){
            .required = true, .count = 2, .versions = {version + 7, version > 1 ? version - 1 : 9}};
        break;
    case 3:
        *match = (struct order_match){.required = true, .any = true};
        break;
    default:
        *match = (struct order_match){.required = false};
        break;
    }
}

/** Gives the change a time by which it can be told from others. */
static void draw_serial(struct sim_operation *operation, const struct order_record *order) {
    struct order_change *change = &operation->change.service.change;
    uint32_t serial = sim_model_next_serial(&operation->sim->model);
    operation->change.serial = serial;
    if (change->status == ORDER_STATUS_PROCESSING) {
        change->requested_at_us = order->created_at_us + SIM_SERIAL_TIME_US + serial;
    } else {
        change->responded_at_us = order->created_at_us + SIM_SERIAL_TIME_US + serial;
    }
}

void sim_begin_change(struct sim_operation *operation) {
    static const enum order_status targets[] = {
        ORDER_STATUS_PROCESSING, ORDER_STATUS_PROCESSING, ORDER_STATUS_SUCCESS,
        ORDER_STATUS_SUCCESS,    ORDER_STATUS_CANCEL,     ORDER_STATUS_ERROR,
    };
    struct sim *sim = operation->sim;
    const struct sim_order *order = sim_pick_order(sim);
    struct order_change *change = &operation->change.service.change;
    operation->change.service.done = change_done;
    change->status = targets[sim_below(sim, ARRAY_COUNT(targets))];
    if (order == NULL || sim_below(sim, 32) == 0) {
        change->order_id = sim_below(sim, UINT64_C(1) << 60);
        const struct sim_order *hit = sim_model_find(&sim->model, change->order_id);
        operation->change.known_version = hit == NULL ? 0 : hit->version;
    } else {
        change->order_id = order->order_id;
        operation->change.known_version = order->version;
        draw_match(sim, &change->match, order->version);
        if (sim_below(sim, 3) == 0) {
            draw_serial(operation, sim_order_record(order));
        }
    }
    if (!command_change(operation->loop->command, &operation->change.service)) {
        sim_model_refuse_serial(sim, operation->change.serial);
        sim_operation_end(operation, 0);
    }
}
