#include "adapter/mariadb/mariadb_ticket.h"

#include "base/clock.h"

#include <stdlib.h>

bool mariadb_tickets_init(struct mariadb_tickets *tickets, size_t count,
                          struct mariadb_metrics *metrics) {
    *tickets = (struct mariadb_tickets){.metrics = metrics};
    struct mariadb_ticket *memory = calloc(count, sizeof(*memory));
    if (memory == NULL || pthread_mutex_init(&tickets->mutex, NULL) != 0) {
        free(memory);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        memory[i].next_free = tickets->free;
        tickets->free = &memory[i];
    }
    tickets->memory = memory;
    return true;
}

void mariadb_tickets_deinit(struct mariadb_tickets *tickets) {
    if (tickets->memory != NULL) {
        (void)pthread_mutex_destroy(&tickets->mutex);
        free(tickets->memory);
        tickets->memory = NULL;
    }
}

static void put_back(struct mariadb_tickets *tickets, struct mariadb_ticket *ticket) {
    pthread_mutex_lock(&tickets->mutex);
    ticket->next_free = tickets->free;
    tickets->free = ticket;
    pthread_mutex_unlock(&tickets->mutex);
}

struct mariadb_ticket *mariadb_tickets_take(struct mariadb_tickets *tickets,
                                            struct port_request *request, enum mariadb_kind kind,
                                            size_t open) {
    pthread_mutex_lock(&tickets->mutex);
    struct mariadb_ticket *ticket = tickets->free;
    if (ticket != NULL) {
        tickets->free = ticket->next_free;
    }
    pthread_mutex_unlock(&tickets->mutex);
    if (ticket == NULL) {
        return NULL;
    }
    ticket->request = request;
    ticket->kind = kind;
    ticket->submitted_us = clock_monotonic_us();
    atomic_store_explicit(&ticket->open, (uint32_t)open, memory_order_relaxed);
    atomic_store_explicit(&ticket->expired, 0, memory_order_relaxed);
    atomic_store_explicit(&ticket->expire_more, 0, memory_order_relaxed);
    atomic_store_explicit(&ticket->expire_failed, 0, memory_order_relaxed);
    return ticket;
}

static struct histogram *latency_of(struct mariadb_metrics *metrics, enum mariadb_kind kind) {
    switch (kind) {
    case MARIADB_CREATE:
    case MARIADB_RESOLVE:
        break;
    case MARIADB_CHANGE:
        return &metrics->change_microseconds;
    case MARIADB_GET:
        return &metrics->get_microseconds;
    case MARIADB_FIND:
        return &metrics->find_microseconds;
    case MARIADB_SCAN:
        return &metrics->scan_microseconds;
    case MARIADB_RELEASE:
        return &metrics->release_microseconds;
    case MARIADB_EXPIRE:
        return &metrics->expire_microseconds;
    }
    return &metrics->create_microseconds;
}

/** An expiry's parts put together. */
static void conclude_expire(struct mariadb_ticket *ticket) {
    struct order_expire_batch *batch = (struct order_expire_batch *)ticket->request;
    batch->count = atomic_load_explicit(&ticket->expired, memory_order_relaxed);
    batch->more = atomic_load_explicit(&ticket->expire_more, memory_order_relaxed) != 0;
    bool failed = atomic_load_explicit(&ticket->expire_failed, memory_order_relaxed) != 0;
    batch->result = failed ? ORDER_RESULT_UNAVAILABLE : ORDER_RESULT_STORED;
}

void mariadb_ticket_settle(struct mariadb_tickets *tickets, struct mariadb_ticket *ticket,
                           size_t count) {
    /* Release: what was written for these items; acquire, for the last: what others wrote. */
    uint32_t before =
        atomic_fetch_sub_explicit(&ticket->open, (uint32_t)count, memory_order_acq_rel);
    assert(before >= count);
    if (before > count) {
        return;
    }
    struct port_request *request = ticket->request;
    if (ticket->kind == MARIADB_EXPIRE) {
        conclude_expire(ticket);
    }
    histogram_add(latency_of(tickets->metrics, ticket->kind),
                  (uint64_t)(clock_monotonic_us() - ticket->submitted_us));
    put_back(tickets, ticket);
    port_complete(request);
}

/** The counter of a result; NULL where none is kept. */
static _Atomic uint64_t *counter_of(struct mariadb_metrics *metrics, enum order_result result) {
    switch (result) {
    case ORDER_RESULT_CREATED:
        return &metrics->created_total;
    case ORDER_RESULT_REPLAYED:
        return &metrics->replayed_total;
    case ORDER_RESULT_CONFLICT:
        return &metrics->conflicts_total;
    case ORDER_RESULT_CHANGED:
        return &metrics->changed_total;
    case ORDER_RESULT_RELEASED:
        return &metrics->released_total;
    case ORDER_RESULT_BUSY:
        return &metrics->busy_total;
    case ORDER_RESULT_UNAVAILABLE:
        return &metrics->unavailable_total;
    case ORDER_RESULT_UNKNOWN:
        return &metrics->unknown_total;
    default:
        return NULL;
    }
}

void mariadb_item_settle(struct mariadb_tickets *tickets, struct mariadb_item item,
                         enum order_result result) {
    uint8_t value = (uint8_t)result;
    switch ((enum mariadb_kind)item.kind) {
    case MARIADB_CREATE:
    case MARIADB_RESOLVE:
        mariadb_create_of(item)->results[item.index] = value;
        break;
    case MARIADB_CHANGE:
        mariadb_change_of(item)->results[item.index] = value;
        break;
    case MARIADB_GET:
        mariadb_get_of(item)->results[item.index] = value;
        break;
    case MARIADB_FIND:
        mariadb_find_of(item)->results[item.index] = value;
        break;
    case MARIADB_RELEASE:
        mariadb_release_of(item)->results[item.index] = value;
        break;
    case MARIADB_SCAN:
        ((struct order_scan_batch *)item.ticket->request)->result = value;
        break;
    case MARIADB_EXPIRE:
        if (result != ORDER_RESULT_STORED) {
            atomic_store_explicit(&item.ticket->expire_failed, 1, memory_order_relaxed);
        }
        break;
    }
    _Atomic uint64_t *counter = counter_of(tickets->metrics, result);
    if (counter != NULL) {
        metric_add(counter, 1);
    }
    mariadb_ticket_settle(tickets, item.ticket, 1);
}

enum order_result mariadb_item_refusal(struct mariadb_item item) {
    switch ((enum mariadb_kind)item.kind) {
    case MARIADB_CREATE:
    case MARIADB_CHANGE:
        return ORDER_RESULT_BUSY;
    default:
        return ORDER_RESULT_UNAVAILABLE;
    }
}
