/** The inside of the Cassandra archive, shared by its files: cassandra_archive.c (submission,
 *  thread), archive_intake.c (requests into groups), archive_send.c (groups into frames) and
 *  archive_answer.c (answers into results).
 *  @thread the archive's, but where it says otherwise. */
#ifndef ORDERD_ADAPTER_CASSANDRA_ARCHIVE_INTERNAL_H
#define ORDERD_ADAPTER_CASSANDRA_ARCHIVE_INTERNAL_H

#include "adapter/cassandra/cassandra_repair.h"

#define ARCHIVE_BUCKETS 4096
#define ARCHIVE_NONE UINT32_MAX

/** port_request.operation. */
enum archive_operation {
    ARCHIVE_PUT = 1,
    ARCHIVE_GET,
    ARCHIVE_LOOK,
    ARCHIVE_WRITE,
    ARCHIVE_DELETE
};

/** A request that was taken and has orders that are not done. */
struct archive_work {
    struct port_request *request;
    uint32_t count;
    uint32_t open; /* orders that are not done; free: the next free one */
};

/** One order of a request. */
struct archive_item {
    uint64_t order_id;
    uint32_t work;
    uint32_t index; /* in the request's arrays */
    uint32_t next;  /* of its group, or the next free one */
};

/** First in, first out; what comes again goes to the front. */
struct archive_queue {
    struct archive_group *first;
    struct archive_group *last;
};

/** Orders of one partition that travel together. It waits, then is in flight, and where that does
 *  not end well it waits again.
 *
 *  Nodes slow down where several requests write to one partition at once, so a write waits behind
 *  those of its partition that are in flight, outside of the queue: in `behind` of one of them.
 *  What is there has no earlier deadline than the one in front, so it needs no watching. */
struct archive_group {
    struct archive_group *next;        /* in its queue, or the next free one */
    struct archive_group *next_same;   /* in its bucket, while it takes more in or writes */
    struct cassandra_line *line;       /* in flight */
    const struct cassandra_host *host; /* that was asked last */
    struct archive_queue behind;
    int64_t deadline_us;
    int64_t sent_us;
    struct cassandra_partition partition;
    uint32_t first; /* item */
    uint32_t last;
    uint32_t count;
    uint8_t operation;
    uint8_t attempts;
    uint8_t unprepared; /* how often a node had forgotten the statement */
    bool open;          /* takes more in */
    bool uncertain;     /* a write that may have been carried out */
};

/** Less time than this is not worth a request: it would come to nothing, and in an overload only
 * add to it. */
static inline int64_t archive_attempt_us_min(const struct cassandra_terms *terms) {
    return terms->attempt_timeout_us / 4;
}

/** For sorting the items of a read. */
struct archive_key {
    uint64_t order_id;
    uint32_t item;
};

struct cassandra_archive {
    struct order_archive port;
    struct archive_repair repair;
    struct mailbox inbox;
    _Atomic uint64_t outstanding; /* orders submitted and not done; any thread */
    struct cassandra_terms terms;
    struct cassandra_statements statements;
    struct log *log;
    struct cassandra_hosts hosts;

    struct archive_work *works; /* owned, as the arrays below: terms.queue_orders each */
    struct archive_item *items;
    struct archive_group *groups;
    uint32_t free_work;
    uint32_t free_item;
    struct archive_group *free_group;
    struct archive_group *open_groups[ARCHIVE_BUCKETS];
    struct archive_group *writing_groups[ARCHIVE_BUCKETS]; /* puts in flight */
    struct archive_queue reads;
    struct archive_queue writes;
    struct archive_key *keys; /* owned: terms.select_ids_max */
    int64_t now_us;           /* of this step */

    struct log_limit error_limit;
    struct cassandra_metrics metrics;
    pthread_t thread;
    _Atomic uint32_t closing;
};

static inline bool archive_is_write(uint8_t operation) {
    return operation == ARCHIVE_PUT || operation == ARCHIVE_WRITE || operation == ARCHIVE_DELETE;
}

static inline struct archive_queue *archive_queue_of(struct cassandra_archive *archive,
                                                     const struct archive_group *group) {
    return archive_is_write(group->operation) ? &archive->writes : &archive->reads;
}

/* archive_intake.c */

/** Takes everything out of the inbox and puts its orders into groups. */
void archive_take_in(struct cassandra_archive *archive);

/** Takes the first group out of the queue. */
struct archive_group *archive_queue_take(struct archive_queue *queue);

/** The group takes nothing more in. */
void archive_close_group(struct cassandra_archive *archive, struct archive_group *group);

/** Puts a group in front of its queue. */
void archive_queue_again(struct cassandra_archive *archive, struct archive_group *group);

/** True where the group must wait for others that write to its partition; it is behind one of them
 *  then, and no longer in the queue, whose first it was. */
MUST_CHECK bool archive_hold_back(struct cassandra_archive *archive, struct archive_group *group);

/** The group is in flight, and no longer so: then what was behind it comes next. */
void archive_begin_flight(struct cassandra_archive *archive, struct archive_group *group);
void archive_end_flight(struct cassandra_archive *archive, struct archive_group *group);

/** One order is done; its request with it, when it was the last one. */
void archive_finish_item(struct cassandra_archive *archive, uint32_t item,
                         enum order_result result);

/** All orders of the group, which is in no queue, are done. */
void archive_finish_group(struct cassandra_archive *archive, struct archive_group *group,
                          enum order_result result);

/** The group's items are done already. */
void archive_free_group(struct cassandra_archive *archive, struct archive_group *group);

/* archive_send.c */

/** The longest request frame under these terms. */
size_t archive_request_bytes(const struct cassandra_terms *terms);

/** Sends what waits, as far as there are streams and room. */
void archive_send(struct cassandra_archive *archive);

/* archive_answer.c */

/** What the connections call when a request is done. */
bool archive_answered(void *context, void *tag, enum cql_outcome outcome,
                      struct cql_response *response);

/** Ends what waits and has too little time left; all that waits, where nobody is there. */
void archive_expire(struct cassandra_archive *archive);

#endif
