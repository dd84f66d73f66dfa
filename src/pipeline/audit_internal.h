/** The inside of the checker, shared by its files: audit.c (the turn of its halves, suspects),
 *  audit_walk.c (whom to look at), audit_look.c (the looks and what follows from them),
 *  audit_repair.c (repairs) and audit_samples.c (changes that are followed).
 *  @thread the one that drives it. */
#ifndef ORDERD_PIPELINE_AUDIT_INTERNAL_H
#define ORDERD_PIPELINE_AUDIT_INTERNAL_H

#include "pipeline/audit.h"
#include "pipeline/pace.h"

#define AUDIT_BATCH_MAX 256
#define AUDIT_SUSPECTS_MAX 1024
#define AUDIT_SAMPLES_MAX 1024
#define AUDIT_READ_MAX 512
#define AUDIT_POLL_MAX 256
#define AUDIT_RECHECKS_MAX 64
#define AUDIT_SEEN_MAX 4096 /* a power of two */
#define AUDIT_KEY_BYTES 20
#define AUDIT_LABEL_BYTES 96
_Static_assert(AUDIT_BATCH_MAX <= QUERY_VIEW_BATCH_MAX && AUDIT_POLL_MAX <= QUERY_VIEW_BATCH_MAX,
               "a query instance is asked for a whole batch");

/* Of the orders that the cache need not have, the share that a round asks the instances for. */
#define AUDIT_UNCACHED_SHARE 16

#define AUDIT_FAILURE_PAUSE_US 500000
#define AUDIT_BUSY_PAUSE_US 10000
/* How long changes are not awaited from a query instance that did not answer. */
#define AUDIT_SILENCE_PAUSE_US 1000000
/* How long an alarm rests until it is looked at again. */
#define AUDIT_ALARM_PAUSE_US INT64_C(300000000)

/** An order on which tiers disagree. */
struct audit_suspect {
    bool used;
    bool alarmed;      /* counted, and cannot be repaired, or that does not go through */
    bool owes_message; /* repaired, but the query instances do not know */
    bool told;         /* the query instances were, at least once */
    uint8_t attempts;  /* repairs that did not go through */
    uint8_t silences;  /* looks that the instances in question did not answer, one after another */
    audit_kinds kinds; /* that the first look saw, less those that are repaired */
    audit_kinds counted; /* that a second look confirmed */
    int64_t found_us;
    int64_t due_us; /* of the next look */
    struct audit_evidence evidence;
    struct audit_view first;
};

/** An order of the batch that is being looked at. */
struct audit_subject {
    struct audit_suspect *suspect; /* NULL: nothing is known against it */
    struct audit_evidence evidence;
    struct audit_view view;
    audit_kinds due;  /* to be repaired now */
    audit_kinds done; /* repaired: of these; or the instances answer something else by now */
    bool tells;       /* the query instances are to be told */
    bool told;
};

/** What happens to a batch, in this order; each is one request, or none where no order needs it. */
enum audit_phase {
    AUDIT_PICK, /* no batch in hand */
    AUDIT_LOOK_CACHE,
    AUDIT_LOOK_STORE,
    AUDIT_LOOK_ARCHIVE,
    AUDIT_LOOK_ROWS,      /* when doubtful rows were written, one after the other */
    AUDIT_LOOK_INSTANCES, /* one query instance after the other */
    AUDIT_JUDGE,
    AUDIT_REMOVE, /* forged entries */
    AUDIT_READ_STORE,
    AUDIT_READ_ARCHIVE,
    AUDIT_PUT,
    AUDIT_ROWS, /* of the archive, one after the other */
    AUDIT_RELEASE,
    AUDIT_TELL,
    AUDIT_CONCLUDE
};

/** What one request of the walk works on. */
struct audit_hand {
    size_t count;
    struct audit_subject *subjects[AUDIT_BATCH_MAX];
    uint64_t ids[AUDIT_BATCH_MAX];
    struct order_record orders[AUDIT_BATCH_MAX];
    uint8_t results[AUDIT_BATCH_MAX];
};

enum audit_row_step { AUDIT_ROW_LOOK, AUDIT_ROW_WRITE };

/** The row of the archive that is being looked at or repaired. */
struct audit_row {
    size_t index; /* of the subject */
    enum audit_row_step step;
    size_t writes; /* of this row, so far */
    struct archive_row_look look;
    struct archive_row_write write;
};

enum audit_stretch {
    AUDIT_STRETCH_OPEN,
    AUDIT_STRETCH_FINAL,
    AUDIT_STRETCH_REFERENCES,
    AUDIT_STRETCH_LOG,
    AUDIT_STRETCH_COUNT
};

/** Whom to look at next: the stretches of a round, a slice of each in turn. */
struct audit_walk {
    enum audit_stretch next;
    bool ended[AUDIT_STRETCH_COUNT];
    uint64_t cursors[AUDIT_STRETCH_COUNT];
    struct pace pace;
    int64_t round_at_us;
    struct order_scan_batch scan;
    struct change_read_batch read;
    struct change_cursor goal; /* the log's end when the round began */
    struct order_record orders[AUDIT_BATCH_MAX];
    uint64_t positions[AUDIT_BATCH_MAX];
    uint8_t parts[AUDIT_BATCH_MAX];
};

/** A change that is awaited in one tier, or from one query instance. */
struct audit_wait {
    bool waits;
    bool asked; /* by a poll that is under way */
    bool known; /* the tier has answered */
    int64_t next_us;
};

/** A change that is followed until all that should have it have it. */
struct audit_sample {
    size_t wait_count; /* 0: free */
    struct audit_wait waits[AUDIT_TIER_COUNT];
    struct order_record order;
};

struct audit_poll {
    bool busy;
    enum audit_tier tier;
    int64_t due_us;          /* no wait is due before this; INT64_MAX: there is none */
    int64_t silent_until_us; /* of a query instance that did not answer: not awaited before */
    struct audit *audit;
    struct order_get_batch get;
    struct audit_sample *samples[AUDIT_POLL_MAX];
    uint64_t ids[AUDIT_POLL_MAX];
    struct order_record orders[AUDIT_POLL_MAX];
    uint8_t results[AUDIT_POLL_MAX];
};

struct audit_seen {
    uint64_t order_id;
    uint32_t version;
};

struct audit_samples {
    bool begun; /* the cursor stands */
    bool reading;
    int64_t read_at_us;
    int64_t window_end_us; /* of the allowance */
    uint64_t allowance;
    size_t used;
    size_t late_used; /* of these, those that wait for the archive: half of them at most */
    struct change_read_batch read;
    struct order_record orders[AUDIT_READ_MAX];
    uint64_t positions[AUDIT_READ_MAX];
    uint8_t parts[AUDIT_READ_MAX];
    struct audit_poll polls[AUDIT_TIER_COUNT];
    struct audit_sample samples[AUDIT_SAMPLES_MAX];
    struct audit_seen seen[AUDIT_SEEN_MAX];
};

struct audit {
    struct audit_parts parts;
    int64_t grace_us;
    int64_t two_homes_us;
    struct audit_metrics metrics;
    struct audit_kind_metrics kinds[AUDIT_KIND_COUNT];
    struct audit_tier_metrics tiers[AUDIT_TIER_COUNT];
    struct audit_instance_metrics instances[QUERY_VIEWS_MAX];
    char labels[AUDIT_KIND_COUNT + AUDIT_TIER_COUNT + QUERY_VIEWS_MAX][AUDIT_LABEL_BYTES];

    /* the walk */
    bool busy;
    int64_t wake_at_us; /* not before, after a failure */
    int64_t due_us;     /* no suspect is due before this */
    enum audit_phase phase;
    size_t instance; /* that is asked in AUDIT_LOOK_INSTANCES */
    struct audit_walk walk;
    size_t subject_count;
    struct audit_subject subjects[AUDIT_BATCH_MAX];
    struct audit_hand hand;
    struct order_get_batch get;
    struct order_cache_put put;
    struct order_release_batch release;
    struct topic_publish publish;
    struct topic_message messages[AUDIT_BATCH_MAX];
    char keys[AUDIT_BATCH_MAX][AUDIT_KEY_BYTES];
    struct audit_row row;
    size_t lines; /* logged of this batch */
    struct audit_suspect suspects[AUDIT_SUSPECTS_MAX];
    size_t recheck_count;
    struct order_record rechecks[AUDIT_RECHECKS_MAX]; /* changes that did not arrive */

    struct audit_samples samples;
};

/* --- audit.c --- */

/** A place for a suspect, or the one that the order has; NULL where all are taken. */
struct audit_suspect *audit_suspect_for(struct audit *audit, uint64_t order_id);
void audit_suspect_free(struct audit *audit, struct audit_suspect *suspect);
void audit_suspect_due(struct audit *audit, struct audit_suspect *suspect, int64_t due_us);

/** How long a disagreement of these kinds rests until it is looked at again. */
int64_t audit_wait_us(const struct audit *audit, audit_kinds kinds);

/** A tier did not answer: the walk rests for a moment. */
void audit_note_failure(struct audit *audit);

/* --- audit_walk.c --- */

void audit_walk_prepare(struct audit *audit);

/** Fills the batch with suspects that are due, or with changes that did not arrive; else asks for a
 *  slice of the walk. Returns when it can be called again: now, where it did something. */
int64_t audit_pick(struct audit *audit, int64_t now_us);

/* --- audit_look.c --- */

void audit_look_prepare(struct audit *audit);

/** Submits the request of the present phase, passing over phases that have none. */
enum port_submit audit_look_begin(struct audit *audit);

/** Collects what the present phase works on. */
void audit_hand_add(struct audit *audit, struct audit_subject *subject,
                    const struct order_record *order);

/* --- audit_repair.c --- */

void audit_repair_prepare(struct audit *audit);

/** As audit_look_begin, for the phases from AUDIT_REMOVE to AUDIT_CONCLUDE. */
enum port_submit audit_repair_begin(struct audit *audit);

/** Counts disagreements that are no more, and says what took the place of what. */
void audit_note_repaired(struct audit *audit, const struct audit_subject *subject,
                         audit_kinds kinds);

/** Notes what a disagreement was, once. */
void audit_trace(struct audit *audit, const struct audit_subject *subject, audit_kinds kinds);

/* --- audit_samples.c --- */

void audit_samples_prepare(struct audit *audit);
int64_t audit_samples_step(struct audit *audit, int64_t now_us);
bool audit_samples_are_busy(const struct audit *audit);
void audit_samples_rest(struct audit *audit);

#endif
