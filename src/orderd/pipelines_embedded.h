/** The pipelines of one machine, on one thread: archive, time-out, expiry. */
#ifndef ORDERD_ORDERD_PIPELINES_EMBEDDED_H
#define ORDERD_ORDERD_PIPELINES_EMBEDDED_H

#include "orderd/backend.h"

struct pipelines_embedded;

/** Starts them; NULL with the reason in `fault`. */
struct pipelines_embedded *pipelines_embedded_start(const struct backend_parts *parts,
                                                    struct backend *backend, struct fault *fault);

/** Lets what is under way end, then stops the thread. NULL will do. */
void pipelines_embedded_stop(struct pipelines_embedded *pipelines);

#endif
