#include "adapter/cassandra/cassandra_row.h"

#include <assert.h>
#include <stdio.h>

/* The columns besides the partition's, in the order of the cells. Every one but the first, which
 * is part of the key, has a write time. */
#define COLUMNS(X)                                                                                 \
    X(partner_code, CQL_TYPE_ASCII)                                                                \
    X(partner_order_id, CQL_TYPE_ASCII)                                                            \
    X(amount, CQL_TYPE_BIGINT)                                                                     \
    X(currency, CQL_TYPE_ASCII)                                                                    \
    X(payment_type, CQL_TYPE_ASCII)                                                                \
    X(bank_code, CQL_TYPE_ASCII)                                                                   \
    X(status, CQL_TYPE_ASCII)                                                                      \
    X(version, CQL_TYPE_INT)                                                                       \
    X(created_at, CQL_TYPE_BIGINT)                                                                 \
    X(updated_at, CQL_TYPE_BIGINT)                                                                 \
    X(requested_at, CQL_TYPE_BIGINT)                                                               \
    X(responded_at, CQL_TYPE_BIGINT)

enum cell {
    CELL_order_id,
#define CELL(name_, type_) CELL_##name_,
    COLUMNS(CELL)
#undef CELL
        CELL_COUNT
};

_Static_assert(CELL_COUNT == CASSANDRA_ROW_CELLS, "the columns above");
_Static_assert(CELL_COUNT - 1 == CASSANDRA_WRITETIME_CELLS, "the columns above, without the key");

#define NAME(name_, type_) ", " #name_
#define WRITETIME(name_, type_) ", WRITETIME(" #name_ ")"
#define SELECT "SELECT order_id" COLUMNS(NAME)
#define WHERE " FROM %s.orders_by_slot WHERE slot_group = ? AND minute = ? AND order_id "

static const char *const texts[CASSANDRA_STATEMENT_COUNT] = {
    [CASSANDRA_INSERT] = "INSERT INTO %s.orders_by_slot (slot_group, minute, order_id" COLUMNS(
        NAME) ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
    [CASSANDRA_SELECT_ONE] = SELECT WHERE "= ?",
    [CASSANDRA_SELECT_MANY] = SELECT WHERE "IN ?",
    [CASSANDRA_SELECT_WRITETIME] = SELECT COLUMNS(WRITETIME) WHERE "= ?",
};

#define SHAPE(name_, type_) {#name_, type_, 0},
#define TIME_SHAPE(name_, type_) {"writetime(" #name_ ")", CQL_TYPE_BIGINT, 0},

static const struct cql_shape insert_binds[] = {
    {"slot_group", CQL_TYPE_INT, 0},
    {"minute", CQL_TYPE_INT, 0},
    {"order_id", CQL_TYPE_BIGINT, 0},
    COLUMNS(SHAPE){"[timestamp]", CQL_TYPE_BIGINT, 0},
};
static const struct cql_shape one_binds[] = {
    {"slot_group", CQL_TYPE_INT, 0},
    {"minute", CQL_TYPE_INT, 0},
    {"order_id", CQL_TYPE_BIGINT, 0},
};
static const struct cql_shape many_binds[] = {
    {"slot_group", CQL_TYPE_INT, 0},
    {"minute", CQL_TYPE_INT, 0},
    {NULL, CQL_TYPE_LIST, CQL_TYPE_BIGINT},
};
static const struct cql_shape row_results[] = {
    {"order_id", CQL_TYPE_BIGINT, 0},
    COLUMNS(SHAPE) COLUMNS(TIME_SHAPE) /* the times: only of SELECT_WRITETIME */
};

_Static_assert(ARRAY_COUNT(insert_binds) == CASSANDRA_INSERT_VALUES, "a ? for each value");

void cassandra_statements_init(struct cassandra_statements *statements, const char *keyspace) {
    for (size_t i = 0; i < CASSANDRA_STATEMENT_COUNT; i++) {
        char *into = statements->texts[i];
        const char *mark = strstr(texts[i], "%s");
        int size = snprintf(into, sizeof(statements->texts[i]), "%.*s%s%s", (int)(mark - texts[i]),
                            texts[i], keyspace, mark + 2);
        assert(size > 0 && (size_t)size < sizeof(statements->texts[i]));
        statements->table[i] = (struct cql_statement){
            .text = {into, (size_t)size},
            .binds = i == CASSANDRA_INSERT        ? insert_binds
                     : i == CASSANDRA_SELECT_MANY ? many_binds
                                                  : one_binds,
            .bind_count =
                i == CASSANDRA_INSERT ? ARRAY_COUNT(insert_binds) : ARRAY_COUNT(one_binds),
            .results = row_results,
            .result_count = i == CASSANDRA_INSERT             ? 0
                            : i == CASSANDRA_SELECT_WRITETIME ? ARRAY_COUNT(row_results)
                                                              : CASSANDRA_ROW_CELLS,
        };
    }
}

/* --- Into values. --- */

static void bind_nothing(struct text *out, enum cassandra_nulls nulls) {
    if (nulls == CASSANDRA_NULLS_UNSET) {
        cql_write_value_unset(out);
    } else {
        cql_write_value_null(out);
    }
}

static void bind_time(struct text *out, int64_t time_us, enum cassandra_nulls nulls) {
    if (time_us == 0) {
        bind_nothing(out, nulls);
    } else {
        cql_write_value_u64(out, (uint64_t)time_us);
    }
}

void cassandra_row_bind_partition(struct text *out, struct cassandra_partition partition) {
    cql_write_value_u32(out, partition.slot_group);
    cql_write_value_u32(out, partition.minute);
}

void cassandra_row_bind(struct text *out, const struct order_record *order, int64_t timestamp_us,
                        enum cassandra_nulls nulls) {
    struct slice bank_code = ORDER_TEXT(order->bank_code);
    cassandra_row_bind_partition(out, cassandra_partition_of(order->order_id));
    cql_write_value_u64(out, order->order_id);
    cql_write_value_text(out, ORDER_TEXT(order->partner_code));
    cql_write_value_text(out, ORDER_TEXT(order->partner_order_id));
    cql_write_value_u64(out, order->amount);
    cql_write_value_text(out, ORDER_TEXT(order->currency));
    cql_write_value_text(out, slice_from_text(order_payment_type_name(order->payment_type)));
    if (bank_code.size == 0) {
        bind_nothing(out, nulls);
    } else {
        cql_write_value_text(out, bank_code);
    }
    cql_write_value_text(out, slice_from_text(order_status_name(order->status)));
    cql_write_value_u32(out, order->version);
    bind_time(out, order->created_at_us, nulls);
    bind_time(out, order->updated_at_us, nulls);
    bind_time(out, order->requested_at_us, nulls);
    bind_time(out, order->responded_at_us, nulls);
    cql_write_value_u64(out, (uint64_t)timestamp_us);
}

/* --- And back. --- */

static bool read_u64(const struct cql_cell *cell, uint64_t *value) {
    struct cql_reader reader = cql_reader_over(cell->bytes);
    uint64_t high = cql_read_u32(&reader);
    *value = high << 32 | cql_read_u32(&reader);
    return !cell->is_null && !reader.failed && reader.left == 0;
}

static bool read_u32(const struct cql_cell *cell, uint32_t *value) {
    struct cql_reader reader = cql_reader_over(cell->bytes);
    *value = cql_read_u32(&reader);
    return !cell->is_null && !reader.failed && reader.left == 0;
}

/** A text that fits; an empty one is none, so that a row has one form only. */
static bool read_text(const struct cql_cell *cell, char *field, size_t size) {
    if (cell->is_null || cell->bytes.size == 0 || cell->bytes.size > size) {
        return false;
    }
    order_text_set(field, size, cell->bytes);
    return true;
}

/** A time; null is 0, and 0 itself is none. */
static bool read_time(const struct cql_cell *cell, int64_t *time_us) {
    uint64_t value;
    if (cell->is_null) {
        *time_us = 0;
        return true;
    }
    if (!read_u64(cell, &value) || value == 0 || value > INT64_MAX) {
        return false;
    }
    *time_us = (int64_t)value;
    return true;
}

bool cassandra_row_id(const struct cql_cell *cells, uint64_t *order_id) {
    return read_u64(&cells[CELL_order_id], order_id);
}

static const char *read_cells(const struct cql_cell *cells, struct order_record *order) {
    const struct cql_cell *bank_code = &cells[CELL_bank_code];
    order->payment_type = (uint8_t)order_payment_type_from_name(cells[CELL_payment_type].bytes);
    order->status = (uint8_t)order_status_from_name(cells[CELL_status].bytes);
    struct {
        bool well;
        const char *name;
    } const judged[] = {
        {cassandra_row_id(cells, &order->order_id), "order_id"},
        {read_text(&cells[CELL_partner_code], order->partner_code, sizeof(order->partner_code)),
         "partner_code"},
        {read_text(&cells[CELL_partner_order_id], order->partner_order_id,
                   sizeof(order->partner_order_id)),
         "partner_order_id"},
        {read_u64(&cells[CELL_amount], &order->amount), "amount"},
        {read_text(&cells[CELL_currency], order->currency, sizeof(order->currency)), "currency"},
        {bank_code->is_null || read_text(bank_code, order->bank_code, sizeof(order->bank_code)),
         "bank_code"},
        {read_u32(&cells[CELL_version], &order->version), "version"},
        {read_time(&cells[CELL_created_at], &order->created_at_us), "created_at"},
        {read_time(&cells[CELL_updated_at], &order->updated_at_us), "updated_at"},
        {read_time(&cells[CELL_requested_at], &order->requested_at_us), "requested_at"},
        {read_time(&cells[CELL_responded_at], &order->responded_at_us), "responded_at"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(judged); i++) {
        if (!judged[i].well) {
            return judged[i].name;
        }
    }
    return NULL;
}

const char *cassandra_row_read(const struct cql_cell *cells, struct order_record *order) {
    *order = (struct order_record){.format = ORDER_RECORD_FORMAT};
    const char *wrong = read_cells(cells, order);
    if (wrong != NULL) {
        return wrong;
    }
    enum order_record_fault fault = order_record_check_fields(order);
    if (fault != ORDER_RECORD_VALID) {
        return order_record_fault_name(fault);
    }
    if (!order_status_is_final(order->status)) {
        return "status"; /* nothing else is archived */
    }
    if (order_slot_from_hash(order_record_reference_hash(order)) !=
        order_id_decode(order->order_id).slot) {
        return "reference"; /* the id has the slot of another one */
    }
    order_record_seal(order);
    return NULL;
}

int64_t cassandra_row_writetime(const struct cql_cell *cells) {
    int64_t latest_us = INT64_MIN;
    for (size_t i = 0; i < CASSANDRA_WRITETIME_CELLS; i++) {
        uint64_t value;
        if (read_u64(&cells[i], &value) && (int64_t)value > latest_us) {
            latest_us = (int64_t)value;
        }
    }
    return latest_us;
}
