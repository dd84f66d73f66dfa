#include "orderctl/verify.h"

#include "adapter/embedded/checkpoint.h"
#include "order/order_id.h"
#include "orderctl/verify_state.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *verify_kind_name(enum verify_kind kind) {
    static const char *const names[VERIFY_KIND_COUNT] = {
#define X(name_, text_) [VERIFY_##name_] = text_,
        VERIFY_KINDS(X)
#undef X
    };
    return names[kind];
}

void verify_note(struct verify_report *report, enum verify_kind kind, const char *file,
                 uint64_t offset, uint64_t order_id, const char *format, ...) {
    report->finding_count++;
    report->counts[kind]++;
    if (report->kept == VERIFY_FINDINGS_MAX) {
        return;
    }
    struct verify_finding *finding = &report->findings[report->kept++];
    finding->kind = kind;
    finding->offset = offset;
    finding->order_id = order_id;
    (void)snprintf(finding->file, sizeof(finding->file), "%s", file == NULL ? "" : file);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
}

bool verify_record(struct verify_state *state, const struct order_record *record,
                   uint64_t reference_hash, const char *file, uint64_t offset) {
    enum order_record_fault wrong = order_record_check(record);
    if (wrong != ORDER_RECORD_VALID) {
        verify_note(state->report, VERIFY_RECORD_INVALID, file, offset, record->order_id,
                    "wrong %s", order_record_fault_name(wrong));
        return false;
    }
    if (order_id_decode(record->order_id).slot != order_slot_from_hash(reference_hash)) {
        verify_note(state->report, VERIFY_SLOT_WRONG, file, offset, record->order_id,
                    "the slot in its id is not that of its reference");
    }
    return true;
}

/* --- The directory. --- */

static int compare_numbers(const void *left, const void *right) {
    uint64_t first = *(const uint64_t *)left;
    uint64_t second = *(const uint64_t *)right;
    return first < second ? -1 : first > second ? 1 : 0;
}

static void visit_file(void *context, const char *name) {
    struct verify_state *state = context;
    uint64_t number;
    if (journal_segment_number(name, &number)) {
        if (state->segment_count == VERIFY_SEGMENTS_MAX) {
            state->too_many_files = true;
            return;
        }
        state->segments[state->segment_count++] = number;
    } else if (checkpoint_sequence(name, &number)) {
        if (state->checkpoint_count == VERIFY_SEGMENTS_MAX) {
            state->too_many_files = true;
            return;
        }
        state->checkpoints[state->checkpoint_count++] = number;
    }
}

static bool list_files(struct verify_state *state, struct fault *fault) {
    if (state->disk->ops->list(state->disk, visit_file, state, fault) != DISK_OK) {
        return false;
    }
    if (state->too_many_files) {
        fault_set(fault, "%s: more than %d segments", state->options->data_dir,
                  VERIFY_SEGMENTS_MAX);
        return false;
    }
    qsort(state->segments, state->segment_count, sizeof(*state->segments), compare_numbers);
    qsort(state->checkpoints, state->checkpoint_count, sizeof(*state->checkpoints),
          compare_numbers);
    if (state->checkpoint_count > 0) {
        state->checkpoint_sequence = state->checkpoints[state->checkpoint_count - 1];
    }
    state->report->checkpoint_sequence = state->checkpoint_sequence;
    return true;
}

static bool has_file(const struct disk_posix *posix, const char *name) {
    return faccessat(posix->directory_fd, name, F_OK, 0) == 0;
}

/** Keeps the service out; a copy without a lock file has nobody to keep out. */
static enum verify_status take_lock(struct verify_state *state, struct disk_posix *posix,
                                    struct fault *fault) {
    bool is_data_dir = has_file(posix, "lock") || state->segment_count > 0 ||
                       state->checkpoint_count > 0 || has_file(posix, "archive/CURRENT");
    if (!is_data_dir) {
        fault_set(fault, "%s: no data directory: it has no journal, no checkpoint and no archive",
                  state->options->data_dir);
        return VERIFY_UNREADABLE;
    }
    switch (disk_posix_lock_existing(posix, fault)) {
    case DISK_OK:
        state->report->locked = true;
        return VERIFY_CLEAN;
    case DISK_NOT_FOUND:
        return VERIFY_CLEAN;
    case DISK_BUSY:
        return VERIFY_IN_USE;
    case DISK_FULL:
    case DISK_FAILED:
        break;
    }
    return VERIFY_UNREADABLE;
}

/* --- The whole. --- */

static bool reserve(struct verify_state *state) {
    state->segments = calloc(VERIFY_SEGMENTS_MAX, sizeof(*state->segments));
    state->checkpoints = calloc(VERIFY_SEGMENTS_MAX, sizeof(*state->checkpoints));
    return state->segments != NULL && state->checkpoints != NULL &&
           verify_orders_init(&state->orders) && verify_orders_init(&state->ahead);
}

static void release(struct verify_state *state) {
    verify_orders_deinit(&state->orders);
    verify_orders_deinit(&state->ahead);
    if (state->filter.lines != NULL) {
        reference_filter_deinit(&state->filter);
    }
    free(state->segments);
    free(state->checkpoints);
    free(state->frames);
}

static enum verify_status check(struct verify_state *state, struct disk_posix *posix,
                                struct fault *fault) {
    if (!reserve(state)) {
        fault_set(fault, "no memory for the check");
        return VERIFY_UNREADABLE;
    }
    /* Listed before the lock, only to know whether this is a data directory at all. */
    if (!list_files(state, fault)) {
        return VERIFY_UNREADABLE;
    }
    enum verify_status status = take_lock(state, posix, fault);
    if (status != VERIFY_CLEAN) {
        return status;
    }
    state->segment_count = 0;
    state->checkpoint_count = 0;
    if (!list_files(state, fault)) {
        return VERIFY_UNREADABLE;
    }
    if (verify_journal(state)) {
        verify_archive(state);
    }
    if (state->out_of_memory) {
        fault_set(fault, "no memory for so many orders");
        return VERIFY_UNREADABLE;
    }
    return state->report->finding_count > 0 ? VERIFY_DAMAGED : VERIFY_CLEAN;
}

enum verify_status verify_run(const struct verify_options *options, struct verify_report *report,
                              struct fault *fault) {
    struct disk_posix posix;
    struct verify_state state = {.options = options, .report = report, .disk = &posix.disk};
    memset(report, 0, sizeof(*report));
    if (disk_posix_open_existing(&posix, options->data_dir, fault) != DISK_OK) {
        return VERIFY_UNREADABLE;
    }
    enum verify_status status = check(&state, &posix, fault);
    release(&state);
    disk_posix_close(&posix);
    return status;
}
