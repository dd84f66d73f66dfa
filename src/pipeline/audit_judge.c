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
        bool older = end != NULL && end->version > view->archive.order.version;
        return older ? end : &view->archive.order;
    }
    return view->archive.result == ORDER_RESULT_UNAVAILABLE ? NULL : end;
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
    if (!final || archived->version > order->version) {
        return AUDIT_BIT(AUDIT_CONFLICT);
    }
    if (!is_same(order, archived)) {
        return AUDIT_BIT(AUDIT_ARCHIVE_WRONG);
    }
    return now_us - order->updated_at_us > two_homes_us ? AUDIT_BIT(AUDIT_TWO_HOMES) : 0;
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
    if (seen == NULL || seen->version < archived->version) {
        return 0;
    }
    if (seen->version > archived->version) {
        return AUDIT_BIT(end != NULL ? AUDIT_ARCHIVE_WRONG : AUDIT_CONFLICT);
    }
    return is_same(seen, archived) ? 0 : AUDIT_BIT(AUDIT_CONFLICT);
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
    return kinds | judge_cache(view, truth);
}

audit_kinds audit_confirm(const struct audit_view *first, audit_kinds first_kinds,
                          const struct audit_view *second, audit_kinds second_kinds,
                          const struct audit_evidence *evidence) {
    const struct order_record *before = audit_truth(first, evidence);
    audit_kinds kinds = first_kinds & second_kinds;
    /* Behind what was true at the first look already; what came later may still be on its way. */
    if (before == NULL || second->cache.order.version >= before->version) {
        kinds &= ~AUDIT_BIT(AUDIT_STALE);
    }
    if (!is_same(&first->archive.order, &second->archive.order)) {
        kinds &= ~AUDIT_BIT(AUDIT_TWO_HOMES);
    }
    return kinds;
}
