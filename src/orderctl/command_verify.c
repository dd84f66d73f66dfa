#include "orderctl/commands.h"

static enum exit_status run_verify(struct session *session, const struct command_line *line) {
    (void)line;
    return session_fail(session, EXIT_STATUS_USAGE, "not yet");
}

const struct command command_verify = {
    .name = "verify",
    .positionals = "DATA_DIR",
    .summary = "Check a data directory that nobody uses",
    .positional_min = 1,
    .positional_max = 1,
    .offline = true,
    .run = run_verify,
};
