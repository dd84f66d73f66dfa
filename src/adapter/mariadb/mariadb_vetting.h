/** Is a server one that orders may be entrusted to, and is it the shard that it is taken for? Asked
 *  on every new connection, as a server may come back with other settings than it went with. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_VETTING_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_VETTING_H

#include "adapter/mariadb/mariadb_connection.h"

/** The version of the tables that this program works with. */
#define MARIADB_SCHEMA_VERSION 1

/** What mariadb_vet_variables looks at, in the order of its SELECT. */
enum mariadb_variable {
    MARIADB_FLUSH_LOG, /* innodb_flush_log_at_trx_commit */
    MARIADB_SYNC_BINLOG,
    MARIADB_LOG_BIN,
    MARIADB_BINLOG_FORMAT,
    MARIADB_BINLOG_ROW_IMAGE,
    MARIADB_PACKET_LIMIT,
    MARIADB_VARIABLE_COUNT
};

/** What a server has stored about itself in `settings`; 0 schema version: nothing. */
struct mariadb_identity {
    uint64_t schema_version;
    uint64_t shards;
    uint64_t shard;
    bool has_shards;
    bool has_shard;
};

/** The longest statement that a lane may send, bytes. */
size_t mariadb_statement_bytes_max(const struct mariadb_settings *settings);

/** Judges the values of the variables. False, with one line that names variable and value. Pure. */
MUST_CHECK bool mariadb_variables_judge(const struct slice values[MARIADB_VARIABLE_COUNT],
                                        const struct mariadb_settings *settings,
                                        struct fault *fault);

/** Judges what is stored. False, with one line that says what to do. Pure. */
MUST_CHECK bool mariadb_identity_judge(const struct mariadb_identity *identity,
                                       const struct mariadb_settings *settings,
                                       const struct mariadb_server *server, struct fault *fault);

/** Asks for the variables and judges them. REFUSED with a line in the connection's fault. */
MUST_CHECK enum mariadb_status mariadb_vet_variables(struct mariadb_connection *connection);

/** Reads what is stored; a server without the table has version 0. */
MUST_CHECK enum mariadb_status mariadb_identity_read(struct mariadb_connection *connection,
                                                     struct mariadb_identity *identity);

/** Both; for mariadb_connection_parts.vet. */
MUST_CHECK enum mariadb_status mariadb_vet(struct mariadb_connection *connection);

#endif
