#include "orderctl/commands.h"

#include "base/clock.h"
#include "order/order_id.h"
#include "order/status.h"
#include "orderctl/backoff.h"
#include "orderctl/event_stream.h"
#include "orderctl/order_view.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define TARGET_MAX 512
#define HTTP_OK 200
#define HTTP_TOO_MANY_REQUESTS 429
#define HTTP_UNAVAILABLE 503

/* The service sends at least a comment every 15 s: after three without one it is gone. */
#define SILENCE_SECONDS_MAX 45L

#define BACKOFF_FIRST_MS 200
#define BACKOFF_LIMIT_MS 5000
#define RETRIES_DEFAULT 10
#define RETRIES_MAX 1000000

enum { WATCH_CHANGES, WATCH_AFTER, WATCH_LIMIT, WATCH_RETRIES };

static const struct command_option watch_options[] = {
    [WATCH_CHANGES] = {"changes", NULL, OPTION_FLAG, false, 0, 0, 0,
                       "Every change of every order, instead of one order"},
    [WATCH_AFTER] = {"after", "CURSOR", OPTION_TEXT, false, 0, 0, 0,
                     "With --changes: go on behind CURSOR; 0: from the oldest kept"},
    [WATCH_LIMIT] = {"limit", "N", OPTION_NUMBER, false, 1, UINT64_MAX, 0, "End after N events"},
    [WATCH_RETRIES] = {"retries", "N", OPTION_NUMBER, false, 0, RETRIES_MAX, RETRIES_DEFAULT,
                       "How often to connect again in a row (10)"},
};

/** One watch, over as many connections as it takes. */
struct watch {
    struct session *session;
    struct event_stream stream;
    struct service_answer refusal; /* collects the body of an answer that is no stream */
    CURL *curl;                    /* borrowed */
    struct backoff backoff;
    struct random_source random;
    bool one_order;
    int64_t version; /* of the order, as last shown */
    uint64_t shown;
    uint64_t limit; /* 0: none */
    bool ended;     /* nothing more is wanted */
    bool broken;    /* an event that is none: nothing more can be trusted */
};

static void show_event(struct watch *watch, json_t *order, const struct event *event) {
    const struct session *session = watch->session;
    char name[EVENT_NAME_MAX + 1];
    (void)snprintf(name, sizeof(name), "%.*s", (int)event->name.size, event->name.data);
    if (session->json) {
        (void)json_object_set_new(order, "event", json_string(name));
        (void)json_object_set_new(order, "cursor", json_stringn(event->id.data, event->id.size));
        session_write_json(session, json_incref(order));
    } else {
        order_view_write_line(order, name, session->out);
    }
    watch->ended |= fflush(session->out) != 0; /* main says so */
}

/** True where nobody reads what is written any more, as behind `| head -1`. */
static bool is_unheard(const struct session *session) {
    struct pollfd reader = {.fd = fileno(session->out)};
    return poll(&reader, 1, 0) == 1 && (reader.revents & (POLLERR | POLLHUP)) != 0;
}

/** Called by libcurl every second, and whenever something came. */
static int look_around(void *context, curl_off_t total, curl_off_t now, curl_off_t upload_total,
                       curl_off_t upload_now) {
    struct watch *watch = context;
    (void)total;
    (void)now;
    (void)upload_total;
    (void)upload_now;
    watch->ended |= is_unheard(watch->session);
    return watch->ended ? 1 : 0;
}

/** True where the watch of one order has shown this state already, on the connection before. */
static bool is_known(struct watch *watch, const json_t *order) {
    int64_t version = json_integer_value(json_object_get(order, "version"));
    if (!watch->one_order) {
        return false;
    }
    bool known = version <= watch->version;
    watch->version = known ? watch->version : version;
    return known;
}

static bool is_final(const json_t *order) {
    const char *name = json_string_value(json_object_get(order, "status"));
    return name != NULL && order_status_is_final(order_status_from_name(slice_from_text(name)));
}

static void take_event(void *context, const struct event *event) {
    struct watch *watch = context;
    if (watch->ended) {
        return;
    }
    json_t *order = json_loadb(event->data.data, event->data.size, 0, NULL);
    if (!json_is_object(order)) {
        json_decref(order);
        watch->broken = true;
        watch->ended = true;
        return;
    }
    backoff_reset(&watch->backoff);
    bool final = watch->one_order && is_final(order);
    if (!is_known(watch, order)) {
        show_event(watch, order, event);
        watch->shown++;
    }
    watch->ended |= final || (watch->limit != 0 && watch->shown == watch->limit);
    json_decref(order);
}

static size_t take_bytes(char *data, size_t size, size_t count, void *context) {
    struct watch *watch = context;
    long status = 0;
    curl_easy_getinfo(watch->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == HTTP_OK) {
        event_stream_feed(&watch->stream, data, size * count);
    } else {
        size_t room = SERVICE_URL_MAX * 16 - watch->refusal.body_size;
        size_t taken = bytes_min_size(size * count, room);
        memcpy(watch->refusal.body + watch->refusal.body_size, data, taken);
        watch->refusal.body_size += taken;
    }
    /* Fewer bytes than there were end the connection. */
    return watch->ended ? 0 : size * count;
}

/** One connection, until it ends. Returns libcurl's result and the answer's status. */
static CURLcode connect_once(struct watch *watch, const char *target, long *status) {
    struct session *session = watch->session;
    char header[EVENT_ID_MAX + 32];
    struct service_request request = {.target = target};
    if (watch->stream.id.size > 0) {
        (void)snprintf(header, sizeof(header), "Last-Event-ID: %.*s", (int)watch->stream.id.size,
                       watch->stream.id.data);
        request.header = header;
    }
    event_stream_restart(&watch->stream);
    watch->refusal.body_size = 0;
    struct curl_slist *headers = service_client_prepare(&session->client, watch->curl, &request);
    curl_easy_setopt(watch->curl, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(watch->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(watch->curl, CURLOPT_LOW_SPEED_TIME, SILENCE_SECONDS_MAX);
    curl_easy_setopt(watch->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(watch->curl, CURLOPT_WRITEDATA, watch);
    curl_easy_setopt(watch->curl, CURLOPT_XFERINFOFUNCTION, look_around);
    curl_easy_setopt(watch->curl, CURLOPT_XFERINFODATA, watch);
    curl_easy_setopt(watch->curl, CURLOPT_NOPROGRESS, 0L);
    CURLcode code = curl_easy_perform(watch->curl);
    *status = 0;
    curl_easy_getinfo(watch->curl, CURLINFO_RESPONSE_CODE, status);
    curl_slist_free_all(headers);
    return code;
}

/** Waits before the next connection; false where the service is given up. */
static bool wait_to_reconnect(struct watch *watch) {
    uint64_t wait_ms;
    if (!backoff_next(&watch->backoff, &watch->random, watch->stream.retry_ms, &wait_ms)) {
        return false;
    }
    (void)usleep((useconds_t)(bytes_min_u64(wait_ms, BACKOFF_LIMIT_MS) * 1000));
    return true;
}

static enum exit_status follow(struct watch *watch, const char *target) {
    struct session *session = watch->session;
    bool connected = false;
    for (;;) {
        long status;
        struct fault fault;
        CURLcode code = connect_once(watch, target, &status);
        if (watch->broken) {
            return session_fail(session, EXIT_STATUS_REFUSED, "the service sent no order");
        }
        if (watch->ended || is_unheard(session)) {
            return EXIT_STATUS_DONE;
        }
        bool refused = code == CURLE_OK && status != HTTP_OK;
        if (refused && status != HTTP_UNAVAILABLE && status != HTTP_TOO_MANY_REQUESTS) {
            watch->refusal.status = status;
            return session_refuse(session, &watch->refusal);
        }
        service_client_explain(&session->client, code, &fault);
        connected |= status != 0;
        if (!connected || !wait_to_reconnect(watch)) {
            const char *reason = code == CURLE_OK ? "the stream ends again and again" : fault.text;
            return session_fail(session, EXIT_STATUS_UNREACHABLE, "%s", reason);
        }
    }
}

static bool check_arguments(const struct session *session, const struct command_line *line) {
    uint64_t order_id;
    bool changes = command_has(line, WATCH_CHANGES);
    if (changes == (line->positional_count == 1)) {
        (void)session_fail(session, EXIT_STATUS_USAGE, "watch: expected an order id or --changes");
        return false;
    }
    if (!changes && command_has(line, WATCH_AFTER)) {
        (void)session_fail(session, EXIT_STATUS_USAGE, "watch: --after goes with --changes");
        return false;
    }
    if (!changes && !order_id_parse(slice_from_text(line->positionals[0]), &order_id)) {
        (void)session_fail(session, EXIT_STATUS_USAGE, "\"%.40s\" is no order id",
                           line->positionals[0]);
        return false;
    }
    return true;
}

static bool make_target(const struct session *session, const struct command_line *line,
                        char target[TARGET_MAX]) {
    const char *after = command_text(line, WATCH_AFTER);
    if (!command_has(line, WATCH_CHANGES)) {
        (void)snprintf(target, TARGET_MAX, "/v1/orders/%s/events", line->positionals[0]);
        return true;
    }
    if (after == NULL) {
        (void)snprintf(target, TARGET_MAX, "/v1/changes");
        return true;
    }
    char *encoded = curl_easy_escape(session->client.curl, after, 0);
    int size = snprintf(target, TARGET_MAX, "/v1/changes?after=%s", encoded == NULL ? "" : encoded);
    curl_free(encoded);
    if (size < 0 || size >= TARGET_MAX) {
        (void)session_fail(session, EXIT_STATUS_USAGE, "--after: no cursor is that long");
        return false;
    }
    return true;
}

static enum exit_status run_watch(struct session *session, const struct command_line *line) {
    char target[TARGET_MAX];
    if (!check_arguments(session, line) || !make_target(session, line, target)) {
        return EXIT_STATUS_USAGE;
    }
    struct watch *watch = calloc(1, sizeof(*watch));
    char *refusal = malloc(SERVICE_URL_MAX * 16);
    if (watch == NULL || refusal == NULL) {
        free(watch);
        free(refusal);
        return session_fail(session, EXIT_STATUS_UNREACHABLE, "no memory");
    }
    watch->session = session;
    watch->curl = session->client.curl;
    watch->refusal.body = refusal;
    watch->backoff = (struct backoff){.first_ms = BACKOFF_FIRST_MS,
                                      .limit_ms = BACKOFF_LIMIT_MS,
                                      .tries_max = (unsigned)command_number(line, WATCH_RETRIES)};
    watch->random.state = (uint64_t)clock_wall_us();
    watch->one_order = !command_has(line, WATCH_CHANGES);
    watch->limit = command_number(line, WATCH_LIMIT);
    event_stream_init(&watch->stream, take_event, watch);
    enum exit_status status = follow(watch, target);
    if (watch->stream.dropped > 0) {
        status = session_fail(session, EXIT_STATUS_REFUSED, "%llu events were too large to show",
                              (unsigned long long)watch->stream.dropped);
    }
    free(refusal);
    free(watch);
    return status;
}

const struct command command_watch = {
    .name = "watch",
    .positionals = "ID | --changes",
    .summary = "Show an order and each of its changes until it is final, or every change",
    .details =
        "A broken connection is made again, going on where it broke. With --json each event is\n"
        "one line: the order with the members `event` and `cursor` added.",
    .positional_min = 0,
    .positional_max = 1,
    .options = watch_options,
    .option_count = ARRAY_COUNT(watch_options),
    .run = run_watch,
};
