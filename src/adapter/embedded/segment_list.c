#include "adapter/embedded/segment_list.h"

#include <assert.h>
#include <stdlib.h>

void segment_list_init(struct segment_list *list) {
    *list = (struct segment_list){.entries = NULL};
    (void)pthread_mutex_init(&list->mutex, NULL);
}

void segment_list_deinit(struct segment_list *list) {
    (void)pthread_mutex_destroy(&list->mutex);
    free(list->entries);
}

static bool grow(struct segment_list *list) {
    if (list->count < list->capacity) {
        return true;
    }
    size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
    struct segment_entry *entries = realloc(list->entries, capacity * sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    list->entries = entries;
    list->capacity = capacity;
    return true;
}

bool segment_list_add(struct segment_list *list, struct segment_entry entry) {
    (void)pthread_mutex_lock(&list->mutex);
    assert(list->count == 0 || list->entries[list->count - 1].number < entry.number);
    bool added = grow(list);
    if (added) {
        list->entries[list->count++] = entry;
        list->bytes += entry.size_bytes;
    }
    (void)pthread_mutex_unlock(&list->mutex);
    return added;
}

bool segment_list_oldest(struct segment_list *list, struct segment_entry *entry) {
    (void)pthread_mutex_lock(&list->mutex);
    bool found = list->count > 0;
    if (found) {
        *entry = list->entries[0];
    }
    (void)pthread_mutex_unlock(&list->mutex);
    return found;
}

void segment_list_remove_oldest(struct segment_list *list, uint64_t number) {
    (void)pthread_mutex_lock(&list->mutex);
    assert(list->count > 0 && list->entries[0].number == number);
    list->bytes -= list->entries[0].size_bytes;
    list->count--;
    memmove(list->entries, list->entries + 1, list->count * sizeof(*list->entries));
    (void)pthread_mutex_unlock(&list->mutex);
}

bool segment_list_find_change(struct segment_list *list, uint64_t change,
                              struct segment_entry *entry) {
    (void)pthread_mutex_lock(&list->mutex);
    bool found = false;
    for (size_t i = 0; i < list->count && list->entries[i].first_change <= change; i++) {
        *entry = list->entries[i];
        found = true;
    }
    (void)pthread_mutex_unlock(&list->mutex);
    return found;
}

bool segment_list_after(struct segment_list *list, uint64_t number, struct segment_entry *entry) {
    (void)pthread_mutex_lock(&list->mutex);
    bool found = false;
    for (size_t i = 0; i < list->count && !found; i++) {
        if (list->entries[i].number > number) {
            *entry = list->entries[i];
            found = true;
        }
    }
    (void)pthread_mutex_unlock(&list->mutex);
    return found;
}

bool segment_list_oldest_is_before(struct segment_list *list, uint64_t sequence,
                                   struct segment_entry *entry) {
    (void)pthread_mutex_lock(&list->mutex);
    bool before = list->count > 1 && list->entries[1].first_sequence <= sequence;
    if (before) {
        *entry = list->entries[0];
    }
    (void)pthread_mutex_unlock(&list->mutex);
    return before;
}

uint64_t segment_list_bytes(struct segment_list *list) {
    (void)pthread_mutex_lock(&list->mutex);
    uint64_t bytes = list->bytes;
    (void)pthread_mutex_unlock(&list->mutex);
    return bytes;
}

size_t segment_list_count(struct segment_list *list) {
    (void)pthread_mutex_lock(&list->mutex);
    size_t count = list->count;
    (void)pthread_mutex_unlock(&list->mutex);
    return count;
}
