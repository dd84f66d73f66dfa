#include "orderctl/commands.h"

#include "pipeline/audit_judge.h"

#include <math.h>

/* The limits of time, as the metrics name them. */
static const char *const limits[] = {"1s", "5s", "60s"};
#define LIMIT_COUNT ARRAY_COUNT(limits)

/* The tiers that have a value of their own; what the query instances have is summed up. */
static const char *const tiers[] = {"cache", "archive"};

#define INSTANCE_NAME_MAX 128

/** How soon a tier had the changes that were followed. */
struct consistency {
    double checks;
    double within[LIMIT_COUNT];
};

/** What the checker knows of one query instance. */
struct instance_report {
    char name[INSTANCE_NAME_MAX];
    struct consistency consistency;
    double unanswered;
    double unknown;
};

struct tally {
    double found;
    double repaired;
};

/** What the checker of one instance has counted. */
struct audit_report {
    struct consistency tiers[ARRAY_COUNT(tiers)];
    struct consistency query; /* of all instances together */
    struct instance_report instances[QUERY_VIEWS_MAX];
    size_t instance_count;
    struct tally kinds[AUDIT_KIND_COUNT];
    double looked;
    double rounds;
    double suspects;
    double alarms;
    double failures;
};

/* --- Asking. --- */

static double plain(const struct metrics_scrape *scrape, const char *name) {
    const struct metrics_sample *sample = metrics_find(scrape, name);
    return sample == NULL ? 0 : sample->value;
}

static double labelled(const struct metrics_scrape *scrape, const char *metric, const char *name,
                       const char *value) {
    double number = 0;
    return metrics_find_labelled(scrape, metric, name, value, &number) ? number : 0;
}

/** How soon whoever has the label `name`=`value` had the changes. */
static struct consistency read_consistency(const struct metrics_scrape *scrape, const char *name,
                                           const char *value) {
    struct consistency read = {.checks =
                                   labelled(scrape, "orderd_audit_checked_total", name, value)};
    for (size_t limit = 0; limit < LIMIT_COUNT; limit++) {
        char metric[64];
        (void)snprintf(metric, sizeof(metric), "orderd_audit_within_%s_total", limits[limit]);
        read.within[limit] = labelled(scrape, metric, name, value);
    }
    return read;
}

static void read_instances(const struct metrics_scrape *scrape, struct audit_report *report) {
    struct slice names[QUERY_VIEWS_MAX];
    report->instance_count = metrics_label_values(scrape, "orderd_audit_instance_asked_total",
                                                  "instance", names, QUERY_VIEWS_MAX);
    for (size_t i = 0; i < report->instance_count; i++) {
        struct instance_report *instance = &report->instances[i];
        size_t size = bytes_min_size(names[i].size, sizeof(instance->name) - 1);
        memcpy(instance->name, names[i].data, size);
        instance->consistency = read_consistency(scrape, "instance", instance->name);
        instance->unanswered =
            labelled(scrape, "orderd_audit_instance_unanswered_total", "instance", instance->name);
        instance->unknown =
            labelled(scrape, "orderd_audit_instance_unknown_total", "instance", instance->name);
        report->query.checks += instance->consistency.checks;
        for (size_t limit = 0; limit < LIMIT_COUNT; limit++) {
            report->query.within[limit] += instance->consistency.within[limit];
        }
    }
}

static void read_report(const struct metrics_scrape *scrape, struct audit_report *report) {
    for (size_t i = 0; i < ARRAY_COUNT(tiers); i++) {
        report->tiers[i] = read_consistency(scrape, "tier", tiers[i]);
    }
    read_instances(scrape, report);
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        const char *kind = audit_kind_label((enum audit_kind)i);
        report->kinds[i] = (struct tally){
            labelled(scrape, "orderd_audit_disagreements_total", "kind", kind),
            labelled(scrape, "orderd_audit_repaired_total", "kind", kind),
        };
    }
    report->looked = plain(scrape, "orderd_audit_looked_total");
    report->rounds = plain(scrape, "orderd_audit_rounds_total");
    report->suspects = plain(scrape, "orderd_audit_suspects");
    report->alarms = plain(scrape, "orderd_audit_alarms");
    report->failures = plain(scrape, "orderd_audit_failures_total");
}

static enum exit_status ask(struct session *session, struct audit_report *report) {
    struct metrics_scrape scrape = {.text = NULL};
    enum exit_status status = session_scrape(session, &scrape);
    if (status == EXIT_STATUS_DONE && metrics_find(&scrape, "orderd_audit_looked_total") == NULL) {
        status = session_fail(session, EXIT_STATUS_REFUSED,
                              "%s has no checker: ask an instance of a cluster that has the role "
                              "audit",
                              session->client.base_url);
    } else if (status == EXIT_STATUS_DONE) {
        read_report(&scrape, report);
    }
    metrics_scrape_release(&scrape);
    return status;
}

/* --- Showing. --- */

static double percent(const struct consistency *tier, size_t limit) {
    return tier->checks > 0 ? 100 * tier->within[limit] / tier->checks : 0;
}

/** 3 for 99.9 %. Where all were in time the number of checks is the limit of what is known. */
static double nines(const struct consistency *tier, size_t limit) {
    double missed = tier->checks - tier->within[limit];
    return tier->checks > 0 ? log10(tier->checks / (missed > 0 ? missed : 1)) : 0;
}

static void write_line(FILE *out, const char *name, const struct consistency *tier) {
    fprintf(out, "%-24s %12.0f", name, tier->checks);
    for (size_t limit = 0; limit < LIMIT_COUNT && tier->checks > 0; limit++) {
        bool all = tier->within[limit] >= tier->checks;
        fprintf(out, "  %10.4f %% %s%.1f nines", percent(tier, limit), all ? ">" : " ",
                nines(tier, limit));
    }
    fputc('\n', out);
}

static void write_consistency(const struct session *session, const struct audit_report *report) {
    FILE *out = session->out;
    fprintf(out, "%-24s %12s %24s %24s %24s\n", "changes", "checks", "there within 1 s", "5 s",
            "60 s");
    for (size_t i = 0; i < ARRAY_COUNT(tiers); i++) {
        write_line(out, tiers[i], &report->tiers[i]);
    }
    if (report->instance_count > 0) {
        write_line(out, "query", &report->query);
    }
    for (size_t i = 0; i < report->instance_count; i++) {
        char name[INSTANCE_NAME_MAX + 8];
        (void)snprintf(name, sizeof(name), "  %s", report->instances[i].name);
        write_line(out, name, &report->instances[i].consistency);
    }
}

/** Names the query instances of which not everything is known. */
static void write_silences(const struct session *session, const struct audit_report *report) {
    for (size_t i = 0; i < report->instance_count; i++) {
        const struct instance_report *instance = &report->instances[i];
        if (instance->unanswered > 0 || instance->unknown > 0) {
            fprintf(
                session->out,
                "%s did not answer %.0f requests, and %.0f times did not know an order; none of "
                "that is judged\n",
                instance->name, instance->unanswered, instance->unknown);
        }
    }
}

static void write_human(const struct session *session, const struct audit_report *report) {
    FILE *out = session->out;
    write_consistency(session, report);
    fprintf(out, "\n%-20s %12s %12s\n", "disagreements", "found", "repaired");
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        const struct tally *tally = &report->kinds[i];
        fprintf(out, "%-20s %12.0f %12.0f   %s\n", audit_kind_label((enum audit_kind)i),
                tally->found, tally->repaired, audit_kind_text((enum audit_kind)i));
    }
    fprintf(out,
            "\n%.0f orders looked at in %.0f rounds; %.0f disagreements wait for a second look; "
            "%.0f times a tier did not answer\n",
            report->looked, report->rounds, report->suspects, report->failures);
    write_silences(session, report);
    if (report->alarms > 0) {
        fprintf(out, "%.0f disagreements cannot be repaired: the log of the instance names them\n",
                report->alarms);
    }
}

static json_t *consistency_document(const struct consistency *tier) {
    json_t *document = json_pack("{s:I}", "checks", (json_int_t)tier->checks);
    for (size_t limit = 0; limit < LIMIT_COUNT; limit++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "within_%s", limits[limit]);
        (void)json_object_set_new(document, key,
                                  tier->checks > 0
                                      ? json_pack("{s:I, s:f, s:f}", "count",
                                                  (json_int_t)tier->within[limit], "percent",
                                                  percent(tier, limit), "nines", nines(tier, limit))
                                      : json_null());
    }
    return document;
}

static json_t *instances_document(const struct audit_report *report) {
    json_t *document = json_object();
    for (size_t i = 0; i < report->instance_count; i++) {
        const struct instance_report *instance = &report->instances[i];
        json_t *one = consistency_document(&instance->consistency);
        (void)json_object_set_new(one, "unanswered",
                                  json_integer((json_int_t)instance->unanswered));
        (void)json_object_set_new(one, "unknown", json_integer((json_int_t)instance->unknown));
        (void)json_object_set_new(document, instance->name, one);
    }
    return document;
}

static void write_document(const struct session *session, const struct audit_report *report) {
    json_t *consistency = json_object();
    json_t *kinds = json_object();
    for (size_t i = 0; i < ARRAY_COUNT(tiers); i++) {
        (void)json_object_set_new(consistency, tiers[i], consistency_document(&report->tiers[i]));
    }
    (void)json_object_set_new(consistency, "query", consistency_document(&report->query));
    for (size_t i = 0; i < AUDIT_KIND_COUNT; i++) {
        (void)json_object_set_new(kinds, audit_kind_label((enum audit_kind)i),
                                  json_pack("{s:I, s:I}", "found",
                                            (json_int_t)report->kinds[i].found, "repaired",
                                            (json_int_t)report->kinds[i].repaired));
    }
    session_write_json(
        session, json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "server",
                           session->client.base_url, "consistency", consistency, "query_instances",
                           instances_document(report), "disagreements", kinds, "orders_looked_at",
                           (json_int_t)report->looked, "rounds", (json_int_t)report->rounds,
                           "suspects", (json_int_t)report->suspects, "alarms",
                           (json_int_t)report->alarms, "unanswered", (json_int_t)report->failures));
}

static enum exit_status run_audit(struct session *session, const struct command_line *line) {
    struct audit_report report = {.looked = 0};
    (void)line;
    enum exit_status status = ask(session, &report);
    if (status != EXIT_STATUS_DONE) {
        return status;
    }
    if (session->json) {
        write_document(session, &report);
    } else {
        write_human(session, &report);
    }
    return report.alarms > 0 ? EXIT_STATUS_REFUSED : EXIT_STATUS_DONE;
}

const struct command command_audit = {
    .name = "audit",
    .positionals = "",
    .summary = "Show how far the tiers of a cluster agree",
    .details =
        "Asks an instance that has the role audit what its checker has counted since it began: "
        "how\n"
        "soon the changes that it followed were in the cache, once final in the archive, and were\n"
        "what query instances answer; and what disagreed for longer than the grace time. "
        "Instances\n"
        "take turns: ask each. \"nines\" is 3 for 99.9 %; \">\" means that every change was in\n"
        "time, and that the number of checks is all that limits it. Exit status: 1 where a\n"
        "disagreement cannot be repaired.",
    .run = run_audit,
};
