#include "memory/reference_filter.h"

#include "base/hash.h"
#include "base/pages.h"

bool reference_filter_init(struct reference_filter *filter, uint64_t bytes) {
    *filter = (struct reference_filter){.line_count = bytes / sizeof(*filter->lines)};
    if (filter->line_count == 0) {
        filter->line_count = 1;
    }
    filter->lines = pages_reserve(reference_filter_bytes(filter));
    if (filter->lines == NULL) {
        return false;
    }
    pages_populate(filter->lines, reference_filter_bytes(filter));
    return true;
}

void reference_filter_deinit(struct reference_filter *filter) {
    pages_release(filter->lines, reference_filter_bytes(filter));
    filter->lines = NULL;
}

static struct reference_filter_line *line_of(const struct reference_filter *filter,
                                             uint64_t reference_hash) {
    return &filter->lines[hash_to_range(reference_hash, filter->line_count)];
}

/** The bit of a word: five bits of the hash times an odd constant of that word. The low half of the
 *  hash is used, as the high half chose the line. */
static inline uint32_t word_bit(uint64_t reference_hash, size_t word) {
    static const uint32_t salts[REFERENCE_FILTER_BLOCK_WORDS] = {
        0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du,
        0x705495c7u, 0x2df1424bu, 0x9efc4947u, 0x5c6bfb31u,
    };
    return UINT32_C(1) << ((uint32_t)reference_hash * salts[word] >> 27);
}

void reference_filter_prefetch(const struct reference_filter *filter, uint64_t reference_hash) {
    __builtin_prefetch(line_of(filter, reference_hash));
}

bool reference_filter_may_contain(const struct reference_filter *filter, uint64_t reference_hash) {
    const struct reference_filter_line *line = line_of(filter, reference_hash);
    uint32_t missing[REFERENCE_FILTER_GENERATIONS] = {0};
    for (size_t word = 0; word < REFERENCE_FILTER_BLOCK_WORDS; word++) {
        uint32_t bit = word_bit(reference_hash, word);
        for (size_t generation = 0; generation < REFERENCE_FILTER_GENERATIONS; generation++) {
            uint32_t bits =
                atomic_load_explicit(&line->words[generation][word], memory_order_relaxed);
            missing[generation] |= ~bits & bit;
        }
    }
    return missing[0] == 0 || missing[1] == 0;
}

void reference_filter_add(struct reference_filter *filter, uint64_t reference_hash) {
    uint32_t younger = atomic_load_explicit(&filter->younger, memory_order_relaxed);
    struct reference_filter_line *line = line_of(filter, reference_hash);
    for (size_t word = 0; word < REFERENCE_FILTER_BLOCK_WORDS; word++) {
        _Atomic uint32_t *bits = &line->words[younger][word];
        uint32_t before = atomic_load_explicit(bits, memory_order_relaxed);
        atomic_store_explicit(bits, before | word_bit(reference_hash, word), memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&filter->keys[younger], 1, memory_order_relaxed);
}

void reference_filter_rotate(struct reference_filter *filter) {
    uint32_t older = 1 - atomic_load_explicit(&filter->younger, memory_order_relaxed);
    for (uint64_t at = 0; at < filter->line_count; at++) {
        for (size_t word = 0; word < REFERENCE_FILTER_BLOCK_WORDS; word++) {
            atomic_store_explicit(&filter->lines[at].words[older][word], 0, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&filter->keys[older], 0, memory_order_relaxed);
    atomic_store_explicit(&filter->younger, older, memory_order_relaxed);
}
