/** Creates into one MariaDB shard through the store, against a bare loader on the same two tables
 *  in the same run: `mariadb_create [ORDERS [BATCH [ROUNDS [BEFORE]]]]`. BEFORE references
 *  of archived orders are there at the start.
 *
 *  Both sides write the same rows with as many rows a transaction; the loader with one, two
 *  and as many connections as the store has lanes, and the best counts. The loader's statements are
 *  built before its time begins, its references are sorted and new, and it asks nothing; so it is
 *  what the tables can take. Sides take turns; a side's rate is its median. References come in no
 *  order, as those of many partners do. INSERTs are counted at the server (Com_insert). The server
 *  is started here, with the durable settings that orderd asks for. At the end one row a
 *  transaction, one after the other, in turns too. */
#include "mariadb_loader.h"
#include "stack/mariadb_bed.h"

#include "base/random.h"

#define DATABASE "bench"
#define LANES 4
#define LOADERS 3 /* with so many numbers of connections */
#define REQUEST_ORDERS 1000
#define REQUESTS 32
#define ROUNDS_MAX 15
#define SINGLES 500

struct side {
    double rates[ROUNDS_MAX];
    size_t rounds;
    long long inserts;
    size_t orders;
};

struct bench {
    struct mariadb_server_process server;
    struct mysql_options options;
    size_t orders; /* a round */
    size_t batch;  /* rows a transaction */
    uint64_t next; /* number of the next reference */
};

static void fail_hard(const char *what) {
    fprintf(stderr, "mariadb_create: %s\n", what);
    exit(1);
}

static long long inserts_so_far(const struct bench *bench) {
    return server_number(&bench->server, NULL, "SHOW GLOBAL STATUS LIKE 'Com_insert'");
}

static void note(struct side *side, size_t orders, int64_t took_us) {
    side->rates[side->rounds++] = (double)orders * 1e6 / (double)took_us;
    side->orders += orders;
}

static int compare_rates(const void *left, const void *right) {
    double first = *(const double *)left;
    double second = *(const double *)right;
    return first < second ? -1 : first > second ? 1 : 0;
}

static double median(struct side *side) {
    qsort(side->rates, side->rounds, sizeof(side->rates[0]), compare_rates);
    return side->rates[side->rounds / 2];
}

/** The next draft; its reference is anywhere among the others. */
static struct order_record next_draft(struct bench *bench) {
    struct random_source random = {.state = bench->next};
    struct order_record draft = sample_draft(bench->next++);
    (void)snprintf(draft.partner_order_id, sizeof(draft.partner_order_id), "%016llx",
                   (unsigned long long)random_u64(&random));
    return draft;
}

/* --- The loader. --- */

static struct order_record next_loader_draft(void *context) {
    return next_draft(context);
}

static void load(struct bench *bench, struct side *side, size_t orders, size_t batch,
                 size_t connections, struct order_id_generator *ids) {
    struct loader_job job = {
        .server = {"127.0.0.1", bench->server.port, "root", "", DATABASE},
        .orders = orders,
        .batch = batch,
        .connections = connections,
        .ids = ids,
        .next_draft = next_loader_draft,
        .context = bench,
    };
    long long inserts = inserts_so_far(bench);
    size_t loaded = 0;
    int64_t took_us = loader_run(&job, &loaded);
    note(side, loaded, took_us);
    side->inserts += inserts_so_far(bench) - inserts;
}

/* --- The store. --- */

static void check_created(const uint8_t *results, size_t count) {
    if (bed_count(results, count, ORDER_RESULT_CREATED) != count) {
        fail_hard("not every order was created");
    }
}

/** Hands in requests of `size` orders, `parallel` of them at a time. */
static void create(struct bench *bench, struct bed *bed, struct side *side, size_t orders,
                   size_t size, size_t parallel) {
    struct bed_create_call calls[REQUESTS];
    struct order_record *rows = calloc(orders, sizeof(*rows));
    uint8_t *results = calloc(orders, 1);
    for (size_t i = 0; i < orders; i++) {
        rows[i] = next_draft(bench);
    }
    long long inserts = inserts_so_far(bench);
    int64_t begin_us = clock_monotonic_us();
    size_t begun = 0;
    size_t ended = 0;
    size_t requests = orders / size;
    while (ended < requests) {
        while (begun < requests && begun < ended + parallel) {
            bed_create_begin(bed, &calls[begun % REQUESTS], rows + begun * size,
                             results + begun * size, size);
            begun++;
        }
        bed_create_end(bed, &calls[ended % REQUESTS]);
        ended++;
    }
    note(side, requests * size, clock_monotonic_us() - begin_us);
    side->inserts += inserts_so_far(bench) - inserts;
    check_created(results, requests * size);
    free(rows);
    free(results);
}

/* --- The run. --- */

static void print_side(const char *name, struct side *side) {
    printf("%-28s %9.0f orders/s   %6.2f INSERTs per 1,000 orders\n", name, median(side),
           (double)side->inserts * 1000 / (double)side->orders);
}

static void run(struct bench *bench, size_t rounds) {
    static const size_t connections[LOADERS] = {1, 2, LANES};
    static struct order_id_generator ids;
    struct bed bed;
    struct side loaders[LOADERS] = {{.rounds = 0}};
    struct side store = {.rounds = 0};
    struct side single_loader = {.rounds = 0};
    struct side single_store = {.rounds = 0};
    char name[32];
    double best = 0;
    order_id_generator_init(&ids, ORDER_NODE_COUNT - 1);
    bed_open(&bed, &bench->options);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < LOADERS; i++) {
            load(bench, &loaders[i], bench->orders, bench->batch, connections[i], &ids);
        }
        create(bench, &bed, &store, bench->orders, REQUEST_ORDERS, REQUESTS);
    }
    for (size_t round = 0; round < rounds; round++) {
        load(bench, &single_loader, SINGLES, 1, 1, &ids);
        create(bench, &bed, &single_store, SINGLES, 1, 1);
    }
    printf("%zu orders a round, %zu rounds, %zu rows a transaction\n", bench->orders, rounds,
           bench->batch);
    for (size_t i = 0; i < LOADERS; i++) {
        (void)snprintf(name, sizeof(name), "bare loader, %zu connections", connections[i]);
        print_side(name, &loaders[i]);
        best = median(&loaders[i]) > best ? median(&loaders[i]) : best;
    }
    print_side("store, 4 lanes", &store);
    printf("ratio: %.1f %% of the best loader (goal: 80 %%)\n", 100 * median(&store) / best);
    printf("one row a transaction, one after the other\n");
    print_side("bare loader", &single_loader);
    print_side("store", &single_store);
    bed_close(&bed);
}

/** References of orders that have left. */
static void add_references(const struct bench *bench, size_t count) {
    static const size_t part = 200000;
    for (size_t at = 0; at < count; at += part) {
        (void)server_query(&bench->server, DATABASE,
                           "INSERT INTO order_refs SELECT 'partner', MD5(seq), seq "
                           "FROM seq_%zu_to_%zu ORDER BY 2",
                           at + 1, bytes_min_size(at + part, count));
    }
    if (count > 0) {
        printf("%zu references of archived orders\n", count);
    }
}

static size_t argument(int count, char **arguments, int at, size_t otherwise) {
    unsigned long value = at < count ? strtoul(arguments[at], NULL, 10) : otherwise;
    return value > 0 ? value : otherwise;
}

int main(int argument_count, char **arguments) {
    struct bench bench = {.orders = argument(argument_count, arguments, 1, 200000),
                          .batch = argument(argument_count, arguments, 2, 2000)};
    size_t rounds = bytes_min_size(argument(argument_count, arguments, 3, 5), ROUNDS_MAX);
    server_create(&bench.server, "innodb-buffer-pool-size=512M\ninnodb-log-file-size=512M");
    bed_options(&bench.options, &bench.server, 1, DATABASE);
    bench.options.create_lanes = LANES;
    bench.options.create_batch = bench.batch;
    bench.options.queue_orders = (uint64_t)REQUESTS * REQUEST_ORDERS;
    bed_apply_schema(&bench.options);
    add_references(&bench, argument(argument_count, arguments, 4, 0));
    run(&bench, rounds);
    server_destroy(&bench.server);
    return 0;
}
