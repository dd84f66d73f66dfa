/* The decoder on logs that a MariaDB 10.11 wrote (tests/fuzz/corpus/fuzz_binlog). */
#include "unit.h"

#include "adapter/mariadb_binlog/binlog_decoder.h"
#include "order/order_id.h"

#include <stdlib.h>

#define ROOM 64

struct reading {
    uint8_t *bytes;
    size_t size;
    struct log log;
    struct binlog_decoder decoder;
    struct binlog_sink sink;
    struct order_record orders[ROOM];
    int64_t committed_us[ROOM];
};

static struct reading *read_log(const char *name) {
    char path[512];
    struct reading *reading = calloc(1, sizeof(*reading));
    assert_non_null(reading);
    (void)snprintf(path, sizeof(path), "%s/%s", CORPUS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    reading->bytes = malloc(1 << 16);
    reading->size = fread(reading->bytes, 1, 1 << 16, file);
    (void)fclose(file);
    const struct binlog_position begin = {.count = 0};
    log_init(&reading->log, 2, LOG_ERROR + 1);
    binlog_decoder_init(&reading->decoder, &reading->log, "orders");
    binlog_decoder_begin(&reading->decoder, &begin);
    reading->sink = (struct binlog_sink){
        .orders = reading->orders, .committed_us = reading->committed_us, .limit = ROOM};
    return reading;
}

static void end(struct reading *reading) {
    free(reading->bytes);
    free(reading);
}

/** Takes events until one is not just done with, or all are. */
static enum binlog_verdict decode(struct reading *reading) {
    enum binlog_verdict verdict = BINLOG_DONE;
    for (size_t at = 0; at < reading->size && verdict == BINLOG_DONE;) {
        size_t size = bytes_load_u32(reading->bytes + at + 9);
        struct slice event = {(const char *)reading->bytes + at, size};
        verdict = binlog_decoder_take(&reading->decoder, event, &reading->sink);
        at += size;
    }
    return verdict;
}

static void check_changes(const char *name) {
    struct reading *reading = read_log(name);
    assert_int_equal(decode(reading), BINLOG_DONE);
    const struct order_record *orders = reading->orders;
    assert_int_equal(reading->sink.count, 5);
    assert_int_equal(reading->sink.broken_rows, 1);
    assert_int_equal(reading->sink.skipped_deletes, 1);
    assert_int_equal(reading->sink.alarming_deletes, 1);
    assert_int_equal(orders[0].order_id, 134217728);
    assert_int_equal(orders[0].version, 1);
    assert_int_equal(orders[0].status, ORDER_STATUS_PENDING);
    assert_int_equal(orders[0].payment_type, ORDER_PAYMENT_BANK);
    assert_int_equal(orders[0].created_at_us, INT64_C(1795341600123456));
    assert_int_equal(orders[0].bank_code[0], 0);
    assert_int_equal(orders[0].requested_at_us, 0);
    assert_slice_equal(ORDER_TEXT(orders[0].partner_code), "acme");
    assert_int_equal(orders[1].amount, INT64_MAX);
    assert_slice_equal(ORDER_TEXT(orders[1].currency), "JPY");
    assert_slice_equal(ORDER_TEXT(orders[1].bank_code), "B-1");
    assert_slice_equal(ORDER_TEXT(orders[1].partner_order_id), "Ref.2-b");
    assert_int_equal(orders[1].created_at_us, INT64_C(1772323199999999));
    assert_int_equal(orders[3].version, 2);
    assert_int_equal(orders[3].status, ORDER_STATUS_PROCESSING);
    assert_int_equal(orders[3].requested_at_us, INT64_C(1795341601000000));
    assert_int_equal(orders[4].version, 3);
    assert_int_equal(orders[4].status, ORDER_STATUS_SUCCESS);
    assert_int_equal(orders[4].responded_at_us, INT64_C(1795341601500000));
    for (size_t i = 0; i < reading->sink.count; i++) {
        assert_int_equal(order_record_check(&orders[i]), ORDER_RECORD_VALID);
    }
    assert_true(reading->sink.committed);
    assert_int_equal(reading->decoder.position.count, 1);
    assert_int_equal(reading->decoder.position.gtids[0].server, 1);
    end(reading);
}

static void test_changes_of_every_kind_are_read(void **state) {
    (void)state;
    check_changes("changes");
}

static void test_changes_with_checksums_are_read(void **state) {
    (void)state;
    check_changes("checksums");
}

static void test_a_byte_that_is_wrong_is_seen_by_the_checksum(void **state) {
    (void)state;
    struct reading *reading = read_log("checksums");
    /* The amount of an order, which any number would do for. */
    uint8_t *name = memmem(reading->bytes, reading->size, "\003r-1", 4);
    assert_non_null(name);
    name[4] ^= 1;
    assert_int_equal(decode(reading), BINLOG_BROKEN);
    assert_int_equal(reading->sink.count, 0);
    end(reading);
}

static void test_a_position_moves_only_at_commits(void **state) {
    (void)state;
    struct reading *reading = read_log("changes");
    uint64_t before = 0;
    size_t count = 0;
    for (size_t at = 0; at < reading->size;) {
        size_t size = bytes_load_u32(reading->bytes + at + 9);
        uint8_t type = reading->bytes[at + 4];
        struct slice event = {(const char *)reading->bytes + at, size};
        assert_int_equal(binlog_decoder_take(&reading->decoder, event, &reading->sink),
                         BINLOG_DONE);
        uint64_t now = reading->decoder.position.gtids[0].sequence;
        assert_true(now == before || type == 16); /* XID */
        count += now != before;
        before = now;
        at += size;
    }
    assert_int_equal(count, 6);
    end(reading);
}

static void test_another_layout_is_foreign(void **state) {
    (void)state;
    struct reading *reading = read_log("another_table");
    assert_int_equal(decode(reading), BINLOG_FOREIGN);
    assert_contains(reading->decoder.fault.text, "14 columns");
    assert_int_equal(reading->sink.count, 0);
    end(reading);
}

static void test_each_property_of_a_column_is_looked_at(void **state) {
    (void)state;
    static const struct {
        const char *find;
        size_t size;
        size_t at;
        uint8_t value;
    } changes[] = {
        {"\x0d\x08\x0f\x0f\x08", 5, 1, 3},         /* order_id becomes an INT */
        {"\x10\x10\x00\x24\x00", 5, 1, 17},        /* partner_code VARCHAR(17) */
        {"\x06\x06\x06\x06", 4, 3, 3},             /* responded_at DATETIME(3) */
        {"\x08order_id", 9, 1, 'x'},               /* another name */
        {"\x07pending\x0aprocessing", 10, 1, 'P'}, /* another word */
        {"\x01\x01\xe0\x02", 4, 2, 0x60},          /* order_id signed */
    };
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        struct reading *reading = read_log("changes");
        uint8_t *found = memmem(reading->bytes, reading->size, changes[i].find, changes[i].size);
        if (found == NULL) {
            fail_msg("change %zu is nowhere", i);
        }
        found[changes[i].at] = changes[i].value;
        assert_int_equal(decode(reading), BINLOG_FOREIGN);
        end(reading);
    }
}

static void test_a_change_that_is_logged_as_a_statement_is_foreign(void **state) {
    (void)state;
    struct reading *reading = read_log("statement");
    assert_int_equal(decode(reading), BINLOG_FOREIGN);
    assert_contains(reading->decoder.fault.text, "statement");
    end(reading);
}

static void test_a_table_that_is_emptied_is_an_alarm(void **state) {
    (void)state;
    struct reading *reading = read_log("truncate");
    assert_int_equal(decode(reading), BINLOG_DONE);
    assert_int_equal(reading->sink.alarming_deletes, 1);
    end(reading);
}

static void test_a_log_that_is_cut_anywhere_hands_out_only_whole_rows(void **state) {
    (void)state;
    for (size_t cut = 1; cut < 4700; cut += 7) {
        struct reading *reading = read_log("changes");
        reading->size = bytes_min_size(cut, reading->size);
        for (size_t at = 0; at < reading->size;) {
            size_t left = reading->size - at;
            size_t size = left < BINLOG_HEADER_BYTES
                              ? left
                              : bytes_min_size(left, bytes_load_u32(reading->bytes + at + 9));
            struct slice event = {(const char *)reading->bytes + at, size};
            if (binlog_decoder_take(&reading->decoder, event, &reading->sink) != BINLOG_DONE) {
                break;
            }
            at += size;
        }
        for (size_t i = 0; i < reading->sink.count; i++) {
            assert_int_equal(order_record_check(&reading->orders[i]), ORDER_RECORD_VALID);
        }
        end(reading);
    }
}

static void test_positions_are_read_as_the_server_writes_them(void **state) {
    (void)state;
    struct binlog_position position;
    assert_true(binlog_position_parse(SLICE_LITERAL(""), &position));
    assert_int_equal(position.count, 0);
    assert_true(binlog_position_parse(SLICE_LITERAL("0-1-17,2-3-18446744073709551615"), &position));
    assert_int_equal(position.count, 2);
    assert_int_equal(position.gtids[1].sequence, UINT64_MAX);
    static const char *const wrong[] = {"0-1",       "0-1-",           "0-1-2,",
                                        ",0-1-2",    "x-1-2",          "0-1-2 ",
                                        "0--1-2",    "4294967296-1-2", "0-1-18446744073709551616",
                                        "0-1-2;DROP"};
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_false(binlog_position_parse(slice_from_text(wrong[i]), &position));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_of_every_kind_are_read),
        cmocka_unit_test(test_changes_with_checksums_are_read),
        cmocka_unit_test(test_a_byte_that_is_wrong_is_seen_by_the_checksum),
        cmocka_unit_test(test_a_position_moves_only_at_commits),
        cmocka_unit_test(test_another_layout_is_foreign),
        cmocka_unit_test(test_each_property_of_a_column_is_looked_at),
        cmocka_unit_test(test_a_change_that_is_logged_as_a_statement_is_foreign),
        cmocka_unit_test(test_a_table_that_is_emptied_is_an_alarm),
        cmocka_unit_test(test_a_log_that_is_cut_anywhere_hands_out_only_whole_rows),
        cmocka_unit_test(test_positions_are_read_as_the_server_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
