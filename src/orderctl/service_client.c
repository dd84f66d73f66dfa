#include "orderctl/service_client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HEADER_LINE_MAX 512

static bool has_prefix(const char *text, const char *prefix) {
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

bool service_client_init(struct service_client *client, const char *server, uint64_t timeout_ms,
                         struct fault *fault) {
    *client = (struct service_client){.timeout_ms = timeout_ms};
    bool has_scheme = strstr(server, "://") != NULL;
    if (has_scheme && !has_prefix(server, "http://") && !has_prefix(server, "https://")) {
        fault_set(fault, "%.200s: expected an http or https URL", server);
        return false;
    }
    int size = snprintf(client->base_url, sizeof(client->base_url), "%s%s",
                        has_scheme ? "" : "http://", server);
    if (size < 0 || (size_t)size >= sizeof(client->base_url)) {
        fault_set(fault, "the URL of the service is too long");
        return false;
    }
    while (size > 0 && client->base_url[size - 1] == '/') {
        client->base_url[--size] = 0;
    }
    CURLU *parts = curl_url();
    bool good = parts != NULL && curl_url_set(parts, CURLUPART_URL, client->base_url, 0) == 0;
    curl_url_cleanup(parts);
    if (!good) {
        fault_set(fault, "%.200s: expected a URL, as http://127.0.0.1:8080", server);
        return false;
    }
    client->curl = curl_easy_init();
    if (client->curl == NULL) {
        fault_set(fault, "libcurl cannot be set up");
        return false;
    }
    return true;
}

void service_client_deinit(struct service_client *client) {
    curl_easy_cleanup(client->curl);
    client->curl = NULL;
}

/* --- Taking an answer in. --- */

static size_t take_body(char *data, size_t size, size_t count, void *context) {
    struct service_answer *answer = context;
    size_t more = size * count;
    if (more > SERVICE_ANSWER_BYTES_MAX - answer->body_size) {
        answer->too_large = true;
        return 0;
    }
    char *grown = realloc(answer->body, answer->body_size + more + 1);
    if (grown == NULL) {
        return 0;
    }
    memcpy(grown + answer->body_size, data, more);
    answer->body = grown;
    answer->body_size += more;
    answer->body[answer->body_size] = 0;
    return more;
}

/** The value of the header line where it has that name; NULL otherwise. */
static const char *header_value(const char *line, const char *name) {
    size_t size = strlen(name);
    if (strncasecmp(line, name, size) != 0 || line[size] != ':') {
        return NULL;
    }
    return line + size + 1 + strspn(line + size + 1, " \t");
}

static size_t take_header(char *data, size_t size, size_t count, void *context) {
    struct service_answer *answer = context;
    char line[HEADER_LINE_MAX];
    size_t length = bytes_min_size(size * count, sizeof(line) - 1);
    memcpy(line, data, length);
    line[length] = 0;
    line[strcspn(line, "\r\n")] = 0;
    const char *value;
    if ((value = header_value(line, "Content-Type")) != NULL) {
        free(answer->content_type);
        answer->content_type = strdup(value);
    } else if ((value = header_value(line, "Retry-After")) != NULL) {
        answer->retry_after_seconds = strtoull(value, NULL, 10);
    } else if ((value = header_value(line, "Idempotent-Replay")) != NULL) {
        answer->replayed = strcmp(value, "true") == 0;
    }
    return size * count;
}

void service_answer_attach(struct service_answer *answer, CURL *curl) {
    *answer = (struct service_answer){.status = 0};
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
}

void service_answer_release(struct service_answer *answer) {
    free(answer->body);
    free(answer->content_type);
    *answer = (struct service_answer){.status = 0};
}

/* --- Asking. --- */

static struct curl_slist *make_headers(const struct service_request *request) {
    char content_type[128];
    /* Bodies are small or the service is near: no round trip to ask whether one may be sent. */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    if (request->content_type != NULL) {
        (void)snprintf(content_type, sizeof(content_type), "Content-Type: %s",
                       request->content_type);
        headers = curl_slist_append(headers, content_type);
    }
    if (request->header != NULL) {
        headers = curl_slist_append(headers, request->header);
    }
    return headers;
}

struct curl_slist *service_client_prepare(const struct service_client *client, CURL *curl,
                                          const struct service_request *request) {
    char url[SERVICE_URL_MAX * 2];
    int size = snprintf(url, sizeof(url), "%s%s", client->base_url, request->target);
    assert(size > 0 && (size_t)size < sizeof(url)); /* targets are made of bounded parts */
    struct curl_slist *headers = make_headers(request);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "orderctl");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)client->timeout_ms);
    if (request->content_type != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.data);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
    }
    if (request->method != NULL) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    }
    return headers;
}

void service_client_explain(const struct service_client *client, CURLcode code,
                            struct fault *fault) {
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        fault_set(fault, "%s: cannot be reached: nobody answers there", client->base_url);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        fault_set(fault, "%s: no answer within %g s", client->base_url,
                  (double)client->timeout_ms / 1000);
        break;
    default:
        fault_set(fault, "%s: %s", client->base_url, curl_easy_strerror(code));
        break;
    }
}

bool service_client_exchange(struct service_client *client, const struct service_request *request,
                             struct service_answer *answer, struct fault *fault) {
    struct curl_slist *headers = service_client_prepare(client, client->curl, request);
    service_answer_attach(answer, client->curl);
    CURLcode code = curl_easy_perform(client->curl);
    curl_slist_free_all(headers);
    if (code != CURLE_OK) {
        service_client_explain(client, code, fault);
        service_answer_release(answer);
        return false;
    }
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    return true;
}
