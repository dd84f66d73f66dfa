/** A lane: a thread with a connection of its own that takes what waits in its queue, up to a batch,
 *  and works on it as one transaction or one query. There are four kinds a shard: for creates, for
 *  changes, for look-ups, and one for the upkeep (scans, releases, expiry, and asking whether the
 *  server is there), so that none of them waits behind the slower ones.
 *
 *  Items about the same key form a group, which has one place in the transaction. What is tried
 *  until it is settled goes through mariadb_lane_pursue: deadlocks, lost connections and waits for
 *  locks are the same for creates, changes and releases. */
#ifndef ORDERD_ADAPTER_MARIADB_MARIADB_LANE_H
#define ORDERD_ADAPTER_MARIADB_MARIADB_LANE_H

#include "adapter/mariadb/mariadb_connection.h"
#include "adapter/mariadb/mariadb_queue.h"
#include "base/clock.h"
#include "port/order_archive.h"

enum mariadb_lane_kind {
    MARIADB_CREATE_LANE,
    MARIADB_CHANGE_LANE,
    MARIADB_READ_LANE,
    MARIADB_UPKEEP_LANE,
    MARIADB_LANE_KINDS
};

/** One server, and what waits for its lanes. */
struct mariadb_shard {
    const struct mariadb_server *server;
    struct mariadb_health health;
    struct mariadb_queue queues[MARIADB_LANE_KINDS];
};

/** What all lanes use. */
struct mariadb_shared {
    const struct mariadb_settings *settings;
    const struct clock *clock;
    struct log *log;
    struct mariadb_metrics *metrics;
    struct mariadb_tickets tickets;
    struct mariadb_shard shards[MARIADB_SHARDS_MAX];
    struct mariadb_queue replays;  /* creates whose order only the archive can have */
    struct order_archive *archive; /* borrowed; NULL: none */
};

/** References that one SELECT asks for: the server's work on the condition grows faster than its
 *  length where every reference is another partner's. */
#define MARIADB_REFERENCES_MAX 500

/** An item in a lane's hands. */
struct mariadb_entry {
    struct mariadb_item item;
    uint64_t order_id;          /* where groups are formed by it */
    struct order_record *order; /* create: the draft; change: what is answered */
    uint32_t place;             /* in what the lane has taken */
    uint8_t judged;             /* change: its result once the transaction is committed */
};

enum mariadb_group_state {
    MARIADB_GROUP_OPEN,
    MARIADB_GROUP_WRITTEN, /* in this transaction */
    MARIADB_GROUP_THERE,   /* create: ours, since an earlier attempt */
    MARIADB_GROUP_TAKEN    /* create: the reference has another order */
};

/** Items about one key: entries [begin, end), in the order in which they came. */
struct mariadb_group {
    uint32_t begin;
    uint32_t end;
    uint32_t at;      /* change: the first that is not settled */
    uint32_t stop;    /* change: behind the last that this transaction judges */
    uint32_t written; /* change: the one that makes a new version, where WRITTEN */
    enum mariadb_group_state state;
    bool in_doubt; /* a COMMIT with it was not answered */
    bool done;
    int64_t deadline_us;
    uint64_t order_id; /* create: the order that the reference has, where TAKEN */
};

struct mariadb_lane {
    struct mariadb_shared *shared;
    struct mariadb_shard *shard;
    enum mariadb_lane_kind kind;
    struct mariadb_connection connection;
    struct sql_builder sql;
    size_t limits[MARIADB_RESOLVE + 1]; /* items of each kind that are taken at once */
    size_t capacity;                    /* the largest of them */
    struct mariadb_item *items;         /* owned, as everything below; `capacity` of each */
    struct mariadb_entry *entries;
    struct mariadb_group *groups;
    struct mariadb_group **open;                                   /* groups that are not done */
    struct mariadb_group **some;                                   /* scratch */
    struct order_record *rows;                                     /* scratch */
    const struct order_record *references[MARIADB_REFERENCES_MAX]; /* scratch */
    struct random_source random;
    struct log_limit limit;
    struct log_limit broken_limit;
    pthread_t thread;
    bool started;
};

/** Sorts the first `count` entries, whose `order_id` is set, and makes a group of those of each
 *  order. Returns the number of groups; all of them are open. */
size_t mariadb_lane_group_by_order(struct mariadb_lane *lane, size_t count);

/** How one kind of work is done to some groups. */
struct mariadb_pursuit {
    /** One transaction. OK: some group got further, that is, it is done or has fewer items; else
     * the caller rolls back. Marks groups `in_doubt` where a COMMIT was not answered. */
    enum mariadb_status (*attempt)(struct mariadb_lane *lane, struct mariadb_group **groups,
                                   size_t count);
    /** Settles what is left of a group with this result. */
    void (*give_up)(struct mariadb_lane *lane, struct mariadb_group *group,
                    enum order_result result);
};

/** Tries until every group is done or out of time. */
void mariadb_lane_pursue(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                         struct mariadb_group **groups, size_t count);

/** Writes an item's result, and completes its request where it was the last. */
void mariadb_lane_settle(struct mariadb_lane *lane, struct mariadb_item item,
                         enum order_result result);

/** Logs a row that is no order, at most once a second, and counts it. */
void mariadb_lane_note_broken(struct mariadb_lane *lane, uint64_t order_id,
                              enum order_record_fault fault);

/** Logs why a statement did not work, at most once a second; a connection that is lost is noted
 *  elsewhere. */
void mariadb_lane_note_failure(struct mariadb_lane *lane, enum mariadb_status status);

/** Connects where needed, and gives the next statements the time until `deadline_us`, at most that
 *  of one statement. */
MUST_CHECK enum mariadb_status mariadb_lane_connect(struct mariadb_lane *lane, int64_t deadline_us);

/** What the lanes do with what they have taken: items of one kind. */
void mariadb_lane_create(struct mariadb_lane *lane, size_t count);
void mariadb_lane_change(struct mariadb_lane *lane, size_t count);
void mariadb_lane_read(struct mariadb_lane *lane, size_t count);
void mariadb_lane_find(struct mariadb_lane *lane, size_t count);
void mariadb_lane_release(struct mariadb_lane *lane, size_t count);
void mariadb_lane_scan(struct mariadb_lane *lane);
void mariadb_lane_expire(struct mariadb_lane *lane);

/** Puts the order that a create's reference has in the draft's place; the result. */
enum order_result mariadb_meet_existing(struct order_record *draft,
                                        const struct order_record *known);

MUST_CHECK bool mariadb_lane_start(struct mariadb_lane *lane, struct mariadb_shared *shared,
                                   struct mariadb_shard *shard, enum mariadb_lane_kind kind,
                                   struct fault *fault);

/** Waits until the lane has worked off its queue, which was stopped, and releases it. */
void mariadb_lane_join(struct mariadb_lane *lane);

#endif
