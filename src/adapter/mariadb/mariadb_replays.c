#include "adapter/mariadb/mariadb_replays.h"

#include <errno.h>
#include <stdlib.h>

#define WAIT_MS 1000

static void take_answer(struct port_request *request) {
    struct mariadb_replays *replays = CONTAINER_OF(request, struct mariadb_replays, get.request);
    replays->answered = true;
}

/** The archive has none of these: one of the two must have lost it, or somebody wrote the reference
 *  by hand. */
static enum order_result note_dangling(struct mariadb_replays *replays, uint64_t order_id) {
    metric_add(&replays->shared->metrics->dangling_references_total, 1);
    log_write_limited(replays->shared->log, &replays->limit, LOG_ERROR, "mysql",
                      "order %llu has a reference, but is neither here nor in the archive",
                      (unsigned long long)order_id);
    return ORDER_RESULT_UNAVAILABLE;
}

static enum order_result judge(struct mariadb_replays *replays, size_t i) {
    struct mariadb_item item = replays->items[i];
    struct order_record *draft = &mariadb_create_of(item)->orders[item.index];
    switch ((enum order_result)replays->results[i]) {
    case ORDER_RESULT_FOUND:
        if (order_record_same_reference(draft, &replays->orders[i])) {
            return mariadb_meet_existing(draft, &replays->orders[i]);
        }
        return note_dangling(replays, replays->order_ids[i]);
    case ORDER_RESULT_ABSENT:
        return note_dangling(replays, replays->order_ids[i]);
    default:
        return ORDER_RESULT_UNAVAILABLE;
    }
}

static void settle(struct mariadb_replays *replays, size_t count, bool asked) {
    for (size_t i = 0; i < count; i++) {
        enum order_result result = asked ? judge(replays, i) : ORDER_RESULT_UNAVAILABLE;
        mariadb_item_settle(&replays->shared->tickets, replays->items[i], result);
    }
}

static void ask(struct mariadb_replays *replays, size_t count) {
    struct order_archive *archive = replays->shared->archive;
    for (size_t i = 0; i < count; i++) {
        struct mariadb_item item = replays->items[i];
        replays->order_ids[i] = mariadb_create_of(item)->orders[item.index].order_id;
        replays->results[i] = ORDER_RESULT_NONE;
    }
    replays->answered = false;
    replays->get = (struct order_get_batch){
        .request = {.done = take_answer, .mailbox = &replays->mailbox},
        .count = count,
        .order_ids = replays->order_ids,
        .orders = replays->orders,
        .results = replays->results,
    };
    if (archive->ops->get(archive, &replays->get) == PORT_BUSY) {
        settle(replays, count, false);
        return;
    }
    while (!replays->answered) { /* the port completes what it took, in its own time */
        mailbox_wait(&replays->mailbox, WAIT_MS);
        (void)port_drain(&replays->mailbox, 1);
    }
    settle(replays, count, true);
}

static void *run(void *context) {
    static const size_t limits[MARIADB_RESOLVE + 1] = {[MARIADB_RESOLVE] = MARIADB_REPLAYS_BATCH};
    struct mariadb_replays *replays = context;
    struct mariadb_queue *queue = &replays->shared->replays;
    bool stopped = false;
    while (!stopped) {
        size_t count = mariadb_queue_take(queue, replays->items, limits, WAIT_MS, &stopped);
        if (count > 0) {
            ask(replays, count);
            mariadb_queue_done(queue);
        }
    }
    return NULL;
}

static void release(struct mariadb_replays *replays) {
    free(replays->items);
    free(replays->order_ids);
    free(replays->orders);
    free(replays->results);
}

static bool allocate(struct mariadb_replays *replays) {
    replays->items = calloc(MARIADB_REPLAYS_BATCH, sizeof(*replays->items));
    replays->order_ids = calloc(MARIADB_REPLAYS_BATCH, sizeof(*replays->order_ids));
    replays->orders = calloc(MARIADB_REPLAYS_BATCH, sizeof(*replays->orders));
    replays->results = calloc(MARIADB_REPLAYS_BATCH, sizeof(*replays->results));
    return replays->items != NULL && replays->order_ids != NULL && replays->orders != NULL &&
           replays->results != NULL && mailbox_init(&replays->mailbox, 2);
}

bool mariadb_replays_start(struct mariadb_replays *replays, struct mariadb_shared *shared,
                           struct fault *fault) {
    *replays = (struct mariadb_replays){.shared = shared};
    if (shared->archive == NULL) {
        return true;
    }
    if (!allocate(replays)) {
        release(replays);
        fault_set(fault, "no memory for creates that meet archived orders");
        return false;
    }
    int error = pthread_create(&replays->thread, NULL, run, replays);
    if (error != 0) {
        mailbox_deinit(&replays->mailbox);
        release(replays);
        fault_set_errno(fault, error, "the thread that asks the archive cannot be started");
        return false;
    }
    (void)pthread_setname_np(replays->thread, "mysql-replays");
    replays->started = true;
    return true;
}

void mariadb_replays_join(struct mariadb_replays *replays) {
    if (replays->started) {
        (void)pthread_join(replays->thread, NULL);
        mailbox_deinit(&replays->mailbox);
        release(replays);
        replays->started = false;
    }
}
