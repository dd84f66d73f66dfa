/** The segments that exist, oldest first, with the change at which each begins: what the event log
 *  needs to find a change, and the keeper to know what may go.
 *
 *  Changed seldom (a segment is begun or removed), so a mutex guards it. @thread any. */
#ifndef ORDERD_ADAPTER_EMBEDDED_SEGMENT_LIST_H
#define ORDERD_ADAPTER_EMBEDDED_SEGMENT_LIST_H

#include "base/bytes.h"

#include <pthread.h>

struct segment_entry {
    uint64_t number;
    uint64_t size_bytes;
    uint64_t first_sequence; /* of the first frame in it */
    uint64_t first_change;   /* number of the first change in it or after it */
};

struct segment_list {
    pthread_mutex_t mutex;
    struct segment_entry *entries; /* guarded by mutex, owned */
    size_t count;                  /* guarded by mutex */
    size_t capacity;               /* guarded by mutex */
    uint64_t bytes;                /* guarded by mutex: sum of sizes */
};

void segment_list_init(struct segment_list *list);
void segment_list_deinit(struct segment_list *list);

/** Adds the newest segment. False where memory is short. */
MUST_CHECK bool segment_list_add(struct segment_list *list, struct segment_entry entry);

/** Copies the oldest segment; false where there is none. */
MUST_CHECK bool segment_list_oldest(struct segment_list *list, struct segment_entry *entry);

/** Forgets the oldest segment, which is `number`. */
void segment_list_remove_oldest(struct segment_list *list, uint64_t number);

/** The last segment that begins at or before `change`; false where the oldest begins later. */
MUST_CHECK bool segment_list_find_change(struct segment_list *list, uint64_t change,
                                         struct segment_entry *entry);

/** The segment after `number`; false where that is the newest. */
MUST_CHECK bool segment_list_after(struct segment_list *list, uint64_t number,
                                   struct segment_entry *entry);

/** True where every frame of the oldest segment comes before `sequence` and it is not the
 *  newest. */
MUST_CHECK bool segment_list_oldest_is_before(struct segment_list *list, uint64_t sequence,
                                              struct segment_entry *entry);

uint64_t segment_list_bytes(struct segment_list *list);
size_t segment_list_count(struct segment_list *list);

#endif
