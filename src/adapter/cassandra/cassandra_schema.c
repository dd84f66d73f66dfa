#include "adapter/cassandra/cassandra_schema.h"

#include "adapter/cassandra/cassandra_partition.h"
#include "adapter/cassandra/cassandra_session.h"
#include "adapter/cassandra/schema_text.h"
#include "base/clock.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define STATEMENT_MAX 4096
#define AGREEMENT_US INT64_C(60000000)
#define AGREEMENT_PAUSE_US 200000

#define KEYSPACE_MARK "${keyspace}"
#define REPLICATION_MARK "${replication}"

/** A setting that every program must agree on. */
struct setting {
    const char *name;
    uint64_t expected;
    uint64_t found;
    bool is_there;
};

enum { SETTING_VERSION, SETTING_SLOTS, SETTING_TICKS, SETTING_COUNT };

/** What the cluster has. */
struct schema_state {
    bool has_keyspace;
    bool is_durable;
    uint64_t replicas; /* in all data centers */
    bool has_orders;
    bool has_settings;
    struct setting settings[SETTING_COUNT];
};

static uint64_t number_from(struct slice text) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.size && i < 18 && text.data[i] >= '0' && text.data[i] <= '9'; i++) {
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return value;
}

/* --- Looking. --- */

/** Adds up the numbers of a replication map: everything in it but the class is a count. */
static uint64_t replicas_of(struct slice map) {
    struct cql_reader reader = cql_reader_over(map);
    uint64_t replicas = 0;
    uint32_t pairs = cql_read_u32(&reader);
    for (uint32_t i = 0; i < pairs && !reader.failed; i++) {
        bool is_null;
        (void)cql_read_bytes(&reader, &is_null);
        replicas += number_from(cql_read_bytes(&reader, &is_null)); /* of a class's name: 0 */
    }
    return replicas;
}

static void see_keyspace(void *context, const struct cql_cell *cells) {
    struct schema_state *state = context;
    state->has_keyspace = true;
    state->is_durable = cells[0].bytes.size == 1 && cells[0].bytes.data[0] != 0;
    state->replicas = replicas_of(cells[1].bytes);
}

static void see_table(void *context, const struct cql_cell *cells) {
    struct schema_state *state = context;
    state->has_orders |= slice_equal(cells[0].bytes, SLICE_LITERAL("orders_by_slot"));
    state->has_settings |= slice_equal(cells[0].bytes, SLICE_LITERAL("settings"));
}

static void see_setting(void *context, const struct cql_cell *cells) {
    struct schema_state *state = context;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        struct setting *setting = &state->settings[i];
        if (slice_equal(cells[0].bytes, slice_from_text(setting->name))) {
            setting->found = number_from(cells[1].bytes);
            setting->is_there = true;
        }
    }
}

/** Runs a statement that is formatted like printf's. */
__attribute__((format(printf, 4, 5))) static bool run(struct cassandra_session *session,
                                                      const struct cassandra_row_visitor *visitor,
                                                      struct fault *fault, const char *format,
                                                      ...) {
    char statement[STATEMENT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(statement, sizeof(statement), format, arguments);
    va_end(arguments);
    assert(size > 0 && (size_t)size < sizeof(statement));
    return cassandra_session_run(session, (struct slice){statement, (size_t)size}, visitor,
                                 fault) == CASSANDRA_SESSION_OK;
}

static bool look(struct cassandra_session *session, const struct cassandra_terms *terms,
                 struct schema_state *state, struct fault *fault) {
    *state = (struct schema_state){
        .settings =
            {
                [SETTING_VERSION] = {.name = "schema_version",
                                     .expected = CASSANDRA_SCHEMA_VERSION},
                [SETTING_SLOTS] = {.name = "slots_a_group", .expected = CASSANDRA_SLOTS_A_GROUP},
                [SETTING_TICKS] = {.name = "ticks_a_minute", .expected = CASSANDRA_TICKS_A_MINUTE},
            },
    };
    struct cassandra_row_visitor keyspace = {see_keyspace, state, 2};
    struct cassandra_row_visitor table = {see_table, state, 1};
    struct cassandra_row_visitor setting = {see_setting, state, 2};
    return run(session, &keyspace, fault,
               "SELECT durable_writes, replication FROM system_schema.keyspaces "
               "WHERE keyspace_name = '%s'",
               terms->keyspace) &&
           run(session, &table, fault,
               "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '%s'",
               terms->keyspace) &&
           (!state->has_settings ||
            run(session, &setting, fault, "SELECT name, value FROM %s.settings", terms->keyspace));
}

#define APPLY "run orderctl schema apply"

static enum cassandra_schema_status judge(const struct schema_state *state, const char *keyspace,
                                          struct fault *fault) {
    const struct setting *version = &state->settings[SETTING_VERSION];
    if (state->has_keyspace && !state->is_durable) {
        fault_set(fault,
                  "cassandra: keyspace %s has durable_writes = false: what it acknowledges may be "
                  "lost; ALTER KEYSPACE %s WITH durable_writes = true",
                  keyspace, keyspace);
        return CASSANDRA_SCHEMA_FOREIGN;
    }
    if (!version->is_there) { /* also where applying was interrupted */
        fault_set(fault, "cassandra: keyspace %s has no schema of orderd's: " APPLY, keyspace);
        return CASSANDRA_SCHEMA_MISSING;
    }
    if (version->found < version->expected) {
        fault_set(fault,
                  "cassandra: the schema of keyspace %s has version %llu, this program needs %llu: "
                  "" APPLY,
                  keyspace, (unsigned long long)version->found,
                  (unsigned long long)version->expected);
        return CASSANDRA_SCHEMA_OLDER;
    }
    if (version->found > version->expected) {
        fault_set(fault,
                  "cassandra: the schema of keyspace %s has version %llu, this program knows %llu: "
                  "run a newer orderd",
                  keyspace, (unsigned long long)version->found,
                  (unsigned long long)version->expected);
        return CASSANDRA_SCHEMA_NEWER;
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &state->settings[i];
        if (!setting->is_there || setting->found != setting->expected) {
            fault_set(fault,
                      "cassandra: keyspace %s was made with %s = %llu, this program has %llu: "
                      "it would not find the orders",
                      keyspace, setting->name, (unsigned long long)setting->found,
                      (unsigned long long)setting->expected);
            return CASSANDRA_SCHEMA_FOREIGN;
        }
    }
    if (!state->has_orders) {
        fault_set(fault, "cassandra: keyspace %s has no table orders_by_slot although it was made",
                  keyspace);
        return CASSANDRA_SCHEMA_FOREIGN;
    }
    return CASSANDRA_SCHEMA_CURRENT;
}

/** One replica's answer is enough only where there is no other: a read might ask one that the write
 *  has not reached. */
static enum cassandra_schema_status judge_consistency(const struct schema_state *state,
                                                      const struct cassandra_terms *terms,
                                                      struct fault *fault) {
    bool asks_one = terms->consistency == CQL_ONE || terms->consistency == CQL_LOCAL_ONE;
    if (!asks_one || state->replicas <= 1) {
        return CASSANDRA_SCHEMA_CURRENT;
    }
    fault_set(
        fault,
        "cassandra.consistency: expected LOCAL_QUORUM, QUORUM or ALL, as keyspace %s has %llu "
        "replicas: a read that one of them answers may miss what was written",
        terms->keyspace, (unsigned long long)state->replicas);
    return CASSANDRA_SCHEMA_FOREIGN;
}

/** Puts "cassandra: " before what the session said. */
static enum cassandra_schema_status unreachable(struct fault *fault) {
    struct fault inner = *fault;
    fault_set(fault, "cassandra: %s", inner.text);
    return CASSANDRA_SCHEMA_UNREACHABLE;
}

enum cassandra_schema_status cassandra_schema_check(const struct cassandra_terms *terms,
                                                    struct log *log, struct fault *fault) {
    struct schema_state state;
    struct cassandra_session *session = cassandra_session_open(terms, log, fault);
    if (session == NULL) {
        return unreachable(fault);
    }
    bool looked = look(session, terms, &state, fault);
    cassandra_session_close(session);
    if (!looked) {
        return unreachable(fault);
    }
    enum cassandra_schema_status status = judge(&state, terms->keyspace, fault);
    return status == CASSANDRA_SCHEMA_CURRENT ? judge_consistency(&state, terms, fault) : status;
}

/* --- Applying. --- */

/** Who hears what is done. */
struct reporter {
    void (*report)(void *context, const char *line);
    void *context;
};

__attribute__((format(printf, 2, 3))) static void tell(const struct reporter *reporter,
                                                       const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (reporter->report != NULL) {
        reporter->report(reporter->context, line);
    }
}

/** The versions of the schema that the nodes have. */
struct agreement {
    char first[16];
    bool any;
    bool differs;
};

static void see_schema_version(void *context, const struct cql_cell *cells) {
    struct agreement *agreement = context;
    if (cells[0].is_null || cells[0].bytes.size != sizeof(agreement->first)) {
        agreement->differs = true;
    } else if (!agreement->any) {
        memcpy(agreement->first, cells[0].bytes.data, sizeof(agreement->first));
        agreement->any = true;
    } else {
        agreement->differs |=
            memcmp(agreement->first, cells[0].bytes.data, sizeof(agreement->first)) != 0;
    }
}

/** Waits until every node has the schema that was just changed: a statement that builds on it must
 *  not meet a node that has not heard of it. */
static bool await_agreement(struct cassandra_session *session, struct fault *fault) {
    int64_t deadline_us = clock_monotonic_us() + AGREEMENT_US;
    for (;;) {
        struct agreement agreement = {.any = false};
        struct cassandra_row_visitor visitor = {see_schema_version, &agreement, 1};
        if (!run(session, &visitor, fault, "SELECT schema_version FROM system.local") ||
            !run(session, &visitor, fault, "SELECT schema_version FROM system.peers")) {
            return false;
        }
        if (agreement.any && !agreement.differs) {
            return true;
        }
        if (clock_monotonic_us() >= deadline_us) {
            fault_set(fault, "the nodes do not agree on the schema: nodetool describecluster");
            return false;
        }
        (void)usleep(AGREEMENT_PAUSE_US);
    }
}

static bool starts_with(struct slice text, const char *start) {
    size_t size = strlen(start);
    return text.size >= size && memcmp(text.data, start, size) == 0;
}

/** Copies a statement with the terms' names in place of the marks. */
static void fill_in(struct slice statement, const struct cassandra_terms *terms,
                    struct text *filled) {
    while (statement.size > 0) {
        size_t used = 1;
        if (starts_with(statement, KEYSPACE_MARK)) {
            used = sizeof(KEYSPACE_MARK) - 1;
            text_append_slice(filled, slice_from_text(terms->keyspace));
        } else if (starts_with(statement, REPLICATION_MARK)) {
            used = sizeof(REPLICATION_MARK) - 1;
            text_append_slice(filled, slice_from_text(terms->replication));
        } else {
            text_append_char(filled, statement.data[0]);
        }
        statement.data += used;
        statement.size -= used;
    }
}

/** The next line of `rest`, its line feed included. */
static struct slice take_line(struct slice *rest) {
    const char *end = memchr(rest->data, '\n', rest->size);
    size_t size = end == NULL ? rest->size : (size_t)(end - rest->data) + 1;
    struct slice line = {rest->data, size};
    rest->data += size;
    rest->size -= size;
    return line;
}

/** Carries out every statement of a schema file. */
static bool carry_out(struct cassandra_session *session, const struct cassandra_terms *terms,
                      struct slice file, const struct reporter *reporter, struct fault *fault) {
    char memory[STATEMENT_MAX];
    struct text statement = text_over(memory, sizeof(memory));
    while (file.size > 0) {
        struct slice line = take_line(&file);
        if (starts_with(line, "--")) {
            continue;
        }
        fill_in(line, terms, &statement);
        assert(!statement.truncated);
        if (line.size < 2 || line.data[line.size - 2] != ';') {
            continue;
        }
        statement.size -= 2; /* ";\n" */
        if (cassandra_session_run(session, text_slice(&statement), NULL, fault) !=
                CASSANDRA_SESSION_OK ||
            !await_agreement(session, fault)) {
            return false;
        }
        size_t start = 0;
        while (start < statement.size && statement.data[start] == '\n') {
            start++;
        }
        const char *shown = statement.data + start;
        tell(reporter, "%.*s", (int)strcspn(shown, "\n("), shown);
        statement.size = 0;
    }
    return true;
}

static bool note_settings(struct cassandra_session *session, const struct cassandra_terms *terms,
                          const struct schema_state *state, struct fault *fault) {
    for (size_t i = SETTING_COUNT; i-- > 0;) { /* the version last: it says that all is there */
        const struct setting *setting = &state->settings[i];
        if (!run(session, NULL, fault,
                 "INSERT INTO %s.settings (name, value) VALUES ('%s', '%llu')", terms->keyspace,
                 setting->name, (unsigned long long)setting->expected)) {
            return false;
        }
    }
    return true;
}

static bool apply(struct cassandra_session *session, const struct cassandra_terms *terms,
                  const struct reporter *reporter, struct fault *fault) {
    struct schema_state state;
    struct slice file = {(const char *)cassandra_schema_001, cassandra_schema_001_size};
    if (!look(session, terms, &state, fault)) {
        (void)unreachable(fault);
        return false;
    }
    switch (judge(&state, terms->keyspace, fault)) {
    case CASSANDRA_SCHEMA_CURRENT:
        tell(reporter, "keyspace %s has schema version %d already", terms->keyspace,
             CASSANDRA_SCHEMA_VERSION);
        return true;
    case CASSANDRA_SCHEMA_MISSING:
    case CASSANDRA_SCHEMA_OLDER:
        break;
    default:
        return false;
    }
    if (state.has_keyspace) {
        tell(reporter, "keyspace %s exists: its replication is left as it is", terms->keyspace);
    }
    if (!carry_out(session, terms, file, reporter, fault) ||
        !note_settings(session, terms, &state, fault)) {
        (void)unreachable(fault);
        return false;
    }
    tell(reporter, "keyspace %s has schema version %d", terms->keyspace, CASSANDRA_SCHEMA_VERSION);
    return true;
}

bool cassandra_schema_apply(const struct cassandra_terms *terms, struct log *log,
                            void (*report)(void *context, const char *line), void *context,
                            struct fault *fault) {
    struct reporter reporter = {report, context};
    struct cassandra_session *session = cassandra_session_open(terms, log, fault);
    if (session == NULL) {
        (void)unreachable(fault);
        return false;
    }
    bool applied = apply(session, terms, &reporter, fault);
    cassandra_session_close(session);
    return applied;
}

/* --- The commit log. --- */

/** What one node says of its commit log. */
struct commit_log {
    bool is_periodic;
    bool any;
    int64_t period_us;
};

/** A duration of the settings: `1000ms`, `10s`, or, in releases before 4.1, bare milliseconds. */
static int64_t duration_us(struct slice text) {
    int64_t number = (int64_t)number_from(text);
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    struct slice unit = {text.data + digits, text.size - digits};
    if (slice_equal(unit, SLICE_LITERAL("s"))) {
        return number * 1000000;
    }
    if (slice_equal(unit, SLICE_LITERAL("m"))) {
        return number * 60 * 1000000;
    }
    return number * 1000;
}

static void see_commit_log(void *context, const struct cql_cell *cells) {
    struct commit_log *commit_log = context;
    commit_log->any = true;
    if (slice_equal(cells[0].bytes, SLICE_LITERAL("commitlog_sync"))) {
        commit_log->is_periodic =
            !cells[1].is_null && slice_equal(cells[1].bytes, SLICE_LITERAL("periodic"));
    } else if (!cells[1].is_null) {
        commit_log->period_us = duration_us(cells[1].bytes);
    }
}

static bool ask_node(const struct cassandra_terms *terms, struct log *log,
                     struct commit_log *commit_log, struct fault *fault) {
    static const char *const names[] = {"commitlog_sync", "commitlog_sync_period",
                                        "commitlog_sync_period_in_ms"};
    struct cassandra_row_visitor visitor = {see_commit_log, commit_log, 2};
    struct cassandra_session *session = cassandra_session_open(terms, log, fault);
    bool well = session != NULL;
    for (size_t i = 0; well && i < ARRAY_COUNT(names); i++) {
        well = run(session, &visitor, fault,
                   "SELECT name, value FROM system_views.settings WHERE name = '%s'", names[i]);
    }
    if (session != NULL) {
        cassandra_session_close(session);
    }
    if (well && !commit_log->any) {
        fault_set(fault, "it does not tell its settings");
    }
    return well && commit_log->any;
}

bool cassandra_schema_sync_period(const struct cassandra_terms *terms, struct log *log,
                                  int64_t *period_us, struct fault *fault) {
    bool any = false;
    *period_us = 0;
    for (size_t i = 0; i < terms->host_count; i++) {
        struct cassandra_terms one = *terms;
        struct commit_log commit_log = {.any = false};
        one.hosts[0] = terms->hosts[i];
        one.host_count = 1;
        if (!ask_node(&one, log, &commit_log, fault)) {
            continue;
        }
        any = true;
        if (commit_log.is_periodic && commit_log.period_us > *period_us) {
            *period_us = commit_log.period_us;
        }
    }
    if (!any) {
        (void)unreachable(fault);
    }
    return any;
}
