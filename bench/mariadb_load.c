/** The bare loader of mariadb_loader.h on tables that are there already:
 *  `mariadb_load HOST PORT DATABASE ORDERS BATCH CONNECTIONS`, with the user in MYSQL_USER and the
 *  password in MYSQL_PASSWORD. Prints one JSON object. Its orders are those that `orderctl bench
 *  create --scatter` makes, so that both fill the same pages of the tables. */
#include "mariadb_loader.h"

#include "base/clock.h"
#include "base/random.h"
#include "orderctl/bench_reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static struct order_record next_draft(void *context) {
    uint64_t *next = context;
    struct order_record draft = {
        .amount = 1250,
        .payment_type = ORDER_PAYMENT_BANK,
        .format = ORDER_RECORD_FORMAT,
        .currency = "VND",
        .partner_code = "bench",
    };
    bench_reference_write_prefix(draft.partner_order_id, BENCH_REFERENCE_SCATTERED);
    bench_reference_write_number(draft.partner_order_id, bench_reference_scatter((*next)++));
    return draft;
}

static size_t number(const char *text, size_t max) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != 0 || value < 1 || value > max) {
        fprintf(stderr, "mariadb_load: expected a number from 1 to %zu, got \"%s\"\n", max, text);
        exit(2);
    }
    return (size_t)value;
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

int main(int argc, char **argv) {
    static struct order_id_generator ids;
    uint64_t next;
    if (argc != 7) {
        fprintf(stderr, "usage: mariadb_load HOST PORT DATABASE ORDERS BATCH CONNECTIONS\n");
        return 2;
    }
    if (getrandom(&next, sizeof(next), 0) != sizeof(next)) {
        return 1;
    }
    order_id_generator_init(&ids, ORDER_NODE_COUNT - 1);
    struct loader_job job = {
        .server = {argv[1], (unsigned)number(argv[2], UINT16_MAX), variable("MYSQL_USER"),
                   variable("MYSQL_PASSWORD"), argv[3]},
        .orders = number(argv[4], SIZE_MAX / 2),
        .batch = number(argv[5], 100000),
        .connections = number(argv[6], LOADER_CONNECTIONS_MAX),
        .ids = &ids,
        .next_draft = next_draft,
        .context = &next,
    };
    size_t loaded = 0;
    double seconds = (double)loader_run(&job, &loaded) / 1e6;
    printf("{\"bench\":\"mariadb_load\",\"ops\":%zu,\"seconds\":%.6f,\"ops_per_s\":%.1f,"
           "\"errors\":0}\n",
           loaded, seconds, (double)loaded / seconds);
    return 0;
}
