/** The benches that send one order a request: `http-get`, `http-create`, and the second half of
 *  `load`, which makes orders final. See bench_workload.h. */
#include "orderctl/bench_workload.h"

#include "base/text.h"
#include "order/order_id.h"
#include "orderctl/bench_reference.h"

#include <assert.h>
#include <stdlib.h>

#define SPACE_BYTES 1024
#define ANSWER_BYTES_MAX 65536
#define ID_DIGITS_MAX 20
#define TRIES_MAX 1000

struct bench_http {
    struct bench_workload workload;
    char get_end[BENCH_HOST_MAX + 64]; /* what follows the id in a GET */
    size_t get_end_size;
};

/* --- http-get --- */

/** Writes the head of a GET; the id is `mark`. */
static bool prepare_get(struct bench_workload *workload, struct bench_request *request) {
    const struct bench_http *http = (const struct bench_http *)workload;
    const struct bench_options *options = workload->shared->options;
    struct text text = text_over(request->space, SPACE_BYTES);
    text_append_literal(&text, "GET ");
    if (options->path != NULL) {
        text_append_slice(&text, slice_from_text(options->path));
    } else {
        request->ids = bench_ids_pick(&workload->shared->ids, &workload->random);
        text_append_slice(&text, slice_from_text(options->path_prefix));
        text_append_literal(&text, "/v1/orders/");
        text_append_u64(&text, *request->ids);
    }
    text_append(&text, http->get_end, http->get_end_size);
    assert(!text.truncated);
    request->head = text_slice(&text);
    request->items = 1;
    return true;
}

/** True where the body has the id as a JSON string, nearly always as its first member. */
static bool carries_id(struct slice body, uint64_t order_id) {
    char memory[ID_DIGITS_MAX + 2];
    struct text quoted = text_over(memory, sizeof(memory));
    static const char first[] = "{\"order_id\":";
    size_t first_size = sizeof(first) - 1;
    text_append_char(&quoted, '"');
    text_append_u64(&quoted, order_id);
    text_append_char(&quoted, '"');
    if (body.size >= first_size + quoted.size && memcmp(body.data, first, first_size) == 0) {
        return memcmp(body.data + first_size, quoted.data, quoted.size) == 0;
    }
    return memmem(body.data, body.size, quoted.data, quoted.size) != NULL;
}

static void check_get(struct bench_workload *workload, const struct bench_request *request,
                      const struct bench_answer *answer, struct bench_tally *tally) {
    const struct bench_options *options = workload->shared->options;
    if (answer->status == 404 && options->allow_absent) {
        tally->right = 1;
    } else if (answer->status != 200) {
        bench_workload_take_failure(workload, request, answer, tally);
    } else if (options->any_value || options->path != NULL) {
        tally->right = answer->body.size > 0;
        tally->wrong = answer->body.size == 0;
    } else if (carries_id(answer->body, *request->ids)) {
        tally->right = 1;
    } else {
        tally->wrong = 1;
        bench_workload_note(workload, "order %llu: another order came: %.*s",
                            (unsigned long long)*request->ids,
                            (int)bytes_min_size(answer->body.size, 160), answer->body.data);
    }
}

/* --- http-create --- */

/** The request is written once; only the reference changes. Its place is `mark`. */
static void set_up_create(struct bench_workload *workload, struct bench_request *request) {
    const struct bench_options *options = workload->shared->options;
    char body[256];
    char reference[BENCH_REFERENCE_CHARACTERS + 1] = {0};
    bench_reference_write_prefix(reference, workload->shared->run_prefix);
    bench_reference_write_number(reference, 0);
    int body_size = snprintf(body, sizeof(body),
                             "{\"partner_code\":\"%s\",\"partner_order_id\":\"%s\","
                             "\"amount\":1250,\"bank_code\":\"BANK\"}",
                             options->partner_code, reference);
    assert(body_size > 0 && (size_t)body_size < sizeof(body));
    request->head = bench_workload_write_head(options, "POST", "/v1/orders", "application/json",
                                              (size_t)body_size, request->space, SPACE_BYTES);
    assert(request->head.size + (size_t)body_size <= SPACE_BYTES);
    memcpy(request->space + request->head.size, body, (size_t)body_size);
    request->mark = request->head.size + (size_t)(strstr(body, reference) - body);
    request->head.size += (size_t)body_size;
    request->items = 1;
}

static bool prepare_create(struct bench_workload *workload, struct bench_request *request) {
    uint64_t number =
        atomic_fetch_add_explicit(&workload->shared->next_reference, 1, memory_order_relaxed);
    bench_reference_write_number(request->space + request->mark, number);
    return true;
}

static bool has_location(const struct bench_answer *answer) {
    static const struct slice name = {"location", 8};
    static const struct slice path = {"/v1/orders/", 11};
    struct slice value = bench_answer_header(answer->head, name);
    uint64_t order_id;
    const char *at =
        value.data == NULL ? NULL : memmem(value.data, value.size, path.data, path.size);
    if (at == NULL) {
        return false;
    }
    struct slice digits = {at + path.size, value.size - (size_t)(at + path.size - value.data)};
    return order_id_parse(digits, &order_id);
}

static void check_create(struct bench_workload *workload, const struct bench_request *request,
                         const struct bench_answer *answer, struct bench_tally *tally) {
    if (answer->status != 201) {
        bench_workload_take_failure(workload, request, answer, tally);
    } else if (has_location(answer)) {
        tally->right = 1;
    } else {
        tally->wrong = 1;
        bench_workload_note(workload, "answered 201 without the Location of an order");
    }
}

/* --- making orders final --- */

static bool prepare_finish(struct bench_workload *workload, struct bench_request *request) {
    static const char body[] = "{\"status\":\"success\"}";
    struct bench_shared *shared = workload->shared;
    char target[64];
    uint64_t at = atomic_fetch_add_explicit(&shared->next_finished, 1, memory_order_relaxed);
    if (at >= shared->finish_count) {
        return false;
    }
    request->ids = &shared->finished[at];
    (void)snprintf(target, sizeof(target), "/v1/orders/%llu", (unsigned long long)*request->ids);
    request->head = bench_workload_write_head(shared->options, "PATCH", target, "application/json",
                                              sizeof(body) - 1, request->space, SPACE_BYTES);
    request->body = (struct slice){body, sizeof(body) - 1};
    request->items = 1;
    return true;
}

static void check_finish(struct bench_workload *workload, const struct bench_request *request,
                         const struct bench_answer *answer, struct bench_tally *tally) {
    bool busy = answer->status == 503 || answer->status == 504;
    if (answer->status == 200) {
        tally->right = 1;
    } else if (busy && request->tries < TRIES_MAX) {
        tally->refused = 1;
        tally->again = true;
    } else {
        bench_workload_take_failure(workload, request, answer, tally);
    }
}

/* --- all of them --- */

static void destroy(struct bench_workload *workload) {
    free(workload);
}

static const struct bench_workload_ops get_ops = {
    .prepare = prepare_get,
    .check = check_get,
    .cut = bench_cut_http,
    .destroy = destroy,
};

static const struct bench_workload_ops create_ops = {
    .set_up = set_up_create,
    .prepare = prepare_create,
    .check = check_create,
    .cut = bench_cut_http,
    .destroy = destroy,
};

static const struct bench_workload_ops finish_ops = {
    .prepare = prepare_finish,
    .check = check_finish,
    .cut = bench_cut_http,
    .destroy = destroy,
};

struct bench_workload *bench_http_create(struct bench_shared *shared, bool finishes) {
    const struct bench_options *options = shared->options;
    struct bench_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return NULL;
    }
    http->workload.ops = finishes                          ? &finish_ops
                         : options->kind == BENCH_HTTP_GET ? &get_ops
                                                           : &create_ops;
    http->workload.space_bytes = SPACE_BYTES;
    http->workload.answer_bytes_max = ANSWER_BYTES_MAX;
    int size = snprintf(http->get_end, sizeof(http->get_end), " HTTP/1.1\r\nHost: %s\r\n\r\n",
                        options->authority);
    http->get_end_size = (size_t)size;
    return &http->workload;
}
