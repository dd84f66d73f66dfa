/** A position in MariaDB's binlog: for each replication domain the last transaction that was read,
 *  as its GTID. The text is what the server takes as `slave_connect_state`:
 *  "domain-server-sequence", with commas between. Pure, any thread. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_POSITION_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_BINLOG_POSITION_H

#include "base/text.h"

/** One is usual; a server that once followed others has theirs too. */
#define BINLOG_DOMAINS_MAX 16

/** Three numbers of 10, 10 and 20 digits, and what stands between, a domain. */
#define BINLOG_POSITION_TEXT_MAX (BINLOG_DOMAINS_MAX * 43)

struct binlog_gtid {
    uint32_t domain;
    uint32_t server;
    uint64_t sequence;
};

struct binlog_position {
    size_t count; /* 0: the beginning of the log */
    struct binlog_gtid gtids[BINLOG_DOMAINS_MAX];
};

/** False where the text is no position; the empty text is the beginning of the log. */
MUST_CHECK bool binlog_position_parse(struct slice text, struct binlog_position *position);

void binlog_position_format(const struct binlog_position *position, struct text *out);

/** Puts the transaction that was read last in its domain into the position. False where that would
 *  be one domain too many. */
MUST_CHECK bool binlog_position_advance(struct binlog_position *position, struct binlog_gtid gtid);

#endif
