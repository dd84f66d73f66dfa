#include "orderctl/bench_answer.h"

#include <strings.h>

#define STATUS_LINE_MIN 13 /* HTTP/1.1 200\r\n */

/** Reads digits up to `end`; false where there is anything else, or too many. */
static bool parse_digits(const char *at, const char *end, uint64_t *value) {
    *value = 0;
    if (at == end || end - at > 18) {
        return false;
    }
    for (; at < end; at++) {
        if (*at < '0' || *at > '9') {
            return false;
        }
        *value = *value * 10 + (uint64_t)(*at - '0');
    }
    return true;
}

/* --- HTTP. --- */

/** The value of the line [begin, end), which has no line end, where its name is `name`. */
static bool line_has_name(struct slice line, struct slice name) {
    return line.size > name.size && line.data[name.size] == ':' &&
           strncasecmp(line.data, name.data, name.size) == 0;
}

static struct slice line_value(struct slice line, size_t name_size) {
    size_t at = name_size + 1;
    while (at < line.size && line.data[at] == ' ') {
        at++;
    }
    return (struct slice){line.data + at, line.size - at};
}

/** Takes the next line off the head, without its end; false where there is none. */
static bool next_line(struct slice *head, struct slice *line) {
    const char *feed = head->size == 0 ? NULL : memchr(head->data, '\n', head->size);
    if (feed == NULL) {
        return false;
    }
    size_t size = (size_t)(feed - head->data);
    *line = (struct slice){head->data, size > 0 && feed[-1] == '\r' ? size - 1 : size};
    *head = (struct slice){feed + 1, head->size - size - 1};
    return true;
}

struct slice bench_answer_header(struct slice head, struct slice name) {
    struct slice line;
    while (next_line(&head, &line)) {
        if (line_has_name(line, name)) {
            return line_value(line, name.size);
        }
    }
    return (struct slice){NULL, 0};
}

static bool read_status(struct slice bytes, int *status) {
    uint64_t value;
    if (memcmp(bytes.data, "HTTP/1.", 7) != 0 || bytes.data[8] != ' ' ||
        !parse_digits(bytes.data + 9, bytes.data + 12, &value)) {
        return false;
    }
    *status = (int)value;
    return true;
}

/** Reads the headers that matter. Returns false where the length is missing or no number. */
static bool read_headers(struct slice head, uint64_t *length, bool *closes) {
    static const struct slice length_name = {"content-length", 14};
    static const struct slice connection_name = {"connection", 10};
    bool has_length = false;
    struct slice line;
    *closes = false;
    while (next_line(&head, &line) && line.size > 0) {
        /* Nearly every line is told apart by its first letter. */
        if ((line.data[0] | 0x20) != 'c') {
            continue;
        }
        if (line_has_name(line, length_name)) {
            struct slice value = line_value(line, length_name.size);
            has_length = parse_digits(value.data, value.data + value.size, length);
        } else if (line_has_name(line, connection_name)) {
            struct slice value = line_value(line, connection_name.size);
            *closes = value.size == 5 && strncasecmp(value.data, "close", 5) == 0;
        }
    }
    return has_length;
}

enum bench_cut bench_cut_http(struct slice bytes, struct bench_answer *answer) {
    uint64_t length;
    *answer = (struct bench_answer){.size = 0};
    if (bytes.size < STATUS_LINE_MIN) {
        return BENCH_CUT_MORE;
    }
    if (!read_status(bytes, &answer->status)) {
        return BENCH_CUT_MALFORMED;
    }
    size_t searched = bytes_min_size(bytes.size, BENCH_HEAD_BYTES_MAX);
    const char *end = memmem(bytes.data, searched, "\r\n\r\n", 4);
    if (end == NULL) {
        return bytes.size < BENCH_HEAD_BYTES_MAX ? BENCH_CUT_MORE : BENCH_CUT_MALFORMED;
    }
    answer->head = (struct slice){bytes.data, (size_t)(end - bytes.data) + 2};
    if (!read_headers(answer->head, &length, &answer->closes)) {
        return BENCH_CUT_MALFORMED;
    }
    answer->size = answer->head.size + 2 + length;
    answer->body = (struct slice){end + 4, length};
    return answer->size <= bytes.size ? BENCH_CUT_WHOLE : BENCH_CUT_MORE;
}

/* --- RESP. --- */

/** Reads the number on the line behind the kind, up to the line's end. `*line_size` is with both.
 *  A minus is only -1. */
static enum bench_cut read_count(struct slice bytes, int64_t *count, size_t *line_size) {
    const char *feed = memchr(bytes.data, '\n', bytes_min_size(bytes.size, 32));
    uint64_t value;
    if (feed == NULL) {
        return bytes.size < 32 ? BENCH_CUT_MORE : BENCH_CUT_MALFORMED;
    }
    *line_size = (size_t)(feed - bytes.data) + 1;
    if (*line_size == 5 && memcmp(bytes.data + 1, "-1\r\n", 4) == 0) {
        *count = -1;
        return BENCH_CUT_WHOLE;
    }
    if (*line_size < 4 || feed[-1] != '\r' || !parse_digits(bytes.data + 1, feed - 1, &value)) {
        return BENCH_CUT_MALFORMED;
    }
    *count = (int64_t)value;
    return BENCH_CUT_WHOLE;
}

/** Finds the size of a reply that is no array. */
static enum bench_cut cut_simple(struct slice bytes, size_t *size) {
    int64_t count;
    *size = 0;
    if (bytes.size == 0) {
        return BENCH_CUT_MORE;
    }
    if (bytes.data[0] == '$') {
        size_t line_size;
        enum bench_cut cut = read_count(bytes, &count, &line_size);
        if (cut != BENCH_CUT_WHOLE) {
            return cut;
        }
        *size = line_size + (count < 0 ? 0 : (size_t)count + 2);
        return *size <= bytes.size ? BENCH_CUT_WHOLE : BENCH_CUT_MORE;
    }
    if (strchr("+-:", bytes.data[0]) == NULL || bytes.data[0] == 0) {
        return BENCH_CUT_MALFORMED;
    }
    const char *feed = memchr(bytes.data, '\n', bytes.size);
    if (feed == NULL) {
        return BENCH_CUT_MORE;
    }
    *size = (size_t)(feed - bytes.data) + 1;
    return BENCH_CUT_WHOLE;
}

static enum bench_cut cut_array(struct slice bytes, size_t *size) {
    int64_t count;
    enum bench_cut cut = read_count(bytes, &count, size);
    size_t at = *size;
    *size = 0;
    if (cut != BENCH_CUT_WHOLE) {
        return cut;
    }
    if (count > BENCH_RESP_ITEMS_MAX) {
        return BENCH_CUT_MALFORMED;
    }
    for (int64_t i = 0; i < count; i++) {
        size_t item_size;
        cut = cut_simple((struct slice){bytes.data + at, bytes.size - at}, &item_size);
        if (cut != BENCH_CUT_WHOLE) {
            return cut; /* arrays within arrays are none of ours */
        }
        at += item_size;
    }
    *size = at;
    return BENCH_CUT_WHOLE;
}

enum bench_cut bench_cut_resp(struct slice bytes, struct bench_answer *answer) {
    *answer = (struct bench_answer){.size = 0};
    if (bytes.size == 0) {
        return BENCH_CUT_MORE;
    }
    enum bench_cut cut =
        bytes.data[0] == '*' ? cut_array(bytes, &answer->size) : cut_simple(bytes, &answer->size);
    answer->status = bytes.data[0] == '-' ? 500 : 200;
    answer->body = (struct slice){bytes.data, answer->size};
    return cut;
}

bool bench_resp_enter_array(struct slice *reply, size_t count) {
    int64_t items;
    size_t line_size;
    if (reply->size == 0 || reply->data[0] != '*' ||
        read_count(*reply, &items, &line_size) != BENCH_CUT_WHOLE || items != (int64_t)count) {
        return false;
    }
    *reply = (struct slice){reply->data + line_size, reply->size - line_size};
    return true;
}

bool bench_resp_next_bulk(struct slice *reply, struct slice *bulk) {
    int64_t length;
    size_t line_size;
    if (reply->size == 0 || reply->data[0] != '$' ||
        read_count(*reply, &length, &line_size) != BENCH_CUT_WHOLE) {
        return false;
    }
    size_t size = line_size + (length < 0 ? 0 : (size_t)length + 2);
    *bulk = length < 0 ? (struct slice){NULL, 0}
                       : (struct slice){reply->data + line_size, (size_t)length};
    *reply = (struct slice){reply->data + size, reply->size - size};
    return true;
}
