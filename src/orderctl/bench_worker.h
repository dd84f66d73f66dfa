/** One thread of a bench: an epoll loop over its share of the connections. It keeps them full
 *  (closed loop) or sends what is due (open loop), times every answer, and has the workload judge
 *  it.
 *
 *  A run has three parts: the warm-up, whose answers are only judged; the measured window; and the
 *  drain, in which nothing new is sent. Operations count when they end within the window; a latency
 *  counts when its request begins (or was due) within it, however late its answer is.
 *
 *  The caller owns the struct and reads the result after the thread has ended. */
#ifndef ORDERD_ORDERCTL_BENCH_WORKER_H
#define ORDERD_ORDERCTL_BENCH_WORKER_H

#include "base/histogram.h"
#include "orderctl/bench_connection.h"
#include "orderctl/bench_schedule.h"

/** When a run begins and ends, by bench_clock_ns. */
struct bench_window {
    int64_t start_ns; /* the first request */
    int64_t begin_ns; /* after the warm-up */
    int64_t end_ns;   /* INT64_MAX: when the workload has nothing left */
};

struct bench_result {
    uint64_t right;      /* operations that ended within the window */
    uint64_t wrong;      /* of the whole run */
    uint64_t refused;    /* of the whole run */
    uint64_t unanswered; /* operations without an answer at the end; they are wrong as well */
    uint64_t unsent;     /* open loop: operations that were due and never sent */
    uint64_t requests;   /* answers within the window */
    uint64_t reconnects;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    int64_t last_ns; /* the last answer */
    int64_t cpu_ns;  /* of the thread */
    struct histogram latency_ns;
};

struct bench_worker {
    const struct bench_options *options;
    struct bench_workload *workload;      /* owned */
    struct bench_connection *connections; /* owned */
    uint32_t connection_count;
    struct bench_window window;
    struct bench_schedule schedule; /* open loop */
    uint32_t next_connection;       /* open loop: whose turn it is */
    uint32_t paused_count;          /* connections that wait before they send again */
    bool exhausted;                 /* the workload has nothing left */
    bool broken;                    /* the service is gone: `fault` says how */
    struct fault fault;
    int epoll_fd; /* owned */
    struct bench_result result;
};

/** Reserves the memory and connects. Takes the workload over in any case. False with the reason in
 *  `fault`; `*reachable` false where that was the network's. */
MUST_CHECK bool bench_worker_init(struct bench_worker *worker, const struct bench_options *options,
                                  struct bench_workload *workload, uint32_t connection_count,
                                  bool *reachable, struct fault *fault);
void bench_worker_deinit(struct bench_worker *worker);

/** Runs the whole of it. @param requests_per_second this worker's share; 0: closed loop.
 *  @thread the worker's. */
void bench_worker_run(struct bench_worker *worker, const struct bench_window *window,
                      double requests_per_second);

/** The monotonic clock in nanoseconds. @thread any. */
int64_t bench_clock_ns(void);

#endif
