/** The table `orders` as the binlog has it: its layout in a table map, and one row's image into a
 *  record. Pure, any thread; every byte is checked.
 *
 *  Format: https://mariadb.com/kb/en/table_map_event/ and
 * https://mariadb.com/kb/en/rows_event_v1v2/ The layout is that of
 * deploy/schema/mysql/001_orders.sql. */
#ifndef ORDERD_ADAPTER_MARIADB_BINLOG_ORDER_ROW_H
#define ORDERD_ADAPTER_MARIADB_BINLOG_ORDER_ROW_H

#include "adapter/mariadb_binlog/binlog_cursor.h"
#include "base/fault.h"
#include "order/record.h"

#define ORDER_ROW_COLUMNS 13
#define ORDER_ROW_BITMAP_BYTES ((ORDER_ROW_COLUMNS + 7) / 8)

/** Judges what follows the names in a table map: the columns' number, types and sizes and, where
 *  the server tells them, names, signs and the words of the ENUMs. `fault` says what differs. */
MUST_CHECK bool order_row_layout_is_known(struct binlog_cursor *cursor, struct fault *fault);

/** Reads one image with all columns off the front and fills a sealed record. The cursor fails where
 *  the bytes are no such image at all. What is a row but no order gives the fault that it has, and
 *  the cursor stands behind it; order_id is filled in either way. */
MUST_CHECK enum order_record_fault order_row_read(struct binlog_cursor *cursor,
                                                  struct order_record *record);

#endif
