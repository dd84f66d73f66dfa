#include "service/query_internal.h"

/* A request for many orders: all that local memory has at once, the rest in slices from the tiers
 * below, one slice after the other. */

/* Orders that are looked for together. */
#define MEMORY_GROUP 64

static uint64_t id_at(const struct query_many *many, size_t item) {
    return bytes_load_u64((const char *)many->ids + item * sizeof(uint64_t));
}

static void put_state(struct query_many *many, size_t item, struct order_state state) {
    memcpy((char *)many->states + item * sizeof(state), &state, sizeof(state));
}

static bool is_answered(const struct query_many *many, size_t item) {
    if (many->states != NULL) {
        return bytes_load_u32((const char *)many->states + item * sizeof(struct order_state)) != 0;
    }
    return many->orders[item].version != 0;
}

static void put_order(struct query_many *many, size_t item, const struct order_record *order) {
    if (many->states != NULL) {
        put_state(many, item, (struct order_state){order->version, order->status, 0, 0});
    } else {
        many->orders[item] = *order;
    }
}

static void put_unknown(struct query_many *many, size_t item, uint8_t flag) {
    many->unknown++;
    if (many->states != NULL) {
        put_state(many, item, (struct order_state){0, 0, flag, 0});
    }
}

static void put_result(struct query_many *many, size_t item, uint8_t result,
                       const struct order_record *order) {
    switch (result) {
    case ORDER_RESULT_FOUND:
        put_order(many, item, order);
        break;
    case ORDER_RESULT_ABSENT:
        break;
    case ORDER_RESULT_BUSY:
        put_unknown(many, item, ORDER_STATE_PROVISIONAL);
        break;
    default:
        put_unknown(many, item, ORDER_STATE_UNKNOWN);
        break;
    }
}

static void release_slice(struct query_slice *slice) {
    struct query_service *service = slice->many->service;
    slice->next = service->free_slices;
    service->free_slices = slice;
}

/** Gathers the next items that must be looked up. False where there are none left. */
static bool gather(struct query_many *many, struct query_slice *slice) {
    struct query_service *service = many->service;
    int64_t now_us = clock_now_us(service->clock);
    size_t count = 0;
    while (many->at < many->count && count < QUERY_MANY_SLICE) {
        size_t item = many->at++;
        uint64_t order_id = id_at(many, item);
        if (!is_answered(many, item) &&
            service->lookup->ops->is_possible(service->lookup, order_id, now_us)) {
            slice->places[count] = (uint32_t)item;
            slice->ids[count] = order_id;
            count++;
        }
    }
    slice->lookup.get.count = count;
    return count > 0;
}

/** What is left when nobody answers any more. */
static void give_up_rest(struct query_many *many) {
    int64_t now_us = clock_now_us(many->service->clock);
    for (; many->at < many->count; many->at++) {
        if (!is_answered(many, many->at) &&
            many->service->lookup->ops->is_possible(many->service->lookup, id_at(many, many->at),
                                                    now_us)) {
            put_unknown(many, many->at, ORDER_STATE_UNKNOWN);
        }
    }
}

static void take_slice(struct query_slice *slice) {
    for (size_t i = 0; i < slice->lookup.get.count; i++) {
        put_result(slice->many, slice->places[i], slice->results[i], &slice->orders[i]);
    }
}

/** Sends the next slice. True where nothing is left to wait for. */
static bool send_next(struct query_many *many) {
    struct lookup *lookup = many->service->lookup;
    if (!gather(many, many->slice)) {
        return true;
    }
    metric_add(&many->service->metrics.lookups_total, many->slice->lookup.get.count);
    if (lookup->ops->get(lookup, &many->slice->lookup) == PORT_TAKEN) {
        return false;
    }
    memset(many->slice->results, ORDER_RESULT_UNAVAILABLE, many->slice->lookup.get.count);
    take_slice(many->slice);
    give_up_rest(many);
    return true;
}

static void slice_done(struct port_request *request) {
    struct query_slice *slice = (struct query_slice *)request;
    struct query_many *many = slice->many;
    take_slice(slice);
    if (send_next(many)) {
        release_slice(slice);
        many->done(many);
    }
}

/** The orders that local memory has, in groups whose memory accesses overlap; the others are all
 *  zero. */
static size_t orders_from_memory(const struct query_service *service, struct query_many *many) {
    uint64_t ids[MEMORY_GROUP];
    bool found[MEMORY_GROUP];
    size_t found_count = 0;
    for (size_t at = 0; at < many->count; at += MEMORY_GROUP) {
        size_t count = bytes_min_size(many->count - at, MEMORY_GROUP);
        memcpy(ids, (const char *)many->ids + at * sizeof(*ids), count * sizeof(*ids));
        found_count += order_table_get_many(service->table, ids, count, many->orders + at, found);
        for (size_t i = 0; i < count; i++) {
            if (!found[i]) {
                memset(&many->orders[at + i], 0, sizeof(many->orders[at + i]));
            }
        }
    }
    return found_count;
}

/** What is left of the `found` states where memory is behind the log: only final ones. The others
 *  become "absent". */
static size_t believed_states(struct query_service *service, void *states, size_t count,
                              size_t found) {
    static const struct order_state absent = {0};
    size_t doubted = 0;
    if (query_memory_is_current(service)) {
        return found;
    }
    for (size_t i = 0; i < count; i++) {
        struct order_state state;
        char *place = (char *)states + i * sizeof(state);
        memcpy(&state, place, sizeof(state));
        if (state.version != 0 && !order_status_is_final(state.status)) {
            memcpy(place, &absent, sizeof(absent));
            doubted++;
        }
    }
    metric_add(&service->metrics.memory_doubted_total, doubted);
    return found - doubted;
}

/** The same for orders; one that is not believed becomes all zero. */
static size_t believed_orders(struct query_service *service, struct order_record *orders,
                              bool *found, size_t count, size_t present) {
    size_t doubted = 0;
    if (query_memory_is_current(service)) {
        return present;
    }
    for (size_t i = 0; i < count; i++) {
        bool doubt = (found == NULL ? orders[i].version != 0 : found[i]) &&
                     !order_status_is_final(orders[i].status);
        if (doubt) {
            memset(&orders[i], 0, sizeof(orders[i]));
        }
        if (doubt && found != NULL) {
            found[i] = false;
        }
        doubted += doubt;
    }
    metric_add(&service->metrics.memory_doubted_total, doubted);
    return present - doubted;
}

/** Answers from local memory; returns how many were found. */
static size_t from_memory(struct query_service *service, struct query_many *many) {
    if (many->states != NULL) {
        size_t found = order_table_states(service->table, many->ids, many->count, many->states);
        return believed_states(service, many->states, many->count, found);
    }
    size_t found = orders_from_memory(service, many);
    return believed_orders(service, many->orders, NULL, many->count, found);
}

bool query_states_from_memory(struct query_service *service, const void *ids, size_t count,
                              struct order_state *out) {
    size_t found = order_table_states(service->table, ids, count, out);
    bool all = believed_states(service, out, count, found) == count;
    if (all) {
        metric_add(&service->metrics.memory_hits_total, count);
    }
    return all;
}

size_t query_orders_from_memory(struct query_service *service, const uint64_t *ids, size_t count,
                                struct order_record *orders, bool *found) {
    size_t present = order_table_get_many(service->table, ids, count, orders, found);
    present = believed_orders(service, orders, found, count, present);
    metric_add(&service->metrics.memory_hits_total, present);
    return present;
}

bool query_many(struct query_service *service, struct query_many *many) {
    size_t found = from_memory(service, many);
    metric_add(&service->metrics.memory_hits_total, found);
    many->unknown = 0;
    if (found == many->count) {
        return true;
    }
    metric_add(&service->metrics.memory_misses_total, many->count - found);
    many->at = 0;
    many->service = service;
    many->slice = service->free_slices;
    if (many->slice == NULL) {
        metric_add(&service->metrics.refused_total, many->count - found);
        give_up_rest(many);
        return true;
    }
    service->free_slices = many->slice->next;
    many->slice->many = many;
    if (!send_next(many)) {
        return false;
    }
    release_slice(many->slice);
    return true;
}

void query_many_init(struct query_service *service, struct mailbox *mailbox) {
    for (size_t i = 0; i < QUERY_MANY_MAX; i++) {
        struct query_slice *slice = &service->slices[i];
        slice->lookup.get = (struct order_get_batch){
            .request = {.done = slice_done, .mailbox = mailbox},
            .order_ids = slice->ids,
            .orders = slice->orders,
            .results = slice->results,
        };
        slice->next = service->free_slices;
        service->free_slices = slice;
    }
}
