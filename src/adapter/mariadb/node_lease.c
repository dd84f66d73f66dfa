#include "adapter/mariadb/node_lease.h"

#define PROMISE_MARGIN_TICKS 100

bool node_lease_choose(const struct node_row *rows, size_t count, uint64_t now_tick,
                       struct node_choice *choice) {
    const struct node_row *soonest = NULL;
    uint32_t unused = 0; /* the lowest number without a row */
    for (size_t i = 0; i < count; i++) {
        const struct node_row *row = &rows[i];
        if (row->node == unused) {
            unused++;
        }
        if (!row->expired || row->node >= ORDER_NODE_COUNT) {
            continue;
        }
        if (row->highest_tick <= now_tick) {
            *choice = (struct node_choice){row->node, false, row->highest_tick};
            return true;
        }
        if (soonest == NULL || row->highest_tick < soonest->highest_tick) {
            soonest = row;
        }
    }
    if (unused < ORDER_NODE_COUNT) {
        *choice = (struct node_choice){unused, true, 0};
        return true;
    }
    if (soonest != NULL) {
        *choice = (struct node_choice){soonest->node, false, soonest->highest_tick};
        return true;
    }
    return false;
}

uint64_t node_lease_promise(int64_t now_us, int64_t length_us) {
    return order_tick_from_us(now_us + length_us) + ORDER_TICKS_AHEAD_MAX + PROMISE_MARGIN_TICKS;
}

bool node_grant_is_usable(const struct node_grant *grant, int64_t monotonic_us, uint64_t now_tick) {
    return grant->number != 0 && !grant->clock_ahead && monotonic_us >= grant->usable_from_us &&
           monotonic_us < grant->held_until_us &&
           now_tick + ORDER_TICKS_AHEAD_MAX <= grant->promised_tick;
}
