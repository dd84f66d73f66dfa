#include "adapter/mariadb/mariadb_lane.h"

#include "adapter/mariadb/mariadb_vetting.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Deadlocks after which a transaction is given up. */
#define DEADLOCKS_MAX 20
#define DEADLOCK_PAUSE_US 2000

/* Where somebody holds a lock, the groups that are waiting for it are looked for among the others
 * by cutting the batch into so many parts. */
#define PARTS 8

#define IDLE_MS 1000
#define LOST_PAUSE_MIN_MS 5
#define REFUSED_PAUSE_MS 100

/* A statement that is begun has at least this much time, whatever the deadline: one that is cut off
 * leaves an unknown outcome. */
#define STATEMENT_MIN_MS 250

/** By id; among equals in the order in which they came. */
static int compare_order_ids(const void *left, const void *right) {
    const struct mariadb_entry *first = left;
    const struct mariadb_entry *second = right;
    if (first->order_id != second->order_id) {
        return first->order_id < second->order_id ? -1 : 1;
    }
    return first->place < second->place ? -1 : first->place > second->place ? 1 : 0;
}

size_t mariadb_lane_group_by_order(struct mariadb_lane *lane, size_t count) {
    size_t groups = 0;
    qsort(lane->entries, count, sizeof(*lane->entries), compare_order_ids);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t order_id = lane->entries[i].order_id;
        if (groups > 0 && lane->groups[groups - 1].order_id == order_id) {
            lane->groups[groups - 1].end++;
            continue;
        }
        lane->groups[groups] = (struct mariadb_group){
            .begin = i,
            .end = i + 1,
            .at = i,
            .order_id = order_id,
            .deadline_us = lane->entries[i].item.ticket->deadline_us,
        };
        lane->open[groups] = &lane->groups[groups];
        groups++;
    }
    return groups;
}

void mariadb_lane_settle(struct mariadb_lane *lane, struct mariadb_item item,
                         enum order_result result) {
    mariadb_item_settle(&lane->shared->tickets, item, result);
}

void mariadb_lane_note_broken(struct mariadb_lane *lane, uint64_t order_id,
                              enum order_record_fault fault) {
    metric_add(&lane->shared->metrics->broken_rows_total, 1);
    log_write_limited(lane->shared->log, &lane->broken_limit, LOG_ERROR, "mysql",
                      "shard %u (%s): order %llu: the row is no order (%s); it is not used",
                      lane->shard->server->shard, lane->shard->server->name,
                      (unsigned long long)order_id, order_record_fault_name(fault));
}

void mariadb_lane_note_failure(struct mariadb_lane *lane, enum mariadb_status status) {
    if (status != MARIADB_LOST) {
        log_write_limited(lane->shared->log, &lane->limit, LOG_ERROR, "mysql", "shard %u (%s): %s",
                          lane->shard->server->shard, lane->shard->server->name,
                          lane->connection.fault.text);
    }
}

enum order_result mariadb_meet_existing(struct order_record *draft,
                                        const struct order_record *known) {
    bool same = order_record_same_request(draft, known);
    *draft = *known;
    return same ? ORDER_RESULT_REPLAYED : ORDER_RESULT_CONFLICT;
}

enum mariadb_status mariadb_lane_connect(struct mariadb_lane *lane, int64_t deadline_us) {
    int64_t left_ms = (deadline_us - clock_monotonic_us()) / 1000;
    int limit_ms = lane->shared->settings->read_timeout_ms;
    left_ms = left_ms < STATEMENT_MIN_MS ? STATEMENT_MIN_MS : left_ms;
    lane->connection.timeout_ms = left_ms < limit_ms ? (int)left_ms : limit_ms;
    return mariadb_connection_ensure(&lane->connection);
}

/* --- Trying until it is settled. --- */

static void pause_us(int64_t time_us) {
    struct timespec pause = {time_us / 1000000, time_us % 1000000 * 1000};
    (void)nanosleep(&pause, NULL);
}

/** Drops the groups that are done, and gives up those that are out of time. */
static size_t keep_open(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                        struct mariadb_group **groups, size_t count) {
    int64_t now_us = clock_monotonic_us();
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct mariadb_group *group = groups[i];
        if (!group->done && now_us >= group->deadline_us) {
            pursuit->give_up(lane, group,
                             group->in_doubt ? ORDER_RESULT_UNKNOWN : ORDER_RESULT_UNAVAILABLE);
            group->done = true;
        }
        if (!group->done) {
            groups[kept++] = group;
        }
    }
    return kept;
}

static void pause_ms(int time_ms) {
    pause_us((int64_t)time_ms * 1000);
}

/** Waits as the failure asks for. False where there is no use in trying again, but to learn what
 *  became of groups that are in doubt. */
static bool may_try_again(struct mariadb_lane *lane, enum mariadb_status status,
                          unsigned *deadlocks) {
    int wait_ms = mariadb_connection_pause_ms(&lane->connection);
    metric_add(&lane->shared->metrics->retries_total, 1);
    switch (status) {
    case MARIADB_DEADLOCK:
        metric_add(&lane->shared->metrics->deadlocks_total, 1);
        pause_us((int64_t)random_below(&lane->random, DEADLOCK_PAUSE_US << (*deadlocks / 4)));
        return ++*deadlocks < DEADLOCKS_MAX;
    case MARIADB_LOCKED:
        metric_add(&lane->shared->metrics->lock_waits_total, 1);
        return true;
    case MARIADB_LOST:
        pause_ms(wait_ms > LOST_PAUSE_MIN_MS ? wait_ms : LOST_PAUSE_MIN_MS);
        return true;
    default:
        break;
    }
    mariadb_lane_note_failure(lane, status);
    return false;
}

/** Gives up the groups of which it is certain that nothing happened, and waits before the others
 *  are asked about again. */
static void give_up_certain(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                            struct mariadb_group **groups, size_t count) {
    bool left = false;
    for (size_t i = 0; i < count; i++) {
        if (!groups[i]->in_doubt && !groups[i]->done) {
            pursuit->give_up(lane, groups[i], ORDER_RESULT_UNAVAILABLE);
            groups[i]->done = true;
        }
        left = left || !groups[i]->done;
    }
    if (left) {
        pause_ms(REFUSED_PAUSE_MS);
    }
}

/** One attempt; a failure is rolled back. */
static enum mariadb_status try_once(struct mariadb_lane *lane,
                                    const struct mariadb_pursuit *pursuit,
                                    struct mariadb_group **groups, size_t count) {
    enum mariadb_status status = pursuit->attempt(lane, groups, count);
    if (status != MARIADB_OK) {
        mariadb_connection_rollback(&lane->connection);
    }
    return status;
}

static void pursue(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                   struct mariadb_group **groups, size_t count, unsigned depth);

/** Somebody holds a row that one of the groups needs. Every part is tried once before that one is
 *  cut further, so that the others wait for a few lock time-outs and not for their deadline. */
static void pursue_parts(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                         struct mariadb_group **groups, size_t count, unsigned depth) {
    size_t sizes[PARTS] = {0};
    bool locked[PARTS] = {false};
    size_t part = (count + PARTS - 1) / PARTS;
    for (size_t i = 0; i * part < count; i++) {
        struct mariadb_group **some = groups + i * part;
        sizes[i] = keep_open(lane, pursuit, some, bytes_min_size(part, count - i * part));
        if (sizes[i] > 0) {
            locked[i] = try_once(lane, pursuit, some, sizes[i]) == MARIADB_LOCKED;
            metric_add(&lane->shared->metrics->lock_waits_total, locked[i] ? 1 : 0);
        }
    }
    for (size_t i = 0; i * part < count; i++) {
        if (locked[i] && sizes[i] > 1) {
            pursue_parts(lane, pursuit, groups + i * part, sizes[i], depth + 1);
        } else {
            pursue(lane, pursuit, groups + i * part, sizes[i], depth + 1);
        }
    }
}

static void pursue(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                   struct mariadb_group **groups, size_t count, unsigned depth) {
    unsigned deadlocks = 0;
    assert(depth < 16); /* a batch is cut to an eighth each time */
    while ((count = keep_open(lane, pursuit, groups, count)) > 0) {
        enum mariadb_status status = try_once(lane, pursuit, groups, count);
        if (status == MARIADB_OK) {
            deadlocks = 0;
        } else if (!may_try_again(lane, status, &deadlocks)) {
            give_up_certain(lane, pursuit, groups, count);
            deadlocks = 0;
        } else if (status == MARIADB_LOCKED && count > 1) {
            pursue_parts(lane, pursuit, groups, count, depth + 1);
            return;
        }
    }
}

void mariadb_lane_pursue(struct mariadb_lane *lane, const struct mariadb_pursuit *pursuit,
                         struct mariadb_group **groups, size_t count) {
    pursue(lane, pursuit, groups, count, 0);
}

/* --- The thread. --- */

static void work(struct mariadb_lane *lane, size_t count) {
    switch ((enum mariadb_kind)lane->items[0].kind) {
    case MARIADB_CREATE:
        mariadb_lane_create(lane, count);
        break;
    case MARIADB_CHANGE:
        mariadb_lane_change(lane, count);
        break;
    case MARIADB_GET:
    case MARIADB_RESOLVE:
        mariadb_lane_read(lane, count);
        break;
    case MARIADB_FIND:
        mariadb_lane_find(lane, count);
        break;
    case MARIADB_SCAN:
        mariadb_lane_scan(lane);
        break;
    case MARIADB_RELEASE:
        mariadb_lane_release(lane, count);
        break;
    case MARIADB_EXPIRE:
        mariadb_lane_expire(lane);
        break;
    }
}

/** Nothing to do: stay connected, and in the upkeep's lane notice when the server does not answer
 *  any more. */
static void idle(struct mariadb_lane *lane) {
    lane->connection.timeout_ms = lane->shared->settings->read_timeout_ms;
    if (mariadb_connection_ensure(&lane->connection) == MARIADB_OK &&
        lane->kind == MARIADB_UPKEEP_LANE &&
        mariadb_connection_run(&lane->connection, SLICE_LITERAL("ROLLBACK")) != MARIADB_OK) {
        mariadb_connection_close(&lane->connection);
        (void)!mariadb_connection_ensure(&lane->connection); /* notes what it finds */
    }
}

static void *run(void *context) {
    struct mariadb_lane *lane = context;
    struct mariadb_queue *queue = &lane->shard->queues[lane->kind];
    bool stopped = false;
    idle(lane);
    while (!stopped) {
        size_t count = mariadb_queue_take(queue, lane->items, lane->limits, IDLE_MS, &stopped);
        if (count > 0) {
            work(lane, count);
            mariadb_queue_done(queue);
        } else if (!stopped) {
            idle(lane);
        }
    }
    mariadb_connection_close(&lane->connection);
    return NULL;
}

static void set_limits(struct mariadb_lane *lane, const struct mariadb_settings *settings) {
    lane->limits[MARIADB_CREATE] = settings->create_batch;
    lane->limits[MARIADB_CHANGE] = settings->change_batch;
    lane->limits[MARIADB_RELEASE] = settings->change_batch;
    lane->limits[MARIADB_GET] = settings->read_batch;
    lane->limits[MARIADB_RESOLVE] = settings->read_batch;
    lane->limits[MARIADB_FIND] = settings->read_batch;
    lane->limits[MARIADB_SCAN] = 1;
    lane->limits[MARIADB_EXPIRE] = 1;
    switch (lane->kind) {
    case MARIADB_CREATE_LANE:
        lane->capacity = settings->create_batch;
        break;
    case MARIADB_READ_LANE:
        lane->capacity = settings->read_batch;
        break;
    default:
        lane->capacity = settings->change_batch;
        break;
    }
}

static bool allocate(struct mariadb_lane *lane) {
    lane->items = calloc(lane->capacity, sizeof(*lane->items));
    lane->entries = calloc(lane->capacity, sizeof(*lane->entries));
    lane->groups = calloc(lane->capacity, sizeof(*lane->groups));
    lane->open = calloc(lane->capacity, sizeof(struct mariadb_group *));
    lane->some = calloc(lane->capacity, sizeof(struct mariadb_group *));
    lane->rows = calloc(lane->capacity, sizeof(*lane->rows));
    return lane->items != NULL && lane->entries != NULL && lane->groups != NULL &&
           lane->open != NULL && lane->some != NULL && lane->rows != NULL;
}

static void release(struct mariadb_lane *lane) {
    free(lane->items);
    free(lane->entries);
    free(lane->groups);
    free(lane->open);
    free(lane->some);
    free(lane->rows);
    sql_builder_deinit(&lane->sql);
}

bool mariadb_lane_start(struct mariadb_lane *lane, struct mariadb_shared *shared,
                        struct mariadb_shard *shard, enum mariadb_lane_kind kind,
                        struct fault *fault) {
    static const char *const names[] = {"mysql-create", "mysql-change", "mysql-read",
                                        "mysql-upkeep"};
    *lane = (struct mariadb_lane){.shared = shared, .shard = shard, .kind = kind};
    lane->random.state = (uint64_t)clock_monotonic_us() ^ (uint64_t)(uintptr_t)lane;
    set_limits(lane, shared->settings);
    sql_builder_init(&lane->sql, mariadb_statement_bytes_max(shared->settings));
    mariadb_connection_init(
        &lane->connection,
        &(struct mariadb_connection_parts){
            .settings = shared->settings,
            .server = shard->server,
            .mode = kind == MARIADB_READ_LANE ? MARIADB_AUTOCOMMIT : MARIADB_TRANSACTIONS,
            .log = shared->log,
            .metrics = shared->metrics,
            .health = &shard->health,
            .vet = mariadb_vet,
        });
    int error = allocate(lane) ? pthread_create(&lane->thread, NULL, run, lane) : ENOMEM;
    if (error != 0) {
        release(lane);
        fault_set_errno(fault, error, "a thread for %s cannot be started", shard->server->name);
        return false;
    }
    (void)pthread_setname_np(lane->thread, names[kind]);
    lane->started = true;
    return true;
}

void mariadb_lane_join(struct mariadb_lane *lane) {
    if (lane->started) {
        (void)pthread_join(lane->thread, NULL);
        release(lane);
        lane->started = false;
    }
}
