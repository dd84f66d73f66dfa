#include "orderctl/commands.h"

#include "orderctl/schema_target.h"

#include <stdlib.h>
#include <unistd.h>

enum { SCHEMA_CONFIG, SCHEMA_SET };

static const struct command_option schema_options[] = {
    [SCHEMA_CONFIG] = {"config", "FILE", OPTION_TEXT, false, 0, 0, 0,
                       "The configuration of orderd; without it its defaults hold"},
    [SCHEMA_SET] = {"set", "S.K=VALUE", OPTION_TEXT, false, 0, 0, 0,
                    "Set one of its options, after the file"},
};

/** In the order in which they are set up. A kind of server that comes has its row here. */
static const struct schema_target *const targets[] = {&schema_mysql, &schema_kafka,
                                                      &schema_cassandra};

#define TARGET_COUNT ARRAY_COUNT(targets)

void schema_report(const struct session *session, const char *server, const char *text) {
    if (session->json) {
        session_write_json(session, json_pack("{s:s, s:s}", "server", server, "text", text));
    } else {
        fprintf(session->out, "%s: %s\n", server, text);
    }
}

/** Reads the targets' sections of orderd's configuration; the others are not ours to judge. */
static bool read_options(const struct command_line *line, struct config *config,
                         struct fault *fault) {
    config_set_defaults(config);
    if (command_has(line, SCHEMA_CONFIG) &&
        !config_read_file(config, command_text(line, SCHEMA_CONFIG), fault)) {
        return false;
    }
    return !command_has(line, SCHEMA_SET) ||
           config_set(config, command_text(line, SCHEMA_SET), fault);
}

/** True where the command line names this kind of server, or none. */
static bool is_wanted(const struct command_line *line, const struct schema_target *target) {
    return line->positional_count < 2 || strcmp(line->positionals[1], target->name) == 0;
}

static bool is_known(const struct command_line *line) {
    for (size_t i = 0; i < TARGET_COUNT; i++) {
        if (is_wanted(line, targets[i])) {
            return true;
        }
    }
    return false;
}

static bool apply_all(const struct session *session, const struct command_line *line,
                      void *const values[TARGET_COUNT], struct fault *fault) {
    struct log log;
    log_init(&log, STDERR_FILENO, LOG_ERROR);
    for (size_t i = 0; i < TARGET_COUNT; i++) {
        if (is_wanted(line, targets[i]) && !targets[i]->apply(session, values[i], &log, fault)) {
            return false;
        }
    }
    return true;
}

static enum exit_status run_schema(struct session *session, const struct command_line *line) {
    struct config_section sections[TARGET_COUNT];
    void *values[TARGET_COUNT];
    struct config config = {
        .sections = sections, .section_count = TARGET_COUNT, .skips_other_sections = true};
    struct fault fault = {"no memory"};
    enum exit_status status = EXIT_STATUS_DONE;
    bool allocated = true;
    if (strcmp(line->positionals[0], "apply") != 0) {
        return session_fail(session, EXIT_STATUS_USAGE, "expected \"apply\", got \"%.80s\"",
                            line->positionals[0]);
    }
    if (!is_known(line)) {
        return session_fail(session, EXIT_STATUS_USAGE, "no such kind of server: %.80s",
                            line->positionals[1]);
    }
    for (size_t i = 0; i < TARGET_COUNT; i++) {
        values[i] = calloc(1, targets[i]->values_size);
        allocated = allocated && values[i] != NULL;
        sections[i] = (struct config_section){targets[i]->name, targets[i]->options,
                                              *targets[i]->option_count, values[i]};
    }
    if (!allocated || !read_options(line, &config, &fault)) {
        status = session_fail(session, EXIT_STATUS_USAGE, "%s", fault.text);
    } else if (!apply_all(session, line, values, &fault)) {
        status = session_fail(session, EXIT_STATUS_REFUSED, "%s", fault.text);
    }
    for (size_t i = 0; i < TARGET_COUNT; i++) {
        free(values[i]);
    }
    return status;
}

const struct command command_schema = {
    .name = "schema",
    .positionals = "apply [KIND]",
    .summary = "Set up the servers that orderd works on",
    .details = "Makes what is missing on the servers that the configuration names, and brings what "
               "is\nolder up to date; what is there stays. Run it before orderd is started for the "
               "first\ntime, and before a newer version of it is. The password of MariaDB's user "
               "may stand in\nthe environment's ORDERD_MYSQL_PASSWORD. Exit status: 0 all is set "
               "up, 1 it is not.\nKIND is the section of one kind of server, as mysql; without it "
               "it is all of them.",
    .positional_min = 1,
    .positional_max = 2,
    .options = schema_options,
    .option_count = ARRAY_COUNT(schema_options),
    .offline = true,
    .run = run_schema,
};
