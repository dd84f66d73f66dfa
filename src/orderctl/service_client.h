/** HTTP to the service for the ordinary commands, by libcurl: one request, one whole answer, a
 *  time-out on each. The bench has a client of its own (bench_connection.h).
 *
 *  The client is made once a run and used by one thread. An answer owns its memory until it is
 *  released. */
#ifndef ORDERD_ORDERCTL_SERVICE_CLIENT_H
#define ORDERD_ORDERCTL_SERVICE_CLIENT_H

#include "base/bytes.h"
#include "base/fault.h"

#include <curl/curl.h>

#define SERVICE_URL_MAX 1024
#define SERVICE_ANSWER_BYTES_MAX ((size_t)64 << 20)

struct service_client {
    CURL *curl; /* owned */
    char base_url[SERVICE_URL_MAX];
    uint64_t timeout_ms;
};

struct service_request {
    const char *method; /* NULL: GET */
    const char *target; /* path and query, encoded */
    struct slice body;
    const char *content_type; /* NULL: no body */
    const char *header;       /* one more header line; NULL: none */
};

struct service_answer {
    long status;
    char *body; /* owned; a zero byte follows it */
    size_t body_size;
    char *content_type; /* owned; NULL where there is none */
    uint64_t retry_after_seconds;
    bool replayed; /* Idempotent-Replay: true */
    bool too_large;
};

/** @param server a URL, or host:port. False where it is none. */
MUST_CHECK bool service_client_init(struct service_client *client, const char *server,
                                    uint64_t timeout_ms, struct fault *fault);
void service_client_deinit(struct service_client *client);

/** Sends one request and waits for its answer. False where there was none in time: `fault` says
 *  why. The answer, whatever its status, is released by service_answer_release. */
MUST_CHECK bool service_client_exchange(struct service_client *client,
                                        const struct service_request *request,
                                        struct service_answer *answer, struct fault *fault);
void service_answer_release(struct service_answer *answer);

/** Sets what all requests share, on a handle of the caller's (a stream, several at once). Returns
 *  the headers that the handle uses: release with curl_slist_free_all after it is done. */
struct curl_slist *service_client_prepare(const struct service_client *client, CURL *curl,
                                          const struct service_request *request);

/** Lets `curl` write into `answer`, which stays where it is until the request is done. */
void service_answer_attach(struct service_answer *answer, CURL *curl);

/** Says, for a person, why libcurl has no answer. */
void service_client_explain(const struct service_client *client, CURLcode code,
                            struct fault *fault);

#endif
