#include "pipeline/audit_judge.h"

struct kind_words {
    const char *label;
    const char *text;
};

static const struct kind_words kind_table[AUDIT_KIND_COUNT] = {
#define X(name, label_, text_) {label_, text_},
    AUDIT_KINDS(X)
#undef X
};

const char *audit_kind_label(enum audit_kind kind) {
    return kind_table[kind].label;
}

const char *audit_kind_text(enum audit_kind kind) {
    return kind_table[kind].text;
}

static bool is_found(const struct audit_answer *answer) {
    return answer->result == ORDER_RESULT_FOUND;
}

static bool is_same(const struct order_record *left, const struct order_record *right) {
    return memcmp(left, right, sizeof(*left)) == 0;
}

/** The order as somebody has seen it; NULL where only its reference is known. */
static const struct order_record *seen_order(const struct audit_evidence *evidence) {
    return evidence->source == AUDIT_FROM_REFERENCES ? NULL : &evidence->order;
}

/** The order as it ended, where somebody has seen that. */
static const struct order_record *seen_end(const struct audit_evidence *evidence) {
    const struct order_record *seen = seen_order(evidence);
    return seen != NULL && order_status_is_final(seen->status) ? seen : NULL;
}

bool audit_knows_end(const struct audit_evidence *evidence) {
    return seen_end(evidence) != NULL;
}

const struct order_record *audit_truth(const struct audit_view *view,
                                       const struct audit_evidence *evidence) {
    const struct order_record *end = seen_end(evidence);
    if (is_found(&view->store)) {
        return &view->store.order;
    }
    if (view->store.result != ORDER_RESULT_ABSENT) {
        return NULL;
    }
    if (is_found(&view->archive)) {
        bool settles = end != NULL && (view->by_hand || end->version > view->archive.order.version);
        return settles ? end : &view->archive.order;
    }
    return view->archive.result == ORDER_RESULT_UNAVAILABLE ? NULL : end;
}

bool audit_doubts_row(const struct audit_view *view, const struct audit_evidence *evidence) {
    const struct order_record *end = NULL;
    if (is_found(&view->store) && order_status_is_final(view->store.order.status)) {
        end = &view->store.order;
    } else if (view->store.result == ORDER_RESULT_ABSENT) {
        end = seen_end(evidence);
    }
    return end != NULL && is_found(&view->archive) && view->archive.order.version >= end->version &&
           !is_same(&view->archive.order, end);
}

/** The homes of an order that the store has. */
static audit_kinds judge_hot(const struct audit_view *view, const struct audit_evidence *evidence,
                             int64_t now_us, int64_t two_homes_us) {
    const struct order_record *order = &view->store.order;
    const struct order_record *seen = seen_order(evidence);
    const struct order_record *archived = &view->archive.order;
    bool final = order_status_is_final(order->status);
    if (seen != NULL && seen->version > order->version) {
        return AUDIT_BIT(AUDIT_CONFLICT); /* the store lost a change that it had told of */
    }
    if (view->archive.result == ORDER_RESULT_BROKEN) {
        return AUDIT_BIT(final ? AUDIT_ARCHIVE_WRONG : AUDIT_CONFLICT);
    }
    if (!is_found(&view->archive)) {
        return 0;
    }
    if (!final || (archived->version > order->version && !view->by_hand)) {
        return AUDIT_BIT(AUDIT_CONFLICT);
    }
    if (!is_same(order, archived)) {
        return AUDIT_BIT(AUDIT_ARCHIVE_WRONG);
    }
    return now_us - order->updated_at_us > two_homes_us ? AUDIT_BIT(AUDIT_TWO_HOMES) : 0;
}

static bool is_answered(const struct audit_answer *answer) {
    return is_found(answer) || answer->result == ORDER_RESULT_FOUND_STATE;
}

/** True where an answer and an order are the same, as far as the answer goes. */
static bool agrees(const struct audit_answer *answer, const struct order_record *order) {
    return is_found(answer)
               ? is_same(&answer->order, order)
               : answer->order.version == order->version && answer->order.status == order->status;
}

/** True where a tier says that the order ended otherwise, and not later, than in `archived`. */
static bool denies(const struct audit_answer *answer, const struct order_record *archived) {
    return is_found(answer) && order_status_is_final(answer->order.status) &&
           answer->order.version <= archived->version && !is_same(&answer->order, archived);
}

/** The archive's row against what the cache has, where nobody saw how the order ended. Nothing
 *  comes after the end, so one of both is false: what the row says is not spread by a repair. */
static audit_kinds judge_unwitnessed(const struct audit_view *view) {
    return denies(&view->cache, &view->archive.order) ? AUDIT_BIT(AUDIT_CONFLICT) : 0;
}

/** The archive's row against how the order ended. */
static audit_kinds judge_row(const struct audit_view *view, const struct order_record *end) {
    const struct order_record *archived = &view->archive.order;
    if (is_same(end, archived)) {
        return 0;
    }
    if (end->version > archived->version || view->by_hand) {
        return AUDIT_BIT(AUDIT_ARCHIVE_WRONG);
    }
    return end->version == archived->version ? AUDIT_BIT(AUDIT_CONFLICT) : 0;
}

/** The homes of an order that the store does not have. */
static audit_kinds judge_cold(const struct audit_view *view,
                              const struct audit_evidence *evidence) {
    const struct order_record *seen = seen_order(evidence);
    const struct order_record *end = seen_end(evidence);
    const struct order_record *archived = &view->archive.order;
    switch (view->archive.result) {
    case ORDER_RESULT_ABSENT:
        if (end != NULL) {
            return AUDIT_BIT(AUDIT_ARCHIVE_LOST);
        }
        return AUDIT_BIT(seen != NULL ? AUDIT_NO_HOME : AUDIT_ORPHAN);
    case ORDER_RESULT_BROKEN:
        return AUDIT_BIT(end != NULL ? AUDIT_ARCHIVE_WRONG : AUDIT_CONFLICT);
    case ORDER_RESULT_FOUND:
        break;
    default:
        return 0;
    }
    if (end != NULL) {
        return judge_row(view, end);
    }
    /* An order that was seen while it was open has a higher version in its row. */
    return seen == NULL || seen->version < archived->version ? judge_unwitnessed(view)
                                                             : AUDIT_BIT(AUDIT_CONFLICT);
}

static audit_kinds judge_cache(const struct audit_view *view, const struct order_record *truth) {
    const struct order_record *cached = &view->cache.order;
    bool open = is_found(&view->store) && !order_status_is_final(truth->status);
    switch (view->cache.result) {
    case ORDER_RESULT_ABSENT:
        return open ? AUDIT_BIT(AUDIT_MISSING) : 0;
    case ORDER_RESULT_BROKEN:
        return AUDIT_BIT(AUDIT_FOREIGN);
    case ORDER_RESULT_FOUND:
        break;
    default:
        return 0;
    }
    if (cached->version < truth->version) {
        return AUDIT_BIT(AUDIT_STALE);
    }
    return is_same(cached, truth) ? 0 : AUDIT_BIT(AUDIT_FORGED);
}

audit_kinds audit_judge_instance(const struct audit_answer *answer,
                                 const struct order_record *truth) {
    if (answer->result == ORDER_RESULT_ABSENT) {
        return AUDIT_BIT(AUDIT_VIEW_MISSING);
    }
    if (!is_answered(answer)) {
        return 0;
    }
    if (answer->order.version < truth->version) {
        return AUDIT_BIT(AUDIT_VIEW_STALE);
    }
    return agrees(answer, truth) ? 0 : AUDIT_BIT(AUDIT_VIEW_FORGED);
}

audit_kinds audit_judge(const struct audit_view *view, const struct audit_evidence *evidence,
                        int64_t now_us, int64_t two_homes_us) {
    audit_kinds kinds;
    if (is_found(&view->store)) {
        kinds = judge_hot(view, evidence, now_us, two_homes_us);
    } else if (view->store.result == ORDER_RESULT_ABSENT) {
        kinds = judge_cold(view, evidence);
    } else {
        return view->store.result == ORDER_RESULT_BROKEN ? AUDIT_BIT(AUDIT_CONFLICT) : 0;
    }
    const struct order_record *truth = audit_truth(view, evidence);
    if (truth == NULL || (kinds & AUDIT_BIT(AUDIT_CONFLICT)) != 0) {
        return kinds;
    }
    if (evidence->source == AUDIT_FROM_REFERENCES &&
        !order_record_same_reference(truth, &evidence->order)) {
        kinds |= AUDIT_BIT(AUDIT_ORPHAN);
    }
    for (size_t i = 0; i < QUERY_VIEWS_MAX; i++) {
        kinds |= audit_judge_instance(&view->instances[i], truth);
    }
    return kinds | judge_cache(view, truth);
}

/** True where what one instance answered at both looks is a disagreement of one kind. */
static bool confirms(const struct audit_answer *first, const struct order_record *before,
                     const struct audit_answer *second, const struct order_record *truth,
                     audit_kinds kind) {
    if (audit_judge_instance(first, before) != kind ||
        audit_judge_instance(second, truth) != kind) {
        return false;
    }
    switch (kind) {
    case AUDIT_BIT(AUDIT_VIEW_STALE):
        return second->order.version < before->version;
    case AUDIT_BIT(AUDIT_VIEW_FORGED):
        return audit_judge_instance(first, truth) == kind;
    default:
        return true;
    }
}

/** Those of AUDIT_VIEW_KINDS that one instance at least confirms. */
static audit_kinds confirm_instances(const struct audit_view *first,
                                     const struct order_record *before,
                                     const struct audit_view *second,
                                     const struct order_record *truth) {
    static const enum audit_kind kinds[] = {AUDIT_VIEW_STALE, AUDIT_VIEW_MISSING,
                                            AUDIT_VIEW_FORGED};
    audit_kinds confirmed = 0;
    for (size_t i = 0; i < QUERY_VIEWS_MAX; i++) {
        for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
            if (confirms(&first->instances[i], before, &second->instances[i], truth,
                         AUDIT_BIT(kinds[k]))) {
                confirmed |= AUDIT_BIT(kinds[k]);
            }
        }
    }
    return confirmed;
}

audit_kinds audit_confirm(const struct audit_view *first, audit_kinds first_kinds,
                          const struct audit_view *second, audit_kinds second_kinds,
                          const struct audit_evidence *evidence) {
    const struct order_record *before = audit_truth(first, evidence);
    const struct order_record *truth = audit_truth(second, evidence);
    audit_kinds kinds = first_kinds & second_kinds;
    /* Behind what was true at the first look already; what came later may still be on its way. */
    if (before == NULL || second->cache.order.version >= before->version) {
        kinds &= ~AUDIT_BIT(AUDIT_STALE);
    }
    if (!is_same(&first->archive.order, &second->archive.order)) {
        kinds &= ~AUDIT_BIT(AUDIT_TWO_HOMES);
    }
    if ((kinds & AUDIT_VIEW_KINDS) != 0) { /* so both looks knew the truth */
        kinds &= ~AUDIT_VIEW_KINDS | confirm_instances(first, before, second, truth);
    }
    return kinds;
}

audit_kinds audit_undecided(const struct audit_view *first, const struct audit_view *second,
                            const struct audit_evidence *evidence) {
    const struct order_record *before = audit_truth(first, evidence);
    audit_kinds kinds = 0;
    for (size_t i = 0; before != NULL && i < QUERY_VIEWS_MAX; i++) {
        const struct audit_answer *answer = &second->instances[i];
        if (!is_answered(answer) && answer->result != ORDER_RESULT_ABSENT) {
            kinds |= audit_judge_instance(&first->instances[i], before);
        }
    }
    return kinds;
}
