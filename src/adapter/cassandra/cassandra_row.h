/** An order as a row of `orders_by_slot`: the statements, the values that are bound to them, and
 * the way back. Pure, any thread.
 *
 *  Every write carries `USING TIMESTAMP`; the archive's is the version, so a lower version never
 *  wins over a higher one, in whatever order they arrive. A field that has no value is not bound
 *  at all: a null would leave a tombstone. That is safe since an order's fields only go from
 *  nothing to something as its version rises. The checker's repairs bind nulls, since what they
 *  replace may be anything. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_ROW_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_ROW_H

#include "adapter/cassandra/cassandra_partition.h"
#include "adapter/cassandra/cql_connection.h"
#include "order/record.h"

enum cassandra_statement {
    CASSANDRA_INSERT,
    CASSANDRA_SELECT_ONE,       /* by order_id */
    CASSANDRA_SELECT_MANY,      /* by a list of order_ids of one partition */
    CASSANDRA_SELECT_WRITETIME, /* by order_id, with the write time of every column */
    CASSANDRA_STATEMENT_COUNT
};

/** Columns of a row as it is read, order_id first; and those that have a write time. */
#define CASSANDRA_ROW_CELLS 13
#define CASSANDRA_WRITETIME_CELLS 12

/** Values of an INSERT: the partition, the columns, the timestamp. */
#define CASSANDRA_INSERT_VALUES (2 + CASSANDRA_ROW_CELLS + 1)

/** The longest values of one INSERT, with the statement's id before them in a batch. */
#define CASSANDRA_INSERT_BYTES_MAX 448

/** What is bound before the order_ids of a SELECT, and each of those. */
#define CASSANDRA_SELECT_BYTES 64
#define CASSANDRA_SELECT_ID_BYTES 12

struct cassandra_statements {
    char texts[CASSANDRA_STATEMENT_COUNT][1024];
    struct cql_statement table[CASSANDRA_STATEMENT_COUNT];
};

/** Writes the statements' texts for `keyspace`. The struct must not move afterwards. */
void cassandra_statements_init(struct cassandra_statements *statements, const char *keyspace);

enum cassandra_nulls { CASSANDRA_NULLS_UNSET, CASSANDRA_NULLS_DELETE };

/** Binds CASSANDRA_INSERT_VALUES values. */
void cassandra_row_bind(struct text *out, const struct order_record *order, int64_t timestamp_us,
                        enum cassandra_nulls nulls);

/** Binds the two partition columns. */
void cassandra_row_bind_partition(struct text *out, struct cassandra_partition partition);

/** The order_id of a row; false where it is none. */
MUST_CHECK bool cassandra_row_id(const struct cql_cell *cells, uint64_t *order_id);

/** Makes the order of a row's CASSANDRA_ROW_CELLS cells, sealed. Returns NULL, or the name of what
 *  cannot be, as it is in no final order with this id: then `order` must not be used. */
MUST_CHECK const char *cassandra_row_read(const struct cql_cell *cells, struct order_record *order);

/** The latest write time among CASSANDRA_WRITETIME_CELLS cells; INT64_MIN where there is none. */
int64_t cassandra_row_writetime(const struct cql_cell *cells);

#endif
