#include "adapter/mariadb/order_rows.h"

bool order_rows_next(struct mariadb_lane *lane, struct mariadb_rows *rows,
                     struct order_record *order, bool *broken) {
    struct slice fields[MARIADB_COLUMNS_MAX];
    if (!mariadb_rows_next(rows, fields)) {
        return false;
    }
    enum order_record_fault fault = order_columns_read(fields, order);
    *broken = fault != ORDER_RECORD_VALID;
    if (*broken) {
        mariadb_lane_note_broken(lane, order->order_id, fault);
    }
    return true;
}
