/** What the commands share during one run of orderctl: how to write, and the service that was
 *  named. Made by main, used by one thread. */
#ifndef ORDERD_ORDERCTL_SESSION_H
#define ORDERD_ORDERCTL_SESSION_H

#include "orderctl/command_line.h"
#include "orderctl/metrics_text.h"
#include "orderctl/service_client.h"

#include <jansson.h>
#include <stdio.h>

struct session {
    FILE *out; /* borrowed: results */
    FILE *err; /* borrowed: what went wrong, and progress */
    bool json; /* write documents, not sentences */
    bool out_is_terminal;
    bool err_is_terminal;
    const char *server; /* as it was given */
    uint64_t timeout_ms;
    struct service_client client;
};

/** Writes `orderctl: MESSAGE` and returns `status`. */
enum exit_status session_fail(const struct session *session, enum exit_status status,
                              const char *format, ...) __attribute__((format(printf, 3, 4)));

/** One request to the service. False, with the reason written, where there was no answer: the
 *  command ends with EXIT_STATUS_UNREACHABLE. */
MUST_CHECK bool session_exchange(struct session *session, const struct service_request *request,
                                 struct service_answer *answer);

/** Asks the service for its metrics. Where they came: EXIT_STATUS_DONE; else the reason was
 * written. Release `scrape`, which has to be empty, in any case. */
MUST_CHECK enum exit_status session_scrape(struct session *session, struct metrics_scrape *scrape);

/** Writes one JSON document on a line of its own. Takes the reference over. */
void session_write_json(const struct session *session, json_t *document);

/** Shows an answer that is no success: the problem's title, detail and fields for a person, the
 *  document itself with --json. Returns EXIT_STATUS_REFUSED. */
enum exit_status session_refuse(const struct session *session, const struct service_answer *answer);

/** Parses the answer's body as a JSON object; NULL, with the reason written, where it is none. */
json_t *session_parse_object(const struct session *session, const struct service_answer *answer);

#endif
