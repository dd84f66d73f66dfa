#include "service/fill_ledger.h"

#include "base/hash.h"

#include <assert.h>
#include <stdlib.h>

bool fill_ledger_init(struct fill_ledger *ledger, size_t capacity) {
    assert(capacity > 0 && (capacity & (capacity - 1)) == 0 && capacity < UINT32_MAX);
    *ledger = (struct fill_ledger){.mask = capacity - 1};
    ledger->fills = calloc(capacity, sizeof(*ledger->fills));
    ledger->heads = calloc(capacity, sizeof(*ledger->heads));
    return ledger->fills != NULL && ledger->heads != NULL;
}

void fill_ledger_deinit(struct fill_ledger *ledger) {
    free(ledger->fills);
    free(ledger->heads);
}

static uint32_t *head_of(const struct fill_ledger *ledger, uint64_t order_id) {
    return &ledger->heads[(size_t)hash_mix(order_id) & ledger->mask];
}

void fill_ledger_add(struct fill_ledger *ledger, uint64_t order_id, uint32_t version,
                     int64_t until_us) {
    size_t place = (size_t)ledger->added & ledger->mask;
    uint32_t *head = head_of(ledger, order_id);
    assert(!fill_ledger_is_full(ledger) && order_id != 0);
    ledger->fills[place] = (struct fill){order_id, version, *head, until_us};
    *head = (uint32_t)place + 1;
    ledger->added++;
}

/** Takes the entry at `place` out of the chain that it is in. */
static void unlink_fill(struct fill_ledger *ledger, size_t place) {
    uint32_t *link = head_of(ledger, ledger->fills[place].order_id);
    while (*link != place + 1) {
        assert(*link != 0);
        link = &ledger->fills[*link - 1].next;
    }
    *link = ledger->fills[place].next;
}

size_t fill_ledger_confirm(struct fill_ledger *ledger, uint64_t order_id, uint32_t version) {
    uint32_t *link = head_of(ledger, order_id);
    size_t count = 0;
    while (*link != 0) {
        struct fill *fill = &ledger->fills[*link - 1];
        if (fill->order_id == order_id && fill->version <= version) {
            *link = fill->next;
            fill->order_id = 0;
            count++;
        } else {
            link = &fill->next;
        }
    }
    return count;
}

const struct fill *fill_ledger_first(const struct fill_ledger *ledger) {
    return ledger->added == ledger->removed
               ? NULL
               : &ledger->fills[(size_t)ledger->removed & ledger->mask];
}

void fill_ledger_drop_first(struct fill_ledger *ledger) {
    size_t place = (size_t)ledger->removed & ledger->mask;
    assert(ledger->added != ledger->removed);
    if (ledger->fills[place].order_id != 0) {
        unlink_fill(ledger, place);
    }
    ledger->removed++;
}
