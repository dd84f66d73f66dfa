/** What nodes tell of the cluster: the map of slots (CLUSTER SLOTS), where a command must go
 *  (MOVED, ASK), and who a node is (INFO). All of it comes from outside and is judged here.
 *  Pure functions, any thread. */
#ifndef ORDERD_ADAPTER_REDIS_SLOT_MAP_H
#define ORDERD_ADAPTER_REDIS_SLOT_MAP_H

#include "adapter/redis/hash_slot.h"
#include "adapter/redis/redis_options.h"
#include "adapter/redis/redis_value.h"

#define SLOT_MAP_NODES_MAX 128
#define SLOT_MAP_NOBODY UINT16_MAX

struct slot_map_node {
    struct redis_address address;
    uint16_t master; /* index of the node that this one is a replica of; NOBODY: it is a master */
};

struct slot_map {
    size_t node_count;
    struct slot_map_node nodes[SLOT_MAP_NODES_MAX];
    uint16_t owners[HASH_SLOT_COUNT]; /* index of a node, or NOBODY */
    size_t covered;                   /* slots that have an owner */
    size_t unusable;                  /* nodes without a numeric address, left out */
};

/** Reads the answer to CLUSTER SLOTS. `asked` is the node that gave it: one that does not know its
 *  own address is there. False, with one line in `fault`, where it is no map; `map` then holds
 *  nothing of use. */
MUST_CHECK bool slot_map_parse(const struct redis_value *answer, const struct redis_address *asked,
                               struct slot_map *map, struct fault *fault);

enum slot_redirect { SLOT_REDIRECT_NONE, SLOT_REDIRECT_MOVED, SLOT_REDIRECT_ASK };

/** Reads `MOVED slot host:port` or `ASK slot host:port`. NONE: it is neither, or none that can be
 *  followed. */
MUST_CHECK enum slot_redirect slot_redirect_parse(const struct redis_value *answer,
                                                  const struct redis_address *asked, uint16_t *slot,
                                                  struct redis_address *target);

#define NODE_RUN_ID_BYTES 40

/** What INFO tells of a node, for the watch. */
struct node_identity {
    char run_id[NODE_RUN_ID_BYTES + 1]; /* new with each start of the server */
    bool master;
    uint64_t flushes; /* calls of FLUSHALL and FLUSHDB */
    uint64_t evicted; /* keys, since its start */
};

/** False where the text has no run id or no role. */
MUST_CHECK bool node_identity_parse(struct slice info, struct node_identity *identity);

#endif
