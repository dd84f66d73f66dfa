/** The inside of the Redis adapter: what its files share. Everything here belongs to the adapter's
 *  one thread, but for what says otherwise.
 *
 *  A request of a port becomes a task; each of its items becomes a command; a command goes to the
 *  node that owns its hash slot, waits there until it fits into the connection's buffer, and then
 *  for its answer, in order. A command that is sent on (MOVED, ASK) is put into words again from
 *  its request, which stays the caller's until the whole task is done.
 *
 *      redis.c            the thread, and what the program sees
 *      redis_tasks.c      requests in, results out, deadlines
 *      redis_commands.c   a command's words, and what its answer means
 *      redis_cluster.c    nodes: connecting, sending, failing
 *      redis_route.c      the map of slots, and which node a command goes to
 *      redis_watch.c      masters that lost what they held
 *      redis_events.c     keyspace events of every master */
#ifndef ORDERD_ADAPTER_REDIS_REDIS_CORE_H
#define ORDERD_ADAPTER_REDIS_REDIS_CORE_H

#include "adapter/redis/redis_connection.h"
#include "adapter/redis/redis_metrics.h"
#include "adapter/redis/slot_map.h"
#include "base/clock.h"
#include "base/log.h"
#include "port/cache_events.h"
#include "port/cache_loss.h"
#include "port/order_cache.h"

#define REDIS_NODES_MAX SLOT_MAP_NODES_MAX
#define REDIS_NOBODY SLOT_MAP_NOBODY
#define REDIS_SHA_TEXT 40
#define REDIS_TASKS_MAX 256
#define REDIS_READS_MAX 64 /* reads of events, or of losses, that may wait at once */

enum redis_command_kind {
    /* of requests */
    REDIS_COMMAND_GET,
    REDIS_COMMAND_PUT,
    REDIS_COMMAND_REMOVE,
    REDIS_COMMAND_LOCK,
    REDIS_COMMAND_FILL,
    REDIS_COMMAND_REPLACE, /* second half of put or fill: `held` is there and is no order */
    /* of a node */
    REDIS_COMMAND_LOGIN,
    REDIS_COMMAND_LOAD_WRITE,
    REDIS_COMMAND_LOAD_EXCHANGE,
    REDIS_COMMAND_INFO,
    REDIS_COMMAND_SLOTS,
    REDIS_COMMAND_COUNT
};

/** Operations that are no commands. */
#define REDIS_READ_EVENTS 1000
#define REDIS_READ_LOSSES 1001

#define REDIS_OWN_FIRST REDIS_COMMAND_LOGIN
#define REDIS_OWN_COUNT (REDIS_COMMAND_COUNT - REDIS_OWN_FIRST)

struct redis_task {
    struct redis_task *next;
    struct port_request *request; /* the caller's */
    enum redis_command_kind kind;
    size_t count;
    size_t cursor; /* items that became commands */
    size_t open;   /* items without a result */
    int64_t begun_us;
    int64_t deadline_us;
};

struct redis_command {
    struct redis_command *next;
    struct redis_task *task; /* NULL: a node's own, or given up: its answer is dropped */
    int64_t deadline_us;
    int64_t not_before_us; /* while it is put off */
    uint32_t index;        /* of the item */
    uint16_t slot;
    uint8_t kind;             /* enum redis_command_kind */
    uint8_t attempts;         /* how often it was sent on */
    bool asking;              /* ASKING goes before it */
    bool whole;               /* with the script's text: the node did not know it */
    bool single;              /* its script gets the record's key only: the slot is being moved */
    bool queued;              /* a node's own: it is under way */
    uint8_t skip;             /* answers before its own */
    struct order_record held; /* REPLACE: what is there */
};

struct redis_command_list {
    struct redis_command *first;
    struct redis_command *last;
    size_t count;
};

/** The connection that hears a master's events. */
struct redis_listener {
    struct redis_connection connection;
    struct redis_node *node;
    int64_t retry_at_us;
    int64_t pause_us;
    int64_t ping_at_us;
    struct log_limit limit;
    bool subscribed;
    uint32_t answers; /* to what goes before the subscription: still to come */
};

struct redis_node {
    struct redis_address address;
    char name[REDIS_HOST_MAX + 8]; /* host:port */
    struct redis_cluster *cluster;
    bool used;
    bool seed;
    bool mapped;     /* in the newest map */
    bool owner;      /* of slots, in the newest map */
    uint16_t master; /* of which it is a replica, in the newest map */
    struct redis_connection connection;
    int64_t retry_at_us; /* not connected to before */
    int64_t pause_us;    /* between attempts; 0 after one that worked */
    int64_t needed_us;   /* when it was last needed */
    struct redis_command_list waiting;
    struct redis_command_list sent;
    struct redis_command own[REDIS_OWN_COUNT];
    char write_sha[REDIS_SHA_TEXT + 1]; /* empty: not known on this connection */
    char exchange_sha[REDIS_SHA_TEXT + 1];
    bool identified;
    struct node_identity identity;
    int64_t watch_at_us;
    struct log_limit limit;
    struct redis_listener listener;
};

struct redis_cluster {
    const struct redis_settings *settings;
    struct log *log;
    struct redis_metrics metrics;
    int64_t now_us; /* monotonic, of the present step */
    struct redis_node nodes[REDIS_NODES_MAX];
    size_t node_count; /* the first so many may be used */

    /* route */
    uint16_t route[HASH_SLOT_COUNT];  /* where commands go: the map, and what MOVED said since */
    uint16_t owners[HASH_SLOT_COUNT]; /* the newest map's; the last known where it has none */
    bool mapped;
    bool map_wanted;
    uint16_t map_asked; /* node that was asked, or NOBODY */
    uint16_t map_turn;
    int64_t map_begun_us;
    struct slot_map map; /* scratch */
    struct log_limit map_limit;

    /* commands */
    struct redis_command *commands; /* owned */
    struct redis_command *free_commands;
    size_t free_count;
    bool blocked; /* all commands were under way: first some have to be done */
    struct redis_command_list homeless; /* before the first map */
    struct redis_command_list put_off;
    struct log_limit broken_limit;
    struct log_limit error_limit;

    /* tasks */
    struct mailbox inbox;
    struct redis_task tasks[REDIS_TASKS_MAX];
    struct redis_task *free_tasks;
    struct redis_task *feeding; /* tasks with items that are no commands yet, oldest first */
    struct redis_task *feeding_last;
    size_t task_count; /* under way */
    int64_t sweep_at_us;

    /* losses */
    uint64_t lost_slots[CACHE_LOSS_WORDS];
    bool lost_any;
    struct cache_loss_read *loss_reads[REDIS_READS_MAX];
    int64_t loss_until_us[REDIS_READS_MAX];
    size_t loss_read_count;

    /* events */
    struct cache_event *events; /* owned ring */
    size_t event_begin;
    size_t event_count;
    uint64_t events_lost;
    bool events_wanted; /* somebody has asked for events: only then are masters listened to */
    struct cache_events_read *event_reads[REDIS_READS_MAX];
    int64_t event_until_us[REDIS_READS_MAX];
    size_t event_read_count;
    struct log_limit event_limit;
};

/* --- lists --- */

static inline void redis_list_append(struct redis_command_list *list,
                                     struct redis_command *command) {
    command->next = NULL;
    if (list->last == NULL) {
        list->first = command;
    } else {
        list->last->next = command;
    }
    list->last = command;
    list->count++;
}

static inline struct redis_command *redis_list_take(struct redis_command_list *list) {
    struct redis_command *command = list->first;
    if (command != NULL) {
        list->first = command->next;
        list->last = list->first == NULL ? NULL : list->last;
        list->count--;
    }
    return command;
}

/* --- redis_tasks.c --- */

/** Takes requests in and makes commands of them, as many as there is room for. True where a request
 *  waits for room. */
bool redis_tasks_intake(struct redis_cluster *cluster);
/** Gives up what has passed its deadline. */
void redis_tasks_sweep(struct redis_cluster *cluster);
/** The result of a command's item; the command is free again. */
void redis_command_finish(struct redis_cluster *cluster, struct redis_command *command,
                          enum order_result result);
/** Gives up everything that is under way. */
void redis_tasks_abandon(struct redis_cluster *cluster);
uint64_t redis_command_order_id(const struct redis_command *command);

/* --- redis_commands.c --- */

/** Puts the command's words into the node's buffer. False: no room now. */
MUST_CHECK bool redis_command_write(struct redis_node *node, struct redis_command *command);
/** Judges the answer to a request's command. */
void redis_command_answer(struct redis_node *node, struct redis_command *command,
                          const struct redis_value *answer);

/* --- redis_cluster.c --- */

void redis_cluster_init(struct redis_cluster *cluster);
/** The node at an address, new or known; NULL where there is no room. */
struct redis_node *redis_node_at(struct redis_cluster *cluster,
                                 const struct redis_address *address);
void redis_node_connect(struct redis_node *node);
void redis_node_fail(struct redis_node *node, const char *reason);
/** Queues one of the node's own commands, if it is not under way. */
void redis_node_ask(struct redis_node *node, enum redis_command_kind kind);
/** Queues a request's command; false where the node is known not to answer. */
MUST_CHECK bool redis_node_submit(struct redis_node *node, struct redis_command *command);
void redis_node_flush(struct redis_node *node);
void redis_node_readable(struct redis_node *node);
void redis_node_writable(struct redis_node *node);
/** Connections, time-outs, the watch. */
void redis_cluster_tend(struct redis_cluster *cluster);

static inline uint16_t redis_node_index(const struct redis_node *node) {
    return (uint16_t)(node - node->cluster->nodes);
}

/* --- redis_route.c --- */

/** Sends a command to the node of its slot, or finishes it. */
void redis_route(struct redis_cluster *cluster, struct redis_command *command);
/** Sends it again, unless it was too often: then it is finished as unavailable. */
void redis_route_again(struct redis_cluster *cluster, struct redis_command *command,
                       int64_t pause_us);
/** Follows MOVED or ASK. False: the answer is neither. */
MUST_CHECK bool redis_route_redirect(struct redis_node *node, struct redis_command *command,
                                     const struct redis_value *answer);
/** Asks for the map where it is due, and sends what was put off. */
void redis_route_tend(struct redis_cluster *cluster);
void redis_route_map_answer(struct redis_node *node, const struct redis_value *answer);

/* --- redis_watch.c --- */

void redis_watch_info(struct redis_node *node, const struct redis_value *answer);
/** The master of `slot` lost what it held. */
void redis_watch_lose_slot(struct redis_cluster *cluster, size_t slot);
void redis_watch_take(struct redis_cluster *cluster, struct cache_loss_read *request);
/** Completes reads that have something, or waited long enough. */
void redis_watch_tend(struct redis_cluster *cluster);

/* --- redis_events.c --- */

void redis_events_take(struct redis_cluster *cluster, struct cache_events_read *request);
void redis_events_tend(struct redis_cluster *cluster);
void redis_listener_readable(struct redis_listener *listener);
void redis_listener_writable(struct redis_listener *listener);

#endif
