/** Where the query service asks for what the local memory does not have: batch in, batch out.
 *  Implementations walk the tiers in the order that the id's age suggests (lookup_embedded.c: the
 *  archive, as every hot order is in RAM; lookup_cluster.c: the cache, then, under a lock, the
 *  store and the archive).
 *
 *  Results: FOUND, ABSENT (in no tier), UNAVAILABLE (a tier that may hold it did not answer),
 *  BROKEN, BUSY (a look-up elsewhere is in progress: the order is known to be looked for).
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_SERVICE_LOOKUP_H
#define ORDERD_SERVICE_LOOKUP_H

#include "base/clock.h"
#include "port/order_archive.h"

struct lookup;

/** What is looked up. With a version of at least `min_versions[i]` (NULL: any), where a tier has
 *  it: an older one is the answer only where the truth has no newer one. */
struct lookup_batch {
    struct order_get_batch get; /* first: its `done` is handed this */
    const uint32_t *min_versions;
    struct port_request intake; /* the look-up's, while it has the batch, as the two below */
    void *lookup;
    size_t open;
};

struct lookup_ops {
    enum port_submit (*get)(struct lookup *lookup, struct lookup_batch *batch);
    /** False where no instance can have given the id: 404 without any I/O. */
    bool (*is_possible)(struct lookup *lookup, uint64_t order_id, int64_t now_us);
};

/** First member of every implementation. */
struct lookup {
    const struct lookup_ops *ops;
};

/** The tiers of one machine. */
struct lookup_embedded {
    struct lookup lookup;
    struct order_archive *archive; /* borrowed */
    uint32_t node;                 /* the only one that gives ids here */
};

void lookup_embedded_init(struct lookup_embedded *lookup, struct order_archive *archive,
                          uint32_t node);

#endif
