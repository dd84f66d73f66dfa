/** The thread that drives the pipelines: archive, time-out, expiry. */
#ifndef ORDERD_ORDERD_PIPELINES_H
#define ORDERD_ORDERD_PIPELINES_H

#include "orderd/backend.h"

struct pipelines;

/** Starts them; NULL with the reason in `fault`. */
struct pipelines *pipelines_start(const struct backend_parts *parts, struct backend *backend,
                                  struct fault *fault);

/** Lets what is under way end, then stops the thread. */
void pipelines_stop(struct pipelines *pipelines);

#endif
