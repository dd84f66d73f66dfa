/** The references of archived orders, as a filter in RAM: "certainly not archived" without asking
 *  the archive, which every create would have to do otherwise.
 *
 *  A split-block Bloom filter (Putze, Sanders and Singler, "Cache-, hash- and space-efficient Bloom
 *  filters", 2007; the layout that Parquet uses): a key sets eight bits in one 32-byte block, so a
 *  question costs one cache miss. At 12 bits a key about 1 question in 200 is answered "perhaps"
 *  for nothing; a filter that holds more keys says so more often and stays right.
 *
 *  References expire with the idempotency window, which a Bloom filter cannot forget. So there are
 *  two generations, side by side in one cache line: keys go into the younger one; each window the
 *  older one is emptied and becomes the younger. A key is remembered for one to two windows.
 *
 *  One writing thread; any number of readers. */
#ifndef ORDERD_MEMORY_REFERENCE_FILTER_H
#define ORDERD_MEMORY_REFERENCE_FILTER_H

#include "base/bytes.h"

#include <stdatomic.h>

#define REFERENCE_FILTER_GENERATIONS 2
#define REFERENCE_FILTER_BLOCK_WORDS 8

struct reference_filter_line {
    _Atomic uint32_t words[REFERENCE_FILTER_GENERATIONS][REFERENCE_FILTER_BLOCK_WORDS];
};

struct reference_filter {
    struct reference_filter_line *lines; /* owned */
    uint64_t line_count;
    _Atomic uint32_t younger; /* the generation that takes keys */
    _Atomic uint64_t keys[REFERENCE_FILTER_GENERATIONS];
};

/** @param bytes at least one line. False where the system refuses. */
MUST_CHECK bool reference_filter_init(struct reference_filter *filter, uint64_t bytes);
void reference_filter_deinit(struct reference_filter *filter);

/** True where no key is remembered: a question need not even look into memory. @thread any. */
static inline bool reference_filter_is_empty(const struct reference_filter *filter) {
    return (atomic_load_explicit(&filter->keys[0], memory_order_relaxed) |
            atomic_load_explicit(&filter->keys[1], memory_order_relaxed)) == 0;
}

void reference_filter_prefetch(const struct reference_filter *filter, uint64_t reference_hash);

/** False: no such reference was added within the window. True: ask the archive. @thread any. */
MUST_CHECK bool reference_filter_may_contain(const struct reference_filter *filter,
                                             uint64_t reference_hash);

/** @thread the writer. */
void reference_filter_add(struct reference_filter *filter, uint64_t reference_hash);

/** Empties the older generation and makes it the younger one. Once a window. @thread the writer. */
void reference_filter_rotate(struct reference_filter *filter);

static inline uint64_t reference_filter_bytes(const struct reference_filter *filter) {
    return filter->line_count * sizeof(struct reference_filter_line);
}

#endif
