/** What the files of the relay share. relay.c: the lease, the states, the step; relay_slots.c: the
 *  batches and what becomes of them. */
#ifndef ORDERD_PIPELINE_RELAY_INTERNAL_H
#define ORDERD_PIPELINE_RELAY_INTERNAL_H

#include "pipeline/relay.h"

#define RELAY_KEY_BYTES 20 /* an order id in decimal, and a zero byte */

enum relay_state {
    RELAY_WAITING,  /* has no lease */
    RELAY_OPENING,  /* the log, at `read_position`; for a snapshot where that is empty */
    RELAY_SCANNING, /* a snapshot */
    RELAY_FOLLOWING,
    RELAY_HALTED,
    RELAY_LEAVING, /* the lease is lost, or relay_stop: what is under way comes to its end */
    RELAY_STOPPED
};

enum relay_slot_state {
    RELAY_SLOT_FREE,
    RELAY_SLOT_FILLING,
    RELAY_SLOT_FULL, /* to be published */
    RELAY_SLOT_PUBLISHING,
    RELAY_SLOT_DONE /* acknowledged; freed in order */
};

struct relay_slot {
    struct relay *relay;
    enum relay_slot_state state;
    int64_t read_us;                   /* the service clock */
    int64_t retry_us;                  /* FULL: not published before (monotonic) */
    size_t count;                      /* of what was read */
    char position[LEASE_POSITION_MAX]; /* after it; empty where no transaction ended */
    struct topic_publish publish;
    struct order_record orders[RELAY_BATCH_MAX];
    int64_t committed_us[RELAY_BATCH_MAX];
    struct topic_message messages[RELAY_BATCH_MAX];
    char keys[RELAY_BATCH_MAX][RELAY_KEY_BYTES];
    uint8_t results[RELAY_BATCH_MAX];
};

struct relay {
    struct relay_parts parts;
    struct relay_metrics metrics;
    enum relay_state state;
    _Atomic uint32_t is_halted;
    bool stopping;
    int64_t stop_until_us;
    int64_t wake_at_us;     /* not opening, scanning or reading before (monotonic) */
    int64_t complain_at_us; /* while halted: the next line in the log */

    /* The lease. */
    bool lease_busy; /* acquire or release is under way */
    bool releasing;
    int64_t held_until_us; /* 0: not held */
    int64_t renew_at_us;
    bool row_has_position; /* the lease's row, as far as this relay knows */
    bool row_had_position; /* the same when the lease was last asked for */
    struct lease_request lease;

    /* The position. `acknowledged`: everything up to it is published. */
    bool position_busy;
    bool has_unstored; /* something was published since the last one was stored */
    int64_t store_at_us;
    char acknowledged[LEASE_POSITION_MAX];
    char read_position[LEASE_POSITION_MAX]; /* the last commit that was read: where to open again */
    struct lease_position position;

    /* Filling: one of opening, reading and scanning at a time. */
    bool filling;
    struct change_source_open open;
    struct change_source_read read;
    struct order_scan_batch scan;

    /* A ring: the oldest slot that is in use is `first`. */
    size_t first;
    size_t used;
    size_t publishing;
    struct relay_slot slots[RELAY_SLOTS_MAX];
};

static inline int64_t relay_now_us(const struct relay *relay) {
    return clock_now_us(relay->parts.monotonic);
}

static inline struct relay_slot *relay_slot_at(struct relay *relay, size_t index) {
    return &relay->slots[(relay->first + index) % RELAY_SLOTS_MAX];
}

/** Sets the requests of the slots up. */
void relay_slots_init(struct relay *relay);

/** Begins to read or scan into a free slot where there is one. */
void relay_fill(struct relay *relay);

/** Publishes every batch that is due. Returns when the next one is. */
int64_t relay_publish_due(struct relay *relay);

/** Forgets what was read: the lease is gone. Nothing may be under way. */
void relay_slots_clear(struct relay *relay);

/** The log or the store ended what was being done. */
void relay_note_failure(struct relay *relay, enum change_source_result result);

/** A snapshot has everything. */
void relay_end_scan(struct relay *relay);

#endif
