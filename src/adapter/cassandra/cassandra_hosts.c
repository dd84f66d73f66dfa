#include "adapter/cassandra/cassandra_hosts.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define PAUSE_US_MIN INT64_C(100000)

/* A connection that was ready for less than this counts as one that failed. */
#define STEADY_US INT64_C(1000000)

/* What one step reads from one connection, so that none keeps the others waiting. */
#define READS_A_STEP 4

static int dial_tcp(const struct cassandra_dialer *dialer, const struct cassandra_address *address,
                    struct fault *fault) {
    (void)dialer;
    int on = 1;
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fault_set_errno(fault, errno, "socket");
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* without it: only slower */
    if (connect(fd, (const struct sockaddr *)&address->socket, address->socket_size) != 0 &&
        errno != EINPROGRESS) {
        fault_set_errno(fault, errno, "connect");
        (void)close(fd);
        return -1;
    }
    return fd;
}

const struct cassandra_dialer cassandra_dialer_tcp = {.dial = dial_tcp};

bool cassandra_hosts_init(struct cassandra_hosts *hosts,
                          const struct cassandra_hosts_setup *setup) {
    const struct cassandra_terms *terms = setup->terms;
    size_t line_count = terms->host_count * terms->connections;
    *hosts = (struct cassandra_hosts){
        .terms = terms,
        .dialer = setup->dialer,
        .log = setup->log,
        .metrics = setup->metrics,
        .random = {setup->seed},
        .lines = calloc(line_count, sizeof(struct cassandra_line)),
        .polled = calloc(line_count + 1, sizeof(struct pollfd)),
    };
    (void)pthread_mutex_init(&hosts->lock, NULL);
    struct cql_connection_setup connection = {
        .statements = setup->statements,
        .statement_count = setup->statement_count,
        .user = slice_from_text(terms->user),
        .password = slice_from_text(terms->password),
        .streams = terms->streams,
        .request_bytes = setup->request_bytes,
        .answer_wait_us = terms->attempt_timeout_us,
        .metrics = setup->metrics,
        .done = setup->done,
        .context = setup->context,
    };
    for (size_t i = 0; i < terms->host_count; i++) {
        hosts->hosts[i].address = &terms->hosts[i];
    }
    /* The first connections to all nodes, then the second ones: what has least to do is searched
     * in this order. */
    bool well = hosts->lines != NULL && hosts->polled != NULL;
    while (well && hosts->line_count < line_count) {
        struct cassandra_line *line = &hosts->lines[hosts->line_count];
        line->host = &hosts->hosts[hosts->line_count % terms->host_count];
        line->fd = -1;
        well = cql_connection_init(&line->connection, &connection);
        hosts->line_count += well ? 1 : 0;
    }
    if (!well) {
        cassandra_hosts_deinit(hosts);
    }
    return well;
}

static void close_socket(struct cassandra_line *line) {
    if (line->fd >= 0) {
        (void)close(line->fd);
        line->fd = -1;
    }
    line->state = CASSANDRA_LINE_CLOSED;
}

void cassandra_hosts_deinit(struct cassandra_hosts *hosts) {
    for (size_t i = 0; i < hosts->line_count; i++) {
        close_socket(&hosts->lines[i]);
        cql_connection_close(&hosts->lines[i].connection);
        cql_connection_deinit(&hosts->lines[i].connection);
    }
    free(hosts->lines);
    free(hosts->polled);
    (void)pthread_mutex_destroy(&hosts->lock);
}

/* --- What is known of a node. --- */

static enum cassandra_host_state host_state(const struct cassandra_host *host) {
    return (enum cassandra_host_state)atomic_load_explicit(&host->state, memory_order_relaxed);
}

static bool is_ready(const struct cassandra_line *line) {
    return line->state == CASSANDRA_LINE_OPEN && line->connection.state == CQL_CONNECTION_READY;
}

/** Publishes the node's state after one of its connections changed. */
static void update_host(struct cassandra_hosts *hosts, struct cassandra_host *host) {
    bool failed = false;
    bool up = false;
    uint64_t hosts_up = 0;
    uint64_t lines_up = 0;
    for (size_t i = 0; i < hosts->line_count; i++) {
        const struct cassandra_line *line = &hosts->lines[i];
        lines_up += is_ready(line) ? 1 : 0;
        failed = failed || (line->host == host && line->failed);
        up = up || (line->host == host && is_ready(line));
    }
    enum cassandra_host_state state = up       ? CASSANDRA_HOST_UP
                                      : failed ? CASSANDRA_HOST_DOWN
                                               : CASSANDRA_HOST_TRYING;
    if (state == CASSANDRA_HOST_UP && host_state(host) != CASSANDRA_HOST_UP) {
        log_info(hosts->log, "cassandra", "%s answers", host->address->name);
    }
    atomic_store_explicit(&host->state, (uint32_t)state, memory_order_relaxed);
    for (size_t i = 0; i < hosts->terms->host_count; i++) {
        hosts_up += host_state(&hosts->hosts[i]) == CASSANDRA_HOST_UP ? 1 : 0;
    }
    metric_set(&hosts->metrics->nodes_up, hosts_up);
    metric_set(&hosts->metrics->connections_up, lines_up);
}

static void note_fault(struct cassandra_hosts *hosts, struct cassandra_host *host,
                       const char *reason) {
    log_write_limited(hosts->log, &host->log_limit, LOG_WARNING, "cassandra", "%s: %s",
                      host->address->name, reason);
    (void)pthread_mutex_lock(&hosts->lock);
    fault_set(&host->fault, "%s", reason);
    (void)pthread_mutex_unlock(&hosts->lock);
}

bool cassandra_hosts_are_down(const struct cassandra_hosts *hosts) {
    for (size_t i = 0; i < hosts->terms->host_count; i++) {
        if (host_state(&hosts->hosts[i]) != CASSANDRA_HOST_DOWN) {
            return false;
        }
    }
    return true;
}

bool cassandra_hosts_describe(struct cassandra_hosts *hosts, struct fault *fault) {
    struct text text = text_over(fault->text, sizeof(fault->text) - 1);
    bool any_up = false;
    (void)pthread_mutex_lock(&hosts->lock);
    for (size_t i = 0; i < hosts->terms->host_count; i++) {
        const struct cassandra_host *host = &hosts->hosts[i];
        if (host_state(host) == CASSANDRA_HOST_UP) {
            any_up = true;
        } else {
            text_append_format(&text, "%s%s: %s", text.size > 0 ? "; " : "", host->address->name,
                               host_state(host) == CASSANDRA_HOST_TRYING ? "connecting"
                                                                         : host->fault.text);
        }
    }
    (void)pthread_mutex_unlock(&hosts->lock);
    fault->text[text.size] = 0;
    return any_up;
}

/* --- One connection. --- */

/** The connection is over, or was never made. */
static void line_lost(struct cassandra_hosts *hosts, struct cassandra_line *line, int64_t now_us,
                      const char *reason) {
    bool was_steady = line->is_up && now_us - line->ready_us >= STEADY_US;
    metric_add(line->is_up ? &hosts->metrics->disconnects_total
                           : &hosts->metrics->connect_failures_total,
               1);
    note_fault(hosts, line->host, reason);
    close_socket(line);
    cql_connection_close(&line->connection);
    line->is_up = false;
    line->failed = !was_steady;
    if (was_steady) {
        line->pause_us = 0;
        line->retry_us = now_us;
    } else {
        int64_t pause_us = line->pause_us * 2;
        pause_us = pause_us < PAUSE_US_MIN ? PAUSE_US_MIN : pause_us;
        line->pause_us =
            pause_us < hosts->terms->reconnect_max_us ? pause_us : hosts->terms->reconnect_max_us;
        line->retry_us = now_us + line->pause_us / 2 +
                         (int64_t)random_below(&hosts->random, (uint64_t)line->pause_us / 2 + 1);
    }
    update_host(hosts, line->host);
}

static void line_dial(struct cassandra_hosts *hosts, struct cassandra_line *line, int64_t now_us) {
    struct fault fault;
    line->fd = hosts->dialer->dial(hosts->dialer, line->host->address, &fault);
    if (line->fd < 0) {
        line_lost(hosts, line, now_us, fault.text);
        return;
    }
    line->state = CASSANDRA_LINE_CONNECTING;
    line->blocked = false;
    line->retry_us = now_us + hosts->terms->connect_timeout_us;
}

/** The socket has an outcome. */
static void line_connected(struct cassandra_hosts *hosts, struct cassandra_line *line,
                           int64_t now_us) {
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    if (error != 0) {
        struct fault fault;
        fault_set_errno(&fault, error, "connect");
        line_lost(hosts, line, now_us, fault.text);
        return;
    }
    line->state = CASSANDRA_LINE_OPEN;
    line->writes = 0;
    cql_connection_open(&line->connection, now_us, line->retry_us);
}

static void line_read(struct cassandra_line *line, int64_t now_us) {
    for (int i = 0; i < READS_A_STEP; i++) {
        size_t room;
        char *into = cql_connection_space(&line->connection, &room);
        ssize_t got = recv(line->fd, into, room, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (got <= 0) {
            struct fault fault = {"it closed the connection"};
            if (got < 0) {
                fault_set_errno(&fault, errno, "read");
            }
            cql_connection_break(&line->connection, "%s", fault.text);
            return;
        }
        cql_connection_received(&line->connection, (size_t)got, now_us);
        if ((size_t)got < room || line->connection.state == CQL_CONNECTION_BROKEN) {
            return;
        }
    }
}

static void line_write(struct cassandra_line *line) {
    struct slice waiting = cql_connection_output(&line->connection);
    while (waiting.size > 0) {
        ssize_t sent = send(line->fd, waiting.data, waiting.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            line->blocked = true;
            return;
        }
        if (sent < 0) {
            struct fault fault;
            fault_set_errno(&fault, errno, "write");
            cql_connection_break(&line->connection, "%s", fault.text);
            return;
        }
        cql_connection_sent(&line->connection, (size_t)sent);
        waiting = cql_connection_output(&line->connection);
    }
}

/** Takes note of a connection that has become ready, or has broken. */
static void line_judge(struct cassandra_hosts *hosts, struct cassandra_line *line, int64_t now_us) {
    if (line->state != CASSANDRA_LINE_OPEN) {
        return;
    }
    if (line->connection.state == CQL_CONNECTION_BROKEN) {
        line_lost(hosts, line, now_us, line->connection.fault.text);
    } else if (is_ready(line) && !line->is_up) {
        line->is_up = true;
        line->failed = false;
        line->ready_us = now_us;
        metric_add(&hosts->metrics->connects_total, 1);
        update_host(hosts, line->host);
    }
}

static void line_step(struct cassandra_hosts *hosts, struct cassandra_line *line, short events,
                      int64_t now_us) {
    switch (line->state) {
    case CASSANDRA_LINE_CLOSED:
        if (now_us >= line->retry_us) {
            line_dial(hosts, line, now_us);
        }
        break;
    case CASSANDRA_LINE_CONNECTING:
        if (events != 0) {
            line_connected(hosts, line, now_us);
        } else if (now_us >= line->retry_us) {
            line_lost(hosts, line, now_us, "connect: no answer");
        }
        break;
    case CASSANDRA_LINE_OPEN:
        line->blocked = line->blocked && (events & POLLOUT) == 0;
        if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
            line_read(line, now_us);
        }
        cql_connection_tick(&line->connection, now_us);
        line_judge(hosts, line, now_us);
        break;
    }
}

/* --- All of them. --- */

void cassandra_hosts_wait(struct cassandra_hosts *hosts, int other_fd, int timeout_ms) {
    for (size_t i = 0; i < hosts->line_count; i++) {
        const struct cassandra_line *line = &hosts->lines[i];
        bool wants_room = line->state == CASSANDRA_LINE_CONNECTING || line->blocked;
        hosts->polled[i] = (struct pollfd){
            .fd = line->fd,
            .events = (short)(wants_room ? POLLIN | POLLOUT : POLLIN),
        };
    }
    hosts->polled[hosts->line_count] = (struct pollfd){.fd = other_fd, .events = POLLIN};
    if (poll(hosts->polled, hosts->line_count + 1, timeout_ms) < 0) {
        for (size_t i = 0; i < hosts->line_count; i++) {
            hosts->polled[i].revents = 0; /* interrupted: the next one tells */
        }
    }
}

void cassandra_hosts_step(struct cassandra_hosts *hosts, int64_t now_us) {
    for (size_t i = 0; i < hosts->line_count; i++) {
        short events = hosts->polled[i].revents;
        hosts->polled[i].revents = 0;
        line_step(hosts, &hosts->lines[i], events, now_us);
    }
}

void cassandra_hosts_flush(struct cassandra_hosts *hosts, int64_t now_us) {
    for (size_t i = 0; i < hosts->line_count; i++) {
        struct cassandra_line *line = &hosts->lines[i];
        if (line->state == CASSANDRA_LINE_OPEN && !line->blocked) {
            line_write(line);
            line_judge(hosts, line, now_us);
        }
    }
}

int64_t cassandra_hosts_next_us(const struct cassandra_hosts *hosts) {
    int64_t next_us = INT64_MAX;
    for (size_t i = 0; i < hosts->line_count; i++) {
        const struct cassandra_line *line = &hosts->lines[i];
        int64_t line_us = line->state == CASSANDRA_LINE_OPEN
                              ? cql_connection_next_us(&line->connection)
                              : line->retry_us;
        next_us = line_us < next_us ? line_us : next_us;
    }
    return next_us;
}

static bool can_take(const struct cassandra_line *line, size_t statement, bool is_write) {
    uint32_t writes_max = line->connection.setup.streams / 4U * 3U;
    return is_ready(line) && line->connection.free_count > 0 &&
           (statement >= line->connection.setup.statement_count ||
            cql_connection_statement(&line->connection, statement).size > 0) &&
           (!is_write || line->writes < writes_max);
}

struct cassandra_line *cassandra_hosts_pick(struct cassandra_hosts *hosts, size_t statement,
                                            bool is_write, const struct cassandra_host *avoided) {
    struct cassandra_line *best = NULL;
    for (size_t i = 0; i < hosts->line_count; i++) {
        struct cassandra_line *line = &hosts->lines[(hosts->next_line + i) % hosts->line_count];
        if (!can_take(line, statement, is_write)) {
            continue;
        }
        bool better_host = best != NULL && best->host == avoided && line->host != avoided;
        bool worse_host = best != NULL && best->host != avoided && line->host == avoided;
        if (best == NULL || better_host ||
            (!worse_host && line->connection.free_count > best->connection.free_count)) {
            best = line;
        }
    }
    hosts->next_line++;
    return best;
}
