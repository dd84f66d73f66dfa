#include "orderctl/schema_target.h"

#include "adapter/cassandra/cassandra_schema.h"

#include <stdlib.h>

static void write_line(void *context, const char *line) {
    schema_report(context, "cassandra", line);
}

static bool apply(const struct session *session, const void *values, struct log *log,
                  struct fault *fault) {
    struct cassandra_terms terms;
    return cassandra_options_read(values, getenv("ORDERD_CASSANDRA_PASSWORD"), &terms, fault) &&
           cassandra_schema_apply(&terms, log, write_line, (void *)session, fault);
}

const struct schema_target schema_cassandra = {
    .name = "cassandra",
    .options = cassandra_option_table,
    .option_count = &cassandra_option_count,
    .values_size = sizeof(struct cassandra_options),
    .apply = apply,
};
