/* Follows orders.changes until SIGTERM, for the tests:
 *
 *     changes_host BROKERS CURSOR
 *
 * CURSOR is the text of a cursor, "0" for the oldest, or "now". It prints "at CURSOR" before each
 * read that brought something, "change PART POSITION ORDER VERSION" for each change, and
 * "result N" where a read is refused. */
#include "adapter/kafka/kafka_change_log.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define LIMIT 500

static void read_done(struct port_request *request) {
    ((struct change_read_batch *)request)->next = request;
}

static bool is_told_to_end(void) {
    sigset_t pending;
    (void)sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1;
}

static void print_cursor(const struct change_cursor *cursor) {
    char memory[CHANGE_CURSOR_TEXT_MAX];
    struct text text = text_over(memory, sizeof(memory));
    change_cursor_format(cursor, &text);
    (void)printf("at %.*s\n", (int)text.size, text.data);
}

static void follow(struct change_log *log, struct mailbox *mailbox,
                   const struct change_cursor *cursor) {
    static struct order_record orders[LIMIT];
    static uint64_t positions[LIMIT];
    static uint8_t parts[LIMIT];
    struct change_read_batch batch = {
        .request = {.done = read_done, .mailbox = mailbox},
        .after = *cursor,
        .limit = LIMIT,
        .orders = orders,
        .positions = positions,
        .parts = parts,
    };
    print_cursor(cursor);
    while (!is_told_to_end()) {
        batch.next = NULL;
        if (log->ops->read(log, &batch) != PORT_TAKEN) {
            continue;
        }
        while (batch.next == NULL) {
            (void)port_drain(mailbox, 1);
            mailbox_wait(mailbox, 20);
        }
        if (batch.result != CHANGE_READ_OK) {
            (void)printf("result %d\n", batch.result);
        }
        for (size_t i = 0; i < batch.count; i++) {
            (void)printf("change %u %llu %llu %u\n", parts[i], (unsigned long long)positions[i],
                         (unsigned long long)orders[i].order_id, orders[i].version);
        }
        if (batch.count > 0) {
            print_cursor(&batch.after);
        } else {
            mailbox_wait(mailbox, 100); /* the watch wakes it */
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
    struct change_cursor cursor;
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
    struct kafka_change_log *changes = NULL;
    if (config_set(&config, assignment, &fault)) {
        changes = kafka_change_log_create(&options, &log, &fault);
    }
    if (changes == NULL) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    struct change_log *port = kafka_change_log_port(changes);
    struct change_watch watch = {.mailbox = &mailbox, .active = 1};
    port->ops->watch(port, &watch);
    port->ops->newest(port, &cursor);
    if (strcmp(arguments[2], "now") != 0 &&
        !change_cursor_parse(slice_from_text(arguments[2]), cursor.parts, &cursor)) {
        return 2;
    }
    follow(port, &mailbox, &cursor);
    kafka_change_log_destroy(changes);
    mailbox_deinit(&mailbox);
    return 0;
}
