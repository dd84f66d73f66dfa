#include "adapter/query_http/query_http.h"

#include "adapter/query_http/query_answer.h"
#include "base/clock.h"

#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Requests of one instance that are under way at once: the walk's and the samples'. */
#define EXCHANGES_MAX 2

/* Requests that may be in the mailbox at once. */
#define INBOX_REQUESTS 64

#define POLL_MS 1000
#define REST_US_MIN INT64_C(250000)
#define REST_US_MAX INT64_C(8000000)
#define URL_MAX (QUERY_HTTP_NAME_MAX + 40)

static const struct metric_description metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct query_http_metrics, __VA_ARGS__)
    QUERY_HTTP_METRICS(X)
#undef X
};

/** One HTTP request and its answer. */
struct query_exchange {
    struct query_instance *instance;
    CURL *easy;                    /* owned */
    struct order_get_batch *batch; /* NULL: free */
    bool whole;                    /* whole orders are asked for, else states */
    int64_t begun_us;
    int64_t deadline_us;
    size_t expected; /* bytes of the answer */
    size_t received;
    bool too_long;
    char body[QUERY_VIEW_BATCH_MAX * sizeof(struct order_record)];
};

struct query_instance {
    struct query_view view; /* first */
    struct query_http *http;
    char name[QUERY_HTTP_NAME_MAX];
    char labels[QUERY_HTTP_NAME_MAX + 16];
    struct query_exchange exchanges[EXCHANGES_MAX];
    struct order_get_batch *first_waiting;
    struct order_get_batch *last_waiting;
    int64_t rests_until_us;
    int64_t rest_us; /* the last rest; 0: it answered */
    struct log_limit log_limit;
    struct query_http_metrics metrics;
};

struct query_http {
    struct mailbox inbox;
    struct log *log;
    int64_t timeout_us;
    CURLM *multi;               /* owned */
    struct curl_slist *headers; /* owned: of every request */
    size_t instance_count;
    struct query_instance instances[QUERY_VIEWS_MAX];
    size_t active; /* exchanges under way */
    pthread_t thread;
    bool started;
    _Atomic uint32_t stopping;
};

/* --- The port: any thread. --- */

/** A request says in its `operation` whom it asks, and for what. */
static enum port_submit submit(struct query_view *view, struct order_get_batch *batch, bool whole) {
    struct query_instance *instance = CONTAINER_OF(view, struct query_instance, view);
    size_t number = (size_t)(instance - instance->http->instances);
    assert(batch->count > 0 && batch->count <= QUERY_VIEW_BATCH_MAX);
    batch->request.operation = (uint32_t)number << 1 | (whole ? 1U : 0U);
    return mailbox_send(&instance->http->inbox, &batch->request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit get(struct query_view *view, struct order_get_batch *batch) {
    return submit(view, batch, true);
}

static enum port_submit states(struct query_view *view, struct order_get_batch *batch) {
    return submit(view, batch, false);
}

static const struct query_view_ops view_ops = {.get = get, .states = states};

/* --- What came of a request. --- */

static void complete_unavailable(struct order_get_batch *batch) {
    memset(batch->results, ORDER_RESULT_UNAVAILABLE, batch->count);
    port_complete(&batch->request);
}

static void end_exchange(struct query_exchange *exchange) {
    exchange->batch = NULL;
    exchange->instance->http->active--;
}

static void succeed(struct query_exchange *exchange) {
    struct query_instance *instance = exchange->instance;
    int64_t now_us = clock_monotonic_us();
    if (instance->rest_us > 0 || metric_get(&instance->metrics.up) == 0) {
        log_info(instance->http->log, "query_view", "%s answers", instance->name);
    }
    instance->rest_us = 0;
    metric_set(&instance->metrics.up, 1);
    histogram_add(&instance->metrics.answer_microseconds, (uint64_t)(now_us - exchange->begun_us));
    port_complete(&exchange->batch->request);
    end_exchange(exchange);
}

static void fail(struct query_exchange *exchange, const char *reason) {
    struct query_instance *instance = exchange->instance;
    instance->rest_us = instance->rest_us * 2;
    instance->rest_us = instance->rest_us < REST_US_MIN ? REST_US_MIN : instance->rest_us;
    instance->rest_us = instance->rest_us > REST_US_MAX ? REST_US_MAX : instance->rest_us;
    instance->rests_until_us = clock_monotonic_us() + instance->rest_us;
    metric_set(&instance->metrics.up, 0);
    metric_add(&instance->metrics.failures_total, 1);
    log_write_limited(instance->http->log, &instance->log_limit, LOG_WARNING, "query_view",
                      "%s does not answer the checker: %s", instance->name, reason);
    complete_unavailable(exchange->batch);
    end_exchange(exchange);
}

static void fail_malformed(struct query_exchange *exchange) {
    metric_add(&exchange->instance->metrics.malformed_total, 1);
    fail(exchange, "what it sent is no answer");
}

/* --- Sending. --- */

static size_t take_body(char *data, size_t size, size_t count, void *context) {
    struct query_exchange *exchange = context;
    size_t more = size * count;
    if (more > exchange->expected - exchange->received) {
        exchange->too_long = true;
        return 0;
    }
    memcpy(exchange->body + exchange->received, data, more);
    exchange->received += more;
    return more;
}

/** Says how to send the request; false where libcurl has no memory for it. */
static bool prepare(struct query_exchange *exchange, int64_t now_us) {
    struct query_instance *instance = exchange->instance;
    CURL *easy = exchange->easy;
    char url[URL_MAX];
    long left_ms = (long)((exchange->deadline_us - now_us) / 1000);
    (void)snprintf(url, sizeof(url), "http://%s/v1/batch/%s", instance->name,
                   exchange->whole ? "get" : "statuses");
    curl_easy_reset(easy);
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PRIVATE, exchange) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* A name server that hangs holds up one thread of the library's, not this one. */
           curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERAGENT, "orderd") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_HTTPHEADER, instance->http->headers) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, left_ms > 0 ? left_ms : 1L) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                            (curl_off_t)(exchange->batch->count * sizeof(uint64_t))) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_POSTFIELDS, (const void *)exchange->batch->order_ids) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange) == CURLE_OK;
}

static void send_request(struct query_exchange *exchange) {
    struct query_instance *instance = exchange->instance;
    exchange->expected = query_answer_bytes(exchange->batch->count, exchange->whole);
    exchange->received = 0;
    exchange->too_long = false;
    metric_add(&instance->metrics.requests_total, 1);
    if (!prepare(exchange, clock_monotonic_us()) ||
        curl_multi_add_handle(instance->http->multi, exchange->easy) != CURLM_OK) {
        fail(exchange, "no memory to ask it");
    }
}

static void begin(struct query_exchange *exchange, struct order_get_batch *batch, int64_t now_us) {
    exchange->batch = batch;
    exchange->whole = (batch->request.operation & 1) != 0;
    exchange->begun_us = now_us;
    exchange->deadline_us = now_us + exchange->instance->http->timeout_us;
    exchange->instance->http->active++;
    send_request(exchange);
}

/* --- Receiving. --- */

/** The answer is there, whatever its status. */
static void take_answer(struct query_exchange *exchange, long status) {
    struct slice body = {exchange->body, exchange->received};
    char reason[32];
    if (status == 200) {
        bool taken = exchange->whole ? query_answer_take_orders(body, exchange->batch)
                                     : query_answer_take_states(body, exchange->batch);
        if (taken) {
            succeed(exchange);
        } else {
            fail_malformed(exchange);
        }
        return;
    }
    if (status == 503 && exchange->whole) {
        /* Some of the orders cannot be known now; the states say which. */
        metric_add(&exchange->instance->metrics.states_only_total, 1);
        exchange->whole = false;
        send_request(exchange);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "HTTP status %ld", status);
    fail(exchange, reason);
}

static void finish(struct query_http *http, CURL *easy, CURLcode code) {
    struct query_exchange *exchange = NULL;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &exchange);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(http->multi, easy);
    /* An error's body may be longer than the answer would be. */
    if (code == CURLE_OK || (exchange->too_long && status != 200)) {
        take_answer(exchange, status);
    } else if (exchange->too_long) {
        fail_malformed(exchange);
    } else {
        fail(exchange, curl_easy_strerror(code));
    }
}

static void receive(struct query_http *http) {
    int under_way;
    int left;
    struct CURLMsg *message;
    (void)curl_multi_perform(http->multi, &under_way); /* what fails says so in a message */
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            finish(http, message->easy_handle, message->data.result);
        }
    }
}

/* --- The thread. --- */

static struct query_exchange *free_exchange(struct query_instance *instance) {
    for (size_t i = 0; i < EXCHANGES_MAX; i++) {
        if (instance->exchanges[i].batch == NULL) {
            return &instance->exchanges[i];
        }
    }
    return NULL;
}

/** Sends what waits, as far as there is room for it. */
static void send_waiting(struct query_instance *instance) {
    while (instance->first_waiting != NULL) {
        struct order_get_batch *batch = instance->first_waiting;
        struct query_exchange *exchange = free_exchange(instance);
        int64_t now_us = clock_monotonic_us();
        bool rests = now_us < instance->rests_until_us;
        if (!rests && exchange == NULL) {
            return;
        }
        instance->first_waiting = batch->next;
        if (rests) {
            complete_unavailable(batch);
        } else {
            begin(exchange, batch, now_us);
        }
    }
}

static void take_requests(struct query_http *http) {
    struct port_request *request;
    while ((request = mailbox_take(&http->inbox)) != NULL) {
        struct query_instance *instance = &http->instances[request->operation >> 1];
        struct order_get_batch *batch = CONTAINER_OF(request, struct order_get_batch, request);
        batch->next = NULL;
        if (instance->first_waiting == NULL) {
            instance->first_waiting = batch;
        } else {
            instance->last_waiting->next = batch;
        }
        instance->last_waiting = batch;
    }
    for (size_t i = 0; i < http->instance_count; i++) {
        send_waiting(&http->instances[i]);
    }
}

static void *run(void *context) {
    struct query_http *http = context;
    struct curl_waitfd inbox = {.fd = http->inbox.event_fd, .events = CURL_WAIT_POLLIN};
    for (;;) {
        receive(http);
        take_requests(http);
        if (atomic_load_explicit(&http->stopping, memory_order_acquire) != 0 && http->active == 0) {
            return NULL; /* nobody submits any more, and what waited was begun */
        }
        bool sleeps = mailbox_prepare_sleep(&http->inbox);
        inbox.revents = 0;
        (void)curl_multi_poll(http->multi, &inbox, 1, sleeps ? POLL_MS : 0, NULL);
        mailbox_end_sleep(&http->inbox);
    }
}

/* --- Life. --- */

static bool make_instance(struct query_http *http, const char *name) {
    struct query_instance *instance = &http->instances[http->instance_count++];
    memcpy(instance->name, name, strlen(name) + 1);
    (void)snprintf(instance->labels, sizeof(instance->labels), "instance=\"%s\"", name);
    instance->http = http;
    instance->view = (struct query_view){&view_ops, instance->name};
    bool well = true;
    for (size_t i = 0; i < EXCHANGES_MAX; i++) {
        instance->exchanges[i].instance = instance;
        instance->exchanges[i].easy = curl_easy_init();
        well = well && instance->exchanges[i].easy != NULL;
    }
    return well;
}

static bool make(struct query_http *http, const struct query_http_settings *settings) {
    struct curl_slist *type = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    http->headers = curl_slist_append(type, "Expect:"); /* no round trip to ask whether it may */
    if (http->headers == NULL) {
        curl_slist_free_all(type);
    }
    http->multi = curl_multi_init();
    bool well = http->headers != NULL && http->multi != NULL;
    for (size_t i = 0; well && i < settings->count; i++) {
        well = make_instance(http, settings->names[i]);
    }
    return well;
}

static bool start(struct query_http *http, struct fault *fault) {
    int error = pthread_create(&http->thread, NULL, run, http);
    if (error != 0) {
        fault_set_errno(fault, error, "the thread for query instances cannot be started");
        return false;
    }
    (void)pthread_setname_np(http->thread, "query-views");
    http->started = true;
    return true;
}

struct query_http *query_http_create(const struct query_http_parts *parts, struct fault *fault) {
    struct query_http *http = aligned_alloc(CACHE_LINE_BYTES, sizeof(*http));
    fault_set(fault, "no memory to ask query instances");
    if (http == NULL) {
        return NULL;
    }
    memset(http, 0, sizeof(*http));
    http->log = parts->log;
    http->timeout_us = parts->settings->timeout_us;
    if (!mailbox_init(&http->inbox, INBOX_REQUESTS)) {
        free(http);
        return NULL;
    }
    /* Only HTTP is spoken: no TLS to set up. */
    if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK || !make(http, parts->settings) ||
        !start(http, fault)) {
        query_http_destroy(http);
        return NULL;
    }
    for (size_t i = 0; parts->metrics != NULL && i < http->instance_count; i++) {
        metrics_register(parts->metrics, "query_view", http->instances[i].labels, metric_table,
                         ARRAY_COUNT(metric_table), &http->instances[i].metrics);
    }
    return http;
}

void query_http_destroy(struct query_http *http) {
    if (http == NULL) {
        return;
    }
    if (http->started) {
        atomic_store_explicit(&http->stopping, 1, memory_order_release);
        mailbox_wake(&http->inbox);
        (void)pthread_join(http->thread, NULL);
    }
    for (size_t i = 0; i < http->instance_count; i++) {
        for (size_t k = 0; k < EXCHANGES_MAX; k++) {
            curl_easy_cleanup(http->instances[i].exchanges[k].easy);
        }
    }
    curl_multi_cleanup(http->multi);
    curl_slist_free_all(http->headers);
    curl_global_cleanup();
    mailbox_deinit(&http->inbox);
    free(http);
}

struct query_view *query_http_view(struct query_http *http, size_t number) {
    assert(number < http->instance_count);
    return &http->instances[number].view;
}

const struct query_http_metrics *query_http_metrics(const struct query_http *http, size_t number) {
    return &http->instances[number].metrics;
}
