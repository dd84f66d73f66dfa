#include "adapter/redis/redis_core.h"

#include "order/order_id.h"

#define PAUSE_US_MIN 100000
#define PING_EVERY_US 1000000
/* Room for the log-in, CONFIG GET, SUBSCRIBE. */
#define HELLO_BYTES 2048

static const char expired_channel[] = "__keyevent@0__:expired";
static const char evicted_channel[] = "__keyevent@0__:evicted";

/* --- The queue of events --- */

static void keep_event(struct redis_cluster *cluster, uint64_t order_id,
                       enum cache_event_kind kind) {
    size_t capacity = cluster->settings->events;
    metric_add(&cluster->metrics.events_total, 1);
    if (cluster->event_count == capacity) {
        cluster->events_lost++;
        metric_add(&cluster->metrics.events_lost_total, 1);
        return;
    }
    cluster->events[(cluster->event_begin + cluster->event_count) % capacity] =
        (struct cache_event){.order_id = order_id, .kind = kind};
    cluster->event_count++;
}

void redis_events_take(struct redis_cluster *cluster, struct cache_events_read *request) {
    cluster->events_wanted = true;
    if (cluster->event_read_count == REDIS_READS_MAX) {
        request->count = 0;
        request->lost = 0;
        request->result = ORDER_RESULT_UNAVAILABLE;
        port_complete(&request->request);
        return;
    }
    cluster->event_until_us[cluster->event_read_count] =
        cluster->now_us + (int64_t)request->wait_ms * 1000;
    cluster->event_reads[cluster->event_read_count++] = request;
}

static void complete_first(struct redis_cluster *cluster) {
    struct cache_events_read *read = cluster->event_reads[0];
    size_t capacity = cluster->settings->events;
    size_t left = --cluster->event_read_count;
    memmove(&cluster->event_reads[0], &cluster->event_reads[1],
            left * sizeof(cluster->event_reads[0]));
    memmove(&cluster->event_until_us[0], &cluster->event_until_us[1],
            left * sizeof(cluster->event_until_us[0]));
    read->count = 0;
    while (read->count < read->limit && cluster->event_count > 0) {
        read->events[read->count++] = cluster->events[cluster->event_begin];
        cluster->event_begin = (cluster->event_begin + 1) % capacity;
        cluster->event_count--;
    }
    read->lost = cluster->events_lost;
    cluster->events_lost = 0;
    bool heard = read->count > 0 || metric_get(&cluster->metrics.listeners_up) > 0;
    read->result = heard ? ORDER_RESULT_FOUND : ORDER_RESULT_UNAVAILABLE;
    port_complete(&read->request);
}

/* --- Listening to one master --- */

static void listener_close(struct redis_listener *listener) {
    struct redis_cluster *cluster = listener->node->cluster;
    redis_connection_close(&listener->connection);
    if (listener->subscribed) {
        listener->subscribed = false;
        atomic_fetch_sub_explicit(&cluster->metrics.listeners_up, 1, memory_order_relaxed);
    }
}

static void listener_fail(struct redis_listener *listener, const char *reason) {
    struct redis_cluster *cluster = listener->node->cluster;
    int64_t max_us = cluster->settings->reconnect_max_us;
    listener->pause_us = listener->subscribed ? PAUSE_US_MIN : listener->pause_us * 2;
    listener->pause_us = listener->pause_us < PAUSE_US_MIN ? PAUSE_US_MIN : listener->pause_us;
    listener->pause_us = listener->pause_us > max_us ? max_us : listener->pause_us;
    listener->retry_at_us = cluster->now_us + listener->pause_us;
    listener_close(listener);
    log_write_limited(cluster->log, &listener->limit, LOG_WARNING, "redis", "%s, events: %s",
                      listener->node->name, reason);
}

static void send_hello(struct redis_listener *listener) {
    const struct redis_settings *settings = listener->node->cluster->settings;
    struct text text = redis_connection_room(&listener->connection, HELLO_BYTES);
    bool named = settings->user.text[0] != 0;
    assert(text.data != NULL); /* nothing else went out before */
    listener->answers = 1;
    if (settings->password.text[0] != 0) {
        redis_append_array(&text, named ? 3 : 2);
        redis_append_bulk(&text, SLICE_LITERAL("AUTH"));
        if (named) {
            redis_append_bulk(&text, slice_from_text(settings->user.text));
        }
        redis_append_bulk(&text, slice_from_text(settings->password.text));
        listener->answers++;
    }
    redis_append_array(&text, 3);
    redis_append_bulk(&text, SLICE_LITERAL("CONFIG"));
    redis_append_bulk(&text, SLICE_LITERAL("GET"));
    redis_append_bulk(&text, SLICE_LITERAL("notify-keyspace-events"));
    redis_append_array(&text, 3);
    redis_append_bulk(&text, SLICE_LITERAL("SUBSCRIBE"));
    redis_append_bulk(&text, slice_from_text(expired_channel));
    redis_append_bulk(&text, slice_from_text(evicted_channel));
    redis_connection_commit(&listener->connection, &text);
}

static void ping(struct redis_listener *listener) {
    struct text text = redis_connection_room(&listener->connection, 64);
    if (text.data != NULL) {
        redis_append_array(&text, 1);
        redis_append_bulk(&text, SLICE_LITERAL("PING"));
        redis_connection_commit(&listener->connection, &text);
    }
}

/** The answer to CONFIG GET: warns where the events are not switched on. It may be refused. */
static void judge_setting(struct redis_listener *listener, const struct redis_value *answer) {
    if (answer->kind != REDIS_ARRAY || answer->count != 2 || answer->items[1].kind != REDIS_TEXT) {
        return;
    }
    const char *flags = answer->items[1].text.data;
    bool every = strchr(flags, 'A') != NULL;
    if (strchr(flags, 'E') == NULL || (strchr(flags, 'x') == NULL && !every) ||
        (strchr(flags, 'e') == NULL && !every)) {
        log_warning(listener->node->cluster->log, "redis",
                    "%s: notify-keyspace-events is \"%.32s\", without Exe: what it drops is "
                    "only found by the checker",
                    listener->node->name, flags);
    }
}

static void take_message(struct redis_cluster *cluster, struct slice channel, struct slice key) {
    bool expired = slice_equal(channel, slice_from_text(expired_channel));
    bool evicted = slice_equal(channel, slice_from_text(evicted_channel));
    uint64_t order_id;
    if ((!expired && !evicted) || key.size < 5 || memcmp(key.data, "o:{", 3) != 0 ||
        key.data[key.size - 1] != '}' ||
        !order_id_parse((struct slice){key.data + 3, key.size - 4}, &order_id)) {
        bool lock = key.size >= 4 && memcmp(key.data, "lk:{", 4) == 0;
        metric_add(&cluster->metrics.events_foreign_total, lock ? 0 : 1);
        return;
    }
    keep_event(cluster, order_id, expired ? CACHE_EVENT_EXPIRED : CACHE_EVENT_EVICTED);
}

/** What comes on a connection that has subscribed: `[kind, channel, what]`, or PING's answer. */
static bool take_push(struct redis_listener *listener, const struct redis_value *answer) {
    struct redis_cluster *cluster = listener->node->cluster;
    if (answer->kind != REDIS_ARRAY || answer->count < 2 || answer->items[0].kind != REDIS_TEXT) {
        return answer->kind == REDIS_STATUS; /* PONG, where the subscription is not yet there */
    }
    struct slice kind = answer->items[0].text;
    if (slice_equal(kind, SLICE_LITERAL("message"))) {
        if (answer->count != 3 || answer->items[1].kind != REDIS_TEXT ||
            answer->items[2].kind != REDIS_TEXT) {
            return false;
        }
        take_message(cluster, answer->items[1].text, answer->items[2].text);
    } else if (slice_equal(kind, SLICE_LITERAL("subscribe")) && !listener->subscribed) {
        listener->subscribed = true;
        atomic_fetch_add_explicit(&cluster->metrics.listeners_up, 1, memory_order_relaxed);
    }
    return true;
}

static bool take_answer(void *context, const struct redis_value *answer) {
    struct redis_listener *listener = context;
    if (listener->answers > 0) {
        listener->answers--;
        if (listener->answers == 0) {
            judge_setting(listener, answer);
        } else if (answer->kind == REDIS_ERROR) {
            return false; /* the password; the other connection says so in the log */
        }
        return true;
    }
    return take_push(listener, answer);
}

void redis_listener_readable(struct redis_listener *listener) {
    struct fault fault;
    if (listener->connection.state == REDIS_OPEN &&
        !redis_connection_read(&listener->connection, listener->node->cluster->now_us, take_answer,
                               listener, &fault)) {
        listener_fail(listener, fault.text);
    }
}

void redis_listener_writable(struct redis_listener *listener) {
    struct fault fault;
    if (listener->connection.state == REDIS_CONNECTING) {
        if (!redis_connection_finish(&listener->connection, listener->node->cluster->now_us,
                                     &fault)) {
            listener_fail(listener, fault.text);
            return;
        }
        send_hello(listener);
    }
    if (!redis_connection_write(&listener->connection, &fault)) {
        listener_fail(listener, fault.text);
    }
}

static void tend_open(struct redis_listener *listener) {
    struct redis_cluster *cluster = listener->node->cluster;
    if (cluster->now_us - listener->connection.heard_us >
        PING_EVERY_US + cluster->settings->timeout_us) {
        listener_fail(listener, "it does not answer");
    } else if (cluster->now_us >= listener->ping_at_us) {
        listener->ping_at_us = cluster->now_us + PING_EVERY_US;
        ping(listener);
    }
}

static void tend_listener(struct redis_listener *listener) {
    struct redis_cluster *cluster = listener->node->cluster;
    struct fault fault;
    if (!listener->node->owner || !cluster->events_wanted) {
        listener_close(listener);
        return;
    }
    switch (listener->connection.state) {
    case REDIS_CLOSED:
        if (cluster->now_us >= listener->retry_at_us &&
            !redis_connection_begin(&listener->connection, &listener->node->address,
                                    cluster->now_us, &fault)) {
            listener_fail(listener, fault.text);
        }
        listener->ping_at_us = cluster->now_us + PING_EVERY_US;
        break;
    case REDIS_CONNECTING:
        if (cluster->now_us - listener->connection.begun_us >
            cluster->settings->connect_timeout_us) {
            listener_fail(listener, "it was not connected to in time");
        }
        break;
    case REDIS_OPEN:
        tend_open(listener);
        break;
    }
}

void redis_events_tend(struct redis_cluster *cluster) {
    for (size_t i = 0; i < cluster->node_count; i++) {
        tend_listener(&cluster->nodes[i].listener);
    }
    while (cluster->event_read_count > 0 &&
           (cluster->event_count > 0 || cluster->now_us >= cluster->event_until_us[0])) {
        complete_first(cluster);
    }
}
