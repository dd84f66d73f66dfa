/** The process that is simulated: everything that is gone when it ends. Its threads are actors
 *  here, run one after the other; where one of them would wait for the disk or the archive, others
 *  may get their turn in the middle of its work, as threads do. */
#ifndef ORDERD_TESTS_SIM_PROCESS_H
#define ORDERD_TESTS_SIM_PROCESS_H

#include "pipeline/archiver.h"
#include "pipeline/expiry.h"
#include "pipeline/timeout.h"
#include "service/command.h"
#include "service/query.h"
#include "sim.h"
#include "sim_proxy.h"

#define SIM_LOOPS 2

enum sim_actor {
    SIM_ACTOR_STORE,
    SIM_ACTOR_KEEPER,
    SIM_ACTOR_PUTS,  /* the archive's */
    SIM_ACTOR_READS, /* the journal's, for the change log */
    SIM_ACTOR_PORTS,
    SIM_ACTOR_PIPELINES,
    SIM_ACTOR_LOOP_0,
    SIM_ACTOR_LOOP_1,
    SIM_ACTOR_COUNT
};

struct sim_operation;

/** A network loop: its services, and what its clients wait for. */
struct sim_loop {
    struct mailbox mailbox;
    struct command_service *command; /* owned */
    struct query_service *query;     /* owned */
    struct lookup_embedded lookup;
    struct sim_operation *operations; /* owned: those under way */
};

struct sim_process {
    struct embedded_core core;
    struct mailbox reads;
    struct mailbox pipelines_box;
    struct sim_proxy proxy;
    struct archiver *archiver;        /* owned */
    struct timeout_pipeline *timeout; /* owned */
    struct expiry_pipeline expiry;
    struct sim_loop loops[SIM_LOOPS];
    struct change_watch watch;
    bool running[SIM_ACTOR_COUNT]; /* in the middle of its work */
    int64_t filter_rotated_us;     /* as last seen */
};

/** Starts the process: recovery, then everything else. False where the start was refused; the
 *  reason is in `fault`. */
MUST_CHECK bool sim_process_start(struct sim *sim, struct fault *fault);

/** Throws all of it away. What its clients waited for is cut off. */
void sim_process_end(struct sim *sim);

/** Runs one step of an actor; false where it had nothing to do. Not while it is running. */
bool sim_process_run(struct sim *sim, enum sim_actor actor);

/** Takes over what the store has published since it was last looked at. */
void sim_process_observe_store(struct sim *sim);

#endif
