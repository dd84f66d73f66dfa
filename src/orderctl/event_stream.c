#include "orderctl/event_stream.h"

static const char byte_order_mark[] = "\xef\xbb\xbf";

void event_stream_init(struct event_stream *stream, void (*take)(void *, const struct event *),
                       void *context) {
    stream->take = take;
    stream->context = context;
    stream->retry_ms = 0;
    stream->dropped = 0;
    stream->id = text_over(stream->id_memory, sizeof(stream->id_memory));
    event_stream_restart(stream);
}

static void begin_event(struct event_stream *stream) {
    stream->data = text_over(stream->data_memory, sizeof(stream->data_memory));
    stream->name = text_over(stream->name_memory, sizeof(stream->name_memory));
    stream->has_data = false;
}

static void begin_line(struct event_stream *stream) {
    stream->line = text_over(stream->line_memory, sizeof(stream->line_memory));
}

void event_stream_restart(struct event_stream *stream) {
    begin_event(stream);
    begin_line(stream);
    stream->after_carriage_return = false;
    stream->at_begin = true;
}

static void dispatch(struct event_stream *stream) {
    if (stream->data.truncated || stream->name.truncated) {
        stream->dropped++;
    } else if (stream->has_data) {
        struct event event = {
            .name = stream->name.size == 0 ? SLICE_LITERAL("message") : text_slice(&stream->name),
            .id = text_slice(&stream->id),
            .data = text_slice(&stream->data),
        };
        stream->take(stream->context, &event);
    }
    begin_event(stream);
}

static void set_text(struct text *text, struct slice value) {
    text->size = 0;
    text->truncated = false;
    text_append_slice(text, value);
}

static void set_retry(struct event_stream *stream, struct slice value) {
    uint64_t retry_ms = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || retry_ms > UINT32_MAX) {
            return;
        }
        retry_ms = retry_ms * 10 + (uint64_t)(value.data[i] - '0');
    }
    stream->retry_ms = value.size == 0 ? stream->retry_ms : retry_ms;
}

static void take_field(struct event_stream *stream, struct slice name, struct slice value) {
    if (slice_equal(name, SLICE_LITERAL("data"))) {
        if (stream->has_data) {
            text_append_char(&stream->data, '\n');
        }
        text_append_slice(&stream->data, value);
        stream->has_data = true;
    } else if (slice_equal(name, SLICE_LITERAL("event"))) {
        set_text(&stream->name, value);
    } else if (slice_equal(name, SLICE_LITERAL("id"))) {
        bool fits = value.size <= sizeof(stream->id_memory);
        if (fits && (value.size == 0 || memchr(value.data, 0, value.size) == NULL)) {
            set_text(&stream->id, value);
        }
    } else if (slice_equal(name, SLICE_LITERAL("retry"))) {
        set_retry(stream, value);
    }
}

static void take_line(struct event_stream *stream) {
    struct slice line = text_slice(&stream->line);
    if (stream->line.truncated) {
        stream->data.truncated = true; /* the event is dropped at its end */
        return;
    }
    if (stream->at_begin) {
        stream->at_begin = false;
        size_t mark = sizeof(byte_order_mark) - 1;
        if (line.size >= mark && memcmp(line.data, byte_order_mark, mark) == 0) {
            line = (struct slice){line.data + mark, line.size - mark};
        }
    }
    if (line.size == 0) {
        dispatch(stream);
        return;
    }
    const char *colon = memchr(line.data, ':', line.size);
    if (colon == line.data) {
        return; /* a comment: the connection is alive */
    }
    size_t name_size = colon == NULL ? line.size : (size_t)(colon - line.data);
    struct slice value = {line.data + line.size, 0};
    if (colon != NULL) {
        size_t skip = name_size + 1;
        skip += skip < line.size && line.data[skip] == ' ' ? 1 : 0;
        value = (struct slice){line.data + skip, line.size - skip};
    }
    take_field(stream, (struct slice){line.data, name_size}, value);
}

void event_stream_feed(struct event_stream *stream, const char *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bool line_feed_of_pair = stream->after_carriage_return && data[i] == '\n';
        stream->after_carriage_return = data[i] == '\r';
        if (line_feed_of_pair) {
            continue;
        }
        if (data[i] == '\n' || data[i] == '\r') {
            take_line(stream);
            begin_line(stream);
        } else {
            text_append_char(&stream->line, data[i]);
        }
    }
}
