#include "service/query.h"

#include "base/hash.h"
#include "service/query_internal.h"

#include <stdlib.h>

const struct metric_description query_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct query_metrics, __VA_ARGS__)
    QUERY_METRICS(X)
#undef X
};
const size_t query_metric_count = ARRAY_COUNT(query_metric_table);

/* --- Look-ups that are under way, by id. --- */

static size_t pending_home(uint64_t order_id) {
    return (size_t)hash_mix(order_id) & (QUERY_PENDING_SLOTS - 1);
}

/** The slot that holds the id, or the empty one where it goes. */
static struct query_pending *find_pending(struct query_service *service, uint64_t order_id) {
    size_t slot = pending_home(order_id);
    while (service->pending[slot].order_id != 0 && service->pending[slot].order_id != order_id) {
        slot = (slot + 1) & (QUERY_PENDING_SLOTS - 1);
    }
    return &service->pending[slot];
}

/** Takes an id out, and moves back what had to go past it. */
static void remove_pending(struct query_service *service, uint64_t order_id) {
    size_t hole = (size_t)(find_pending(service, order_id) - service->pending);
    size_t at = hole;
    for (;;) {
        at = (at + 1) & (QUERY_PENDING_SLOTS - 1);
        if (service->pending[at].order_id == 0) {
            break;
        }
        size_t home = pending_home(service->pending[at].order_id);
        size_t from_home = (at - home) & (QUERY_PENDING_SLOTS - 1);
        size_t from_hole = (at - hole) & (QUERY_PENDING_SLOTS - 1);
        if (from_home >= from_hole) {
            service->pending[hole] = service->pending[at];
            hole = at;
        }
    }
    service->pending[hole].order_id = 0;
}

/* --- By id. --- */

void query_conclude_found(struct query_get *get, const struct order_record *order) {
    get->order = *order;
    get->result = order->version < get->min_version ? ORDER_RESULT_MISMATCH : ORDER_RESULT_FOUND;
}

static void count_result(struct query_service *service, enum order_result result) {
    if (result == ORDER_RESULT_ABSENT) {
        metric_add(&service->metrics.absent_total, 1);
    } else if (result != ORDER_RESULT_FOUND) {
        metric_add(&service->metrics.unavailable_total, 1);
    }
}

static enum order_result result_for_reader(uint8_t result) {
    return result == ORDER_RESULT_BROKEN ? ORDER_RESULT_UNAVAILABLE : (enum order_result)result;
}

static bool look_up(struct query_service *service, struct query_get *get);

/** True where a reader joined a look-up that was under way, and what came of that is less than what
 *  may have been written before the reader asked. */
static bool is_outdated(const struct query_batch *batch, size_t item, enum order_result result,
                        const struct query_get *reader) {
    return reader->late && batch->service->memory_may_lag &&
           (result == ORDER_RESULT_ABSENT ||
            (result == ORDER_RESULT_FOUND && batch->orders[item].version < reader->min_version));
}

static void answer_readers(struct query_batch *batch, size_t item) {
    enum order_result result = result_for_reader(batch->results[item]);
    struct query_get *reader = batch->readers[item];
    while (reader != NULL) {
        struct query_get *next = reader->next;
        bool outdated = is_outdated(batch, item, result, reader);
        if (outdated && look_up(batch->service, reader)) {
            reader = next;
            continue;
        }
        if (outdated) {
            reader->result = ORDER_RESULT_UNAVAILABLE;
        } else if (result == ORDER_RESULT_FOUND) {
            query_conclude_found(reader, &batch->orders[item]);
        } else {
            reader->result = result;
        }
        reader->done(reader);
        reader = next;
    }
    count_result(batch->service, result);
}

static void recycle_batch(struct query_batch *batch) {
    batch->lookup.get.count = 0;
    batch->next = batch->service->free_batches;
    batch->service->free_batches = batch;
}

static void recycle_fill(struct query_fill *fill) {
    fill->next = fill->service->free_fills;
    fill->service->free_fills = fill;
}

static void filled(struct port_request *request) {
    recycle_fill((struct query_fill *)request);
}

/** Offers what was found to the cache; whether it takes it is its own affair. */
static void offer(const struct query_batch *batch) {
    struct query_service *service = batch->service;
    struct query_fill *fill = service->free_fills;
    if (service->cache == NULL || fill == NULL) {
        return;
    }
    fill->put.count = 0;
    for (size_t i = 0; i < batch->lookup.get.count; i++) {
        if (batch->results[i] == ORDER_RESULT_FOUND) {
            fill->orders[fill->put.count++] = batch->orders[i];
        }
    }
    service->free_fills = fill->next;
    if (fill->put.count == 0 ||
        service->cache->ops->put(service->cache, &fill->put) != PORT_TAKEN) {
        recycle_fill(fill);
    }
}

static void batch_done(struct port_request *request) {
    struct query_batch *batch = (struct query_batch *)request;
    batch->service->in_flight--;
    for (size_t i = 0; i < batch->lookup.get.count; i++) {
        remove_pending(batch->service, batch->ids[i]);
    }
    for (size_t i = 0; i < batch->lookup.get.count; i++) {
        answer_readers(batch, i);
    }
    offer(batch);
    recycle_batch(batch);
}

static void send_gathered(struct query_service *service) {
    struct query_batch *batch = service->gathering;
    service->gathering = NULL;
    service->in_flight++;
    metric_add(&service->metrics.lookups_total, batch->lookup.get.count);
    if (service->lookup->ops->get(service->lookup, &batch->lookup) != PORT_TAKEN) {
        metric_add(&service->metrics.refused_total, batch->lookup.get.count);
        memset(batch->results, ORDER_RESULT_UNAVAILABLE, batch->lookup.get.count);
        batch_done(&batch->lookup.get.request);
    }
}

/** Adds the reader to the look-up of its order, or begins one. False where there is no room. */
static bool look_up(struct query_service *service, struct query_get *get) {
    struct query_pending *pending = find_pending(service, get->order_id);
    if (pending->order_id != 0) {
        get->next = pending->batch->readers[pending->item];
        get->late = pending->batch != service->gathering;
        pending->batch->readers[pending->item] = get;
        if (!get->late) {
            uint32_t *wanted = &pending->batch->min_versions[pending->item];
            *wanted = get->min_version > *wanted ? get->min_version : *wanted;
        }
        metric_add(&service->metrics.joined_total, 1);
        return true;
    }
    if (service->gathering == NULL) {
        service->gathering = service->free_batches;
        if (service->gathering == NULL) {
            metric_add(&service->metrics.refused_total, 1);
            return false;
        }
        service->free_batches = service->gathering->next;
    }
    struct query_batch *batch = service->gathering;
    size_t item = batch->lookup.get.count++;
    get->next = NULL;
    get->late = false;
    batch->readers[item] = get;
    batch->ids[item] = get->order_id;
    batch->min_versions[item] = get->min_version;
    *pending = (struct query_pending){get->order_id, batch, (uint32_t)item};
    if (batch->lookup.get.count == QUERY_BATCH_MAX) {
        send_gathered(service);
    }
    return true;
}

/** True where what local memory has of an order may be the answer. Its belief is looked at after
 *  the order was copied: so what was believed then is what is answered. */
static bool is_believed(struct query_service *service, const struct order_record *order) {
    if (order_status_is_final(order->status) || query_memory_is_current(service)) {
        return true;
    }
    metric_add(&service->metrics.memory_doubted_total, 1);
    return false;
}

bool query_get(struct query_service *service, struct query_get *get) {
    struct order_record order;
    if (order_table_get(service->table, get->order_id, &order) &&
        (order.version >= get->min_version || !service->memory_may_lag) &&
        is_believed(service, &order)) {
        metric_add(&service->metrics.memory_hits_total, 1);
        query_conclude_found(get, &order);
        return true;
    }
    metric_add(&service->metrics.memory_misses_total, 1);
    if (!service->lookup->ops->is_possible(service->lookup, get->order_id,
                                           clock_now_us(service->clock))) {
        metric_add(&service->metrics.impossible_total, 1);
        get->result = ORDER_RESULT_ABSENT;
        return true;
    }
    if (!look_up(service, get)) {
        get->result = ORDER_RESULT_UNAVAILABLE;
        return true;
    }
    return false;
}

void query_flush(struct query_service *service) {
    if (service->gathering != NULL && service->in_flight < QUERY_IN_FLIGHT) {
        send_gathered(service);
    }
}

/* --- By reference. --- */

static void recycle_finding(struct query_finding *finding) {
    finding->next = finding->service->free_findings;
    finding->service->free_findings = finding;
}

static void take_by_id(struct query_find *find) {
    find->result = find->by_id.result;
    find->order = find->by_id.order;
}

static void by_id_done(struct query_get *get) {
    struct query_find *find = CONTAINER_OF(get, struct query_find, by_id);
    take_by_id(find);
    find->done(find);
}

static void finding_done(struct port_request *request) {
    struct query_finding *finding = (struct query_finding *)request;
    struct query_service *service = finding->service;
    struct query_find *find = finding->find;
    find->order = finding->order;
    find->result = (enum order_result)finding->result;
    recycle_finding(finding);
    if (find->result == ORDER_RESULT_FOUND_ID) {
        find->by_id = (struct query_get){.order_id = find->order.order_id, .done = by_id_done};
        if (!query_get(service, &find->by_id)) {
            return;
        }
        take_by_id(find);
    }
    find->done(find);
}

/** Looks in local memory for the order that has the reference now. */
static bool find_in_memory(struct query_service *service, const struct order_record *reference,
                           struct order_record *found) {
    uint64_t hash = order_record_reference_hash(reference);
    return order_table_find(service->table, reference, hash, found) &&
           order_holds_reference(found, clock_now_us(service->clock), service->window_us) &&
           is_believed(service, found);
}

bool query_find(struct query_service *service, struct query_find *find) {
    struct order_record found;
    if (find_in_memory(service, &find->order, &found)) {
        metric_add(&service->metrics.memory_hits_total, 1);
        find->order = found;
        find->result = ORDER_RESULT_FOUND;
        return true;
    }
    struct query_finding *finding = service->free_findings;
    find->result = ORDER_RESULT_UNAVAILABLE;
    if (finding == NULL) {
        metric_add(&service->metrics.refused_total, 1);
        return true;
    }
    service->free_findings = finding->next;
    finding->find = find;
    finding->order = find->order;
    if (service->store->ops->find(service->store, &finding->batch) != PORT_TAKEN) {
        metric_add(&service->metrics.refused_total, 1);
        recycle_finding(finding);
        return true;
    }
    return false;
}

/* --- The whole. --- */

static void init_batch(struct query_service *service, struct query_batch *batch,
                       struct mailbox *mailbox) {
    batch->service = service;
    batch->lookup = (struct lookup_batch){
        .get = {.request = {.done = batch_done, .mailbox = mailbox},
                .order_ids = batch->ids,
                .orders = batch->orders,
                .results = batch->results},
        .min_versions = batch->min_versions,
    };
    recycle_batch(batch);
}

static void init_fill(struct query_service *service, struct query_fill *fill,
                      struct mailbox *mailbox) {
    fill->service = service;
    fill->put = (struct order_cache_put){
        .request = {.done = filled, .mailbox = mailbox},
        .orders = fill->orders,
        .results = fill->results,
    };
    recycle_fill(fill);
}

static void init_finding(struct query_service *service, struct query_finding *finding,
                         struct mailbox *mailbox) {
    finding->service = service;
    finding->batch = (struct order_find_batch){
        .request = {.done = finding_done, .mailbox = mailbox},
        .count = 1,
        .orders = &finding->order,
        .results = &finding->result,
    };
    recycle_finding(finding);
}

struct query_service *query_service_create(const struct query_parts *parts) {
    struct query_service *service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return NULL;
    }
    service->clock = parts->clock;
    service->table = parts->table;
    service->store = parts->store;
    service->cache = parts->cache;
    service->lookup = parts->lookup;
    service->window_us = parts->window_us;
    service->memory_may_lag = parts->memory_may_lag;
    service->memory_current_until = parts->memory_current_until;
    for (size_t i = 0; i < QUERY_BATCHES; i++) {
        init_batch(service, &service->batches[i], parts->mailbox);
    }
    for (size_t i = 0; i < QUERY_FILLS; i++) {
        init_fill(service, &service->fills[i], parts->mailbox);
    }
    for (size_t i = 0; i < QUERY_FINDS; i++) {
        init_finding(service, &service->findings[i], parts->mailbox);
    }
    query_many_init(service, parts->mailbox);
    return service;
}

void query_service_destroy(struct query_service *service) {
    free(service);
}

struct query_metrics *query_service_metrics(struct query_service *service) {
    return &service->metrics;
}
