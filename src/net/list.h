/** Intrusive doubly linked lists: the node sits in the owner's struct, so linking allocates nothing
 *  and unlinking needs no search. A zeroed node is unlinked.
 *  One thread at a time. */
#ifndef ORDERD_NET_LIST_H
#define ORDERD_NET_LIST_H

#include "base/bytes.h"

struct list_node {
    struct list_node *previous;
    struct list_node *next;
};

static inline void list_init(struct list_node *list) {
    list->previous = list;
    list->next = list;
}

static inline bool list_is_empty(const struct list_node *list) {
    return list->next == list;
}

static inline bool list_is_linked(const struct list_node *node) {
    return node->next != NULL;
}

/** `node` must not be linked. */
static inline void list_append(struct list_node *list, struct list_node *node) {
    node->previous = list->previous;
    node->next = list;
    list->previous->next = node;
    list->previous = node;
}

/** Nothing happens where `node` is not linked. */
static inline void list_remove(struct list_node *node) {
    if (node->next != NULL) {
        node->previous->next = node->next;
        node->next->previous = node->previous;
        node->previous = NULL;
        node->next = NULL;
    }
}

/** Unlinks the first node; NULL where there is none. */
static inline struct list_node *list_take_first(struct list_node *list) {
    struct list_node *node = list->next;
    if (node == list) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/** Appends all of `from` to `to`, and leaves `from` empty. */
static inline void list_move_all(struct list_node *from, struct list_node *to) {
    if (!list_is_empty(from)) {
        from->next->previous = to->previous;
        to->previous->next = from->next;
        from->previous->next = to;
        to->previous = from->previous;
        list_init(from);
    }
}

#endif
