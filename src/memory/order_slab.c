#include "memory/order_slab.h"

#include "base/pages.h"

#include <assert.h>

/* A free entry that lists others: word 0 is the next such entry, the other 13 words hold two
 * numbers each. Only the head may list less than the full number. */
#define LISTED_MAX ((ORDER_SLAB_WORDS - 1) * 2)

/* The record's bytes 24 to 119 are the words 1 to 12: times, currency, bank code, partner code and
 * most of the partner's order id. Word 13 has the last four bytes of that and the payment type. */
#define BLOCK_OFFSET 24
#define BLOCK_WORDS 12
#define TAIL_OFFSET (BLOCK_OFFSET + BLOCK_WORDS * 8)
_Static_assert(TAIL_OFFSET + 4 == ORDER_RECORD_CRC_OFFSET, "the tail ends at the CRC");

bool order_slab_init(struct order_slab *slab, uint32_t capacity) {
    *slab = (struct order_slab){.capacity = capacity, .free_head = ORDER_SLAB_NONE};
    slab->entries = pages_reserve((size_t)capacity * sizeof(*slab->entries));
    return slab->entries != NULL;
}

void order_slab_deinit(struct order_slab *slab) {
    pages_release(slab->entries, (size_t)slab->capacity * sizeof(*slab->entries));
}

void order_slab_populate(struct order_slab *slab) {
    pages_populate(slab->entries, (size_t)slab->capacity * sizeof(*slab->entries));
}

void order_slab_clear(struct order_slab *slab) {
    pages_clear(slab->entries, (size_t)slab->capacity * sizeof(*slab->entries));
    slab->untouched = 0;
    slab->free_head = ORDER_SLAB_NONE;
    slab->free_in_head = 0;
    slab->used = 0;
}

static inline uint64_t load(const _Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void store(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static uint32_t listed(const struct order_cold *list, uint32_t at) {
    return (uint32_t)(load(&list->words[1 + at / 2]) >> (at % 2 * 32));
}

static void set_listed(struct order_cold *list, uint32_t at, uint32_t entry) {
    _Atomic uint64_t *word = &list->words[1 + at / 2];
    uint64_t shift = at % 2 * 32;
    store(word, (load(word) & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)entry << shift);
}

uint32_t order_slab_take(struct order_slab *slab) {
    uint32_t entry = ORDER_SLAB_NONE;
    if (slab->free_head != ORDER_SLAB_NONE) {
        const struct order_cold *list = &slab->entries[slab->free_head];
        if (slab->free_in_head > 0) {
            entry = listed(list, --slab->free_in_head);
        } else {
            entry = slab->free_head;
            slab->free_head = (uint32_t)load(&list->words[0]);
            slab->free_in_head = LISTED_MAX;
        }
    } else if (slab->untouched < slab->capacity) {
        entry = slab->untouched++;
    }
    slab->used += entry != ORDER_SLAB_NONE ? 1 : 0;
    return entry;
}

void order_slab_give_back(struct order_slab *slab, uint32_t entry) {
    assert(entry < slab->capacity && slab->used > 0);
    slab->used--;
    if (slab->free_head != ORDER_SLAB_NONE && slab->free_in_head < LISTED_MAX) {
        set_listed(&slab->entries[slab->free_head], slab->free_in_head++, entry);
        return;
    }
    store(&slab->entries[entry].words[0], slab->free_head);
    slab->free_head = entry;
    slab->free_in_head = 0;
}

void order_cold_store(struct order_cold *cold, const struct order_record *record) {
    const char *bytes = (const char *)record;
    store(&cold->words[0], record->amount);
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        store(&cold->words[1 + i], bytes_load_u64(bytes + BLOCK_OFFSET + i * 8));
    }
    uint64_t tail = bytes_load_u32(bytes + TAIL_OFFSET);
    store(&cold->words[1 + BLOCK_WORDS], tail | (uint64_t)record->payment_type << 32);
}

void order_cold_load(const struct order_cold *cold, struct order_record *record) {
    char *bytes = (char *)record;
    record->amount = load(&cold->words[0]);
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        bytes_store_u64(bytes + BLOCK_OFFSET + i * 8, load(&cold->words[1 + i]));
    }
    uint64_t tail = load(&cold->words[1 + BLOCK_WORDS]);
    bytes_store_u32(bytes + TAIL_OFFSET, (uint32_t)tail);
    record->payment_type = (uint8_t)(tail >> 32);
    record->format = ORDER_RECORD_FORMAT;
}
