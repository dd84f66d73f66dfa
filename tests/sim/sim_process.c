#include "sim_process.h"

#include "sim_client.h"

#include <stdlib.h>

/* Requests of clients that go to a port directly, beside those of the services. */
#define DIRECT_MAX (2 * SIM_CLIENTS_MAX)

/* --- Observation. --- */

/** Remembers the frame that failed: it may be on the disk all the same. */
static void note_unknown_frame(struct sim *sim) {
    const struct embedded_store *store = &sim->process->core.store;
    struct sim_unknown_frame *unknown = &sim->unknown;
    const struct store_group *group = &store->group;
    free(unknown->records);
    free(unknown->released);
    *unknown = (struct sim_unknown_frame){
        .is_open = true,
        .sequence = store->journal->next_sequence,
        .record_count = group->record_count,
        .release_count = group->release_count,
        .records = calloc(group->record_count + 1, sizeof(*unknown->records)),
        .released = calloc(group->release_count + 1, sizeof(*unknown->released)),
    };
    assert(unknown->records != NULL && unknown->released != NULL);
    memcpy(unknown->records, group->records, group->record_count * sizeof(*unknown->records));
    for (uint32_t i = 0; i < group->release_count; i++) {
        unknown->released[i] = group->releases[i].order_id;
    }
    sim->counters.stores_stopped++;
}

void sim_process_observe_store(struct sim *sim) {
    const struct change_tail *tail = &sim->process->core.tail;
    struct order_record records[32];
    size_t count;
    do {
        bool kept =
            change_tail_read(tail, sim->model.next_change, ARRAY_COUNT(records), records, &count);
        SIM_CHECK(sim, kept, "change %llu is not among the newest any more",
                  (unsigned long long)sim->model.next_change);
        for (size_t i = 0; i < count; i++) {
            sim_model_commit(sim, sim->model.next_change, &records[i]);
        }
    } while (count > 0);
}

static void observe_releases(struct sim *sim) {
    const struct store_group *group = &sim->process->core.store.group;
    for (uint32_t i = 0; i < group->release_count; i++) {
        sim_model_release(sim, group->releases[i].order_id);
    }
}

static bool run_store(struct sim *sim) {
    struct embedded_core *core = &sim->process->core;
    bool was_stopped = embedded_store_is_stopped(&core->store);
    uint64_t sequence = core->journal.next_sequence;
    bool busy = embedded_store_step(&core->store);
    if (core->journal.next_sequence != sequence) {
        sim->counters.frames++;
        sim_process_observe_store(sim);
        observe_releases(sim);
    }
    if (!was_stopped && embedded_store_is_stopped(&core->store)) {
        note_unknown_frame(sim);
    }
    if (core->store.filter_rotated_us != sim->process->filter_rotated_us) {
        sim->process->filter_rotated_us = core->store.filter_rotated_us;
        sim->counters.filter_rotations++;
    }
    return busy;
}

/* --- The other actors. --- */

static bool run_keeper(struct sim *sim) {
    struct embedded_core *core = &sim->process->core;
    uint64_t made = core->supply.next_number;
    uint64_t first_spare = core->supply.spare_first;
    bool busy = keeper_step(&core->keeper, sim->clock.now_us);
    sim->counters.segments_recycled +=
        core->supply.next_number > made && core->supply.spare_first == first_spare + 1 ? 1 : 0;
    return busy;
}

static bool run_reads(struct sim *sim) {
    struct port_request *request = mailbox_take(&sim->process->reads);
    if (request == NULL) {
        return false;
    }
    assert(request->operation == CHANGE_LOG_READ);
    sim->counters.change_reads_from_journal++;
    embedded_change_log_read_journal(&sim->process->core.change_log,
                                     (struct change_read_batch *)request);
    return true;
}

static bool run_pipelines(struct sim *sim) {
    struct sim_process *process = sim->process;
    bool busy = port_drain(&process->pipelines_box, 4) > 0;
    int64_t now_us = sim->clock.now_us;
    busy = archiver_step(process->archiver) <= now_us || busy;
    busy = timeout_pipeline_step(process->timeout) <= now_us || busy;
    busy = expiry_pipeline_step(&process->expiry) <= now_us || busy;
    return busy;
}

static bool run_actor(struct sim *sim, enum sim_actor actor) {
    switch (actor) {
    case SIM_ACTOR_STORE:
        return run_store(sim);
    case SIM_ACTOR_KEEPER:
        return run_keeper(sim);
    case SIM_ACTOR_PUTS:
        return sim_archive_step(&sim->archive);
    case SIM_ACTOR_READS:
        return run_reads(sim);
    case SIM_ACTOR_PORTS:
        return sim_proxy_step(&sim->process->proxy);
    case SIM_ACTOR_PIPELINES:
        return run_pipelines(sim);
    case SIM_ACTOR_LOOP_0:
    case SIM_ACTOR_LOOP_1:
    case SIM_ACTOR_COUNT:
        break;
    }
    return sim_clients_run_loop(sim, (size_t)(actor - SIM_ACTOR_LOOP_0));
}

bool sim_process_run(struct sim *sim, enum sim_actor actor) {
    struct sim_process *process = sim->process;
    assert(!process->running[actor]);
    process->running[actor] = true;
    bool busy = run_actor(sim, actor);
    process->running[actor] = false;
    sim_note(sim, (uint64_t)actor << 1 | (busy ? 1 : 0));
    sim_note(sim, sim->model.next_change);
    return busy;
}

/* --- Start and end. --- */

static void start_loop(struct sim *sim, struct sim_loop *loop) {
    struct sim_process *process = sim->process;
    bool made =
        mailbox_init(&loop->mailbox, COMMAND_OUTSTANDING_MAX + QUERY_OUTSTANDING_MAX + DIRECT_MAX);
    assert(made);
    lookup_embedded_init(&loop->lookup, &sim->archive.port, EMBEDDED_NODE);
    loop->command = command_service_create(&(struct command_parts){
        .clock = &sim->clock.clock,
        .store = &process->proxy.store,
        .archive = &sim->archive.port,
        .mailbox = &loop->mailbox,
    });
    loop->query = query_service_create(&(struct query_parts){
        .clock = &sim->clock.clock,
        .table = process->core.table,
        .store = &process->proxy.store,
        .cache = &process->proxy.cache,
        .lookup = &loop->lookup.lookup,
        .mailbox = &loop->mailbox,
        .window_us = sim->regime.window_us,
    });
    assert(loop->command != NULL && loop->query != NULL);
}

static void start_pipelines(struct sim *sim) {
    struct sim_process *process = sim->process;
    process->archiver = archiver_create(&(struct archiver_parts){
        .clock = &sim->clock.clock,
        .log = &sim->log,
        .store = &process->proxy.store,
        .archive = &sim->archive.port,
        .mailbox = &process->pipelines_box,
    });
    process->timeout = timeout_pipeline_create(&(struct timeout_parts){
        .clock = &sim->clock.clock,
        .log = &sim->log,
        .store = &process->proxy.store,
        .mailbox = &process->pipelines_box,
        .timeout_us = sim->regime.timeout_us,
    });
    assert(process->archiver != NULL && process->timeout != NULL);
    expiry_pipeline_init(&process->expiry, &sim->clock.clock, &process->proxy.store,
                         &process->pipelines_box, sim->regime.window_us);
}

bool sim_process_start(struct sim *sim, struct fault *fault) {
    struct sim_process *process =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*process), CACHE_LINE_BYTES));
    assert(process != NULL);
    memset(process, 0, sizeof(*process));
    bool made =
        mailbox_init(&process->reads, DIRECT_MAX) && mailbox_init(&process->pipelines_box, 8);
    assert(made);
    struct embedded_core_parts parts = {
        .disk = &sim->disk.disk,
        .log = &sim->log,
        .clock = &sim->clock.clock,
        .references = &sim->archive.references,
        .reads = &process->reads,
        .memory = &sim->regime.memory,
        .limits = &sim->regime.limits,
        .window_us = sim->regime.window_us,
        .now_us = sim->clock.now_us,
    };
    if (!embedded_core_open(&process->core, &parts, fault)) {
        mailbox_deinit(&process->reads);
        mailbox_deinit(&process->pipelines_box);
        free(process);
        return false;
    }
    sim->process = process;
    process->filter_rotated_us = process->core.store.filter_rotated_us;
    sim_proxy_init(&process->proxy, &sim->random, &process->core.store.store,
                   &process->core.store.cache);
    process->proxy.busy_rate = sim->quiet ? 0 : sim->regime.proxy_busy_rate;
    for (size_t i = 0; i < SIM_LOOPS; i++) {
        start_loop(sim, &process->loops[i]);
    }
    start_pipelines(sim);
    process->watch = (struct change_watch){.mailbox = &process->loops[0].mailbox, .active = 1};
    process->core.change_log.log.ops->watch(&process->core.change_log.log, &process->watch);
    return true;
}

static void count_life(struct sim *sim) {
    struct sim_process *process = sim->process;
    struct embedded_core *core = &process->core;
    struct sim_counters *counters = &sim->counters;
    struct order_table_usage usage;
    order_table_usage(core->table, &usage);
    counters->orders_evicted += usage.evicted;
    counters->segments_removed += metric_get(&core->keeper.metrics.segments_removed_total);
    counters->checkpoints += metric_get(&core->keeper.metrics.checkpoints_total);
    counters->checkpoint_failures += metric_get(&core->keeper.metrics.checkpoint_failures_total);
    counters->journal_waits += metric_get(&core->store.metrics.segment_waits_total);
    counters->segments_begun += core->supply.next_number - core->recovered.next_segment;
    counters->orders_archived += metric_get(&archiver_metrics(process->archiver)->archived_total);
    counters->archive_mismatches +=
        metric_get(&archiver_metrics(process->archiver)->mismatches_total);
    counters->port_busy += process->proxy.refused;
    counters->port_reordered += process->proxy.reordered;
    for (size_t i = 0; i < SIM_LOOPS; i++) {
        counters->readers_joined +=
            metric_get(&query_service_metrics(process->loops[i].query)->joined_total);
        counters->changes_from_archive +=
            metric_get(&command_service_metrics(process->loops[i].command)->archive_judged_total);
    }
}

void sim_process_end(struct sim *sim) {
    struct sim_process *process = sim->process;
    count_life(sim);
    sim->preempt_depth = UINT32_MAX;         /* nobody has a turn any more */
    sim_archive_process_died(&sim->archive); /* while the requests that wait there still stand */
    for (size_t i = 0; i < SIM_LOOPS; i++) {
        struct sim_loop *loop = &process->loops[i];
        sim_clients_cut_off(sim, loop);
        command_service_destroy(loop->command);
        query_service_destroy(loop->query);
        mailbox_deinit(&loop->mailbox);
    }
    archiver_destroy(process->archiver);
    timeout_pipeline_destroy(process->timeout);
    sim_proxy_deinit(&process->proxy);
    embedded_core_close(&process->core);
    mailbox_deinit(&process->reads);
    mailbox_deinit(&process->pipelines_box);
    free(process);
    sim->process = NULL;
    sim->preempt_depth = 0;
}
