#include "adapter/mariadb/mariadb_metrics.h"

const struct metric_description mariadb_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct mariadb_metrics, __VA_ARGS__)
    MARIADB_METRICS(X)
#undef X
};
const size_t mariadb_metric_count = ARRAY_COUNT(mariadb_metric_table);
