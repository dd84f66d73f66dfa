/** The command service: creates and changes. One instance a network loop.
 *
 *  Single requests that arrive while the loop reads its sockets are gathered and go to the store as
 *  one batch when the loop has read them all (command_flush). While COMMAND_IN_FLIGHT batches are
 *  at the store, which is enough to keep it busy, further requests gather until one comes back: so
 *  batches form by themselves, without a timer, and the larger the load the larger they are. What
 *  is outstanding is bounded by the batches that exist; beyond it a request is refused at once.
 *
 *  A change of an order that is no longer hot is judged by the archive's copy, which is final.
 *
 *  @thread all functions, and every `done`: the owning loop's. */
#ifndef ORDERD_SERVICE_COMMAND_H
#define ORDERD_SERVICE_COMMAND_H

#include "base/clock.h"
#include "base/metrics.h"
#include "port/order_archive.h"
#include "port/order_store.h"
#include "service/cache_writer.h"

/** Single requests in one batch, and batches that may be outstanding, of each kind. */
#define COMMAND_BATCH_MAX 256
#define COMMAND_BATCHES 16

/** Batches of a kind that are at the store before gathering goes on. */
#define COMMAND_IN_FLIGHT 3

#define COMMAND_METRICS(X)                                                                         \
    X(counter, refused_total, "Requests refused because too many were outstanding")                \
    X(counter, archive_judged_total, "Changes judged by the archive's copy of the order")          \
    X(histogram, create_batch_items, "Single creates gathered in one batch")

struct command_metrics {
    COMMAND_METRICS(METRIC_FIELD)
};
extern const struct metric_description command_metric_table[];
extern const size_t command_metric_count;

/** One create. The caller owns it until `done`. */
struct command_create {
    struct order_record order; /* in: an accepted draft; out: as order_create_batch has it */
    enum order_result result;
    void (*done)(struct command_create *create);
};

/** One change. The caller owns it until `done`. */
struct command_change {
    struct order_change change;
    struct order_record order; /* out: the order after it, or as it is where it was refused */
    enum order_result result;  /* as order_change_batch has it; ABSENT: it is nowhere */
    void (*done)(struct command_change *change);
};

struct command_service;

struct command_parts {
    const struct clock *clock;
    struct order_store *store;
    struct order_archive *archive;
    struct order_cache
        *cache;              /* written beside the store; NULL where it is the store's own memory */
    struct mailbox *mailbox; /* of the loop */
};

/** NULL where memory is short. */
struct command_service *command_service_create(const struct command_parts *parts);
void command_service_destroy(struct command_service *service);

struct command_metrics *command_service_metrics(struct command_service *service);

/** Of what is written beside the store; NULL where nothing is. */
struct cache_writer_metrics *command_service_cache_metrics(struct command_service *service);

/** How many completions the service may have in the loop's mailbox at once. */
#define COMMAND_OUTSTANDING_MAX ((size_t)COMMAND_BATCHES * 3 + CACHE_WRITER_OUTSTANDING_MAX)

/** Takes a create, whose `done` is called later (or already, where the store refuses). False where
 *  too many are outstanding: nothing happened. */
MUST_CHECK bool command_create(struct command_service *service, struct command_create *create);

/** Takes a change; false as for command_create. */
MUST_CHECK bool command_change(struct command_service *service, struct command_change *change);

/** Hands a whole batch of the caller's to the store. PORT_BUSY: nothing happened. */
MUST_CHECK enum port_submit command_create_batch(struct command_service *service,
                                                 struct order_create_batch *batch);

/** Sends what was gathered. Call when the loop has read its sockets. */
void command_flush(struct command_service *service);

#endif
