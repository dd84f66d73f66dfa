#include "adapter/mariadb/mariadb_positions.h"

#include "adapter/mariadb/mariadb_vetting.h"

#include <stdlib.h>

#define SQL_BYTES_MAX 1024

static enum mariadb_status forget(struct mariadb_connection *connection, struct sql_builder *sql,
                                  struct slice name) {
    enum mariadb_status status = mariadb_connection_ensure(connection);
    if (status != MARIADB_OK) {
        return status;
    }
    sql_builder_reset(sql);
    sql_append_literal(sql, "UPDATE positions SET owner = '', lease_until = NOW(6), position = '', "
                            "updated_at = NOW(6) WHERE name = ");
    sql_append_text(sql, name);
    return mariadb_connection_run_built(connection, sql);
}

enum mariadb_status mariadb_position_forget(const struct mariadb_settings *settings,
                                            struct slice name, struct log *log, bool *was_there,
                                            struct fault *fault) {
    struct mariadb_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics == NULL) {
        fault_set(fault, "no memory for a connection");
        return MARIADB_REFUSED;
    }
    struct mariadb_health health = {0};
    struct mariadb_connection connection;
    struct sql_builder sql;
    mariadb_connection_init(&connection, &(struct mariadb_connection_parts){
                                             .settings = settings,
                                             .server = &settings->servers[0],
                                             .mode = MARIADB_AUTOCOMMIT,
                                             .log = log,
                                             .metrics = metrics,
                                             .health = &health,
                                             .vet = mariadb_vet,
                                         });
    sql_builder_init(&sql, SQL_BYTES_MAX);
    enum mariadb_status status = forget(&connection, &sql, name);
    *was_there = status == MARIADB_OK && connection.affected > 0;
    if (status != MARIADB_OK) {
        fault_set(fault, "mysql shard 0 (%s): %s", settings->servers[0].name,
                  connection.fault.text);
    }
    mariadb_connection_close(&connection);
    sql_builder_deinit(&sql);
    free(metrics);
    return status;
}
