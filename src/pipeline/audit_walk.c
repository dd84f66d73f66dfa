#include "pipeline/audit_internal.h"

/* Between two rounds: a small store is not walked over without end. */
#define ROUND_PAUSE_US 2000000

#define SCAN_LIMIT_MIN 4

/* --- The batch. --- */

static void add_subject(struct audit *audit, enum audit_source source,
                        const struct order_record *order) {
    audit->subjects[audit->subject_count++] = (struct audit_subject){
        .evidence = {.source = source, .order = *order},
    };
}

static void begin_batch(struct audit *audit) {
    audit->lines = 0;
    audit->instance = 0;
    audit->row.index = 0;
    if (audit->subject_count > 0) {
        audit->phase = AUDIT_LOOK_CACHE;
    }
}

/** Takes the suspects that are due. */
static void take_due(struct audit *audit, int64_t now_us) {
    audit->due_us = INT64_MAX;
    for (size_t i = 0; i < AUDIT_SUSPECTS_MAX; i++) {
        struct audit_suspect *suspect = &audit->suspects[i];
        if (!suspect->used) {
            continue;
        }
        if (suspect->due_us <= now_us && audit->subject_count < AUDIT_BATCH_MAX) {
            add_subject(audit, suspect->evidence.source, &suspect->evidence.order);
            audit->subjects[audit->subject_count - 1].suspect = suspect;
        } else if (suspect->due_us < audit->due_us) {
            audit->due_us = suspect->due_us;
        }
    }
}

/** Takes the changes that did not arrive. */
static void take_rechecks(struct audit *audit) {
    for (size_t i = 0; i < audit->recheck_count; i++) {
        add_subject(audit, AUDIT_FROM_LOG, &audit->rechecks[i]);
    }
    audit->recheck_count = 0;
}

/* --- The stretches. --- */

/** After a slice: the next stretch that has not ended, or the next round. */
static void move_on(struct audit *audit, int64_t now_us) {
    struct audit_walk *walk = &audit->walk;
    for (size_t i = 0; i < AUDIT_STRETCH_COUNT; i++) {
        walk->next = (walk->next + 1) % AUDIT_STRETCH_COUNT;
        if (!walk->ended[walk->next]) {
            return;
        }
    }
    memset(walk->ended, 0, sizeof(walk->ended));
    memset(walk->cursors, 0, sizeof(walk->cursors));
    walk->read.after = (struct change_cursor){.parts = 0};
    walk->next = AUDIT_STRETCH_OPEN;
    walk->round_at_us = now_us + ROUND_PAUSE_US;
    metric_add(&audit->metrics.rounds_total, 1);
}

/** What a slice gave becomes the batch. */
static void take_slice(struct audit *audit, size_t count, bool ended) {
    static const enum audit_source sources[AUDIT_STRETCH_COUNT] = {
        AUDIT_FROM_STORE, AUDIT_FROM_STORE, AUDIT_FROM_REFERENCES, AUDIT_FROM_LOG};
    struct audit_walk *walk = &audit->walk;
    int64_t now_us = clock_now_us(audit->parts.clock);
    assert(count <= AUDIT_BATCH_MAX && audit->subject_count == 0);
    for (size_t i = 0; i < count; i++) {
        add_subject(audit, sources[walk->next], &walk->orders[i]);
    }
    walk->ended[walk->next] = ended;
    pace_took(&walk->pace, count > 0 ? count : 1, now_us);
    move_on(audit, now_us);
    begin_batch(audit);
}

static void scanned(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, walk.scan.request);
    struct audit_walk *walk = &audit->walk;
    audit->busy = false;
    if (walk->scan.result != ORDER_RESULT_FOUND) {
        audit_note_failure(audit);
        return; /* the cursor stands where it stood */
    }
    walk->cursors[walk->next] = walk->scan.cursor;
    take_slice(audit, walk->scan.count, walk->scan.cursor == 0);
}

/** True where the log was read as far as it went when the round began. */
static bool is_at_goal(const struct audit_walk *walk) {
    for (uint32_t i = 0; i < walk->goal.parts; i++) {
        if (walk->read.after.positions[i] < walk->goal.positions[i]) {
            return false;
        }
    }
    return true;
}

static void log_read(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, walk.read.request);
    struct audit_walk *walk = &audit->walk;
    audit->busy = false;
    switch (walk->read.result) {
    case CHANGE_READ_OK:
        take_slice(audit, walk->read.count, walk->read.count == 0 || is_at_goal(walk));
        break;
    case CHANGE_READ_UNAVAILABLE:
        audit_note_failure(audit);
        break;
    case CHANGE_READ_GONE:    /* the log was cut while it was walked over: */
    case CHANGE_READ_INVALID: /* the next round begins where it begins now */
        take_slice(audit, 0, true);
        break;
    }
}

static enum port_submit read_log(struct audit *audit) {
    struct audit_walk *walk = &audit->walk;
    struct change_log *log = audit->parts.changes;
    if (walk->read.after.parts == 0) {
        log->ops->newest(log, &walk->goal);
        walk->read.after.parts = walk->goal.parts;
        memset(walk->read.after.positions, 0, sizeof(walk->read.after.positions));
    }
    walk->read.count = 0;
    return log->ops->read(log, &walk->read);
}

static enum port_submit scan_store(struct audit *audit, int64_t now_us) {
    static const enum order_scan_kind kinds[] = {ORDER_SCAN_OVERDUE, ORDER_SCAN_FINAL,
                                                 ORDER_SCAN_REFERENCES};
    struct audit_walk *walk = &audit->walk;
    walk->scan.kind = kinds[walk->next];
    walk->scan.before_us = now_us;
    walk->scan.cursor = walk->cursors[walk->next];
    return audit->parts.store->ops->scan(audit->parts.store, &walk->scan);
}

int64_t audit_pick(struct audit *audit, int64_t now_us) {
    struct audit_walk *walk = &audit->walk;
    int64_t from_us =
        walk->pace.next_us > walk->round_at_us ? walk->pace.next_us : walk->round_at_us;
    audit->subject_count = 0;
    if (now_us >= audit->due_us) {
        take_due(audit, now_us);
    }
    if (audit->subject_count == 0) {
        take_rechecks(audit);
    }
    if (audit->subject_count > 0) {
        begin_batch(audit);
        return now_us;
    }
    if (now_us < from_us) {
        return from_us < audit->due_us ? from_us : audit->due_us;
    }
    audit->busy = true; /* it may be done before the submission returns */
    enum port_submit said =
        walk->next == AUDIT_STRETCH_LOG ? read_log(audit) : scan_store(audit, now_us);
    if (said == PORT_TAKEN) {
        return INT64_MAX;
    }
    audit->busy = false;
    audit->wake_at_us = now_us + AUDIT_BUSY_PAUSE_US;
    return audit->wake_at_us;
}

void audit_walk_prepare(struct audit *audit) {
    struct audit_walk *walk = &audit->walk;
    walk->pace.per_second = audit->parts.options->per_second;
    size_t slice = pace_batch(&walk->pace, AUDIT_BATCH_MAX);
    walk->scan = (struct order_scan_batch){
        .request = {.done = scanned, .mailbox = audit->parts.mailbox},
        .thorough = true,
        .limit = slice < SCAN_LIMIT_MIN ? SCAN_LIMIT_MIN : slice,
        .orders = walk->orders,
    };
    walk->read = (struct change_read_batch){
        .request = {.done = log_read, .mailbox = audit->parts.mailbox},
        .limit = walk->scan.limit,
        .orders = walk->orders,
        .positions = walk->positions,
        .parts = walk->parts,
    };
}
