#include "pipeline/audit_internal.h"

#include "base/rfc3339.h"

/* Repairs of one order that do not go through; then it is an alarm. */
#define ATTEMPTS_MAX 10

/* Lines about single orders that one batch may log. */
#define LINES_MAX 16
#define LINE_BYTES 1536

/* Query instances drop what they hold of an order at such a message, and read it again. */
#define REPAIR_KIND "repair"

static const struct order_record *truth_of(const struct audit_subject *subject) {
    return audit_truth(&subject->view, &subject->evidence);
}

static void note_done(struct audit *audit, struct audit_subject *subject, audit_kinds kinds,
                      bool done) {
    if (done) {
        subject->done |= subject->due & kinds;
    } else {
        metric_add(&audit->metrics.repair_failures_total, 1);
    }
}

/* --- What is logged. --- */

static void append_time(struct text *text, int64_t time_us) {
    char time[RFC3339_TEXT_BYTES];
    text_append(text, time, rfc3339_format(time_us, time));
}

static void append_answer(struct text *text, const char *tier, const struct audit_answer *answer) {
    text_append_format(text, "; %s: ", tier);
    switch (answer->result) {
    case ORDER_RESULT_FOUND_STATE:
        text_append_format(text, "version %u, %s", answer->order.version,
                           order_status_name(answer->order.status));
        break;
    case ORDER_RESULT_FOUND:
        text_append_format(text, "version %u, %s, written ", answer->order.version,
                           order_status_name(answer->order.status));
        append_time(text, answer->order.updated_at_us);
        text_append_format(text, ", checksum %08x", answer->order.crc);
        break;
    case ORDER_RESULT_ABSENT:
        text_append_literal(text, "none");
        break;
    default:
        text_append_literal(text, "something that is no order");
        break;
    }
}

/** The answers of the query instances that are a disagreement of these kinds, with their names. */
static void append_instances(const struct audit *audit, struct text *text,
                             const struct audit_view *view, const struct order_record *truth,
                             audit_kinds kinds) {
    for (size_t i = 0; truth != NULL && i < audit->parts.view_count; i++) {
        const struct audit_answer *answer = &view->instances[i];
        if ((audit_judge_instance(answer, truth) & kinds) != 0) {
            append_answer(text, audit->parts.views[i]->name, answer);
        }
    }
}

/** True where one more line may be written; says once that there are more. */
static bool may_log(struct audit *audit) {
    if (audit->lines == LINES_MAX) {
        log_warning(audit->parts.log, "audit",
                    "more disagreements in the same batch; the metrics "
                    "count them all");
    }
    return audit->lines++ < LINES_MAX;
}

void audit_trace(struct audit *audit, const struct audit_subject *subject, audit_kinds kinds) {
    static const char *const sources[] = {"store", "log of changes", "references"};
    char line[LINE_BYTES];
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        if ((kinds & AUDIT_BIT(i)) == 0 || !may_log(audit)) {
            continue;
        }
        const struct audit_suspect *suspect = subject->suspect;
        struct text text = text_over(line, sizeof(line));
        text_append_format(&text, "order %llu: %s (%s); seen first ",
                           (unsigned long long)suspect->evidence.order.order_id,
                           audit_kind_label((enum audit_kind)i),
                           audit_kind_text((enum audit_kind)i));
        append_time(&text, suspect->found_us);
        append_answer(&text, "store", &subject->view.store);
        append_answer(&text, "archive", &subject->view.archive);
        append_answer(&text, "cache", &subject->view.cache);
        append_instances(audit, &text, &subject->view, truth_of(subject), AUDIT_BIT(i));
        text_append_format(&text, "; found by the %s", sources[suspect->evidence.source]);
        log_error(audit->parts.log, "audit", "%.*s", (int)text.size, text.data);
    }
}

static void count_repaired(struct audit *audit, audit_kinds kinds) {
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        if ((kinds & AUDIT_BIT(i)) != 0) {
            metric_add(&audit->kinds[i].repaired_total, 1);
        }
    }
}

void audit_note_repaired(struct audit *audit, const struct audit_subject *subject,
                         audit_kinds kinds) {
    char line[LINE_BYTES];
    struct text text = text_over(line, sizeof(line));
    const struct audit_view *first = &subject->suspect->first;
    const struct audit_evidence *evidence = &subject->evidence;
    const struct order_record *truth = truth_of(subject);
    count_repaired(audit, kinds);
    if (kinds == 0 || !may_log(audit)) {
        return;
    }
    text_append_format(&text,
                       "order %llu: repaired:", (unsigned long long)evidence->order.order_id);
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        if ((kinds & AUDIT_BIT(i)) != 0) {
            text_append_format(&text, " %s", audit_kind_label((enum audit_kind)i));
        }
    }
    if ((kinds & AUDIT_CACHE_KINDS) != 0) {
        append_answer(&text, "replaced in the cache", &subject->view.cache);
    }
    if ((kinds & AUDIT_ROW_KINDS) != 0) {
        append_answer(&text, "replaced in the archive", &subject->view.archive);
    }
    append_instances(audit, &text, first, audit_truth(first, evidence), kinds);
    if (truth != NULL) {
        text_append_format(&text, "; by version %u, %s", truth->version,
                           order_status_name(truth->status));
    }
    log_warning(audit->parts.log, "audit", "%.*s", (int)text.size, text.data);
}

/* --- The cache. --- */

static void removed(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, put.request);
    audit->busy = false;
    for (size_t i = 0; i < audit->hand.count; i++) {
        bool done = audit->hand.results[i] == ORDER_RESULT_STORED;
        struct audit_subject *subject = audit->hand.subjects[i];
        note_done(audit, subject, AUDIT_BIT(AUDIT_FORGED), done);
        if (!done) {
            subject->due &= ~AUDIT_BIT(AUDIT_FORGED); /* what is there must not be put over */
        }
    }
    audit->phase++;
}

static enum port_submit begin_remove(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        if ((subject->due & AUDIT_BIT(AUDIT_FORGED)) != 0) {
            audit_hand_add(audit, subject, &subject->view.cache.order);
        }
    }
    if (audit->hand.count == 0) {
        audit->phase++;
        return PORT_TAKEN;
    }
    audit->put.request.done = removed;
    audit->put.count = audit->hand.count;
    return audit->parts.cache->ops->remove(audit->parts.cache, &audit->put);
}

static void put_done(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, put.request);
    audit->busy = false;
    for (size_t i = 0; i < audit->hand.count; i++) {
        note_done(audit, audit->hand.subjects[i], AUDIT_CACHE_KINDS & ~AUDIT_BIT(AUDIT_FORGED),
                  audit->hand.results[i] == ORDER_RESULT_STORED);
    }
    audit->phase++;
}

/** Puts the truth as it was read after the removal. */
static enum port_submit begin_put(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        const struct order_record *truth = truth_of(subject);
        if ((subject->due & AUDIT_CACHE_KINDS) != 0 && truth != NULL) {
            audit_hand_add(audit, subject, truth);
        }
    }
    if (audit->hand.count == 0) {
        audit->phase++;
        return PORT_TAKEN;
    }
    audit->put.request.done = put_done;
    audit->put.count = audit->hand.count;
    return audit->parts.cache->ops->put(audit->parts.cache, &audit->put);
}

/* --- Rows of the archive. --- */

static struct audit_subject *row_subject(struct audit *audit) {
    return &audit->subjects[audit->row.index];
}

static void end_row(struct audit *audit, bool done) {
    note_done(audit, row_subject(audit), AUDIT_ROW_KINDS, done);
    audit->row.step = AUDIT_ROW_LOOK;
    audit->row.writes = 0;
    audit->row.index++;
}

/* How far above the present time a row is written, where less was not enough: a deletion does not
 * show when it was made, and whoever made it may have given it any time. The one before the last is
 * above every time in nanoseconds, too. */
static const int64_t row_leads_us[] = {
    0,
    INT64_C(60) * 1000000,                /* a minute */
    INT64_C(86400) * 1000000,             /* a day */
    INT64_C(366) * 86400 * 1000000,       /* a year */
    INT64_C(100) * 366 * 86400 * 1000000, /* a century */
    INT64_MAX / 2,
    INT64_MAX,
};

/** The time to write a row with, so that it shows: above that of the row that shows now, and above
 *  that of any deletion, as far as that is known. */
static int64_t row_timestamp(const struct audit *audit) {
    const struct audit_row *row = &audit->row;
    int64_t now_us = clock_now_us(audit->parts.clock);
    int64_t lead_us = row_leads_us[row->writes];
    int64_t above_us = lead_us > INT64_MAX - now_us ? INT64_MAX : now_us + lead_us;
    if (row->look.result != ORDER_RESULT_ABSENT) {
        int64_t written_us = row->look.writetime_us;
        above_us = row->writes == 0 || written_us > above_us ? written_us : above_us;
    }
    return above_us < INT64_MAX ? above_us + 1 : above_us;
}

static void row_looked(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, row.look.request);
    struct audit_row *row = &audit->row;
    const struct order_record *truth = truth_of(row_subject(audit));
    audit->busy = false;
    bool same = row->look.result == ORDER_RESULT_FOUND && truth != NULL &&
                memcmp(&row->look.order, truth, sizeof(*truth)) == 0;
    if (same || row->look.result == ORDER_RESULT_UNAVAILABLE ||
        row->writes == ARRAY_COUNT(row_leads_us)) {
        end_row(audit, same);
        return;
    }
    row->write.timestamp_us = row_timestamp(audit);
    row->step = AUDIT_ROW_WRITE;
}

static void row_written(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, row.write.request);
    audit->busy = false;
    if (audit->row.write.result == ORDER_RESULT_STORED) {
        audit->row.writes++;
        audit->row.step = AUDIT_ROW_LOOK;
    } else {
        end_row(audit, false);
    }
}

/** One row after the other: look when it was written, write above that, look whether it shows, and
 *  write above that where it does not. */
static enum port_submit begin_row(struct audit *audit) {
    struct audit_row *row = &audit->row;
    for (; row->index < audit->subject_count; row->index++) {
        struct audit_subject *subject = row_subject(audit);
        const struct order_record *truth = truth_of(subject);
        bool writes = truth != NULL && order_status_is_final(truth->status);
        if ((subject->due & AUDIT_ROW_KINDS) == 0 || !writes) {
            continue;
        }
        row->look.request.done = row_looked;
        row->look.order_id = truth->order_id;
        row->write.order = *truth;
        return row->step == AUDIT_ROW_WRITE
                   ? audit->parts.repair->ops->write(audit->parts.repair, &row->write)
                   : audit->parts.repair->ops->look(audit->parts.repair, &row->look);
    }
    row->index = 0;
    audit->phase++;
    return PORT_TAKEN;
}

/* --- Two homes. --- */

static void released(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, release.request);
    audit->busy = false;
    for (size_t i = 0; i < audit->hand.count; i++) {
        note_done(audit, audit->hand.subjects[i], AUDIT_BIT(AUDIT_TWO_HOMES),
                  audit->hand.results[i] == ORDER_RESULT_RELEASED);
    }
    audit->phase++;
}

/** The store compares what the archive has with its own row. */
static enum port_submit begin_release(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        if ((subject->due & AUDIT_BIT(AUDIT_TWO_HOMES)) != 0 &&
            subject->view.archive.result == ORDER_RESULT_FOUND) {
            audit_hand_add(audit, subject, &subject->view.archive.order);
        }
    }
    if (audit->hand.count == 0) {
        audit->phase++;
        return PORT_TAKEN;
    }
    audit->release.count = audit->hand.count;
    return audit->parts.store->ops->release(audit->parts.store, &audit->release);
}

/* --- Telling the query instances. --- */

static void told(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, publish.request);
    audit->busy = false;
    for (size_t i = 0; i < audit->hand.count; i++) {
        audit->hand.subjects[i]->told = audit->hand.results[i] == ORDER_RESULT_STORED;
        metric_add(&audit->metrics.messages_total, audit->hand.subjects[i]->told ? 1 : 0);
    }
    audit->phase++;
}

/** They may hold whatever a reader can have been given meanwhile. What was merely missing, or was
 *  no order, nobody was given. */
static bool must_tell(const struct audit_subject *subject) {
    audit_kinds quiet =
        AUDIT_BIT(AUDIT_MISSING) | AUDIT_BIT(AUDIT_FOREIGN) | AUDIT_BIT(AUDIT_TWO_HOMES);
    return subject->tells || (subject->done & ~quiet) != 0 ||
           (subject->due & AUDIT_VIEW_KINDS) != 0;
}

static enum port_submit begin_tell(struct audit *audit) {
    audit->hand.count = 0;
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        subject->tells = must_tell(subject);
        if (!subject->tells) {
            continue;
        }
        size_t at = audit->hand.count;
        struct text key = text_over(audit->keys[at], AUDIT_KEY_BYTES);
        text_append_u64(&key, subject->evidence.order.order_id);
        audit->messages[at] = (struct topic_message){
            .key = text_slice(&key), .header = SLICE_LITERAL(REPAIR_KIND), .partition = -1};
        audit_hand_add(audit, subject, &subject->evidence.order);
    }
    if (audit->hand.count == 0) {
        audit->phase++;
        return PORT_TAKEN;
    }
    audit->publish.count = audit->hand.count;
    return audit->parts.refresh->ops->publish(audit->parts.refresh, &audit->publish);
}

/* --- What remains. --- */

/** It is said aloud; what is to be repaired is tried again now and then. */
static void give_up(struct audit *audit, struct audit_suspect *suspect) {
    metric_add(&audit->metrics.messages_lost_total, suspect->owes_message ? 1 : 0);
    log_error(audit->parts.log, "audit", "order %llu: %s",
              (unsigned long long)suspect->evidence.order.order_id,
              suspect->owes_message ? "the query instances could not be told of its repair"
                                    : "its repair does not go through");
    suspect->owes_message = false;
}

/** The order is right again, or comes again after the grace time, or is given up as an alarm. */
static void conclude_suspect(struct audit *audit, struct audit_subject *subject) {
    struct audit_suspect *suspect = subject->suspect;
    suspect->kinds &= ~subject->done;
    suspect->owes_message = subject->tells && !subject->told;
    suspect->told = suspect->told || subject->told;
    if (suspect->kinds == 0 && !suspect->owes_message) {
        audit_suspect_free(audit, suspect);
        return;
    }
    if (suspect->attempts < ATTEMPTS_MAX) {
        suspect->attempts++;
    }
    suspect->alarmed = suspect->attempts == ATTEMPTS_MAX;
    if (suspect->alarmed) {
        give_up(audit, suspect);
        if (suspect->kinds == 0) {
            audit_suspect_free(audit, suspect);
            return;
        }
    }
    audit_suspect_due(
        audit, suspect,
        clock_now_us(audit->parts.clock) +
            (suspect->alarmed ? AUDIT_ALARM_PAUSE_US : audit_wait_us(audit, suspect->kinds)));
}

static void conclude(struct audit *audit) {
    for (size_t i = 0; i < audit->subject_count; i++) {
        struct audit_subject *subject = &audit->subjects[i];
        if (subject->suspect != NULL) {
            audit_note_repaired(audit, subject, subject->done);
            conclude_suspect(audit, subject);
        }
    }
    audit->subject_count = 0;
    audit->phase = AUDIT_PICK;
}

enum port_submit audit_repair_begin(struct audit *audit) {
    switch (audit->phase) {
    case AUDIT_REMOVE:
        return begin_remove(audit);
    case AUDIT_PUT:
        return begin_put(audit);
    case AUDIT_ROWS:
        return begin_row(audit);
    case AUDIT_RELEASE:
        return begin_release(audit);
    case AUDIT_TELL:
        return begin_tell(audit);
    default:
        conclude(audit);
        return PORT_TAKEN;
    }
}

void audit_repair_prepare(struct audit *audit) {
    struct mailbox *mailbox = audit->parts.mailbox;
    audit->put = (struct order_cache_put){
        .request = {.done = put_done, .mailbox = mailbox},
        .orders = audit->hand.orders,
        .results = audit->hand.results,
    };
    audit->release = (struct order_release_batch){
        .request = {.done = released, .mailbox = mailbox},
        .orders = audit->hand.orders,
        .results = audit->hand.results,
    };
    audit->publish = (struct topic_publish){
        .request = {.done = told, .mailbox = mailbox},
        .messages = audit->messages,
        .results = audit->hand.results,
    };
    audit->row.look.request = (struct port_request){.done = row_looked, .mailbox = mailbox};
    audit->row.write.request = (struct port_request){.done = row_written, .mailbox = mailbox};
}
