/** What a bench sends and what it takes for a right answer: one implementation a kind. The worker
 *  (bench_worker.h) moves the bytes and knows nothing of orders.
 *
 *  Every thread makes a workload of its own; what they share (`bench_shared`) is read-only or
 *  atomic. All calls come from the worker's thread. */
#ifndef ORDERD_ORDERCTL_BENCH_WORKLOAD_H
#define ORDERD_ORDERCTL_BENCH_WORKLOAD_H

#include "orderctl/bench_answer.h"
#include "orderctl/bench_ids.h"
#include "orderctl/bench_options.h"

#include <stdatomic.h>

#define BENCH_RUN_PREFIX_CHARACTERS 8

/** What all threads of a run share. */
struct bench_shared {
    const struct bench_options *options;
    struct bench_ids ids;                             /* count 0: the kind needs none */
    char run_prefix[BENCH_RUN_PREFIX_CHARACTERS + 1]; /* of new references: random in each run */
    _Atomic uint64_t next_reference;
    /* load: */
    uint64_t *loaded; /* owned: the ids of what was created */
    size_t loaded_bytes;
    _Atomic uint64_t loaded_count;
    uint64_t *finished; /* borrowed, part of `loaded`: those that become final */
    uint64_t finish_count;
    _Atomic uint64_t next_finished;
};

/** One request on its way. The slices stay valid until its answer is checked. */
struct bench_request {
    int64_t begin_ns; /* when it was sent; in an open loop, when it was due */
    struct slice head;
    struct slice body;   /* may be empty */
    uint32_t items;      /* how many operations it stands for */
    uint32_t tries;      /* how often it was sent already */
    const uint64_t *ids; /* the workload's: what was asked for */
    uint64_t mark;       /* the workload's */
    char *space;         /* owned by the connection: `space_bytes` for the workload */
};

/** What the answer to one request says about its items. */
struct bench_tally {
    uint64_t right;
    uint64_t wrong;
    uint64_t refused; /* 503: overloaded, nothing happened */
    bool again;       /* send the same request once more */
};

struct bench_workload;

struct bench_workload_ops {
    /** Fills in what never changes in a request whose `space` is set. NULL: nothing. */
    void (*set_up)(struct bench_workload *workload, struct bench_request *request);
    /** Makes the next request: slices and items. False when there is nothing left to do. */
    bool (*prepare)(struct bench_workload *workload, struct bench_request *request);
    /** Judges a whole answer. The first wrong one leaves its reason in workload->fault. */
    void (*check)(struct bench_workload *workload, const struct bench_request *request,
                  const struct bench_answer *answer, struct bench_tally *tally);
    enum bench_cut (*cut)(struct slice bytes, struct bench_answer *answer);
    void (*destroy)(struct bench_workload *workload);
};

/** First member of every implementation. */
struct bench_workload {
    const struct bench_workload_ops *ops;
    struct bench_shared *shared;
    struct random_source random;
    size_t space_bytes;      /* of a request's `space` */
    size_t answer_bytes_max; /* no right answer is longer, its head included */
    bool has_fault;
    struct fault fault;
};

/** Makes the workload of the shared options; NULL where memory is short. */
struct bench_workload *bench_workload_create(struct bench_shared *shared, uint64_t seed);

/** The second half of a load: makes orders final. */
struct bench_workload *bench_workload_create_finish(struct bench_shared *shared, uint64_t seed);

static inline void bench_workload_destroy(struct bench_workload *workload) {
    workload->ops->destroy(workload);
}

/** Notes the reason of the first wrong answer; later ones only count. */
void bench_workload_note(struct bench_workload *workload, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Settles an answer that is not the one of success: refused for 503, else wrong, with the status
 *  noted. */
void bench_workload_take_failure(struct bench_workload *workload,
                                 const struct bench_request *request,
                                 const struct bench_answer *answer, struct bench_tally *tally);

/** Writes the head of a POST whose body has `body_bytes` into `space`; returns it. */
struct slice bench_workload_write_head(const struct bench_options *options, const char *method,
                                       const char *target, const char *content_type,
                                       size_t body_bytes, char *space, size_t capacity);

/* The makers of the kinds. */
struct bench_workload *bench_batch_create(struct bench_shared *shared);
struct bench_workload *bench_orders_create(struct bench_shared *shared);
struct bench_workload *bench_http_create(struct bench_shared *shared, bool finishes);
struct bench_workload *bench_resp_create(struct bench_shared *shared);

#endif
