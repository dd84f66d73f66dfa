/** The archive of the simulator: an order_archive and a reference_archive in memory that outlives
 *  the process. What it says it has stored it keeps; beyond that it does whatever the ports allow:
 *  answers late and in any order, refuses, does not know, is away for a while, stores a batch in
 *  part, stores it again much later, shows a bad copy before the order is released.
 *
 *  One thread: the simulator's. */
#ifndef ORDERD_TESTS_SIM_ARCHIVE_H
#define ORDERD_TESTS_SIM_ARCHIVE_H

#include "adapter/embedded/reference_archive.h"
#include "base/clock.h"
#include "base/random.h"
#include "port/order_archive.h"

#define SIM_ARCHIVE_BUCKETS 4096
#define SIM_ARCHIVE_PENDING_MAX 256

/** How often something goes wrong, of a million. */
struct sim_archive_rates {
    uint32_t busy;        /* a submission is refused */
    uint32_t unavailable; /* a put, an item of a get, a search */
    uint32_t unknown;     /* a put: with, without or with half of its effect */
    uint32_t bad_copy;    /* an order of a put is stored wrong; the next put of it mends that */
    uint32_t bad_read;    /* an order is read wrong once */
    uint32_t late;        /* a put takes effect once more, much later */
};

struct sim_archive_counts {
    uint64_t refused;     /* with PORT_BUSY */
    uint64_t unavailable; /* answers and searches */
    uint64_t reordered;   /* answers that came before that of an earlier request */
    uint64_t puts;
    uint64_t unknown_puts;
    uint64_t bad_copies;
    uint64_t bad_reads;
    uint64_t late_puts;
    uint64_t references_dropped;
    uint64_t finds;
};

struct sim_archived {
    struct order_record order; /* as it is stored */
    uint64_t reference_hash;
    bool has_reference; /* false: expired and dropped */
    bool is_bad;
    int32_t next_by_id; /* in the chain of its bucket; -1: the last */
    int32_t next_by_reference;
};

struct sim_archive {
    struct order_archive port;
    struct reference_archive references;
    struct random_source random;
    const struct clock *clock;
    struct sim_archive_rates rates;
    int64_t away_until_us; /* before this time nothing is answered but with UNAVAILABLE */
    int64_t expired_before_us;
    void (*preempt)(void *context); /* called while a search waits; may be NULL */
    void *preempt_context;
    struct port_request *pending[SIM_ARCHIVE_PENDING_MAX];
    size_t pending_count;
    struct order_record *late; /* owned: what will be stored once more */
    size_t late_count;
    size_t late_capacity;
    struct sim_archived *orders; /* owned */
    size_t count;
    size_t capacity;
    int32_t by_id[SIM_ARCHIVE_BUCKETS];
    int32_t by_reference[SIM_ARCHIVE_BUCKETS];
    struct sim_archive_counts counts;
};

void sim_archive_init(struct sim_archive *archive, uint64_t seed, const struct clock *clock);
void sim_archive_deinit(struct sim_archive *archive);

/** Answers one of the requests that wait, or does something of its own. False where nothing
 *  waits. */
bool sim_archive_step(struct sim_archive *archive);

/** The process is gone: of the puts that wait, any part is stored; nobody is answered. */
void sim_archive_process_died(struct sim_archive *archive);

/** What is stored for an order; NULL where nothing is. */
const struct order_record *sim_archive_peek(const struct sim_archive *archive, uint64_t order_id);

#endif
