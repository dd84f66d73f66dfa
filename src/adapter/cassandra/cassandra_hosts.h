/** The nodes that are spoken to: a few connections to each, kept up. A connection that breaks is
 *  made again, at once where it had worked for a while, else after a pause that doubles, with some
 *  chance in it so that instances do not come back in step.
 *
 *  A node is up while one of its connections is ready. It is down once an attempt to connect has
 *  failed, and stays so until one succeeds; before the first attempt has ended it is neither, and
 *  what waits for it goes on waiting.
 *
 *  @thread the archive's, but for cassandra_hosts_describe. */
#ifndef ORDERD_ADAPTER_CASSANDRA_CASSANDRA_HOSTS_H
#define ORDERD_ADAPTER_CASSANDRA_CASSANDRA_HOSTS_H

#include "adapter/cassandra/cassandra_options.h"
#include "adapter/cassandra/cassandra_row.h"
#include "base/log.h"
#include "base/random.h"

#include <poll.h>
#include <pthread.h>

/** Makes sockets; tests have one of their own. */
struct cassandra_dialer {
    /** A non-blocking socket that is connected, or on the way there; -1 with the reason. */
    int (*dial)(const struct cassandra_dialer *dialer, const struct cassandra_address *address,
                struct fault *fault);
};

/** The system's TCP sockets. */
extern const struct cassandra_dialer cassandra_dialer_tcp;

enum cassandra_host_state { CASSANDRA_HOST_TRYING, CASSANDRA_HOST_UP, CASSANDRA_HOST_DOWN };

struct cassandra_host {
    const struct cassandra_address *address;
    _Atomic uint32_t state;     /* enum cassandra_host_state; written by the archive's thread */
    struct fault fault;         /* why it is down; guarded by cassandra_hosts.lock */
    struct log_limit log_limit; /* the archive's thread's */
};

enum cassandra_line_state { CASSANDRA_LINE_CLOSED, CASSANDRA_LINE_CONNECTING, CASSANDRA_LINE_OPEN };

/** One connection, its socket, and when to try again. */
struct cassandra_line {
    struct cql_connection connection;
    struct cassandra_host *host;
    enum cassandra_line_state state;
    int fd;           /* owned; -1 while closed */
    bool failed;      /* the last attempt failed */
    bool blocked;     /* the socket takes no more for now */
    bool is_up;       /* it is counted among those that are ready */
    int64_t ready_us; /* since when */
    int64_t retry_us; /* closed: when it is tried again; connecting: when that is given up */
    int64_t pause_us;
    uint32_t writes; /* write requests in flight; the archive's */
};

struct cassandra_hosts {
    const struct cassandra_terms *terms;
    const struct cassandra_dialer *dialer;
    struct log *log;
    struct cassandra_metrics *metrics;
    struct random_source random;
    struct cassandra_host hosts[CASSANDRA_HOSTS_MAX];
    struct cassandra_line *lines; /* owned */
    size_t line_count;
    struct pollfd *polled; /* owned: one a line, and one for the caller */
    size_t next_line;      /* where the search for a connection begins */
    pthread_mutex_t lock;
};

struct cassandra_hosts_setup {
    const struct cassandra_terms *terms;    /* borrowed */
    const struct cql_statement *statements; /* that every connection prepares */
    size_t statement_count;
    const struct cassandra_dialer *dialer;
    struct log *log;
    struct cassandra_metrics *metrics;
    uint64_t seed;
    size_t request_bytes;
    bool (*done)(void *context, void *tag, enum cql_outcome outcome, struct cql_response *response);
    void *context;
};

/** False where memory is short. */
MUST_CHECK bool cassandra_hosts_init(struct cassandra_hosts *hosts,
                                     const struct cassandra_hosts_setup *setup);

/** Closes everything; requests in flight are completed first. */
void cassandra_hosts_deinit(struct cassandra_hosts *hosts);

/** Waits until a socket is ready, `other_fd` is readable, or the time is over. */
void cassandra_hosts_wait(struct cassandra_hosts *hosts, int other_fd, int timeout_ms);

/** Does what the sockets and the time ask for: connects, reads, gives up. */
void cassandra_hosts_step(struct cassandra_hosts *hosts, int64_t now_us);

/** Sends what the connections have to say. */
void cassandra_hosts_flush(struct cassandra_hosts *hosts, int64_t now_us);

/** Before this time, and while no socket is ready, there is nothing to do. */
int64_t cassandra_hosts_next_us(const struct cassandra_hosts *hosts);

/** The connection that has least to do among those that can take a request for `statement` (any
 *  number past the last one: for a request that executes none); one of another node than `avoided`
 * (may be NULL) where there is one. NULL where none can now.
 *  @param is_write writes leave some streams for reads. */
struct cassandra_line *cassandra_hosts_pick(struct cassandra_hosts *hosts, size_t statement,
                                            bool is_write, const struct cassandra_host *avoided);

/** True where every node is known to be down. */
MUST_CHECK bool cassandra_hosts_are_down(const struct cassandra_hosts *hosts);

/** Whether some node is up, and in `fault` which ones do not answer, and why; empty where all do.
 *  @thread any. */
bool cassandra_hosts_describe(struct cassandra_hosts *hosts, struct fault *fault);

#endif
