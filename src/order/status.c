#include "order/status.h"

static const char *const status_names[ORDER_STATUS_COUNT] = {
    "none", "pending", "processing", "success", "cancel", "timeout", "error",
};

const char *order_status_name(unsigned status) {
    return status < ORDER_STATUS_COUNT ? status_names[status] : status_names[0];
}

enum order_status order_status_from_name(struct slice name) {
    for (unsigned status = ORDER_STATUS_PENDING; status < ORDER_STATUS_COUNT; status++) {
        if (slice_equal(name, slice_from_text(status_names[status]))) {
            return (enum order_status)status;
        }
    }
    return ORDER_STATUS_NONE;
}
