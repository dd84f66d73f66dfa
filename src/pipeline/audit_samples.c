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

/** The tier is asked at this time, or soon after it. */
static void ask_at(struct audit *audit, struct audit_sample *sample, enum audit_tier tier,
                   int64_t time_us) {
    struct audit_poll *poll = &audit->samples.polls[tier];
    sample->waits[tier].next_us = time_us;
    poll->due_us = time_us < poll->due_us ? time_us : poll->due_us;
}

static void await(struct audit *audit, struct audit_sample *sample, enum audit_tier tier,
                  int64_t now_us) {
    sample->waits[tier] = (struct audit_wait){.waits = true};
    ask_at(audit, sample, tier, now_us);
    sample->wait_count++;
    audit->samples.late_used += tier == AUDIT_TIER_ARCHIVE ? 1 : 0;
}

/** The tier is not awaited any more; when none is, the sample is free. */
static void settle(struct audit *audit, struct audit_sample *sample, enum audit_tier tier) {
    sample->waits[tier].waits = false;
    audit->samples.late_used -= tier == AUDIT_TIER_ARCHIVE ? 1 : 0;
    if (--sample->wait_count == 0) {
        audit->samples.used--;
        metric_set(&audit->metrics.following, audit->samples.used);
    }
}

static void count_lag(struct audit_tier_metrics *metrics, int64_t lag_us) {
    metric_add(&metrics->checked_total, 1);
    metric_add(&metrics->within_1s_total, lag_us <= SECOND_US ? 1 : 0);
    metric_add(&metrics->within_5s_total, lag_us <= 5 * SECOND_US ? 1 : 0);
    metric_add(&metrics->within_60s_total, lag_us <= GIVEN_UP_US ? 1 : 0);
    histogram_add(&metrics->lag_microseconds, (uint64_t)lag_us);
}

/** The tier has the change. A final one that the cache has is awaited in the archive. */
static void arrived(struct audit *audit, struct audit_sample *sample, enum audit_tier tier,
                    int64_t lag_us, int64_t now_us) {
    if (lag_us > GIVEN_UP_US && !sample->waits[tier].known) {
        /* It may have been there all the time: an old change that was told of again. */
        metric_add(&audit->metrics.samples_replayed_total, 1);
        settle(audit, sample, tier);
        return;
    }
    count_lag(&audit->tiers[tier], lag_us);
    if (tier == AUDIT_TIER_CACHE && order_status_is_final(sample->order.status) &&
        audit->samples.late_used < AUDIT_SAMPLES_MAX / 2) {
        await(audit, sample, AUDIT_TIER_ARCHIVE, now_us);
    }
    settle(audit, sample, tier);
}

static void drop(struct audit *audit, struct audit_sample *sample, enum audit_tier tier) {
    metric_add(&audit->metrics.samples_dropped_total, 1);
    settle(audit, sample, tier);
}

/** The tier has had its time. An order that the cache does not have, or that a query instance does
 *  not answer, is looked at everywhere; one that the archive does not have is in the store. */
static void missed(struct audit *audit, struct audit_sample *sample, enum audit_tier tier,
                   int64_t lag_us) {
    if (!sample->waits[tier].known) {
        drop(audit, sample, tier); /* it did not answer */
        return;
    }
    count_lag(&audit->tiers[tier], lag_us);
    if (tier != AUDIT_TIER_ARCHIVE && audit->recheck_count < AUDIT_RECHECKS_MAX) {
        audit->rechecks[audit->recheck_count++] = sample->order;
    }
    settle(audit, sample, tier);
}

/** A query instance does not answer: what is awaited from it is not counted, and what comes is not
 *  awaited from it for a moment. Else it would keep the samples from being used for others. */
static void fall_silent(struct audit *audit, struct audit_poll *poll, int64_t now_us) {
    poll->silent_until_us = now_us + AUDIT_SILENCE_PAUSE_US;
    metric_add(&audit->instances[poll->tier - AUDIT_TIER_QUERY].unanswered_total, 1);
    for (size_t i = 0; i < AUDIT_SAMPLES_MAX; i++) {
        struct audit_sample *sample = &audit->samples.samples[i];
        if (sample->waits[poll->tier].waits) {
            drop(audit, sample, poll->tier);
        }
    }
}

/** Looks whether a tier has a change now. */
static void judge_answer(struct audit *audit, struct audit_sample *sample, enum audit_tier tier,
                         uint8_t result, uint32_t version, int64_t now_us) {
    struct audit_wait *wait = &sample->waits[tier];
    int64_t lag_us = now_us - sample->order.updated_at_us;
    lag_us = lag_us > 0 ? lag_us : 0;
    bool found = result == ORDER_RESULT_FOUND || result == ORDER_RESULT_FOUND_STATE;
    if (found && version >= sample->order.version) {
        arrived(audit, sample, tier, lag_us, now_us);
        return;
    }
    wait->known = result != ORDER_RESULT_UNAVAILABLE && result != ORDER_RESULT_UNKNOWN;
    if (lag_us > GIVEN_UP_US) {
        missed(audit, sample, tier, lag_us);
        return;
    }
    int64_t pause_us = lag_us / 8;
    pause_us = pause_us < POLL_PAUSE_US_MIN ? POLL_PAUSE_US_MIN : pause_us;
    pause_us = pause_us > POLL_PAUSE_US_MAX ? POLL_PAUSE_US_MAX : pause_us;
    ask_at(audit, sample, tier, now_us + pause_us);
}

static void ask(struct audit_poll *poll, bool asked) {
    for (size_t i = 0; i < poll->get.count; i++) {
        poll->samples[i]->waits[poll->tier].asked = asked;
    }
    poll->busy = asked;
}

static void polled(struct port_request *request) {
    struct audit_poll *poll = CONTAINER_OF(request, struct audit_poll, get.request);
    struct audit *audit = poll->audit;
    int64_t now_us = clock_now_us(audit->parts.clock);
    bool is_instance = poll->tier >= AUDIT_TIER_QUERY;
    ask(poll, false);
    if (is_instance && poll->results[0] == ORDER_RESULT_UNAVAILABLE) {
        fall_silent(audit, poll, now_us);
        return;
    }
    for (size_t i = 0; i < poll->get.count; i++) {
        if (is_instance && poll->results[i] == ORDER_RESULT_UNKNOWN) {
            metric_add(&audit->instances[poll->tier - AUDIT_TIER_QUERY].unknown_total, 1);
        }
        judge_answer(audit, poll->samples[i], poll->tier, poll->results[i], poll->orders[i].version,
                     now_us);
    }
}

/* --- Asking. --- */

static enum port_submit submit_poll(struct audit *audit, struct audit_poll *poll) {
    const struct audit_parts *parts = &audit->parts;
    switch (poll->tier) {
    case AUDIT_TIER_CACHE:
        return parts->cache->ops->get(parts->cache, &poll->get);
    case AUDIT_TIER_ARCHIVE:
        return parts->archive->ops->get(parts->archive, &poll->get);
    default: {
        size_t instance = poll->tier - AUDIT_TIER_QUERY;
        struct query_view *view = parts->views[instance];
        enum port_submit said = view->ops->states(view, &poll->get);
        metric_add(&audit->instances[instance].asked_total,
                   said == PORT_TAKEN ? poll->get.count : 0);
        return said;
    }
    }
}

/** Collects what is due, and finds out when something is due next. */
static void gather(struct audit *audit, struct audit_poll *poll, int64_t now_us) {
    poll->get.count = 0;
    poll->due_us = INT64_MAX;
    for (size_t i = 0; i < AUDIT_SAMPLES_MAX; i++) {
        struct audit_sample *sample = &audit->samples.samples[i];
        const struct audit_wait *wait = &sample->waits[poll->tier];
        if (!wait->waits) {
            continue;
        }
        if (wait->next_us <= now_us && poll->get.count < AUDIT_POLL_MAX) {
            poll->samples[poll->get.count] = sample;
            poll->ids[poll->get.count++] = sample->order.order_id;
        } else if (wait->next_us < poll->due_us) {
            poll->due_us = wait->next_us;
        }
    }
}

/** Asks a tier for what is due. Returns when something is due next. */
static int64_t step_poll(struct audit *audit, struct audit_poll *poll, int64_t now_us) {
    if (poll->busy) {
        return INT64_MAX;
    }
    if (now_us < poll->due_us) {
        return poll->due_us;
    }
    gather(audit, poll, now_us);
    if (poll->get.count == 0) {
        return poll->due_us;
    }
    ask(poll, true); /* it may be done before the submission returns */
    if (submit_poll(audit, poll) == PORT_TAKEN) {
        return INT64_MAX;
    }
    ask(poll, false);
    poll->due_us = now_us + AUDIT_BUSY_PAUSE_US;
    return poll->due_us;
}

/** How many tiers there are, the query instances among them. */
static size_t tier_count(const struct audit *audit) {
    return AUDIT_TIER_QUERY + audit->parts.view_count;
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

/** Follows a change in the cache, and at every query instance that answers. */
static void begin_sample(struct audit *audit, struct audit_sample *sample,
                         const struct order_record *order, int64_t now_us) {
    *sample = (struct audit_sample){.order = *order};
    await(audit, sample, AUDIT_TIER_CACHE, now_us);
    for (size_t tier = AUDIT_TIER_QUERY; tier < tier_count(audit); tier++) {
        if (now_us >= audit->samples.polls[tier].silent_until_us) {
            await(audit, sample, (enum audit_tier)tier, now_us);
        }
    }
    audit->samples.used++;
    metric_set(&audit->metrics.following, audit->samples.used);
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
        if (samples->samples[i].wait_count == 0) {
            begin_sample(audit, &samples->samples[i], order, now_us);
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
    for (size_t tier = 0; tier < tier_count(audit); tier++) {
        int64_t poll_us = step_poll(audit, &audit->samples.polls[tier], now_us);
        next_us = poll_us < next_us ? poll_us : next_us;
    }
    return next_us;
}

bool audit_samples_are_busy(const struct audit *audit) {
    const struct audit_samples *samples = &audit->samples;
    for (size_t tier = 0; tier < tier_count(audit); tier++) {
        if (samples->polls[tier].busy) {
            return true;
        }
    }
    return samples->reading;
}

/** Gives up what nobody is asked for at this moment. */
static void give_up(struct audit *audit, struct audit_sample *sample) {
    for (size_t tier = 0; sample->wait_count > 0 && tier < tier_count(audit); tier++) {
        if (sample->waits[tier].waits && !sample->waits[tier].asked) {
            settle(audit, sample, (enum audit_tier)tier);
        }
    }
}

void audit_samples_rest(struct audit *audit) {
    struct audit_samples *samples = &audit->samples;
    samples->begun = false;
    for (size_t i = 0; samples->used > 0 && i < AUDIT_SAMPLES_MAX; i++) {
        give_up(audit, &samples->samples[i]);
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
        poll->tier = (enum audit_tier)tier;
        poll->due_us = INT64_MAX;
        poll->audit = audit;
        poll->get = (struct order_get_batch){
            .request = {.done = polled, .mailbox = audit->parts.mailbox},
            .order_ids = poll->ids,
            .orders = poll->orders,
            .results = poll->results,
        };
    }
}
