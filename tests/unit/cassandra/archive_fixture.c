#include "cassandra/archive_fixture.h"

#include "unit.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP_US 1000
#define START_US INT64_C(1000000000)
#define AWAIT_MS 60000

static int dial(const struct cassandra_dialer *dialer, const struct cassandra_address *address,
                struct fault *fault) {
    struct archive_fixture *fixture = (struct archive_fixture *)(uintptr_t)dialer;
    struct scripted_node *node = &fixture->nodes[address->name[strlen("node-")] - '0'];
    return node->dialer.dial(&node->dialer, address, fault);
}

struct archive_fixture *archive_fixture_create(void) {
    struct archive_fixture *fixture =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*fixture), CACHE_LINE_BYTES));
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    fixture->dialer.dial = dial;
    fixture->now_us = START_US;
    fixture->terms = (struct cassandra_terms){
        .hosts = {{.name = "node-0"}, {.name = "node-1"}},
        .host_count = 1,
        .keyspace = "k",
        .consistency = CQL_LOCAL_QUORUM,
        .connections = 1,
        .streams = 8,
        .queue_orders = FIXTURE_ORDERS,
        .batch_rows_max = 50,
        .partition_writes_max = 1,
        .select_ids_max = 50,
        .request_timeout_us = 3000000,
        .attempt_timeout_us = 1000000,
        .connect_timeout_us = 500000,
        .reconnect_max_us = 10000000,
    };
    for (size_t i = 0; i < FIXTURE_NODES; i++) {
        scripted_node_init(&fixture->nodes[i], "k");
    }
    fixture->log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fixture->log_fd >= 0);
    log_init(&fixture->log, fixture->log_fd, LOG_DEBUG);
    assert_true(mailbox_init(&fixture->mailbox, 64));
    return fixture;
}

void archive_fixture_start(struct archive_fixture *fixture) {
    struct fault fault;
    struct cassandra_archive_parts parts = {&fixture->terms, &fixture->dialer, &fixture->log, 1};
    fixture->archive = cassandra_archive_create(&parts, &fault);
    if (fixture->archive == NULL) {
        fail_msg("%s", fault.text);
    }
    archive_fixture_run(fixture, 50);
}

void archive_fixture_destroy(struct archive_fixture *fixture) {
    if (fixture->archive != NULL) {
        cassandra_archive_destroy(fixture->archive);
    }
    for (size_t i = 0; i < FIXTURE_NODES; i++) {
        scripted_node_deinit(&fixture->nodes[i]);
    }
    mailbox_deinit(&fixture->mailbox);
    (void)close(fixture->log_fd);
    free(fixture);
}

/* --- Orders. --- */

static int compare_orders(const void *left, const void *right) {
    uint64_t left_id = ((const struct order_record *)left)->order_id;
    uint64_t right_id = ((const struct order_record *)right)->order_id;
    return left_id < right_id ? -1 : left_id > right_id ? 1 : 0;
}

void archive_fixture_fill(struct archive_fixture *fixture, size_t count, uint64_t minutes) {
    assert_true(count <= FIXTURE_ORDERS);
    for (size_t i = 0; i < count; i++) {
        fixture->orders[i] = final_order(i, 100 + i % minutes);
    }
    qsort(fixture->orders, count, sizeof(fixture->orders[0]), compare_orders);
    for (size_t i = 0; i < count; i++) {
        fixture->ids[i] = fixture->orders[i].order_id;
    }
}

/* --- Time. --- */

static void turn(struct archive_fixture *fixture) {
    fixture->now_us += STEP_US;
    size_t frames;
    do {
        cassandra_archive_wait(fixture->archive, 0);
        (void)cassandra_archive_step(fixture->archive, fixture->now_us);
        frames = 0;
        for (size_t i = 0; i < FIXTURE_NODES; i++) {
            frames += scripted_node_step(&fixture->nodes[i]);
        }
        fixture->done += port_drain(&fixture->mailbox, 64);
    } while (frames > 0);
}

void archive_fixture_run(struct archive_fixture *fixture, int64_t ms) {
    int64_t end_us = fixture->now_us + ms * 1000;
    while (fixture->now_us < end_us) {
        turn(fixture);
    }
}

void archive_fixture_await(struct archive_fixture *fixture, size_t done) {
    int64_t end_us = fixture->now_us + INT64_C(1000) * AWAIT_MS;
    while (fixture->done < done) {
        turn(fixture);
        if (fixture->now_us >= end_us) {
            fail_msg("%zu of %zu requests were completed", fixture->done, done);
        }
    }
}

static void ignore(struct port_request *request) {
    (void)request;
}

void archive_fixture_put(struct archive_fixture *fixture, size_t count) {
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    memset(fixture->results, 0, sizeof(fixture->results));
    fixture->put = (struct order_archive_put){
        .request = {.done = ignore, .mailbox = &fixture->mailbox},
        .count = count,
        .orders = fixture->orders,
        .results = fixture->results,
    };
    assert_int_equal(port->ops->put(port, &fixture->put), PORT_TAKEN);
    archive_fixture_await(fixture, fixture->done + 1);
}

void archive_fixture_get(struct archive_fixture *fixture, size_t count) {
    struct order_archive *port = cassandra_archive_port(fixture->archive);
    memset(fixture->results, 0, sizeof(fixture->results));
    memset(fixture->found, 0, sizeof(fixture->found));
    fixture->get = (struct order_get_batch){
        .request = {.done = ignore, .mailbox = &fixture->mailbox},
        .count = count,
        .order_ids = fixture->ids,
        .orders = fixture->found,
        .results = fixture->results,
    };
    assert_int_equal(port->ops->get(port, &fixture->get), PORT_TAKEN);
    archive_fixture_await(fixture, fixture->done + 1);
}

void archive_fixture_expect(const struct archive_fixture *fixture, size_t count,
                            enum order_result result) {
    for (size_t i = 0; i < count; i++) {
        if (fixture->results[i] != result) {
            fail_msg("result %zu is %u, not %u", i, fixture->results[i], result);
        }
    }
}

const char *archive_fixture_log(struct archive_fixture *fixture) {
    ssize_t size = pread(fixture->log_fd, fixture->log_text, sizeof(fixture->log_text) - 1, 0);
    fixture->log_text[size > 0 ? size : 0] = 0;
    return fixture->log_text;
}
