#include "adapter/cassandra/archive_internal.h"

/* Requests that a group makes at most, but for those that certainly had no effect. */
#define ATTEMPTS_MAX 2

/* How often a node may forget a statement under one group. */
#define UNPREPARED_MAX 3

#define MESSAGE_SHOWN_MAX 300

/* --- What did not go well. --- */

/** What an error says about the request. */
struct verdict {
    bool again;     /* another attempt may go better */
    bool uncertain; /* a write may have been carried out */
};

static struct verdict judge_error(uint32_t code) {
    switch ((enum cql_error_code)code) {
    case CQL_ERROR_UNAVAILABLE: /* too few replicas: it was not begun */
    case CQL_ERROR_BOOTSTRAPPING:
    case CQL_ERROR_UNPREPARED:
        return (struct verdict){.again = true, .uncertain = false};
    case CQL_ERROR_SYNTAX:
    case CQL_ERROR_UNAUTHORIZED:
    case CQL_ERROR_INVALID:
    case CQL_ERROR_CONFIGURATION:
    case CQL_ERROR_ALREADY_EXISTS:
    case CQL_ERROR_CREDENTIALS:
    case CQL_ERROR_PROTOCOL:
        return (struct verdict){.again = false, .uncertain = false};
    case CQL_ERROR_OVERLOADED: /* it does not say how far it came */
    case CQL_ERROR_SERVER:
    case CQL_ERROR_TRUNCATE:
    case CQL_ERROR_WRITE_TIMEOUT:
    case CQL_ERROR_WRITE_FAILURE:
    case CQL_ERROR_READ_TIMEOUT:
    case CQL_ERROR_READ_FAILURE:
    case CQL_ERROR_FUNCTION_FAILURE:
        break;
    }
    return (struct verdict){.again = true, .uncertain = true};
}

static void give_up(struct cassandra_archive *archive, struct archive_group *group) {
    bool unknown = archive_is_write(group->operation) && group->uncertain;
    archive_finish_group(archive, group, unknown ? ORDER_RESULT_UNKNOWN : ORDER_RESULT_UNAVAILABLE);
}

static bool is_late(const struct cassandra_archive *archive, const struct archive_group *group) {
    return group->deadline_us - archive->now_us <= archive_attempt_us_min(&archive->terms);
}

/** Once more, where there is a chance; else that was it. */
static void try_again(struct cassandra_archive *archive, struct archive_group *group,
                      struct verdict verdict) {
    group->uncertain = group->uncertain || verdict.uncertain;
    if (verdict.again && group->attempts < ATTEMPTS_MAX && group->unprepared < UNPREPARED_MAX &&
        !is_late(archive, group)) {
        archive_queue_again(archive, group);
    } else {
        give_up(archive, group);
    }
}

static void handle_error(struct cassandra_archive *archive, struct archive_group *group,
                         const struct cql_error *error) {
    metric_add(&archive->metrics.errors_total, 1);
    if (error->code == CQL_ERROR_UNPREPARED) {
        group->attempts--;
        group->unprepared++;
    }
    log_write_limited(archive->log, &archive->error_limit, LOG_WARNING, "cassandra",
                      "%s: %s of order %llu and %u more: %s: %.*s", group->host->address->name,
                      archive_is_write(group->operation) ? "write" : "read",
                      (unsigned long long)archive->items[group->first].order_id, group->count - 1,
                      cql_error_name(error->code),
                      (int)bytes_min_size(error->message.size, MESSAGE_SHOWN_MAX),
                      error->message.data);
    try_again(archive, group, judge_error(error->code));
}

void archive_expire(struct cassandra_archive *archive) {
    struct archive_queue *queues[] = {&archive->reads, &archive->writes};
    bool nobody = cassandra_hosts_are_down(&archive->hosts);
    for (size_t i = 0; i < ARRAY_COUNT(queues); i++) {
        while (queues[i]->first != NULL && (nobody || is_late(archive, queues[i]->first))) {
            give_up(archive, archive_queue_take(queues[i]));
        }
    }
}

/* --- Rows. --- */

/** True where every row is one that was asked for, in the order of the ids, none twice. */
static bool rows_belong(const struct cassandra_archive *archive, const struct archive_group *group,
                        struct cql_rows rows, size_t cell_count) {
    struct cql_cell cells[CASSANDRA_ROW_CELLS + CASSANDRA_WRITETIME_CELLS];
    uint32_t item = group->first;
    uint64_t last_id = 0;
    if (rows.columns.count != cell_count || rows.columns.has_more) {
        return false;
    }
    while (cql_rows_next(&rows, cells)) {
        uint64_t order_id;
        if (!cassandra_row_id(cells, &order_id) || order_id <= last_id) {
            return false;
        }
        while (item != ARCHIVE_NONE && archive->items[item].order_id < order_id) {
            item = archive->items[item].next;
        }
        if (item == ARCHIVE_NONE || archive->items[item].order_id != order_id) {
            return false;
        }
        last_id = order_id;
    }
    return true;
}

/** Makes the order of a row. */
static enum order_result read_row(struct cassandra_archive *archive, const struct cql_cell *cells,
                                  uint64_t order_id, struct order_record *order) {
    const char *wrong = cassandra_row_read(cells, order);
    if (wrong == NULL) {
        return ORDER_RESULT_FOUND;
    }
    log_error(archive->log, "cassandra", "order %llu: its row is no archived order: wrong %s",
              (unsigned long long)order_id, wrong);
    return ORDER_RESULT_BROKEN;
}

static struct order_get_batch *get_of(const struct cassandra_archive *archive,
                                      const struct archive_item *item) {
    return (struct order_get_batch *)archive->works[item->work].request;
}

/** Rows and items are both in the order of the ids; rows_belong has seen to it. */
static void hand_out_rows(struct cassandra_archive *archive, struct archive_group *group,
                          struct cql_rows rows) {
    struct cql_cell cells[CASSANDRA_ROW_CELLS];
    struct order_record order;
    uint64_t row_id = 0;
    enum order_result found = ORDER_RESULT_ABSENT;
    for (uint32_t number = group->first; number != ARCHIVE_NONE;) {
        const struct archive_item *item = &archive->items[number];
        uint32_t next = item->next;
        if (row_id < item->order_id && cql_rows_next(&rows, cells)) {
            bool well = cassandra_row_id(cells, &row_id);
            assert(well);
            found = read_row(archive, cells, row_id, &order);
        }
        bool is_there = row_id == item->order_id && row_id != 0;
        if (is_there && found == ORDER_RESULT_FOUND) {
            get_of(archive, item)->orders[item->index] = order;
        }
        archive_finish_item(archive, number, is_there ? found : ORDER_RESULT_ABSENT);
        number = next;
    }
    archive_free_group(archive, group);
}

static void hand_out_look(struct cassandra_archive *archive, struct archive_group *group,
                          struct cql_rows rows) {
    struct cql_cell cells[CASSANDRA_ROW_CELLS + CASSANDRA_WRITETIME_CELLS];
    const struct archive_item *item = &archive->items[group->first];
    struct archive_row_look *look = (struct archive_row_look *)archive->works[item->work].request;
    enum order_result result = ORDER_RESULT_ABSENT;
    look->writetime_us = INT64_MIN;
    if (cql_rows_next(&rows, cells)) {
        look->writetime_us = cassandra_row_writetime(cells + CASSANDRA_ROW_CELLS);
        result = read_row(archive, cells, item->order_id, &look->order);
    }
    archive_finish_group(archive, group, result);
}

/* --- Answers. --- */

static bool handle_answer(struct cassandra_archive *archive, struct archive_group *group,
                          const struct cql_response *response) {
    bool is_write = archive_is_write(group->operation);
    uint64_t took_us = (uint64_t)(archive->now_us - group->sent_us);
    bool is_look = group->operation == ARCHIVE_LOOK;
    if (response->kind == CQL_RESPONSE_ERROR) {
        handle_error(archive, group, &response->error);
        return true;
    }
    if (is_write && response->kind == CQL_RESPONSE_VOID) {
        histogram_add(&archive->metrics.put_microseconds, took_us);
        archive_finish_group(archive, group, ORDER_RESULT_STORED);
        return true;
    }
    if (!is_write && response->kind == CQL_RESPONSE_ROWS &&
        rows_belong(archive, group, response->rows,
                    CASSANDRA_ROW_CELLS + (is_look ? CASSANDRA_WRITETIME_CELLS : 0))) {
        histogram_add(&archive->metrics.get_microseconds, took_us);
        if (is_look) {
            hand_out_look(archive, group, response->rows);
        } else {
            hand_out_rows(archive, group, response->rows);
        }
        return true;
    }
    try_again(archive, group, (struct verdict){.again = true, .uncertain = true});
    return false;
}

bool archive_answered(void *context, void *tag, enum cql_outcome outcome,
                      struct cql_response *response) {
    struct cassandra_archive *archive = context;
    struct archive_group *group = tag;
    group->line->writes -= archive_is_write(group->operation) ? 1 : 0;
    group->line = NULL;
    archive_end_flight(archive, group);
    switch (outcome) {
    case CQL_ANSWERED:
        return handle_answer(archive, group, response);
    case CQL_TIMED_OUT:
    case CQL_LOST:
        try_again(archive, group, (struct verdict){.again = true, .uncertain = true});
        break;
    case CQL_NOT_SENT:
        group->attempts--;
        try_again(archive, group, (struct verdict){.again = true, .uncertain = false});
        break;
    }
    return true;
}
