/** A bare loader of the tables `order_refs` and `orders`, which the store is held against: what the
 *  tables can take. It writes the rows that the store would write, so many a transaction, on one or
 *  several connections. Its statements are built before its time begins, its references are new and
 *  sorted, and it asks nothing. What goes wrong ends the program. */
#ifndef ORDERD_BENCH_MARIADB_LOADER_H
#define ORDERD_BENCH_MARIADB_LOADER_H

#include "order/order_id.h"
#include "order/record.h"

#define LOADER_CONNECTIONS_MAX 16

/** Where the tables are. Borrowed by each call. */
struct loader_server {
    const char *host;
    unsigned port;
    const char *user;
    const char *password;
    const char *database;
};

struct loader_job {
    struct loader_server server;
    size_t orders;
    size_t batch;       /* rows a transaction */
    size_t connections; /* each with its share of the orders */
    struct order_id_generator *ids;
    /** The next order: its reference and what its partner says of it. */
    struct order_record (*next_draft)(void *context);
    void *context;
};

/** Loads, and returns how long the statements took. @thread one; it starts a thread a connection.
 *  @param loaded how many orders, a multiple of the connections. */
int64_t loader_run(const struct loader_job *job, size_t *loaded);

#endif
