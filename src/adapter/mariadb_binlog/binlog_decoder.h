/** The events of a MariaDB binlog, one after the other, into the changes of `orders`.
 *
 *  It follows transactions (GTID to commit), knows `orders` by its table map, reads its rows, and
 *  passes everything else over. A position moves only at the end of a transaction. No connection
 *  and no clock: events in, records out, the same for the same bytes. One thread at a time.
 *
 *  Format of the events: https://mariadb.com/kb/en/replication-protocol/ */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_DECODER_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_DECODER_H

#include "adapter/mariadb_binlog/binlog_cursor.h"
#include "adapter/mariadb_binlog/binlog_position.h"
#include "base/fault.h"
#include "base/log.h"
#include "order/record.h"

#define BINLOG_HEADER_BYTES 19
#define BINLOG_DATABASE_MAX 64

enum binlog_verdict {
    BINLOG_DONE,    /* the event is done with */
    BINLOG_FULL,    /* the sink is; more of this event: binlog_decoder_go_on */
    BINLOG_FOREIGN, /* nothing that this program knows: `fault` says what */
    BINLOG_BROKEN   /* these bytes are no such event: `fault` says where */
};

/** Where the changes go. */
struct binlog_sink {
    struct order_record *orders;
    int64_t *committed_us;
    size_t limit;
    size_t count;
    size_t skipped_deletes;
    size_t alarming_deletes;
    size_t broken_rows;
    bool committed; /* a transaction ended: the position is worth storing */
};

struct binlog_decoder {
    struct log *log;
    char database[BINLOG_DATABASE_MAX + 1];
    struct binlog_position position; /* after the last transaction that ended */
    struct binlog_gtid group;        /* the transaction under way */
    size_t checksum_bytes;           /* behind each event */
    bool in_group;
    bool group_stands_alone; /* it has no commit event */
    bool group_has_orders;   /* rows of `orders` were in it */
    bool group_is_prepared;  /* XA: it may still be rolled back */
    bool knows_table;
    uint64_t table_id; /* of `orders`, by the last table map */
    /* The rows event under way. Its bytes are the caller's until the event is done. */
    struct binlog_cursor rows;
    uint8_t rows_kind;
    int64_t rows_time_us;
    struct fault fault;
};

void binlog_decoder_init(struct binlog_decoder *decoder, struct log *log, const char *database);

/** Begins at `position`, on a new stream of events. */
void binlog_decoder_begin(struct binlog_decoder *decoder, const struct binlog_position *position);

/** True where the event, of which at least the header and 6 bytes are there, is one that is passed
 *  over whatever else is in it. */
MUST_CHECK bool binlog_decoder_ignores(const struct binlog_decoder *decoder, struct slice head);

/** Takes the next event, header included. `event` stays as it is until the answer is not FULL. */
MUST_CHECK enum binlog_verdict binlog_decoder_take(struct binlog_decoder *decoder,
                                                   struct slice event, struct binlog_sink *sink);

/** Goes on with the event that filled the sink. */
MUST_CHECK enum binlog_verdict binlog_decoder_go_on(struct binlog_decoder *decoder,
                                                    struct binlog_sink *sink);

#endif
