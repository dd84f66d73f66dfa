/** The Date field of answers (RFC 9110, 6.6.1), which a server with a clock has to send.
 *
 *  It changes once a second, so the line is kept: an answer costs a comparison and a copy.
 *  One thread: its owner's. */
#ifndef ORDERD_NET_HTTP_DATE_H
#define ORDERD_NET_HTTP_DATE_H

#include "base/bytes.h"

/** "Sun, 06 Nov 1994 08:49:37 GMT". */
#define HTTP_DATE_BYTES 29

#define HTTP_DATE_LINE_BYTES (6 + HTTP_DATE_BYTES + 2)

/** Zeroed: not made yet. */
struct http_date {
    int64_t until_us; /* on the monotonic clock: from then on the line is of another second */
    char line[HTTP_DATE_LINE_BYTES];
};

/** Writes `seconds` since 1970 in the fixed form of RFC 9110, 5.6.7. @param seconds not before
 *  1970, and in a year of four digits. */
void http_date_write(char out[HTTP_DATE_BYTES], int64_t seconds);

/** The line, its end included, for the present second of the wall clock.
 *  @param now_us on the monotonic clock, since a look at it is at hand. */
struct slice http_date_line(struct http_date *date, int64_t now_us);

#endif
