#include "pipeline/audit_internal.h"

/* Looks, one after another, at which the query instances that are in question do not answer; then
 * it is over: who does not answer tells nobody anything wrong. */
#define SILENCES_MAX 10

/* --- What a look gives. --- */

void audit_hand_add(struct audit *audit, struct audit_subject *subject,
                    const struct order_record *order) {
    struct audit_hand *hand = &audit->hand;
    hand->subjects[hand->count] = subject;
    hand->ids[hand->count] = order->order_id;
    hand->orders[hand->count] = *order;
    hand->results[hand->count++] = ORDER_RESULT_NONE;
}

/** Where the present phase puts what it reads. */
static struct audit_answer *answer_of(const struct audit *audit, struct audit_subject *subject) {
    switch (audit->phase) {
    case AUDIT_LOOK_CACHE:
        return &subject->view.cache;
    case AUDIT_LOOK_STORE:
    case AUDIT_READ_STORE:
        return &subject->view.store;
    case AUDIT_LOOK_INSTANCES:
        return &subject->view.instances[audit->instance];
    default:
        return &subject->view.archive;
    }
}

/** Counts what a query instance did not answer; nobody rests for that. */
static void note_instance(struct audit *audit) {
    const struct audit_hand *hand = &audit->hand;
    struct audit_instance_metrics *metrics = &audit->instances[audit->instance];
    size_t unknown = 0;
    for (size_t i = 0; i < hand->count; i++) {
        unknown += hand->results[i] == ORDER_RESULT_UNKNOWN ? 1 : 0;
    }
    bool unanswered = hand->results[0] == ORDER_RESULT_UNAVAILABLE; /* all are, then */
    metric_add(&metrics->asked_total, hand->count);
    metric_add(&metrics->unanswered_total, unanswered ? 1 : 0);
    metric_add(&metrics->unknown_total, unknown);
}

static void got(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, get.request);
    struct audit_hand *hand = &audit->hand;
    bool failed = false;
    audit->busy = false;
    for (size_t i = 0; i < hand->count; i++) {
        struct audit_answer *answer = answer_of(audit, hand->subjects[i]);
        *answer = (struct audit_answer){.result = hand->results[i]};
        if (answer->result == ORDER_RESULT_FOUND || answer->result == ORDER_RESULT_FOUND_STATE) {
            answer->order = hand->orders[i];
        }
        failed = failed || answer->result == ORDER_RESULT_UNAVAILABLE;
    }
    if (audit->phase == AUDIT_LOOK_INSTANCES) {
        note_instance(audit);
        audit->instance++;
        return;
    }
    if (failed) {
        audit_note_failure(audit);
    }
    audit->phase++;
}

/** The archive's row as it is now, and when it was written. */
static void row_dated(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, row.look.request);
    const struct archive_row_look *look = &audit->row.look;
    struct audit_view *view = &audit->subjects[audit->row.index].view;
    audit->busy = false;
    view->archive = (struct audit_answer){.result = look->result};
    if (look->result == ORDER_RESULT_FOUND) {
        view->archive.order = look->order;
        view->by_hand = look->writetime_us != look->order.version;
    } else if (look->result == ORDER_RESULT_UNAVAILABLE) {
        audit_note_failure(audit);
    }
    audit->row.index++;
}

/* --- Judging. --- */

static bool answered(const struct audit_view *view) {
    return view->cache.result != ORDER_RESULT_UNAVAILABLE &&
           view->store.result != ORDER_RESULT_UNAVAILABLE &&
           view->archive.result != ORDER_RESULT_UNAVAILABLE;
}

/** What is known of an order already goes on; but where it cannot be repaired and now more is
 *  known, or where it must not be repaired since the sources of truth contradict each other. How a
 *  final order ended settles such a contradiction: nothing comes after it. */
static bool replaces(const struct audit_subject *subject, audit_kinds kinds,
                     const struct audit_suspect *suspect) {
    audit_kinds conflict = AUDIT_BIT(AUDIT_CONFLICT);
    audit_kinds known = suspect->kinds;
    bool knows_more = audit_knows_end(&subject->evidence) && !audit_knows_end(&suspect->evidence);
    bool knows_less = !audit_knows_end(&subject->evidence) && audit_knows_end(&suspect->evidence);
    if ((known & conflict) != 0) {
        return (kinds & AUDIT_ROW_KINDS) != 0 ||
               (knows_more && (kinds & AUDIT_REPAIRED_KINDS) != 0);
    }
    if ((kinds & conflict) != 0) {
        return (known & AUDIT_ROW_KINDS) == 0 && !knows_less;
    }
    /* What an instance answers may need several looks; a tier that is wrong does not wait. */
    return (known & AUDIT_TIER_KINDS) == 0 &&
           ((kinds & AUDIT_TIER_KINDS) != 0 ||
            ((known & AUDIT_VIEW_KINDS) == 0 && (kinds & AUDIT_VIEW_KINDS) != 0));
}

/** The first look: what disagrees is to be looked at again. */
static void suspect(struct audit *audit, const struct audit_subject *subject, audit_kinds kinds,
                    int64_t now_us) {
    struct audit_suspect *suspect = audit_suspect_for(audit, subject->evidence.order.order_id);
    if (suspect == NULL) {
        metric_add(&audit->metrics.overlooked_total, 1);
        return;
    }
    if (suspect->used && !replaces(subject, kinds, suspect)) {
        return;
    }
    int64_t wait_us = audit_wait_us(audit, kinds);
    if ((kinds & AUDIT_BIT(AUDIT_TWO_HOMES)) != 0 && audit->parts.settle_us > wait_us) {
        wait_us = audit->parts.settle_us;
    }
    suspect->used = true;
    suspect->alarmed = false;
    suspect->told = false;
    suspect->attempts = 0;
    suspect->silences = 0;
    suspect->kinds = kinds;
    suspect->found_us = now_us;
    suspect->evidence = subject->evidence;
    suspect->first = subject->view;
    audit_suspect_due(audit, suspect, now_us + wait_us);
}

static void count_kinds(struct audit *audit, audit_kinds kinds) {
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        if ((kinds & AUDIT_BIT(i)) != 0) {
            metric_add(&audit->kinds[i].disagreements_total, 1);
        }
    }
}

/** It is over: it went away by itself, or another disagreement took its place, which the walk will
 *  find. What the query instances are owed they get. */
static void dismiss(struct audit *audit, struct audit_subject *subject) {
    if (subject->suspect->counted == 0) {
        metric_add(&audit->metrics.passed_total, 1);
    }
    if (subject->suspect->owes_message) {
        subject->suspect->kinds = 0;
        subject->tells = true;
        return;
    }
    audit_suspect_free(audit, subject->suspect);
    subject->suspect = NULL;
}

/** What the instances answered wrong, and answer otherwise since they were told. */
static void note_healed(struct audit *audit, const struct audit_subject *subject,
                        audit_kinds left) {
    const struct audit_suspect *suspect = subject->suspect;
    if (suspect->told) {
        audit_note_repaired(audit, subject,
                            suspect->kinds & suspect->counted & AUDIT_VIEW_KINDS & ~left);
    }
}

/** Of what instances do not answer now, what is to be asked about again. */
static audit_kinds wait_for_answers(struct audit_suspect *suspect, audit_kinds undecided) {
    suspect->silences = (uint8_t)(undecided != 0 ? suspect->silences + 1 : 0);
    return suspect->silences <= SILENCES_MAX ? undecided : 0;
}

/** The second look. */
static void confirm(struct audit *audit, struct audit_subject *subject, audit_kinds kinds,
                    int64_t now_us) {
    struct audit_suspect *suspect = subject->suspect;
    if (!answered(&subject->view)) {
        audit_suspect_due(audit, suspect, now_us + audit->grace_us);
        subject->suspect = NULL;
        return;
    }
    kinds =
        audit_confirm(&suspect->first, suspect->kinds, &subject->view, kinds, &suspect->evidence);
    audit_kinds undecided = suspect->kinds & ~kinds &
                            audit_undecided(&suspect->first, &subject->view, &suspect->evidence);
    audit_kinds open = wait_for_answers(suspect, undecided);
    note_healed(audit, subject, kinds | undecided);
    if ((kinds | open) == 0) {
        dismiss(audit, subject);
        return;
    }
    audit_kinds fresh = kinds & ~suspect->counted;
    count_kinds(audit, fresh);
    audit_trace(audit, subject, fresh);
    suspect->counted |= kinds;
    suspect->kinds = kinds | open;
    subject->due = kinds & AUDIT_REPAIRED_KINDS;
    if (kinds == 0) {
        audit_suspect_due(audit, suspect, now_us + audit_wait_us(audit, open));
        subject->suspect = NULL;
    } else if (subject->due == 0) {
        suspect->alarmed = true;
        audit_suspect_due(audit, suspect, now_us + AUDIT_ALARM_PAUSE_US);
        subject->suspect = NULL;
    }
}

static void judge(struct audit *audit) {
    int64_t now_us = clock_now_us(audit->parts.clock);
    metric_add(&audit->metrics.looked_total, audit->subject_count);
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        audit_kinds kinds =
            audit_judge(&subject->view, &subject->evidence, now_us, audit->two_homes_us);
        if (subject->suspect != NULL) {
            confirm(audit, subject, kinds, now_us);
        } else if (kinds != 0) {
            suspect(audit, subject, kinds, now_us);
        }
    }
}

/* --- Asking. --- */

/** True for one in AUDIT_UNCACHED_SHARE orders, in each round for others. */
static bool has_turn(const struct audit *audit, uint64_t order_id) {
    uint64_t mixed = order_id * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return (mixed + metric_get(&audit->metrics.rounds_total)) % AUDIT_UNCACHED_SHARE == 0;
}

/** Whether the query instances are asked for an order. An instance looks up what it does not hold,
 *  and puts it into the cache: an entry that is missing or broken would be mended before it was
 *  counted. */
static bool asks_instances(const struct audit *audit, const struct audit_subject *subject) {
    const struct audit_view *view = &subject->view;
    const struct order_record *truth = audit_truth(view, &subject->evidence);
    if (truth == NULL) {
        return false;
    }
    if (subject->suspect != NULL && (subject->suspect->kinds & AUDIT_VIEW_KINDS) != 0) {
        return true;
    }
    if (view->cache.result == ORDER_RESULT_ABSENT) {
        return order_status_is_final(truth->status) && has_turn(audit, truth->order_id);
    }
    return view->cache.result == ORDER_RESULT_FOUND;
}

/** True where the present phase asks about an order. */
static bool asks_about(const struct audit *audit, const struct audit_subject *subject) {
    switch (audit->phase) {
    case AUDIT_READ_STORE:
    case AUDIT_READ_ARCHIVE:
        return (subject->due & AUDIT_CACHE_KINDS) != 0;
    case AUDIT_LOOK_INSTANCES:
        return asks_instances(audit, subject);
    default:
        return true;
    }
}

/** Collects whom the present phase asks about; false where that is nobody. */
static bool gather(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        if (asks_about(audit, subject)) {
            audit_hand_add(audit, subject, &subject->evidence.order);
        }
    }
    audit->get.count = audit->hand.count;
    return audit->get.count > 0;
}

/** Looks when the next doubtful row was written. */
static enum port_submit look_at_row(struct audit *audit) {
    struct archive_repair *repair = audit->parts.repair;
    struct audit_row *row = &audit->row;
    for (; row->index < audit->subject_count; row->index++) {
        const struct audit_subject *subject = &audit->subjects[row->index];
        if (audit_doubts_row(&subject->view, &subject->evidence)) {
            row->look.request.done = row_dated;
            row->look.order_id = subject->evidence.order.order_id;
            return repair->ops->look(repair, &row->look);
        }
    }
    row->index = 0;
    audit->phase++;
    return PORT_TAKEN;
}

/** Asks the next query instance. */
static enum port_submit ask_instance(struct audit *audit) {
    if (audit->instance < audit->parts.view_count && gather(audit)) {
        struct query_view *view = audit->parts.views[audit->instance];
        return view->ops->get(view, &audit->get);
    }
    audit->instance = 0;
    audit->phase++;
    return PORT_TAKEN;
}

/** Begins the present phase, or goes on to the next one where it has nothing to ask. */
static enum port_submit begin_phase(struct audit *audit) {
    const struct audit_parts *parts = &audit->parts;
    switch (audit->phase) {
    case AUDIT_LOOK_CACHE:
        if (gather(audit)) {
            return parts->cache->ops->get(parts->cache, &audit->get);
        }
        break;
    case AUDIT_LOOK_STORE:
    case AUDIT_READ_STORE:
        if (gather(audit)) {
            return parts->store->ops->get(parts->store, &audit->get);
        }
        break;
    case AUDIT_LOOK_ARCHIVE:
    case AUDIT_READ_ARCHIVE:
        if (gather(audit)) {
            return parts->archive->ops->get(parts->archive, &audit->get);
        }
        break;
    case AUDIT_LOOK_ROWS:
        return look_at_row(audit);
    case AUDIT_LOOK_INSTANCES:
        return ask_instance(audit);
    case AUDIT_JUDGE:
        judge(audit);
        break;
    default:
        return audit_repair_begin(audit);
    }
    audit->phase++;
    return PORT_TAKEN;
}

enum port_submit audit_look_begin(struct audit *audit) {
    for (;;) {
        enum audit_phase before = audit->phase;
        enum port_submit said = begin_phase(audit);
        if (audit->phase == before || audit->phase == AUDIT_PICK) {
            return said;
        }
    }
}

void audit_look_prepare(struct audit *audit) {
    audit->get = (struct order_get_batch){
        .request = {.done = got, .mailbox = audit->parts.mailbox},
        .order_ids = audit->hand.ids,
        .orders = audit->hand.orders,
        .results = audit->hand.results,
    };
}
