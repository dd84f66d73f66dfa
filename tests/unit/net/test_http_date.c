#include "base/clock.h"
#include "net/http_date.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_a_date_has_the_form_of_rfc_9110(void **state) {
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } dates[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* the RFC's example */
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1798761599, "Thu, 31 Dec 2026 23:59:59 GMT"},
        {INT64_C(253402300799), "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(dates); i++) {
        char out[HTTP_DATE_BYTES];
        http_date_write(out, dates[i].seconds);
        assert_memory_equal(out, dates[i].text, HTTP_DATE_BYTES);
    }
}

static void test_the_line_is_kept_until_the_second_is_over(void **state) {
    (void)state;
    struct http_date date = {.until_us = 0};
    char now[HTTP_DATE_BYTES];
    int64_t before = clock_wall_us() / 1000000;
    struct slice line = http_date_line(&date, 1000);
    assert_int_equal(line.size, HTTP_DATE_LINE_BYTES);
    assert_memory_equal(line.data, "Date: ", 6);
    assert_memory_equal(line.data + line.size - 2, "\r\n", 2);
    http_date_write(now, before);
    if (clock_wall_us() / 1000000 == before) {
        assert_memory_equal(line.data + 6, now, HTTP_DATE_BYTES);
    }
    assert_true(date.until_us > 1000 && date.until_us <= 1000 + 1000000);
    date.line[6] = '?';
    assert_int_equal(http_date_line(&date, date.until_us - 1).data[6], '?');
    assert_int_not_equal(http_date_line(&date, date.until_us).data[6], '?');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_date_has_the_form_of_rfc_9110),
        cmocka_unit_test(test_the_line_is_kept_until_the_second_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
