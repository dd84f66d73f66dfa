/* Reads balance.results as a member of a group until SIGTERM, for the tests:
 *
 *     topic_host BROKERS GROUP
 *
 * It prints each message as "PARTITION OFFSET VALUE" when it is read, "commit RESULT" after each
 * commit, and commits after each read. */
#include "adapter/kafka/kafka_reader.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define LIMIT 100

struct host {
    struct topic_read read;
    struct topic_commit commit;
    bool done;
};

static void read_done(struct port_request *request) {
    ((struct host *)request)->done = true;
}

static void commit_done(struct port_request *request) {
    struct host *host = CONTAINER_OF(request, struct host, commit.request);
    host->done = true;
}

static void wait_for(struct host *host, struct mailbox *mailbox) {
    while (!host->done) {
        if (port_drain(mailbox, SIZE_MAX) == 0) {
            mailbox_wait(mailbox, 100);
        }
    }
    host->done = false;
}

static bool is_told_to_end(void) {
    sigset_t pending;
    (void)sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1;
}

static void run(struct topic_reader *reader, struct mailbox *mailbox) {
    static struct topic_message messages[LIMIT];
    struct host host = {
        .read = {.request = {.done = read_done, .mailbox = mailbox},
                 .wait_ms = 200,
                 .limit = LIMIT,
                 .messages = messages},
        .commit = {.request = {.done = commit_done, .mailbox = mailbox}},
    };
    while (!is_told_to_end()) {
        if (reader->ops->read(reader, &host.read) != PORT_TAKEN) {
            continue;
        }
        wait_for(&host, mailbox);
        for (size_t i = 0; i < host.read.count; i++) {
            (void)printf("%d %lld %.*s\n", messages[i].partition, (long long)messages[i].offset,
                         (int)messages[i].value.size, messages[i].value.data);
        }
        (void)fflush(stdout); /* what is committed was seen */
        if (host.read.count > 0 && reader->ops->commit(reader, &host.commit) == PORT_TAKEN) {
            wait_for(&host, mailbox);
            (void)printf("commit %u\n", host.commit.result);
        }
        (void)fflush(stdout);
    }
}

int main(int count, char **arguments) {
    struct kafka_options options;
    struct config_section section = {"kafka", kafka_option_table, kafka_option_count, &options};
    struct config config = {.sections = &section, .section_count = 1};
    struct mailbox mailbox;
    struct log log;
    struct fault fault;
    char assignment[300];
    sigset_t signals;
    if (count != 3 || !mailbox_init(&mailbox, 4)) {
        return 2;
    }
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    log_init(&log, STDERR_FILENO, LOG_INFO);
    config_set_defaults(&config);
    (void)snprintf(assignment, sizeof(assignment), "kafka.brokers=%s", arguments[1]);
    struct kafka_reader *reader = NULL;
    if (config_set(&config, assignment, &fault) &&
        config_set(&config, "kafka.session_timeout_ms=3000", &fault)) {
        reader = kafka_reader_create(&options, KAFKA_BALANCE_RESULTS, arguments[2], &log, &fault);
    }
    if (reader == NULL) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    run(kafka_reader_port(reader), &mailbox);
    kafka_reader_destroy(reader);
    mailbox_deinit(&mailbox);
    return 0;
}
