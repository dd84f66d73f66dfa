/** Rows of `orders` by their ids, as all lanes read them. */
#ifndef ORDERD_ADAPTER_MARIADB_ORDER_ROWS_H
#define ORDERD_ADAPTER_MARIADB_ORDER_ROWS_H

#include "adapter/mariadb/mariadb_lane.h"
#include "adapter/mariadb/order_columns.h"

/** Appends `SELECT` of all columns by a condition on the ids that the caller goes on with: a list
 *  of numbers in parentheses. */
#define ORDER_ROWS_SELECT                                                                          \
    "SELECT " ORDER_COLUMNS_READ " FROM orders FORCE INDEX (PRIMARY) WHERE orders.order_id IN "

/** Takes the next row. A row that is no order is logged and counted: `broken` is true then, and
 *  only its order_id is good. False after the last. @thread the lane's. */
MUST_CHECK bool order_rows_next(struct mariadb_lane *lane, struct mariadb_rows *rows,
                                struct order_record *order, bool *broken);

#endif
