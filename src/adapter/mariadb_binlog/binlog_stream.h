/** One connection to a server that sends its binlog.
 *
 *  libmariadb logs in, asks the questions and asks for the log (mariadb_rpl_open); from there the
 *  packets are read here, since the library's mariadb_rpl_fetch blocks without a limit of ours,
 *  cannot say whether more is there already, and copies each event. So the connection is plain
 *  TCP: the log on an encrypted one is not read.
 *
 *  One thread, but for the eventfd that interrupts a wait. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_STREAM_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_STREAM_H

#include "adapter/mariadb_binlog/binlog_decoder.h"
#include "adapter/mariadb_binlog/binlog_options.h"

enum binlog_stream_status {
    BINLOG_STREAM_OK,
    BINLOG_STREAM_NOTHING, /* nothing came within the time, or the wait was interrupted */
    BINLOG_STREAM_LOST,    /* the connection; open it again */
    BINLOG_STREAM_PURGED,  /* the server does not have this position any more, or never had it */
    BINLOG_STREAM_FOREIGN  /* the server, its settings or an event's size are not as needed */
};

struct st_mysql;
struct st_mariadb_rpl;

struct binlog_stream {
    const struct binlog_options *options;
    const struct binlog_server *server;
    const struct binlog_decoder *decoder; /* asked which events need not be read whole */
    int stop_fd;                          /* borrowed; readable: waits end at once */
    struct st_mysql *mysql;               /* owned; NULL: closed */
    struct st_mariadb_rpl *replication;   /* owned */
    int64_t silent_us;                    /* waited for since the last byte */
    uint64_t received_bytes;
    uint8_t *buffer; /* owned */
    size_t capacity;
    size_t begin; /* of what was received and not handed out */
    size_t end;
    size_t skip;         /* bytes that are to be passed over */
    bool skip_continues; /* and after them the next packet, which belongs to the same event */
    struct fault fault;  /* the text of what is not OK */
};

/** False where memory is short. */
MUST_CHECK bool binlog_stream_init(struct binlog_stream *stream,
                                   const struct binlog_options *options,
                                   const struct binlog_server *server,
                                   const struct binlog_decoder *decoder, int stop_fd);
void binlog_stream_deinit(struct binlog_stream *stream);

/** Connects and asks for the log from `position` on; where `at_end`, from its present end, which is
 *  then put into `position`. */
MUST_CHECK enum binlog_stream_status
binlog_stream_open(struct binlog_stream *stream, struct binlog_position *position, bool at_end);

/** Closes the connection where there is one. */
void binlog_stream_close(struct binlog_stream *stream);

static inline bool binlog_stream_is_open(const struct binlog_stream *stream) {
    return stream->mysql != NULL;
}

/** The next event, which is the stream's until the next call. Waits for its first byte at most
 *  `wait_us`. */
MUST_CHECK enum binlog_stream_status binlog_stream_next(struct binlog_stream *stream,
                                                        int64_t wait_us, struct slice *event);

#endif
