#include "service/command.h"

#include "order/order_id.h"

#include <stdlib.h>

const struct metric_description command_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct command_metrics, __VA_ARGS__)
    COMMAND_METRICS(X)
#undef X
};
const size_t command_metric_count = ARRAY_COUNT(command_metric_table);

/** Gathered creates on their way to the store. */
struct create_batch {
    struct order_create_batch batch;
    struct command_service *service;
    struct create_batch *next; /* in the list of free ones */
    struct command_create *creates[COMMAND_BATCH_MAX];
    struct order_record orders[COMMAND_BATCH_MAX];
    uint64_t hashes[COMMAND_BATCH_MAX];
    uint8_t results[COMMAND_BATCH_MAX];
};

/** Gathered changes on their way to the store, and those that the store does not have on to the
 *  archive. */
struct change_batch {
    struct order_change_batch batch;
    struct order_get_batch archived;
    struct command_service *service;
    struct change_batch *next;
    struct command_change *waiting[COMMAND_BATCH_MAX];
    struct order_change changes[COMMAND_BATCH_MAX];
    struct order_record orders[COMMAND_BATCH_MAX];
    uint8_t results[COMMAND_BATCH_MAX];
    uint64_t archived_ids[COMMAND_BATCH_MAX];
    struct order_record archived_orders[COMMAND_BATCH_MAX];
    uint8_t archived_results[COMMAND_BATCH_MAX];
};

struct command_service {
    const struct clock *clock;
    struct order_store *store;
    struct order_archive *archive;
    struct cache_writer *cache_writer; /* owned; NULL: the cache is the store's own memory */
    struct create_batch *free_creates;
    struct change_batch *free_changes;
    struct create_batch *creates; /* being gathered; NULL: none */
    struct change_batch *changes;
    size_t creates_in_flight; /* batches */
    size_t changes_in_flight;
    struct command_metrics metrics;
    struct create_batch create_batches[COMMAND_BATCHES];
    struct change_batch change_batches[COMMAND_BATCHES];
};

/* --- Creates. --- */

static void finish_create(struct command_create *create, enum order_result result) {
    create->result = result;
    create->done(create);
}

static void recycle_creates(struct create_batch *gathered) {
    gathered->batch.count = 0;
    gathered->next = gathered->service->free_creates;
    gathered->service->free_creates = gathered;
}

static void creates_done(struct port_request *request) {
    struct create_batch *gathered = (struct create_batch *)request;
    gathered->service->creates_in_flight--;
    for (size_t i = 0; i < gathered->batch.count; i++) {
        gathered->creates[i]->order = gathered->orders[i];
        finish_create(gathered->creates[i], (enum order_result)gathered->results[i]);
    }
    recycle_creates(gathered);
}

/** Hands a batch to the store and, where there is one, to the cache beside it. */
static enum port_submit submit_creates(struct command_service *service,
                                       struct order_create_batch *batch) {
    if (service->cache_writer == NULL) {
        return service->store->ops->create(service->store, batch);
    }
    cache_writer_follow(service->cache_writer, batch);
    enum port_submit submit = service->store->ops->create(service->store, batch);
    if (submit != PORT_TAKEN) {
        cache_writer_unfollow(batch);
    }
    return submit;
}

static void send_creates(struct command_service *service) {
    struct create_batch *gathered = service->creates;
    service->creates = NULL;
    histogram_add(&service->metrics.create_batch_items, gathered->batch.count);
    if (submit_creates(service, &gathered->batch) == PORT_TAKEN) {
        service->creates_in_flight++;
        return;
    }
    metric_add(&service->metrics.refused_total, gathered->batch.count);
    for (size_t i = 0; i < gathered->batch.count; i++) {
        finish_create(gathered->creates[i], ORDER_RESULT_BUSY);
    }
    recycle_creates(gathered);
}

bool command_create(struct command_service *service, struct command_create *create) {
    if (service->creates == NULL) {
        service->creates = service->free_creates;
        if (service->creates == NULL) {
            metric_add(&service->metrics.refused_total, 1);
            return false;
        }
        service->free_creates = service->creates->next;
    }
    struct create_batch *gathered = service->creates;
    size_t at = gathered->batch.count++;
    gathered->creates[at] = create;
    gathered->orders[at] = create->order;
    gathered->hashes[at] = order_record_reference_hash(&create->order);
    if (gathered->batch.count == COMMAND_BATCH_MAX) {
        send_creates(service);
    }
    return true;
}

enum port_submit command_create_batch(struct command_service *service,
                                      struct order_create_batch *batch) {
    enum port_submit submit = submit_creates(service, batch);
    if (submit == PORT_BUSY) {
        metric_add(&service->metrics.refused_total, batch->count);
    }
    return submit;
}

/* --- Changes. --- */

static void finish_change(struct command_change *change, enum order_result result) {
    change->result = result;
    change->done(change);
}

static void recycle_changes(struct change_batch *gathered) {
    gathered->batch.count = 0;
    gathered->next = gathered->service->free_changes;
    gathered->service->free_changes = gathered;
}

/** Judges a change by the archive's copy: it is final, so nothing comes of it but an answer. */
static enum order_result judge_archived(const struct change_batch *gathered,
                                        struct command_change *change, size_t at) {
    struct order_record next;
    switch (gathered->archived_results[at]) {
    case ORDER_RESULT_FOUND:
        break;
    case ORDER_RESULT_ABSENT:
        return ORDER_RESULT_ABSENT;
    default:
        return ORDER_RESULT_UNAVAILABLE;
    }
    change->order = gathered->archived_orders[at];
    enum order_verdict verdict = order_change_judge(&change->order, &change->change,
                                                    clock_now_us(gathered->service->clock), &next);
    /* An order that is not final has no place in the archive. */
    return verdict == ORDER_VERDICT_CHANGED || verdict == ORDER_VERDICT_BAD_TIME
               ? ORDER_RESULT_UNAVAILABLE
               : order_result_from_verdict(verdict);
}

static void archived_done(struct port_request *request) {
    struct change_batch *gathered = CONTAINER_OF(request, struct change_batch, archived.request);
    for (size_t i = 0; i < gathered->archived.count; i++) {
        struct command_change *change = gathered->waiting[i];
        finish_change(change, judge_archived(gathered, change, i));
    }
    metric_add(&gathered->service->metrics.archive_judged_total, gathered->archived.count);
    recycle_changes(gathered);
}

/** Asks the archive about the first `count` of `waiting`. */
static void ask_archive(struct change_batch *gathered, size_t count) {
    struct order_archive *archive = gathered->service->archive;
    gathered->archived.count = count;
    for (size_t i = 0; i < count; i++) {
        gathered->archived_ids[i] = gathered->waiting[i]->change.order_id;
    }
    if (archive->ops->get(archive, &gathered->archived) == PORT_TAKEN) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        finish_change(gathered->waiting[i], ORDER_RESULT_UNAVAILABLE);
    }
    recycle_changes(gathered);
}

static void changes_done(struct port_request *request) {
    struct change_batch *gathered = (struct change_batch *)request;
    gathered->service->changes_in_flight--;
    int64_t now_us = clock_now_us(gathered->service->clock);
    size_t absent = 0;
    if (gathered->service->cache_writer != NULL) {
        cache_writer_changed(gathered->service->cache_writer, &gathered->batch);
    }
    for (size_t i = 0; i < gathered->batch.count; i++) {
        struct command_change *change = gathered->waiting[i];
        change->order = gathered->orders[i];
        if (gathered->results[i] == ORDER_RESULT_ABSENT &&
            order_id_is_possible(change->change.order_id, now_us)) {
            gathered->waiting[absent++] = change;
        } else {
            finish_change(change, (enum order_result)gathered->results[i]);
        }
    }
    if (absent > 0) {
        ask_archive(gathered, absent);
    } else {
        recycle_changes(gathered);
    }
}

static void send_changes(struct command_service *service) {
    struct change_batch *gathered = service->changes;
    service->changes = NULL;
    if (service->store->ops->change(service->store, &gathered->batch) == PORT_TAKEN) {
        service->changes_in_flight++;
        return;
    }
    metric_add(&service->metrics.refused_total, gathered->batch.count);
    for (size_t i = 0; i < gathered->batch.count; i++) {
        finish_change(gathered->waiting[i], ORDER_RESULT_BUSY);
    }
    recycle_changes(gathered);
}

bool command_change(struct command_service *service, struct command_change *change) {
    if (service->changes == NULL) {
        service->changes = service->free_changes;
        if (service->changes == NULL) {
            metric_add(&service->metrics.refused_total, 1);
            return false;
        }
        service->free_changes = service->changes->next;
    }
    struct change_batch *gathered = service->changes;
    size_t at = gathered->batch.count++;
    gathered->waiting[at] = change;
    gathered->changes[at] = change->change;
    if (gathered->batch.count == COMMAND_BATCH_MAX) {
        send_changes(service);
    }
    return true;
}

void command_flush(struct command_service *service) {
    if (service->creates != NULL && service->creates_in_flight < COMMAND_IN_FLIGHT) {
        send_creates(service);
    }
    if (service->changes != NULL && service->changes_in_flight < COMMAND_IN_FLIGHT) {
        send_changes(service);
    }
}

/* --- The whole. --- */

static void init_create_batch(struct command_service *service, struct create_batch *gathered,
                              struct mailbox *mailbox) {
    gathered->service = service;
    gathered->batch = (struct order_create_batch){
        .request = {.done = creates_done, .mailbox = mailbox},
        .orders = gathered->orders,
        .reference_hashes = gathered->hashes,
        .results = gathered->results,
    };
    recycle_creates(gathered);
}

static void init_change_batch(struct command_service *service, struct change_batch *gathered,
                              struct mailbox *mailbox) {
    gathered->service = service;
    gathered->batch = (struct order_change_batch){
        .request = {.done = changes_done, .mailbox = mailbox},
        .changes = gathered->changes,
        .orders = gathered->orders,
        .results = gathered->results,
    };
    gathered->archived = (struct order_get_batch){
        .request = {.done = archived_done, .mailbox = mailbox},
        .order_ids = gathered->archived_ids,
        .orders = gathered->archived_orders,
        .results = gathered->archived_results,
    };
    recycle_changes(gathered);
}

struct command_service *command_service_create(const struct command_parts *parts) {
    struct command_service *service = calloc(1, sizeof(*service));
    if (service == NULL) {
        return NULL;
    }
    service->clock = parts->clock;
    service->store = parts->store;
    service->archive = parts->archive;
    if (parts->cache != NULL) {
        service->cache_writer = cache_writer_create(parts->cache, parts->mailbox);
        if (service->cache_writer == NULL) {
            free(service);
            return NULL;
        }
    }
    for (size_t i = 0; i < COMMAND_BATCHES; i++) {
        init_create_batch(service, &service->create_batches[i], parts->mailbox);
        init_change_batch(service, &service->change_batches[i], parts->mailbox);
    }
    return service;
}

void command_service_destroy(struct command_service *service) {
    if (service != NULL) {
        cache_writer_destroy(service->cache_writer);
        free(service);
    }
}

struct command_metrics *command_service_metrics(struct command_service *service) {
    return &service->metrics;
}

struct cache_writer_metrics *command_service_cache_metrics(struct command_service *service) {
    return service->cache_writer != NULL ? cache_writer_metrics(service->cache_writer) : NULL;
}
