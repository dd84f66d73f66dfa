/** The offline check of an embedded data directory: reads all of it and holds every part against
 *  the others. Never writes, and keeps the service out meanwhile by its own lock.
 *
 *  In this order: the journal's frames up to the checkpoint's position, the checkpoint, the frames
 *  behind it (verify_journal.h); then the archive and its references (verify_archive.h). What is
 *  known of each order meanwhile is 32 bytes (verify_orders.h).
 *
 *  What it finds goes into a report: damage is a finding, of which the first ones are kept whole
 *  and all are counted. One thread. */
#ifndef ORDERD_ORDERCTL_VERIFY_H
#define ORDERD_ORDERCTL_VERIFY_H

#include "base/fault.h"
#include "order/record.h"

#define VERIFY_FINDINGS_MAX 100
#define VERIFY_FILE_MAX 64
#define VERIFY_TEXT_MAX 320

/** What can be wrong: the value, its name for machines. */
#define VERIFY_KINDS(X)                                                                            \
    X(SEGMENT_DAMAGED, "segment_damaged")                                                          \
    X(FRAMES_MISSING, "frames_missing")                                                            \
    X(CHANGES_MISSING, "changes_missing")                                                          \
    X(RECORD_INVALID, "record_invalid")                                                            \
    X(SLOT_WRONG, "slot_wrong")                                                                    \
    X(VERSION_WRONG, "version_wrong")                                                              \
    X(MOVE_ILLEGAL, "move_illegal")                                                                \
    X(FINAL_CHANGED, "final_changed")                                                              \
    X(CONTENT_CHANGED, "content_changed")                                                          \
    X(RELEASE_WRONG, "release_wrong")                                                              \
    X(CHECKPOINT_DAMAGED, "checkpoint_damaged")                                                    \
    X(CHECKPOINT_CONTRADICTS, "checkpoint_contradicts")                                            \
    X(ORDER_LOST, "order_lost")                                                                    \
    X(ARCHIVE_UNREADABLE, "archive_unreadable")                                                    \
    X(ARCHIVE_MISSING, "archive_missing")                                                          \
    X(HOMES_DIFFER, "homes_differ")                                                                \
    X(REFERENCE_MISSING, "reference_missing")                                                      \
    X(REFERENCE_ORPHANED, "reference_orphaned")                                                    \
    X(REFERENCE_TWICE, "reference_twice")                                                          \
    X(FILTER_WRONG, "filter_wrong")

enum verify_kind {
#define X(name_, text_) VERIFY_##name_,
    VERIFY_KINDS(X)
#undef X
        VERIFY_KIND_COUNT
};

struct verify_finding {
    enum verify_kind kind;
    char file[VERIFY_FILE_MAX]; /* within the data directory; empty where it is no one file */
    uint64_t offset;            /* 0 where there is none */
    uint64_t order_id;          /* 0 where it is about no order */
    char text[VERIFY_TEXT_MAX];
};

struct verify_report {
    /* What there is: */
    uint64_t segments;
    uint64_t segment_bytes;
    uint64_t frames;
    uint64_t changes;  /* records in them */
    uint64_t releases; /* orders that left, in them */
    uint64_t first_sequence;
    uint64_t last_sequence;
    uint64_t checkpoint_sequence; /* 0: there is none */
    uint64_t checkpoint_orders;
    uint64_t hot; /* in the journal's state, not released */
    uint64_t hot_by_status[ORDER_STATUS_COUNT];
    uint64_t archived;
    uint64_t archived_by_status[ORDER_STATUS_COUNT];
    uint64_t references;
    uint64_t in_transit; /* hot and archived, with equal bytes */
    bool torn;           /* the journal ends in a frame that was never acknowledged */
    char torn_file[VERIFY_FILE_MAX];
    uint64_t torn_offset;
    bool locked; /* false: there is no lock file, as in a copy */
    /* What is wrong: */
    uint64_t finding_count;
    uint64_t counts[VERIFY_KIND_COUNT];
    size_t kept; /* of `findings` */
    struct verify_finding findings[VERIFY_FINDINGS_MAX];
};

struct verify_options {
    const char *data_dir;
    int64_t window_us; /* the service's idempotency window */
    int64_t now_us;    /* wall clock */
};

enum verify_status {
    VERIFY_CLEAN,
    VERIFY_DAMAGED,
    VERIFY_IN_USE,     /* another process has the directory */
    VERIFY_UNREADABLE, /* no data directory, or it cannot be read at all */
};

/** Checks the whole directory. Of IN_USE and UNREADABLE the reason is in `fault`. */
MUST_CHECK enum verify_status verify_run(const struct verify_options *options,
                                         struct verify_report *report, struct fault *fault);

const char *verify_kind_name(enum verify_kind kind);

/** Adds a finding. @param file may be NULL. */
void verify_note(struct verify_report *report, enum verify_kind kind, const char *file,
                 uint64_t offset, uint64_t order_id, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

#endif
