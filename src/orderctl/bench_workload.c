#include "orderctl/bench_workload.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define HTTP_UNAVAILABLE 503
#define TEXT_SHOWN_MAX 160

static struct bench_workload *with_random(struct bench_workload *workload,
                                          struct bench_shared *shared, uint64_t seed) {
    if (workload != NULL) {
        workload->shared = shared;
        workload->random.state = seed;
    }
    return workload;
}

struct bench_workload *bench_workload_create(struct bench_shared *shared, uint64_t seed) {
    struct bench_workload *workload = NULL;
    switch (shared->options->kind) {
    case BENCH_STATUSES:
    case BENCH_GET:
        workload = bench_batch_create(shared);
        break;
    case BENCH_CREATE:
    case BENCH_LOAD:
        workload = bench_orders_create(shared);
        break;
    case BENCH_HTTP_GET:
    case BENCH_HTTP_CREATE:
        workload = bench_http_create(shared, false);
        break;
    case BENCH_RESP:
        workload = bench_resp_create(shared);
        break;
    case BENCH_KIND_COUNT:
        assert(!"no kind");
    }
    return with_random(workload, shared, seed);
}

struct bench_workload *bench_workload_create_finish(struct bench_shared *shared, uint64_t seed) {
    return with_random(bench_http_create(shared, true), shared, seed);
}

void bench_workload_note(struct bench_workload *workload, const char *format, ...) {
    if (workload->has_fault) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(workload->fault.text, sizeof(workload->fault.text), format, arguments);
    va_end(arguments);
    workload->has_fault = true;
}

void bench_workload_take_failure(struct bench_workload *workload,
                                 const struct bench_request *request,
                                 const struct bench_answer *answer, struct bench_tally *tally) {
    if (answer->status == HTTP_UNAVAILABLE) {
        tally->refused = request->items;
        return;
    }
    tally->wrong = request->items;
    bench_workload_note(workload, "answered %d: %.*s", answer->status,
                        (int)bytes_min_size(answer->body.size, TEXT_SHOWN_MAX), answer->body.data);
}

struct slice bench_workload_write_head(const struct bench_options *options, const char *method,
                                       const char *target, const char *content_type,
                                       size_t body_bytes, char *space, size_t capacity) {
    int size = snprintf(space, capacity,
                        "%s %s%s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        method, options->path_prefix, target, options->authority, content_type,
                        body_bytes);
    assert(size > 0 && (size_t)size < capacity);
    return (struct slice){space, (size_t)size};
}
