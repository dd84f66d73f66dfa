/** A network thread: event loop, HTTP and RESP server, and an instance of the API and its services.
 *  All workers listen on the same address (SO_REUSEPORT) and share nothing but the ports. */
#ifndef ORDERD_ORDERD_WORKER_H
#define ORDERD_ORDERD_WORKER_H

#include "orderd/backend.h"

struct worker;

struct worker_parts {
    const struct program_options *options;
    const struct order_terms *terms;
    const struct clock *clock;
    struct backend *backend;
    const struct api_readiness *readiness; /* of the process */
    struct metrics *metrics;
    const char *address;      /* of HTTP, to listen on */
    const char *resp_address; /* of RESP; empty: none */
};

/** Makes a worker that listens, but does not serve yet. NULL with the reason in `fault`. */
struct worker *worker_create(const struct worker_parts *parts, struct fault *fault);

/** The port that it listens on. */
uint16_t worker_port(const struct worker *worker);

/** The port for RESP; 0 where it does not listen for that. */
uint16_t worker_resp_port(const struct worker *worker);

/** Begins to serve, on a thread of its own. */
MUST_CHECK bool worker_start(struct worker *worker, struct fault *fault);

/** Asks it to take no more connections and to end when those it has are answered, at the latest
 *  after drain_timeout_ms. @thread any. */
void worker_drain(struct worker *worker);

/** Waits for its end, if it was started. */
void worker_join(struct worker *worker);

/** Waits for its end and releases it. No other worker may run any more: they show its metrics. */
void worker_destroy(struct worker *worker);

#endif
