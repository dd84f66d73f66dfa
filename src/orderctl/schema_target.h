/** What `orderctl schema apply` sets up: a row of the table in command_schema.c for each kind of
 *  server, and a schema_*.c that does it. What is there already stays, so it may be run again; and
 *  it is run before a new version of orderd is started. One thread. */
#ifndef ORDERD_ORDERCTL_SCHEMA_TARGET_H
#define ORDERD_ORDERCTL_SCHEMA_TARGET_H

#include "base/config.h"
#include "base/log.h"
#include "orderctl/session.h"

struct schema_target {
    const char *name; /* of the section of the configuration, which its options are in */
    const struct config_option *options;
    const size_t *option_count;
    size_t values_size; /* of the struct that they are read into */

    /** Sets it up, says what it does on `session->out`, one line each. False with the reason. */
    bool (*apply)(const struct session *session, const void *values, struct log *log,
                  struct fault *fault);
};

/** One line of the report: `SERVER: TEXT`, or with --json {"server", "text"}. */
void schema_report(const struct session *session, const char *server, const char *text);

/** The tables of every shard (adapter/mariadb). */
extern const struct schema_target schema_mysql;

/** The topics (adapter/kafka). */
extern const struct schema_target schema_kafka;

/** The keyspace and the table of the archive (adapter/cassandra). */
extern const struct schema_target schema_cassandra;

#endif
