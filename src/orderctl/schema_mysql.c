#include "orderctl/schema_target.h"

#include "adapter/mariadb/mariadb_schema.h"

#include <stdlib.h>

static void write_line(void *context, const struct mariadb_server *server, const char *text) {
    char name[sizeof(server->name) + 32];
    (void)snprintf(name, sizeof(name), "mysql shard %u (%s)", server->shard, server->name);
    schema_report(context, name, text);
}

static bool apply(const struct session *session, const void *values, struct log *log,
                  struct fault *fault) {
    struct mariadb_settings settings;
    struct mariadb_schema_report report = {write_line, (void *)session};
    if (!mariadb_library_begin()) {
        fault_set(fault, "the MariaDB client library does not work");
        return false;
    }
    return mariadb_settings_read(values, getenv(MARIADB_PASSWORD_VARIABLE), &settings, fault) &&
           mariadb_schema_apply(&settings, log, &report, fault);
}

const struct schema_target schema_mysql = {
    .name = "mysql",
    .options = mysql_option_table,
    .option_count = &mysql_option_count,
    .values_size = sizeof(struct mysql_options),
    .apply = apply,
};
