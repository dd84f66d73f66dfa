/** Byte-level helpers that every layer may use: slices, alignment, unaligned little-endian access.
 *
 *  orderd's formats are little-endian and so are the machines that it runs on; a big-endian
 *  build is refused here instead of being wrong somewhere else.
 *  Pure functions, any thread. */
#ifndef ORDERD_BASE_BYTES_H
#define ORDERD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "orderd's formats are little-endian");

#define CACHE_LINE_BYTES 64
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define MUST_CHECK __attribute__((warn_unused_result))

/** The struct of type `type` whose `member` is at `pointer`, which has to be of that member's
 *  type. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(1 ? (pointer) : (const __typeof__(((type *)0)->member) *)0) -       \
                      offsetof(type, member)))

/** A run of bytes that somebody else owns. Not terminated by a zero byte. */
struct slice {
    const char *data;
    size_t size;
};

#define SLICE_LITERAL(text) ((struct slice){(text), sizeof(text) - 1})

static inline struct slice slice_from_text(const char *text) {
    return (struct slice){text, strlen(text)};
}

static inline bool slice_equal(struct slice left, struct slice right) {
    return left.size == right.size &&
           (left.size == 0 || memcmp(left.data, right.data, left.size) == 0);
}

static inline uint64_t bytes_load_u64(const void *from) {
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint32_t bytes_load_u32(const void *from) {
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline void bytes_store_u64(void *to, uint64_t value) {
    memcpy(to, &value, sizeof(value));
}

static inline void bytes_store_u32(void *to, uint32_t value) {
    memcpy(to, &value, sizeof(value));
}

/** `alignment` is a power of two. */
static inline size_t bytes_align_up(size_t size, size_t alignment) {
    return (size + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t bytes_min_u64(uint64_t left, uint64_t right) {
    return left < right ? left : right;
}

static inline uint64_t bytes_max_u64(uint64_t left, uint64_t right) {
    return left > right ? left : right;
}

static inline size_t bytes_min_size(size_t left, size_t right) {
    return left < right ? left : right;
}

#endif
