#include "orderctl/commands.h"

#include "base/clock.h"
#include "orderctl/backoff.h"
#include "orderctl/import_batch.h"
#include "orderctl/problem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FLIGHTS_MAX 64
#define BACKOFF_FIRST_MS 200
#define BACKOFF_LIMIT_MS 5000
#define RETRIES_DEFAULT 8
#define RETRIES_MAX 1000
#define PROGRESS_EVERY_US 200000
#define POLL_MS_MAX 200
#define LINE_TEXT_MAX 4096
#define HTTP_OK 200
#define HTTP_TOO_MANY_REQUESTS 429
#define HTTP_UNAVAILABLE 503
#define CODE_EXISTS 200
#define CODE_CREATED 201

enum { IMPORT_PARALLEL, IMPORT_RETRIES };

static const struct command_option import_options[] = {
    [IMPORT_PARALLEL] = {"parallel", "N", OPTION_NUMBER, false, 1, FLIGHTS_MAX, 4,
                         "Batches on their way at once (4)"},
    [IMPORT_RETRIES] = {"retries", "N", OPTION_NUMBER, false, 0, RETRIES_MAX, RETRIES_DEFAULT,
                        "How often lines are sent again in a row (8)"},
};

enum flight_state {
    FLIGHT_EMPTY,
    FLIGHT_SENT,
    FLIGHT_WAITS /* for `resend_at_us` */
};

/** A batch, and the request that carries it. */
struct flight {
    enum flight_state state;
    struct import_batch batch;
    CURL *curl;                 /* owned */
    struct curl_slist *headers; /* owned while sent */
    struct service_answer answer;
    struct backoff backoff;
    int64_t resend_at_us;
};

struct import {
    struct session *session;
    struct import_source source;
    CURLM *multi; /* owned */
    struct flight flights[FLIGHTS_MAX];
    size_t flight_count;
    struct random_source random;
    bool answered;             /* the service has answered at least once */
    enum exit_status given_up; /* EXIT_STATUS_DONE: it is not */
    struct fault fault;        /* why it was given up */
    int64_t begin_us;
    int64_t progress_at_us;
    uint64_t created;
    uint64_t existing;
    uint64_t refused;
    uint64_t resent;
};

/* --- What became of the lines. --- */

static void report_refused(const struct import *import, const struct import_outcome *outcome) {
    const struct session *session = import->session;
    char memory[LINE_TEXT_MAX];
    struct text text = text_over(memory, sizeof(memory));
    if (session->json) {
        json_t *document = json_pack("{s:I, s:i}", "line", (json_int_t)outcome->line_number, "code",
                                     outcome->code);
        if (outcome->problem != NULL) {
            (void)json_object_set(document, "problem", outcome->problem);
        }
        session_write_json(session, document);
        return;
    }
    problem_describe(outcome->problem, outcome->code, "; ", &text);
    fprintf(session->out, "line %llu: ", (unsigned long long)outcome->line_number);
    problem_write_safe(text_slice(&text), session->out);
    fputc('\n', session->out);
}

static void settle(void *context, const struct import_outcome *outcome) {
    struct import *import = context;
    if (outcome->code == CODE_CREATED) {
        import->created++;
    } else if (outcome->code == CODE_EXISTS) {
        import->existing++;
    } else {
        import->refused++;
        report_refused(import, outcome);
    }
}

/** Everything that is left in the batch is refused, each line with the same problem. */
static void refuse_rest(struct import *import, struct flight *flight, int code, json_t *problem) {
    struct import_batch *batch = &flight->batch;
    for (size_t i = 0; i < batch->line_count; i++) {
        struct import_outcome outcome = {batch->lines[i].number, code, problem};
        settle(import, &outcome);
    }
    batch->line_count = 0;
    batch->size = 0;
}

/* --- Sending. --- */

static void send_batch(struct import *import, struct flight *flight) {
    struct service_request request = {
        .method = "POST",
        .target = "/v1/batch/orders",
        .content_type = "application/x-ndjson",
        .body = {flight->batch.text, flight->batch.size},
    };
    flight->headers = service_client_prepare(&import->session->client, flight->curl, &request);
    service_answer_attach(&flight->answer, flight->curl);
    curl_easy_setopt(flight->curl, CURLOPT_PRIVATE, flight);
    flight->state = FLIGHT_SENT;
    (void)curl_multi_add_handle(import->multi, flight->curl);
}

/** The batch goes again after a pause; false where it went often enough. */
static bool send_again_later(struct import *import, struct flight *flight, uint64_t at_least_ms) {
    uint64_t wait_ms;
    if (!backoff_next(&flight->backoff, &import->random, at_least_ms, &wait_ms)) {
        return false;
    }
    import->resent += flight->batch.line_count;
    flight->resend_at_us = clock_monotonic_us() + (int64_t)wait_ms * 1000;
    flight->state = FLIGHT_WAITS;
    return true;
}

static void give_up(struct import *import, enum exit_status status, const char *reason) {
    if (import->given_up == EXIT_STATUS_DONE) {
        import->given_up = status;
        fault_set(&import->fault, "%s", reason);
    }
}

/** There was no answer. References make it safe to send the same lines again. */
static void take_failure(struct import *import, struct flight *flight, CURLcode code) {
    struct fault fault;
    service_client_explain(&import->session->client, code, &fault);
    bool never_there =
        !import->answered && (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST);
    if (never_there || !send_again_later(import, flight, 0)) {
        give_up(import, EXIT_STATUS_UNREACHABLE, fault.text);
    }
}

static void take_answer(struct import *import, struct flight *flight) {
    const struct service_answer *answer = &flight->answer;
    uint64_t asked_ms = bytes_min_u64(answer->retry_after_seconds * 1000, BACKOFF_LIMIT_MS);
    struct slice body = {answer->body, answer->body_size};
    import->answered = true;
    bool busy = answer->status == HTTP_UNAVAILABLE || answer->status == HTTP_TOO_MANY_REQUESTS;
    json_t *problem = NULL;
    if (answer->status == HTTP_OK) {
        size_t before = flight->batch.line_count;
        if (!import_batch_judge(&flight->batch, body, settle, import)) {
            give_up(import, EXIT_STATUS_REFUSED,
                    "the service did not answer one line for each that it got");
            return;
        }
        if (flight->batch.line_count < before) {
            backoff_reset(&flight->backoff);
        }
        busy = flight->batch.line_count > 0;
    } else {
        problem = body.data == NULL ? NULL : json_loadb(body.data, body.size, 0, NULL);
    }
    if (!busy || !send_again_later(import, flight, asked_ms)) {
        bool busy_lines = answer->status == HTTP_OK;
        refuse_rest(import, flight, busy_lines ? HTTP_UNAVAILABLE : (int)answer->status, problem);
    }
    json_decref(problem);
}

static void conclude_flight(struct import *import, struct flight *flight, CURLcode code) {
    (void)curl_multi_remove_handle(import->multi, flight->curl);
    curl_slist_free_all(flight->headers);
    flight->headers = NULL;
    flight->state = FLIGHT_EMPTY;
    if (code != CURLE_OK) {
        take_failure(import, flight, code);
    } else {
        curl_easy_getinfo(flight->curl, CURLINFO_RESPONSE_CODE, &flight->answer.status);
        take_answer(import, flight);
    }
    service_answer_release(&flight->answer);
}

/** Returns how many there were. */
static size_t collect_answers(struct import *import) {
    size_t count = 0;
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(import->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            CURLcode code = message->data.result;
            char *flight = NULL;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &flight);
            conclude_flight(import, (struct flight *)(void *)flight, code);
            count++;
        }
    }
    return count;
}

/** Sends what can be sent now. Returns how many batches are under way or waiting, and when the
 *  next of those that wait is due. */
static size_t start_flights(struct import *import, int64_t now_us, int64_t *next_us) {
    size_t busy = 0;
    *next_us = now_us + POLL_MS_MAX * 1000;
    for (size_t i = 0; i < import->flight_count; i++) {
        struct flight *flight = &import->flights[i];
        if (flight->state == FLIGHT_WAITS && now_us >= flight->resend_at_us) {
            send_batch(import, flight);
        } else if (flight->state == FLIGHT_WAITS && flight->resend_at_us < *next_us) {
            *next_us = flight->resend_at_us;
        } else if (flight->state == FLIGHT_EMPTY && !import->source.ended &&
                   import_batch_fill(&flight->batch, &import->source, settle, import)) {
            backoff_reset(&flight->backoff);
            send_batch(import, flight);
        }
        busy += flight->state == FLIGHT_EMPTY ? 0 : 1;
    }
    return busy;
}

/* --- The whole. --- */

static uint64_t settled(const struct import *import) {
    return import->created + import->existing + import->refused;
}

static void show_progress(struct import *import, int64_t now_us) {
    const struct session *session = import->session;
    if (!session->err_is_terminal || session->json || now_us < import->progress_at_us) {
        return;
    }
    import->progress_at_us = now_us + PROGRESS_EVERY_US;
    double seconds = (double)(now_us - import->begin_us) / 1e6;
    fprintf(session->err, "\r%llu lines, %.0f a second, %llu refused \x1b[K",
            (unsigned long long)settled(import),
            seconds > 0 ? (double)settled(import) / seconds : 0,
            (unsigned long long)import->refused);
    (void)fflush(session->err);
}

static void run_flights(struct import *import) {
    while (import->given_up == EXIT_STATUS_DONE) {
        int running;
        int64_t next_us;
        int64_t now_us = clock_monotonic_us();
        if (start_flights(import, now_us, &next_us) == 0) {
            return;
        }
        (void)curl_multi_perform(import->multi, &running);
        if (collect_answers(import) == 0) {
            int wait_ms = (int)((next_us - now_us + 999) / 1000);
            (void)curl_multi_poll(import->multi, NULL, 0, wait_ms, NULL);
        }
        show_progress(import, now_us);
    }
}

static bool open_flights(struct import *import, size_t count, unsigned retries) {
    import->multi = curl_multi_init();
    for (size_t i = 0; i < count; i++) {
        struct flight *flight = &import->flights[i];
        flight->curl = curl_easy_init();
        flight->backoff = (struct backoff){
            .first_ms = BACKOFF_FIRST_MS, .limit_ms = BACKOFF_LIMIT_MS, .tries_max = retries};
        import->flight_count++;
        if (!import_batch_init(&flight->batch) || flight->curl == NULL) {
            return false;
        }
    }
    return import->multi != NULL;
}

static void close_flights(struct import *import) {
    for (size_t i = 0; i < import->flight_count; i++) {
        struct flight *flight = &import->flights[i];
        if (flight->state == FLIGHT_SENT) {
            (void)curl_multi_remove_handle(import->multi, flight->curl);
        }
        curl_slist_free_all(flight->headers);
        service_answer_release(&flight->answer);
        curl_easy_cleanup(flight->curl);
        import_batch_deinit(&flight->batch);
    }
    (void)curl_multi_cleanup(import->multi);
}

static void write_summary(const struct import *import, const char *path) {
    const struct session *session = import->session;
    double seconds = (double)(clock_monotonic_us() - import->begin_us) / 1e6;
    if (session->json) {
        session_write_json(
            session,
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "file", path, "lines",
                      (json_int_t)settled(import), "created", (json_int_t)import->created,
                      "existing", (json_int_t)import->existing, "refused",
                      (json_int_t)import->refused, "resent", (json_int_t)import->resent, "complete",
                      import->given_up == EXIT_STATUS_DONE && !import->source.failed, "seconds",
                      seconds));
        return;
    }
    if (session->err_is_terminal) {
        fputs("\r\x1b[K", session->err);
    }
    fprintf(session->out, "%llu lines in %.1f s: %llu created, %llu there already, %llu refused\n",
            (unsigned long long)settled(import), seconds, (unsigned long long)import->created,
            (unsigned long long)import->existing, (unsigned long long)import->refused);
}

static enum exit_status conclude(struct import *import, const char *path) {
    write_summary(import, path);
    if (import->given_up != EXIT_STATUS_DONE) {
        return session_fail(import->session, import->given_up,
                            "%s: given up after line %llu was read; run it again to go on: what is "
                            "there already is not created twice",
                            import->fault.text, (unsigned long long)import->source.line_number);
    }
    if (import->source.failed) {
        return session_fail(import->session, EXIT_STATUS_UNREACHABLE, "%s: cannot be read", path);
    }
    return import->refused > 0 ? EXIT_STATUS_REFUSED : EXIT_STATUS_DONE;
}

static enum exit_status run_import(struct session *session, const struct command_line *line) {
    const char *path = line->positionals[0];
    bool from_stdin = strcmp(path, "-") == 0;
    struct stat about;
    FILE *file = from_stdin ? stdin : fopen(path, "re");
    if (file == NULL) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s: %s", path, strerror(errno));
    }
    if (fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        (void)fclose(file);
        return session_fail(session, EXIT_STATUS_USAGE, "%s: %s", path, strerror(EISDIR));
    }
    struct import *import = calloc(1, sizeof(*import));
    enum exit_status status = EXIT_STATUS_UNREACHABLE;
    unsigned retries = (unsigned)command_number(line, IMPORT_RETRIES);
    if (import == NULL || !open_flights(import, command_number(line, IMPORT_PARALLEL), retries)) {
        status = session_fail(session, EXIT_STATUS_UNREACHABLE, "no memory");
    } else {
        import->session = session;
        import->source.file = file;
        import->begin_us = clock_monotonic_us();
        import->random.state = (uint64_t)import->begin_us;
        run_flights(import);
        status = conclude(import, path);
    }
    if (import != NULL) {
        close_flights(import);
        import_source_release(&import->source);
        free(import);
    }
    if (!from_stdin) {
        (void)fclose(file);
    }
    return status;
}

const struct command command_import = {
    .name = "import",
    .positionals = "FILE.ndjson",
    .summary = "Create an order for every line of a file",
    .details =
        "Each line is the JSON of one order, as for POST /v1/orders; `-` reads standard input.\n"
        "Lines that were created before are found again by their reference, so a run that\n"
        "broke off is simply repeated. Lines that the service cannot take at the moment are\n"
        "sent again a few times. Every line that is refused is shown with its number.",
    .positional_min = 1,
    .positional_max = 1,
    .options = import_options,
    .option_count = ARRAY_COUNT(import_options),
    .run = run_import,
};
