#include "orderctl/commands.h"

#include "adapter/mariadb/mariadb_positions.h"

#include <stdlib.h>
#include <unistd.h>

enum { RELAY_CONFIG, RELAY_SET, RELAY_SHARD };

static const struct command_option relay_options[] = {
    [RELAY_CONFIG] = {"config", "FILE", OPTION_TEXT, false, 0, 0, 0,
                      "The configuration of orderd; without it its defaults hold"},
    [RELAY_SET] = {"set", "S.K=VALUE", OPTION_TEXT, false, 0, 0, 0,
                   "Set one of its options, after the file"},
    [RELAY_SHARD] = {"shard", "N", OPTION_NUMBER, false, 0, MARIADB_SHARDS_MAX - 1, 0,
                     "Only this shard's relay (every shard's)"},
};

/** Reads section [mysql] of orderd's configuration; the others are not ours to judge. */
static bool read_settings(const struct command_line *line, struct mariadb_settings *settings,
                          struct fault *fault) {
    struct mysql_options *options = calloc(1, sizeof(*options));
    if (options == NULL) {
        fault_set(fault, "no memory");
        return false;
    }
    struct config_section section = {"mysql", mysql_option_table, mysql_option_count, options};
    struct config config = {.sections = &section, .section_count = 1, .skips_other_sections = true};
    config_set_defaults(&config);
    bool good = (!command_has(line, RELAY_CONFIG) ||
                 config_read_file(&config, command_text(line, RELAY_CONFIG), fault)) &&
                (!command_has(line, RELAY_SET) ||
                 config_set(&config, command_text(line, RELAY_SET), fault)) &&
                mariadb_settings_read(options, getenv(MARIADB_PASSWORD_VARIABLE), settings, fault);
    free(options);
    return good;
}

static void report(const struct session *session, size_t shard, bool was_there) {
    if (session->json) {
        session_write_json(
            session, json_pack("{s:I, s:b}", "shard", (json_int_t)shard, "forgotten", was_there));
    } else if (was_there) {
        fprintf(session->out,
                "shard %zu: the position is forgotten; the relay that gets the lease begins with a "
                "snapshot\n",
                shard);
    } else {
        fprintf(session->out,
                "shard %zu: no relay has run yet; the first one begins with a snapshot\n", shard);
    }
}

static enum exit_status resnapshot(const struct session *session,
                                   const struct mariadb_settings *settings, size_t begin,
                                   size_t end) {
    struct log log;
    struct fault fault;
    log_init(&log, STDERR_FILENO, LOG_ERROR);
    for (size_t shard = begin; shard < end; shard++) {
        char name[32];
        bool was_there;
        (void)snprintf(name, sizeof(name), "relay/%zu", shard);
        switch (
            mariadb_position_forget(settings, slice_from_text(name), &log, &was_there, &fault)) {
        case MARIADB_OK:
            report(session, shard, was_there);
            break;
        case MARIADB_LOST:
            return session_fail(session, EXIT_STATUS_UNREACHABLE, "%s", fault.text);
        default:
            return session_fail(session, EXIT_STATUS_REFUSED, "%s", fault.text);
        }
    }
    return EXIT_STATUS_DONE;
}

static enum exit_status run_relay(struct session *session, const struct command_line *line) {
    struct mariadb_settings settings;
    struct fault fault;
    if (strcmp(line->positionals[0], "resnapshot") != 0) {
        return session_fail(session, EXIT_STATUS_USAGE, "expected \"resnapshot\", got \"%.80s\"",
                            line->positionals[0]);
    }
    if (!mariadb_library_begin()) {
        return session_fail(session, EXIT_STATUS_REFUSED,
                            "the MariaDB client library does not work");
    }
    if (!read_settings(line, &settings, &fault)) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s", fault.text);
    }
    if (!command_has(line, RELAY_SHARD)) {
        return resnapshot(session, &settings, 0, settings.shard_count);
    }
    size_t shard = command_number(line, RELAY_SHARD);
    if (shard >= settings.shard_count) {
        return session_fail(session, EXIT_STATUS_USAGE,
                            "--shard: expected one of the %zu shards of mysql.shards, which count "
                            "from 0, not %zu",
                            settings.shard_count, shard);
    }
    return resnapshot(session, &settings, shard, shard + 1);
}

const struct command command_relay = {
    .name = "relay",
    .positionals = "resnapshot",
    .summary = "Have the relay publish every hot order anew",
    .details = "Empties the stored position of the relay and takes its lease away, so that it goes "
               "on with\na snapshot of what the shard has, and then with the log from there. It is "
               "what a relay\nwaits for that halted because the log that it had not read is gone; "
               "readers see by the\nversion what they have already. Exit status: 0 done, 1 "
               "refused, 3 shard 0, where the\npositions are, does not answer.",
    .positional_min = 1,
    .positional_max = 1,
    .options = relay_options,
    .option_count = ARRAY_COUNT(relay_options),
    .offline = true,
    .run = run_relay,
};
