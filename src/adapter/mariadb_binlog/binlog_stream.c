#include "adapter/mariadb_binlog/binlog_stream.h"

#include "base/clock.h"

#include <errno.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <mariadb_rpl.h>

const struct config_option binlog_option_table[] = {
#define X(...) CONFIG_ENTRY_OF(struct binlog_options, __VA_ARGS__)
    BINLOG_OPTIONS(X)
#undef X
};
const size_t binlog_option_count = ARRAY_COUNT(binlog_option_table);

#define PACKET_HEADER_BYTES 4
#define PACKET_BYTES_MAX 0xffffff /* one of this size goes on in the next */
#define LOG_BEGIN 4               /* behind a file's magic number */

/* Enough of an event for binlog_decoder_ignores: a status byte before it, header, table id. */
#define HEAD_BYTES (1 + BINLOG_HEADER_BYTES + 6)

bool binlog_stream_init(struct binlog_stream *stream, const struct binlog_options *options,
                        const struct binlog_server *server, const struct binlog_decoder *decoder,
                        int stop_fd) {
    *stream = (struct binlog_stream){
        .options = options,
        .server = server,
        .decoder = decoder,
        .stop_fd = stop_fd,
        .capacity = options->buffer_kb * 1024,
    };
    stream->buffer = malloc(stream->capacity);
    return stream->buffer != NULL;
}

void binlog_stream_deinit(struct binlog_stream *stream) {
    binlog_stream_close(stream);
    free(stream->buffer);
}

void binlog_stream_close(struct binlog_stream *stream) {
    if (stream->mysql == NULL) {
        return;
    }
    if (stream->replication != NULL) {
        /* The server sends without being asked: what is under way is cut off, nobody waits. */
        (void)shutdown((int)mysql_get_socket(stream->mysql), SHUT_RDWR);
        mariadb_rpl_close(stream->replication);
        stream->replication = NULL;
    }
    mysql_close(stream->mysql);
    stream->mysql = NULL;
}

/* --- The questions before the log. --- */

static enum binlog_stream_status fail(struct binlog_stream *stream, const char *what) {
    fault_set(&stream->fault, "%s: %s (error %u)", what, mysql_error(stream->mysql),
              mysql_errno(stream->mysql));
    binlog_stream_close(stream);
    return BINLOG_STREAM_LOST;
}

static enum binlog_stream_status refuse(struct binlog_stream *stream, const char *what) {
    fault_set(&stream->fault, "%s", what);
    binlog_stream_close(stream);
    return BINLOG_STREAM_FOREIGN;
}

static unsigned whole_seconds(uint64_t time_ms) {
    return (unsigned)((time_ms + 999) / 1000);
}

static enum binlog_stream_status connect_to(struct binlog_stream *stream) {
    const struct binlog_server *server = stream->server;
    stream->mysql = mysql_init(NULL);
    if (stream->mysql == NULL) {
        fault_set(&stream->fault, "no memory for a connection");
        return BINLOG_STREAM_LOST;
    }
    unsigned connect_seconds = whole_seconds(stream->options->connect_timeout_ms);
    unsigned query_seconds = whole_seconds(stream->options->query_timeout_ms);
    my_bool no = 0;
    (void)mysql_options(stream->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &connect_seconds);
    (void)mysql_options(stream->mysql, MYSQL_OPT_READ_TIMEOUT, &query_seconds);
    (void)mysql_options(stream->mysql, MYSQL_OPT_WRITE_TIMEOUT, &query_seconds);
    (void)mysql_options(stream->mysql, MYSQL_OPT_SSL_ENFORCE, &no);
    if (mysql_real_connect(stream->mysql, server->host.text, server->user.text,
                           server->password.text, NULL, server->port, NULL, 0) == NULL) {
        return fail(stream, "no connection");
    }
    return BINLOG_STREAM_OK;
}

/** Runs a query of one row with text columns up to `count`; a NULL is empty. */
static bool ask(struct binlog_stream *stream, const char *sql, char (*answers)[1024],
                unsigned count) {
    if (mysql_real_query(stream->mysql, sql, strlen(sql)) != 0) {
        return false;
    }
    MYSQL_RES *result = mysql_store_result(stream->mysql);
    MYSQL_ROW row = result == NULL ? NULL : mysql_fetch_row(result);
    bool fits = row != NULL && mysql_num_fields(result) == count;
    for (unsigned i = 0; fits && i < count; i++) {
        int size = snprintf(answers[i], sizeof(answers[i]), "%s", row[i] == NULL ? "" : row[i]);
        fits = size >= 0 && (size_t)size < sizeof(answers[i]);
    }
    mysql_free_result(result);
    return fits;
}

static enum binlog_stream_status vet(struct binlog_stream *stream) {
    char answers[5][1024];
    if (!ask(stream,
             "SELECT VERSION(), @@global.log_bin, @@global.binlog_format, "
             "@@global.binlog_row_image, @@global.log_bin_compress",
             answers, ARRAY_COUNT(answers))) {
        return mysql_errno(stream->mysql) == ER_UNKNOWN_SYSTEM_VARIABLE
                   ? refuse(stream, "the relay reads the log of MariaDB only")
                   : fail(stream, "the server does not tell its settings");
    }
    if (strstr(answers[0], "MariaDB") == NULL) {
        return refuse(stream, "the relay reads the log of MariaDB only");
    }
    if (strcmp(answers[1], "1") != 0 || strcmp(answers[2], "ROW") != 0 ||
        strcmp(answers[3], "FULL") != 0 || strcmp(answers[4], "0") != 0) {
        return refuse(stream, "the server needs log_bin, binlog_format=ROW, binlog_row_image=FULL "
                              "and no log_bin_compress");
    }
    return BINLOG_STREAM_OK;
}

static enum binlog_stream_status find_end(struct binlog_stream *stream,
                                          struct binlog_position *position) {
    char answer[1][1024];
    if (!ask(stream, "SELECT @@global.gtid_binlog_pos", answer, 1)) {
        return fail(stream, "the server does not tell the end of its log");
    }
    if (!binlog_position_parse(slice_from_text(answer[0]), position)) {
        return refuse(stream, "the end of the server's log is no position that is known here");
    }
    return BINLOG_STREAM_OK;
}

/** Says what we can take (capability 4: GTIDs; checksums as they are in the log), and from where.
 */
static enum binlog_stream_status introduce(struct binlog_stream *stream,
                                           const struct binlog_position *position) {
    char sql[BINLOG_POSITION_TEXT_MAX + 300];
    struct text text = text_over(sql, sizeof(sql));
    text_append_format(&text,
                       "SET @mariadb_slave_capability = 4, "
                       "@master_binlog_checksum = @@global.binlog_checksum, "
                       "@slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0, "
                       "@master_heartbeat_period = %llu, @slave_connect_state = '",
                       (unsigned long long)stream->options->heartbeat_ms * 1000000);
    binlog_position_format(position, &text);
    text_append_literal(&text, "'");
    if (text.truncated || mysql_real_query(stream->mysql, text.data, text.size) != 0) {
        return fail(stream, "the server does not take the position");
    }
    return BINLOG_STREAM_OK;
}

static enum binlog_stream_status begin_dump(struct binlog_stream *stream) {
    if (mysql_get_ssl_cipher(stream->mysql) != NULL) {
        return refuse(stream, "the server insists on encryption, which the relay cannot read");
    }
    stream->replication = mariadb_rpl_init(stream->mysql);
    if (stream->replication == NULL) {
        return fail(stream, "no memory for the log");
    }
    unsigned server_id = (unsigned)(stream->options->server_id + stream->server->shard);
    if (mariadb_rpl_optionsv(stream->replication, MARIADB_RPL_SERVER_ID, server_id) != 0 ||
        mariadb_rpl_optionsv(stream->replication, MARIADB_RPL_START, (unsigned long)LOG_BEGIN) !=
            0 ||
        mariadb_rpl_optionsv(stream->replication, MARIADB_RPL_FLAGS, 0U) != 0 ||
        mariadb_rpl_open(stream->replication) != 0) {
        return fail(stream, "the server does not send its log");
    }
    stream->begin = stream->end = stream->skip = 0;
    stream->skip_continues = false;
    stream->silent_us = 0;
    return BINLOG_STREAM_OK;
}

enum binlog_stream_status binlog_stream_open(struct binlog_stream *stream,
                                             struct binlog_position *position, bool at_end) {
    binlog_stream_close(stream);
    enum binlog_stream_status status = connect_to(stream);
    if (status == BINLOG_STREAM_OK) {
        status = vet(stream);
    }
    if (status == BINLOG_STREAM_OK && at_end) {
        status = find_end(stream, position);
    }
    if (status == BINLOG_STREAM_OK) {
        status = introduce(stream, position);
    }
    return status == BINLOG_STREAM_OK ? begin_dump(stream) : status;
}

/* --- The log. --- */

static enum binlog_stream_status lose(struct binlog_stream *stream, const char *what) {
    fault_set(&stream->fault, "%s", what);
    binlog_stream_close(stream);
    return BINLOG_STREAM_LOST;
}

/** Waits for bytes; counts how long nothing came. */
static enum binlog_stream_status wait_for_bytes(struct binlog_stream *stream, int64_t wait_us) {
    int64_t silence_us = (int64_t)stream->options->silence_ms * 1000;
    int64_t left_us = silence_us - stream->silent_us;
    int64_t step_us = wait_us < left_us ? wait_us : left_us;
    struct pollfd pollers[] = {
        {.fd = (int)mysql_get_socket(stream->mysql), .events = POLLIN, .revents = 0},
        {.fd = stream->stop_fd, .events = POLLIN, .revents = 0},
    };
    int64_t from_us = clock_monotonic_us();
    int ready = poll(pollers, ARRAY_COUNT(pollers), (int)((step_us + 999) / 1000));
    if (ready > 0) {
        return pollers[0].revents != 0 ? BINLOG_STREAM_OK : BINLOG_STREAM_NOTHING;
    }
    if (ready < 0 && errno != EINTR) {
        return lose(stream, "the connection cannot be waited for");
    }
    stream->silent_us += clock_monotonic_us() - from_us;
    return stream->silent_us >= silence_us
               ? lose(stream, "the server is silent: no event and no heartbeat")
               : BINLOG_STREAM_NOTHING;
}

/** Receives what is there, waiting at most `wait_us` for something. */
static enum binlog_stream_status receive(struct binlog_stream *stream, int64_t wait_us) {
    if (stream->begin > 0) {
        memmove(stream->buffer, stream->buffer + stream->begin, stream->end - stream->begin);
        stream->end -= stream->begin;
        stream->begin = 0;
    }
    for (;;) {
        ssize_t got = recv((int)mysql_get_socket(stream->mysql), stream->buffer + stream->end,
                           stream->capacity - stream->end, MSG_DONTWAIT);
        if (got > 0) {
            stream->end += (size_t)got;
            stream->received_bytes += (uint64_t)got;
            stream->silent_us = 0;
            return BINLOG_STREAM_OK;
        }
        if (got == 0) {
            return lose(stream, "the server has closed the connection");
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            return lose(stream, "the connection is broken");
        }
        if (wait_us <= 0) {
            return BINLOG_STREAM_NOTHING;
        }
        enum binlog_stream_status status = wait_for_bytes(stream, wait_us);
        if (status != BINLOG_STREAM_OK) {
            return status;
        }
        wait_us = 0; /* readable: if not, the next call waits again */
    }
}

/** An error packet ends the log. */
static enum binlog_stream_status take_error(struct binlog_stream *stream, struct slice packet) {
    struct binlog_cursor cursor = binlog_cursor_over(packet);
    (void)binlog_take(&cursor, 1);
    unsigned code = (unsigned)binlog_take_number(&cursor, 2);
    if (cursor.left >= 6 && cursor.data[0] == '#') { /* the SQL state */
        (void)binlog_take(&cursor, 6);
    }
    fault_set(&stream->fault, "%.*s (error %u)", (int)bytes_min_size(cursor.left, 400),
              (const char *)cursor.data, code);
    binlog_stream_close(stream);
    /* 1236 is what the server says of a log that it cannot send on from this position: purged,
     * never had, damaged. (1236 also for being replaced by a relay with our number: a text.) */
    bool replaced = strstr(stream->fault.text, "same server_uuid/server_id") != NULL;
    return code == ER_MASTER_FATAL_ERROR_READING_BINLOG && !replaced ? BINLOG_STREAM_PURGED
                                                                     : BINLOG_STREAM_LOST;
}

/** Passes over what is to be skipped of what is there. True where all of it is. */
static bool pass_over(struct binlog_stream *stream) {
    while (stream->skip > 0 || stream->skip_continues) {
        size_t here = bytes_min_size(stream->skip, stream->end - stream->begin);
        stream->begin += here;
        stream->skip -= here;
        if (stream->skip > 0) {
            return false;
        }
        if (stream->skip_continues) {
            if (stream->end - stream->begin < PACKET_HEADER_BYTES) {
                return false;
            }
            uint32_t size = bytes_load_u32(stream->buffer + stream->begin) & PACKET_BYTES_MAX;
            stream->skip = PACKET_HEADER_BYTES + size;
            stream->skip_continues = size == PACKET_BYTES_MAX;
        }
    }
    return true;
}

/** A packet that does not fit: passed over where it need not be read. */
static enum binlog_stream_status take_large(struct binlog_stream *stream, size_t size,
                                            struct slice head) {
    if (!binlog_decoder_ignores(stream->decoder, (struct slice){head.data + 1, head.size - 1})) {
        fault_set(&stream->fault, "an event of %zu bytes or more does not fit in binlog.buffer_kb",
                  size);
        binlog_stream_close(stream);
        return BINLOG_STREAM_FOREIGN;
    }
    stream->skip = PACKET_HEADER_BYTES + size;
    stream->skip_continues = size == PACKET_BYTES_MAX;
    return BINLOG_STREAM_NOTHING;
}

/** Takes the next packet off what was received. NOTHING: it is not whole yet. */
static enum binlog_stream_status take_packet(struct binlog_stream *stream, struct slice *event) {
    size_t there = stream->end - stream->begin;
    if (!pass_over(stream) || there < PACKET_HEADER_BYTES) {
        return BINLOG_STREAM_NOTHING;
    }
    there = stream->end - stream->begin;
    if (there < PACKET_HEADER_BYTES) {
        return BINLOG_STREAM_NOTHING;
    }
    const uint8_t *packet = stream->buffer + stream->begin;
    size_t size = bytes_load_u32(packet) & PACKET_BYTES_MAX;
    bool is_large = size == PACKET_BYTES_MAX || PACKET_HEADER_BYTES + size > stream->capacity;
    size_t needed = PACKET_HEADER_BYTES + (is_large ? HEAD_BYTES : size);
    if (there < needed) {
        return BINLOG_STREAM_NOTHING;
    }
    struct slice body = {(const char *)packet + PACKET_HEADER_BYTES, needed - PACKET_HEADER_BYTES};
    if (body.size == 0 || (uint8_t)body.data[0] == 0xfe) {
        return lose(stream, "the server has ended its log");
    }
    if ((uint8_t)body.data[0] == 0xff) {
        return take_error(stream, body);
    }
    if (is_large) {
        return take_large(stream, size, body);
    }
    stream->begin += needed;
    *event = (struct slice){body.data + 1, body.size - 1};
    return BINLOG_STREAM_OK;
}

enum binlog_stream_status binlog_stream_next(struct binlog_stream *stream, int64_t wait_us,
                                             struct slice *event) {
    int64_t until_us = clock_monotonic_us() + wait_us;
    for (;;) {
        enum binlog_stream_status status = take_packet(stream, event);
        if (status != BINLOG_STREAM_NOTHING) {
            return status;
        }
        status = receive(stream, until_us - clock_monotonic_us());
        if (status != BINLOG_STREAM_OK) {
            return status;
        }
    }
}
