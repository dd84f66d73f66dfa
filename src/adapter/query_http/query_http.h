/** The port query_view over HTTP: what query instances answer to POST /v1/batch/get and
 *  /v1/batch/statuses.
 *
 *  One thread for all instances, by libcurl, which never blocks it. Requests come through a
 *  mailbox; two of an instance are under way at once, on connections that stay open. Each has
 *  `timeout_us` for everything. An instance that did not answer rests, 250 ms at first and twice
 *  as long each time, up to 8 s; what is asked of it meanwhile is UNAVAILABLE at once. Failures
 *  are logged with its name, through a limit.
 *
 *  What an instance sends is not trusted: only HTTP, no redirections, no proxies, an answer of
 *  exactly the size that it must have; one that is no answer (query_answer.h) counts as none. */
#ifndef ORDERD_ADAPTER_QUERY_HTTP_QUERY_HTTP_H
#define ORDERD_ADAPTER_QUERY_HTTP_QUERY_HTTP_H

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "port/query_view.h"

#define QUERY_HTTP_NAME_MAX 64

/** Registered once an instance, with the label `instance`. */
#define QUERY_HTTP_METRICS(X)                                                                      \
    X(counter, requests_total, "HTTP requests of the checker to this query instance")              \
    X(counter, failures_total, "Of them, those without a usable answer in time")                   \
    X(counter, malformed_total, "Of these, answers that are none")                                 \
    X(counter, states_only_total, "Times that it had only states to give, no whole orders")        \
    X(gauge, up, "1 while it answers")                                                             \
    X(histogram, answer_microseconds, "Time of a request that was answered")

struct query_http_metrics {
    QUERY_HTTP_METRICS(METRIC_FIELD)
};

struct query_http_settings {
    char names[QUERY_VIEWS_MAX][QUERY_HTTP_NAME_MAX]; /* host:port */
    size_t count;
    int64_t timeout_us;
};

/** @param instances host:port with commas between, of audit.query_instances; names are looked up
 *         when they are asked, not here. False with one line in `fault`. */
MUST_CHECK bool query_http_settings_read(const char *instances, uint64_t timeout_ms,
                                         struct query_http_settings *settings, struct fault *fault);

struct query_http_parts {
    const struct query_http_settings *settings; /* with one instance at least */
    struct log *log;
    struct metrics *metrics; /* NULL: none */
};

struct query_http;

/** Starts the thread. NULL, with a line in `fault`, where that is not possible; instances that are
 *  down are no reason. */
struct query_http *query_http_create(const struct query_http_parts *parts, struct fault *fault);

/** Completes what is under way and ends the thread. NULL will do. */
void query_http_destroy(struct query_http *http);

/** The instance with that place in the settings. */
struct query_view *query_http_view(struct query_http *http, size_t number);

const struct query_http_metrics *query_http_metrics(const struct query_http *http, size_t number);

#endif
