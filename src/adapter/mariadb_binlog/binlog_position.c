#include "adapter/mariadb_binlog/binlog_position.h"

/** Reads a decimal number up to `max` off the front of the text. */
static bool take_number(struct slice *text, uint64_t max, uint64_t *value) {
    size_t digits = 0;
    *value = 0;
    while (digits < text->size && text->data[digits] >= '0' && text->data[digits] <= '9') {
        uint64_t digit = (uint64_t)(text->data[digits] - '0');
        if (*value > (max - digit) / 10) {
            return false;
        }
        *value = *value * 10 + digit;
        digits++;
    }
    text->data += digits;
    text->size -= digits;
    return digits > 0;
}

static bool take_char(struct slice *text, char expected) {
    if (text->size == 0 || text->data[0] != expected) {
        return false;
    }
    text->data++;
    text->size--;
    return true;
}

bool binlog_position_parse(struct slice text, struct binlog_position *position) {
    *position = (struct binlog_position){0};
    while (text.size > 0) {
        uint64_t domain;
        uint64_t server;
        uint64_t sequence;
        if (!take_number(&text, UINT32_MAX, &domain) || !take_char(&text, '-') ||
            !take_number(&text, UINT32_MAX, &server) || !take_char(&text, '-') ||
            !take_number(&text, UINT64_MAX, &sequence)) {
            return false;
        }
        struct binlog_gtid gtid = {(uint32_t)domain, (uint32_t)server, sequence};
        if (!binlog_position_advance(position, gtid)) {
            return false;
        }
        if (text.size > 0 && (!take_char(&text, ',') || text.size == 0)) {
            return false;
        }
    }
    return true;
}

void binlog_position_format(const struct binlog_position *position, struct text *out) {
    for (size_t i = 0; i < position->count; i++) {
        if (i > 0) {
            text_append_char(out, ',');
        }
        text_append_u64(out, position->gtids[i].domain);
        text_append_char(out, '-');
        text_append_u64(out, position->gtids[i].server);
        text_append_char(out, '-');
        text_append_u64(out, position->gtids[i].sequence);
    }
}

bool binlog_position_advance(struct binlog_position *position, struct binlog_gtid gtid) {
    size_t at = 0;
    while (at < position->count && position->gtids[at].domain != gtid.domain) {
        at++;
    }
    if (at == BINLOG_DOMAINS_MAX) {
        return false;
    }
    position->gtids[at] = gtid;
    if (at == position->count) {
        position->count++;
    }
    return true;
}
