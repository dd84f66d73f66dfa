#include "base/text.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void text_append_u64(struct text *text, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    text_append(text, digits + at, sizeof(digits) - at);
}

void text_append_format(struct text *text, const char *format, ...) {
    size_t room = text->capacity - text->size;
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(text->data + text->size, room, format, arguments);
    va_end(arguments);
    if (wanted < 0 || (size_t)wanted >= room) {
        text->truncated = true;
        return;
    }
    text->size += (size_t)wanted;
}

void text_append_json_escaped(struct text *text, struct slice raw) {
    for (size_t at = 0; at < raw.size;) {
        unsigned char byte = (unsigned char)raw.data[at];
        if (byte == '"' || byte == '\\') {
            char escaped[2] = {'\\', (char)byte};
            text_append(text, escaped, sizeof(escaped));
            at++;
        } else if (byte < 0x20) {
            text_append_format(text, "\\u%04x", byte);
            at++;
        } else {
            size_t length = utf8_sequence_length(raw.data + at, raw.size - at);
            if (length == 0) {
                text_append_literal(text, "\xef\xbf\xbd");
                at++;
            } else {
                text_append(text, raw.data + at, length);
                at += length;
            }
        }
    }
}
