#include "service/cache_writer.h"

#include <stdlib.h>

/** How often an entry that must go is tried to be taken out. */
#define REMOVE_TRIES_MAX 3

const struct metric_description cache_writer_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct cache_writer_metrics, __VA_ARGS__)
    CACHE_WRITER_METRICS(X)
#undef X
};
const size_t cache_writer_metric_count = ARRAY_COUNT(cache_writer_metric_table);

/** One batch on its way. The records are its own, since those of the store's batch change under it
 *  and go back to their owner while the cache is still slow. */
struct cache_write {
    struct order_cache_put put;
    struct cache_writer *writer;
    struct cache_write *next; /* in its list of free ones */
    struct order_create_batch *batch;
    void (*done)(struct port_request *request); /* of the batch's owner */
    struct order_record *orders;                /* owned, `capacity` of them as the three below */
    uint8_t *results;
    uint32_t *places;  /* of each in the store's batch */
    bool *uncommitted; /* of each */
    size_t capacity;
    unsigned remove_tries;
    bool submitted; /* by the store's thread, before the batch is completed */
    bool put_done;
    bool batch_done;
};

struct cache_writer {
    struct order_cache *cache;
    struct cache_write *free_small;
    struct cache_write *free_large;
    struct cache_writer_metrics metrics;
    struct cache_write writes[CACHE_WRITES_SMALL + CACHE_WRITES_LARGE];
};

static struct cache_write **free_list(struct cache_writer *writer, size_t count) {
    return count <= CACHE_WRITE_SMALL ? &writer->free_small : &writer->free_large;
}

static void recycle(struct cache_write *write) {
    struct cache_write **list = free_list(write->writer, write->capacity);
    write->next = *list;
    *list = write;
}

/** NULL where too much is outstanding. */
static struct cache_write *take(struct cache_writer *writer, size_t count) {
    struct cache_write **list = free_list(writer, count);
    struct cache_write *write = *list;
    if (write == NULL || count > write->capacity) {
        metric_add(&writer->metrics.skipped_total, count);
        return NULL;
    }
    *list = write->next;
    write->put.count = 0;
    write->batch = NULL;
    write->remove_tries = 0;
    write->submitted = false;
    write->put_done = false;
    write->batch_done = false;
    return write;
}

static void removed(struct port_request *request);

/** Hands the first `count` orders over to be taken out. */
static void remove_orders(struct cache_write *write, size_t count) {
    struct cache_writer *writer = write->writer;
    write->remove_tries++;
    write->put.count = count;
    write->put.request.done = removed;
    if (writer->cache->ops->remove(writer->cache, &write->put) == PORT_TAKEN) {
        return;
    }
    metric_add(&writer->metrics.remove_failures_total, count);
    recycle(write);
}

static void removed(struct port_request *request) {
    struct cache_write *write = (struct cache_write *)request;
    size_t kept = 0;
    for (size_t i = 0; i < write->put.count; i++) {
        if (write->results[i] != ORDER_RESULT_STORED) {
            write->orders[kept++] = write->orders[i];
        }
    }
    metric_add(&write->writer->metrics.removed_total, write->put.count - kept);
    if (kept > 0 && write->remove_tries < REMOVE_TRIES_MAX) {
        remove_orders(write, kept);
        return;
    }
    metric_add(&write->writer->metrics.remove_failures_total, kept);
    recycle(write);
}

/** Once both the cache and the store are through: takes out what did not commit. */
static void conclude(struct cache_write *write) {
    size_t count = 0;
    for (size_t i = 0; i < write->put.count; i++) {
        if (write->uncommitted[i]) {
            write->orders[count++] = write->orders[i];
        }
    }
    if (count > 0) {
        remove_orders(write, count);
    } else {
        recycle(write);
    }
}

static void put_done(struct port_request *request) {
    struct cache_write *write = (struct cache_write *)request;
    size_t written = 0;
    for (size_t i = 0; i < write->put.count; i++) {
        written += write->results[i] == ORDER_RESULT_STORED;
    }
    metric_add(&write->writer->metrics.written_total, written);
    metric_add(&write->writer->metrics.failed_total, write->put.count - written);
    write->put_done = true;
    if (write->batch_done) {
        conclude(write);
    }
}

static void batch_done(struct port_request *request) {
    struct order_create_batch *batch = (struct order_create_batch *)request;
    struct cache_write *write = batch->cache_write;
    for (size_t i = 0; i < write->put.count; i++) {
        write->uncommitted[i] = batch->results[write->places[i]] != ORDER_RESULT_CREATED;
    }
    cache_writer_unfollow(batch);
    batch->request.done(request); /* the answers do not wait for what follows */
}

/** The store's thread: the orders are as they will be stored. */
static void ids_given(struct order_create_batch *batch) {
    struct cache_write *write = batch->cache_write;
    struct cache_writer *writer = write->writer;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->orders[i].order_id != 0) {
            write->places[write->put.count] = (uint32_t)i;
            write->orders[write->put.count++] = batch->orders[i];
        }
    }
    write->submitted = write->put.count > 0;
    if (write->submitted && writer->cache->ops->put(writer->cache, &write->put) != PORT_TAKEN) {
        write->submitted = false;
    }
}

void cache_writer_follow(struct cache_writer *writer, struct order_create_batch *batch) {
    struct cache_write *write = take(writer, batch->count);
    batch->ids_given = NULL;
    batch->cache_write = write;
    if (write == NULL) {
        return;
    }
    write->batch = batch;
    write->done = batch->request.done;
    write->put.request.done = put_done;
    batch->ids_given = ids_given;
    batch->request.done = batch_done;
}

void cache_writer_unfollow(struct order_create_batch *batch) {
    struct cache_write *write = batch->cache_write;
    if (write == NULL) {
        return;
    }
    batch->request.done = write->done;
    batch->ids_given = NULL;
    batch->cache_write = NULL;
    write->batch = NULL;
    write->batch_done = true;
    if (!write->submitted) {
        metric_add(&write->writer->metrics.failed_total, write->put.count);
        recycle(write);
    } else if (write->put_done) {
        conclude(write);
    }
}

void cache_writer_changed(struct cache_writer *writer, const struct order_change_batch *batch) {
    struct cache_write *write = take(writer, batch->count);
    if (write == NULL) {
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->results[i] == ORDER_RESULT_CHANGED) {
            write->uncommitted[write->put.count] = false;
            write->orders[write->put.count++] = batch->orders[i];
        }
    }
    write->batch_done = true;
    write->put.request.done = put_done;
    if (write->put.count == 0 ||
        writer->cache->ops->put(writer->cache, &write->put) != PORT_TAKEN) {
        metric_add(&writer->metrics.failed_total, write->put.count);
        recycle(write);
    }
}

static bool init_write(struct cache_writer *writer, struct cache_write *write, size_t capacity,
                       struct mailbox *mailbox) {
    write->writer = writer;
    write->capacity = capacity;
    write->orders = calloc(capacity, sizeof(*write->orders));
    write->results = calloc(capacity, sizeof(*write->results));
    write->places = calloc(capacity, sizeof(*write->places));
    write->uncommitted = calloc(capacity, sizeof(*write->uncommitted));
    write->put = (struct order_cache_put){
        .request = {.mailbox = mailbox},
        .orders = write->orders,
        .results = write->results,
    };
    recycle(write);
    return write->orders != NULL && write->results != NULL && write->places != NULL &&
           write->uncommitted != NULL;
}

struct cache_writer *cache_writer_create(struct order_cache *cache, struct mailbox *mailbox) {
    struct cache_writer *writer = calloc(1, sizeof(*writer));
    bool made = writer != NULL;
    for (size_t i = 0; made && i < ARRAY_COUNT(writer->writes); i++) {
        writer->cache = cache;
        made = init_write(writer, &writer->writes[i],
                          i < CACHE_WRITES_SMALL ? CACHE_WRITE_SMALL : CACHE_WRITE_LARGE, mailbox);
    }
    if (!made) {
        cache_writer_destroy(writer);
        return NULL;
    }
    return writer;
}

void cache_writer_destroy(struct cache_writer *writer) {
    if (writer == NULL) {
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(writer->writes); i++) {
        free(writer->writes[i].orders);
        free(writer->writes[i].results);
        free(writer->writes[i].places);
        free(writer->writes[i].uncommitted);
    }
    free(writer);
}

struct cache_writer_metrics *cache_writer_metrics(struct cache_writer *writer) {
    return &writer->metrics;
}
