#include "adapter/embedded/change_tail.h"

#include "base/pages.h"

static uint64_t round_up(uint64_t capacity) {
    uint64_t rounded = 2;
    while (rounded < capacity) {
        rounded *= 2;
    }
    return rounded;
}

uint64_t change_tail_bytes(uint64_t capacity) {
    return round_up(capacity) * sizeof(struct change_tail_entry);
}

bool change_tail_init(struct change_tail *tail, uint64_t capacity, uint64_t next_change) {
    uint64_t rounded = round_up(capacity);
    *tail = (struct change_tail){.capacity = rounded, .first = next_change};
    tail->entries = pages_reserve(rounded * sizeof(*tail->entries));
    atomic_init(&tail->claimed, next_change);
    atomic_init(&tail->published, next_change);
    return tail->entries != NULL;
}

void change_tail_deinit(struct change_tail *tail) {
    pages_release(tail->entries, tail->capacity * sizeof(*tail->entries));
}

void change_tail_add(struct change_tail *tail, const struct order_record *records, size_t count) {
    /* Of more than the ring holds the oldest would be overwritten at once. */
    size_t first = count > tail->capacity ? count - (size_t)tail->capacity : 0;
    uint64_t next = atomic_load_explicit(&tail->published, memory_order_relaxed);
    atomic_store_explicit(&tail->claimed, next + count, memory_order_relaxed);
    /* A reader that sees a word written below also sees the claim: the pair of its fence. */
    atomic_thread_fence(memory_order_release);
    for (size_t i = first; i < count; i++) {
        struct change_tail_entry *entry = &tail->entries[(next + i) & (tail->capacity - 1)];
        for (size_t word = 0; word < CHANGE_TAIL_RECORD_WORDS; word++) {
            uint64_t value = bytes_load_u64((const char *)&records[i] + word * 8);
            atomic_store_explicit(&entry->words[word], value, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&tail->published, next + count, memory_order_release);
}

static void copy_entry(const struct change_tail_entry *entry, struct order_record *out) {
    for (size_t word = 0; word < CHANGE_TAIL_RECORD_WORDS; word++) {
        uint64_t value = atomic_load_explicit(&entry->words[word], memory_order_relaxed);
        bytes_store_u64((char *)out + word * 8, value);
    }
}

bool change_tail_read(const struct change_tail *tail, uint64_t from, size_t limit,
                      struct order_record *out, size_t *count) {
    uint64_t next = change_tail_next(tail);
    *count = 0;
    if (from < tail->first || from > next || from + tail->capacity < next) {
        return false;
    }
    size_t available = (size_t)bytes_min_u64(next - from, limit);
    for (size_t i = 0; i < available; i++) {
        copy_entry(&tail->entries[(from + i) & (tail->capacity - 1)], &out[i]);
    }
    atomic_thread_fence(memory_order_acquire);
    uint64_t claimed = atomic_load_explicit(&tail->claimed, memory_order_relaxed);
    if (claimed > from + tail->capacity) {
        return false;
    }
    *count = available;
    return true;
}
