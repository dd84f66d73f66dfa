#include "orderctl/verify_state.h"

#include "adapter/embedded/archive_rocksdb.h"
#include "order/order_id.h"

#include <stdlib.h>
#include <unistd.h>

static const char archive_name[] = "archive";

/** One reference that an order holds. The top bit of the id says that only a hot order holds it:
 *  ids are below 2^63. */
struct holder {
    uint64_t reference_hash;
    uint64_t order_id;
};

#define HOLDER_IS_HOT (UINT64_C(1) << 63)
#define HOLDERS_FIRST 65536

struct archive_check {
    struct verify_state *state;
    struct archive_rocksdb *archive;
    struct holder *holders; /* owned */
    size_t holder_count;
    size_t holder_capacity;
    size_t merged;        /* holders that the references have passed */
    uint64_t oldest_tick; /* older orders need no reference any more */
    bool whole;           /* every archived order was seen */
};

static uint64_t id_of(const struct holder *holder) {
    return holder->order_id & ~HOLDER_IS_HOT;
}

static bool is_hot(const struct holder *holder) {
    return (holder->order_id & HOLDER_IS_HOT) != 0;
}

static void note(struct archive_check *check, enum verify_kind kind, uint64_t order_id,
                 const char *text) {
    verify_note(check->state->report, kind, archive_name, 0, order_id, "%s", text);
}

static void add_holder(struct archive_check *check, uint64_t hash, uint64_t order_id) {
    if (check->holder_count == check->holder_capacity) {
        size_t capacity =
            check->holder_capacity == 0 ? HOLDERS_FIRST : check->holder_capacity / 2 * 3;
        struct holder *grown = realloc(check->holders, capacity * sizeof(*grown));
        if (grown == NULL) {
            check->state->out_of_memory = true;
            return;
        }
        check->holders = grown;
        check->holder_capacity = capacity;
    }
    check->holders[check->holder_count++] = (struct holder){hash, order_id};
}

/* --- Orders. --- */

/** The archive has an order that the journal knows as well. */
static void meet_journal(struct archive_check *check, struct verify_order *known,
                         const struct order_record *order, uint64_t hash) {
    struct verify_report *report = check->state->report;
    char name[VERIFY_FILE_MAX];
    if (verify_is_uncertain(check->state, known) && known->version < order->version) {
        known->flags |= VERIFY_RELEASED; /* how it got here is among the missing frames */
    }
    bool hot = verify_order_is_hot(known);
    bool seen = known->version > 0 && !verify_is_uncertain(check->state, known);
    bool equal = known->reference_hash == hash &&
                 (!seen || (known->version == order->version && known->crc == order->crc));
    if (equal) {
        report->in_transit += hot ? 1 : 0;
        return;
    }
    uint64_t offset = verify_order_place(check->state, known, name);
    verify_note(report, VERIFY_HOMES_DIFFER, name, offset, order->order_id,
                "%s as version %u, %s; archived as version %u, %s%s",
                hot ? "hot" : "it left the journal", known->version,
                order_status_name(known->status), order->version, order_status_name(order->status),
                known->version == order->version ? ", with another content" : "");
}

static void visit_order(void *context, uint64_t order_id, const struct order_record *order) {
    struct archive_check *check = context;
    struct verify_report *report = check->state->report;
    report->archived++;
    if (order == NULL) {
        note(check, VERIFY_RECORD_INVALID, order_id, "what is archived has another size");
        return;
    }
    uint64_t hash = order_record_reference_hash(order);
    struct verify_order *known = verify_orders_find(&check->state->orders, order_id);
    if (known != NULL) {
        known->flags |= VERIFY_ARCHIVED;
    }
    if (!verify_record(check->state, order, hash, archive_name, 0)) {
        return;
    }
    if (order->order_id != order_id) {
        note(check, VERIFY_RECORD_INVALID, order_id, "another order is archived under its id");
        return;
    }
    if (!order_status_is_final(order->status)) {
        note(check, VERIFY_RECORD_INVALID, order_id, "archived, but not final");
    }
    report->archived_by_status[order->status]++;
    add_holder(check, hash, order_id);
    if (known != NULL) {
        meet_journal(check, known, order, hash);
    }
}

/** What the journal says of an order now that the archive is known. */
static void check_home(struct archive_check *check, const struct verify_order *order) {
    struct verify_state *state = check->state;
    char name[VERIFY_FILE_MAX];
    uint64_t offset = verify_order_place(state, order, name);
    bool archived = (order->flags & VERIFY_ARCHIVED) != 0;
    if ((order->flags & VERIFY_RELEASED) != 0) {
        if (!archived && check->whole) {
            verify_note(state->report, VERIFY_ARCHIVE_MISSING, name, offset, order->order_id,
                        "it left for the archive, which does not have it");
        }
        return;
    }
    if ((order->flags & VERIFY_OUTSIDE) != 0 && !verify_is_uncertain(state, order) &&
        state->checkpoint_whole) {
        verify_note(state->report, VERIFY_ORDER_LOST, name, offset, order->order_id,
                    "a hot order that the checkpoint misses, and that never left");
    }
    state->report->hot++;
    state->report->hot_by_status[order->status]++;
    if (!archived) {
        add_holder(check, order->reference_hash, order->order_id | HOLDER_IS_HOT);
    }
}

static void check_homes(struct archive_check *check) {
    struct verify_state *state = check->state;
    uint64_t at = 0;
    const struct verify_order *order;
    while ((order = verify_orders_each(&state->orders, &at)) != NULL) {
        check_home(check, order);
    }
    at = 0;
    while ((order = verify_orders_each(&state->ahead, &at)) != NULL) {
        if (order->version > 0 && !state->has_gap) {
            verify_note(state->report, VERIFY_CHECKPOINT_CONTRADICTS, NULL, 0, order->order_id,
                        "the checkpoint has version %u, which the journal never reached",
                        order->version);
        }
    }
}

/* --- References. --- */

static int compare_holders(const void *left, const void *right) {
    const struct holder *first = left;
    const struct holder *second = right;
    if (first->reference_hash != second->reference_hash) {
        return first->reference_hash < second->reference_hash ? -1 : 1;
    }
    uint64_t first_id = id_of(first);
    uint64_t second_id = id_of(second);
    return first_id < second_id ? -1 : first_id > second_id ? 1 : 0;
}

static bool is_within_window(const struct archive_check *check, uint64_t order_id) {
    return order_id_tick(order_id) > check->oldest_tick;
}

static void note_missing_reference(struct archive_check *check, const struct holder *holder) {
    if (!is_hot(holder) && is_within_window(check, id_of(holder))) {
        note(check, VERIFY_REFERENCE_MISSING, id_of(holder),
             "archived without its reference: the reference could be used again");
    }
}

/** The filter is asked before the archive: what it does not know is taken for unused. */
static void check_filter(struct archive_check *check, uint64_t hash, uint64_t order_id) {
    struct verify_state *state = check->state;
    if (!state->has_filter || reference_filter_may_contain(&state->filter, hash) ||
        !is_within_window(check, order_id)) {
        return;
    }
    const struct verify_order *order = verify_orders_find(&state->orders, order_id);
    if (order == NULL || !verify_order_is_hot(order)) {
        note(check, VERIFY_FILTER_WRONG, order_id,
             "the checkpoint's filter does not know its reference");
    }
}

/** References come in the order of the holders: both are walked side by side. */
static void visit_reference(void *context, uint64_t hash, uint64_t order_id) {
    struct archive_check *check = context;
    struct holder reference = {hash, order_id};
    check->state->report->references++;
    while (check->merged < check->holder_count &&
           compare_holders(&check->holders[check->merged], &reference) < 0) {
        note_missing_reference(check, &check->holders[check->merged++]);
    }
    bool held = check->merged < check->holder_count &&
                compare_holders(&check->holders[check->merged], &reference) == 0 &&
                !is_hot(&check->holders[check->merged]);
    if (held) {
        check->merged++;
        check_filter(check, hash, order_id);
    } else if (check->whole && is_within_window(check, order_id)) {
        note(check, VERIFY_REFERENCE_ORPHANED, order_id,
             "a reference of an order that is not archived");
    }
}

/** True where two orders of one hash have one reference too. */
static bool is_same_reference(struct archive_check *check, const struct holder *first,
                              const struct holder *second) {
    struct order_record left;
    struct order_record right;
    if (!is_hot(first) && !is_hot(second)) {
        return archive_rocksdb_get_one(check->archive, id_of(first), &left) == ORDER_RESULT_FOUND &&
               archive_rocksdb_get_one(check->archive, id_of(second), &right) ==
                   ORDER_RESULT_FOUND &&
               order_record_same_reference(&left, &right);
    }
    uint32_t identities[2] = {0, 0};
    const struct holder *const both[2] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        const struct verify_order *order =
            verify_orders_find(&check->state->orders, id_of(both[i]));
        if (order != NULL && order->version > 0) {
            identities[i] = order->identity;
        } else if (archive_rocksdb_get_one(check->archive, id_of(both[i]), &left) ==
                   ORDER_RESULT_FOUND) {
            identities[i] = verify_identity(&left);
        }
    }
    return ((identities[0] ^ identities[1]) & VERIFY_IDENTITY_REFERENCE) == 0;
}

/** True where the older order keeps its reference for itself when the newer one is made. */
static bool is_live_at(const struct archive_check *check, const struct holder *older,
                       const struct holder *newer) {
    uint64_t apart = order_id_tick(id_of(newer)) - order_id_tick(id_of(older));
    uint64_t window = (uint64_t)check->state->options->window_us / ORDER_TICK_US;
    /* Ticks may be ahead of the times that were judged. */
    if (apart + ORDER_TICKS_AHEAD_MAX < window) {
        return true;
    }
    const struct verify_order *order = verify_orders_find(&check->state->orders, id_of(older));
    return is_hot(older) && order != NULL && !order_status_is_final(order->status);
}

static void check_twice(struct archive_check *check) {
    for (size_t i = 1; i < check->holder_count; i++) {
        const struct holder *older = &check->holders[i - 1];
        const struct holder *newer = &check->holders[i];
        if (older->reference_hash == newer->reference_hash && is_live_at(check, older, newer) &&
            is_same_reference(check, older, newer)) {
            verify_note(check->state->report, VERIFY_REFERENCE_TWICE, NULL, 0, id_of(newer),
                        "it has the reference of order %llu, which still holds it",
                        (unsigned long long)id_of(older));
        }
    }
}

static void check_references(struct archive_check *check) {
    struct fault fault;
    if (check->holder_count > 0) {
        qsort(check->holders, check->holder_count, sizeof(*check->holders), compare_holders);
    }
    check_twice(check);
    if (check->archive == NULL) {
        return;
    }
    if (!archive_rocksdb_each_reference(check->archive, visit_reference, check, &fault)) {
        note(check, VERIFY_ARCHIVE_UNREADABLE, 0, fault.text);
        return;
    }
    while (check->merged < check->holder_count) {
        note_missing_reference(check, &check->holders[check->merged++]);
    }
}

/* --- The whole. --- */

static void open_archive(struct archive_check *check, struct log *log) {
    struct fault fault;
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", check->state->options->data_dir, archive_name);
    if (access(path, F_OK) != 0) {
        return; /* nothing ever left: whatever did is reported as missing */
    }
    check->archive = archive_rocksdb_open_read_only(path, log, &fault);
    if (check->archive == NULL) {
        note(check, VERIFY_ARCHIVE_UNREADABLE, 0, fault.text);
        check->whole = false;
    }
}

void verify_archive(struct verify_state *state) {
    struct log log;
    struct fault fault;
    int64_t now_us = state->options->now_us > state->newest_time_us ? state->options->now_us
                                                                    : state->newest_time_us;
    struct archive_check check = {
        .state = state,
        .whole = true,
        .oldest_tick =
            order_tick_from_us(now_us - state->options->window_us) + ORDER_TICKS_AHEAD_MAX,
    };
    log_init(&log, STDERR_FILENO, LOG_ERROR);
    open_archive(&check, &log);
    if (check.archive != NULL &&
        !archive_rocksdb_each_order(check.archive, visit_order, &check, &fault)) {
        note(&check, VERIFY_ARCHIVE_UNREADABLE, 0, fault.text);
        check.whole = false;
    }
    check_homes(&check);
    if (!state->out_of_memory) {
        check_references(&check);
    }
    free(check.holders);
    if (check.archive != NULL) {
        archive_rocksdb_close(check.archive);
    }
}
