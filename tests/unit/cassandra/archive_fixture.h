/** An archive on two scripted nodes, in virtual time, in one thread. */
#ifndef ORDERD_TESTS_ARCHIVE_FIXTURE_H
#define ORDERD_TESTS_ARCHIVE_FIXTURE_H

#include "adapter/cassandra/cassandra_repair.h"
#include "cassandra/final_order.h"
#include "cassandra/scripted_node.h"

#define FIXTURE_NODES 2
#define FIXTURE_ORDERS 4096

struct archive_fixture {
    struct cassandra_dialer dialer; /* first: what dials finds the fixture by it */
    struct scripted_node nodes[FIXTURE_NODES];
    struct cassandra_terms terms;
    struct log log;
    int log_fd;
    char log_text[16384];
    struct mailbox mailbox;
    struct cassandra_archive *archive;
    int64_t now_us;
    size_t done; /* requests */

    struct order_record orders[FIXTURE_ORDERS];
    struct order_record found[FIXTURE_ORDERS];
    uint64_t ids[FIXTURE_ORDERS];
    uint8_t results[FIXTURE_ORDERS];
    struct order_archive_put put;
    struct order_get_batch get;
};

/** Modest terms, one node; change `terms` and `nodes`, then start. */
struct archive_fixture *archive_fixture_create(void);
void archive_fixture_start(struct archive_fixture *fixture);
void archive_fixture_destroy(struct archive_fixture *fixture);

/** Fills `orders` and `ids` with `count` orders of `minutes` minutes, ascending by id. */
void archive_fixture_fill(struct archive_fixture *fixture, size_t count, uint64_t minutes);

/** Lets `ms` of time go by, in small steps. */
void archive_fixture_run(struct archive_fixture *fixture, int64_t ms);

/** Puts or gets the first `count` orders, and runs until that is done. */
void archive_fixture_put(struct archive_fixture *fixture, size_t count);
void archive_fixture_get(struct archive_fixture *fixture, size_t count);

/** Runs until `done` requests were completed; fails where that takes over a minute. */
void archive_fixture_await(struct archive_fixture *fixture, size_t done);

/** Every one of the first `count` results is `result`. */
void archive_fixture_expect(const struct archive_fixture *fixture, size_t count,
                            enum order_result result);

/** What was logged so far. */
const char *archive_fixture_log(struct archive_fixture *fixture);

#define archive_metric(fixture, name_)                                                             \
    metric_get(&cassandra_archive_metrics((fixture)->archive)->name_)

#endif
