/** A topic of messages about orders, read by a group of consumers of which each message goes to one
 *  (at least once), and written with acknowledgement. Implemented by adapter/kafka; simulated in
 *  tests.
 *
 *  A reader gets messages of several partitions, each in order. What was read counts as done only
 *  when it is committed: after a crash, or when a partition goes to another member, everything
 *  after the last commit comes again.
 *  @thread any; never blocks; completes on the submitter's mailbox. */
#ifndef ORDERD_PORT_MESSAGE_TOPIC_H
#define ORDERD_PORT_MESSAGE_TOPIC_H

#include "base/bytes.h"
#include "port/port_request.h"

/** One message. What it points to is the topic's until the next read of the same reader, or the
 *  caller's until a publish is done. */
struct topic_message {
    struct slice key; /* the order id in decimal */
    struct slice value;
    struct slice header; /* value of the topic's one header: event, kind or reason */
    int32_t partition;   /* read; publish: -1 lets the topic choose by the key */
    int64_t offset;      /* read */
    int64_t time_us;     /* read: when it was written */
};

/** Reads what is there, waiting for the first message at most `wait_ms`.
 *  Results: FOUND (count may be 0), UNAVAILABLE. */
struct topic_read {
    struct port_request request;
    uint32_t wait_ms;
    size_t limit;
    size_t count;                   /* out */
    struct topic_message *messages; /* out: memory of the caller's, `limit` of them */
    uint8_t result;
    void *next; /* the port's, while it has the request */
};

/** Everything that was read so far is done. Results: STORED, MISMATCH (a partition went to another
 *  member meanwhile: what is its own comes again there), UNAVAILABLE. */
struct topic_commit {
    struct port_request request;
    uint8_t result;
    void *next; /* the port's, while it has the request */
};

/** Results: STORED (acknowledged by the brokers), UNAVAILABLE, UNKNOWN. */
struct topic_publish {
    struct port_request request;
    size_t count;
    const struct topic_message *messages;
    uint8_t *results;
    size_t open; /* the port's, while it has the request */
};

struct topic_reader;
struct topic_writer;

struct topic_reader_ops {
    enum port_submit (*read)(struct topic_reader *reader, struct topic_read *request);
    enum port_submit (*commit)(struct topic_reader *reader, struct topic_commit *request);
};

struct topic_writer_ops {
    enum port_submit (*publish)(struct topic_writer *writer, struct topic_publish *request);
};

/** First member of every implementation. */
struct topic_reader {
    const struct topic_reader_ops *ops;
};

/** First member of every implementation. */
struct topic_writer {
    const struct topic_writer_ops *ops;
};

#endif
