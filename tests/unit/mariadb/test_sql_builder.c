#include "adapter/mariadb/sql_builder.h"
#include "unit.h"

#include "order/order_id.h"

static void test_a_text_is_quoted_and_what_could_end_it_is_escaped(void **state) {
    (void)state;
    struct sql_builder sql;
    sql_builder_init(&sql, 4096);
    sql_append_text(&sql, SLICE_LITERAL("it's \"a\" \\ \n\r\x1a"));
    assert_slice_equal(sql_builder_slice(&sql), "'it\\'s \\\"a\\\" \\\\ \\n\\r\\Z'");
    sql_builder_reset(&sql);
    sql_append_text(&sql, (struct slice){"a\0b", 3});
    assert_slice_equal(sql_builder_slice(&sql), "'a\\0b'");
    sql_builder_reset(&sql);
    sql_append_text_or_null(&sql, (struct slice){"", 0});
    assert_slice_equal(sql_builder_slice(&sql), "NULL");
    sql_builder_deinit(&sql);
}

static void test_every_byte_survives_and_none_ends_the_text(void **state) {
    (void)state;
    char all[256];
    struct sql_builder sql;
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (char)i;
    }
    sql_builder_init(&sql, 4096);
    sql_append_text(&sql, (struct slice){all, sizeof(all)});
    struct slice text = sql_builder_slice(&sql);
    assert_int_equal(text.data[0], '\'');
    assert_int_equal(text.data[text.size - 1], '\'');
    size_t characters = 0;
    for (size_t i = 1; i + 1 < text.size; i++, characters++) {
        assert_true(text.data[i] != '\'' && text.data[i] != '"' && text.data[i] != 0);
        if (text.data[i] == '\\') {
            i++;
        }
    }
    assert_int_equal(characters, sizeof(all));
    sql_builder_deinit(&sql);
}

static void test_what_does_not_fit_is_noticed_and_the_next_statement_starts_clean(void **state) {
    (void)state;
    struct sql_builder sql;
    sql_builder_init(&sql, 2000);
    for (int i = 0; i < 300; i++) {
        sql_append_literal(&sql, "1234567");
    }
    assert_true(sql.overflowed);
    assert_true(sql.size <= 2000);
    sql_builder_reset(&sql);
    assert_false(sql.overflowed);
    sql_append_u64(&sql, UINT64_MAX);
    assert_slice_equal(sql_builder_slice(&sql), "18446744073709551615");
    char long_text[1999];
    memset(long_text, 'x', sizeof(long_text));
    sql_builder_reset(&sql);
    sql_append_text(&sql, (struct slice){long_text, sizeof(long_text)});
    assert_true(sql.overflowed);
    sql_builder_deinit(&sql);
}

static void test_times_go_both_ways_to_the_microsecond(void **state) {
    (void)state;
    static const int64_t times[] = {1, ORDER_EPOCH_US, ORDER_EPOCH_US + 123456,
                                    INT64_C(4102444799999999)};
    struct sql_builder sql;
    sql_builder_init(&sql, 4096);
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        int64_t back = 0;
        sql_builder_reset(&sql);
        sql_append_time(&sql, times[i]);
        struct slice text = sql_builder_slice(&sql);
        assert_true(sql_parse_time((struct slice){text.data + 1, text.size - 2}, &back));
        assert_true(back == times[i]);
    }
    sql_builder_reset(&sql);
    sql_append_time(&sql, ORDER_EPOCH_US);
    sql_append_time_or_null(&sql, 0);
    assert_slice_equal(sql_builder_slice(&sql), "'2026-01-01 00:00:00.000000'NULL");
    sql_builder_deinit(&sql);
}

static void test_what_is_no_number_or_time_is_refused(void **state) {
    (void)state;
    static const char *const numbers[] = {"", "-1", "1 ", "18446744073709551616", "0x1", "1.0"};
    static const char *const times[] = {"",
                                        "0000-00-00 00:00:00",
                                        "2026-01-01T00:00:00",
                                        "2026-13-01 00:00:00",
                                        "2026-01-01 00:00:00.0000000",
                                        "2026-01-01",
                                        "1969-12-31 23:59:59",
                                        "2026-01-01 00:00:0x"};
    uint64_t number;
    int64_t time_us;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        assert_false(sql_parse_u64(slice_from_text(numbers[i]), &number));
    }
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        assert_false(sql_parse_time(slice_from_text(times[i]), &time_us));
    }
    assert_true(sql_parse_time(SLICE_LITERAL("2026-01-01 00:00:00.5"), &time_us));
    assert_true(time_us == ORDER_EPOCH_US + 500000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_text_is_quoted_and_what_could_end_it_is_escaped),
        cmocka_unit_test(test_every_byte_survives_and_none_ends_the_text),
        cmocka_unit_test(test_what_does_not_fit_is_noticed_and_the_next_statement_starts_clean),
        cmocka_unit_test(test_times_go_both_ways_to_the_microsecond),
        cmocka_unit_test(test_what_is_no_number_or_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
