#include "adapter/redis/redis_core.h"

#include "adapter/redis/redis_scripts.h"

/* Room for any command but those with a script's text, and for those. */
#define COMMAND_BYTES 1024
#define SCRIPT_COMMAND_BYTES 4096

static const char *const script_texts[] = {REDIS_SCRIPT_WRITE, REDIS_SCRIPT_EXCHANGE};

struct order_key {
    char text[4 + ORDER_DIGITS_MAX + 1];
    size_t size;
};

static struct order_key key_of(struct slice prefix, uint64_t order_id) {
    struct order_key key;
    memcpy(key.text, prefix.data, prefix.size);
    key.size = prefix.size;
    key.size += order_digits(order_id, key.text + key.size);
    key.text[key.size++] = '}';
    return key;
}

static void append_key(struct text *text, struct slice prefix, uint64_t order_id) {
    struct order_key key = key_of(prefix, order_id);
    redis_append_bulk(text, (struct slice){key.text, key.size});
}

static void append_number(struct text *text, uint64_t number) {
    char digits[ORDER_DIGITS_MAX];
    redis_append_bulk(text, (struct slice){digits, order_digits(number, digits)});
}

static void append_literal(struct text *text, const char *word) {
    redis_append_bulk(text, slice_from_text(word));
}

static struct slice record_bytes(const struct order_record *record) {
    return (struct slice){(const char *)record, sizeof(*record)};
}

/** `EVALSHA sha 2 o:{id} lk:{id}`, three arguments to follow; or EVAL with the text. */
static void append_script(struct text *text, const struct redis_node *node,
                          const struct redis_command *command, bool exchange) {
    const char *sha = exchange ? node->exchange_sha : node->write_sha;
    uint64_t order_id = redis_command_order_id(command);
    redis_append_array(text, command->single ? 7 : 8);
    if (command->whole || sha[0] == 0) {
        append_literal(text, "EVAL");
        append_literal(text, script_texts[exchange]);
    } else {
        append_literal(text, "EVALSHA");
        append_literal(text, sha);
    }
    append_literal(text, command->single ? "1" : "2");
    append_key(text, SLICE_LITERAL("o:{"), order_id);
    if (!command->single) {
        append_key(text, SLICE_LITERAL("lk:{"), order_id);
    }
}

static const struct order_record *order_of(const struct redis_command *command) {
    const struct redis_task *task = command->task;
    return task->kind == REDIS_COMMAND_FILL
               ? &((struct order_cache_fill *)task->request)->order
               : &((struct order_cache_put *)task->request)->orders[command->index];
}

static void append_write(struct text *text, const struct redis_node *node,
                         const struct redis_command *command) {
    const struct order_record *order = order_of(command);
    append_script(text, node, command, false);
    redis_append_bulk(text, order->order_id == 0 ? SLICE_LITERAL("") : record_bytes(order));
    append_number(text, node->cluster->settings->ttl_ms);
    if (command->kind == REDIS_COMMAND_FILL) {
        append_number(text, ((struct order_cache_fill *)command->task->request)->token);
    } else {
        append_literal(text, "");
    }
}

static void append_exchange(struct text *text, const struct redis_node *node,
                            const struct redis_command *command) {
    const struct order_record *order = order_of(command);
    bool replace = command->kind == REDIS_COMMAND_REPLACE;
    append_script(text, node, command, true);
    redis_append_bulk(text, record_bytes(replace ? &command->held : order));
    redis_append_bulk(text, replace ? record_bytes(order) : SLICE_LITERAL(""));
    append_number(text, node->cluster->settings->ttl_ms);
}

static void append_lock(struct text *text, const struct redis_node *node,
                        const struct redis_command *command) {
    const struct order_cache_fill *fill = (struct order_cache_fill *)command->task->request;
    redis_append_array(text, 6);
    append_literal(text, "SET");
    append_key(text, SLICE_LITERAL("lk:{"), fill->order_id);
    append_number(text, fill->token);
    append_literal(text, "NX");
    append_literal(text, "PX");
    append_number(text, node->cluster->settings->lock_ms);
}

static void append_login(struct text *text, const struct redis_settings *settings) {
    bool named = settings->user.text[0] != 0;
    redis_append_array(text, named ? 3 : 2);
    append_literal(text, "AUTH");
    if (named) {
        append_literal(text, settings->user.text);
    }
    append_literal(text, settings->password.text);
}

static void append_words(struct text *text, const char *first, const char *second,
                         const char *third) {
    redis_append_array(text, third == NULL ? 2 : 3);
    append_literal(text, first);
    append_literal(text, second);
    if (third != NULL) {
        append_literal(text, third);
    }
}

static void append_command(struct text *text, const struct redis_node *node,
                           const struct redis_command *command) {
    switch ((enum redis_command_kind)command->kind) {
    case REDIS_COMMAND_GET:
        redis_append_array(text, 2);
        append_literal(text, "GET");
        append_key(text, SLICE_LITERAL("o:{"), redis_command_order_id(command));
        break;
    case REDIS_COMMAND_PUT:
    case REDIS_COMMAND_FILL:
        append_write(text, node, command);
        break;
    case REDIS_COMMAND_REMOVE:
    case REDIS_COMMAND_REPLACE:
        append_exchange(text, node, command);
        break;
    case REDIS_COMMAND_LOCK:
        append_lock(text, node, command);
        break;
    case REDIS_COMMAND_LOGIN:
        append_login(text, node->cluster->settings);
        break;
    case REDIS_COMMAND_LOAD_WRITE:
        append_words(text, "SCRIPT", "LOAD", script_texts[0]);
        break;
    case REDIS_COMMAND_LOAD_EXCHANGE:
        append_words(text, "SCRIPT", "LOAD", script_texts[1]);
        break;
    case REDIS_COMMAND_INFO:
        /* Not by sections: servers before 7.0 take only one. */
        append_words(text, "INFO", "all", NULL);
        break;
    case REDIS_COMMAND_SLOTS:
        append_words(text, "CLUSTER", "SLOTS", NULL);
        break;
    case REDIS_COMMAND_COUNT:
        break;
    }
}

/** Lets a node answer for a slot that it is only about to get; good for one command. */
static void append_asking(struct text *text, struct redis_command *command) {
    if (command->asking) {
        redis_append_array(text, 1);
        append_literal(text, "ASKING");
        command->skip++;
    }
}

bool redis_command_write(struct redis_node *node, struct redis_command *command) {
    bool scripted = command->kind != REDIS_COMMAND_GET && command->kind != REDIS_COMMAND_LOCK;
    struct text text =
        redis_connection_room(&node->connection, scripted ? SCRIPT_COMMAND_BYTES : COMMAND_BYTES);
    if (text.data == NULL) {
        return false;
    }
    command->skip = 0;
    if (command->single) {
        append_asking(&text, command);
        redis_append_array(&text, 2);
        append_literal(&text, "DEL");
        append_key(&text, SLICE_LITERAL("lk:{"), redis_command_order_id(command));
        command->skip++;
    }
    append_asking(&text, command);
    append_command(&text, node, command);
    redis_connection_commit(&node->connection, &text);
    return true;
}

/* --- Answers --- */

static void note_broken(struct redis_cluster *cluster, const struct redis_command *command,
                        const char *what) {
    metric_add(&cluster->metrics.broken_total, 1);
    log_write_limited(cluster->log, &cluster->broken_limit, LOG_WARNING, "redis",
                      "order %llu: what is under its key is no such order (%s)",
                      (unsigned long long)redis_command_order_id(command), what);
}

/** What is wrong with a value that should be the record of `order_id`; NULL: nothing. */
static const char *record_fault(struct slice bytes, uint64_t order_id,
                                struct order_record *record) {
    if (bytes.size != sizeof(*record)) {
        return "size";
    }
    memcpy(record, bytes.data, sizeof(*record));
    enum order_record_fault fault = order_record_check(record);
    if (fault != ORDER_RECORD_VALID) {
        return order_record_fault_name(fault);
    }
    return record->order_id == order_id ? NULL : "another order's";
}

static void answer_get(struct redis_cluster *cluster, struct redis_command *command,
                       const struct redis_value *answer) {
    struct order_get_batch *batch = (struct order_get_batch *)command->task->request;
    if (answer->kind == REDIS_NIL) {
        redis_command_finish(cluster, command, ORDER_RESULT_ABSENT);
        return;
    }
    struct order_record record;
    const char *fault = answer->kind == REDIS_TEXT
                            ? record_fault(answer->text, redis_command_order_id(command), &record)
                            : "type";
    if (fault != NULL) {
        note_broken(cluster, command, fault);
        redis_command_finish(cluster, command, ORDER_RESULT_BROKEN);
        return;
    }
    batch->orders[command->index] = record;
    metric_add(&cluster->metrics.hits_total, 1);
    redis_command_finish(cluster, command, ORDER_RESULT_FOUND);
}

/** Puts and fills. */
static void answer_write(struct redis_cluster *cluster, struct redis_command *command,
                         const struct redis_value *answer) {
    struct order_record record;
    if (answer->kind == REDIS_INTEGER) {
        if (answer->integer == 2) {
            metric_add(&cluster->metrics.replaced_total, 1);
            note_broken(cluster, command, "shape; replaced");
        }
        redis_command_finish(cluster, command,
                             answer->integer == 0 ? ORDER_RESULT_MISMATCH : ORDER_RESULT_STORED);
        return;
    }
    if (answer->kind != REDIS_TEXT || answer->text.size != sizeof(record)) {
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        return;
    }
    const char *fault = record_fault(answer->text, redis_command_order_id(command), &record);
    if (fault == NULL) {
        redis_command_finish(cluster, command, ORDER_RESULT_STORED);
        return;
    }
    /* It looks like this order at this or a higher version, but is none: a version that cannot be
     * trusted must not keep the real one out. */
    note_broken(cluster, command, fault);
    command->held = record;
    command->kind = REDIS_COMMAND_REPLACE;
    redis_route_again(cluster, command, 0);
}

static void answer_replace(struct redis_cluster *cluster, struct redis_command *command,
                           const struct redis_value *answer) {
    if (answer->kind == REDIS_INTEGER && answer->integer == 1) {
        metric_add(&cluster->metrics.replaced_total, 1);
        redis_command_finish(cluster, command, ORDER_RESULT_STORED);
        return;
    }
    /* Somebody else wrote meanwhile: by version again. A fill has used its token up. */
    command->kind = REDIS_COMMAND_PUT;
    redis_route_again(cluster, command, 0);
}

/** An error that is no redirection. */
static void answer_error(struct redis_node *node, struct redis_command *command,
                         const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    if (redis_value_is_error(answer, "NOSCRIPT")) {
        metric_add(&cluster->metrics.unknown_scripts_total, 1);
        command->whole = true;
        redis_route_again(cluster, command, 0);
        return;
    }
    metric_add(&cluster->metrics.errors_total, 1);
    if (redis_value_is_error(answer, "WRONGTYPE") && command->kind == REDIS_COMMAND_GET) {
        note_broken(cluster, command, "type");
        redis_command_finish(cluster, command, ORDER_RESULT_BROKEN);
        return;
    }
    if (redis_value_is_error(answer, "CLUSTERDOWN") || redis_value_is_error(answer, "READONLY") ||
        redis_value_is_error(answer, "MASTERDOWN")) {
        cluster->map_wanted = true;
    }
    log_write_limited(cluster->log, &cluster->error_limit, LOG_WARNING, "redis",
                      "%s, order %llu: %.128s", node->name,
                      (unsigned long long)redis_command_order_id(command), answer->text.data);
    redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
}

void redis_command_answer(struct redis_node *node, struct redis_command *command,
                          const struct redis_value *answer) {
    struct redis_cluster *cluster = node->cluster;
    if (command->task == NULL) {
        redis_command_finish(cluster, command, ORDER_RESULT_UNAVAILABLE);
        return;
    }
    if (answer->kind == REDIS_ERROR) {
        if (!redis_route_redirect(node, command, answer)) {
            answer_error(node, command, answer);
        }
        return;
    }
    switch ((enum redis_command_kind)command->kind) {
    case REDIS_COMMAND_GET:
        answer_get(cluster, command, answer);
        break;
    case REDIS_COMMAND_PUT:
    case REDIS_COMMAND_FILL:
        answer_write(cluster, command, answer);
        break;
    case REDIS_COMMAND_REPLACE:
        answer_replace(cluster, command, answer);
        break;
    case REDIS_COMMAND_REMOVE:
        redis_command_finish(cluster, command, ORDER_RESULT_STORED);
        break;
    default:
        redis_command_finish(cluster, command,
                             answer->kind == REDIS_STATUS ? ORDER_RESULT_STORED
                                                          : ORDER_RESULT_MISMATCH);
        break;
    }
}
