/** An embedded store on a simulated disk and archive, driven step by step, for the unit tests of
 *  the journal's life. What was acknowledged is remembered in struct world_order; the disk and the
 *  archive outlive the store, which world_open and world_close begin and end. One thread. */
#ifndef ORDERD_TESTS_UNIT_WORLD_H
#define ORDERD_TESTS_UNIT_WORLD_H

#include "adapter/embedded/embedded_core.h"
#include "sample.h"
#include "sim_archive.h"
#include "sim_disk.h"
#include "unit.h"

#include <stdlib.h>
#include <unistd.h>

#define WORLD_ORDERS_MAX 4096
#define WORLD_FRAME_RECORDS 8

struct world_clock {
    struct clock clock;
    int64_t now_us;
};

struct world_order {
    struct order_record record; /* the newest that was acknowledged; version 0: none was */
    bool release_begun;         /* the archive's copy was found good, and the store asked */
    bool released;              /* the store has said so */
};

struct world {
    struct world_clock clock;
    struct log log;
    struct sim_disk disk;
    struct sim_archive archive;
    struct journal_limits limits;
    struct memory_shares memory;
    struct mailbox box;
    struct mailbox reads;
    struct embedded_core *core; /* owned; NULL: closed */
    struct world_order orders[WORLD_ORDERS_MAX];
    size_t order_count;
    bool answered; /* the request that is under way */
};

static inline int64_t world_now(const struct clock *clock) {
    return ((const struct world_clock *)clock)->now_us;
}

/** Segments and checkpoints as small as they may be, so that they follow each other quickly. */
static inline struct world *world_create(void) {
    struct world *world =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*world), CACHE_LINE_BYTES));
    assert_non_null(world);
    memset(world, 0, sizeof(*world));
    world->clock = (struct world_clock){{world_now}, SAMPLE_TIME_US};
    log_init(&world->log, STDERR_FILENO, LOG_ERROR + 1);
    sim_disk_init(&world->disk, 1);
    sim_archive_init(&world->archive, 2, &world->clock.clock);
    world->limits = (struct journal_limits){
        .segment_bytes = 8 * JOURNAL_BLOCK_BYTES,
        .segment_bytes_min = 8 * JOURNAL_BLOCK_BYTES,
        .max_bytes = 8 * 8 * JOURNAL_BLOCK_BYTES,
        .keep_bytes = 8 * JOURNAL_BLOCK_BYTES,
        .checkpoint_bytes = 12 * JOURNAL_BLOCK_BYTES,
        .tail_changes = 64,
        .checkpoint_block_bytes = 16 * CHECKPOINT_BLOCK_BYTES_MIN,
        .frame_records_max = WORLD_FRAME_RECORDS,
        .frame_releases_max = WORLD_FRAME_RECORDS,
    };
    world->memory = (struct memory_shares){.table_bytes = 40000, .filter_bytes = 4096};
    assert_true(journal_limits_are_sound(&world->limits));
    assert_true(mailbox_init(&world->box, 16));
    assert_true(mailbox_init(&world->reads, 16));
    return world;
}

/** False where the start was refused. */
MUST_CHECK static inline bool world_open(struct world *world, struct fault *fault) {
    struct embedded_core_parts parts = {
        .disk = &world->disk.disk,
        .log = &world->log,
        .clock = &world->clock.clock,
        .references = &world->archive.references,
        .reads = &world->reads,
        .memory = &world->memory,
        .limits = &world->limits,
        .window_us = INT64_C(3600000000),
        .now_us = world->clock.now_us,
    };
    world->core = aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*world->core), 64));
    assert_non_null(world->core);
    if (!embedded_core_open(world->core, &parts, fault)) {
        free(world->core);
        world->core = NULL;
        return false;
    }
    return true;
}

static inline void world_close(struct world *world) {
    embedded_core_close(world->core);
    free(world->core);
    world->core = NULL;
}

static inline void world_destroy(struct world *world) {
    if (world->core != NULL) {
        world_close(world);
    }
    sim_disk_process_died(&world->disk);
    mailbox_deinit(&world->box);
    mailbox_deinit(&world->reads);
    sim_archive_deinit(&world->archive);
    sim_disk_deinit(&world->disk);
    free(world);
}

static inline void world_answer(struct port_request *request) {
    /* The requests are all submitted by world_wait's callers, one at a time. */
    request->operation = 0;
}

/** Lets everybody work until the request under way is answered; false where the disk died, or the
 *  store does not answer. */
MUST_CHECK static inline bool world_wait(struct world *world) {
    for (int turns = 0; turns < 1000; turns++) {
        world->clock.now_us += 1000;
        (void)keeper_step(&world->core->keeper, world->clock.now_us);
        (void)embedded_store_step(&world->core->store);
        (void)sim_archive_step(&world->archive);
        if (port_drain(&world->box, 1) > 0) {
            return true;
        }
        if (world->disk.dead) {
            return false;
        }
    }
    return false;
}

#endif
