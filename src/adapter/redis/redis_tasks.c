#include "adapter/redis/redis_core.h"

#define SWEEP_EVERY_US 20000
/* After all commands were under way this part of them is to be free again. */
#define ROOM_PART 4

static const struct order_record *item_order(const struct redis_task *task, size_t index) {
    return &((struct order_cache_put *)task->request)->orders[index];
}

uint64_t redis_command_order_id(const struct redis_command *command) {
    const struct redis_task *task = command->task;
    switch (task->kind) {
    case REDIS_COMMAND_GET:
        return ((struct order_get_batch *)task->request)->order_ids[command->index];
    case REDIS_COMMAND_PUT:
    case REDIS_COMMAND_REMOVE:
        return item_order(task, command->index)->order_id;
    default:
        return ((struct order_cache_fill *)task->request)->order_id;
    }
}

static void set_result(struct redis_task *task, size_t index, enum order_result result) {
    switch (task->kind) {
    case REDIS_COMMAND_GET:
        ((struct order_get_batch *)task->request)->results[index] = (uint8_t)result;
        break;
    case REDIS_COMMAND_PUT:
    case REDIS_COMMAND_REMOVE:
        ((struct order_cache_put *)task->request)->results[index] = (uint8_t)result;
        break;
    default:
        ((struct order_cache_fill *)task->request)->result = (uint8_t)result;
        break;
    }
}

static void conclude_if_done(struct redis_cluster *cluster, struct redis_task *task) {
    if (task->open > 0 || task->cursor < task->count) {
        return;
    }
    struct port_request *request = task->request;
    histogram_add(&cluster->metrics.request_microseconds,
                  (uint64_t)(clock_monotonic_us() - task->begun_us));
    task->request = NULL;
    task->next = cluster->free_tasks;
    cluster->free_tasks = task;
    cluster->task_count--;
    port_complete(request);
}

static void item_done(struct redis_cluster *cluster, struct redis_task *task, size_t index,
                      enum order_result result) {
    if (result == ORDER_RESULT_UNAVAILABLE) {
        metric_add(&cluster->metrics.unavailable_total, 1);
    }
    set_result(task, index, result);
    task->open--;
    conclude_if_done(cluster, task);
}

static void command_free(struct redis_cluster *cluster, struct redis_command *command) {
    command->next = cluster->free_commands;
    cluster->free_commands = command;
    cluster->free_count++;
}

void redis_command_finish(struct redis_cluster *cluster, struct redis_command *command,
                          enum order_result result) {
    struct redis_task *task = command->task;
    size_t index = command->index;
    command->task = NULL;
    command_free(cluster, command);
    if (task != NULL) {
        item_done(cluster, task, index, result);
    } else {
        metric_add(&cluster->metrics.late_answers_total, 1);
    }
}

/** Makes commands of the task's items, as many as there is room for. True when all are. */
static bool feed(struct redis_cluster *cluster, struct redis_task *task) {
    /* What is done at once must not conclude the task under our feet: one more is open meanwhile.
     */
    task->open++;
    while (task->cursor < task->count && cluster->free_commands != NULL) {
        struct redis_command *command = cluster->free_commands;
        cluster->free_commands = command->next;
        cluster->free_count--;
        command->task = task;
        command->index = (uint32_t)task->cursor++;
        command->kind = (uint8_t)task->kind;
        command->deadline_us = task->deadline_us;
        command->attempts = 0;
        command->asking = false;
        command->whole = false;
        command->single = false;
        command->skip = 0;
        command->slot = hash_slot_of_order(redis_command_order_id(command));
        task->open++;
        redis_route(cluster, command);
    }
    task->open--;
    return task->cursor == task->count;
}

static void count_request(struct redis_cluster *cluster, const struct redis_task *task) {
    struct redis_metrics *metrics = &cluster->metrics;
    _Atomic uint64_t *const counters[] = {
        [REDIS_COMMAND_GET] = &metrics->gets_total,
        [REDIS_COMMAND_PUT] = &metrics->puts_total,
        [REDIS_COMMAND_REMOVE] = &metrics->removes_total,
        [REDIS_COMMAND_LOCK] = &metrics->locks_total,
        [REDIS_COMMAND_FILL] = &metrics->fills_total,
    };
    metric_add(counters[task->kind], task->count);
}

static void begin_task(struct redis_cluster *cluster, struct port_request *request) {
    struct redis_task *task = cluster->free_tasks;
    cluster->free_tasks = task->next;
    cluster->task_count++;
    *task = (struct redis_task){
        .request = request,
        .kind = (enum redis_command_kind)request->operation,
        .begun_us = cluster->now_us,
        .deadline_us = cluster->now_us + cluster->settings->timeout_us,
        .count = 1,
    };
    if (task->kind == REDIS_COMMAND_GET) {
        task->count = ((struct order_get_batch *)request)->count;
    } else if (task->kind == REDIS_COMMAND_PUT || task->kind == REDIS_COMMAND_REMOVE) {
        task->count = ((struct order_cache_put *)request)->count;
    }
    count_request(cluster, task);
    if (cluster->feeding_last == NULL) {
        cluster->feeding = task;
    } else {
        cluster->feeding_last->next = task;
    }
    cluster->feeding_last = task;
}

static struct redis_task *take_feeding(struct redis_cluster *cluster) {
    struct redis_task *task = cluster->feeding;
    cluster->feeding = task->next;
    if (cluster->feeding == NULL) {
        cluster->feeding_last = NULL;
    }
    return task;
}

bool redis_tasks_intake(struct redis_cluster *cluster) {
    /* One by one as answers come, commands would go out in small pieces, which cost the nodes more
     * than they do us: measured a third of the throughput. */
    if (cluster->blocked && cluster->free_count < cluster->settings->commands / ROOM_PART) {
        return true;
    }
    cluster->blocked = false;
    for (;;) {
        while (cluster->feeding != NULL) {
            struct redis_task *task = cluster->feeding;
            if (!feed(cluster, task)) {
                cluster->blocked = true;
                return true;
            }
            (void)take_feeding(cluster);
            conclude_if_done(cluster, task);
        }
        if (cluster->free_tasks == NULL) {
            return true;
        }
        struct port_request *request = mailbox_take(&cluster->inbox);
        if (request == NULL) {
            return false;
        }
        if (request->operation == REDIS_READ_EVENTS) {
            redis_events_take(cluster, (struct cache_events_read *)request);
        } else if (request->operation == REDIS_READ_LOSSES) {
            redis_watch_take(cluster, (struct cache_loss_read *)request);
        } else {
            begin_task(cluster, request);
        }
    }
}

static bool has_passed(const struct redis_cluster *cluster, const struct redis_command *command) {
    return command->task != NULL && cluster->now_us >= command->deadline_us;
}

/** Finishes what has passed its deadline in a list of commands that were not sent. */
static void sweep_list(struct redis_cluster *cluster, struct redis_command_list *list, bool all) {
    size_t count = list->count;
    for (size_t i = 0; i < count; i++) {
        struct redis_command *command = redis_list_take(list);
        if (command->task != NULL && (all || has_passed(cluster, command))) {
            redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        } else {
            redis_list_append(list, command);
        }
    }
}

/** Gives up what was sent and has no answer in time. The command keeps its place, as its answer
 *  may still come. */
static void sweep_sent(struct redis_cluster *cluster, struct redis_node *node, bool all) {
    for (struct redis_command *command = node->sent.first; command != NULL;
         command = command->next) {
        if (command->task != NULL && (all || has_passed(cluster, command))) {
            struct redis_task *task = command->task;
            command->task = NULL;
            item_done(cluster, task, command->index, ORDER_RESULT_UNAVAILABLE);
        }
    }
}

static void sweep_feeding(struct redis_cluster *cluster, bool all) {
    /* The oldest is first, and all have the same time: none after it has passed earlier. */
    while (cluster->feeding != NULL && (all || cluster->now_us >= cluster->feeding->deadline_us)) {
        struct redis_task *task = take_feeding(cluster);
        task->open++; /* so that only the end concludes it */
        while (task->cursor < task->count) {
            task->open++;
            item_done(cluster, task, task->cursor++, ORDER_RESULT_UNAVAILABLE);
        }
        task->open--;
        conclude_if_done(cluster, task);
    }
}

static void sweep(struct redis_cluster *cluster, bool all) {
    sweep_feeding(cluster, all);
    sweep_list(cluster, &cluster->homeless, all);
    sweep_list(cluster, &cluster->put_off, all);
    for (size_t i = 0; i < cluster->node_count; i++) {
        struct redis_node *node = &cluster->nodes[i];
        if (node->used) {
            sweep_list(cluster, &node->waiting, all);
            sweep_sent(cluster, node, all);
        }
    }
}

void redis_tasks_sweep(struct redis_cluster *cluster) {
    if (cluster->now_us >= cluster->sweep_at_us) {
        cluster->sweep_at_us = cluster->now_us + SWEEP_EVERY_US;
        sweep(cluster, false);
    }
}

void redis_tasks_abandon(struct redis_cluster *cluster) {
    (void)redis_tasks_intake(cluster);
    sweep(cluster, true);
}
