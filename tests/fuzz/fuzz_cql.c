/* Any bytes as what a Cassandra node says, first to the decoder, then to a connection that has
 * asked something: nothing is read past the end, rows that were taken can be walked, what becomes
 * an order is a possible one, and every request is completed exactly once. */
#include "adapter/cassandra/cassandra_row.h"
#include "fuzz.h"

#define CELLS_MAX 64
#define STREAMS 4
#define NOW_US 1000000

/* --- The decoder. --- */

static void walk_columns(struct cql_columns columns) {
    struct cql_column column;
    uint32_t seen = 0;
    while (cql_columns_next(&columns, &column)) {
        seen++;
    }
    FUZZ_CHECK(!columns.described || seen == columns.count, "%u of %u", seen, columns.count);
}

static void walk_rows(struct cql_rows rows) {
    struct cql_cell cells[CELLS_MAX];
    uint32_t seen = 0;
    walk_columns(rows.columns);
    if (rows.columns.count > CELLS_MAX) {
        return;
    }
    while (cql_rows_next(&rows, cells)) {
        struct order_record order;
        seen++;
        if (rows.columns.count >= CASSANDRA_ROW_CELLS &&
            cassandra_row_read(cells, &order) == NULL) {
            enum order_record_fault wrong = order_record_check(&order);
            FUZZ_CHECK(wrong == ORDER_RECORD_VALID, "wrong %s", order_record_fault_name(wrong));
            FUZZ_CHECK(order_status_is_final(order.status), "status %u", order.status);
        }
        if (rows.columns.count >= CASSANDRA_WRITETIME_CELLS) {
            (void)cassandra_row_writetime(cells);
        }
    }
    FUZZ_CHECK(seen == rows.count, "%u of %u", seen, rows.count);
}

static void decode(struct slice bytes) {
    struct cql_header header;
    struct cql_response response;
    struct fault fault;
    if (cql_header_read(bytes, bytes.size, &header) != CQL_HEADER_OK ||
        bytes.size - CQL_HEADER_BYTES < header.body_bytes) {
        return;
    }
    struct slice body = {bytes.data + CQL_HEADER_BYTES, header.body_bytes};
    if (!cql_response_read(&header, body, &response, &fault)) {
        FUZZ_CHECK(fault.text[0] != 0, "refused without a word");
        return;
    }
    if (response.kind == CQL_RESPONSE_ROWS) {
        walk_rows(response.rows);
    } else if (response.kind == CQL_RESPONSE_PREPARED) {
        walk_columns(response.prepared.binds);
        walk_columns(response.prepared.results);
    }
}

/* --- A connection. --- */

struct asked {
    unsigned times_done[STREAMS];
};

static bool done(void *context, void *tag, enum cql_outcome outcome,
                 struct cql_response *response) {
    struct asked *asked = context;
    asked->times_done[(uintptr_t)tag]++;
    FUZZ_CHECK((outcome == CQL_ANSWERED) == (response != NULL), "outcome %d", (int)outcome);
    if (response != NULL && response->kind == CQL_RESPONSE_ROWS) {
        walk_rows(response->rows);
    }
    return true;
}

static void hear(struct cql_connection *connection, struct slice bytes) {
    while (bytes.size > 0 && connection->state != CQL_CONNECTION_BROKEN) {
        size_t room;
        char *space = cql_connection_space(connection, &room);
        size_t size = bytes_min_size(room, bytes.size);
        FUZZ_CHECK(size > 0, "no room");
        memcpy(space, bytes.data, size);
        cql_connection_received(connection, size, NOW_US);
        bytes.data += size;
        bytes.size -= size;
        cql_connection_sent(connection, cql_connection_output(connection).size);
    }
}

static void converse(struct slice greeting, struct slice rest) {
    static const struct cql_statement statement = {.text = SLICE_LITERAL("SELECT 1")};
    struct cassandra_metrics *metrics =
        aligned_alloc(CACHE_LINE_BYTES, bytes_align_up(sizeof(*metrics), CACHE_LINE_BYTES));
    FUZZ_CHECK(metrics != NULL, "no memory");
    memset(metrics, 0, sizeof(*metrics));
    struct asked asked = {.times_done = {0}};
    struct cql_connection_setup setup = {
        .statements = &statement,
        .statement_count = 1,
        .user = SLICE_LITERAL("user"),
        .password = SLICE_LITERAL("password"),
        .streams = STREAMS,
        .request_bytes = 256,
        .answer_wait_us = 1000,
        .metrics = metrics,
        .done = done,
        .context = &asked,
    };
    struct cql_connection connection;
    uintptr_t requests = 0;
    bool made = cql_connection_init(&connection, &setup);
    FUZZ_CHECK(made, "no memory");
    cql_connection_open(&connection, NOW_US, NOW_US + 1000);
    cql_connection_sent(&connection, cql_connection_output(&connection).size);
    hear(&connection, greeting);
    while (connection.state == CQL_CONNECTION_READY && requests < STREAMS) {
        struct text *body = cql_connection_begin(&connection, CQL_QUERY, 0, 64);
        FUZZ_CHECK(body != NULL, "no stream");
        cql_write_query(body, SLICE_LITERAL("SELECT 2"), CQL_ONE);
        cql_connection_commit(&connection, (void *)requests, NOW_US, NOW_US + 500);
        requests++;
    }
    hear(&connection, rest);
    cql_connection_tick(&connection, NOW_US + 600);
    cql_connection_close(&connection);
    for (uintptr_t i = 0; i < STREAMS; i++) {
        FUZZ_CHECK(asked.times_done[i] == (i < requests ? 1 : 0), "request %zu was done %u times",
                   (size_t)i, asked.times_done[i]);
    }
    cql_connection_deinit(&connection);
    free(metrics);
}

/** The first two bytes say how much of the rest is heard before anything is asked. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    struct slice bytes = {(const char *)data + 2, size - 2};
    size_t cut = bytes_min_size((size_t)data[0] << 8 | data[1], bytes.size);
    decode(bytes);
    converse((struct slice){bytes.data, cut}, (struct slice){bytes.data + cut, bytes.size - cut});
    return 0;
}
