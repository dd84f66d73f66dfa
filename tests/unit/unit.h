/** What every unit test includes: cmocka with the headers that it wants before it, and a few checks
 *  that read better than its own. */
#ifndef ORDERD_TESTS_UNIT_H
#define ORDERD_TESTS_UNIT_H

#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/** `actual`, a slice, holds exactly the characters of `text`. */
#define assert_slice_equal(actual, text)                                                           \
    do {                                                                                           \
        struct slice actual_ = (actual);                                                           \
        assert_int_equal(actual_.size, strlen(text));                                              \
        assert_memory_equal(actual_.data, (text), actual_.size);                                   \
    } while (0)

/** `text` holds `part` somewhere; prints both where it does not. */
#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL) {                                                      \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                   \
        }                                                                                          \
    } while (0)

#define assert_not_contains(text, part)                                                            \
    do {                                                                                           \
        if (strstr((text), (part)) != NULL) {                                                      \
            fail_msg("\"%s\" is in \"%s\"", (part), (text));                                       \
        }                                                                                          \
    } while (0)

#endif
