#include "api/api_internal.h"
#include "api/openapi.h"

/* What operators ask: health, readiness, metrics, and the description of the API. */

#define METRICS_BYTES_MAX ((size_t)512 * 1024)

static void respond_json(struct http_exchange *exchange, struct slice body) {
    struct http_answer answer = {.status = 200, .content_type = SLICE_LITERAL("application/json")};
    if (!http_respond(exchange, &answer, body)) {
        problem_respond_plain(exchange, 503, "no buffer for the answer is free now");
    }
}

void api_health(struct http_exchange *exchange) {
    respond_json(exchange, SLICE_LITERAL("{\"status\":\"ok\"}"));
}

void api_ready(struct api *api, struct http_exchange *exchange) {
    char reason[256];
    struct text text = text_over(reason, sizeof(reason) - 1);
    if (api->readiness->is_ready(api->readiness, &text)) {
        respond_json(exchange, SLICE_LITERAL("{\"status\":\"ready\"}"));
        return;
    }
    reason[text.size] = 0;
    problem_respond_plain(exchange, 503, reason);
}

void api_metrics_text(struct api *api, struct http_exchange *exchange) {
    struct http_answer answer = {
        .status = 200,
        .content_type = SLICE_LITERAL("text/plain; version=0.0.4; charset=utf-8"),
    };
    struct text body;
    if (!http_respond_begin(exchange, &answer, METRICS_BYTES_MAX, &body)) {
        problem_respond_plain(exchange, 503, "no buffer for the answer is free now");
        return;
    }
    bool whole = metrics_render(api->metric_registry, &body);
    assert(whole); /* the registry is bounded, and the room is ample */
    http_respond_end(exchange, body.size);
}

void api_openapi(struct http_exchange *exchange) {
    respond_json(exchange, (struct slice){(const char *)openapi_document, openapi_document_size});
}
