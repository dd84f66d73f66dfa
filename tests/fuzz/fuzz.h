/** What a fuzz target is made of: the entry point that libFuzzer and replay.c call, and a check
 *  that stays on in every build. */
#ifndef ORDERD_TESTS_FUZZ_H
#define ORDERD_TESTS_FUZZ_H

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

/** Looks at one input; what is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                  \
            (void)fprintf(stderr, __VA_ARGS__);                                                    \
            (void)fputc('\n', stderr);                                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
