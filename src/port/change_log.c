#include "port/change_log.h"

void change_cursor_format(const struct change_cursor *cursor, struct text *out) {
    for (uint32_t part = 0; part < cursor->parts; part++) {
        if (part > 0) {
            text_append_char(out, '.');
        }
        text_append_u64(out, cursor->positions[part]);
    }
}

/** Reads digits up to a dot or the end. */
static bool take_position(struct slice *text, uint64_t *position) {
    size_t digits = 0;
    *position = 0;
    while (digits < text->size && text->data[digits] >= '0' && text->data[digits] <= '9') {
        uint64_t digit = (uint64_t)(text->data[digits] - '0');
        if (*position > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *position = *position * 10 + digit;
        digits++;
    }
    bool canonical = digits == 1 || (digits > 1 && text->data[0] != '0');
    text->data += digits;
    text->size -= digits;
    return canonical;
}

bool change_cursor_parse(struct slice text, uint32_t parts, struct change_cursor *cursor) {
    *cursor = (struct change_cursor){.parts = parts};
    if (slice_equal(text, SLICE_LITERAL("0"))) {
        return true;
    }
    for (uint32_t part = 0; part < parts; part++) {
        if (part > 0) {
            if (text.size == 0 || text.data[0] != '.') {
                return false;
            }
            text.data++;
            text.size--;
        }
        if (!take_position(&text, &cursor->positions[part])) {
            return false;
        }
    }
    return text.size == 0;
}
