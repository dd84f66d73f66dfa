/** Every committed change, in the order of commit for each order, for whoever follows: the event
 *  streams and, in a cluster, the pipelines.
 *
 *  Implemented by adapter/embedded (a cursor over the journal: one part, total order, each change
 *  once) and, for clusters, by adapter/kafka (topic `orders.changes`: a part is a partition; at
 *  least once, so readers drop versions that they have seen). `publish` is the relay's; the
 *  embedded log has none, since the journal is the log.
 *
 *  A cursor names the last change that was seen, a number a part. Its text form goes to clients,
 *  to whom it is opaque.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_CHANGE_LOG_H
#define ORDERD_PORT_CHANGE_LOG_H

#include "base/text.h"
#include "order/record.h"
#include "port/port_request.h"

#define CHANGE_LOG_PARTS_MAX 32
#define CHANGE_CURSOR_TEXT_MAX 704 /* 32 parts of up to 20 digits, and separators */

/** The position after which to read, a part; 0: from the oldest that is kept. */
struct change_cursor {
    uint32_t parts;
    uint64_t positions[CHANGE_LOG_PARTS_MAX];
};

enum change_read_result {
    CHANGE_READ_OK,
    CHANGE_READ_GONE,    /* the position is no longer kept */
    CHANGE_READ_INVALID, /* the log never had that position */
    CHANGE_READ_UNAVAILABLE
};

struct change_read_batch {
    struct port_request request;
    struct change_cursor after; /* out: after the last one read */
    size_t limit;
    size_t count; /* out; 0 with OK: nothing new */
    struct order_record *orders;
    uint64_t *positions; /* out: of each change */
    uint8_t *parts;      /* out: of each change */
    enum change_read_result result;
    void *next; /* the port's, while it has the request */
};

/** Where the log ends: every change that was in it when this was submitted is at or before `end`.
 *  Unlike `newest`, which is what this process has heard of, it is asked of the log itself.
 *  Results: OK, UNAVAILABLE. */
struct change_end {
    struct port_request request;
    struct change_cursor end; /* out */
    enum change_read_result result;
};

struct change_publish_batch {
    struct port_request request;
    size_t count;
    const struct order_record *orders;
    uint8_t *results; /* STORED, UNAVAILABLE */
};

/** Somebody who wants to be woken when there is something new. The owner switches `active` on and
 *  off; the log wakes `mailbox` while it is on. Registered once, before the threads start. */
struct change_watch {
    struct mailbox *mailbox;
    _Atomic uint32_t active;
};

struct change_log;

struct change_log_ops {
    enum port_submit (*read)(struct change_log *log, struct change_read_batch *batch);
    enum port_submit (*publish)(struct change_log *log, struct change_publish_batch *batch);
    /** The position after the newest change. */
    void (*newest)(struct change_log *log, struct change_cursor *cursor);
    void (*watch)(struct change_log *log, struct change_watch *watch);
    /** NULL where the log is the process's own, and `newest` is the truth. */
    enum port_submit (*end)(struct change_log *log, struct change_end *request);
};

/** First member of every implementation. */
struct change_log {
    const struct change_log_ops *ops;
};

/** Appends the cursor's text: the positions in decimal, with dots between. */
void change_cursor_format(const struct change_cursor *cursor, struct text *out);

/** Reads a cursor of a log with `parts` parts; "0" is the oldest in any log. False where the text
 *  is none. */
MUST_CHECK bool change_cursor_parse(struct slice text, uint32_t parts,
                                    struct change_cursor *cursor);

#endif
