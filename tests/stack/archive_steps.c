#include "archive_steps.h"

#include <signal.h>
#include <unistd.h>

/* Long enough for a tier to have begun, too short for it to have done all of a large batch. */
#define DURING_US 2000

static const char *const step_names[] = {"",       "put",         "read_back", "publish",
                                         "commit", "second_read", "release"};
static const char *const moment_names[] = {"before", "during", "after"};

static int number_of(const char *name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool archive_steps_arm(struct archive_steps *steps, const char *step, const char *moment,
                       int signal) {
    int step_number = number_of(step, step_names, ARRAY_COUNT(step_names));
    int moment_number = number_of(moment, moment_names, ARRAY_COUNT(moment_names));
    if (step_number <= 0 || moment_number < 0) {
        return false;
    }
    steps->step = (enum archive_step)step_number;
    steps->moment = (enum archive_moment)moment_number;
    steps->signal = signal;
    return true;
}

static bool is_met(const struct archive_steps *steps, enum archive_step step,
                   enum archive_moment moment) {
    return steps->step == step && steps->moment == moment;
}

/** It is there. A process that was only stopped goes on from here. */
static void meet(struct archive_steps *steps) {
    log_info(steps->real.log, "archive", "met: %s %s", moment_names[steps->moment],
             step_names[steps->step]);
    steps->step = STEP_NONE;
    (void)raise(steps->signal);
}

/** Around one submission. */
static void meet_before(struct archive_steps *steps, enum archive_step step) {
    if (is_met(steps, step, MOMENT_BEFORE)) {
        meet(steps);
    }
}

static void meet_during(struct archive_steps *steps, enum archive_step step,
                        enum port_submit submitted) {
    if (submitted == PORT_TAKEN && is_met(steps, step, MOMENT_DURING)) {
        (void)usleep(DURING_US);
        meet(steps);
    }
}

/** The tier has answered to what was handed to it in place of the pipeline's request. */
static void answered(struct archive_steps *steps) {
    struct port_request *asked = steps->asked;
    meet(steps);
    asked->done(asked);
}

#define ANSWERED(function, member)                                                                 \
    static void function(struct port_request *request) {                                           \
        answered(CONTAINER_OF(request, struct archive_steps, member.request));                     \
    }

ANSWERED(put_answered, put)
ANSWERED(get_answered, get)
ANSWERED(publish_answered, publish)
ANSWERED(release_answered, release)

static void commit_answered(struct port_request *request) {
    struct archive_steps *steps = CONTAINER_OF(request, struct archive_steps, commit.request);
    CONTAINER_OF(steps->asked, struct topic_commit, request)->result = steps->commit.result;
    answered(steps);
}

/** Hands a request on, or a copy of it whose answer is met. */
#define STEP(function, port, type, batch_type, operation, step_of)                                 \
    static enum port_submit function(struct type *port_, struct batch_type *batch) {               \
        struct archive_steps *steps = CONTAINER_OF(port_, struct archive_steps, port);             \
        struct type *real = steps->real.port;                                                      \
        enum archive_step step = step_of;                                                          \
        struct batch_type *handed = batch;                                                         \
        meet_before(steps, step);                                                                  \
        if (is_met(steps, step, MOMENT_AFTER)) {                                                   \
            steps->asked = &batch->request;                                                        \
            steps->operation = *batch;                                                             \
            steps->operation.request.done = operation##_answered;                                  \
            handed = &steps->operation;                                                            \
        }                                                                                          \
        enum port_submit submitted = real->ops->operation(real, handed);                           \
        meet_during(steps, step, submitted);                                                       \
        return submitted;                                                                          \
    }

STEP(put, archive, order_archive, order_archive_put, put, STEP_PUT)
STEP(publish, archived, topic_writer, topic_publish, publish, STEP_PUBLISH)
STEP(commit, changes, topic_reader, topic_commit, commit, STEP_COMMIT)
STEP(release, store, order_store, order_release_batch, release, STEP_RELEASE)

/** The first read that there is follows a put: nothing has settled by then. */
static enum archive_step step_of_get(struct archive_steps *steps,
                                     const struct order_get_batch *batch) {
    if (steps->read_back == NULL) {
        steps->read_back = batch;
    }
    return steps->read_back == batch ? STEP_READ_BACK : STEP_SECOND_READ;
}

STEP(get, archive, order_archive, order_get_batch, get, step_of_get(steps, batch))

static enum port_submit read_changes(struct topic_reader *reader, struct topic_read *request) {
    struct archive_steps *steps = CONTAINER_OF(reader, struct archive_steps, changes);
    return steps->real.changes->ops->read(steps->real.changes, request);
}

static enum port_submit scan(struct order_store *store, struct order_scan_batch *batch) {
    struct archive_steps *steps = CONTAINER_OF(store, struct archive_steps, store);
    return steps->real.store->ops->scan(steps->real.store, batch);
}

void archive_steps_init(struct archive_steps *steps, struct cluster_archiver_parts *parts) {
    static const struct order_store_ops store_ops = {.scan = scan, .release = release};
    static const struct order_archive_ops archive_ops = {.put = put, .get = get};
    static const struct topic_reader_ops changes_ops = {.read = read_changes, .commit = commit};
    static const struct topic_writer_ops archived_ops = {.publish = publish};
    *steps = (struct archive_steps){
        .store = {&store_ops},
        .archive = {&archive_ops},
        .changes = {&changes_ops},
        .archived = {&archived_ops},
        .real = *parts,
    };
    parts->store = &steps->store;
    parts->archive = &steps->archive;
    parts->changes = &steps->changes;
    parts->archived = &steps->archived;
}
