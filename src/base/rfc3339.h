/** RFC 3339 times, to and from microseconds since 1970. Pure, any thread. */
#ifndef ORDERD_BASE_RFC3339_H
#define ORDERD_BASE_RFC3339_H

#include "base/bytes.h"

/** Length of what rfc3339_format writes: 2026-01-01T00:00:00.000000Z. */
#define RFC3339_TEXT_BYTES 27

/** Writes RFC3339_TEXT_BYTES characters (no zero byte) in UTC with microseconds, and returns that
 *  number. Times outside the years 1970 to 9999 are shown as the nearest one inside. */
size_t rfc3339_format(int64_t time_us, char out[RFC3339_TEXT_BYTES]);

/** Reads a date-time of RFC 3339, section 5.6, with any offset; digits past the microsecond are
 *  dropped; second 60 is taken where a leap second can be, at the end of a month in UTC, and counts
 *  as the next minute's first. False when the text is none, or lies before 1970. */
MUST_CHECK bool rfc3339_parse(struct slice text, int64_t *time_us);

#endif
