#include "orderctl/session.h"

#include "orderctl/problem.h"

#include <stdarg.h>
#include <stdlib.h>

#define PROBLEM_TEXT_MAX 8192
#define BODY_SHOWN_MAX 200
#define REAL_DIGITS 9

enum exit_status session_fail(const struct session *session, enum exit_status status,
                              const char *format, ...) {
    char message[PROBLEM_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fputs("orderctl: ", session->err);
    problem_write_safe(slice_from_text(message), session->err);
    fputc('\n', session->err);
    return status;
}

bool session_exchange(struct session *session, const struct service_request *request,
                      struct service_answer *answer) {
    struct fault fault;
    if (service_client_exchange(&session->client, request, answer, &fault)) {
        return true;
    }
    (void)session_fail(session, EXIT_STATUS_UNREACHABLE, "%s", fault.text);
    return false;
}

void session_write_json(const struct session *session, json_t *document) {
    (void)json_dumpf(document, session->out, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS));
    fputc('\n', session->out);
    json_decref(document);
}

enum exit_status session_refuse(const struct session *session,
                                const struct service_answer *answer) {
    char memory[PROBLEM_TEXT_MAX];
    struct text text = text_over(memory, sizeof(memory));
    json_t *problem =
        answer->body == NULL ? NULL : json_loadb(answer->body, answer->body_size, 0, NULL);
    if (json_is_object(problem)) {
        problem_describe(problem, answer->status, "\n  ", &text);
    } else {
        text_append_format(&text, "the service answered %ld", answer->status);
    }
    if (answer->retry_after_seconds > 0) {
        text_append_format(&text, "\n  try again in %llu s",
                           (unsigned long long)answer->retry_after_seconds);
    }
    if (session->json && json_is_object(problem)) {
        session_write_json(session, json_incref(problem));
    }
    (void)session_fail(session, EXIT_STATUS_REFUSED, "%.*s", (int)text.size, text.data);
    json_decref(problem);
    return EXIT_STATUS_REFUSED;
}

json_t *session_parse_object(const struct session *session, const struct service_answer *answer) {
    json_error_t error;
    json_t *object =
        answer->body == NULL ? NULL : json_loadb(answer->body, answer->body_size, 0, &error);
    if (json_is_object(object)) {
        return object;
    }
    json_decref(object);
    (void)session_fail(session, EXIT_STATUS_REFUSED, "%s did not answer with an object: %.*s",
                       session->client.base_url,
                       (int)bytes_min_size(answer->body_size, BODY_SHOWN_MAX),
                       answer->body == NULL ? "" : answer->body);
    return NULL;
}

enum exit_status session_scrape(struct session *session, struct metrics_scrape *scrape) {
    struct service_answer answer;
    struct service_request request = {.target = "/metrics"};
    if (!session_exchange(session, &request, &answer)) {
        return EXIT_STATUS_UNREACHABLE;
    }
    enum exit_status status = EXIT_STATUS_DONE;
    struct slice body = {answer.body == NULL ? "" : answer.body, answer.body_size};
    if (answer.status != 200) {
        status = session_refuse(session, &answer);
    } else if (!metrics_scrape_read(scrape, body)) {
        status = session_fail(session, EXIT_STATUS_UNREACHABLE, "no memory");
    }
    service_answer_release(&answer);
    return status;
}
