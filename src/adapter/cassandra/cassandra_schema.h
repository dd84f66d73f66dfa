/** The archive's schema: made by `orderctl schema apply`, looked at by every start.
 *
 *  The schema's version, and the numbers that every row's place depends on, are in the table
 *  `settings` of the keyspace. Applying is idempotent: each file of deploy/schema/cassandra/ that
 *  is newer than what is there is carried out, its version noted after it. Calls block. One
 *  thread. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_SCHEMA_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_SCHEMA_H

#include "adapter/cassandra/cassandra_options.h"
#include "base/log.h"

#define CASSANDRA_SCHEMA_VERSION 1

enum cassandra_schema_status {
    CASSANDRA_SCHEMA_CURRENT,
    CASSANDRA_SCHEMA_MISSING,    /* orderctl schema apply makes it */
    CASSANDRA_SCHEMA_OLDER,      /* orderctl schema apply brings it up to date */
    CASSANDRA_SCHEMA_NEWER,      /* this program is too old for it */
    CASSANDRA_SCHEMA_FOREIGN,    /* what is there is no archive that it can work with */
    CASSANDRA_SCHEMA_UNREACHABLE /* no node answers, or none with an answer that makes sense */
};

/** Compares what the cluster has with what this program knows. Anything but CURRENT comes with one
 *  line in `fault`: what is wrong, and what to run. */
MUST_CHECK enum cassandra_schema_status
cassandra_schema_check(const struct cassandra_terms *terms, struct log *log, struct fault *fault);

/** Makes the schema, or brings it up to date. `report` (may be NULL) gets a line for each thing
 *  that was done or found. False, with the reason in `fault`, where it could not be finished; it
 *  may be run again. Run it from one place at a time. */
MUST_CHECK bool cassandra_schema_apply(const struct cassandra_terms *terms, struct log *log,
                                       void (*report)(void *context, const char *line),
                                       void *context, struct fault *fault);

/** How long a node may acknowledge a write before it is on its medium: the longest commit-log
 *  period of the nodes that answer (0: they sync first). False, with the reason in `fault`, where
 *  no node tells.
 *  @param period_us out. */
MUST_CHECK bool cassandra_schema_sync_period(const struct cassandra_terms *terms, struct log *log,
                                             int64_t *period_us, struct fault *fault);

#endif
