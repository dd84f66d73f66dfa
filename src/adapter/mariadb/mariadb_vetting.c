#include "adapter/mariadb/mariadb_vetting.h"

#include "adapter/mariadb/order_columns.h"

#include <mysqld_error.h>

#define SELECT_VARIABLES                                                                           \
    "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.sync_binlog, @@GLOBAL.log_bin, "     \
    "@@SESSION.binlog_format, @@SESSION.binlog_row_image, @@GLOBAL.max_allowed_packet"

/* Beside the rows: the words of a statement, and of the subquery of an UPDATE for each row. */
#define STATEMENT_WORDS_BYTES 4096

size_t mariadb_statement_bytes_max(const struct mariadb_settings *settings) {
    size_t rows = settings->create_batch;
    rows = rows > settings->change_batch ? rows : settings->change_batch;
    rows = rows > settings->read_batch ? rows : settings->read_batch;
    return rows * ORDER_COLUMNS_BYTES_MAX + STATEMENT_WORDS_BYTES;
}

bool mariadb_variables_judge(const struct slice values[MARIADB_VARIABLE_COUNT],
                             const struct mariadb_settings *settings, struct fault *fault) {
    static const struct {
        const char *name;
        const char *wanted;
        const char *why;
    } demands[] = {
        [MARIADB_FLUSH_LOG] = {"innodb_flush_log_at_trx_commit", "1",
                               "or an acknowledged order may be lost in a crash"},
        [MARIADB_SYNC_BINLOG] = {"sync_binlog", "1",
                                 "or an acknowledged order may be lost in a crash"},
        [MARIADB_LOG_BIN] = {"log_bin", "1", "or no change is ever published"},
        [MARIADB_BINLOG_FORMAT] = {"binlog_format", "ROW", "or no change is ever published"},
        [MARIADB_BINLOG_ROW_IMAGE] = {"binlog_row_image", "FULL",
                                      "or changes are published without all their fields"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(demands); i++) {
        if (!slice_equal(values[i], slice_from_text(demands[i].wanted))) {
            fault_set(fault, "%s is %.*s; expected %s, %s", demands[i].name, (int)values[i].size,
                      values[i].data, demands[i].wanted, demands[i].why);
            return false;
        }
    }
    uint64_t packet;
    uint64_t needed = mariadb_statement_bytes_max(settings);
    if (!sql_parse_u64(values[MARIADB_PACKET_LIMIT], &packet) || packet < needed) {
        fault_set(
            fault,
            "max_allowed_packet is %.*s; expected at least %llu, for mysql.create_batch = %zu",
            (int)values[MARIADB_PACKET_LIMIT].size, values[MARIADB_PACKET_LIMIT].data,
            (unsigned long long)needed, settings->create_batch);
        return false;
    }
    return true;
}

bool mariadb_identity_judge(const struct mariadb_identity *identity,
                            const struct mariadb_settings *settings,
                            const struct mariadb_server *server, struct fault *fault) {
    unsigned long long version = identity->schema_version;
    if (version == 0) {
        fault_set(fault, "database %s has no tables yet: run `orderctl schema apply`",
                  settings->database.text);
    } else if (version < MARIADB_SCHEMA_VERSION) {
        fault_set(fault,
                  "schema version is %llu; this orderd works with %d: run `orderctl schema apply`",
                  version, MARIADB_SCHEMA_VERSION);
    } else if (version > MARIADB_SCHEMA_VERSION) {
        fault_set(fault, "schema version is %llu; this orderd works with %d: start a newer orderd",
                  version, MARIADB_SCHEMA_VERSION);
    } else if (!identity->has_shards || identity->shards != settings->shard_count) {
        fault_set(fault,
                  "the tables were made for %llu shards, but mysql.shards names %zu; an order's "
                  "shard depends on their number, which cannot change",
                  (unsigned long long)identity->shards, settings->shard_count);
    } else if (!identity->has_shard || identity->shard != server->shard) {
        fault_set(
            fault,
            "this server is shard %llu, but it stands as shard %u in mysql.shards; the order of "
            "the list cannot change",
            (unsigned long long)identity->shard, server->shard);
    } else {
        return true;
    }
    return false;
}

enum mariadb_status mariadb_vet_variables(struct mariadb_connection *connection) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    enum mariadb_status status =
        mariadb_connection_select(connection, SLICE_LITERAL(SELECT_VARIABLES), &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    bool good = mariadb_rows_next(&rows, fields) &&
                mariadb_variables_judge(fields, connection->parts.settings, &connection->fault);
    mariadb_rows_free(&rows);
    return good ? MARIADB_OK : MARIADB_REFUSED;
}

static void take_setting(const struct slice *fields, struct mariadb_identity *identity) {
    uint64_t value;
    if (!sql_parse_u64(fields[1], &value)) {
        return;
    }
    if (slice_equal(fields[0], SLICE_LITERAL("schema_version"))) {
        identity->schema_version = value;
    } else if (slice_equal(fields[0], SLICE_LITERAL("shards"))) {
        identity->shards = value;
        identity->has_shards = true;
    } else if (slice_equal(fields[0], SLICE_LITERAL("shard"))) {
        identity->shard = value;
        identity->has_shard = true;
    }
}

enum mariadb_status mariadb_identity_read(struct mariadb_connection *connection,
                                          struct mariadb_identity *identity) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    *identity = (struct mariadb_identity){0};
    enum mariadb_status status = mariadb_connection_select(
        connection, SLICE_LITERAL("SELECT name, value FROM settings"), &rows);
    if (status == MARIADB_REFUSED && connection->error == ER_NO_SUCH_TABLE) {
        return MARIADB_OK;
    }
    if (status != MARIADB_OK) {
        return status;
    }
    while (mariadb_rows_next(&rows, fields)) {
        take_setting(fields, identity);
    }
    mariadb_rows_free(&rows);
    return MARIADB_OK;
}

enum mariadb_status mariadb_vet(struct mariadb_connection *connection) {
    struct mariadb_identity identity;
    enum mariadb_status status = mariadb_vet_variables(connection);
    if (status == MARIADB_OK) {
        status = mariadb_identity_read(connection, &identity);
    }
    if (status != MARIADB_OK) {
        return status;
    }
    return mariadb_identity_judge(&identity, connection->parts.settings, connection->parts.server,
                                  &connection->fault)
               ? MARIADB_OK
               : MARIADB_REFUSED;
}
