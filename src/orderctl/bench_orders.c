/** The benches `create` and `load`: batches of new orders in the binary form. Each request has its
 *  records written once; for every batch only the counter within each partner_order_id is written
 *  anew. See bench_workload.h. */
#include "orderctl/bench_workload.h"

#include "order/order_id.h"
#include "orderctl/bench_reference.h"

#include <stdlib.h>

#define HEAD_BYTES_MAX 1024
#define AMOUNT 1250

/** Ids that were given lately, by their hash: one that is met again was given twice. */
#define RECENT_SLOTS ((size_t)1 << 17)

/** In a load, what the service cannot take now is sent again, this often at most. */
#define TRIES_MAX 1000

struct bench_orders {
    struct bench_workload workload;
    uint64_t *recent; /* owned */
};

/** One item of the answer (API, section 3). */
struct created {
    uint64_t order_id;
    uint32_t version;
    uint16_t code;
    uint8_t status;
    uint8_t zero;
};

_Static_assert(sizeof(struct created) == 16, "API, section 3");

enum { CODE_REPLAYED = 200, CODE_CREATED = 201, CODE_UNAVAILABLE = 503, CODE_UNKNOWN = 504 };

static struct order_record *records_of(const struct bench_request *request) {
    return (struct order_record *)(void *)(request->space + HEAD_BYTES_MAX);
}

static void set_up(struct bench_workload *workload, struct bench_request *request) {
    const struct bench_options *options = workload->shared->options;
    struct order_record *records = records_of(request);
    for (size_t i = 0; i < options->batch; i++) {
        memset(&records[i], 0, sizeof(records[i]));
        records[i].amount = AMOUNT;
        order_text_set(records[i].partner_code, sizeof(records[i].partner_code),
                       slice_from_text(options->partner_code));
        bench_reference_write_prefix(records[i].partner_order_id, workload->shared->run_prefix);
    }
}

/** Takes the numbers of the next references; returns how many there are left for this request. */
static uint32_t take_references(struct bench_shared *shared, uint64_t *first) {
    uint32_t batch = shared->options->batch;
    *first = atomic_fetch_add_explicit(&shared->next_reference, batch, memory_order_relaxed);
    if (shared->options->kind != BENCH_LOAD) {
        return batch;
    }
    uint64_t left = *first < shared->options->orders ? shared->options->orders - *first : 0;
    return (uint32_t)bytes_min_u64(left, batch);
}

static bool prepare(struct bench_workload *workload, struct bench_request *request) {
    uint32_t count = take_references(workload->shared, &request->mark);
    struct order_record *records = records_of(request);
    bool scatter = workload->shared->options->scatter;
    if (count == 0) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = request->mark + i;
        bench_reference_write_number(records[i].partner_order_id,
                                     scatter ? bench_reference_scatter(number) : number);
    }
    if (request->items != count) {
        request->head = bench_workload_write_head(
            workload->shared->options, "POST", "/v1/batch/orders", "application/octet-stream",
            count * sizeof(struct order_record), request->space, HEAD_BYTES_MAX);
        request->items = count;
    }
    request->body = (struct slice){(const char *)records, count * sizeof(struct order_record)};
    return true;
}

/** Notes the id; false where it was met lately. */
static bool is_new(struct bench_orders *orders, uint64_t order_id) {
    uint64_t *slot = &orders->recent[hash_mix(order_id) & (RECENT_SLOTS - 1)];
    bool known = *slot == order_id;
    *slot = order_id;
    return !known;
}

/** What is wrong with one item; NULL where it is right. */
static const char *find_fault(struct bench_orders *orders, const struct created *created) {
    if (created->code != CODE_CREATED) {
        return "expected code 201";
    }
    if (created->order_id == 0 || created->order_id > INT64_MAX) {
        return "expected an order id";
    }
    if (created->version != 1 || created->status != ORDER_STATUS_PENDING || created->zero != 0) {
        return "expected a pending order of version 1";
    }
    return is_new(orders, created->order_id) ? NULL : "this id was given twice";
}

/** The slot in the id of the first order must be that of its reference: a sample. */
static bool has_right_slot(const struct bench_request *request, uint64_t order_id) {
    uint64_t hash = order_record_reference_hash(&records_of(request)[0]);
    return order_id_decode(order_id).slot == order_slot_from_hash(hash);
}

static void count_items(struct bench_workload *workload, const struct bench_request *request,
                        const struct created *items, struct bench_tally *tally) {
    struct bench_orders *orders = (struct bench_orders *)workload;
    for (uint32_t i = 0; i < request->items; i++) {
        if (UNLIKELY(items[i].code == CODE_UNAVAILABLE)) {
            tally->refused++;
            continue;
        }
        const char *fault = find_fault(orders, &items[i]);
        if (LIKELY(fault == NULL)) {
            tally->right++;
            continue;
        }
        tally->wrong++;
        bench_workload_note(workload, "item %u: order %llu, code %u, version %u, status %u: %s", i,
                            (unsigned long long)items[i].order_id, items[i].code, items[i].version,
                            items[i].status, fault);
    }
    if (items[0].code == CODE_CREATED && !has_right_slot(request, items[0].order_id)) {
        tally->wrong++;
        bench_workload_note(workload, "order %llu: its slot is not that of its reference",
                            (unsigned long long)items[0].order_id);
    }
}

static void check_create(struct bench_workload *workload, const struct bench_request *request,
                         const struct bench_answer *answer, struct bench_tally *tally) {
    if (answer->status != 200 || answer->body.size != request->items * sizeof(struct created)) {
        bench_workload_take_failure(workload, request, answer, tally);
        return;
    }
    struct created items[BENCH_BATCH_MAX];
    memcpy(items, answer->body.data, answer->body.size);
    count_items(workload, request, items, tally);
}

/** True where each order of the batch is there now, be it from an earlier try. */
static bool is_loaded(const struct created *items, uint32_t count, bool *again) {
    bool loaded = true;
    *again = false;
    for (uint32_t i = 0; i < count; i++) {
        bool there = (items[i].code == CODE_CREATED || items[i].code == CODE_REPLAYED) &&
                     items[i].order_id != 0;
        *again |= items[i].code == CODE_UNAVAILABLE || items[i].code == CODE_UNKNOWN;
        loaded &= there;
    }
    return loaded;
}

static void keep_ids(struct bench_shared *shared, const struct created *items, uint32_t count) {
    uint64_t at = atomic_fetch_add_explicit(&shared->loaded_count, count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        shared->loaded[at + i] = items[i].order_id;
    }
}

static void send_again(const struct bench_request *request, struct bench_tally *tally) {
    tally->refused = request->items;
    tally->again = true;
}

static void check_load(struct bench_workload *workload, const struct bench_request *request,
                       const struct bench_answer *answer, struct bench_tally *tally) {
    struct created items[BENCH_BATCH_MAX];
    bool may_try = request->tries < TRIES_MAX;
    bool busy;
    if (answer->status == CODE_UNAVAILABLE && may_try) {
        send_again(request, tally);
        return;
    }
    if (answer->status != 200 || answer->body.size != request->items * sizeof(struct created)) {
        bench_workload_take_failure(workload, request, answer, tally);
        return;
    }
    memcpy(items, answer->body.data, answer->body.size);
    if (is_loaded(items, request->items, &busy)) {
        keep_ids(workload->shared, items, request->items);
        tally->right = request->items;
    } else if (busy && may_try) {
        send_again(request, tally);
    } else {
        count_items(workload, request, items, tally);
    }
}

static void destroy(struct bench_workload *workload) {
    free(((struct bench_orders *)workload)->recent);
    free(workload);
}

static const struct bench_workload_ops create_ops = {
    .set_up = set_up,
    .prepare = prepare,
    .check = check_create,
    .cut = bench_cut_http,
    .destroy = destroy,
};

static const struct bench_workload_ops load_ops = {
    .set_up = set_up,
    .prepare = prepare,
    .check = check_load,
    .cut = bench_cut_http,
    .destroy = destroy,
};

struct bench_workload *bench_orders_create(struct bench_shared *shared) {
    const struct bench_options *options = shared->options;
    struct bench_orders *orders = calloc(1, sizeof(*orders));
    if (orders == NULL) {
        return NULL;
    }
    orders->recent = calloc(RECENT_SLOTS, sizeof(*orders->recent));
    if (orders->recent == NULL) {
        free(orders);
        return NULL;
    }
    orders->workload.ops = options->kind == BENCH_LOAD ? &load_ops : &create_ops;
    orders->workload.space_bytes = HEAD_BYTES_MAX + options->batch * sizeof(struct order_record);
    orders->workload.answer_bytes_max =
        BENCH_HEAD_BYTES_MAX + options->batch * sizeof(struct created);
    return &orders->workload;
}
