#include "pipeline/balance_result.h"

#include "base/rfc3339.h"
#include "order/order_id.h"

#define TEXT_MAX 64

/** The text of a string member that fits; an escaped one is decoded into `memory`. */
static bool text_of(const struct json_value *value, char memory[TEXT_MAX], struct slice *text) {
    size_t size;
    if (value->kind != JSON_KIND_STRING ||
        !json_string_decode(value->raw, value->escaped, memory, TEXT_MAX, &size)) {
        return false;
    }
    *text = (struct slice){memory, size};
    return true;
}

static const char *read_id(struct slice text, struct order_change *change) {
    return order_id_parse(text, &change->order_id) ? NULL : "order_id is no order id";
}

static const char *read_result(struct slice text, struct order_change *change) {
    change->status = order_status_from_name(text);
    switch (change->status) {
    case ORDER_STATUS_SUCCESS:
    case ORDER_STATUS_ERROR:
    case ORDER_STATUS_CANCEL:
    case ORDER_STATUS_PROCESSING:
        return NULL;
    default:
        return "result is none of success, error, cancel, processing";
    }
}

static const char *read_bank_code(struct slice text, struct order_change *change) {
    if (!order_bank_code_is_valid(text)) {
        return "bank_code is no bank code";
    }
    order_text_set(change->bank_code, sizeof(change->bank_code), text);
    return NULL;
}

static const char *read_time(struct slice text, struct order_change *change) {
    return rfc3339_parse(text, &change->responded_at_us) && change->responded_at_us > 0
               ? NULL
               : "responded_at is no time";
}

struct known_member {
    const char *name;
    bool may_be_null;
    const char *wrong_kind;
    const char *(*read)(struct slice text, struct order_change *change);
};

static const struct known_member known_members[] = {
    {"order_id", false, "order_id is no text", read_id},
    {"result", false, "result is no text", read_result},
    {"bank_code", true, "bank_code is no text", read_bank_code},
    {"responded_at", true, "responded_at is no text", read_time},
};

static const char *read_member(const struct json_member *member, struct order_change *change) {
    char key_memory[TEXT_MAX];
    char value_memory[TEXT_MAX];
    size_t key_size;
    struct slice text;
    if (!json_string_decode(member->key, member->key_escaped, key_memory, TEXT_MAX, &key_size)) {
        return NULL; /* longer than any that is known */
    }
    for (size_t i = 0; i < ARRAY_COUNT(known_members); i++) {
        const struct known_member *known = &known_members[i];
        if (!slice_equal((struct slice){key_memory, key_size}, slice_from_text(known->name))) {
            continue;
        }
        if (known->may_be_null && member->value.kind == JSON_KIND_NULL) {
            return NULL;
        }
        return text_of(&member->value, value_memory, &text) ? known->read(text, change)
                                                            : known->wrong_kind;
    }
    return NULL;
}

const char *balance_result_read(struct slice message, struct json_keys *keys,
                                struct order_change *change) {
    struct json_reader reader;
    struct json_member member;
    const char *fault = NULL;
    *change = (struct order_change){.order_id = 0};
    if (message.size > JSON_DOCUMENT_BYTES_MAX) {
        return "larger than 16 KiB";
    }
    json_reader_init(&reader, message, keys);
    while (json_reader_next(&reader, &member)) {
        const char *wrong = read_member(&member, change);
        fault = fault == NULL ? wrong : fault;
    }
    if (json_reader_status(&reader) != JSON_STATUS_OK) {
        return json_reader_status(&reader) == JSON_STATUS_NO_OBJECT ? "no JSON object" : "no JSON";
    }
    if (fault == NULL && change->order_id == 0) {
        fault = "order_id is missing";
    }
    if (fault == NULL && change->status == ORDER_STATUS_NONE) {
        fault = "result is missing";
    }
    if (change->status == ORDER_STATUS_PROCESSING) {
        change->responded_at_us = 0;
    }
    return fault;
}
