/* Any text: what is taken for a time is one, and its own text form gives the same time again. */
#include "base/rfc3339.h"
#include "fuzz.h"

#define YEAR_10000_US INT64_C(253402300800000000)
#define DAY_US INT64_C(86400000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t time_us;
    if (!rfc3339_parse((struct slice){(const char *)data, size}, &time_us)) {
        return 0;
    }
    FUZZ_CHECK(size >= strlen("1970-01-01T00:00:00Z"), "%zu bytes", size);
    FUZZ_CHECK(time_us >= 0, "%lld", (long long)time_us);
    /* An offset and a leap second may carry the last day of 9999 over into the next year. */
    FUZZ_CHECK(time_us <= YEAR_10000_US + DAY_US, "%lld", (long long)time_us);
    if (time_us >= YEAR_10000_US) {
        return 0;
    }
    char text[RFC3339_TEXT_BYTES];
    size_t length = rfc3339_format(time_us, text);
    int64_t again_us;
    FUZZ_CHECK(rfc3339_parse((struct slice){text, length}, &again_us), "%.*s", (int)length, text);
    FUZZ_CHECK(again_us == time_us, "%lld is not %lld", (long long)again_us, (long long)time_us);
    return 0;
}
