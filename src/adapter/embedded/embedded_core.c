#include "adapter/embedded/embedded_core.h"

static bool reserve_memory(struct embedded_core *core, const struct embedded_core_parts *parts,
                           struct fault *fault) {
    core->table = order_table_create(parts->memory->table_bytes, fault);
    if (core->table == NULL) {
        return false;
    }
    if (parts->memory->populate) {
        order_table_populate(core->table);
    }
    if (!reference_filter_init(&core->filter, parts->memory->filter_bytes)) {
        fault_set(fault, "no memory for the filter of archived references");
        return false;
    }
    return true;
}

static bool recover(struct embedded_core *core, const struct embedded_core_parts *parts,
                    struct fault *fault) {
    struct recovery recovery = {
        .disk = parts->disk,
        .log = parts->log,
        .table = core->table,
        .filter = &core->filter,
        .ids = &core->store.ids,
        .segments = &core->segments,
        .references = parts->references,
        .oldest_reference_us = parts->now_us - parts->window_us,
    };
    return recovery_run(&recovery, &core->recovered, fault);
}

static bool open_journal(struct embedded_core *core, const struct embedded_core_parts *parts,
                         struct fault *fault) {
    const struct recovery_result *recovered = &core->recovered;
    struct mailbox *writer = &core->store.inbox;
    if (!segment_supply_init(&core->supply, parts->disk, parts->log, writer, parts->limits,
                             recovered->next_segment) ||
        !journal_writer_init(&core->journal, parts->disk, &core->supply, &core->segments,
                             recovered->next_sequence, recovered->next_change,
                             journal_limits_frame_bytes(parts->limits)) ||
        !change_tail_init(&core->tail, parts->limits->tail_changes, recovered->next_change)) {
        fault_set(fault, "no memory for the journal");
        return false;
    }
    return recovered->segment == 0 ||
           journal_writer_resume(&core->journal, recovered->segment, recovered->segment_bytes,
                                 recovered->offset, fault) == DISK_OK;
}

static bool open_keeper(struct embedded_core *core, const struct embedded_core_parts *parts,
                        struct fault *fault) {
    struct fault ignored;
    struct keeper_parts keeper_parts = {
        .disk = parts->disk,
        .log = parts->log,
        .store = &core->store,
        .supply = &core->supply,
        .segments = &core->segments,
        .limits = parts->limits,
        .covered_sequence = core->recovered.checkpoint_sequence,
        .replayed_bytes = core->recovered.replayed_bytes,
    };
    /* What a crash left half-written, and a checkpoint that a newer one has replaced. */
    if (checkpoint_remove_older(parts->disk, core->recovered.checkpoint_sequence, &ignored) !=
        DISK_OK) {
        log_warning(parts->log, "checkpoint", "an older one stays: %s", ignored.text);
    }
    if (!keeper_init(&core->keeper, &keeper_parts) ||
        !embedded_change_log_init(&core->change_log, &core->store, &core->segments, parts->disk,
                                  parts->reads)) {
        fault_set(fault, "no memory for the journal's keeper");
        return false;
    }
    return true;
}

bool embedded_core_open(struct embedded_core *core, const struct embedded_core_parts *parts,
                        struct fault *fault) {
    assert(journal_limits_are_sound(parts->limits));
    memset(core, 0, sizeof(*core));
    segment_list_init(&core->segments);
    struct embedded_store_parts store_parts = {
        .clock = parts->clock,
        .log = parts->log,
        .filter = &core->filter,
        .references = parts->references,
        .tail = &core->tail,
        .journal = &core->journal,
        .limits = parts->limits,
        .window_us = parts->window_us,
    };
    if (!reserve_memory(core, parts, fault)) {
        order_table_destroy(core->table);
        return false;
    }
    store_parts.table = core->table;
    if (!embedded_store_init(&core->store, &store_parts)) {
        fault_set(fault, "no memory for the store");
        return false;
    }
    if (!recover(core, parts, fault) || !open_journal(core, parts, fault) ||
        !open_keeper(core, parts, fault)) {
        embedded_core_close(core);
        return false;
    }
    struct embedded_store *store = &core->store;
    store->published_sequence = core->recovered.next_sequence - 1;
    store->last_append_us = core->recovered.newest_time_us;
    store->filter_rotated_us =
        core->recovered.filter_rotated_us != 0 ? core->recovered.filter_rotated_us : parts->now_us;
    return true;
}

void embedded_core_close(struct embedded_core *core) {
    embedded_change_log_deinit(&core->change_log);
    if (core->keeper.disk != NULL) {
        keeper_deinit(&core->keeper);
    }
    if (core->journal.disk != NULL) {
        journal_writer_deinit(&core->journal);
    }
    if (core->supply.disk != NULL) {
        segment_supply_deinit(&core->supply);
    }
    change_tail_deinit(&core->tail);
    embedded_store_deinit(&core->store);
    segment_list_deinit(&core->segments);
    reference_filter_deinit(&core->filter);
    order_table_destroy(core->table);
}
