/** Where one thread receives work or finished work: a ring and a way to wake the owner.
 *
 *  The owner drains with mailbox_take; before it sleeps it calls mailbox_prepare_sleep, and sleeps
 *  only where that says so. Senders write to the eventfd only when the owner sleeps, so under load
 *  nobody makes a system call. In the simulator nobody sleeps and the descriptor stays unused. */
#ifndef ORDERD_BASE_MAILBOX_H
#define ORDERD_BASE_MAILBOX_H

#include "base/ring.h"

struct mailbox {
    struct ring ring;
    int event_fd;              /* owned; readable when the owner should wake */
    _Atomic uint32_t sleeping; /* set by the owner, cleared by the first sender */
    _Atomic uint32_t woken;    /* without an item; cleared by the owner before it sleeps */
};

/** @param capacity how many items may wait at once: an owner that bounds what it has outstanding
 *  never meets a full box. */
MUST_CHECK bool mailbox_init(struct mailbox *mailbox, size_t capacity);
void mailbox_deinit(struct mailbox *mailbox);

/** False when the box is full. Wakes the owner where needed. @thread any. */
MUST_CHECK bool mailbox_send(struct mailbox *mailbox, void *item);

/** Wakes the owner without an item, or keeps it from its next sleep: it looks once more at whatever
 *  the caller changed before. @thread any. */
void mailbox_wake(struct mailbox *mailbox);

/** The next item, or NULL. @thread the owner. */
static inline void *mailbox_take(struct mailbox *mailbox) {
    return ring_pop(&mailbox->ring);
}

/** True when the box is empty, nobody called mailbox_wake since the last time, and the owner may
 * sleep until event_fd is readable; after that, or when it decides otherwise, it calls
 * mailbox_end_sleep. @thread the owner. */
MUST_CHECK bool mailbox_prepare_sleep(struct mailbox *mailbox);
void mailbox_end_sleep(struct mailbox *mailbox);

/** Sleeps until an item or a wake comes, at most `timeout_ms`. @thread the owner. */
void mailbox_wait(struct mailbox *mailbox, int timeout_ms);

#endif
