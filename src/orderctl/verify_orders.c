#include "orderctl/verify_orders.h"

#include "base/crc32c.h"
#include "base/hash.h"
#include "base/pages.h"

#define PLACES_FIRST 65536
#define LOAD_PERCENT_MAX 85

static size_t bytes_of(const struct verify_orders *orders) {
    return orders->place_count * sizeof(*orders->places);
}

static bool reserve(struct verify_orders *orders, uint64_t place_count) {
    *orders = (struct verify_orders){.place_count = place_count};
    orders->places = pages_reserve(bytes_of(orders));
    return orders->places != NULL;
}

bool verify_orders_init(struct verify_orders *orders) {
    return reserve(orders, PLACES_FIRST);
}

void verify_orders_deinit(struct verify_orders *orders) {
    if (orders->places != NULL) {
        pages_release(orders->places, bytes_of(orders));
    }
    orders->places = NULL;
}

static uint64_t first_place(const struct verify_orders *orders, uint64_t order_id) {
    return hash_to_range(hash_mix(order_id), orders->place_count);
}

/** The place that has the order, or the empty one where it goes. */
static struct verify_order *place_of(const struct verify_orders *orders, uint64_t order_id) {
    uint64_t at = first_place(orders, order_id);
    while (orders->places[at].order_id != 0 && orders->places[at].order_id != order_id) {
        at = at + 1 == orders->place_count ? 0 : at + 1;
    }
    return &orders->places[at];
}

static bool grow(struct verify_orders *orders) {
    struct verify_orders larger;
    /* Twice while it is small, then by a quarter. */
    uint64_t more =
        orders->place_count < ((uint64_t)1 << 20) ? orders->place_count : orders->place_count / 4;
    if (!reserve(&larger, orders->place_count + more)) {
        return false;
    }
    uint64_t at = 0;
    const struct verify_order *order;
    while ((order = verify_orders_each(orders, &at)) != NULL) {
        *place_of(&larger, order->order_id) = *order;
    }
    larger.count = orders->count;
    verify_orders_deinit(orders);
    *orders = larger;
    return true;
}

struct verify_order *verify_orders_find(const struct verify_orders *orders, uint64_t order_id) {
    struct verify_order *place = place_of(orders, order_id);
    return place->order_id == 0 ? NULL : place;
}

struct verify_order *verify_orders_add(struct verify_orders *orders, uint64_t order_id) {
    if (orders->count >= orders->place_count / 100 * LOAD_PERCENT_MAX && !grow(orders)) {
        return NULL;
    }
    struct verify_order *place = place_of(orders, order_id);
    place->order_id = order_id;
    orders->count++;
    return place;
}

void verify_orders_prefetch(const struct verify_orders *orders, uint64_t order_id) {
    __builtin_prefetch(&orders->places[first_place(orders, order_id)]);
}

struct verify_order *verify_orders_each(const struct verify_orders *orders, uint64_t *at) {
    while (*at < orders->place_count) {
        struct verify_order *place = &orders->places[(*at)++];
        if (place->order_id != 0) {
            return place;
        }
    }
    return NULL;
}

uint32_t verify_identity(const struct order_record *record) {
    uint32_t reference =
        crc32c(record->partner_code, ORDER_PARTNER_CODE_BYTES + ORDER_PARTNER_ORDER_ID_BYTES);
    uint32_t content = crc32c(&record->amount, sizeof(record->amount));
    content = crc32c_extend(content, &record->created_at_us, sizeof(record->created_at_us));
    content = crc32c_extend(content, record->currency, sizeof(record->currency));
    content = crc32c_extend(content, &record->payment_type, sizeof(record->payment_type));
    return (reference & VERIFY_IDENTITY_REFERENCE) | (content & ~VERIFY_IDENTITY_REFERENCE);
}
