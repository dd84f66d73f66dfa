/** A whole bench run: reads the ids, makes the threads and their workers, and adds up what they
 *  saw. Called from the main thread, which waits. */
#ifndef ORDERD_ORDERCTL_BENCH_RUN_H
#define ORDERD_ORDERCTL_BENCH_RUN_H

#include "orderctl/bench_worker.h"

struct bench_report {
    struct bench_result total;
    double seconds;     /* of the measured window */
    double cpu_seconds; /* of all threads, the whole run */
    bool has_note;
    struct fault note; /* the first wrong answer */
    uint64_t finished; /* load: orders made final */
    double finish_seconds;
};

/** Runs what the options ask for. A run that could not begin or had to end leaves its reason in
 *  `fault`: EXIT_STATUS_UNREACHABLE where the service or a file is at fault. Wrong answers are
 *  EXIT_STATUS_REFUSED, with the report complete.
 *  @param load NULL, or the load that first makes the orders to be read. */
enum exit_status bench_run(const struct bench_options *options, const struct bench_options *load,
                           struct bench_report *report, struct fault *fault);

#endif
