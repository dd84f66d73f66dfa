#include "adapter/mariadb_binlog/binlog_decoder.h"

#include "adapter/mariadb_binlog/order_row.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>
#include <zlib.h>

enum event_type {
    EVENT_QUERY = 2,
    EVENT_FORMAT = 15,
    EVENT_XID = 16,
    EVENT_TABLE_MAP = 19,
    EVENT_WRITE_ROWS = 23,
    EVENT_UPDATE_ROWS = 24,
    EVENT_DELETE_ROWS = 25,
    EVENT_INCIDENT = 26,
    EVENT_WRITE_ROWS_2 = 30, /* the second form, which MariaDB reads and does not write */
    EVENT_DELETE_ROWS_2 = 32,
    EVENT_XA_PREPARE = 38,
    EVENT_GTID = 162,
    EVENT_QUERY_COMPRESSED = 165,
    EVENT_WRITE_ROWS_COMPRESSED = 166,
    EVENT_DELETE_ROWS_2_COMPRESSED = 171
};

enum gtid_flag { GTID_STANDS_ALONE = 0x01, GTID_IS_DDL = 0x20, GTID_IS_PREPARED = 0x40 };

/* The last part of a format event: which checksum the events after it have. */
enum checksum { CHECKSUM_NONE = 0, CHECKSUM_CRC32 = 1 };

#define CHECKSUM_BYTES 4
#define TABLE_ID_BYTES 6
#define TABLE_NAME "orders"

struct event {
    struct binlog_cursor body;
    int64_t time_us;
    uint32_t server;
    uint8_t type;
};

void binlog_decoder_init(struct binlog_decoder *decoder, struct log *log, const char *database) {
    *decoder = (struct binlog_decoder){.log = log};
    size_t size = strnlen(database, BINLOG_DATABASE_MAX);
    memcpy(decoder->database, database, size);
}

void binlog_decoder_begin(struct binlog_decoder *decoder, const struct binlog_position *position) {
    decoder->position = *position;
    decoder->in_group = false;
    decoder->knows_table = false;
    decoder->checksum_bytes = 0; /* until the stream's first event says what there is */
}

static enum binlog_verdict broken(struct binlog_decoder *decoder, const char *what) {
    fault_set(&decoder->fault, "%s after %u-%u-%llu is cut off or has other bytes than expected",
              what, decoder->group.domain, decoder->group.server,
              (unsigned long long)decoder->group.sequence);
    return BINLOG_BROKEN;
}

static enum binlog_verdict foreign(struct binlog_decoder *decoder, const char *what) {
    fault_set(&decoder->fault, "transaction %u-%u-%llu: %s", decoder->group.domain,
              decoder->group.server, (unsigned long long)decoder->group.sequence, what);
    return BINLOG_FOREIGN;
}

static bool is_rows(uint8_t type) {
    return (type >= EVENT_WRITE_ROWS && type <= EVENT_DELETE_ROWS) ||
           (type >= EVENT_WRITE_ROWS_2 && type <= EVENT_DELETE_ROWS_2) ||
           (type >= EVENT_WRITE_ROWS_COMPRESSED && type <= EVENT_DELETE_ROWS_2_COMPRESSED);
}

bool binlog_decoder_ignores(const struct binlog_decoder *decoder, struct slice head) {
    struct binlog_cursor cursor = binlog_cursor_over(head);
    (void)binlog_take(&cursor, 4);
    uint8_t type = (uint8_t)binlog_take_number(&cursor, 1);
    (void)binlog_take(&cursor, BINLOG_HEADER_BYTES - 5);
    uint64_t table_id = binlog_take_number(&cursor, TABLE_ID_BYTES);
    if (cursor.failed) {
        return false;
    }
    if (is_rows(type)) {
        return !decoder->knows_table || table_id != decoder->table_id;
    }
    return type != EVENT_QUERY && type != EVENT_QUERY_COMPRESSED && type != EVENT_XID &&
           type != EVENT_TABLE_MAP && type != EVENT_GTID && type != EVENT_INCIDENT &&
           type != EVENT_XA_PREPARE && type != EVENT_FORMAT;
}

/* --- Transactions. --- */

static enum binlog_verdict end_group(struct binlog_decoder *decoder, struct binlog_sink *sink) {
    if (decoder->in_group) {
        decoder->in_group = false;
        sink->committed = true;
        if (!binlog_position_advance(&decoder->position, decoder->group)) {
            return foreign(decoder, "more replication domains than a position holds");
        }
    }
    return BINLOG_DONE;
}

static enum binlog_verdict take_gtid(struct binlog_decoder *decoder, struct event *event,
                                     struct binlog_sink *sink) {
    uint64_t sequence = binlog_take_number(&event->body, 8);
    uint32_t domain = (uint32_t)binlog_take_number(&event->body, 4);
    uint8_t flags = (uint8_t)binlog_take_number(&event->body, 1);
    if (event->body.failed) {
        return broken(decoder, "a GTID event");
    }
    /* One that stands alone and was no statement had no end of its own. */
    if (decoder->in_group && !decoder->group_stands_alone) {
        return broken(decoder, "a transaction");
    }
    enum binlog_verdict verdict = end_group(decoder, sink);
    decoder->group = (struct binlog_gtid){domain, event->server, sequence};
    decoder->in_group = true;
    decoder->group_stands_alone = (flags & GTID_STANDS_ALONE) != 0;
    decoder->group_is_prepared = (flags & GTID_IS_PREPARED) != 0;
    decoder->group_has_orders = false;
    return verdict;
}

static bool begins_with(struct slice text, const char *word) {
    size_t size = strlen(word);
    return text.size >= size && strncasecmp(text.data, word, size) == 0;
}

static bool mentions_orders(struct slice text) {
    for (size_t i = 0; i + strlen(TABLE_NAME) <= text.size; i++) {
        if (strncasecmp(text.data + i, TABLE_NAME, strlen(TABLE_NAME)) == 0) {
            return true;
        }
    }
    return false;
}

/** A statement in the log is the end of a transaction, DDL, or a change that was logged as its
 * text: of which, for our table, the rows are not known. */
static enum binlog_verdict judge_statement(struct binlog_decoder *decoder, struct slice database,
                                           struct slice statement, struct binlog_sink *sink) {
    bool ours = slice_equal(database, slice_from_text(decoder->database));
    if (begins_with(statement, "COMMIT")) {
        return end_group(decoder, sink);
    }
    if (begins_with(statement, "ROLLBACK") && !begins_with(statement, "ROLLBACK TO")) {
        return decoder->group_has_orders
                   ? foreign(decoder, "rows of `orders` were logged and then rolled back")
                   : end_group(decoder, sink);
    }
    if (!decoder->group_stands_alone) {
        bool control = begins_with(statement, "BEGIN") || begins_with(statement, "SAVEPOINT") ||
                       begins_with(statement, "ROLLBACK TO");
        return ours && !control && mentions_orders(statement)
                   ? foreign(decoder, "a change of `orders` was logged as a statement, not as rows")
                   : BINLOG_DONE;
    }
    if (ours && mentions_orders(statement) &&
        (begins_with(statement, "TRUNCATE") || begins_with(statement, "DROP"))) {
        log_error(decoder->log, "binlog", "transaction %u-%u-%llu: %.*s", decoder->group.domain,
                  decoder->group.server, (unsigned long long)decoder->group.sequence,
                  (int)bytes_min_size(statement.size, 100), statement.data);
        sink->alarming_deletes++;
    }
    return end_group(decoder, sink);
}

static enum binlog_verdict take_query(struct binlog_decoder *decoder, struct event *event,
                                      struct binlog_sink *sink) {
    struct binlog_cursor *body = &event->body;
    (void)binlog_take(body, 4 + 4); /* thread, seconds */
    uint64_t database_size = binlog_take_number(body, 1);
    (void)binlog_take(body, 2); /* error */
    uint64_t status_size = binlog_take_number(body, 2);
    (void)binlog_take_slice(body, status_size);
    struct slice database = binlog_take_slice(body, database_size);
    (void)binlog_take(body, 1);
    if (body->failed) {
        return broken(decoder, "a statement");
    }
    struct slice statement = {(const char *)body->data, body->left};
    return judge_statement(decoder, database, statement, sink);
}

/* --- Rows. --- */

static enum binlog_verdict take_table_map(struct binlog_decoder *decoder, struct event *event) {
    struct binlog_cursor *body = &event->body;
    uint64_t table_id = binlog_take_number(body, TABLE_ID_BYTES);
    (void)binlog_take(body, 2); /* flags */
    struct slice database = binlog_take_slice(body, binlog_take_number(body, 1));
    (void)binlog_take(body, 1);
    struct slice table = binlog_take_slice(body, binlog_take_number(body, 1));
    (void)binlog_take(body, 1);
    if (body->failed) {
        return broken(decoder, "a table map");
    }
    if (!slice_equal(database, slice_from_text(decoder->database)) ||
        !slice_equal(table, SLICE_LITERAL(TABLE_NAME))) {
        if (decoder->knows_table && decoder->table_id == table_id) {
            decoder->knows_table = false;
        }
        return BINLOG_DONE;
    }
    struct fault fault;
    if (!order_row_layout_is_known(body, &fault)) {
        char what[FAULT_TEXT_MAX];
        (void)snprintf(what, sizeof(what), "table `orders`: %.300s", fault.text);
        return foreign(decoder, what);
    }
    decoder->table_id = table_id;
    decoder->knows_table = true;
    return BINLOG_DONE;
}

/** The bitmap of the columns that the images have says "all". */
static bool take_full_bitmap(struct binlog_cursor *body) {
    const uint8_t *bitmap = binlog_take(body, ORDER_ROW_BITMAP_BYTES);
    return bitmap != NULL && bitmap[0] == 0xff && (bitmap[1] & 0x1f) == 0x1f;
}

static enum binlog_verdict take_rows(struct binlog_decoder *decoder, struct event *event,
                                     struct binlog_sink *sink) {
    struct binlog_cursor *body = &event->body;
    uint64_t table_id = binlog_take_number(body, TABLE_ID_BYTES);
    (void)binlog_take(body, 2); /* flags */
    if (body->failed) {
        return broken(decoder, "a rows event");
    }
    if (!decoder->knows_table || table_id != decoder->table_id) {
        return BINLOG_DONE;
    }
    if (event->type < EVENT_WRITE_ROWS || event->type > EVENT_DELETE_ROWS) {
        return foreign(decoder, "rows are compressed (log_bin_compress) or in MySQL's form");
    }
    if (decoder->group_is_prepared) {
        return foreign(decoder, "`orders` was changed in an XA transaction");
    }
    uint64_t count = binlog_take_length(body);
    if (count != ORDER_ROW_COLUMNS || !take_full_bitmap(body) ||
        (event->type == EVENT_UPDATE_ROWS && !take_full_bitmap(body))) {
        return foreign(decoder, "rows do not have all columns (binlog_row_image is not FULL)");
    }
    decoder->group_has_orders = true;
    decoder->rows = *body;
    decoder->rows_kind = event->type;
    decoder->rows_time_us = event->time_us;
    return binlog_decoder_go_on(decoder, sink);
}

static void note_broken_row(struct binlog_decoder *decoder, const struct order_record *record,
                            enum order_record_fault fault, struct binlog_sink *sink) {
    sink->broken_rows++;
    log_error(decoder->log, "binlog", "order %llu in transaction %u-%u-%llu is not valid: %s",
              (unsigned long long)record->order_id, decoder->group.domain, decoder->group.server,
              (unsigned long long)decoder->group.sequence, order_record_fault_name(fault));
}

static void note_delete(struct binlog_decoder *decoder, const struct order_record *record,
                        struct binlog_sink *sink) {
    if (order_status_is_final(record->status)) {
        sink->skipped_deletes++;
        return;
    }
    sink->alarming_deletes++;
    log_error(decoder->log, "binlog", "order %llu was removed in transaction %u-%u-%llu as %s",
              (unsigned long long)record->order_id, decoder->group.domain, decoder->group.server,
              (unsigned long long)decoder->group.sequence, order_status_name(record->status));
}

/** When the row was committed, as near as the log tells: it has whole seconds; the row knows when
 *  it was changed, which is shortly before, if it is that second. */
static int64_t committed_at(int64_t second_us, const struct order_record *record) {
    bool same = record->updated_at_us >= second_us && record->updated_at_us < second_us + 1000000;
    return same ? record->updated_at_us : second_us;
}

/** Reads one row (of an update, its two images). */
static void take_row(struct binlog_decoder *decoder, struct binlog_sink *sink) {
    struct order_record *record = &sink->orders[sink->count];
    enum order_record_fault fault = order_row_read(&decoder->rows, record);
    if (decoder->rows_kind == EVENT_DELETE_ROWS) {
        if (!decoder->rows.failed) {
            note_delete(decoder, record, sink);
        }
        return;
    }
    if (decoder->rows_kind == EVENT_UPDATE_ROWS) {
        struct order_record before = *record;
        fault = order_row_read(&decoder->rows, record);
        if (!decoder->rows.failed && before.order_id != record->order_id) {
            before.status =
                ORDER_STATUS_NONE; /* whatever it was, nobody gives an order another id */
            note_delete(decoder, &before, sink);
        }
    }
    if (decoder->rows.failed) {
        return;
    }
    if (fault != ORDER_RECORD_VALID) {
        note_broken_row(decoder, record, fault, sink);
        return;
    }
    sink->committed_us[sink->count] = committed_at(decoder->rows_time_us, record);
    sink->count++;
}

enum binlog_verdict binlog_decoder_go_on(struct binlog_decoder *decoder, struct binlog_sink *sink) {
    while (decoder->rows.left > 0) {
        if (sink->count == sink->limit) {
            return BINLOG_FULL;
        }
        take_row(decoder, sink);
        if (decoder->rows.failed) {
            return broken(decoder, "a row of `orders`");
        }
    }
    return BINLOG_DONE;
}

/* --- All events. --- */

/** How the events after this one are made. */
static enum binlog_verdict take_format(struct binlog_decoder *decoder, struct event *event) {
    struct binlog_cursor *body = &event->body;
    uint64_t version = binlog_take_number(body, 2);
    (void)binlog_take(body, 50 + 4); /* the server's version, a time */
    uint64_t header_bytes = binlog_take_number(body, 1);
    if (body->failed || body->left < 1 + CHECKSUM_BYTES) {
        return broken(decoder, "a format event");
    }
    uint8_t checksum = body->data[body->left - CHECKSUM_BYTES - 1];
    if (version != 4 || header_bytes != BINLOG_HEADER_BYTES || checksum > CHECKSUM_CRC32) {
        return foreign(decoder, "the log has another format");
    }
    decoder->checksum_bytes = checksum == CHECKSUM_CRC32 ? CHECKSUM_BYTES : 0;
    return BINLOG_DONE;
}

/** Takes the checksum off the end of an event. False where it is not that of the event. */
static bool take_checksum(const struct binlog_decoder *decoder, struct slice *event) {
    if (decoder->checksum_bytes == 0) {
        return true;
    }
    if (event->size < BINLOG_HEADER_BYTES + CHECKSUM_BYTES) {
        return false;
    }
    event->size -= CHECKSUM_BYTES;
    uLong sum = crc32(0, (const Bytef *)event->data, (uInt)event->size);
    return (uint32_t)sum == bytes_load_u32(event->data + event->size);
}

static enum binlog_verdict judge(struct binlog_decoder *decoder, struct event *event,
                                 struct binlog_sink *sink) {
    switch (event->type) {
    case EVENT_GTID:
        return take_gtid(decoder, event, sink);
    case EVENT_XID:
    case EVENT_XA_PREPARE:
        return end_group(decoder, sink);
    case EVENT_QUERY:
        return take_query(decoder, event, sink);
    case EVENT_QUERY_COMPRESSED:
        return foreign(decoder, "statements are compressed (log_bin_compress)");
    case EVENT_TABLE_MAP:
        return take_table_map(decoder, event);
    case EVENT_INCIDENT:
        return foreign(decoder, "the server says that its log has a gap");
    default:
        return is_rows(event->type) ? take_rows(decoder, event, sink) : BINLOG_DONE;
    }
}

enum binlog_verdict binlog_decoder_take(struct binlog_decoder *decoder, struct slice event,
                                        struct binlog_sink *sink) {
    assert(sink->limit > 0);
    if (binlog_decoder_ignores(decoder, event)) {
        return BINLOG_DONE;
    }
    bool is_format = event.size >= BINLOG_HEADER_BYTES && (uint8_t)event.data[4] == EVENT_FORMAT;
    if (!is_format && !take_checksum(decoder, &event)) {
        return broken(decoder, "an event with a wrong checksum");
    }
    struct event parts = {.body = binlog_cursor_over(event)};
    parts.time_us = (int64_t)binlog_take_number(&parts.body, 4) * 1000000;
    parts.type = (uint8_t)binlog_take_number(&parts.body, 1);
    parts.server = (uint32_t)binlog_take_number(&parts.body, 4);
    (void)binlog_take(&parts.body, BINLOG_HEADER_BYTES - 9);
    if (parts.body.failed) {
        return broken(decoder, "an event");
    }
    decoder->rows = (struct binlog_cursor){NULL, 0, false};
    return is_format ? take_format(decoder, &parts) : judge(decoder, &parts, sink);
}
