/** The checker: compares the tiers and what query instances answer, counts where they disagree,
 *  repairs by version, and measures how soon a change is everywhere. Step 6 of the command side.
 *
 *  Two halves, in one instance at a time:
 *  - The walk goes over the hot orders, the references and the log of changes at audit.per_second,
 *    a slice of each in turn, and looks each order up in the cache, the store and the archive, and
 *    then asks every query instance for it (audit_judge.h). What disagrees is a suspect; it is
 *    looked at again after audit.grace_ms. What is still the same then is counted by kind, logged
 *    with its versions and times, and repaired where the truth is known; then the query instances
 *    are told to drop it (`orders.refresh`, header `repair`). What they answered counts as repaired
 *    when they answer something else. What cannot be repaired stays on a list of alarms and is
 *    looked at now and then.
 *  - The samples: of the changes that come, up to audit.samples_per_second are followed until the
 *    cache has this or a higher version, final ones until the archive has them, and all until each
 *    query instance answers them. The time since the change gives "consistent within 1 s, 5 s,
 *    60 s". One that is not there after 60 s is looked at as a suspect.
 *
 *  Asking a query instance is reading like a client: what it does not hold it looks up, and puts
 *  into the cache. So the walk does not ask for an order that the cache lacks: while it is open,
 *  that is a disagreement, which asking would hide; and once it is final, asking for all of them
 *  would fill the cache with what nobody reads. Of those a sixteenth is asked for in each round,
 *  another one each time. An instance that does not answer, or does not know now, is counted, and
 *  never judged.
 *
 *  How a repair cannot do harm: an entry of the cache is removed only where it has the exact bytes
 *  that were judged; after that the truth is read again, and put by version, so a change that
 *  came between wins. A row of the archive is written only with a final order, which never changes.
 *  An order leaves the store only if the archive had the same bytes settle_us ago and now.
 *
 *  Memory is what was reserved at the start: AUDIT_SUSPECTS_MAX suspects; what finds no room is
 *  counted and found again by the next round.
 *
 *  A plain state machine, driven like archiver.h. */
#ifndef ORDERD_PIPELINE_AUDIT_H
#define ORDERD_PIPELINE_AUDIT_H

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "base/metrics.h"
#include "pipeline/audit_judge.h"
#include "port/archive_repair.h"
#include "port/change_log.h"
#include "port/message_topic.h"
#include "port/order_archive.h"
#include "port/order_cache.h"
#include "port/order_store.h"
#include "port/query_view.h"

#define AUDIT_OPTIONS(X)                                                                           \
    X(uint64, per_second, "1000", "1..1000000", start,                                             \
      "Orders that the walk over the tiers looks at a second")                                     \
    X(uint64, samples_per_second, "100", "1..10000", start,                                        \
      "Changes a second, at most, that are followed until every tier has them")                    \
    X(uint64, grace_ms, "10000", "1000..600000", start,                                            \
      "Time after which a disagreement is looked at again, and counts if it is still there")       \
    X(uint64, two_homes_seconds, "900", "1..86400", start,                                         \
      "Time since its last change for which a final order may be in the store and the archive")    \
    X(text, query_instances, "", "", start,                                                        \
      "Query instances whose answers are looked at, as host:port,host:port, at most 16; empty: "   \
      "none")                                                                                      \
    X(uint64, query_timeout_ms, "2000", "100..60000", start,                                       \
      "Time that a query instance has for an answer")

struct audit_options {
    AUDIT_OPTIONS(CONFIG_FIELD)
};
extern const struct config_option audit_option_table[];
extern const size_t audit_option_count;

#define AUDIT_METRICS(X)                                                                           \
    X(counter, looked_total, "Orders that were looked up in every tier")                           \
    X(counter, rounds_total, "Walks over all hot orders, references and changes")                  \
    X(counter, failures_total, "Requests that a tier did not answer; the walk comes again")        \
    X(counter, overlooked_total, "Orders that found no room among the suspects")                   \
    X(counter, passed_total, "Disagreements that were gone, or others, after the grace time")      \
    X(counter, repair_failures_total, "Repairs that a tier did not take; tried again")             \
    X(counter, messages_total, "Repairs that the query instances were told of")                    \
    X(counter, messages_lost_total, "Repairs that could not be told to the query instances")       \
    X(counter, samples_replayed_total, "Changes not followed as they had been seen before")        \
    X(counter, samples_dropped_total, "Changes given up as a tier did not answer")                 \
    X(counter, skipped_total, "Times that changes were passed over to stay with the newest")       \
    X(gauge, suspects, "Disagreements that wait for their second look")                            \
    X(gauge, alarms, "Disagreements that cannot be repaired")                                      \
    X(gauge, following, "Changes that are being followed")

struct audit_metrics {
    AUDIT_METRICS(METRIC_FIELD)
};

/** Registered once a kind, with the label `kind`. */
#define AUDIT_KIND_METRICS(X)                                                                      \
    X(counter, disagreements_total, "Disagreements between tiers that outlasted the grace time")   \
    X(counter, repaired_total, "Of these, those that were repaired")

struct audit_kind_metrics {
    AUDIT_KIND_METRICS(METRIC_FIELD)
};

/** Registered once a tier, with the label `tier`: cache, archive for final orders, and query for
 *  each query instance, which the label `instance` names. */
#define AUDIT_TIER_METRICS(X)                                                                      \
    X(counter, checked_total, "Changes of which it is known when a tier had them")                 \
    X(counter, within_1s_total, "Of these, within 1 s of the change")                              \
    X(counter, within_5s_total, "Of these, within 5 s of the change")                              \
    X(counter, within_60s_total, "Of these, within 60 s of the change")                            \
    X(histogram, lag_microseconds, "Time from a change until a tier was seen to have it")

struct audit_tier_metrics {
    AUDIT_TIER_METRICS(METRIC_FIELD)
};

/** Registered once a query instance, with the label `instance`. */
#define AUDIT_INSTANCE_METRICS(X)                                                                  \
    X(counter, asked_total, "Orders that the checker asked this query instance for")               \
    X(counter, unanswered_total, "Requests that it did not answer; nothing of them is judged")     \
    X(counter, unknown_total, "Orders that it did not know when it was asked; not judged")

struct audit_instance_metrics {
    AUDIT_INSTANCE_METRICS(METRIC_FIELD)
};

struct audit;

struct audit_parts {
    const struct audit_options *options;
    const struct clock *clock;
    struct log *log;
    struct order_store *store;
    struct order_cache *cache;
    struct order_archive *archive;
    struct archive_repair *repair;
    struct change_log *changes;
    struct topic_writer *refresh;    /* of orders.refresh */
    struct query_view *const *views; /* of query instances, not owned, `view_count` of them */
    size_t view_count;               /* at most QUERY_VIEWS_MAX */
    struct mailbox *mailbox;
    /** Time for which the archive may have acknowledged what is not on its medium. */
    int64_t settle_us;
    /** Time for which a query instance may answer an older version (memory.fill_trust_ms and
     *  memory.lag_max_ms). */
    int64_t view_lag_us;
};

/** NULL where memory is short. */
struct audit *audit_create(const struct audit_parts *parts);

/** Nothing is under way any more. */
void audit_destroy(struct audit *audit);

/** Registers everything that it counts. */
void audit_register_metrics(struct audit *audit, struct metrics *metrics);

const struct audit_metrics *audit_metrics(const struct audit *audit);
const struct audit_kind_metrics *audit_kind_metrics(const struct audit *audit,
                                                    enum audit_kind kind);

enum audit_tier {
    AUDIT_TIER_CACHE,
    AUDIT_TIER_ARCHIVE,
    AUDIT_TIER_QUERY, /* the first query instance; the others follow */
    AUDIT_TIER_COUNT = AUDIT_TIER_QUERY + QUERY_VIEWS_MAX
};
const struct audit_tier_metrics *audit_tier_metrics(const struct audit *audit,
                                                    enum audit_tier tier);

/** @param instance its place among the views. */
const struct audit_instance_metrics *audit_instance_metrics(const struct audit *audit,
                                                            size_t instance);

/** Completions that may be in the mailbox at once: the walk's, the samples' read, a poll a tier. */
#define AUDIT_OUTSTANDING_MAX (2 + AUDIT_TIER_COUNT)

/** Begins what can be begun. Returns the time, on the clock, before which there is nothing more to
 *  do unless something completes. */
int64_t audit_step(struct audit *audit);

/** Another instance does it from now on, until the next step: what is followed is given up, and the
 *  next step begins with the changes that come then. */
void audit_rest(struct audit *audit);

MUST_CHECK bool audit_is_busy(const struct audit *audit);

#endif
