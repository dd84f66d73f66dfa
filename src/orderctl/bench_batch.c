/** The benches `statuses` and `get`: batches of random ids, sent straight from the list of ids,
 *  answers of fixed size checked item by item. See bench_workload.h. */
#include "orderctl/bench_workload.h"

#include "order/record.h"

#include <stdlib.h>

#define HEAD_BYTES_MAX 1024

struct bench_batch {
    struct bench_workload workload;
    struct slice head; /* the same for every request */
    char head_memory[HEAD_BYTES_MAX];
};

static bool prepare(struct bench_workload *workload, struct bench_request *request) {
    struct bench_batch *batch = (struct bench_batch *)workload;
    uint32_t count = workload->shared->options->batch;
    request->ids = bench_ids_pick(&workload->shared->ids, &workload->random);
    request->head = batch->head;
    request->body = (struct slice){(const char *)request->ids, count * sizeof(uint64_t)};
    request->items = count;
    return true;
}

/** True where every state is that of an order: a version, a valid status, no flags. Without a
 *  branch in the loop, so that the compiler may take several at once. */
static bool states_are_right(const char *states, size_t count) {
    uint64_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t state = bytes_load_u64(states + i * sizeof(struct order_state));
        uint64_t rest = state >> 32; /* status; then flags and zero, which make it too large */
        wrong |= (uint64_t)((uint32_t)state == 0) | (uint64_t)(rest - 1 > ORDER_STATUS_ERROR - 1);
    }
    return wrong == 0;
}

/** Counts one state after the other: only where something is not right. */
static void count_states(struct bench_workload *workload, const struct bench_request *request,
                         const char *states, struct bench_tally *tally) {
    bool allow_absent = workload->shared->options->allow_absent;
    for (size_t i = 0; i < request->items; i++) {
        struct order_state state;
        memcpy(&state, states + i * sizeof(state), sizeof(state));
        bool absent = state.version == 0 && state.status == 0;
        bool right =
            (state.version > 0 && order_status_is_valid(state.status)) || (absent && allow_absent);
        if (right && state.flags == 0 && state.zero == 0) {
            tally->right++;
            continue;
        }
        tally->wrong++;
        bench_workload_note(workload, "order %llu: answered version %u, status %u, flags %u%s",
                            (unsigned long long)request->ids[i], state.version, state.status,
                            state.flags, absent ? ": the service does not know it" : "");
    }
}

static void check_statuses(struct bench_workload *workload, const struct bench_request *request,
                           const struct bench_answer *answer, struct bench_tally *tally) {
    if (answer->status != 200 || answer->body.size != request->items * sizeof(struct order_state)) {
        bench_workload_take_failure(workload, request, answer, tally);
    } else if (states_are_right(answer->body.data, request->items)) {
        tally->right = request->items;
    } else {
        count_states(workload, request, answer->body.data, tally);
    }
}

static bool is_absent(const struct order_record *order) {
    static const struct order_record absent;
    return memcmp(order, &absent, sizeof(absent)) == 0;
}

static void check_get(struct bench_workload *workload, const struct bench_request *request,
                      const struct bench_answer *answer, struct bench_tally *tally) {
    if (answer->status != 200 ||
        answer->body.size != request->items * sizeof(struct order_record)) {
        bench_workload_take_failure(workload, request, answer, tally);
        return;
    }
    bool allow_absent = workload->shared->options->allow_absent;
    for (size_t i = 0; i < request->items; i++) {
        struct order_record order;
        memcpy(&order, answer->body.data + i * sizeof(order), sizeof(order));
        enum order_record_fault wrong = order_record_check(&order);
        if (LIKELY(order.order_id == request->ids[i] && wrong == ORDER_RECORD_VALID) ||
            (allow_absent && is_absent(&order))) {
            tally->right++;
            continue;
        }
        tally->wrong++;
        bench_workload_note(workload, "order %llu: answered order %llu, wrong %s",
                            (unsigned long long)request->ids[i], (unsigned long long)order.order_id,
                            wrong == ORDER_RECORD_VALID ? "id" : order_record_fault_name(wrong));
    }
}

static void destroy(struct bench_workload *workload) {
    free(workload);
}

static const struct bench_workload_ops statuses_ops = {
    .prepare = prepare,
    .check = check_statuses,
    .cut = bench_cut_http,
    .destroy = destroy,
};

static const struct bench_workload_ops get_ops = {
    .prepare = prepare,
    .check = check_get,
    .cut = bench_cut_http,
    .destroy = destroy,
};

struct bench_workload *bench_batch_create(struct bench_shared *shared) {
    const struct bench_options *options = shared->options;
    bool gets = options->kind == BENCH_GET;
    struct bench_batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL) {
        return NULL;
    }
    size_t item_bytes = gets ? sizeof(struct order_record) : sizeof(struct order_state);
    batch->workload.ops = gets ? &get_ops : &statuses_ops;
    batch->workload.answer_bytes_max = BENCH_HEAD_BYTES_MAX + options->batch * item_bytes;
    batch->head = bench_workload_write_head(
        options, "POST", gets ? "/v1/batch/get" : "/v1/batch/statuses", "application/octet-stream",
        options->batch * sizeof(uint64_t), batch->head_memory, sizeof(batch->head_memory));
    return &batch->workload;
}
