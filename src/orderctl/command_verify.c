#include "orderctl/commands.h"

#include "base/clock.h"
#include "orderctl/verify.h"

#include <stdlib.h>

#define WINDOW_SECONDS_DEFAULT 2592000
#define WINDOW_SECONDS_MAX 3153600000
#define MICROSECONDS 1000000

enum { VERIFY_WINDOW };

static const struct command_option verify_options[] = {
    [VERIFY_WINDOW] = {"window", "SECONDS", OPTION_NUMBER, false, 1, WINDOW_SECONDS_MAX,
                       WINDOW_SECONDS_DEFAULT,
                       "The service's order.idempotency_window_seconds (2592000)"},
};

static const char *const status_words[] = {"clean", "damaged", "in use", "unreadable"};

/* --- For machines. --- */

static void set_count(json_t *object, const char *name, uint64_t count) {
    (void)json_object_set_new(object, name, json_integer((json_int_t)count));
}

static json_t *statuses_document(const uint64_t counts[ORDER_STATUS_COUNT]) {
    json_t *object = json_object();
    for (unsigned status = ORDER_STATUS_PENDING; status < ORDER_STATUS_COUNT; status++) {
        set_count(object, order_status_name(status), counts[status]);
    }
    return object;
}

static json_t *finding_document(const struct verify_finding *finding) {
    char order_id[24];
    json_t *object =
        json_pack("{s:s, s:s}", "kind", verify_kind_name(finding->kind), "text", finding->text);
    if (finding->file[0] != 0) {
        (void)json_object_set_new(object, "file", json_string(finding->file));
        set_count(object, "offset", finding->offset);
    }
    if (finding->order_id != 0) {
        (void)snprintf(order_id, sizeof(order_id), "%llu", (unsigned long long)finding->order_id);
        (void)json_object_set_new(object, "order_id", json_string(order_id));
    }
    return object;
}

static json_t *findings_document(const struct verify_report *report) {
    json_t *array = json_array();
    for (size_t i = 0; i < report->kept; i++) {
        (void)json_array_append_new(array, finding_document(&report->findings[i]));
    }
    return array;
}

static json_t *kinds_document(const struct verify_report *report) {
    json_t *object = json_object();
    for (unsigned kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        if (report->counts[kind] > 0) {
            set_count(object, verify_kind_name((enum verify_kind)kind), report->counts[kind]);
        }
    }
    return object;
}

static json_t *torn_document(const struct verify_report *report) {
    return report->torn ? json_pack("{s:s, s:I}", "file", report->torn_file, "offset",
                                    (json_int_t)report->torn_offset)
                        : json_null();
}

static void write_document(const struct session *session, const char *data_dir,
                           enum verify_status status, const struct verify_report *report) {
    json_t *document = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "data_dir", data_dir, "result", status_words[status],
        "findings", findings_document(report), "finding_kinds", kinds_document(report),
        "hot_by_status", statuses_document(report->hot_by_status), "archived_by_status",
        statuses_document(report->archived_by_status), "torn_tail", torn_document(report));
    set_count(document, "finding_count", report->finding_count);
    set_count(document, "hot", report->hot);
    set_count(document, "archived", report->archived);
    set_count(document, "in_transit", report->in_transit);
    set_count(document, "orders", report->hot + report->archived - report->in_transit);
    set_count(document, "references", report->references);
    set_count(document, "segments", report->segments);
    set_count(document, "segment_bytes", report->segment_bytes);
    set_count(document, "frames", report->frames);
    set_count(document, "first_frame", report->first_sequence);
    set_count(document, "last_frame", report->last_sequence);
    set_count(document, "changes", report->changes);
    set_count(document, "releases", report->releases);
    set_count(document, "checkpoint_frame", report->checkpoint_sequence);
    set_count(document, "checkpoint_orders", report->checkpoint_orders);
    session_write_json(session, document);
}

/** The document of a directory that was not looked into. */
static void write_refusal(const struct session *session, const char *data_dir,
                          enum verify_status status, const struct fault *fault) {
    session_write_json(session, json_pack("{s:s, s:s, s:s}", "data_dir", data_dir, "result",
                                          status_words[status], "detail", fault->text));
}

/* --- For a person. --- */

static void write_statuses(FILE *out, const char *title, uint64_t total,
                           const uint64_t counts[ORDER_STATUS_COUNT]) {
    fprintf(out, "%-12s %12llu", title, (unsigned long long)total);
    const char *separator = "   ";
    for (unsigned status = ORDER_STATUS_PENDING; status < ORDER_STATUS_COUNT; status++) {
        if (counts[status] > 0) {
            fprintf(out, "%s%s %llu", separator, order_status_name(status),
                    (unsigned long long)counts[status]);
            separator = ", ";
        }
    }
    fputc('\n', out);
}

static void write_finding(FILE *out, const struct verify_finding *finding) {
    fprintf(out, "  %s", verify_kind_name(finding->kind));
    if (finding->file[0] != 0) {
        fprintf(out, "  %s", finding->file);
    }
    if (finding->offset != 0) {
        fprintf(out, "  offset %llu", (unsigned long long)finding->offset);
    }
    if (finding->order_id != 0) {
        fprintf(out, "  order %llu", (unsigned long long)finding->order_id);
    }
    fprintf(out, ": %s\n", finding->text);
}

static void write_summary(const struct session *session, const struct verify_report *report) {
    FILE *out = session->out;
    write_statuses(out, "hot", report->hot, report->hot_by_status);
    write_statuses(out, "archived", report->archived, report->archived_by_status);
    fprintf(out, "%-12s %12llu   hot and archived, alike\n", "in transit",
            (unsigned long long)report->in_transit);
    fprintf(out, "%-12s %12llu\n", "references", (unsigned long long)report->references);
    fprintf(out, "%-12s %12llu   %llu bytes, frames %llu to %llu, %llu changes, %llu left\n",
            "segments", (unsigned long long)report->segments,
            (unsigned long long)report->segment_bytes, (unsigned long long)report->first_sequence,
            (unsigned long long)report->last_sequence, (unsigned long long)report->changes,
            (unsigned long long)report->releases);
    if (report->checkpoint_sequence != 0) {
        fprintf(out, "%-12s %12llu   of frame %llu\n", "checkpoint",
                (unsigned long long)report->checkpoint_orders,
                (unsigned long long)report->checkpoint_sequence);
    }
    if (report->torn) {
        fprintf(out, "torn tail: %s, offset %llu: never acknowledged, no damage\n",
                report->torn_file, (unsigned long long)report->torn_offset);
    }
    if (!report->locked) {
        fputs("there is no lock file: nothing kept a service out meanwhile\n", out);
    }
    if (report->finding_count == 0) {
        fputs("no damage found\n", out);
        return;
    }
    fprintf(out, "%llu findings%s\n", (unsigned long long)report->finding_count,
            report->finding_count > report->kept ? ", the first of them:" : ":");
    for (size_t i = 0; i < report->kept; i++) {
        write_finding(out, &report->findings[i]);
    }
}

static enum exit_status exit_status_of(enum verify_status status) {
    switch (status) {
    case VERIFY_CLEAN:
        return EXIT_STATUS_DONE;
    case VERIFY_DAMAGED:
    case VERIFY_IN_USE:
        return EXIT_STATUS_REFUSED;
    case VERIFY_UNREADABLE:
        break;
    }
    return EXIT_STATUS_UNREACHABLE;
}

static enum exit_status run_verify(struct session *session, const struct command_line *line) {
    struct fault fault;
    struct verify_options options = {
        .data_dir = line->positionals[0],
        .window_us = (int64_t)command_number(line, VERIFY_WINDOW) * MICROSECONDS,
        .now_us = clock_wall_us(),
    };
    struct verify_report *report = malloc(sizeof(*report));
    if (report == NULL) {
        return session_fail(session, EXIT_STATUS_UNREACHABLE, "no memory");
    }
    enum verify_status status = verify_run(&options, report, &fault);
    if (status == VERIFY_IN_USE || status == VERIFY_UNREADABLE) {
        (void)session_fail(session, exit_status_of(status), "%s", fault.text);
        if (session->json) {
            write_refusal(session, options.data_dir, status, &fault);
        }
    } else if (session->json) {
        write_document(session, options.data_dir, status, report);
    } else {
        write_summary(session, report);
    }
    free(report);
    return exit_status_of(status);
}

const struct command command_verify = {
    .name = "verify",
    .positionals = "DATA_DIR",
    .summary = "Check a data directory that no orderd uses",
    .details =
        "Reads the journal, the checkpoint and the archive whole, holds them against each other\n"
        "and writes nothing. Exit status: 0 no damage, 1 damage or in use, 3 no data directory.\n"
        "Where the service runs with another idempotency window, say so with --window.",
    .positional_min = 1,
    .positional_max = 1,
    .options = verify_options,
    .option_count = ARRAY_COUNT(verify_options),
    .offline = true,
    .run = run_verify,
};
