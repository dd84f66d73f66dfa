/* Events of a binlog, one after the other: whatever they are, what is handed out are valid orders,
 * the same ones whether the sink is small or large. */
#include "adapter/mariadb_binlog/binlog_decoder.h"
#include "fuzz.h"

#define ORDERS_MAX 4096
#define SMALL_SINK 2

struct outcome {
    size_t count;
    size_t skipped_deletes;
    size_t alarming_deletes;
    size_t broken_rows;
    enum binlog_verdict verdict;
    struct binlog_position position;
    struct order_record orders[ORDERS_MAX];
};

/** Cuts an event off the front, by the length in its header. */
static struct slice next_event(struct slice *stream) {
    size_t size = stream->size;
    if (stream->size >= BINLOG_HEADER_BYTES) {
        size_t given = bytes_load_u32(stream->data + 9);
        size = given >= BINLOG_HEADER_BYTES && given < size ? given : size;
    }
    struct slice event = {stream->data, size};
    stream->data += size;
    stream->size -= size;
    return event;
}

static void collect(struct outcome *outcome, struct binlog_sink *sink) {
    for (size_t i = 0; i < sink->count && outcome->count < ORDERS_MAX; i++) {
        FUZZ_CHECK(order_record_check(&sink->orders[i]) == ORDER_RECORD_VALID, "order %llu",
                   (unsigned long long)sink->orders[i].order_id);
        outcome->orders[outcome->count++] = sink->orders[i];
    }
    outcome->skipped_deletes += sink->skipped_deletes;
    outcome->alarming_deletes += sink->alarming_deletes;
    outcome->broken_rows += sink->broken_rows;
    sink->count = sink->skipped_deletes = sink->alarming_deletes = sink->broken_rows = 0;
}

static void decode(struct slice stream, size_t limit, struct log *log, struct outcome *outcome) {
    static struct order_record orders[ORDERS_MAX];
    static int64_t committed_us[ORDERS_MAX];
    struct binlog_sink sink = {.orders = orders, .committed_us = committed_us, .limit = limit};
    struct binlog_decoder decoder;
    const struct binlog_position begin = {.count = 0};
    binlog_decoder_init(&decoder, log, "orders");
    binlog_decoder_begin(&decoder, &begin);
    *outcome = (struct outcome){.verdict = BINLOG_DONE};
    while (stream.size > 0 && outcome->verdict == BINLOG_DONE) {
        outcome->verdict = binlog_decoder_take(&decoder, next_event(&stream), &sink);
        while (outcome->verdict == BINLOG_FULL) {
            FUZZ_CHECK(sink.count == limit, "%zu", sink.count);
            collect(outcome, &sink);
            outcome->verdict = binlog_decoder_go_on(&decoder, &sink);
        }
        collect(outcome, &sink);
    }
    outcome->position = decoder.position;
}

static void check_position(struct slice text) {
    struct binlog_position position;
    struct binlog_position again;
    char memory[BINLOG_POSITION_TEXT_MAX];
    if (!binlog_position_parse(text, &position)) {
        return;
    }
    struct text out = text_over(memory, sizeof(memory));
    binlog_position_format(&position, &out);
    FUZZ_CHECK(!out.truncated, "%zu domains", position.count);
    FUZZ_CHECK(binlog_position_parse(text_slice(&out), &again), "%.*s", (int)out.size, out.data);
    FUZZ_CHECK(
        again.count == position.count &&
            memcmp(again.gtids, position.gtids, position.count * sizeof(position.gtids[0])) == 0,
        "%.*s", (int)out.size, out.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct outcome small;
    static struct outcome large;
    struct slice input = {(const char *)data, size};
    struct log log;
    log_init(&log, 2, LOG_ERROR + 1);
    check_position(input);
    decode(input, SMALL_SINK, &log, &small);
    decode(input, ORDERS_MAX, &log, &large);
    FUZZ_CHECK(small.verdict == large.verdict && small.count == large.count &&
                   small.broken_rows == large.broken_rows &&
                   small.skipped_deletes == large.skipped_deletes &&
                   small.alarming_deletes == large.alarming_deletes,
               "%zu and %zu orders", small.count, large.count);
    FUZZ_CHECK(memcmp(small.orders, large.orders, small.count * sizeof(small.orders[0])) == 0,
               "%zu orders differ", small.count);
    FUZZ_CHECK(small.position.count == large.position.count, "%zu", small.position.count);
    return 0;
}
