/** orderctl: the command-line client of orderd. Reads the command line, runs one command and ends
 *  with its status (exit_status.h). One thread, but for the bench. */
#include "orderctl/commands.h"

#include <stdlib.h>
#include <unistd.h>

#define SERVER_DEFAULT "http://127.0.0.1:8080"

static enum exit_status run_help(struct session *session, const struct command_line *line);

static const struct command command_help = {
    .name = "help",
    .positionals = "[COMMAND]",
    .summary = "Show what there is, or what a command takes",
    .positional_max = 1,
    .offline = true,
    .run = run_help,
};

/** The table is put together at run time: the rows are constants of other files. */
static size_t list_commands(struct command commands[16]) {
    const struct command *const all[] = {
        &command_create, &command_get,    &command_find_order, &command_set,    &command_watch,
        &command_stats,  &command_import, &command_verify,     &command_schema, &command_relay,
        &command_audit,  &command_bench,  &command_help,
    };
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        commands[i] = *all[i];
    }
    return ARRAY_COUNT(all);
}

static enum exit_status run_help(struct session *session, const struct command_line *line) {
    struct command commands[16];
    size_t count = list_commands(commands);
    if (line->positional_count == 0) {
        command_write_overview(commands, count, session->out);
        return EXIT_STATUS_DONE;
    }
    const struct command *command = command_find(commands, count, line->positionals[0]);
    if (command == NULL) {
        return session_fail(session, EXIT_STATUS_USAGE, "no such command: %.80s",
                            line->positionals[0]);
    }
    command_write_help(command, session->out);
    return EXIT_STATUS_DONE;
}

static enum exit_status run_command(struct session *session, const struct command_line *line) {
    struct fault fault;
    if (line->global[GLOBAL_HELP].given) {
        command_write_help(line->command, session->out);
        return EXIT_STATUS_DONE;
    }
    session->json = line->global[GLOBAL_JSON].given;
    session->timeout_ms = line->global[GLOBAL_TIMEOUT].number;
    session->server = line->global[GLOBAL_SERVER].text;
    if (session->server == NULL) {
        session->server = getenv("ORDERD_SERVER");
    }
    if (session->server == NULL || *session->server == 0) {
        session->server = SERVER_DEFAULT;
    }
    if (line->command->offline) {
        return line->command->run(session, line);
    }
    if (!service_client_init(&session->client, session->server, session->timeout_ms, &fault)) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s", fault.text);
    }
    enum exit_status status = line->command->run(session, line);
    service_client_deinit(&session->client);
    return status;
}

static enum exit_status run(struct session *session, int argument_count, char **arguments) {
    struct command commands[16];
    size_t count = list_commands(commands);
    struct command_line line;
    struct fault fault;
    if (argument_count == 1 && strcmp(arguments[0], "--version") == 0) {
        fprintf(session->out, "orderctl %s\n", ORDERD_VERSION);
        return EXIT_STATUS_DONE;
    }
    if (!command_line_read(&line, commands, count, argument_count, arguments, &fault)) {
        return session_fail(session, EXIT_STATUS_USAGE, "%s (`orderctl help` shows what there is)",
                            fault.text);
    }
    if (line.command == NULL) {
        bool asked = line.global[GLOBAL_HELP].given;
        command_write_overview(commands, count, asked ? session->out : session->err);
        return asked ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
    }
    return run_command(session, &line);
}

int main(int argument_count, char **arguments) {
    struct session session = {
        .out = stdout,
        .err = stderr,
        .out_is_terminal = isatty(STDOUT_FILENO) == 1,
        .err_is_terminal = isatty(STDERR_FILENO) == 1,
    };
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    enum exit_status status = run(&session, argument_count - 1, arguments + 1);
    curl_global_cleanup();
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)session_fail(&session, EXIT_STATUS_UNREACHABLE, "the output cannot be written");
        status = status == EXIT_STATUS_DONE ? EXIT_STATUS_UNREACHABLE : status;
    }
    return (int)status;
}
