/** The bench `resp`: GET or MGET with random keys at any server that speaks RESP2. See
 *  bench_workload.h. */
#include "orderctl/bench_workload.h"

#include "base/text.h"

#include <assert.h>
#include <stdlib.h>

#define KEY_BYTES_MAX (BENCH_KEY_PREFIX_MAX + 20)
#define ITEM_BYTES_MAX (KEY_BYTES_MAX + 16) /* the key, and $<length> before it */
#define FRAME_BYTES 64                      /* *<count>, the command's name */
#define VALUE_BYTES_MAX 4096                /* an order is 768 at most */
#define TEXT_SHOWN_MAX 120

static void append_key(struct text *text, struct slice prefix, uint64_t order_id) {
    char memory[20];
    struct text digits = text_over(memory, sizeof(memory));
    text_append_u64(&digits, order_id);
    text_append_char(text, '$');
    text_append_u64(text, prefix.size + digits.size);
    text_append_literal(text, "\r\n");
    text_append_slice(text, prefix);
    text_append_slice(text, text_slice(&digits));
    text_append_literal(text, "\r\n");
}

static bool prepare(struct bench_workload *workload, struct bench_request *request) {
    const struct bench_options *options = workload->shared->options;
    struct slice prefix = slice_from_text(options->key_prefix);
    struct text text = text_over(request->space, workload->space_bytes);
    request->ids = bench_ids_pick(&workload->shared->ids, &workload->random);
    text_append_char(&text, '*');
    text_append_u64(&text, options->batch + 1);
    if (options->mget) {
        text_append_literal(&text, "\r\n$4\r\nMGET\r\n");
    } else {
        text_append_literal(&text, "\r\n$3\r\nGET\r\n");
    }
    for (uint32_t i = 0; i < options->batch; i++) {
        append_key(&text, prefix, request->ids[i]);
    }
    assert(!text.truncated);
    request->head = text_slice(&text);
    request->items = options->batch;
    return true;
}

/** True where the value is the JSON of the order: its id as a member. */
static bool is_order(struct slice value, uint64_t order_id) {
    char memory[40];
    struct text member = text_over(memory, sizeof(memory));
    text_append_literal(&member, "\"order_id\":\"");
    text_append_u64(&member, order_id);
    text_append_char(&member, '"');
    /* Nearly always it is the first one. */
    if (value.size > member.size && memcmp(value.data + 1, member.data, member.size) == 0) {
        return true;
    }
    return memmem(value.data, value.size, member.data, member.size) != NULL;
}

static void check_value(struct bench_workload *workload, struct slice value, uint64_t order_id,
                        struct bench_tally *tally) {
    const struct bench_options *options = workload->shared->options;
    bool right = value.data == NULL ? options->allow_absent
                                    : options->any_value || is_order(value, order_id);
    if (LIKELY(right)) {
        tally->right++;
        return;
    }
    tally->wrong++;
    bench_workload_note(workload, "key %s%llu: answered %.*s", options->key_prefix,
                        (unsigned long long)order_id,
                        value.data == NULL ? 3 : (int)bytes_min_size(value.size, TEXT_SHOWN_MAX),
                        value.data == NULL ? "nil" : value.data);
}

static void check(struct bench_workload *workload, const struct bench_request *request,
                  const struct bench_answer *answer, struct bench_tally *tally) {
    static const struct slice try_again = {"-TRYAGAIN", 9};
    struct slice reply = answer->body;
    struct slice value;
    if (reply.size >= try_again.size && memcmp(reply.data, try_again.data, try_again.size) == 0) {
        tally->refused = request->items;
        return;
    }
    bool whole = !workload->shared->options->mget || bench_resp_enter_array(&reply, request->items);
    for (uint32_t i = 0; whole && i < request->items; i++) {
        whole = bench_resp_next_bulk(&reply, &value);
        if (whole) {
            check_value(workload, value, request->ids[i], tally);
        }
    }
    if (!whole) {
        tally->right = 0;
        tally->wrong = request->items;
        bench_workload_note(workload, "answered %.*s",
                            (int)bytes_min_size(answer->body.size, TEXT_SHOWN_MAX),
                            answer->body.data);
    }
}

static void destroy(struct bench_workload *workload) {
    free(workload);
}

static const struct bench_workload_ops resp_ops = {
    .prepare = prepare,
    .check = check,
    .cut = bench_cut_resp,
    .destroy = destroy,
};

struct bench_workload *bench_resp_create(struct bench_shared *shared) {
    struct bench_workload *workload = calloc(1, sizeof(*workload));
    if (workload != NULL) {
        workload->ops = &resp_ops;
        workload->space_bytes = FRAME_BYTES + shared->options->batch * (size_t)ITEM_BYTES_MAX;
        workload->answer_bytes_max = FRAME_BYTES + shared->options->batch * (size_t)VALUE_BYTES_MAX;
    }
    return workload;
}
