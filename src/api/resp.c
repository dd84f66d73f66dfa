#include "api/resp.h"

#include "api/resp_commands.h"
#include "base/pages.h"
#include "order/json.h"
#include "order/order_id.h"

#include <stdlib.h>

/* `$`, three digits, CR LF: the JSON of an order has 100 to 999 bytes. */
#define BULK_HEAD_BYTES 6
#define ORDER_ROOM (ORDER_JSON_BYTES_MAX + BULK_HEAD_BYTES + 2)
#define STATUS_ROOM 24

_Static_assert(ORDER_JSON_BYTES_MAX <= 999, "the length of an order has three digits");
_Static_assert(RESP_COMMANDS_AT_ONCE *(ORDER_ROOM + RESP_FRAME_BYTES) <= RESP_ANSWER_BYTES_SURE,
               "a pipeline of GETs always has room");
_Static_assert(API_RESP_KEYS_MAX *ORDER_ROOM + RESP_FRAME_BYTES <= RESP_ANSWER_BYTES_MAX,
               "the longest MGET can be answered");

const struct metric_description api_resp_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct api_resp_metrics, __VA_ARGS__)
    API_RESP_METRICS(X)
#undef X
};
const size_t api_resp_metric_count = ARRAY_COUNT(api_resp_metric_table);

/** The keys of some commands that came together, and what is known of them. */
struct key_results {
    size_t count;
    uint64_t ids[API_RESP_KEYS_MAX]; /* 0: the key is no order id */
    struct order_record orders[API_RESP_KEYS_MAX];
    uint8_t results[API_RESP_KEYS_MAX]; /* enum order_result */
};

/** One key that is read through the query service. */
struct resp_get {
    struct query_get get;
    struct resp_lookup *lookup;
};

/** The keys of one session that waits for a tier below. */
struct resp_lookup {
    struct api_resp *api;
    struct resp_lookup *next;     /* in the list of free ones */
    struct resp_session *session; /* NULL: its connection is gone */
    size_t waiting;               /* keys without a result, and 1 while they are being asked for */
    struct key_results keys;
    struct resp_get gets[API_RESP_KEYS_MAX];
};

struct api_resp {
    struct resp_handler handler;
    const struct order_terms *terms;
    struct query_service *query;
    struct resp_program program;
    struct loop_hook hook;
    struct resp_lookup *free_lookups; /* those that were used before */
    struct resp_lookup *lookups;      /* owned */
    size_t lookups_used;              /* the others were never touched: they cost no memory yet */
    size_t lookups_max;
    struct api_resp_metrics metrics;
    struct key_results keys; /* of what is answered at once */
    bool found[API_RESP_KEYS_MAX];
};

/** Commands that are answered together: those whose answers have room. */
struct group {
    size_t commands;
    size_t keys;
    size_t room;
    const struct resp_command_info *infos[RESP_COMMANDS_AT_ONCE];
};

/* --- What is asked for. --- */

/** How many orders the command asks for; 0 for the others and for those that are refused. */
static uint32_t key_count(const struct resp_command_info *info,
                          const struct resp_command *command) {
    bool asks = info != NULL && info->kind <= RESP_COMMAND_MSTATUS &&
                resp_command_takes(info, command->argument_count);
    uint32_t count = asks ? command->argument_count - 1 : 0;
    return count <= API_RESP_KEYS_MAX ? count : 0;
}

static bool wants_status(const struct resp_command_info *info) {
    return info->kind == RESP_COMMAND_STATUS || info->kind == RESP_COMMAND_MSTATUS;
}

static size_t room_for(const struct resp_command_info *info, const struct resp_command *command,
                       uint32_t keys) {
    if (keys == 0) {
        return resp_command_room(info, command);
    }
    return RESP_FRAME_BYTES + keys * (size_t)(wants_status(info) ? STATUS_ROOM : ORDER_ROOM);
}

/** Chooses the commands that are answered now: at least one, and no more than always have room. */
static void gather(const struct resp_command *commands, size_t count, struct group *group) {
    group->commands = 0;
    group->keys = 0;
    group->room = 0;
    while (group->commands < count) {
        const struct resp_command *command = &commands[group->commands];
        const struct resp_command_info *info = resp_command_find(command->name);
        uint32_t keys = key_count(info, command);
        size_t room = group->room + room_for(info, command, keys);
        if (group->commands > 0 &&
            (room > RESP_ANSWER_BYTES_SURE || group->keys + keys > API_RESP_KEYS_MAX)) {
            return;
        }
        group->infos[group->commands++] = info;
        group->keys += keys;
        group->room = room;
        if (info != NULL && info->kind == RESP_COMMAND_QUIT) {
            return; /* nothing behind it is answered */
        }
    }
}

static void read_keys(const struct resp_command *commands, const struct group *group,
                      struct key_results *keys) {
    keys->count = 0;
    for (size_t i = 0; i < group->commands; i++) {
        struct resp_arguments arguments = commands[i].arguments;
        struct slice key;
        if (key_count(group->infos[i], &commands[i]) == 0) {
            continue;
        }
        while (resp_arguments_next(&arguments, &key)) {
            uint64_t order_id;
            keys->ids[keys->count++] = order_id_parse(key, &order_id) ? order_id : 0;
        }
    }
    assert(keys->count == group->keys);
}

/* --- Looking up. --- */

/** Answers what memory and the ids themselves tell. Returns how many keys are left. */
static size_t look_in_memory(struct api_resp *api) {
    struct key_results *keys = &api->keys;
    size_t left = 0;
    size_t found =
        query_orders_from_memory(api->query, keys->ids, keys->count, keys->orders, api->found);
    if (found == keys->count) {
        memset(keys->results, ORDER_RESULT_FOUND, keys->count);
        return 0;
    }
    for (size_t i = 0; i < keys->count; i++) {
        bool possible = !api->found[i] && keys->ids[i] != 0;
        keys->results[i] = api->found[i] ? ORDER_RESULT_FOUND
                           : possible    ? ORDER_RESULT_NONE
                                         : ORDER_RESULT_ABSENT;
        left += possible ? 1 : 0;
    }
    return left;
}

static struct resp_lookup *take_lookup(struct api_resp *api) {
    struct resp_lookup *lookup = api->free_lookups;
    if (lookup != NULL) {
        api->free_lookups = lookup->next;
    } else if (api->lookups_used < api->lookups_max) {
        lookup = &api->lookups[api->lookups_used++];
        lookup->api = api;
    }
    return lookup;
}

static void recycle(struct resp_lookup *lookup) {
    lookup->next = lookup->api->free_lookups;
    lookup->api->free_lookups = lookup;
}

static void take_result(const struct resp_get *item) {
    struct resp_lookup *lookup = item->lookup;
    size_t key = (size_t)(item - lookup->gets);
    lookup->keys.results[key] = (uint8_t)item->get.result;
    if (item->get.result == ORDER_RESULT_FOUND) {
        lookup->keys.orders[key] = item->get.order;
    }
}

static void got(struct query_get *get) {
    const struct resp_get *item = (const struct resp_get *)get;
    struct resp_lookup *lookup = item->lookup;
    take_result(item);
    lookup->waiting--;
    if (lookup->waiting > 0) {
        return;
    }
    if (lookup->session == NULL) {
        recycle(lookup);
    } else {
        resp_session_resume(lookup->session);
    }
}

/** Asks the tiers below for the keys without a result. True where the session has to wait. */
static bool ask_below(struct api_resp *api, struct resp_lookup *lookup) {
    struct key_results *keys = &lookup->keys;
    lookup->waiting = 1; /* nobody resumes the session before all are asked for */
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->results[i] != ORDER_RESULT_NONE) {
            continue;
        }
        struct resp_get *item = &lookup->gets[i];
        *item = (struct resp_get){{.order_id = keys->ids[i], .done = got}, lookup};
        lookup->waiting++;
        if (query_get(api->query, &item->get)) {
            take_result(item);
            lookup->waiting--;
        }
    }
    lookup->waiting--;
    return lookup->waiting > 0;
}

/** Without memory for a look-up its keys cannot be known now. */
static void give_up(struct key_results *keys) {
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->results[i] == ORDER_RESULT_NONE) {
            keys->results[i] = ORDER_RESULT_UNAVAILABLE;
        }
    }
}

/** Finds out about the keys of a group. NULL: the session has to wait. */
static const struct key_results *look_up(struct api_resp *api, struct resp_session *session) {
    if (look_in_memory(api) == 0) {
        return &api->keys;
    }
    struct resp_lookup *lookup = take_lookup(api);
    if (lookup == NULL) {
        give_up(&api->keys);
        return &api->keys;
    }
    lookup->session = session;
    lookup->keys.count = api->keys.count;
    memcpy(lookup->keys.ids, api->keys.ids, api->keys.count * sizeof(*api->keys.ids));
    memcpy(lookup->keys.orders, api->keys.orders, api->keys.count * sizeof(*api->keys.orders));
    memcpy(lookup->keys.results, api->keys.results, api->keys.count);
    session->user = lookup;
    if (!ask_below(api, lookup)) {
        return &lookup->keys;
    }
    metric_add(&api->metrics.resp_lookups_total, 1);
    return NULL;
}

/* --- Answering. --- */

static void put_order(struct text *out, const struct order_record *order, int64_t timeout_us) {
    size_t at = out->size;
    text_append_literal(out, "$000\r\n");
    order_write_json(out, order, timeout_us);
    size_t size = out->size - at - BULK_HEAD_BYTES;
    assert(!out->truncated && size >= 100 && size <= 999);
    out->data[at + 1] = (char)('0' + size / 100);
    out->data[at + 2] = (char)('0' + size / 10 % 10);
    out->data[at + 3] = (char)('0' + size % 10);
    text_append_literal(out, "\r\n");
}

static bool is_known(uint8_t result) {
    return result == ORDER_RESULT_FOUND || result == ORDER_RESULT_ABSENT;
}

static bool are_known(const struct key_results *keys, size_t at, size_t count) {
    size_t known = 0;
    while (known < count && is_known(keys->results[at + known])) {
        known++;
    }
    return known == count;
}

static void answer_keys(struct api_resp *api, const struct resp_session *session,
                        const struct resp_command_info *info, const struct key_results *keys,
                        size_t at, size_t count, struct text *out) {
    bool many = info->kind == RESP_COMMAND_MGET || info->kind == RESP_COMMAND_MSTATUS;
    if (!are_known(keys, at, count)) {
        metric_add(&api->metrics.resp_refused_total, count);
        resp_put_error_literal(out, "TRYAGAIN a tier that may hold the order did not answer");
        return;
    }
    if (many) {
        resp_put_array(out, count);
    }
    for (size_t i = at; i < at + count; i++) {
        if (keys->results[i] != ORDER_RESULT_FOUND) {
            resp_put_null(out, session->protocol);
        } else if (wants_status(info)) {
            resp_put_bulk(out, slice_from_text(order_status_name(keys->orders[i].status)));
        } else {
            put_order(out, &keys->orders[i], api->terms->timeout_us);
        }
    }
}

static void answer_wrong_arity(const struct resp_command_info *info, struct text *out) {
    char memory[96];
    struct text line = text_over(memory, sizeof(memory));
    text_append_format(&line, "ERR wrong number of arguments for '%s' command", info->name);
    resp_put_error(out, text_slice(&line));
}

static void answer_group(struct api_resp *api, struct resp_session *session,
                         const struct resp_command *commands, const struct group *group,
                         const struct key_results *keys, struct text *out) {
    size_t at = 0;
    for (size_t i = 0; i < group->commands; i++) {
        const struct resp_command_info *info = group->infos[i];
        uint32_t count = key_count(info, &commands[i]);
        if (count > 0) {
            answer_keys(api, session, info, keys, at, count, out);
            at += count;
        } else if (info == NULL) {
            resp_put_error_literal(out, "ERR unknown command");
        } else if (!resp_command_takes(info, commands[i].argument_count)) {
            answer_wrong_arity(info, out);
        } else if (info->kind <= RESP_COMMAND_MSTATUS) {
            resp_put_error_literal(out, "ERR too many keys: at most 1024 in one command");
        } else {
            resp_command_answer(&api->program, session, info, &commands[i], out);
        }
    }
}

static void finish_lookup(struct resp_session *session) {
    if (session->user != NULL) {
        recycle(session->user);
        session->user = NULL;
    }
}

/** There is no room for the answer of the first command, which is a long one. */
static void answer_no_room(struct api_resp *api, struct resp_session *session) {
    struct text out;
    bool room = resp_answer_begin(session, 128, &out);
    assert(room);
    metric_add(&api->metrics.resp_refused_total, 1);
    resp_put_error_literal(&out, "TRYAGAIN no buffer for the answer is free now");
    resp_answer_end(session, &out);
}

static size_t serve(struct resp_handler *handler, struct resp_session *session,
                    const struct resp_command *commands, size_t count) {
    struct api_resp *api = (struct api_resp *)handler;
    struct group group;
    struct text out;
    const struct key_results *keys = &api->keys;
    gather(commands, count, &group);
    if (session->user != NULL) {
        keys = &((struct resp_lookup *)session->user)->keys; /* it was waited for */
        assert(keys->count == group.keys);
    } else if (group.keys > 0) {
        metric_add(&api->metrics.resp_keys_total, group.keys);
        read_keys(commands, &group, &api->keys);
        keys = look_up(api, session);
        if (keys == NULL) {
            return 0;
        }
    }
    if (!resp_answer_begin(session, group.room, &out)) {
        finish_lookup(session);
        answer_no_room(api, session);
        return 1; /* what is sure has room: it was one command */
    }
    answer_group(api, session, commands, &group, keys, &out);
    resp_answer_end(session, &out);
    finish_lookup(session);
    return group.commands;
}

static void gone(struct resp_handler *handler, struct resp_session *session) {
    struct resp_lookup *lookup = session->user;
    (void)handler;
    if (lookup->waiting > 0) {
        lookup->session = NULL; /* the last answer recycles it */
    } else {
        recycle(lookup);
    }
    session->user = NULL;
}

static const struct resp_handler_ops handler_ops = {.serve = serve, .gone = gone};

/** After the sockets were read: what was gathered goes to the tiers as one batch. */
static bool flush(struct loop_hook *hook) {
    struct api_resp *api = CONTAINER_OF(hook, struct api_resp, hook);
    query_flush(api->query);
    return false;
}

/* --- The whole. --- */

struct api_resp *api_resp_create(const struct api_resp_parts *parts) {
    struct api_resp *api = calloc(1, sizeof(*api));
    if (api == NULL) {
        return NULL;
    }
    api->handler.ops = &handler_ops;
    api->terms = parts->terms;
    api->query = parts->query;
    api->program.version = parts->version;
    api->hook.run = flush;
    api->lookups_max = parts->lookups_max;
    api->lookups = pages_reserve(api->lookups_max * sizeof(*api->lookups));
    if (api->lookups == NULL) {
        free(api);
        return NULL;
    }
    loop_add_hook(parts->loop, LOOP_STAGE_BATCH, &api->hook);
    return api;
}

void api_resp_destroy(struct api_resp *api) {
    loop_remove_hook(&api->hook);
    pages_release(api->lookups, api->lookups_max * sizeof(*api->lookups));
    free(api);
}

struct resp_handler *api_resp_handler(struct api_resp *api) {
    return &api->handler;
}

struct api_resp_metrics *api_resp_metrics(struct api_resp *api) {
    return &api->metrics;
}
