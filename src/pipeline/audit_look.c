#include "pipeline/audit_internal.h"

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
    default:
        return &subject->view.archive;
    }
}

static void got(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, get.request);
    struct audit_hand *hand = &audit->hand;
    bool failed = false;
    audit->busy = false;
    for (size_t i = 0; i < hand->count; i++) {
        struct audit_answer *answer = answer_of(audit, hand->subjects[i]);
        *answer = (struct audit_answer){.result = hand->results[i]};
        if (answer->result == ORDER_RESULT_FOUND) {
            answer->order = hand->orders[i];
        }
        failed = failed || answer->result == ORDER_RESULT_UNAVAILABLE;
    }
    if (failed) {
        audit_note_failure(audit);
    }
    audit->phase++;
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
static bool replaces(audit_kinds kinds, audit_kinds known) {
    audit_kinds conflict = AUDIT_BIT(AUDIT_CONFLICT);
    if ((known & conflict) != 0) {
        return (kinds & AUDIT_ROW_KINDS) != 0;
    }
    if ((kinds & conflict) != 0) {
        return (known & AUDIT_ROW_KINDS) == 0;
    }
    return (known & AUDIT_REPAIRED_KINDS) == 0 && (kinds & AUDIT_REPAIRED_KINDS) != 0;
}

/** The first look: what disagrees is to be looked at again. */
static void suspect(struct audit *audit, const struct audit_subject *subject, audit_kinds kinds,
                    int64_t now_us) {
    struct audit_suspect *suspect = audit_suspect_for(audit, subject->evidence.order.order_id);
    if (suspect == NULL) {
        metric_add(&audit->metrics.overlooked_total, 1);
        return;
    }
    if (suspect->used && !replaces(kinds, suspect->kinds)) {
        return;
    }
    int64_t wait_us = audit->grace_us;
    if ((kinds & AUDIT_BIT(AUDIT_TWO_HOMES)) != 0 && audit->parts.settle_us > wait_us) {
        wait_us = audit->parts.settle_us;
    }
    suspect->used = true;
    suspect->alarmed = false;
    suspect->attempts = 0;
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
    if (kinds == 0) {
        dismiss(audit, subject);
        return;
    }
    audit_kinds fresh = kinds & ~suspect->counted;
    count_kinds(audit, fresh);
    audit_trace(audit, subject, fresh);
    suspect->counted |= kinds;
    suspect->kinds = kinds;
    subject->due = kinds & AUDIT_REPAIRED_KINDS;
    if (subject->due == 0) {
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

static void gather(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        bool reads_again = audit->phase == AUDIT_READ_STORE || audit->phase == AUDIT_READ_ARCHIVE;
        if (!reads_again || (subject->due & AUDIT_CACHE_KINDS) != 0) {
            audit_hand_add(audit, subject, &subject->evidence.order);
        }
    }
    audit->get.count = audit->hand.count;
}

enum port_submit audit_look_begin(struct audit *audit) {
    const struct audit_parts *parts = &audit->parts;
    for (;;) {
        switch (audit->phase) {
        case AUDIT_LOOK_CACHE:
            gather(audit);
            return parts->cache->ops->get(parts->cache, &audit->get);
        case AUDIT_LOOK_STORE:
        case AUDIT_READ_STORE:
            gather(audit);
            if (audit->get.count > 0) {
                return parts->store->ops->get(parts->store, &audit->get);
            }
            break;
        case AUDIT_LOOK_ARCHIVE:
        case AUDIT_READ_ARCHIVE:
            gather(audit);
            if (audit->get.count > 0) {
                return parts->archive->ops->get(parts->archive, &audit->get);
            }
            break;
        case AUDIT_JUDGE:
            judge(audit);
            break;
        default: {
            enum audit_phase before = audit->phase;
            enum port_submit said = audit_repair_begin(audit);
            if (audit->phase == before || audit->phase == AUDIT_PICK) {
                return said;
            }
            continue;
        }
        }
        audit->phase++;
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
