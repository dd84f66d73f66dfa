#include "sim.h"

#include "sim_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MILLION 1000000

/* 2026-02-01: some ticks behind the ids' beginning. */
#define SIM_BEGIN_US (ORDER_EPOCH_US + INT64_C(2678400) * MILLION)

/* Segments that may exist beside those that the journal counts: spares, the one that is ready, the
 * one that is being filled. */
#define SEGMENTS_BESIDE (SEGMENT_SPARES_MAX + 2)

#define CHECK_EVERY_STEPS 512

/* One that is written, one that counts, and some that the disk refused to remove. */
#define CHECKPOINTS_MAX 6

/* What the smallest RAM table takes, and one with room for so many orders at most. */
#define TABLE_BYTES_MIN 12000
#define BYTES_AN_ORDER 165

void sim_say(const struct sim *sim, const char *format, ...) {
    if (!sim->verbose) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "%8llu %.6f: ", (unsigned long long)sim->step,
                  (double)(sim->clock.now_us - SIM_BEGIN_US) / MILLION);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

void sim_fail(const struct sim *sim, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)printf("# seed %llu, step %llu, %.6f s: ", (unsigned long long)sim->seed,
                 (unsigned long long)sim->step,
                 (double)(sim->clock.now_us - SIM_BEGIN_US) / MILLION);
    (void)vprintf(format, arguments);
    (void)printf("\n");
    va_end(arguments);
    (void)fflush(stdout);
    _exit(1);
}

static int64_t sim_clock_now(const struct clock *clock) {
    return ((const struct sim_clock *)clock)->now_us;
}

/** Another thread's turn, in the middle of somebody's work. */
static void preempt(void *context) {
    struct sim *sim = context;
    if (sim->process == NULL || sim->preempt_depth >= 3 || sim->disk.dead ||
        !sim_chance(sim, sim->regime.preempt_rate)) {
        return;
    }
    sim->preempt_depth++;
    /* Mostly a few; seldom so many that the one who waits finds another world. */
    uint64_t turns = sim_below(sim, sim_below(sim, 32) == 0 ? 200 : 4) + 1;
    for (; turns > 0 && !sim->disk.dead; turns--) {
        enum sim_actor actor = (enum sim_actor)sim_below(sim, SIM_ACTOR_COUNT);
        if (!sim->process->running[actor]) {
            sim->counters.preemptions++;
            (void)sim_process_run(sim, actor);
        }
    }
    sim->preempt_depth--;
}

/* --- The end of a process, and the next one. --- */

static void end_process(struct sim *sim, bool power) {
    sim_say(sim, "%s", power ? "the power fails" : "the process is killed");
    sim->counters.power_failures += power ? 1 : 0;
    sim->counters.process_kills += power ? 0 : 1;
    sim->disk.dead = true;
    sim_process_end(sim);
    if (power) {
        sim_disk_power_failed(&sim->disk);
    } else {
        sim_disk_process_died(&sim->disk);
    }
}

/** Ends the process in order: what was asked for is done, the journal sealed. */
static void stop_process(struct sim *sim) {
    struct embedded_store *store = &sim->process->core.store;
    sim_say(sim, "the process stops in order");
    sim->counters.clean_stops++;
    for (int turns = 0; turns < 1000; turns++) {
        bool busy = sim_process_run(sim, SIM_ACTOR_STORE);
        busy = sim_process_run(sim, SIM_ACTOR_KEEPER) || busy;
        if (!busy && store->active_count == 0) {
            break;
        }
    }
    sim->process->running[SIM_ACTOR_STORE] = true;
    embedded_store_seal(store);
    sim_process_end(sim);
    sim_disk_process_died(&sim->disk);
}

/** The clock of the machine may be set to anything while the process is away; it goes on at least
 *  from the newest stored time. */
static void skew_clock(struct sim *sim) {
    int64_t before_us = sim->clock.now_us;
    sim->clock.now_us += (int64_t)sim_below(sim, 2 * MILLION);
    if (sim_below(sim, 3) == 0) {
        sim->clock.now_us += ((int64_t)sim_below(sim, 90) - 60) * MILLION;
    }
    sim->counters.clock_steps_back += sim->clock.now_us < before_us ? 1 : 0;
}

/** Holds what the journal gave against the frame whose outcome was unknown: all of it, or none. */
static void settle_unknown_frame(struct sim *sim) {
    struct sim_unknown_frame *unknown = &sim->unknown;
    struct embedded_core *core = &sim->process->core;
    bool kept = unknown->is_open && core->recovered.next_sequence > unknown->sequence;
    uint64_t expected = sim->model.next_change + (kept ? unknown->record_count : 0);
    SIM_CHECK(sim, core->recovered.next_change == expected,
              "%llu changes were committed%s, but %llu were recovered",
              (unsigned long long)expected - 1, kept ? " with the unknown frame" : "",
              (unsigned long long)core->recovered.next_change - 1);
    for (uint32_t i = 0; kept && i < unknown->record_count; i++) {
        sim_model_commit(sim, sim->model.next_change, &unknown->records[i]);
    }
    for (uint32_t i = 0; kept && i < unknown->release_count; i++) {
        sim_model_release(sim, unknown->released[i]);
    }
    if (unknown->is_open) {
        sim->counters.unknown_frames_kept += kept ? 1 : 0;
        sim->counters.unknown_frames_gone += kept ? 0 : 1;
    }
    unknown->is_open = false;
}

static void greet_process(struct sim *sim) {
    const struct recovery_result *recovered = &sim->process->core.recovered;
    if (recovered->newest_time_us > sim->clock.now_us) {
        sim->clock.now_us = recovered->newest_time_us;
    }
    sim->counters.restarts++;
    sim->counters.torn_tails_cut += recovered->torn ? 1 : 0;
    sim->counters.recoveries_in_two_passes += recovered->read_twice ? 1 : 0;
    sim->counters.filters_built_anew += recovered->filter_rebuilt ? 1 : 0;
    sim_say(
        sim, "started: checkpoint %llu, next frame %llu, next change %llu, %llu frames replayed",
        (unsigned long long)recovered->checkpoint_sequence,
        (unsigned long long)recovered->next_sequence, (unsigned long long)recovered->next_change,
        (unsigned long long)recovered->replayed_frames);
    settle_unknown_frame(sim);
    sim_model_check_homes(sim);
}

/** Starts the process again. It may end, or be refused, while faults go on; but when nothing is
 *  wrong with the disk and the archive it must start. */
static void start_process(struct sim *sim) {
    for (uint64_t tries = 0;; tries++) {
        struct fault fault;
        uint64_t failures = sim->disk.counts.failures;
        bool faults = !sim->quiet && tries < 4 && sim_below(sim, 4) == 0;
        struct sim_disk_rates none = {0};
        sim->disk.rates = faults ? sim->regime.disk_rates : none;
        sim->disk.rates.read = faults ? 2000 : 0;
        sim->archive.rates = faults ? sim->regime.archive_rates : (struct sim_archive_rates){0};
        sim->archive.away_until_us = faults ? sim->archive.away_until_us : 0;
        sim->disk.end_in_operations = faults && sim_below(sim, 2) == 0 ? sim_below(sim, 60) + 1 : 0;
        skew_clock(sim);
        bool started = sim_process_start(sim, &fault);
        bool died = sim->disk.dead;
        sim->disk.end_in_operations = 0;
        if (started && !died) {
            break;
        }
        sim_say(sim, "not started: %s", died ? "it ended in the middle" : fault.text);
        SIM_CHECK(sim, died || faults, "the start was refused: %s", fault.text);
        SIM_CHECK(sim,
                  died || sim->disk.counts.failures > failures ||
                      sim->archive.rates.unavailable > 0 || sim->archive.away_until_us > 0,
                  "the start was refused although nothing was wrong: %s", fault.text);
        sim->counters.restarts_refused_by_faults += died ? 0 : 1;
        sim->counters.ends_in_recovery += died ? 1 : 0;
        if (started) {
            sim_process_end(sim);
        }
        if (died && sim_below(sim, 2) == 0) {
            sim_disk_power_failed(&sim->disk);
        } else {
            sim_disk_process_died(&sim->disk);
        }
    }
    sim->disk.rates = sim->quiet ? (struct sim_disk_rates){0} : sim->regime.disk_rates;
    sim->archive.rates = sim->quiet ? (struct sim_archive_rates){0} : sim->regime.archive_rates;
    greet_process(sim);
}

/** Somebody changes the options while the process is away: the filter has another size, or the
 *  table just has room for what is hot. */
static void resize_memory(struct sim *sim) {
    if (sim_below(sim, 8) == 0) {
        sim->regime.memory.filter_bytes = 64 * (sim_below(sim, 16) + 1);
    }
    uint64_t hot = sim->unknown.is_open ? sim->unknown.record_count : 0;
    for (int32_t i = 0; i < sim->model.count; i++) {
        hot += sim->model.orders[i].released ? 0 : 1;
    }
    bool tight = sim_below(sim, 8) == 0;
    uint64_t wanted = tight ? TABLE_BYTES_MIN : sim->regime.table_bytes;
    sim->regime.memory.table_bytes = bytes_max_u64(wanted, (hot + 2) * BYTES_AN_ORDER);
}

/** Ends the process where it died in the middle of something, or where it is time. */
static void restart_if_due(struct sim *sim) {
    bool due = sim_chance(sim, sim->regime.crash_rate);
    /* A store that has stopped is of no use: somebody restarts it after a while. */
    due |= embedded_store_is_stopped(&sim->process->core.store) && sim_below(sim, 300) == 0;
    if (sim->disk.dead) {
        sim->counters.ends_in_disk_operation++;
        end_process(sim, sim_below(sim, 3) != 0);
    } else if (!due) {
        return;
    } else if (sim_below(sim, 6) == 0) {
        stop_process(sim);
    } else if (sim_below(sim, 4) == 0) {
        end_process(sim, sim_below(sim, 3) != 0);
    } else {
        sim->disk.end_in_operations = sim_below(sim, 40) + 1;
        return;
    }
    resize_memory(sim);
    start_process(sim);
}

/* --- Time and troubles. --- */

static void pass_time(struct sim *sim) {
    uint64_t draw = sim_below(sim, 1000);
    int64_t range_us = sim->regime.step_us_max;
    if (draw == 0) {
        range_us = 4 * MILLION;
    } else if (draw < 20) {
        range_us = 200000;
    }
    sim->clock.now_us += (int64_t)sim_below(sim, (uint64_t)range_us);
}

static void make_trouble(struct sim *sim) {
    uint64_t draw = sim_below(sim, 6000);
    if (draw == 0) {
        sim->archive.away_until_us = sim->clock.now_us + (int64_t)sim_below(sim, 8 * MILLION);
        sim_say(sim, "the archive is away");
    } else if (draw == 1) {
        sim->disk.quota_bytes =
            sim->disk.used_bytes + sim_below(sim, 2 * sim->regime.limits.segment_bytes);
        sim_say(sim, "the disk fills up");
    } else if (draw < 8) {
        sim->disk.quota_bytes = UINT64_MAX;
    }
}

static void check_disk_use(const struct sim *sim) {
    const struct journal_limits *limits = &sim->regime.limits;
    uint64_t bytes = sim_disk_bytes_of(&sim->disk, "journal");
    uint64_t bound = limits->max_bytes + SEGMENTS_BESIDE * limits->segment_bytes;
    SIM_CHECK(sim, bytes <= bound, "the journal takes %llu bytes; at most %llu may be",
              (unsigned long long)bytes, (unsigned long long)bound);
    SIM_CHECK(sim, sim_disk_count_of(&sim->disk, "checkpoint") <= CHECKPOINTS_MAX,
              "%zu checkpoints are kept", sim_disk_count_of(&sim->disk, "checkpoint"));
}

static enum sim_actor choose_actor(struct sim *sim) {
    uint64_t total = 0;
    for (size_t i = 0; i < SIM_ACTOR_COUNT; i++) {
        total += sim->regime.weights[i];
    }
    uint64_t at = sim_below(sim, total);
    for (size_t i = 0; i < SIM_ACTOR_COUNT; i++) {
        if (at < sim->regime.weights[i]) {
            return (enum sim_actor)i;
        }
        at -= sim->regime.weights[i];
    }
    return SIM_ACTOR_STORE;
}

static void run_steps(struct sim *sim, uint64_t steps) {
    for (uint64_t i = 0; i < steps; i++) {
        sim->step++;
        sim->counters.steps++;
        pass_time(sim);
        make_trouble(sim);
        (void)sim_process_run(sim, choose_actor(sim));
        restart_if_due(sim);
        if (sim->step % CHECK_EVERY_STEPS == 0) {
            sim_clients_check_waits(sim);
            check_disk_use(sim);
            sim_model_check_homes(sim);
        }
    }
}

/* --- The end: no trouble any more, and everything comes to rest. --- */

static uint64_t hot_orders(const struct sim *sim) {
    struct order_table_usage usage;
    order_table_usage(sim->process->core.table, &usage);
    return usage.orders - usage.evictable;
}

static void come_to_rest(struct sim *sim) {
    sim->quiet = true;
    sim->disk.rates = (struct sim_disk_rates){0};
    sim->disk.end_in_operations = 0;
    sim->disk.quota_bytes = UINT64_MAX;
    sim->archive.rates = (struct sim_archive_rates){0};
    sim->archive.away_until_us = 0;
    sim->process->proxy.busy_rate = 0;
    if (embedded_store_is_stopped(&sim->process->core.store)) {
        end_process(sim, true);
        start_process(sim);
    }
    sim_say(sim, "no trouble any more");
    for (uint32_t round = 0; hot_orders(sim) > 0 || !sim_clients_are_through(sim); round++) {
        SIM_CHECK(sim, round < 20000, "no rest: %llu hot orders%s",
                  (unsigned long long)hot_orders(sim),
                  sim_clients_are_through(sim) ? "" : ", and clients that wait");
        sim->step++;
        sim->clock.now_us += 10000;
        for (size_t actor = 0; actor < SIM_ACTOR_COUNT; actor++) {
            (void)sim_process_run(sim, (enum sim_actor)actor);
        }
    }
    check_disk_use(sim);
    sim_model_check_homes(sim);
}

/* --- The whole. --- */

static void draw_limits(struct sim *sim, struct journal_limits *limits) {
    static const uint32_t records[] = {4, 16, 16, 40, 100};
    limits->frame_records_max = records[sim_below(sim, ARRAY_COUNT(records))];
    limits->frame_releases_max = records[sim_below(sim, ARRAY_COUNT(records))];
    size_t frame_bytes = journal_limits_frame_bytes(limits);
    limits->segment_bytes_min = JOURNAL_BLOCK_BYTES + JOURNAL_SEGMENT_FRAMES_MIN * frame_bytes;
    limits->segment_bytes =
        limits->segment_bytes_min + sim_below(sim, 12) * 2 * JOURNAL_BLOCK_BYTES;
    limits->max_bytes = (JOURNAL_SEGMENTS_MIN + sim_below(sim, 6)) * limits->segment_bytes;
    limits->keep_bytes = sim_below(sim, limits->max_bytes / 2);
    limits->checkpoint_bytes = 3 * limits->segment_bytes / (sim_below(sim, 4) + 1);
    limits->tail_changes = limits->frame_records_max * (sim_below(sim, 3) + 1);
    limits->checkpoint_block_bytes = CHECKPOINT_BLOCK_BYTES_MIN * ((uint32_t)sim_below(sim, 4) + 1);
}

/** A rate that is 0 in most seeds. */
static uint32_t seldom(struct sim *sim, uint32_t rate) {
    return sim_below(sim, 3) == 0 ? (uint32_t)sim_below(sim, rate) : 0;
}

static void draw_faults(struct sim *sim) {
    sim->regime.disk_rates = (struct sim_disk_rates){
        .write = seldom(sim, 4000),
        .write_durable = seldom(sim, 3000),
        .sync = seldom(sim, 20000),
        .directory = seldom(sim, 20000),
        .read = seldom(sim, 2000),
    };
    sim->regime.archive_rates = (struct sim_archive_rates){
        .busy = seldom(sim, 100000),
        .unavailable = seldom(sim, 50000),
        .unknown = seldom(sim, 200000),
        .bad_copy = seldom(sim, 100000),
        .bad_read = seldom(sim, 50000),
        .late = seldom(sim, 50000),
    };
    sim->regime.proxy_busy_rate = seldom(sim, 100000);
    sim->regime.crash_rate = (uint32_t)sim_below(sim, 3) * 500 + 100;
    sim->regime.preempt_rate = seldom(sim, 500000);
}

static void draw_regime(struct sim *sim) {
    static const uint64_t table_bytes[] = {TABLE_BYTES_MIN, 20000, 40000, 100000, 400000};
    struct sim_regime *regime = &sim->regime;
    draw_limits(sim, &regime->limits);
    draw_faults(sim);
    regime->table_bytes = table_bytes[sim_below(sim, ARRAY_COUNT(table_bytes))];
    regime->memory.table_bytes = regime->table_bytes;
    /* A checkpoint takes some steps of the keeper, whatever the table's size. */
    regime->limits.checkpoint_block_bytes *= 1 + (uint32_t)(regime->table_bytes / 20000);
    regime->memory.filter_bytes = 64 * (sim_below(sim, 16) + 1);
    regime->timeout_us = (int64_t)(sim_below(sim, 20) + 1) * MILLION;
    regime->window_us = regime->timeout_us + (int64_t)sim_below(sim, 40) * MILLION;
    regime->step_us_max = (int64_t)(sim_below(sim, 8) + 1) * 1000;
    regime->client_count = (size_t)sim_below(sim, SIM_CLIENTS_MAX - 8) + 8;
    regime->reference_count = (uint32_t)sim_below(sim, 2000) + 20;
    regime->slot_count = sim_below(sim, 3) == 0 ? 4 : ORDER_SLOT_COUNT;
    for (size_t i = 0; i < SIM_ACTOR_COUNT; i++) {
        regime->weights[i] = (uint32_t)sim_below(sim, 10) + 1;
    }
}

static void count_all(struct sim *sim) {
    struct sim_counters *counters = &sim->counters;
    counters->torn_writes = sim->disk.counts.writes_torn;
    counters->sectors_lost = sim->disk.counts.sectors_lost;
    counters->sectors_torn = sim->disk.counts.sectors_torn;
    counters->directory_changes_lost = sim->disk.counts.directory_changes_lost;
    counters->failed_reads = sim->disk.counts.failed_reads;
    counters->failed_writes = sim->disk.counts.failed_writes;
    counters->failed_durable_writes = sim->disk.counts.failed_durable_writes;
    counters->failed_syncs = sim->disk.counts.failed_syncs;
    counters->failed_directory_operations = sim->disk.counts.failed_directory_operations;
    counters->disk_full_refusals = sim->disk.counts.refused_full;
    counters->archive_refused = sim->archive.counts.refused;
    counters->archive_unavailable = sim->archive.counts.unavailable;
    counters->archive_reordered = sim->archive.counts.reordered;
    counters->archive_bad_copies = sim->archive.counts.bad_copies;
    counters->archive_bad_reads = sim->archive.counts.bad_reads;
    counters->archive_unknown_puts = sim->archive.counts.unknown_puts;
    counters->archive_late_puts = sim->archive.counts.late_puts;
    counters->archive_references_dropped = sim->archive.counts.references_dropped;
}

void sim_run(struct sim *sim, uint64_t seed, uint64_t steps, bool verbose) {
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->verbose = verbose;
    sim->random.state = hash_mix(seed + 1);
    sim->clock = (struct sim_clock){{sim_clock_now}, SIM_BEGIN_US};
    log_init(&sim->log, STDERR_FILENO, verbose ? LOG_DEBUG : LOG_ERROR + 1);
    draw_regime(sim);
    sim_disk_init(&sim->disk, random_u64(&sim->random));
    sim_archive_init(&sim->archive, random_u64(&sim->random), &sim->clock.clock);
    sim->archive.rates = sim->regime.archive_rates;
    sim->disk.preempt = preempt;
    sim->disk.preempt_context = sim;
    sim->archive.preempt = preempt;
    sim->archive.preempt_context = sim;
    sim_model_init(&sim->model, sim->regime.reference_count, sim->regime.slot_count);
    sim_clients_init(sim);
    start_process(sim);
    run_steps(sim, steps);
    come_to_rest(sim);
    end_process(sim, true);
    start_process(sim);
    come_to_rest(sim);
    stop_process(sim);
    count_all(sim);
    sim_clients_deinit(sim);
    sim_model_deinit(&sim->model);
    sim_archive_deinit(&sim->archive);
    sim_disk_deinit(&sim->disk);
    free(sim->unknown.records);
    free(sim->unknown.released);
}
