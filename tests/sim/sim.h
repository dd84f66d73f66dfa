/** The simulation: one process of the embedded orderd (services, pipelines, store, keeper,
 *  recovery, change log, all of them the real ones) on a simulated disk and archive, with clients
 *  around it, in one thread on virtual time under a seed. How it works: docs/simulator.md.
 *
 *  struct sim is what outlives the process: the disk, the archive, the clients, and the model of
 *  what must be true. One thread; a run is a function of its seed alone. */
#ifndef ORDERD_TESTS_SIM_H
#define ORDERD_TESTS_SIM_H

#include "adapter/embedded/embedded_core.h"
#include "sim_archive.h"
#include "sim_disk.h"
#include "sim_model.h"

#define SIM_CLIENTS_MAX 64

/** What happened, summed up over all seeds. The last column: a run of many seeds in which it never
 *  happened has not tested what it should. */
#define SIM_COUNTERS(X)                                                                            \
    X(steps, true)                                                                                 \
    X(preemptions, true)                                                                           \
    X(process_kills, true)                                                                         \
    X(power_failures, true)                                                                        \
    X(ends_in_disk_operation, true)                                                                \
    X(ends_in_recovery, true)                                                                      \
    X(clean_stops, true)                                                                           \
    X(restarts, true)                                                                              \
    X(restarts_refused_by_faults, true)                                                            \
    X(clock_steps_back, true)                                                                      \
    X(recoveries_in_two_passes, true)                                                              \
    X(filters_built_anew, true)                                                                    \
    X(torn_writes, true)                                                                           \
    X(torn_tails_cut, true)                                                                        \
    X(sectors_lost, true)                                                                          \
    X(sectors_torn, true)                                                                          \
    X(directory_changes_lost, true)                                                                \
    X(unknown_frames_kept, true)                                                                   \
    X(unknown_frames_gone, true)                                                                   \
    X(failed_reads, true)                                                                          \
    X(failed_writes, true)                                                                         \
    X(failed_durable_writes, true)                                                                 \
    X(failed_syncs, true)                                                                          \
    X(failed_directory_operations, true)                                                           \
    X(disk_full_refusals, true)                                                                    \
    X(stores_stopped, true)                                                                        \
    X(frames, true)                                                                                \
    X(segments_begun, true)                                                                        \
    X(segments_removed, true)                                                                      \
    X(segments_recycled, true)                                                                     \
    X(checkpoints, true)                                                                           \
    X(checkpoint_failures, true)                                                                   \
    X(journal_waits, true)                                                                         \
    X(orders_created, true)                                                                        \
    X(orders_changed, true)                                                                        \
    X(orders_timed_out, true)                                                                      \
    X(orders_archived, true)                                                                       \
    X(orders_evicted, true)                                                                        \
    X(archive_refused, true)                                                                       \
    X(archive_unavailable, true)                                                                   \
    X(archive_reordered, true)                                                                     \
    X(archive_bad_copies, true)                                                                    \
    X(archive_bad_reads, true)                                                                     \
    X(archive_mismatches, true)                                                                    \
    X(archive_unknown_puts, true)                                                                  \
    X(archive_late_puts, true)                                                                     \
    X(archive_references_dropped, true)                                                            \
    X(filter_rotations, true)                                                                      \
    X(references_reused, true)                                                                     \
    X(port_busy, true)                                                                             \
    X(port_reordered, true)                                                                        \
    X(answers_created, true)                                                                       \
    X(answers_replayed, true)                                                                      \
    X(answers_conflict, true)                                                                      \
    X(answers_changed, true)                                                                       \
    X(answers_unchanged, true)                                                                     \
    X(answers_illegal, true)                                                                       \
    X(answers_mismatch, true)                                                                      \
    X(answers_bad_time, true)                                                                      \
    X(answers_found, true)                                                                         \
    X(answers_absent, true)                                                                        \
    X(answers_busy, true)                                                                          \
    X(answers_unavailable, true)                                                                   \
    X(answers_unknown, true)                                                                       \
    X(operations_cut_off, true)                                                                    \
    X(readers_joined, true)                                                                        \
    X(changes_from_archive, true)                                                                  \
    X(changes_followed, true)                                                                      \
    X(change_reads_from_journal, true)                                                             \
    X(change_reads_gone, true)                                                                     \
    X(change_reads_unavailable, false)

struct sim_counters {
#define X(name, must_happen) uint64_t name;
    SIM_COUNTERS(X)
#undef X
};

struct sim_clock {
    struct clock clock;
    int64_t now_us;
};

/** The frame that was under way when the store stopped: after a restart all of it is there, or
 *  nothing. */
struct sim_unknown_frame {
    bool is_open;
    uint64_t sequence;
    uint32_t record_count;
    uint32_t release_count;
    struct order_record *records; /* owned */
    uint64_t *released;           /* owned */
};

struct sim_process;
struct sim_client;

/** What differs from seed to seed beside chance itself. */
struct sim_regime {
    struct journal_limits limits;
    struct memory_shares memory;
    uint64_t table_bytes; /* memory.table_bytes, but for a life in which it is tight */
    int64_t timeout_us;
    int64_t window_us;
    int64_t step_us_max; /* how far time moves in a step, mostly */
    size_t client_count;
    uint32_t reference_count; /* references that the clients share */
    unsigned slot_count;      /* of their ids */
    uint32_t crash_rate;      /* of a million steps */
    uint32_t preempt_rate;    /* of a million operations */
    struct sim_disk_rates disk_rates;
    struct sim_archive_rates archive_rates;
    uint32_t proxy_busy_rate;
    uint32_t weights[8]; /* of the actors */
};

struct sim {
    uint64_t seed;
    uint64_t step;
    uint64_t hash; /* of everything that happened */
    bool verbose;
    struct random_source random;
    struct sim_regime regime;
    struct sim_clock clock;
    struct log log;
    struct sim_disk disk;
    struct sim_archive archive;
    struct sim_model model;
    struct sim_counters counters;
    struct sim_unknown_frame unknown;
    struct sim_process *process; /* NULL: none runs */
    struct sim_client *clients;  /* owned */
    bool quiet;                  /* no faults any more, and nobody begins anything new */
    uint32_t preempt_depth;
};

/** Runs one seed to its end; a broken promise ends the process with status 1 and a message. */
void sim_run(struct sim *sim, uint64_t seed, uint64_t steps, bool verbose);

/** A promise is broken. */
void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#define SIM_CHECK(sim, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            sim_fail((sim), __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)

/** Mixes a number into the hash of the run. */
static inline void sim_note(struct sim *sim, uint64_t number) {
    sim->hash = hash_mix(sim->hash ^ number) + UINT64_C(0x9e3779b97f4a7c15);
}

void sim_say(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline bool sim_chance(struct sim *sim, uint32_t of_a_million) {
    return of_a_million > 0 && random_chance(&sim->random, of_a_million, 1000000);
}

static inline uint64_t sim_below(struct sim *sim, uint64_t range) {
    return random_below(&sim->random, range);
}

#endif
