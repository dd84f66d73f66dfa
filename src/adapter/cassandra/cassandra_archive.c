#include "adapter/cassandra/archive_internal.h"
#include "base/clock.h"

#include <stdlib.h>

#define WAIT_MS_MAX 1000

const struct metric_description cassandra_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct cassandra_metrics, __VA_ARGS__)
    CASSANDRA_METRICS(X)
#undef X
};
const size_t cassandra_metric_count = ARRAY_COUNT(cassandra_metric_table);

/* --- Submission: any thread. --- */

static struct cassandra_archive *archive_of_port(struct order_archive *port) {
    return CONTAINER_OF(port, struct cassandra_archive, port);
}

/** @param count orders of the request. */
static enum port_submit submit(struct cassandra_archive *archive, struct port_request *request,
                               enum archive_operation operation, size_t count) {
    assert(count <= CASSANDRA_REQUEST_ORDERS_MAX);
    uint64_t weight = count > 0 ? count : 1;
    uint64_t before =
        atomic_fetch_add_explicit(&archive->outstanding, weight, memory_order_relaxed);
    request->operation = (uint32_t)operation;
    if (before + weight <= archive->terms.queue_orders && mailbox_send(&archive->inbox, request)) {
        return PORT_TAKEN;
    }
    (void)atomic_fetch_sub_explicit(&archive->outstanding, weight, memory_order_relaxed);
    return PORT_BUSY;
}

static enum port_submit submit_put(struct order_archive *port, struct order_archive_put *batch) {
    return submit(archive_of_port(port), &batch->request, ARCHIVE_PUT, batch->count);
}

static enum port_submit submit_get(struct order_archive *port, struct order_get_batch *batch) {
    return submit(archive_of_port(port), &batch->request, ARCHIVE_GET, batch->count);
}

enum port_submit cassandra_archive_look(struct cassandra_archive *archive,
                                        struct archive_row_look *look) {
    return submit(archive, &look->request, ARCHIVE_LOOK, 1);
}

enum port_submit cassandra_archive_write(struct cassandra_archive *archive,
                                         struct archive_row_write *write) {
    return submit(archive, &write->request, ARCHIVE_WRITE, 1);
}

enum port_submit cassandra_archive_delete(struct cassandra_archive *archive,
                                          struct cassandra_row_delete *removal) {
    return submit(archive, &removal->request, ARCHIVE_DELETE, 1);
}

/* --- The state machine. --- */

static bool is_waiting(const struct cassandra_archive *archive) {
    return archive->reads.first != NULL || archive->writes.first != NULL;
}

static int64_t next_deadline_us(const struct cassandra_archive *archive) {
    const struct archive_group *firsts[] = {archive->reads.first, archive->writes.first};
    int64_t next_us = cassandra_hosts_next_us(&archive->hosts);
    for (size_t i = 0; i < ARRAY_COUNT(firsts); i++) {
        if (firsts[i] != NULL) {
            int64_t late_us = firsts[i]->deadline_us - archive_attempt_us_min(&archive->terms);
            next_us = late_us < next_us ? late_us : next_us;
        }
    }
    return next_us;
}

int64_t cassandra_archive_step(struct cassandra_archive *archive, int64_t now_us) {
    archive->now_us = now_us;
    cassandra_hosts_step(&archive->hosts, now_us);
    archive_take_in(archive);
    archive_expire(archive);
    archive_send(archive);
    cassandra_hosts_flush(&archive->hosts, now_us);
    if (is_waiting(archive)) {
        archive_expire(archive); /* what sending has broken */
    }
    metric_set(&archive->metrics.orders_waiting,
               atomic_load_explicit(&archive->outstanding, memory_order_relaxed));
    return next_deadline_us(archive);
}

void cassandra_archive_wait(struct cassandra_archive *archive, int timeout_ms) {
    bool may_sleep = mailbox_prepare_sleep(&archive->inbox);
    cassandra_hosts_wait(&archive->hosts, archive->inbox.event_fd, may_sleep ? timeout_ms : 0);
    mailbox_end_sleep(&archive->inbox);
}

static void *run(void *context) {
    struct cassandra_archive *archive = context;
    for (;;) {
        bool closing = atomic_load_explicit(&archive->closing, memory_order_acquire) != 0;
        int64_t next_us = cassandra_archive_step(archive, clock_monotonic_us());
        if (closing && atomic_load_explicit(&archive->outstanding, memory_order_relaxed) == 0) {
            return NULL;
        }
        int64_t wait_us = next_us - clock_monotonic_us();
        int64_t wait_ms = wait_us <= 0                    ? 0
                          : wait_us / 1000 >= WAIT_MS_MAX ? WAIT_MS_MAX
                                                          : wait_us / 1000 + 1;
        cassandra_archive_wait(archive, (int)wait_ms);
    }
}

/* --- Making and ending it. --- */

static const struct order_archive_ops port_ops = {.put = submit_put, .get = submit_get};

static struct cassandra_archive *archive_of_repair(struct archive_repair *repair) {
    return CONTAINER_OF(repair, struct cassandra_archive, repair);
}

static enum port_submit submit_look(struct archive_repair *repair, struct archive_row_look *look) {
    return cassandra_archive_look(archive_of_repair(repair), look);
}

static enum port_submit submit_write(struct archive_repair *repair,
                                     struct archive_row_write *write) {
    return cassandra_archive_write(archive_of_repair(repair), write);
}

static const struct archive_repair_ops repair_ops = {.look = submit_look, .write = submit_write};

/** Chains everything that is free. */
static void fill_pools(struct cassandra_archive *archive) {
    uint32_t count = archive->terms.queue_orders;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t next = i + 1 < count ? i + 1 : ARCHIVE_NONE;
        archive->works[i].open = next;
        archive->items[i].next = next;
        archive->groups[i].next = next == ARCHIVE_NONE ? NULL : &archive->groups[next];
    }
    archive->free_group = archive->groups;
}

static void release(struct cassandra_archive *archive) {
    free(archive->works);
    free(archive->items);
    free(archive->groups);
    free(archive->keys);
    free(archive);
}

struct cassandra_archive *cassandra_archive_create(const struct cassandra_archive_parts *parts,
                                                   struct fault *fault) {
    size_t size = bytes_align_up(sizeof(struct cassandra_archive), CACHE_LINE_BYTES);
    struct cassandra_archive *archive = aligned_alloc(CACHE_LINE_BYTES, size);
    fault_set(fault, "no memory for the Cassandra archive");
    if (archive == NULL) {
        return NULL;
    }
    memset(archive, 0, sizeof(*archive));
    archive->port.ops = &port_ops;
    archive->repair.ops = &repair_ops;
    archive->terms = *parts->terms;
    archive->log = parts->log;
    cassandra_statements_init(&archive->statements, archive->terms.keyspace);
    size_t count = archive->terms.queue_orders;
    archive->works = calloc(count, sizeof(*archive->works));
    archive->items = calloc(count, sizeof(*archive->items));
    archive->groups = calloc(count, sizeof(*archive->groups));
    archive->keys = calloc(archive->terms.select_ids_max, sizeof(*archive->keys));
    if (archive->works == NULL || archive->items == NULL || archive->groups == NULL ||
        archive->keys == NULL || !mailbox_init(&archive->inbox, count)) {
        release(archive);
        return NULL;
    }
    fill_pools(archive);
    struct cassandra_hosts_setup setup = {
        .terms = &archive->terms,
        .statements = archive->statements.table,
        .statement_count = CASSANDRA_STATEMENT_COUNT,
        .dialer = parts->dialer,
        .log = parts->log,
        .metrics = &archive->metrics,
        .seed = parts->seed,
        .request_bytes = archive_request_bytes(&archive->terms),
        .done = archive_answered,
        .context = archive,
    };
    if (!cassandra_hosts_init(&archive->hosts, &setup)) {
        mailbox_deinit(&archive->inbox);
        release(archive);
        return NULL;
    }
    return archive;
}

void cassandra_archive_destroy(struct cassandra_archive *archive) {
    archive_take_in(archive);
    archive->now_us = INT64_MAX / 2; /* out of time, all of it */
    cassandra_hosts_deinit(&archive->hosts);
    archive_expire(archive);
    mailbox_deinit(&archive->inbox);
    release(archive);
}

bool cassandra_archive_start(struct cassandra_archive *archive, struct fault *fault) {
    int error = pthread_create(&archive->thread, NULL, run, archive);
    if (error != 0) {
        fault_set_errno(fault, error, "the archive's thread cannot be started");
        return false;
    }
    (void)pthread_setname_np(archive->thread, "cassandra");
    return true;
}

void cassandra_archive_stop(struct cassandra_archive *archive) {
    atomic_store_explicit(&archive->closing, 1, memory_order_release);
    mailbox_wake(&archive->inbox);
    (void)pthread_join(archive->thread, NULL);
}

struct order_archive *cassandra_archive_port(struct cassandra_archive *archive) {
    return &archive->port;
}

struct archive_repair *cassandra_archive_repair(struct cassandra_archive *archive) {
    return &archive->repair;
}

struct cassandra_metrics *cassandra_archive_metrics(struct cassandra_archive *archive) {
    return &archive->metrics;
}

bool cassandra_archive_is_ready(struct cassandra_archive *archive, struct fault *fault) {
    return cassandra_hosts_describe(&archive->hosts, fault);
}
