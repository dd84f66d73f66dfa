#include "adapter/redis/slot_map.h"

/** Reads all of `text` as a decimal number of at most `limit`. */
static bool read_number(struct slice text, uint64_t limit, uint64_t *number) {
    uint64_t value = 0;
    if (text.size == 0 || text.size > 19) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *number = value;
    return value <= limit;
}

/** The index of a node of the map, new or known. NOBODY where there is no room, or the node has no
 *  address that can be used. */
static uint16_t find_node(const struct redis_value *entry, const struct redis_address *asked,
                          struct slot_map *map) {
    if (entry->kind != REDIS_ARRAY || entry->count < 2 || entry->items[1].kind != REDIS_INTEGER ||
        entry->items[1].integer <= 0) {
        return SLOT_MAP_NOBODY;
    }
    const struct redis_value *host = &entry->items[0];
    struct slice name =
        host->kind == REDIS_TEXT && host->text.size > 0 ? host->text : slice_from_text(asked->host);
    struct redis_address address;
    if (!redis_address_set(&address, name, (uint64_t)entry->items[1].integer)) {
        map->unusable++;
        return SLOT_MAP_NOBODY;
    }
    for (size_t i = 0; i < map->node_count; i++) {
        if (redis_address_equal(&map->nodes[i].address, &address)) {
            return (uint16_t)i;
        }
    }
    if (map->node_count == SLOT_MAP_NODES_MAX) {
        map->unusable++;
        return SLOT_MAP_NOBODY;
    }
    map->nodes[map->node_count] =
        (struct slot_map_node){.address = address, .master = SLOT_MAP_NOBODY};
    return (uint16_t)map->node_count++;
}

/** One range: `[first, last, master, replica...]`. */
static bool read_range(const struct redis_value *range, const struct redis_address *asked,
                       struct slot_map *map) {
    if (range->kind != REDIS_ARRAY || range->count < 3 || range->items[0].kind != REDIS_INTEGER ||
        range->items[1].kind != REDIS_INTEGER) {
        return false;
    }
    int64_t first = range->items[0].integer;
    int64_t last = range->items[1].integer;
    if (first < 0 || last < first || last >= HASH_SLOT_COUNT) {
        return false;
    }
    uint16_t owner = find_node(&range->items[2], asked, map);
    for (int64_t slot = first; slot <= last; slot++) {
        if (map->owners[slot] != SLOT_MAP_NOBODY) {
            return false; /* a slot has one owner */
        }
        map->owners[slot] = owner;
    }
    if (owner == SLOT_MAP_NOBODY) {
        return true;
    }
    map->covered += (size_t)(last - first + 1);
    for (size_t i = 3; i < range->count; i++) {
        uint16_t replica = find_node(&range->items[i], asked, map);
        if (replica != SLOT_MAP_NOBODY && replica != owner) {
            map->nodes[replica].master = owner;
        }
    }
    return true;
}

bool slot_map_parse(const struct redis_value *answer, const struct redis_address *asked,
                    struct slot_map *map, struct fault *fault) {
    map->node_count = 0;
    map->covered = 0;
    map->unusable = 0;
    memset(map->owners, 0xff, sizeof(map->owners));
    if (answer->kind == REDIS_ERROR) {
        fault_set(fault, "CLUSTER SLOTS: %.128s", answer->text.data);
        return false;
    }
    if (answer->kind != REDIS_ARRAY) {
        fault_set(fault, "CLUSTER SLOTS: the answer is no array");
        return false;
    }
    for (size_t i = 0; i < answer->count; i++) {
        if (!read_range(&answer->items[i], asked, map)) {
            fault_set(fault, "CLUSTER SLOTS: range %zu of %zu is none", i + 1, answer->count);
            return false;
        }
    }
    if (map->covered == 0) {
        fault_set(fault, "CLUSTER SLOTS: no slot has a master with a numeric address");
        return false;
    }
    return true;
}

enum slot_redirect slot_redirect_parse(const struct redis_value *answer,
                                       const struct redis_address *asked, uint16_t *slot,
                                       struct redis_address *target) {
    enum slot_redirect kind = redis_value_is_error(answer, "MOVED") ? SLOT_REDIRECT_MOVED
                              : redis_value_is_error(answer, "ASK") ? SLOT_REDIRECT_ASK
                                                                    : SLOT_REDIRECT_NONE;
    if (kind == SLOT_REDIRECT_NONE) {
        return kind;
    }
    const char *end = answer->text.data + answer->text.size;
    const char *number = memchr(answer->text.data, ' ', answer->text.size);
    if (number == NULL) {
        return SLOT_REDIRECT_NONE;
    }
    number++;
    const char *host = memchr(number, ' ', (size_t)(end - number));
    if (host == NULL) {
        return SLOT_REDIRECT_NONE;
    }
    struct slice slot_text = {number, (size_t)(host - number)};
    host++;
    const char *colon = memrchr(host, ':', (size_t)(end - host));
    uint64_t slot_number;
    uint64_t port;
    if (colon == NULL || !read_number(slot_text, HASH_SLOT_COUNT - 1, &slot_number) ||
        !read_number((struct slice){colon + 1, (size_t)(end - colon - 1)}, UINT16_MAX, &port)) {
        return SLOT_REDIRECT_NONE;
    }
    struct slice name = {host, (size_t)(colon - host)};
    if (name.size == 0) {
        name = slice_from_text(asked->host); /* the node does not know its own address */
    }
    *slot = (uint16_t)slot_number;
    return redis_address_set(target, name, port) ? kind : SLOT_REDIRECT_NONE;
}

/** Takes the next line off `text`, without its end. */
static bool next_line(struct slice *text, struct slice *line) {
    if (text->size == 0) {
        return false;
    }
    const char *end = memchr(text->data, '\n', text->size);
    size_t size = end == NULL ? text->size : (size_t)(end - text->data);
    size_t used = end == NULL ? size : size + 1;
    *line = (struct slice){text->data, size};
    if (size > 0 && line->data[size - 1] == '\r') {
        line->size--;
    }
    text->data += used;
    text->size -= used;
    return true;
}

/** What follows `name` where the line begins with it. */
static bool has_field(struct slice line, const char *name, struct slice *value) {
    size_t size = strlen(name);
    if (line.size < size || memcmp(line.data, name, size) != 0) {
        return false;
    }
    *value = (struct slice){line.data + size, line.size - size};
    return true;
}

static struct slice leading_digits(struct slice text) {
    size_t size = 0;
    while (size < text.size && text.data[size] >= '0' && text.data[size] <= '9') {
        size++;
    }
    return (struct slice){text.data, size};
}

bool node_identity_parse(struct slice info, struct node_identity *identity) {
    struct slice line;
    struct slice value;
    bool has_role = false;
    *identity = (struct node_identity){.master = false};
    while (next_line(&info, &line)) {
        uint64_t number = 0;
        if (has_field(line, "run_id:", &value)) {
            if (value.size != NODE_RUN_ID_BYTES) {
                return false;
            }
            memcpy(identity->run_id, value.data, NODE_RUN_ID_BYTES);
        } else if (has_field(line, "role:", &value)) {
            has_role = true;
            identity->master = slice_equal(value, SLICE_LITERAL("master"));
        } else if (has_field(line, "cmdstat_flushall:calls=", &value) ||
                   has_field(line, "cmdstat_flushdb:calls=", &value)) {
            if (read_number(leading_digits(value), INT64_MAX, &number)) {
                identity->flushes += number;
            }
        } else if (has_field(line, "evicted_keys:", &value)) {
            if (read_number(value, INT64_MAX, &number)) {
                identity->evicted = number;
            }
        }
    }
    return has_role && identity->run_id[0] != 0;
}
