#include "net/http_date.h"

#include "base/clock.h"

#include <assert.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)

static void write_number(char *at, size_t digits, int value) {
    while (digits > 0) {
        at[--digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Not strftime: its names are those of the locale. */
void http_date_write(char out[HTTP_DATE_BYTES], int64_t seconds) {
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t time = (time_t)seconds;
    struct tm parts;
    const struct tm *made = gmtime_r(&time, &parts);
    assert(made != NULL && parts.tm_year >= 70 && parts.tm_year < 8100);
    memcpy(out, "day, 00 mon 0000 00:00:00 GMT", HTTP_DATE_BYTES);
    memcpy(out, days[parts.tm_wday], 3);
    write_number(out + 5, 2, parts.tm_mday);
    memcpy(out + 8, months[parts.tm_mon], 3);
    write_number(out + 12, 4, parts.tm_year + 1900);
    write_number(out + 17, 2, parts.tm_hour);
    write_number(out + 20, 2, parts.tm_min);
    write_number(out + 23, 2, parts.tm_sec);
}

struct slice http_date_line(struct http_date *date, int64_t now_us) {
    if (now_us >= date->until_us) {
        int64_t wall_us = clock_wall_us();
        memcpy(date->line, "Date: ", 6);
        http_date_write(date->line + 6, wall_us / SECOND_US);
        memcpy(date->line + 6 + HTTP_DATE_BYTES, "\r\n", 2);
        date->until_us = now_us + SECOND_US - wall_us % SECOND_US;
    }
    return (struct slice){date->line, HTTP_DATE_LINE_BYTES};
}
