/** The tables, made and brought up to date: deploy/schema/mysql/NNN_*.sql, which are in the
 * program. For `orderctl schema apply`; orderd itself changes no table. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_SCHEMA_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_SCHEMA_H

#include "adapter/mariadb/mariadb_vetting.h"

/** What happened at a server, one line a call. */
struct mariadb_schema_report {
    void (*line)(void *context, const struct mariadb_server *server, const char *text);
    void *context;
};

/** Makes the database and the tables on every server, or brings them to this program's version, and
 *  notes version, number of shards and shard in `settings`. What is there already stays; a run that
 *  broke off is finished by the next one; two at once wait for each other. False, with one line in
 *  `fault`, at the first server that does not answer or is another shard than it is taken for.
 *  Call mariadb_library_begin first. Blocks. @thread any. */
MUST_CHECK bool mariadb_schema_apply(const struct mariadb_settings *settings, struct log *log,
                                     const struct mariadb_schema_report *report,
                                     struct fault *fault);

/** Cuts the first statement off `script`: up to a `;` outside of quotes and comments. Comments and
 *  blanks before it are left out. False where there is none. Pure. */
MUST_CHECK bool mariadb_schema_next_statement(struct slice *script, struct slice *statement);

#endif
