/** What the checker makes of one order as the tiers have it, and as query instances answer it:
 *  which of them disagrees with the truth, and in what way. Pure, any thread.
 *
 *  The truth is what the store has; else what the archive has; else, where neither has it, a final
 *  state that was seen in the store or in its log, since a final order never changes. The cache and
 *  the query instances are never the truth. Where the sources of truth contradict each other that
 *  alone is reported, and nothing is repaired.
 *
 *  One contradiction settles itself: a row of the archive that says other than how the order ended,
 *  and whose write time is not its version. The archive pipeline did not write that; somebody did
 *  it by hand, and the end is the truth. With its version as its write time it may be an order that
 *  somebody mended by hand in the store, and the archive is believed.
 *
 *  A look reads the cache first, then the store, then the archive, and asks the query instances
 *  last. So what the cache has above the truth is not merely a change that came between, what an
 *  instance answers below it is behind, and an order on its way to the archive is seen in one of
 *  its homes: it leaves the store only when the archive has it. */
#ifndef ORDERD_PIPELINE_AUDIT_JUDGE_H
#define ORDERD_PIPELINE_AUDIT_JUDGE_H

#include "order/record.h"
#include "port/query_view.h"

/** X(NAME, label, what is wrong). */
#define AUDIT_KINDS(X)                                                                             \
    X(STALE, "stale", "the cache has an older version")                                            \
    X(MISSING, "missing", "the cache does not have an open order")                                 \
    X(FORGED, "forged", "the cache has what the order never was")                                  \
    X(FOREIGN, "foreign", "the cache has something that is no order")                              \
    X(ARCHIVE_LOST, "archive_lost",                                                                \
      "the archive lost a final order, and the store has it no more")                              \
    X(ARCHIVE_WRONG, "archive_wrong", "the archive has an older or a broken row")                  \
    X(TWO_HOMES, "two_homes", "store and archive both have a final order, for long")               \
    X(NO_HOME, "no_home", "neither store nor archive has the order")                               \
    X(ORPHAN, "orphan_reference", "a reference has no order, or another one")                      \
    X(CONFLICT, "conflict", "store, archive and log contradict each other")                        \
    X(VIEW_STALE, "view_stale", "a query instance answers an older version")                       \
    X(VIEW_MISSING, "view_missing", "a query instance says that there is no such order")           \
    X(VIEW_FORGED, "view_forged", "a query instance answers what the order never was")

enum audit_kind {
#define X(name, label, text) AUDIT_##name,
    AUDIT_KINDS(X)
#undef X
        AUDIT_KIND_COUNT
};

/** Kinds, one bit each. */
typedef uint32_t audit_kinds;
#define AUDIT_BIT(kind) ((audit_kinds)1 << (kind))

#define AUDIT_CACHE_KINDS                                                                          \
    (AUDIT_BIT(AUDIT_STALE) | AUDIT_BIT(AUDIT_MISSING) | AUDIT_BIT(AUDIT_FORGED) |                 \
     AUDIT_BIT(AUDIT_FOREIGN))
#define AUDIT_ROW_KINDS (AUDIT_BIT(AUDIT_ARCHIVE_LOST) | AUDIT_BIT(AUDIT_ARCHIVE_WRONG))
#define AUDIT_TIER_KINDS (AUDIT_CACHE_KINDS | AUDIT_ROW_KINDS | AUDIT_BIT(AUDIT_TWO_HOMES))
#define AUDIT_VIEW_KINDS                                                                           \
    (AUDIT_BIT(AUDIT_VIEW_STALE) | AUDIT_BIT(AUDIT_VIEW_MISSING) | AUDIT_BIT(AUDIT_VIEW_FORGED))
#define AUDIT_REPAIRED_KINDS (AUDIT_TIER_KINDS | AUDIT_VIEW_KINDS)

const char *audit_kind_label(enum audit_kind kind);
const char *audit_kind_text(enum audit_kind kind);

/** Why the checker looks at an order. */
enum audit_source {
    AUDIT_FROM_STORE,     /* a walk over the hot orders */
    AUDIT_FROM_LOG,       /* a walk over the log of changes, or a change that just came */
    AUDIT_FROM_REFERENCES /* a walk over the references */
};

/** What is known of an order before any tier is asked. From the store or its log: the order as it
 *  was; from a reference: only its id and its reference. */
struct audit_evidence {
    enum audit_source source;
    struct order_record order;
};

/** True where it tells how the order ended. */
MUST_CHECK bool audit_knows_end(const struct audit_evidence *evidence);

/** One tier's answer: result of a get, and the order where it is FOUND. Of a query instance also
 *  FOUND_STATE and UNKNOWN (query_view.h), and NONE where it was not asked. */
struct audit_answer {
    uint8_t result;
    struct order_record order;
};

/** What one look saw. */
struct audit_view {
    struct audit_answer cache;
    struct audit_answer store;
    struct audit_answer archive;
    bool by_hand; /* the archive's row has another write time than its version */
    struct audit_answer instances[QUERY_VIEWS_MAX];
};

/** The order as it is; NULL where that is not known. Points into `view` or `evidence`. */
const struct order_record *audit_truth(const struct audit_view *view,
                                       const struct audit_evidence *evidence);

/** True where the archive's row says other than how the order ended, and not less: its write time
 *  tells which of both is true. */
MUST_CHECK bool audit_doubts_row(const struct audit_view *view,
                                 const struct audit_evidence *evidence);

/** The disagreements that a look saw, before anything is known of how long they last. What did not
 *  answer, or does not know now, is not judged.
 *  @param two_homes_us how long after its last change an order may be in both homes. */
audit_kinds audit_judge(const struct audit_view *view, const struct audit_evidence *evidence,
                        int64_t now_us, int64_t two_homes_us);

/** What an answer of a query instance is against the truth: one of AUDIT_VIEW_KINDS, or 0. */
audit_kinds audit_judge_instance(const struct audit_answer *answer,
                                 const struct order_record *truth);

/** Of the disagreements that the first look saw, those that are still there at the second. An entry
 *  or an answer that is stale, but not as far behind as the first look, is only on its way. An
 *  entry that is forged anew each time stays forged: what a look reads from the cache is never
 *  ahead of what it then reads from the store. What an instance answered at the first look is
 *  forged only if it still is when compared with the truth of the second: it was asked after that
 *  of the first. */
audit_kinds audit_confirm(const struct audit_view *first, audit_kinds first_kinds,
                          const struct audit_view *second, audit_kinds second_kinds,
                          const struct audit_evidence *evidence);

/** Of AUDIT_VIEW_KINDS that the first look saw: those of instances from which the second has no
 *  answer. */
audit_kinds audit_undecided(const struct audit_view *first, const struct audit_view *second,
                            const struct audit_evidence *evidence);

#endif
