#include "orderctl/commands.h"

#include "base/text.h"
#include "order/order_id.h"
#include "order/status.h"
#include "orderctl/order_view.h"

#include <stdlib.h>
#include <unistd.h>

#define TARGET_MAX 512
#define HTTP_ACCEPTED 202
#define JSON_TYPE "application/json"

/** Shows the order that an answer carries. */
static enum exit_status show_order(const struct session *session,
                                   const struct service_answer *answer) {
    json_t *order = session_parse_object(session, answer);
    if (order == NULL) {
        return EXIT_STATUS_REFUSED;
    }
    if (session->json) {
        session_write_json(session, order);
    } else {
        order_view_write(order, session->out);
        json_decref(order);
    }
    return EXIT_STATUS_DONE;
}

static enum exit_status conclude(const struct session *session, struct service_answer *answer) {
    bool good = answer->status == 200 || answer->status == 201;
    enum exit_status status = good ? show_order(session, answer) : session_refuse(session, answer);
    service_answer_release(answer);
    return status;
}

/** True where the text is an order id; says what is wrong with it otherwise. */
static bool check_order_id(const struct session *session, const char *text) {
    uint64_t order_id;
    if (order_id_parse(slice_from_text(text), &order_id)) {
        return true;
    }
    (void)session_fail(session, EXIT_STATUS_USAGE,
                       "\"%.40s\" is no order id: expected 1 to 19 digits without a leading zero",
                       text);
    return false;
}

/** Sends a body of JSON, which is taken over, and shows the order that comes back. */
static enum exit_status send_json(struct session *session, struct service_request *request,
                                  json_t *body, const char *replayed_note) {
    struct service_answer answer;
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL) {
        return session_fail(session, EXIT_STATUS_USAGE, "an argument is no UTF-8 text");
    }
    request->body = slice_from_text(text);
    request->content_type = JSON_TYPE;
    bool answered = session_exchange(session, request, &answer);
    free(text);
    if (!answered) {
        return EXIT_STATUS_UNREACHABLE;
    }
    if (answer.replayed && !session->json) {
        fprintf(session->err, "%s\n", replayed_note);
    }
    return conclude(session, &answer);
}

/* --- create --- */

enum {
    CREATE_PARTNER_CODE,
    CREATE_PARTNER_ORDER_ID,
    CREATE_AMOUNT,
    CREATE_CURRENCY,
    CREATE_PAYMENT_TYPE,
    CREATE_BANK_CODE
};

static const struct command_option create_options[] = {
    [CREATE_PARTNER_CODE] = {"partner-code", "X", OPTION_TEXT, true, 0, 0, 0,
                             "Whose order it is: 1-16 of A-Za-z0-9_-"},
    [CREATE_PARTNER_ORDER_ID] = {"partner-order-id", "Y", OPTION_TEXT, true, 0, 0, 0,
                                 "The partner's own number: 1-36 of A-Za-z0-9._-"},
    [CREATE_AMOUNT] = {"amount", "N", OPTION_INTEGER, true, 0, 0, 0, "In minor units"},
    [CREATE_CURRENCY] = {"currency", "C", OPTION_TEXT, false, 0, 0, 0,
                         "ISO 4217, as EUR; else the service's default"},
    [CREATE_PAYMENT_TYPE] = {"payment-type", "T", OPTION_TEXT, false, 0, 0, 0,
                             "pay_with_bank (default), pay_with_card or pay_with_wallet"},
    [CREATE_BANK_CODE] = {"bank-code", "B", OPTION_TEXT, false, 0, 0, 0, "1-12 of A-Za-z0-9_-"},
};

static void set_member(json_t *body, const char *name, const char *text) {
    if (text != NULL) {
        /* Unchecked here: what is no UTF-8 is found when the body is written. */
        (void)json_object_set_new(body, name, json_string_nocheck(text));
    }
}

static enum exit_status run_create(struct session *session, const struct command_line *line) {
    /* A number of JSON as it was given: what is no amount, the service refuses and says why. */
    json_t *amount = json_loads(command_text(line, CREATE_AMOUNT), JSON_DECODE_ANY, NULL);
    if (!json_is_integer(amount)) {
        json_decref(amount);
        return session_fail(session, EXIT_STATUS_USAGE,
                            "--amount: expected a whole number of minor units up to 2^63-1");
    }
    json_t *body = json_object();
    set_member(body, "partner_code", command_text(line, CREATE_PARTNER_CODE));
    set_member(body, "partner_order_id", command_text(line, CREATE_PARTNER_ORDER_ID));
    (void)json_object_set_new(body, "amount", amount);
    set_member(body, "currency", command_text(line, CREATE_CURRENCY));
    set_member(body, "payment_type", command_text(line, CREATE_PAYMENT_TYPE));
    set_member(body, "bank_code", command_text(line, CREATE_BANK_CODE));
    struct service_request request = {.method = "POST", .target = "/v1/orders"};
    return send_json(session, &request, body,
                     "The reference has this order already: nothing was created.");
}

const struct command command_create = {
    .name = "create",
    .positionals = "",
    .summary = "Create an order and show it",
    .details = "The same reference with the same content again shows the order that it has; with\n"
               "another content it is refused.",
    .options = create_options,
    .option_count = ARRAY_COUNT(create_options),
    .run = run_create,
};

/* --- get --- */

enum { GET_MIN_VERSION };

static const struct command_option get_options[] = {
    [GET_MIN_VERSION] = {"min-version", "N", OPTION_NUMBER, false, 0, UINT32_MAX, 0,
                         "Refuse an older version than N"},
};

/** Asks until the service knows, for as long as one answer may take in all. */
static bool ask_until_known(struct session *session, const struct service_request *request,
                            struct service_answer *answer) {
    uint64_t waited_ms = 0;
    while (session_exchange(session, request, answer)) {
        uint64_t pause_ms = bytes_max_u64(answer->retry_after_seconds, 1) * 1000;
        if (answer->status != HTTP_ACCEPTED || waited_ms + pause_ms > session->timeout_ms) {
            return true;
        }
        service_answer_release(answer);
        (void)usleep((useconds_t)(pause_ms * 1000));
        waited_ms += pause_ms;
    }
    return false;
}

static enum exit_status run_get(struct session *session, const struct command_line *line) {
    char target[TARGET_MAX];
    struct service_answer answer;
    if (!check_order_id(session, line->positionals[0])) {
        return EXIT_STATUS_USAGE;
    }
    int size = snprintf(target, sizeof(target), "/v1/orders/%s", line->positionals[0]);
    if (command_has(line, GET_MIN_VERSION)) {
        (void)snprintf(target + size, sizeof(target) - (size_t)size, "?min_version=%llu",
                       (unsigned long long)command_number(line, GET_MIN_VERSION));
    }
    struct service_request request = {.target = target};
    if (!ask_until_known(session, &request, &answer)) {
        return EXIT_STATUS_UNREACHABLE;
    }
    if (answer.status == HTTP_ACCEPTED) {
        service_answer_release(&answer);
        return session_fail(session, EXIT_STATUS_REFUSED,
                            "the service is still looking the order up: try again");
    }
    return conclude(session, &answer);
}

const struct command command_get = {
    .name = "get",
    .positionals = "ID",
    .summary = "Show an order",
    .positional_min = 1,
    .positional_max = 1,
    .options = get_options,
    .option_count = ARRAY_COUNT(get_options),
    .run = run_get,
};

/* --- find --- */

/** Appends a query value, everything but unreserved characters encoded (RFC 3986, 2.3). */
static void append_encoded(struct text *target, const char *value) {
    for (; *value != 0; value++) {
        unsigned char byte = (unsigned char)*value;
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || strchr("-._~", byte) != NULL;
        if (plain) {
            text_append_char(target, *value);
        } else {
            text_append_format(target, "%%%02X", byte);
        }
    }
}

static enum exit_status run_find(struct session *session, const struct command_line *line) {
    char memory[TARGET_MAX];
    struct text target = text_over(memory, sizeof(memory) - 1);
    struct service_answer answer;
    text_append_literal(&target, "/v1/orders?partner_code=");
    append_encoded(&target, line->positionals[0]);
    text_append_literal(&target, "&partner_order_id=");
    append_encoded(&target, line->positionals[1]);
    if (target.truncated) {
        return session_fail(session, EXIT_STATUS_USAGE, "find: no reference is that long");
    }
    memory[target.size] = 0;
    struct service_request request = {.target = memory};
    return session_exchange(session, &request, &answer) ? conclude(session, &answer)
                                                        : EXIT_STATUS_UNREACHABLE;
}

const struct command command_find_order = {
    .name = "find",
    .positionals = "PARTNER_CODE PARTNER_ORDER_ID",
    .summary = "Show the order of a partner's reference",
    .details = "A reference that begins with two dashes goes behind a `--`.",
    .positional_min = 2,
    .positional_max = 2,
    .run = run_find,
};

/* --- set --- */

enum { SET_IF_MATCH, SET_REQUESTED_AT, SET_RESPONDED_AT };

static const struct command_option set_options[] = {
    [SET_IF_MATCH] = {"if-match", "N", OPTION_NUMBER, false, 1, UINT32_MAX, 0,
                      "Only if the order has version N now"},
    [SET_REQUESTED_AT] = {"requested-at", "T", OPTION_TEXT, false, 0, 0, 0,
                          "When processing began (RFC 3339); else now"},
    [SET_RESPONDED_AT] = {"responded-at", "T", OPTION_TEXT, false, 0, 0, 0,
                          "When the result came (RFC 3339); else now"},
};

static enum exit_status run_set(struct session *session, const struct command_line *line) {
    char target[TARGET_MAX];
    char condition[64];
    const char *status = line->positionals[1];
    if (!check_order_id(session, line->positionals[0])) {
        return EXIT_STATUS_USAGE;
    }
    if (order_status_from_name(slice_from_text(status)) == ORDER_STATUS_NONE) {
        return session_fail(session, EXIT_STATUS_USAGE,
                            "\"%.40s\" is no status: expected pending, processing, success, "
                            "cancel, timeout or error",
                            status);
    }
    (void)snprintf(target, sizeof(target), "/v1/orders/%s", line->positionals[0]);
    struct service_request request = {.method = "PATCH", .target = target};
    if (command_has(line, SET_IF_MATCH)) {
        (void)snprintf(condition, sizeof(condition), "If-Match: \"%llu\"",
                       (unsigned long long)command_number(line, SET_IF_MATCH));
        request.header = condition;
    }
    json_t *body = json_object();
    set_member(body, "status", status);
    set_member(body, "requested_at", command_text(line, SET_REQUESTED_AT));
    set_member(body, "responded_at", command_text(line, SET_RESPONDED_AT));
    return send_json(session, &request, body, "");
}

const struct command command_set = {
    .name = "set",
    .positionals = "ID STATUS",
    .summary = "Change an order's status and show the order",
    .details = "From pending to processing or any final status, from processing to any final one.\n"
               "Final: success, cancel, timeout, error.",
    .positional_min = 2,
    .positional_max = 2,
    .options = set_options,
    .option_count = ARRAY_COUNT(set_options),
    .run = run_set,
};
