/** Memory for fixtures that hold mailboxes, which are aligned to cache lines. */
#ifndef ORDERD_TESTS_FIXTURE_MEMORY_H
#define ORDERD_TESTS_FIXTURE_MEMORY_H

#include "base/bytes.h"

#include <stdlib.h>

/** Zeroed; NULL when memory is short. Release with free. */
static inline void *fixture_allocate(size_t size) {
    size_t rounded = bytes_align_up(size, CACHE_LINE_BYTES);
    void *memory = aligned_alloc(CACHE_LINE_BYTES, rounded);
    if (memory != NULL) {
        memset(memory, 0, rounded);
    }
    return memory;
}

#endif
