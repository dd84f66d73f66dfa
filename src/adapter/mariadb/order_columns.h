/** An order as a row of `orders`: the columns, a record as a tuple of literals, and back. Pure, any
 *  thread.
 *
 *  The numbers of the ENUM columns are those of the record, and go both ways as numbers. */
#ifndef ORDERD_ADAPTER_MARIADB_ORDER_COLUMNS_H
#define ORDERD_ADAPTER_MARIADB_ORDER_COLUMNS_H

#include "adapter/mariadb/sql_builder.h"
#include "order/record.h"

/** The columns in the order of order_columns_append. */
#define ORDER_COLUMNS                                                                              \
    "order_id, partner_code, partner_order_id, amount, currency, payment_type, bank_code, "        \
    "status, version, created_at, updated_at, requested_at, responded_at"

/** The same to be read by order_columns_read, from the table (or alias) `orders`. */
#define ORDER_COLUMNS_READ                                                                         \
    "orders.order_id, orders.partner_code, orders.partner_order_id, orders.amount, "               \
    "orders.currency, orders.payment_type + 0, orders.bank_code, orders.status + 0, "              \
    "orders.version, orders.created_at, orders.updated_at, orders.requested_at, "                  \
    "orders.responded_at"

#define ORDER_COLUMN_COUNT 13

/** The longest tuple that order_columns_append can make: texts escaped to twice their length, four
 *  times, and the numbers. */
#define ORDER_COLUMNS_BYTES_MAX 420

/** Appends `(...)`, the values of one row. The record is valid. */
void order_columns_append(struct sql_builder *sql, const struct order_record *record);

/** Appends `('partner_code','partner_order_id',order_id)`, a row of `order_refs`. */
void order_columns_append_reference(struct sql_builder *sql, const struct order_record *record);

/** Appends a condition on the primary key of `order_refs`: one of `count` references, at least one,
 *  which are in the order of order_reference_compare. */
void order_columns_append_condition(struct sql_builder *sql,
                                    const struct order_record *const *references, size_t count);

/** As memcmp, by partner_code and partner_order_id: the order of the primary key of `order_refs`,
 *  as zero bytes sort before every character that a reference may have. */
static inline int order_reference_compare(const struct order_record *left,
                                          const struct order_record *right) {
    return memcmp(left->partner_code, right->partner_code,
                  ORDER_PARTNER_CODE_BYTES + ORDER_PARTNER_ORDER_ID_BYTES);
}

/** Fills the reference and the order_id of a record from a row of `order_refs` (partner_code,
 *  partner_order_id, order_id). False where that is no reference. */
MUST_CHECK bool order_columns_read_reference(const struct slice fields[3],
                                             struct order_record *record);

/** Fills a sealed record from the fields of a row, a NULL being a slice without data. What is no
 *  order gives the fault that it has; the order_id is filled in wherever it can be read. */
MUST_CHECK enum order_record_fault order_columns_read(const struct slice fields[ORDER_COLUMN_COUNT],
                                                      struct order_record *record);

#endif
