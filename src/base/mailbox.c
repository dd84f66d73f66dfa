#include "base/mailbox.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool mailbox_init(struct mailbox *mailbox, size_t capacity) {
    atomic_init(&mailbox->sleeping, 0);
    atomic_init(&mailbox->woken, 0);
    mailbox->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (mailbox->event_fd < 0) {
        return false;
    }
    if (!ring_init(&mailbox->ring, capacity)) {
        (void)close(mailbox->event_fd);
        return false;
    }
    return true;
}

void mailbox_deinit(struct mailbox *mailbox) {
    ring_deinit(&mailbox->ring);
    (void)close(mailbox->event_fd);
}

static void wake_sleeper(struct mailbox *mailbox) {
    /* Orders the caller's push before the look at `sleeping`; the owner does the reverse. So
     * either the sender sees the flag or the owner sees the item. */
    if (atomic_fetch_add_explicit(&mailbox->sleeping, 0, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&mailbox->sleeping, 0, memory_order_seq_cst) != 0) {
        uint64_t one = 1;
        ssize_t written = write(mailbox->event_fd, &one, sizeof(one));
        (void)written; /* EAGAIN: the counter is at its limit, so it is readable already */
    }
}

bool mailbox_send(struct mailbox *mailbox, void *item) {
    if (!ring_push(&mailbox->ring, item)) {
        return false;
    }
    wake_sleeper(mailbox);
    return true;
}

void mailbox_wake(struct mailbox *mailbox) {
    /* The ring shows nothing of what the caller changed: an owner that has looked for that already,
     * and does not sleep yet, learns of it here. */
    atomic_store_explicit(&mailbox->woken, 1, memory_order_seq_cst);
    wake_sleeper(mailbox);
}

bool mailbox_prepare_sleep(struct mailbox *mailbox) {
    atomic_exchange_explicit(&mailbox->sleeping, 1, memory_order_seq_cst);
    return ring_count(&mailbox->ring) == 0 &&
           atomic_exchange_explicit(&mailbox->woken, 0, memory_order_seq_cst) == 0;
}

void mailbox_end_sleep(struct mailbox *mailbox) {
    atomic_store_explicit(&mailbox->sleeping, 0, memory_order_seq_cst);
    uint64_t count;
    ssize_t got = read(mailbox->event_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: nobody had to wake us */
}

void mailbox_wait(struct mailbox *mailbox, int timeout_ms) {
    if (mailbox_prepare_sleep(mailbox)) {
        struct pollfd poller = {.fd = mailbox->event_fd, .events = POLLIN, .revents = 0};
        (void)poll(&poller, 1, timeout_ms);
    }
    mailbox_end_sleep(mailbox);
}
