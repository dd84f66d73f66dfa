/** Server-sent events (WHATWG HTML, section 9.2.6): cuts a text/event-stream into events, from
 *  pieces of any size. Bounded: what does not fit is dropped and counted, never half delivered.
 *
 *  The caller owns the struct; one thread. */
#ifndef ORDERD_ORDERCTL_EVENT_STREAM_H
#define ORDERD_ORDERCTL_EVENT_STREAM_H

#include "base/text.h"

#define EVENT_LINE_MAX 16384
#define EVENT_DATA_MAX 32768
#define EVENT_NAME_MAX 64
#define EVENT_ID_MAX 256

/** One event; the slices hold until `take` returns. */
struct event {
    struct slice name; /* "message" where the stream names none */
    struct slice id;   /* the last one that the stream named; may be empty */
    struct slice data;
};

struct event_stream {
    void (*take)(void *context, const struct event *event);
    void *context;
    struct text line;
    struct text data;
    struct text name;
    struct text id; /* stays over a reconnect: the Last-Event-ID */
    bool after_carriage_return;
    bool at_begin; /* a byte order mark may stand here */
    bool has_data;
    uint64_t retry_ms; /* as the stream asks for; 0: it does not */
    uint64_t dropped;  /* events that did not fit */
    char line_memory[EVENT_LINE_MAX];
    char data_memory[EVENT_DATA_MAX];
    char name_memory[EVENT_NAME_MAX];
    char id_memory[EVENT_ID_MAX];
};

void event_stream_init(struct event_stream *stream,
                       void (*take)(void *context, const struct event *event), void *context);

/** A new connection: what was half received is forgotten, the last id is kept. */
void event_stream_restart(struct event_stream *stream);

/** Takes the next bytes; calls `take` for every event that they complete. */
void event_stream_feed(struct event_stream *stream, const char *data, size_t size);

#endif
