/** The steps of the archive pipeline, made to end or to stop this process: ports that stand between
 *  the pipeline and its tiers. Only tests are built with them; the service has no such hook.
 *
 *  The steps are put, read_back, publish, commit, second_read and release. Each can be met
 *
 *      before   nothing of it was begun: all that came before it is done
 *      during   the tier has the request, and has done nothing, some or all of it
 *      after    the tier has answered, and the pipeline does not know
 *
 *  Comparing comes between "after read_back" and "before publish", settling begins between "after
 *  publish" and "before commit".
 *
 *  @thread the one that drives the pipeline, whose mailbox it is. */
#ifndef ORDERD_TESTS_ARCHIVE_STEPS_H
#define ORDERD_TESTS_ARCHIVE_STEPS_H

#include "pipeline/cluster_archiver.h"

enum archive_step {
    STEP_NONE,
    STEP_PUT,
    STEP_READ_BACK,
    STEP_PUBLISH,
    STEP_COMMIT,
    STEP_SECOND_READ,
    STEP_RELEASE
};

enum archive_moment { MOMENT_BEFORE, MOMENT_DURING, MOMENT_AFTER };

struct archive_steps {
    struct order_store store; /* these four are for the pipeline */
    struct order_archive archive;
    struct topic_reader changes;
    struct topic_writer archived;
    struct cluster_archiver_parts real;

    enum archive_step step; /* that is waited for */
    enum archive_moment moment;
    int signal;
    const struct order_get_batch *read_back; /* the pipeline's; the other one is the second read */

    /* What the tier has in place of the pipeline's request, where its answer is waited for. */
    struct port_request *asked;
    struct order_archive_put put;
    struct order_get_batch get;
    struct topic_publish publish;
    struct topic_commit commit;
    struct order_release_batch release;
};

/** Takes the place of the tiers in `parts`. */
void archive_steps_init(struct archive_steps *steps, struct cluster_archiver_parts *parts);

/** The next time that the pipeline comes to this moment of this step, the process gets `signal`.
 *  False where there is no such step or moment. */
MUST_CHECK bool archive_steps_arm(struct archive_steps *steps, const char *step, const char *moment,
                                  int signal);

#endif
