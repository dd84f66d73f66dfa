#include "api/parameters.h"

#include "net/http_text.h"

/* Longer than any name that is known. */
#define PARAMETER_NAME_MAX 32

static int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    char lower = (char)(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/** Decodes percent escapes. False where one is none or the result does not fit. */
static bool decode(struct slice raw, char *out, size_t capacity, struct slice *value) {
    size_t size = 0;
    for (size_t at = 0; at < raw.size; at++) {
        char byte = raw.data[at];
        if (byte == '%') {
            int high = at + 2 < raw.size ? hex_value(raw.data[at + 1]) : -1;
            int low = at + 2 < raw.size ? hex_value(raw.data[at + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            byte = (char)(high * 16 + low);
            at += 2;
        }
        if (size == capacity) {
            return false;
        }
        out[size++] = byte;
    }
    *value = (struct slice){out, size};
    return true;
}

/** Takes what comes before the next `separator`, or all, off the front of `rest`. */
static struct slice take_until(struct slice *rest, char separator) {
    const char *found = rest->size == 0 ? NULL : memchr(rest->data, separator, rest->size);
    size_t size = found == NULL ? rest->size : (size_t)(found - rest->data);
    struct slice taken = {rest->data, size};
    size_t skipped = found == NULL ? size : size + 1;
    rest->data += skipped;
    rest->size -= skipped;
    return taken;
}

enum parameter_status parameter_find(struct slice query, const char *name, char *out,
                                     size_t capacity, struct slice *value) {
    enum parameter_status status = PARAMETER_ABSENT;
    char decoded[PARAMETER_NAME_MAX];
    while (query.size > 0) {
        struct slice pair = take_until(&query, '&');
        struct slice key = take_until(&pair, '=');
        /* Decoded too: whoever filters requests before us decodes names. */
        if (!decode(key, decoded, sizeof(decoded), &key) ||
            !slice_equal(key, slice_from_text(name))) {
            continue;
        }
        if (status == PARAMETER_PRESENT || !decode(pair, out, capacity, value)) {
            return PARAMETER_MALFORMED;
        }
        status = PARAMETER_PRESENT;
    }
    return status;
}

bool parameter_parse_u32(struct slice text, uint32_t *value) {
    uint64_t parsed = 0;
    if (text.size == 0 || text.size > 10 || (text.size > 1 && text.data[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!http_is_digit(text.data[i])) {
            return false;
        }
        parsed = parsed * 10 + (uint64_t)(text.data[i] - '0');
    }
    *value = (uint32_t)parsed;
    return parsed <= UINT32_MAX;
}

/** One entity tag of a list. */
struct tag {
    bool any; /* `*` */
    bool weak;
    uint32_t version;
};

static bool parse_tag(struct slice text, struct tag *tag) {
    *tag = (struct tag){.any = slice_equal(text, SLICE_LITERAL("*"))};
    if (tag->any) {
        return true;
    }
    if (text.size > 2 && text.data[0] == 'W' && text.data[1] == '/') {
        tag->weak = true;
        text.data += 2;
        text.size -= 2;
    }
    if (text.size < 3 || text.data[0] != '"' || text.data[text.size - 1] != '"') {
        return false;
    }
    return parameter_parse_u32((struct slice){text.data + 1, text.size - 2}, &tag->version);
}

/** Notes a version, once, and only if an order can have it: so there is room for every list. */
static void note_version(struct order_match *match, uint32_t version) {
    bool noted = version == 0 || version > ORDER_MATCH_MAX;
    for (size_t i = 0; i < match->count; i++) {
        noted |= match->versions[i] == version;
    }
    if (!noted) {
        match->versions[match->count++] = version;
    }
}

bool parameter_read_if_match(const struct http_head *head, struct order_match *match) {
    uint32_t at = 0;
    size_t tags = 0;
    struct slice value;
    *match = (struct order_match){.required = false};
    while (http_head_next(head, HTTP_FIELD_IF_MATCH, &at, &value)) {
        struct slice item;
        match->required = true;
        while (http_list_next(&value, &item)) {
            struct tag tag;
            if (!parse_tag(item, &tag) || tag.weak) {
                return false;
            }
            tags++;
            match->any |= tag.any;
            if (!tag.any) {
                note_version(match, tag.version);
            }
        }
    }
    /* `*` stands alone, and a field without any tag is none. */
    return !match->required || (tags > 0 && (!match->any || tags == 1));
}

enum none_match parameter_none_match(const struct http_head *head, uint32_t version) {
    uint32_t at = 0;
    struct slice value;
    enum none_match result = NONE_MATCH_ABSENT;
    size_t tags = 0;
    bool any = false;
    while (http_head_next(head, HTTP_FIELD_IF_NONE_MATCH, &at, &value)) {
        struct slice item;
        result = result == NONE_MATCH_ABSENT ? NONE_MATCH_OTHER : result;
        while (http_list_next(&value, &item)) {
            struct tag tag;
            if (!parse_tag(item, &tag)) {
                return NONE_MATCH_MALFORMED;
            }
            tags++;
            any |= tag.any;
            if (tag.any || tag.version == version) {
                result = NONE_MATCH_SAME;
            }
        }
    }
    bool malformed = result != NONE_MATCH_ABSENT && (tags == 0 || (any && tags > 1));
    return malformed ? NONE_MATCH_MALFORMED : result;
}

/** The charset parameter of a media type's parameters, without quotes; empty where there is
 *  none. */
static struct slice find_charset(struct slice parameters) {
    while (parameters.size > 0) {
        struct slice parameter = take_until(&parameters, ';');
        struct slice name = http_trim(take_until(&parameter, '='));
        struct slice value = http_trim(parameter);
        if (http_equal_ignoring_case(name, SLICE_LITERAL("charset"))) {
            if (value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"') {
                value = (struct slice){value.data + 1, value.size - 2};
            }
            return value;
        }
    }
    return (struct slice){NULL, 0};
}

bool parameter_has_type(const struct http_head *head, struct slice type) {
    uint32_t at = 0;
    struct slice value;
    struct slice second;
    if (!http_head_next(head, HTTP_FIELD_CONTENT_TYPE, &at, &value) ||
        http_head_next(head, HTTP_FIELD_CONTENT_TYPE, &at, &second)) {
        return false;
    }
    struct slice name = http_trim(take_until(&value, ';'));
    struct slice charset = find_charset(value);
    return http_equal_ignoring_case(name, type) &&
           (charset.size == 0 || http_equal_ignoring_case(charset, SLICE_LITERAL("utf-8")));
}
