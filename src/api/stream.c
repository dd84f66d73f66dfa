#include "api/api_internal.h"
#include "api/parameters.h"
#include "base/hash.h"
#include "net/list.h"

#include <stdlib.h>

/* Server-sent events.
 *
 * A stream of all changes has a cursor of its own: it reads on when its peer has room, so a slow
 * peer costs nobody anything. The streams of single orders share one follower of the log, which
 * looks each change's order up among them. They listen before their order is read, and take only
 * versions above the one that they have, so nothing is missed and nothing comes twice. */

#define READ_CHANGES 64
#define READERS 8
#define ORDER_SLOTS 4096
#define HEARTBEAT_US INT64_C(15000000)
#define SWEEP_US INT64_C(1000000)

/** Room that one event may need: cursor, event name, the order's JSON. */
#define EVENT_BYTES_MAX 1600

/** Changes of one order that may wait for room or for the order itself: more than an order has. */
#define WAITING_MAX 4

enum stream_state {
    STREAM_FREE,
    STREAM_OPENING, /* the order, or the first changes, are being read; nothing was sent */
    STREAM_OPEN,
    STREAM_CLOSED /* gone while a reader is still at work for it */
};

struct stream_change {
    struct order_record order;
    struct change_cursor cursor;
};

struct stream {
    struct list_node node; /* in `idle`, `runnable` or `blocked`; of order streams: in `orders` */
    enum stream_state state;
    struct http_exchange *exchange; /* valid while OPENING or OPEN */
    uint64_t order_id;              /* 0: all changes */
    uint32_t version;               /* that was sent last, of an order stream */
    bool reading;
    bool overflowed; /* changes came that could not be kept: the stream ends when it has begun */
    int64_t sent_us;
    struct change_cursor cursor;
    struct stream *same_slot; /* the next order stream in its slot */
    size_t waiting_count;
    struct stream_change waiting[WAITING_MAX];
};

/** Memory of one read of the log. */
struct reader {
    struct change_read_batch batch;
    struct api_streams *streams;
    struct stream *stream; /* NULL: the follower's, or free */
    bool busy;
    uint64_t news; /* of the streams', when it began to read */
    struct order_record orders[READ_CHANGES];
    uint64_t positions[READ_CHANGES];
    uint8_t parts[READ_CHANGES];
};

struct api_streams {
    struct api *api;
    struct change_watch watch;
    struct timer sweep;
    struct list_node idle;     /* have read everything */
    struct list_node runnable; /* may read on */
    struct list_node blocked;  /* wait for room */
    struct list_node orders;   /* streams of single orders */
    size_t stream_count;       /* in use */
    size_t order_count;
    struct change_cursor newest; /* as it was when idle streams were last woken */
    struct reader follower;
    struct change_cursor followed; /* where the follower is */
    uint64_t news;                 /* how often `newest` was a new one */
    bool follower_rests;           /* it found nothing: it may be past `newest`; news wakes it */
    struct reader readers[READERS];
    struct stream *slots[ORDER_SLOTS]; /* order streams by id */
    struct stream *streams;            /* owned */
    size_t stream_max;
};

size_t api_streams_outstanding(void) {
    return READERS + 1;
}

/* --- Taking and giving back. --- */

static struct stream **slot_of(struct api_streams *streams, uint64_t order_id) {
    return &streams->slots[hash_mix(order_id) % ORDER_SLOTS];
}

static void set_active(struct api_streams *streams) {
    atomic_store_explicit(&streams->watch.active, streams->stream_count > 0 ? 1 : 0,
                          memory_order_relaxed);
    metric_set(&streams->api->metrics.streams, streams->stream_count);
}

static struct stream *take_stream(struct api_streams *streams, struct http_exchange *exchange) {
    for (size_t i = 0; i < streams->stream_max; i++) {
        struct stream *stream = &streams->streams[i];
        if (stream->state == STREAM_FREE) {
            *stream = (struct stream){.state = STREAM_OPENING, .exchange = exchange};
            exchange->user = stream;
            streams->stream_count++;
            set_active(streams);
            return stream;
        }
    }
    metric_add(&streams->api->metrics.refused_total, 1);
    problem_respond_plain(exchange, 503, "too many event streams are open");
    return NULL;
}

static void remove_order(struct api_streams *streams, struct stream *stream) {
    struct stream **link = slot_of(streams, stream->order_id);
    while (*link != stream) {
        link = &(*link)->same_slot;
    }
    *link = stream->same_slot;
    streams->order_count--;
}

static void give_back(struct api_streams *streams, struct stream *stream) {
    list_remove(&stream->node);
    if (stream->order_id != 0) {
        remove_order(streams, stream);
        stream->order_id = 0;
    }
    stream->exchange = NULL;
    /* A read under way still writes to its own memory only, and gives the stream back then. */
    stream->state = stream->reading ? STREAM_CLOSED : STREAM_FREE;
    streams->stream_count--;
    set_active(streams);
}

/** Ends a stream whose peer is still there. */
static void end_stream(struct api_streams *streams, struct stream *stream) {
    struct http_exchange *exchange = stream->exchange;
    exchange->user = NULL;
    give_back(streams, stream);
    http_stream_end(exchange);
}

void api_streams_gone(struct api_streams *streams, struct http_exchange *exchange) {
    api_streams_abandon(streams, exchange->user);
}

void api_streams_abandon(struct api_streams *streams, void *stream) {
    if (stream != NULL) {
        give_back(streams, stream);
    }
}

/* --- Writing. --- */

static bool has_room(const struct stream *stream) {
    return http_stream_room(stream->exchange) >= EVENT_BYTES_MAX;
}

static void write_event(struct api_streams *streams, struct stream *stream, const char *name,
                        const struct order_record *order, const struct change_cursor *cursor) {
    char memory[EVENT_BYTES_MAX];
    struct text text = text_over(memory, sizeof(memory));
    text_append_literal(&text, "id: ");
    change_cursor_format(cursor, &text);
    text_append_literal(&text, "\nevent: ");
    text_append_slice(&text, slice_from_text(name));
    text_append_literal(&text, "\ndata: ");
    order_write_json(&text, order, streams->api->terms->timeout_us);
    text_append_literal(&text, "\n\n");
    bool written = http_stream_write(stream->exchange, text_slice(&text));
    assert(written); /* the room was looked at before */
    stream->sent_us = loop_now_us(streams->api->loop);
    metric_add(&streams->api->metrics.events_total, 1);
}

static const char *event_of(const struct order_record *order) {
    return order->version == 1 ? "created" : "changed";
}

static bool begin_stream(struct api_streams *streams, struct stream *stream) {
    struct http_field cache = {SLICE_LITERAL("Cache-Control"), SLICE_LITERAL("no-store")};
    struct http_answer answer = {
        .status = 200,
        .content_type = SLICE_LITERAL("text/event-stream"),
        .fields = &cache,
        .field_count = 1,
    };
    struct http_exchange *exchange = stream->exchange;
    stream->state = STREAM_OPEN;
    stream->sent_us = loop_now_us(streams->api->loop);
    if (http_stream_begin(exchange, &answer)) {
        return true;
    }
    give_back(streams, stream); /* HEAD: the answer is complete */
    return false;
}

/* --- Streams of one order. --- */

/** Sends what waits, as far as there is room; ends the stream after a final state. */
static void send_waiting(struct api_streams *streams, struct stream *stream) {
    size_t sent = 0;
    bool final = false;
    while (sent < stream->waiting_count && !final && has_room(stream)) {
        const struct stream_change *change = &stream->waiting[sent++];
        if (change->order.version > stream->version) {
            write_event(streams, stream, event_of(&change->order), &change->order, &change->cursor);
            stream->version = change->order.version;
            final = order_status_is_final(change->order.status);
        }
    }
    stream->waiting_count -= sent;
    memmove(stream->waiting, stream->waiting + sent,
            stream->waiting_count * sizeof(stream->waiting[0]));
    if (final) {
        end_stream(streams, stream);
    }
}

/** Changes were missed: ends the stream, so that its peer comes again. */
static void drop(struct api_streams *streams, struct stream *stream) {
    metric_add(&streams->api->metrics.streams_dropped_total, 1);
    if (stream->state == STREAM_OPEN) {
        end_stream(streams, stream);
    } else {
        stream->overflowed = true;
    }
}

static void add_waiting(struct api_streams *streams, struct stream *stream,
                        const struct order_record *order, const struct change_cursor *cursor) {
    if (stream->waiting_count == WAITING_MAX) {
        /* Its peer reads nothing, and an order has few changes: let it come again. */
        drop(streams, stream);
        return;
    }
    stream->waiting[stream->waiting_count++] = (struct stream_change){*order, *cursor};
    if (stream->state == STREAM_OPEN) {
        send_waiting(streams, stream);
    }
}

bool api_streams_open_order(struct api_streams *streams, struct http_exchange *exchange,
                            uint64_t order_id) {
    struct change_log *log = streams->api->changes;
    struct stream *stream = take_stream(streams, exchange);
    if (stream == NULL) {
        return false;
    }
    if (streams->order_count == 0 && !streams->follower.busy) {
        log->ops->newest(log, &streams->followed);
    }
    struct stream **slot = slot_of(streams, order_id);
    stream->order_id = order_id;
    stream->cursor = streams->followed;
    stream->same_slot = *slot;
    *slot = stream;
    streams->order_count++;
    list_append(&streams->orders, &stream->node);
    loop_want_hooks(streams->api->loop);
    return true;
}

void api_streams_begin_order(struct api_streams *streams, struct http_exchange *exchange,
                             const struct order_record *order) {
    struct stream *stream = exchange->user;
    if (!begin_stream(streams, stream)) {
        return;
    }
    write_event(streams, stream, "order", order, &stream->cursor);
    stream->version = order->version;
    if (order_status_is_final(order->status) || stream->overflowed) {
        end_stream(streams, stream);
    } else {
        send_waiting(streams, stream);
    }
}

static void followed_one(struct api_streams *streams, const struct order_record *order) {
    struct stream *stream = *slot_of(streams, order->order_id);
    while (stream != NULL) {
        struct stream *next = stream->same_slot;
        if (stream->order_id == order->order_id) {
            add_waiting(streams, stream, order, &streams->followed);
        }
        stream = next;
    }
}

/** The log no longer has what the follower wants: what comes next is not known to be all. */
static void drop_order_streams(struct api_streams *streams) {
    struct list_node *node = streams->orders.next;
    while (node != &streams->orders) {
        struct stream *stream = CONTAINER_OF(node, struct stream, node);
        node = node->next;
        drop(streams, stream);
    }
    streams->api->changes->ops->newest(streams->api->changes, &streams->followed);
}

static void follower_done(struct port_request *request) {
    struct reader *reader = (struct reader *)request;
    struct api_streams *streams = reader->streams;
    reader->busy = false;
    if (reader->batch.result == CHANGE_READ_GONE || reader->batch.result == CHANGE_READ_INVALID) {
        drop_order_streams(streams);
        return;
    }
    streams->follower_rests = reader->batch.result == CHANGE_READ_OK && reader->batch.count == 0 &&
                              reader->news == streams->news;
    for (size_t i = 0; i < reader->batch.count; i++) {
        streams->followed.positions[reader->parts[i]] = reader->positions[i];
        followed_one(streams, &reader->orders[i]);
    }
}

/* --- Streams of all changes. --- */

static void answer_refused(struct api_streams *streams, struct stream *stream,
                           enum change_read_result result) {
    struct http_exchange *exchange = stream->exchange;
    exchange->user = NULL;
    give_back(streams, stream);
    switch (result) {
    case CHANGE_READ_GONE:
        problem_respond_plain(exchange, 410, "changes after this cursor are no longer kept");
        return;
    case CHANGE_READ_INVALID:
        problem_respond_plain(exchange, 400,
                              "after or Last-Event-ID: this is no cursor of this log");
        return;
    default:
        problem_respond_plain(exchange, 503, "the change log cannot be read now");
        return;
    }
}

/** Sends what was read, as far as there is room. */
static void send_changes(struct api_streams *streams, struct stream *stream,
                         const struct reader *reader) {
    size_t sent = 0;
    while (sent < reader->batch.count && has_room(stream)) {
        stream->cursor.positions[reader->parts[sent]] = reader->positions[sent];
        write_event(streams, stream, event_of(&reader->orders[sent]), &reader->orders[sent],
                    &stream->cursor);
        sent++;
    }
    bool all = sent == reader->batch.count;
    if (all && reader->batch.count == 0) {
        stream->cursor = reader->batch.after; /* "oldest" has become a place */
    }
    /* What came while it read may be news that woke only the others. */
    bool idle = reader->batch.count == 0 && reader->news == streams->news;
    list_append(!all   ? &streams->blocked
                : idle ? &streams->idle
                       : &streams->runnable,
                &stream->node);
    if (all && !idle) {
        loop_want_hooks(streams->api->loop);
    }
}

static void read_done(struct port_request *request) {
    struct reader *reader = (struct reader *)request;
    struct api_streams *streams = reader->streams;
    struct stream *stream = reader->stream;
    enum change_read_result result = reader->batch.result;
    reader->busy = false;
    reader->stream = NULL;
    stream->reading = false;
    if (!list_is_empty(&streams->runnable)) {
        loop_want_hooks(streams->api->loop);
    }
    if (stream->state == STREAM_CLOSED) {
        stream->state = STREAM_FREE;
        return;
    }
    if (result != CHANGE_READ_OK) {
        if (stream->state == STREAM_OPENING) {
            answer_refused(streams, stream, result);
        } else if (result == CHANGE_READ_UNAVAILABLE) {
            list_append(&streams->runnable, &stream->node); /* the sweep tries again */
        } else {
            metric_add(&streams->api->metrics.streams_dropped_total, 1);
            end_stream(streams, stream);
        }
        return;
    }
    if (stream->state == STREAM_OPENING && !begin_stream(streams, stream)) {
        return;
    }
    send_changes(streams, stream, reader);
}

void api_streams_open_changes(struct api_streams *streams, struct http_exchange *exchange,
                              const struct change_cursor *after) {
    struct stream *stream = take_stream(streams, exchange);
    if (stream == NULL) {
        return;
    }
    stream->cursor = *after;
    list_append(&streams->runnable, &stream->node);
    loop_want_hooks(streams->api->loop);
}

void api_change_events(struct api *api, struct http_exchange *exchange,
                       const struct http_head *head) {
    char decoded[CHANGE_CURSOR_TEXT_MAX];
    struct slice text = http_head_value(head, HTTP_FIELD_LAST_EVENT_ID);
    struct change_cursor cursor;
    api->changes->ops->newest(api->changes, &cursor);
    bool resumes = text.data != NULL;
    if (!resumes) {
        enum parameter_status status =
            parameter_find(head->query, "after", decoded, sizeof(decoded), &text);
        if (status == PARAMETER_ABSENT) {
            api_streams_open_changes(api->streams, exchange, &cursor);
            return;
        }
        if (status == PARAMETER_MALFORMED) {
            text = (struct slice){NULL, 0};
        }
    }
    if (!change_cursor_parse(text, cursor.parts, &cursor)) {
        problem_respond_plain(exchange, 400,
                              resumes ? "Last-Event-ID: expected a cursor that a stream gave"
                                      : "after: expected a cursor that a stream gave");
        return;
    }
    api_streams_open_changes(api->streams, exchange, &cursor);
}

/* --- Going on. --- */

void api_streams_room(struct api_streams *streams, struct http_exchange *exchange) {
    struct stream *stream = exchange->user;
    if (stream == NULL || stream->state != STREAM_OPEN) {
        return;
    }
    if (stream->order_id != 0) {
        send_waiting(streams, stream);
    } else if (!stream->reading) {
        list_remove(&stream->node);
        list_append(&streams->runnable, &stream->node);
        loop_want_hooks(streams->api->loop);
    }
}

/** Wakes the idle streams when the log has something new. True where it has. */
static bool look_for_news(struct api_streams *streams) {
    struct change_cursor newest;
    struct change_log *log = streams->api->changes;
    log->ops->newest(log, &newest);
    size_t size = newest.parts * sizeof(newest.positions[0]);
    if (newest.parts == streams->newest.parts &&
        memcmp(newest.positions, streams->newest.positions, size) == 0) {
        return false;
    }
    streams->newest = newest;
    streams->news++;
    streams->follower_rests = false;
    list_move_all(&streams->idle, &streams->runnable);
    return true;
}

static bool is_follower_behind(const struct api_streams *streams) {
    size_t size = streams->newest.parts * sizeof(streams->newest.positions[0]);
    return streams->order_count > 0 && !streams->follower.busy && !streams->follower_rests &&
           memcmp(streams->newest.positions, streams->followed.positions, size) != 0;
}

static bool read_on(struct reader *reader, const struct change_cursor *after) {
    struct change_log *log = reader->streams->api->changes;
    reader->batch.after = *after;
    reader->news = reader->streams->news;
    reader->busy = true;
    if (log->ops->read(log, &reader->batch) != PORT_TAKEN) {
        reader->busy = false;
    }
    return reader->busy;
}

static bool run_runnable(struct api_streams *streams) {
    bool begun = false;
    for (size_t i = 0; i < READERS && !list_is_empty(&streams->runnable); i++) {
        struct reader *reader = &streams->readers[i];
        if (reader->busy) {
            continue;
        }
        struct list_node *node = list_take_first(&streams->runnable);
        struct stream *stream = CONTAINER_OF(node, struct stream, node);
        if (!read_on(reader, &stream->cursor)) {
            list_append(&streams->runnable, node);
            break; /* the log is busy: the sweep comes back to it */
        }
        reader->stream = stream;
        stream->reading = true;
        begun = true;
    }
    return begun;
}

bool api_streams_run(struct api_streams *streams) {
    if (streams->stream_count == 0) {
        return false;
    }
    (void)look_for_news(streams);
    bool begun = run_runnable(streams);
    if (is_follower_behind(streams)) {
        begun |= read_on(&streams->follower, &streams->followed);
    }
    return begun;
}

/** A comment line keeps connections open that have nothing to say. */
static void keep_alive(struct stream *stream, int64_t now_us) {
    struct slice comment = SLICE_LITERAL(":\n\n");
    if (stream->state == STREAM_OPEN && now_us - stream->sent_us >= HEARTBEAT_US &&
        http_stream_write(stream->exchange, comment)) {
        stream->sent_us = now_us;
    }
}

static void sweep(struct timer *timer) {
    struct api_streams *streams = CONTAINER_OF(timer, struct api_streams, sweep);
    struct loop *loop = streams->api->loop;
    for (size_t i = 0; i < streams->stream_max && streams->stream_count > 0; i++) {
        keep_alive(&streams->streams[i], loop_now_us(loop));
    }
    loop_timer_start(loop, &streams->sweep, SWEEP_US);
    loop_want_hooks(loop);
}

/* --- The whole. --- */

static void init_reader(struct api_streams *streams, struct reader *reader,
                        void (*done)(struct port_request *)) {
    reader->streams = streams;
    reader->batch = (struct change_read_batch){
        .request = {.done = done, .mailbox = streams->api->mailbox},
        .limit = READ_CHANGES,
        .orders = reader->orders,
        .positions = reader->positions,
        .parts = reader->parts,
    };
}

struct api_streams *api_streams_create(struct api *api, const struct api_options *options) {
    struct api_streams *streams = calloc(1, sizeof(*streams));
    if (streams == NULL) {
        return NULL;
    }
    streams->api = api;
    streams->stream_max = options->streams_max;
    streams->streams = calloc(streams->stream_max, sizeof(*streams->streams));
    if (streams->streams == NULL) {
        free(streams);
        return NULL;
    }
    list_init(&streams->idle);
    list_init(&streams->runnable);
    list_init(&streams->blocked);
    list_init(&streams->orders);
    init_reader(streams, &streams->follower, follower_done);
    for (size_t i = 0; i < READERS; i++) {
        init_reader(streams, &streams->readers[i], read_done);
    }
    streams->watch.mailbox = api->mailbox;
    api->changes->ops->watch(api->changes, &streams->watch);
    streams->sweep.expired = sweep;
    loop_timer_start(api->loop, &streams->sweep, SWEEP_US);
    return streams;
}

void api_streams_destroy(struct api_streams *streams) {
    if (streams != NULL) {
        timer_stop(&streams->sweep);
        free(streams->streams);
        free(streams);
    }
}
