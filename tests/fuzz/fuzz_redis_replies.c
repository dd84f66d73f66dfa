/* Any bytes from a Redis node: what hiredis makes of them stays within bounds, in whatever pieces
 * they come, and what is taken for a map, a redirection or an identity is one. The first byte says
 * how long the pieces are. */
#include "adapter/redis/slot_map.h"
#include "fuzz.h"

static void check_bounds(const struct redis_value *value, int depth) {
    FUZZ_CHECK(depth < 10, "%d", depth);
    if (value->kind == REDIS_ARRAY) {
        for (size_t i = 0; i < value->count; i++) {
            check_bounds(&value->items[i], depth + 1);
        }
    } else if (value->kind == REDIS_TEXT || value->kind == REDIS_STATUS ||
               value->kind == REDIS_ERROR) {
        FUZZ_CHECK(value->text.data[value->text.size] == 0, "%zu", value->text.size);
    }
}

static void check_map(const struct redis_value *value, const struct redis_address *asked) {
    static struct slot_map map;
    struct fault fault;
    if (!slot_map_parse(value, asked, &map, &fault)) {
        FUZZ_CHECK(strnlen(fault.text, sizeof(fault.text)) < sizeof(fault.text), "no end");
        return;
    }
    size_t covered = 0;
    for (size_t slot = 0; slot < HASH_SLOT_COUNT; slot++) {
        FUZZ_CHECK(map.owners[slot] == SLOT_MAP_NOBODY || map.owners[slot] < map.node_count,
                   "slot %zu", slot);
        covered += map.owners[slot] != SLOT_MAP_NOBODY;
    }
    FUZZ_CHECK(covered == map.covered && covered > 0, "%zu", covered);
    for (size_t i = 0; i < map.node_count; i++) {
        const struct slot_map_node *node = &map.nodes[i];
        struct redis_address again;
        FUZZ_CHECK(node->master == SLOT_MAP_NOBODY || node->master < map.node_count, "%zu", i);
        FUZZ_CHECK(
            redis_address_set(&again, slice_from_text(node->address.host), node->address.port),
            "%s", node->address.host);
    }
}

static void check_redirect(const struct redis_value *value, const struct redis_address *asked) {
    struct redis_address target;
    struct redis_address again;
    uint16_t slot;
    if (slot_redirect_parse(value, asked, &slot, &target) != SLOT_REDIRECT_NONE) {
        FUZZ_CHECK(slot < HASH_SLOT_COUNT && target.port != 0, "%u", slot);
        FUZZ_CHECK(redis_address_set(&again, slice_from_text(target.host), target.port), "%s",
                   target.host);
    }
}

static void check_identity(const struct redis_value *value) {
    struct node_identity identity;
    if (value->kind == REDIS_TEXT && node_identity_parse(value->text, &identity)) {
        FUZZ_CHECK(identity.run_id[NODE_RUN_ID_BYTES] == 0, "no end");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct redis_address asked = {"127.0.0.1", 6379};
    struct redis_reader reader;
    if (size == 0) {
        return 0;
    }
    size_t step = data[0] == 0 ? REDIS_FEED_BYTES : data[0];
    if (!redis_reader_init(&reader)) {
        return 0;
    }
    for (size_t at = 1; at < size; at += step) {
        size_t some = bytes_min_size(step, size - at);
        const struct redis_value *value = NULL;
        enum redis_read read = REDIS_READ_BROKEN;
        if (redis_reader_feed(&reader, (const char *)data + at, some)) {
            while ((read = redis_reader_next(&reader, &value)) == REDIS_READ_VALUE) {
                check_bounds(value, 0);
                check_map(value, &asked);
                check_redirect(value, &asked);
                check_identity(value);
            }
        }
        FUZZ_CHECK(reader.bytes <= REDIS_ANSWER_BYTES_MAX, "%zu", reader.bytes);
        if (read == REDIS_READ_BROKEN) {
            break;
        }
    }
    redis_reader_deinit(&reader);
    return 0;
}
