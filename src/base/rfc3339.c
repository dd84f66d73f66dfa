#include "base/rfc3339.h"

#define SECONDS_PER_DAY 86400
#define LAST_TIME_US INT64_C(253402300799999999) /* 9999-12-31T23:59:59.999999Z */

struct civil_date {
    int year;
    unsigned month;
    unsigned day;
};

/* Both conversions after H. Hinnant, "chrono-compatible low-level date algorithms": years begin in
 * March, so that the leap day comes last; an era is 400 years, 146,097 days. Days are never
 * negative here. */
static int64_t days_from_civil(struct civil_date date) {
    int year = date.month <= 2 ? date.year - 1 : date.year;
    int era = year / 400;
    unsigned year_of_era = (unsigned)(year - era * 400);
    unsigned month_from_march = date.month > 2 ? date.month - 3 : date.month + 9;
    unsigned day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + (int64_t)day_of_era - 719468;
}

static struct civil_date civil_from_days(int64_t days) {
    unsigned shifted = (unsigned)(days + 719468);
    unsigned era = shifted / 146097;
    unsigned day_of_era = shifted - era * 146097;
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    struct civil_date date;
    date.day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    date.month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    date.year = (int)(year_of_era + era * 400) + (date.month <= 2 ? 1 : 0);
    return date;
}

static void put_digits(char *out, unsigned value, unsigned count) {
    for (unsigned i = count; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

size_t rfc3339_format(int64_t time_us, char out[RFC3339_TEXT_BYTES]) {
    if (time_us < 0) {
        time_us = 0;
    } else if (time_us > LAST_TIME_US) {
        time_us = LAST_TIME_US;
    }
    int64_t seconds = time_us / 1000000;
    unsigned microseconds = (unsigned)(time_us % 1000000);
    struct civil_date date = civil_from_days(seconds / SECONDS_PER_DAY);
    unsigned second_of_day = (unsigned)(seconds % SECONDS_PER_DAY);
    memcpy(out, "0000-00-00T00:00:00.000000Z", RFC3339_TEXT_BYTES);
    put_digits(out, (unsigned)date.year, 4);
    put_digits(out + 5, date.month, 2);
    put_digits(out + 8, date.day, 2);
    put_digits(out + 11, second_of_day / 3600, 2);
    put_digits(out + 14, second_of_day / 60 % 60, 2);
    put_digits(out + 17, second_of_day % 60, 2);
    put_digits(out + 20, microseconds, 6);
    return RFC3339_TEXT_BYTES;
}

/** What is still to be read. */
struct reader {
    const char *at;
    const char *end;
};

static bool take_digits(struct reader *reader, unsigned count, unsigned *value) {
    if ((size_t)(reader->end - reader->at) < count) {
        return false;
    }
    *value = 0;
    for (unsigned i = 0; i < count; i++, reader->at++) {
        if (*reader->at < '0' || *reader->at > '9') {
            return false;
        }
        *value = *value * 10 + (unsigned)(*reader->at - '0');
    }
    return true;
}

/** Takes `character`, a lower-case letter also as a capital one (RFC 3339 allows either). */
static bool take_character(struct reader *reader, char character) {
    if (reader->at == reader->end) {
        return false;
    }
    char found = *reader->at;
    if (character >= 'a' && character <= 'z' && found >= 'A' && found <= 'Z') {
        found = (char)(found + ('a' - 'A'));
    }
    if (found != character) {
        return false;
    }
    reader->at++;
    return true;
}

static bool take_date(struct reader *reader, struct civil_date *date) {
    static const unsigned char month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year;
    if (!take_digits(reader, 4, &year) || !take_character(reader, '-') ||
        !take_digits(reader, 2, &date->month) || !take_character(reader, '-') ||
        !take_digits(reader, 2, &date->day)) {
        return false;
    }
    date->year = (int)year;
    if (date->month < 1 || date->month > 12 || date->day < 1 ||
        date->day > month_days[date->month - 1]) {
        return false;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return leap || date->month != 2 || date->day <= 28;
}

/** Reads the optional fraction of a second; microseconds. */
static bool take_fraction(struct reader *reader, unsigned *microseconds) {
    *microseconds = 0;
    if (!take_character(reader, '.')) {
        return true;
    }
    unsigned digits = 0;
    for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; digits++) {
        if (digits < 6) {
            *microseconds = *microseconds * 10 + (unsigned)(*reader->at - '0');
        }
        reader->at++;
    }
    for (unsigned i = digits; i < 6; i++) {
        *microseconds *= 10;
    }
    return digits > 0;
}

static bool take_offset(struct reader *reader, int64_t *offset_seconds) {
    *offset_seconds = 0;
    if (take_character(reader, 'z')) {
        return true;
    }
    int sign = take_character(reader, '-') ? -1 : take_character(reader, '+') ? 1 : 0;
    unsigned hours;
    unsigned minutes;
    if (sign == 0 || !take_digits(reader, 2, &hours) || !take_character(reader, ':') ||
        !take_digits(reader, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *offset_seconds = sign * (int64_t)(hours * 3600 + minutes * 60);
    return true;
}

/** True for a second that a leap second can be: the one before a month begins in UTC.
 *  @param next the second behind it, since 1970. */
static bool ends_a_month(int64_t next) {
    return next > 0 && next % SECONDS_PER_DAY == 0 &&
           civil_from_days(next / SECONDS_PER_DAY).day == 1;
}

bool rfc3339_parse(struct slice text, int64_t *time_us) {
    struct reader reader = {text.data, text.data + text.size};
    struct civil_date date;
    unsigned hour;
    unsigned minute;
    unsigned second;
    unsigned microseconds;
    int64_t offset_seconds;
    if (!take_date(&reader, &date) || !take_character(&reader, 't') ||
        !take_digits(&reader, 2, &hour) || !take_character(&reader, ':') ||
        !take_digits(&reader, 2, &minute) || !take_character(&reader, ':') ||
        !take_digits(&reader, 2, &second) || !take_fraction(&reader, &microseconds) ||
        !take_offset(&reader, &offset_seconds) || reader.at != reader.end) {
        return false;
    }
    if (date.year < 1969 || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    int64_t seconds = days_from_civil(date) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second -
                      offset_seconds;
    *time_us = seconds * 1000000 + microseconds;
    return *time_us >= 0 && (second < 60 || ends_a_month(seconds));
}
