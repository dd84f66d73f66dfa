#include "pipeline/audit_internal.h"

#define SECOND_US 1000000
#define GIVEN_UP_US (60 * SECOND_US)

/* Between two reads of the log, and how often the allowance is renewed. */
#define READ_PAUSE_US 20000
#define WINDOW_US 100000

/* Between two polls of one change: short at first, then in proportion to its age. */
#define POLL_PAUSE_US_MIN 20000
#define POLL_PAUSE_US_MAX (2 * SECOND_US)

/* --- What a sample comes to. --- */

static void forget(struct audit *audit, struct audit_sample *sample) {
    audit->samples.late_used -= sample->tier == AUDIT_TIER_ARCHIVE ? 1 : 0;
    *sample = (struct audit_sample){.used = false};
    audit->samples.used--;
    metric_set(&audit->metrics.following, audit->samples.used);
}

static void count_lag(struct audit_tier_metrics *metrics, int64_t lag_us) {
    metric_add(&metrics->checked_total, 1);
    metric_add(&metrics->within_1s_total, lag_us <= SECOND_US ? 1 : 0);
    metric_add(&metrics->within_5s_total, lag_us <= 5 * SECOND_US ? 1 : 0);
    metric_add(&metrics->within_60s_total, lag_us <= GIVEN_UP_US ? 1 : 0);
    histogram_add(&metrics->lag_microseconds, (uint64_t)lag_us);
}

/** The tier has the change: the next tier, or the end. */
static void arrived(struct audit *audit, struct audit_sample *sample, int64_t lag_us,
                    int64_t now_us) {
    if (lag_us > GIVEN_UP_US && !sample->known) {
        /* It may have been there all the time: an old change that was told of again. */
        metric_add(&audit->metrics.samples_replayed_total, 1);
        forget(audit, sample);
        return;
    }
    count_lag(&audit->tiers[sample->tier], lag_us);
    if (sample->tier == AUDIT_TIER_CACHE && order_status_is_final(sample->order.status) &&
        audit->samples.late_used < AUDIT_SAMPLES_MAX / 2) {
        audit->samples.late_used++;
        sample->tier = AUDIT_TIER_ARCHIVE;
        sample->known = false;
        sample->next_us = now_us;
    } else {
        forget(audit, sample);
    }
}

/** The tier has had its time. An order that the cache does not have is looked at in every tier; one
 *  that the archive does not have is in the store. */
static void missed(struct audit *audit, struct audit_sample *sample, int64_t lag_us) {
    if (!sample->known) {
        metric_add(&audit->metrics.samples_dropped_total, 1); /* it did not answer */
        forget(audit, sample);
        return;
    }
    count_lag(&audit->tiers[sample->tier], lag_us);
    if (sample->tier == AUDIT_TIER_CACHE && audit->recheck_count < AUDIT_RECHECKS_MAX) {
        audit->rechecks[audit->recheck_count++] = sample->order;
    }
    forget(audit, sample);
}

static void polled(struct port_request *request) {
    struct audit_poll *poll = CONTAINER_OF(request, struct audit_poll, get.request);
    struct audit *audit = poll->audit;
    int64_t now_us = clock_now_us(audit->parts.clock);
    poll->busy = false;
    for (size_t i = 0; i < poll->get.count; i++) {
        struct audit_sample *sample = poll->samples[i];
        int64_t lag_us = now_us - sample->order.updated_at_us;
        lag_us = lag_us > 0 ? lag_us : 0;
        sample->asked = false;
        if (poll->results[i] == ORDER_RESULT_FOUND &&
            poll->orders[i].version >= sample->order.version) {
            arrived(audit, sample, lag_us, now_us);
            continue;
        }
        sample->known = poll->results[i] != ORDER_RESULT_UNAVAILABLE;
        if (lag_us > GIVEN_UP_US) {
            missed(audit, sample, lag_us);
            continue;
        }
        int64_t pause_us = lag_us / 8;
        pause_us = pause_us < POLL_PAUSE_US_MIN ? POLL_PAUSE_US_MIN : pause_us;
        sample->next_us = now_us + (pause_us > POLL_PAUSE_US_MAX ? POLL_PAUSE_US_MAX : pause_us);
    }
}

/* --- Asking. --- */

static enum port_submit submit_poll(struct audit *audit, enum audit_tier tier) {
    struct order_get_batch *get = &audit->samples.polls[tier].get;
    return tier == AUDIT_TIER_CACHE ? audit->parts.cache->ops->get(audit->parts.cache, get)
                                    : audit->parts.archive->ops->get(audit->parts.archive, get);
}

static void ask(struct audit_poll *poll, bool asked) {
    for (size_t i = 0; i < poll->get.count; i++) {
        poll->samples[i]->asked = asked;
    }
    poll->busy = asked;
}

/** Asks a tier for what is due. Returns when something is due next. */
static int64_t step_poll(struct audit *audit, enum audit_tier tier, int64_t now_us) {
    struct audit_poll *poll = &audit->samples.polls[tier];
    int64_t next_us = INT64_MAX;
    if (poll->busy || audit->samples.used == 0) {
        return INT64_MAX;
    }
    poll->get.count = 0;
    for (size_t i = 0; i < AUDIT_SAMPLES_MAX; i++) {
        struct audit_sample *sample = &audit->samples.samples[i];
        if (!sample->used || sample->tier != tier) {
            continue;
        }
        if (sample->next_us <= now_us && poll->get.count < AUDIT_POLL_MAX) {
            poll->samples[poll->get.count] = sample;
            poll->ids[poll->get.count++] = sample->order.order_id;
        } else if (sample->next_us < next_us) {
            next_us = sample->next_us;
        }
    }
    if (poll->get.count == 0) {
        return next_us;
    }
    ask(poll, true); /* it may be done before the submission returns */
    if (submit_poll(audit, tier) == PORT_TAKEN) {
        return INT64_MAX;
    }
    ask(poll, false);
    return now_us + AUDIT_BUSY_PAUSE_US;
}

/* --- Reading. --- */

/** True where this version of the order, or a later one, came before. */
static bool was_seen(struct audit_samples *samples, const struct order_record *order) {
    uint64_t mixed = order->order_id * UINT64_C(0x9e3779b97f4a7c15);
    struct audit_seen *seen = &samples->seen[mixed >> 52 & (AUDIT_SEEN_MAX - 1)];
    if (seen->order_id == order->order_id && seen->version >= order->version) {
        return true;
    }
    *seen = (struct audit_seen){order->order_id, order->version};
    return false;
}

static void follow(struct audit *audit, const struct order_record *order, int64_t now_us) {
    struct audit_samples *samples = &audit->samples;
    if (was_seen(samples, order)) {
        metric_add(&audit->metrics.samples_replayed_total, 1);
        return;
    }
    if (samples->allowance == 0 || samples->used == AUDIT_SAMPLES_MAX) {
        return;
    }
    samples->allowance--;
    for (size_t i = 0; i < AUDIT_SAMPLES_MAX; i++) {
        if (!samples->samples[i].used) {
            samples->samples[i] = (struct audit_sample){
                .used = true, .tier = AUDIT_TIER_CACHE, .next_us = now_us, .order = *order};
            samples->used++;
            metric_set(&audit->metrics.following, samples->used);
            return;
        }
    }
}

static void changes_read(struct port_request *request) {
    struct audit *audit = CONTAINER_OF(request, struct audit, samples.read.request);
    struct audit_samples *samples = &audit->samples;
    int64_t now_us = clock_now_us(audit->parts.clock);
    samples->reading = false;
    samples->read_at_us = now_us + READ_PAUSE_US;
    if (samples->read.result != CHANGE_READ_OK) {
        samples->begun = samples->begun && samples->read.result == CHANGE_READ_UNAVAILABLE;
        samples->read_at_us = now_us + AUDIT_FAILURE_PAUSE_US;
        metric_add(&audit->metrics.failures_total, 1);
        return;
    }
    if (now_us >= samples->window_end_us) {
        samples->allowance = audit->parts.options->samples_per_second * WINDOW_US / SECOND_US;
        samples->allowance = samples->allowance == 0 ? 1 : samples->allowance;
        samples->window_end_us = now_us + WINDOW_US;
    }
    for (size_t i = 0; i < samples->read.count; i++) {
        follow(audit, &samples->orders[i], now_us);
    }
    if (samples->read.count == samples->read.limit) {
        samples->begun = false; /* there is more than is looked at: on with the newest */
        metric_add(&audit->metrics.skipped_total, 1);
    }
}

static int64_t step_read(struct audit *audit, int64_t now_us) {
    struct audit_samples *samples = &audit->samples;
    struct change_log *log = audit->parts.changes;
    if (samples->reading) {
        return INT64_MAX;
    }
    if (now_us < samples->read_at_us) {
        return samples->read_at_us;
    }
    if (!samples->begun) {
        log->ops->newest(log, &samples->read.after);
        samples->begun = true;
    }
    samples->reading = true; /* it may be done before the submission returns */
    samples->read.count = 0;
    if (log->ops->read(log, &samples->read) == PORT_TAKEN) {
        return INT64_MAX;
    }
    samples->reading = false;
    samples->read_at_us = now_us + AUDIT_BUSY_PAUSE_US;
    return samples->read_at_us;
}

/* --- The whole. --- */

int64_t audit_samples_step(struct audit *audit, int64_t now_us) {
    int64_t next_us = step_read(audit, now_us);
    for (size_t tier = 0; tier < AUDIT_TIER_COUNT; tier++) {
        int64_t poll_us = step_poll(audit, (enum audit_tier)tier, now_us);
        next_us = poll_us < next_us ? poll_us : next_us;
    }
    return next_us;
}

bool audit_samples_are_busy(const struct audit *audit) {
    const struct audit_samples *samples = &audit->samples;
    return samples->reading || samples->polls[AUDIT_TIER_CACHE].busy ||
           samples->polls[AUDIT_TIER_ARCHIVE].busy;
}

void audit_samples_rest(struct audit *audit) {
    struct audit_samples *samples = &audit->samples;
    samples->begun = false;
    for (size_t i = 0; samples->used > 0 && i < AUDIT_SAMPLES_MAX; i++) {
        if (samples->samples[i].used && !samples->samples[i].asked) {
            forget(audit, &samples->samples[i]);
        }
    }
}

void audit_samples_prepare(struct audit *audit) {
    struct audit_samples *samples = &audit->samples;
    samples->read = (struct change_read_batch){
        .request = {.done = changes_read, .mailbox = audit->parts.mailbox},
        .limit = AUDIT_READ_MAX,
        .orders = samples->orders,
        .positions = samples->positions,
        .parts = samples->parts,
    };
    for (size_t tier = 0; tier < AUDIT_TIER_COUNT; tier++) {
        struct audit_poll *poll = &samples->polls[tier];
        poll->audit = audit;
        poll->get = (struct order_get_batch){
            .request = {.done = polled, .mailbox = audit->parts.mailbox},
            .order_ids = poll->ids,
            .orders = poll->orders,
            .results = poll->results,
        };
    }
}
