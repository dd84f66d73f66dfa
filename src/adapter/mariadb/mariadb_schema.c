#include "adapter/mariadb/mariadb_schema.h"

#include "adapter/mariadb/schema_files.h"

#include <mysqld_error.h>
#include <stdlib.h>

/* DDL on a large table may take long. */
#define STATEMENT_TIMEOUT_MS (60 * 60 * 1000)
#define SQL_BYTES_MAX 65536
#define LOCK_NAME "orderd_schema"
#define LOCK_WAIT_SECONDS 30

/* --- Cutting a script into statements. --- */

/** Where the comment or the quoted text that begins at `at` ends; `at` itself where none does. */
static size_t skip_opaque(struct slice text, size_t at) {
    char first = text.data[at];
    char second = at + 1 < text.size ? text.data[at + 1] : 0;
    if (first == '\'' || first == '"' || first == '`') {
        for (size_t i = at + 1; i < text.size; i++) {
            if (text.data[i] == '\\' && first != '`') {
                i++;
            } else if (text.data[i] == first) {
                return i + 1;
            }
        }
        return text.size;
    }
    if (first == '#' || (first == '-' && second == '-')) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        return end == NULL ? text.size : (size_t)(end - text.data) + 1;
    }
    if (first == '/' && second == '*') {
        const char *end = memmem(text.data + at + 2, text.size - at - 2, "*/", 2);
        return end == NULL ? text.size : (size_t)(end - text.data) + 2;
    }
    return at;
}

static bool is_blank(char character) {
    return character == ' ' || character == '\n' || character == '\r' || character == '\t' ||
           character == ';';
}

static bool is_comment(struct slice text, size_t at) {
    return skip_opaque(text, at) != at && strchr("'\"`", text.data[at]) == NULL;
}

bool mariadb_schema_next_statement(struct slice *script, struct slice *statement) {
    size_t begin = 0;
    while (begin < script->size && (is_blank(script->data[begin]) || is_comment(*script, begin))) {
        size_t end = skip_opaque(*script, begin);
        begin = end != begin ? end : begin + 1;
    }
    size_t end = begin;
    while (end < script->size && script->data[end] != ';') {
        size_t past = skip_opaque(*script, end);
        end = past != end ? past : end + 1;
    }
    *statement = (struct slice){script->data + begin, end - begin};
    size_t used = end < script->size ? end + 1 : end;
    *script = (struct slice){script->data + used, script->size - used};
    return statement->size > 0;
}

/* --- One server. --- */

struct schema_work {
    struct mariadb_connection connection;
    const struct mariadb_settings *settings; /* with the database's name */
    const struct mariadb_schema_report *report;
    struct sql_builder sql;
};

static void say(const struct schema_work *work, const char *text) {
    if (work->report != NULL && work->report->line != NULL) {
        work->report->line(work->report->context, work->connection.parts.server, text);
    }
}

/** True where a statement of a script has been run before: by a run that broke off. */
static bool is_there_already(unsigned error) {
    return error == ER_TABLE_EXISTS_ERROR || error == ER_DUP_FIELDNAME || error == ER_DUP_KEYNAME ||
           error == ER_CANT_DROP_FIELD_OR_KEY;
}

/** The name of what a statement is about, for the report: its first line. */
static void say_statement(const struct schema_work *work, struct slice statement, bool was_there) {
    char line[160];
    const char *end = memchr(statement.data, '\n', statement.size);
    size_t size = end == NULL ? statement.size : (size_t)(end - statement.data);
    struct text text = text_over(line, sizeof(line));
    text_append_format(&text, "%.*s%s", (int)bytes_min_size(size, 100), statement.data,
                       was_there ? " is there already" : "");
    text_append_char(&text, 0);
    say(work, line);
}

static enum mariadb_status run_script(struct schema_work *work, struct slice script) {
    struct slice statement;
    while (mariadb_schema_next_statement(&script, &statement)) {
        enum mariadb_status status = mariadb_connection_run(&work->connection, statement);
        bool was_there = status == MARIADB_REFUSED && is_there_already(work->connection.error);
        if (status != MARIADB_OK && !was_there) {
            return status;
        }
        say_statement(work, statement, was_there);
    }
    return MARIADB_OK;
}

static enum mariadb_status store_setting(struct schema_work *work, const char *name, uint64_t value,
                                         bool replace) {
    struct sql_builder *sql = &work->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "INSERT INTO settings (name, value) VALUES (");
    sql_append_text(sql, slice_from_text(name));
    sql_append_literal(sql, ", '");
    sql_append_u64(sql, value);
    sql_append_literal(sql, "') ON DUPLICATE KEY UPDATE value = ");
    if (replace) {
        sql_append_literal(sql, "VALUES(value)");
    } else {
        sql_append_literal(sql, "value");
    }
    return mariadb_connection_run_built(&work->connection, sql);
}

static enum mariadb_status open_database(struct schema_work *work) {
    struct sql_builder *sql = &work->sql;
    struct slice name = slice_from_text(work->settings->database.text);
    sql_builder_reset(sql);
    sql_append_literal(sql, "CREATE DATABASE IF NOT EXISTS `");
    sql_append(sql, name.data, name.size);
    sql_append_literal(sql, "`");
    enum mariadb_status status = mariadb_connection_run_built(&work->connection, sql);
    if (status != MARIADB_OK && status != MARIADB_REFUSED) {
        return status;
    }
    /* A user who may not make databases can still work in the one that is there. */
    sql_builder_reset(sql);
    sql_append_literal(sql, "USE `");
    sql_append(sql, name.data, name.size);
    sql_append_literal(sql, "`");
    return mariadb_connection_run_built(&work->connection, sql);
}

/** So that only one program at a time works on the tables; ends with the connection. */
static enum mariadb_status lock_schema(struct schema_work *work) {
    struct mariadb_rows rows;
    struct slice fields[MARIADB_COLUMNS_MAX];
    struct sql_builder *sql = &work->sql;
    sql_builder_reset(sql);
    sql_append_literal(sql, "SELECT GET_LOCK('" LOCK_NAME "', ");
    sql_append_u64(sql, LOCK_WAIT_SECONDS);
    sql_append_literal(sql, ")");
    enum mariadb_status status = mariadb_connection_select_built(&work->connection, sql, &rows);
    if (status != MARIADB_OK) {
        return status;
    }
    bool locked = mariadb_rows_next(&rows, fields) && slice_equal(fields[0], SLICE_LITERAL("1"));
    mariadb_rows_free(&rows);
    if (!locked) {
        fault_set(&work->connection.fault, "somebody else has been applying the schema for %d s",
                  LOCK_WAIT_SECONDS);
        return MARIADB_REFUSED;
    }
    return MARIADB_OK;
}

static enum mariadb_status bring_up_to_date(struct schema_work *work, uint64_t version) {
    static const struct {
        const unsigned char *text;
        const size_t *size;
    } scripts[MARIADB_SCHEMA_VERSION] = {{mysql_schema_001, &mysql_schema_001_size}};
    if (version >= MARIADB_SCHEMA_VERSION) {
        say(work, "the tables are up to date");
    }
    for (; version < MARIADB_SCHEMA_VERSION; version++) {
        struct slice script = {(const char *)scripts[version].text, *scripts[version].size};
        enum mariadb_status status = run_script(work, script);
        if (status == MARIADB_OK) {
            status = store_setting(work, "schema_version", version + 1, true);
        }
        if (status != MARIADB_OK) {
            return status;
        }
    }
    return MARIADB_OK;
}

static enum mariadb_status apply(struct schema_work *work) {
    struct mariadb_identity identity;
    const struct mariadb_server *server = work->connection.parts.server;
    enum mariadb_status status = mariadb_connection_ensure(&work->connection);
    work->connection.timeout_ms = STATEMENT_TIMEOUT_MS;
    if (status != MARIADB_OK || (status = mariadb_vet_variables(&work->connection)) != MARIADB_OK ||
        (status = open_database(work)) != MARIADB_OK ||
        (status = lock_schema(work)) != MARIADB_OK ||
        (status = mariadb_identity_read(&work->connection, &identity)) != MARIADB_OK ||
        (status = bring_up_to_date(work, identity.schema_version)) != MARIADB_OK ||
        (status = store_setting(work, "shards", work->settings->shard_count, false)) !=
            MARIADB_OK ||
        (status = store_setting(work, "shard", server->shard, false)) != MARIADB_OK ||
        (status = mariadb_identity_read(&work->connection, &identity)) != MARIADB_OK) {
        return status;
    }
    if (!mariadb_identity_judge(&identity, work->settings, server, &work->connection.fault)) {
        return MARIADB_REFUSED;
    }
    return MARIADB_OK;
}

static bool apply_to_server(const struct mariadb_settings *settings, size_t shard, struct log *log,
                            const struct mariadb_schema_report *report, struct fault *fault) {
    struct mariadb_settings without_database = *settings;
    struct mariadb_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        fault_set(fault, "no memory for a connection");
        return false;
    }
    struct mariadb_health health = {0};
    struct schema_work work = {.settings = settings, .report = report};
    without_database.database.text[0] = 0;
    mariadb_connection_init(&work.connection, &(struct mariadb_connection_parts){
                                                  .settings = &without_database,
                                                  .server = &settings->servers[shard],
                                                  .mode = MARIADB_AUTOCOMMIT,
                                                  .log = log,
                                                  .metrics = metrics,
                                                  .health = &health,
                                              });
    sql_builder_init(&work.sql, SQL_BYTES_MAX);
    enum mariadb_status status = apply(&work);
    if (status != MARIADB_OK) {
        fault_set(fault, "mysql shard %zu (%s): %s", shard, settings->servers[shard].name,
                  work.connection.fault.text);
    }
    mariadb_connection_close(&work.connection);
    sql_builder_deinit(&work.sql);
    free(metrics);
    return status == MARIADB_OK;
}

bool mariadb_schema_apply(const struct mariadb_settings *settings, struct log *log,
                          const struct mariadb_schema_report *report, struct fault *fault) {
    for (size_t shard = 0; shard < settings->shard_count; shard++) {
        if (!apply_to_server(settings, shard, log, report, fault)) {
            return false;
        }
    }
    return true;
}
