#include "orderctl/bench_worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define RECONNECTS_MAX 1000
#define PAUSE_NS INT64_C(2000000)  /* before a refused request is sent again */
#define WAIT_NS INT64_C(100000000) /* without anything due: look at the clock this often */

int64_t bench_clock_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * BENCH_NANOSECONDS + now.tv_nsec;
}

static int64_t thread_cpu_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * BENCH_NANOSECONDS + now.tv_nsec;
}

/* --- Setting up. --- */

static bool watch_connection(struct bench_worker *worker, struct bench_connection *connection) {
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = connection,
    };
    return epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) == 0;
}

static bool open_connection(struct bench_worker *worker, struct bench_connection *connection,
                            struct fault *fault) {
    const struct bench_options *options = worker->options;
    if (!bench_connection_open(connection, options->host, options->port, options->timeout_ms,
                               fault)) {
        return false;
    }
    if (!watch_connection(worker, connection)) {
        fault_set_errno(fault, errno, "a connection cannot be watched");
        return false;
    }
    return true;
}

bool bench_worker_init(struct bench_worker *worker, const struct bench_options *options,
                       struct bench_workload *workload, uint32_t connection_count, bool *reachable,
                       struct fault *fault) {
    memset(worker, 0, sizeof(*worker));
    worker->options = options;
    worker->workload = workload;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->connections = calloc(connection_count, sizeof(*worker->connections));
    *reachable = true;
    if (workload == NULL || worker->epoll_fd < 0 || worker->connections == NULL) {
        fault_set(fault, "no memory for the bench");
        return false;
    }
    for (uint32_t i = 0; i < connection_count; i++) {
        worker->connection_count++;
        if (!bench_connection_init(&worker->connections[i], options->depth, workload)) {
            fault_set(fault, "no memory for %u connections", connection_count);
            return false;
        }
        *reachable = open_connection(worker, &worker->connections[i], fault);
        if (!*reachable) {
            return false;
        }
    }
    return true;
}

void bench_worker_deinit(struct bench_worker *worker) {
    for (uint32_t i = 0; i < worker->connection_count; i++) {
        bench_connection_deinit(&worker->connections[i]);
    }
    free(worker->connections);
    if (worker->epoll_fd >= 0) {
        (void)close(worker->epoll_fd);
    }
    if (worker->workload != NULL) {
        bench_workload_destroy(worker->workload);
    }
}

/* --- A connection that is gone. --- */

/** What was on its way is lost; on a connection that the service meant to close it was refused. */
static void drop_requests(struct bench_worker *worker, struct bench_connection *connection) {
    uint64_t items = 0;
    for (uint32_t i = 0; i < connection->count; i++) {
        items += connection->requests[(connection->first + i) % connection->depth].items;
    }
    if (connection->closing) {
        worker->result.refused += items;
        return;
    }
    worker->result.wrong += items;
    if (items > 0) {
        bench_workload_note(worker->workload, "a connection ended with requests on their way: %s",
                            errno == 0 ? "closed by the other side" : strerror(errno));
    }
}

static void replace_connection(struct bench_worker *worker, struct bench_connection *connection) {
    drop_requests(worker, connection);
    bench_connection_reset(connection);
    if (worker->result.reconnects++ == RECONNECTS_MAX) {
        worker->broken = true;
        fault_set(&worker->fault, "the service closes its connections again and again");
    } else if (!open_connection(worker, connection, &worker->fault)) {
        worker->broken = true;
    }
}

/* --- Sending. --- */

static bool is_open_loop(const struct bench_worker *worker) {
    return worker->schedule.requests_per_second > 0;
}

static bool may_begin(const struct bench_worker *worker, int64_t now_ns) {
    return !worker->exhausted && now_ns < worker->window.end_ns;
}

/** Adds one request to a connection that has room. */
static void begin_request(struct bench_worker *worker, struct bench_connection *connection,
                          int64_t begin_ns) {
    struct bench_request *request = bench_connection_next(connection);
    if (!worker->workload->ops->prepare(worker->workload, request)) {
        worker->exhausted = true;
        return;
    }
    request->begin_ns = begin_ns;
    request->tries = 0;
    bench_connection_commit(connection);
}

static void send_waiting(struct bench_worker *worker, struct bench_connection *connection,
                         int64_t now_ns) {
    if (connection->paused_until_ns > now_ns) {
        return;
    }
    if (bench_connection_send(connection) == BENCH_SOCKET_CLOSED) {
        replace_connection(worker, connection);
    }
}

/** Closed loop: as many requests as may be on their way. */
static void fill_connection(struct bench_worker *worker, struct bench_connection *connection,
                            int64_t now_ns) {
    while (bench_connection_has_room(connection) && may_begin(worker, now_ns)) {
        begin_request(worker, connection, now_ns);
    }
    send_waiting(worker, connection, now_ns);
}

/** The next connection with room, in turn; NULL where there is none. */
static struct bench_connection *find_room(struct bench_worker *worker) {
    for (uint32_t i = 0; i < worker->connection_count; i++) {
        struct bench_connection *connection = &worker->connections[worker->next_connection];
        worker->next_connection = (worker->next_connection + 1) % worker->connection_count;
        if (bench_connection_has_room(connection)) {
            return connection;
        }
    }
    return NULL;
}

/** Open loop: sends what is due, as far as there is room. What finds none keeps its time. */
static void send_due(struct bench_worker *worker, int64_t now_ns) {
    while (may_begin(worker, now_ns) && bench_schedule_due_ns(&worker->schedule) <= now_ns) {
        struct bench_connection *connection = find_room(worker);
        if (connection == NULL) {
            return;
        }
        begin_request(worker, connection, bench_schedule_take(&worker->schedule));
        send_waiting(worker, connection, now_ns);
    }
}

/* --- Answers. --- */

static void count_answer(struct bench_worker *worker, const struct bench_request *request,
                         const struct bench_tally *tally, int64_t now_ns) {
    struct bench_result *result = &worker->result;
    result->wrong += tally->wrong;
    result->refused += tally->refused;
    result->last_ns = now_ns;
    if (now_ns >= worker->window.begin_ns && now_ns < worker->window.end_ns) {
        result->right += tally->right;
        result->requests++;
    }
    if (request->begin_ns >= worker->window.begin_ns && tally->right > 0) {
        int64_t latency_ns = now_ns - request->begin_ns;
        histogram_add(&result->latency_ns, latency_ns > 0 ? (uint64_t)latency_ns : 0);
    }
}

static void take_answer(struct bench_worker *worker, struct bench_connection *connection,
                        const struct bench_answer *answer, int64_t now_ns) {
    struct bench_request *request = bench_connection_oldest(connection);
    struct bench_tally tally = {.right = 0};
    worker->workload->ops->check(worker->workload, request, answer, &tally);
    count_answer(worker, request, &tally, now_ns);
    connection->closing |= answer->closes;
    if (tally.again && !connection->closing) {
        bench_connection_resend(connection);
        worker->paused_count += connection->paused_until_ns == 0 ? 1 : 0;
        connection->paused_until_ns = now_ns + PAUSE_NS;
    } else {
        bench_connection_retire(connection);
    }
}

/** Takes every whole answer that was received. False where the connection is of no further use. */
static bool take_answers(struct bench_worker *worker, struct bench_connection *connection,
                         int64_t now_ns) {
    struct bench_answer answer;
    for (;;) {
        switch (bench_connection_cut(connection, worker->workload, &answer)) {
        case BENCH_CUT_MORE:
            return true;
        case BENCH_CUT_MALFORMED:
            bench_workload_note(worker->workload, "an answer that cannot be read: %.60s",
                                connection->input + connection->input_begin);
            errno = 0;
            return false;
        case BENCH_CUT_WHOLE:
            if (connection->sent == 0) {
                bench_workload_note(worker->workload, "answered %d before the request was sent",
                                    answer.status);
                connection->closing = answer.status == 503;
                errno = 0;
                return false;
            }
            take_answer(worker, connection, &answer, now_ns);
            break;
        }
    }
}

static void receive(struct bench_worker *worker, struct bench_connection *connection) {
    bool more = true;
    while (more) {
        enum bench_socket_state state = bench_connection_receive(connection, &more);
        int error = errno;
        bool useful =
            state == BENCH_SOCKET_GOES_ON && take_answers(worker, connection, bench_clock_ns());
        if (!useful) {
            errno = state == BENCH_SOCKET_CLOSED ? error : 0;
            replace_connection(worker, connection);
            return;
        }
    }
}

static void take_event(struct bench_worker *worker, const struct epoll_event *event) {
    struct bench_connection *connection = event->data.ptr;
    if ((event->events & ~(uint32_t)EPOLLOUT) != 0) {
        receive(worker, connection);
    }
    if (worker->broken) {
        return;
    }
    int64_t now_ns = bench_clock_ns();
    if (is_open_loop(worker)) {
        send_waiting(worker, connection, now_ns);
    } else {
        fill_connection(worker, connection, now_ns);
    }
}

/* --- The loop. --- */

/** Lets connections go on whose pause is over. */
static void end_pauses(struct bench_worker *worker, int64_t now_ns) {
    for (uint32_t i = 0; worker->paused_count > 0 && i < worker->connection_count; i++) {
        struct bench_connection *connection = &worker->connections[i];
        if (connection->paused_until_ns != 0 && connection->paused_until_ns <= now_ns) {
            connection->paused_until_ns = 0;
            worker->paused_count--;
            send_waiting(worker, connection, now_ns);
        }
    }
}

/** How long to sleep: until a request is due, a pause or the window ends. */
static int64_t wait_ns(const struct bench_worker *worker, int64_t now_ns) {
    int64_t until_ns = now_ns + (worker->paused_count > 0 ? PAUSE_NS / 2 : WAIT_NS);
    if (now_ns < worker->window.end_ns && worker->window.end_ns < until_ns) {
        until_ns = worker->window.end_ns;
    }
    if (is_open_loop(worker) && may_begin(worker, now_ns)) {
        int64_t due_ns = bench_schedule_due_ns(&worker->schedule);
        /* What is due already waits for room: an answer wakes us. */
        until_ns = due_ns > now_ns && due_ns < until_ns ? due_ns : until_ns;
    }
    return until_ns - now_ns;
}

static size_t count_waiting(const struct bench_worker *worker) {
    size_t count = 0;
    for (uint32_t i = 0; i < worker->connection_count; i++) {
        count += worker->connections[i].count;
    }
    return count;
}

static bool is_over(const struct bench_worker *worker, int64_t now_ns) {
    bool ended = worker->exhausted || now_ns >= worker->window.end_ns;
    if (!ended) {
        return false;
    }
    int64_t end_ns = worker->exhausted ? worker->result.last_ns : worker->window.end_ns;
    end_ns += (int64_t)worker->options->timeout_ms * 1000000;
    return count_waiting(worker) == 0 || now_ns >= end_ns;
}

/** False where a request has been on its way, and nothing has come back, for as long as an answer
 *  may take. */
static bool is_alive(struct bench_worker *worker, int64_t now_ns) {
    int64_t silent_since_ns = now_ns - (int64_t)worker->options->timeout_ms * 1000000;
    if (worker->result.last_ns > silent_since_ns) {
        return true;
    }
    for (uint32_t i = 0; i < worker->connection_count; i++) {
        struct bench_connection *connection = &worker->connections[i];
        if (connection->count > 0 &&
            bench_connection_oldest(connection)->begin_ns < silent_since_ns) {
            worker->broken = true;
            fault_set(&worker->fault, "%s:%s: no answer within %g s", worker->options->host,
                      worker->options->port, (double)worker->options->timeout_ms / 1000);
            return false;
        }
    }
    return true;
}

static void step(struct bench_worker *worker, int64_t now_ns) {
    struct epoll_event events[EVENTS_MAX];
    int64_t sleep_ns = wait_ns(worker, now_ns);
    struct timespec timeout = {.tv_sec = sleep_ns / BENCH_NANOSECONDS,
                               .tv_nsec = sleep_ns % BENCH_NANOSECONDS};
    int count = epoll_pwait2(worker->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    if (count < 0 && errno == ENOSYS) {
        count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, (int)(sleep_ns / 1000000));
    }
    for (int i = 0; i < count && !worker->broken; i++) {
        take_event(worker, &events[i]);
    }
}

/** What has no answer at the end. In an open loop, what was never sent as well: it counts with the
 *  time that it has waited so far. */
static void settle_rest(struct bench_worker *worker, int64_t now_ns) {
    struct bench_result *result = &worker->result;
    for (uint32_t i = 0; i < worker->connection_count; i++) {
        const struct bench_connection *connection = &worker->connections[i];
        for (uint32_t at = 0; at < connection->count; at++) {
            uint32_t place = (connection->first + at) % connection->depth;
            result->unanswered += connection->requests[place].items;
        }
        result->bytes_sent += connection->bytes_sent;
        result->bytes_received += connection->bytes_received;
    }
    result->wrong += result->unanswered;
    while (is_open_loop(worker) &&
           bench_schedule_due_ns(&worker->schedule) < worker->window.end_ns) {
        int64_t due_ns = bench_schedule_take(&worker->schedule);
        result->unsent += worker->options->batch;
        if (due_ns >= worker->window.begin_ns) {
            histogram_add(&result->latency_ns, (uint64_t)(now_ns - due_ns));
        }
    }
}

void bench_worker_run(struct bench_worker *worker, const struct bench_window *window,
                      double requests_per_second) {
    int64_t cpu_begin_ns = thread_cpu_ns();
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    worker->window = *window;
    worker->schedule = (struct bench_schedule){window->start_ns, requests_per_second, 0};
    int64_t now_ns = bench_clock_ns();
    worker->result.last_ns = now_ns;
    for (uint32_t i = 0; i < worker->connection_count && !is_open_loop(worker); i++) {
        fill_connection(worker, &worker->connections[i], now_ns);
    }
    while (!worker->broken && !is_over(worker, now_ns) && is_alive(worker, now_ns)) {
        if (is_open_loop(worker)) {
            send_due(worker, now_ns);
        }
        step(worker, now_ns);
        now_ns = bench_clock_ns();
        end_pauses(worker, now_ns);
    }
    settle_rest(worker, now_ns);
    worker->result.cpu_ns = thread_cpu_ns() - cpu_begin_ns;
}
