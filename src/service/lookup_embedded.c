#include "order/order_id.h"
#include "service/lookup.h"

static enum port_submit get(struct lookup *lookup, struct lookup_batch *batch) {
    struct order_archive *archive = ((struct lookup_embedded *)lookup)->archive;
    return archive->ops->get(archive, &batch->get);
}

static bool is_possible(struct lookup *lookup, uint64_t order_id, int64_t now_us) {
    uint32_t node = ((struct lookup_embedded *)lookup)->node;
    return order_id_is_possible(order_id, now_us) && order_id_decode(order_id).node == node;
}

static const struct lookup_ops embedded_ops = {.get = get, .is_possible = is_possible};

void lookup_embedded_init(struct lookup_embedded *lookup, struct order_archive *archive,
                          uint32_t node) {
    *lookup = (struct lookup_embedded){{&embedded_ops}, archive, node};
}
