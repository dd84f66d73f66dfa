#include "adapter/mariadb_binlog/binlog_source.h"

#include "adapter/mariadb_binlog/binlog_stream.h"
#include "base/clock.h"

#include <mysql.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(BINLOG_POSITION_TEXT_MAX < LEASE_POSITION_MAX, "every position can be stored");

const struct metric_description binlog_metric_table[] = {
#define X(...) METRIC_ENTRY_OF(struct binlog_metrics, __VA_ARGS__)
    BINLOG_METRICS(X)
#undef X
};
const size_t binlog_metric_count = ARRAY_COUNT(binlog_metric_table);

enum { OPERATION_OPEN, OPERATION_READ };

/* One read or one open is under way; a caller that gets it wrong is told BUSY. */
#define INBOX_CAPACITY 4
#define IDLE_WAIT_MS 1000

struct binlog_source {
    struct change_source port;
    struct binlog_options options;
    struct binlog_server server;
    struct log *log;
    struct mailbox inbox;
    int stop_fd; /* owned */
    _Atomic uint32_t stopping;
    pthread_t thread;
    struct binlog_metrics metrics;
    /* The thread's. */
    struct binlog_decoder decoder;
    struct binlog_stream stream;
    bool event_is_open;                /* the last read was full in the middle of an event */
    enum change_source_result failure; /* what the next read is told; OK: none */
    struct log_limit limit;
};

static bool is_stopping(const struct binlog_source *source) {
    return atomic_load_explicit(&source->stopping, memory_order_acquire) != 0;
}

/** Takes note that the log cannot be read on, and says so. */
static void fail(struct binlog_source *source, enum change_source_result result,
                 const struct fault *fault) {
    source->failure = result;
    source->event_is_open = false;
    binlog_stream_close(&source->stream);
    metric_set(&source->metrics.connected, 0);
    metric_add(&source->metrics.losses_total, 1);
    if (is_stopping(source)) {
        return;
    }
    bool loud = result != CHANGE_SOURCE_UNAVAILABLE;
    log_write_limited(source->log, &source->limit, loud ? LOG_ERROR : LOG_WARNING, "binlog",
                      "shard %u (%s:%u): %s%s", source->server.shard, source->server.host.text,
                      source->server.port,
                      result == CHANGE_SOURCE_PURGED    ? "the position is not in the log: "
                      : result == CHANGE_SOURCE_FOREIGN ? "what the log has is not known here: "
                                                        : "the log is not available: ",
                      fault->text);
}

static enum change_source_result result_of(enum binlog_stream_status status) {
    return status == BINLOG_STREAM_PURGED    ? CHANGE_SOURCE_PURGED
           : status == BINLOG_STREAM_FOREIGN ? CHANGE_SOURCE_FOREIGN
                                             : CHANGE_SOURCE_UNAVAILABLE;
}

static void put_position(const struct binlog_position *position, char out[LEASE_POSITION_MAX]) {
    struct text text = text_over(out, LEASE_POSITION_MAX - 1);
    binlog_position_format(position, &text);
    out[text.size] = 0;
}

static void open_log(struct binlog_source *source, struct change_source_open *request) {
    struct binlog_position position;
    bool at_end = request->position[0] == 0;
    source->failure = CHANGE_SOURCE_OK;
    source->event_is_open = false;
    if (!binlog_position_parse(slice_from_text(request->position), &position)) {
        struct fault fault;
        fault_set(&fault, "\"%.100s\" is no position", request->position);
        fail(source, CHANGE_SOURCE_PURGED, &fault);
    } else {
        enum binlog_stream_status status = binlog_stream_open(&source->stream, &position, at_end);
        if (status != BINLOG_STREAM_OK) {
            fail(source, result_of(status), &source->stream.fault);
        }
    }
    request->result = source->failure;
    if (request->result == CHANGE_SOURCE_OK) {
        binlog_decoder_begin(&source->decoder, &position);
        put_position(&position, request->position);
        metric_add(&source->metrics.connections_total, 1);
        metric_set(&source->metrics.connected, 1);
        log_info(source->log, "binlog", "shard %u (%s:%u): reading from %s", source->server.shard,
                 source->server.host.text, source->server.port,
                 request->position[0] == 0 ? "the beginning" : request->position);
    }
    port_complete(&request->request);
}

/** Decodes what the verdict is of. False where the read ends here. */
static bool heed(struct binlog_source *source, enum binlog_verdict verdict) {
    source->event_is_open = verdict == BINLOG_FULL;
    if (verdict == BINLOG_FOREIGN || verdict == BINLOG_BROKEN) {
        fail(source, CHANGE_SOURCE_FOREIGN, &source->decoder.fault);
    }
    return verdict == BINLOG_DONE;
}

static void read_events(struct binlog_source *source, struct binlog_sink *sink, uint32_t wait_ms) {
    int64_t until_us = clock_monotonic_us() + (int64_t)wait_ms * 1000;
    if (source->event_is_open && !heed(source, binlog_decoder_go_on(&source->decoder, sink))) {
        return;
    }
    while (sink->count < sink->limit && !is_stopping(source)) {
        struct slice event;
        int64_t left_us = until_us - clock_monotonic_us();
        enum binlog_stream_status status =
            binlog_stream_next(&source->stream, sink->count > 0 ? 0 : left_us, &event);
        if (status == BINLOG_STREAM_OK) {
            if (!heed(source, binlog_decoder_take(&source->decoder, event, sink))) {
                return;
            }
        } else if (status != BINLOG_STREAM_NOTHING) {
            fail(source, result_of(status), &source->stream.fault);
            return;
        }
        if (left_us <= 0 || (status == BINLOG_STREAM_NOTHING && sink->count > 0)) {
            return;
        }
    }
}

static void read_log(struct binlog_source *source, struct change_source_read *request) {
    struct binlog_sink sink = {
        .orders = request->orders,
        .committed_us = request->committed_us,
        .limit = request->limit,
    };
    if (source->failure == CHANGE_SOURCE_OK && !binlog_stream_is_open(&source->stream)) {
        source->failure = CHANGE_SOURCE_UNAVAILABLE; /* it was never opened */
    }
    if (source->failure == CHANGE_SOURCE_OK) {
        uint64_t before = source->stream.received_bytes;
        read_events(source, &sink, request->wait_ms);
        metric_add(&source->metrics.received_bytes_total, source->stream.received_bytes - before);
    }
    request->count = sink.count;
    request->skipped_deletes = sink.skipped_deletes;
    request->alarming_deletes = sink.alarming_deletes;
    request->broken_rows = sink.broken_rows;
    request->position[0] = 0;
    if (sink.committed) {
        put_position(&source->decoder.position, request->position);
    }
    /* What was read before it failed is handed out first; the next read is told. */
    bool has_something = sink.count > 0 || sink.committed || sink.skipped_deletes > 0 ||
                         sink.alarming_deletes > 0 || sink.broken_rows > 0;
    request->result = has_something ? CHANGE_SOURCE_OK : source->failure;
    port_complete(&request->request);
}

static void refuse(struct port_request *request) {
    if (request->operation == OPERATION_OPEN) {
        ((struct change_source_open *)request)->result = CHANGE_SOURCE_UNAVAILABLE;
    } else {
        struct change_source_read *read = (struct change_source_read *)request;
        read->count = read->skipped_deletes = read->alarming_deletes = read->broken_rows = 0;
        read->position[0] = 0;
        read->result = CHANGE_SOURCE_UNAVAILABLE;
    }
    port_complete(request);
}

static void *run(void *context) {
    struct binlog_source *source = context;
    (void)mysql_thread_init();
    for (;;) {
        bool stopping = is_stopping(source);
        struct port_request *request = mailbox_take(&source->inbox);
        if (request == NULL) {
            if (stopping) {
                break;
            }
            mailbox_wait(&source->inbox, IDLE_WAIT_MS);
        } else if (stopping) {
            refuse(request);
        } else if (request->operation == OPERATION_OPEN) {
            open_log(source, (struct change_source_open *)request);
        } else {
            read_log(source, (struct change_source_read *)request);
        }
    }
    binlog_stream_close(&source->stream);
    mysql_thread_end();
    return NULL;
}

static enum port_submit submit(struct change_source *port, struct port_request *request,
                               uint32_t operation) {
    struct binlog_source *source = (struct binlog_source *)port;
    request->operation = operation;
    return mailbox_send(&source->inbox, request) ? PORT_TAKEN : PORT_BUSY;
}

static enum port_submit submit_open(struct change_source *port,
                                    struct change_source_open *request) {
    return submit(port, &request->request, OPERATION_OPEN);
}

static enum port_submit submit_read(struct change_source *port,
                                    struct change_source_read *request) {
    return submit(port, &request->request, OPERATION_READ);
}

static const struct change_source_ops source_ops = {.open = submit_open, .read = submit_read};

static void release(struct binlog_source *source) {
    binlog_stream_deinit(&source->stream);
    mailbox_deinit(&source->inbox);
    (void)close(source->stop_fd);
    free(source);
}

static struct binlog_source *make(const struct binlog_options *options,
                                  const struct binlog_server *server, struct log *log) {
    struct binlog_source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return NULL;
    }
    source->port.ops = &source_ops;
    source->options = *options;
    source->server = *server;
    source->log = log;
    source->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (source->stop_fd < 0) {
        free(source);
        return NULL;
    }
    if (!mailbox_init(&source->inbox, INBOX_CAPACITY)) {
        (void)close(source->stop_fd);
        free(source);
        return NULL;
    }
    binlog_decoder_init(&source->decoder, log, source->server.database.text);
    if (!binlog_stream_init(&source->stream, &source->options, &source->server, &source->decoder,
                            source->stop_fd)) {
        release(source);
        return NULL;
    }
    return source;
}

struct binlog_source *binlog_source_create(const struct binlog_options *options,
                                           const struct binlog_server *server, struct log *log,
                                           struct fault *fault) {
    struct binlog_source *source = make(options, server, log);
    if (source == NULL) {
        fault_set(fault, "no memory for the reader of shard %u's log", server->shard);
        return NULL;
    }
    int error = pthread_create(&source->thread, NULL, run, source);
    if (error != 0) {
        fault_set_errno(fault, error, "the reader of shard %u's log cannot be started",
                        server->shard);
        release(source);
        return NULL;
    }
    (void)pthread_setname_np(source->thread, "binlog");
    return source;
}

void binlog_source_destroy(struct binlog_source *source) {
    atomic_store_explicit(&source->stopping, 1, memory_order_release);
    uint64_t one = 1;
    ssize_t written = write(source->stop_fd, &one, sizeof(one));
    (void)written; /* 8 bytes into an eventfd that nobody else writes to */
    mailbox_wake(&source->inbox);
    (void)pthread_join(source->thread, NULL);
    release(source);
}

struct change_source *binlog_source_port(struct binlog_source *source) {
    return &source->port;
}

struct binlog_metrics *binlog_source_metrics(struct binlog_source *source) {
    return &source->metrics;
}
